"""The components of a mask: pieces whose voxels touch one another."""

from __future__ import annotations

from typing import Any, Literal

import cc3d
import numpy as np
from numpy.typing import NDArray

# Labelled at a time. A whole volume's labels, where a mask is scattered over all of it, would take
# twice to four times the memory of its voxels.
_CHUNK_VOXELS = 1 << 21


class Components:
    """Components of the voxels of one value, labelled a few slices at a time.

    Neighbouring chunks share a slice; labels that meet in one of its voxels are one component.

    Attributes:
        count: how many there are.
        sizes: (count,) voxels of each.
        at_side: (count,) bool, whether it touches a side of the array.
    """

    def __init__(self, mask_ijk: NDArray[Any], connectivity: Literal[6, 26], value: bool = True):
        self._mask_ijk, self._connectivity, self._value = mask_ijk, connectivity, value
        rows, columns, depth = mask_ijk.shape
        self._step = max(1, _CHUNK_VOXELS // (rows * columns))
        self._starts = range(0, max(1, depth - 1), self._step)
        self._offsets = [0]
        sizes, at_side, links = [], [], []
        shared: NDArray[Any] | None = None
        for start in self._starts:
            labels, count = self._label(start)
            offset, is_last = self._offsets[-1], start == self._starts[-1]
            # The shared slice is counted in the next chunk.
            own = labels if is_last else labels[..., :-1]
            sizes.append(np.bincount(own.ravel(order="K"), minlength=count + 1)[1:])
            at_side.append(_at_side(labels, count, start == 0, is_last))
            if shared is not None:
                both = (shared > 0) & (labels[..., 0] > 0)
                pairs = [shared[both], labels[..., 0][both] + np.int64(offset)]
                links.append(np.unique(np.stack(pairs), axis=1) - 1)
            shared = np.where(labels[..., -1] > 0, labels[..., -1] + np.int64(offset), 0)
            self._offsets.append(offset + count)
        self.count, self._component_of = _joined(self._offsets[-1], links)
        self.sizes = np.bincount(self._component_of, np.concatenate(sizes), self.count)
        self.at_side = np.bincount(self._component_of, np.concatenate(at_side), self.count) > 0

    def select(self, chosen: NDArray[Any], result_ijk: NDArray[Any]) -> None:
        """Sets the voxels of chosen components, (count,) bool, in an array of the mask's shape."""
        for n, start in enumerate(self._starts):
            labels, _ = self._label(start)
            own = self._component_of[self._offsets[n] : self._offsets[n + 1]]
            is_chosen = np.concatenate([[False], chosen[own]])
            result_ijk[..., start : start + labels.shape[2]] |= is_chosen[labels]

    def _label(self, start: int) -> tuple[NDArray[Any], int]:
        chunk = self._mask_ijk[..., start : start + self._step + 1] == self._value
        # The rim, because cc3d 4.1 reserves too few labels for boxes that are one voxel thin.
        labels, count = cc3d.connected_components(
            np.pad(chunk, 1), connectivity=self._connectivity, return_N=True
        )
        return labels[1:-1, 1:-1, 1:-1], count


def _joined(count: int, links: list[NDArray[Any]]) -> tuple[int, NDArray[Any]]:
    """How many components labels are, and of each of `count` labels its component.

    Args:
        count: of labels.
        links: (2, n) labels that are of one component.
    """
    if not links:
        return count, np.arange(count)
    from scipy import sparse  # Takes a while to import, and few masks need it.
    from scipy.sparse import csgraph

    ends = np.concatenate(links, axis=1)
    graph = sparse.coo_array((np.ones(ends.shape[1], bool), tuple(ends)), shape=(count, count))
    joined: tuple[int, NDArray[Any]] = csgraph.connected_components(graph, directed=False)
    return joined


def _at_side(labels: NDArray[Any], count: int, is_first: bool, is_last: bool) -> NDArray[Any]:
    sides = [labels[0], labels[-1], labels[:, 0], labels[:, -1]]
    sides += [labels[..., 0]] * is_first + [labels[..., -1]] * is_last
    touching = np.zeros(count + 1, bool)
    for side in sides:
        touching[side] = True
    return touching[1:]
