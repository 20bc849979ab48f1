"""Masks: where they lie, and what a spleen cannot be: in pieces, or hollow."""

from __future__ import annotations

from typing import Any, Literal

import cc3d
import numpy as np
from numpy.typing import NDArray

# Labelled at a time. A whole volume's labels, where a mask is scattered over all of it, would take
# twice to four times the memory of its voxels.
_CHUNK_VOXELS = 1 << 21


def at_least(values_ijk: NDArray[Any], threshold: float) -> NDArray[np.bool_]:
    """Where values reach a threshold, (I, J, K) bool; rows where none does take no memory."""
    result = _empty_like(values_ijk)
    as_in_memory = np.argsort(-np.abs(values_ijk.strides))
    slabs = zip(values_ijk.transpose(as_in_memory), result.transpose(as_in_memory), strict=True)
    for values, inside in slabs:
        rows = values.max(axis=1) >= threshold
        if rows.any():
            inside[rows] = values[rows] >= threshold
    return result


def paste(array_ijk: NDArray[Any], into_ijk: NDArray[Any]) -> None:
    """Copies an array into one of its shape that holds 0; rows of 0 are not written to."""
    as_in_memory = np.argsort(-np.abs(into_ijk.strides))
    slabs = zip(array_ijk.transpose(as_in_memory), into_ijk.transpose(as_in_memory), strict=True)
    for values, target in slabs:
        rows = values.any(axis=1)
        target[rows] = values[rows]


def largest_component(mask_ijk: NDArray[Any]) -> NDArray[Any]:
    """The largest 26-connected component of a mask.

    Args:
        mask_ijk: (I, J, K) bool.

    Returns:
        bool of the same shape; empty if the mask is.
    """
    result = _empty_like(mask_ijk)
    box = bounding_box(mask_ijk)
    if box is not None:
        components = _Components(mask_ijk[box], connectivity=26)
        components.select(np.arange(components.count) == components.sizes.argmax(), result[box])
    return result


def fill_holes(mask_ijk: NDArray[Any]) -> NDArray[Any]:
    """A mask without cavities: background that no path of faces joins to the outside."""
    result = _empty_like(mask_ijk)
    box = bounding_box(mask_ijk)
    if box is not None:
        result[box] = mask_ijk[box]
        background = _Components(mask_ijk[box], connectivity=6, value=False)
        background.select(~background.at_side, result[box])
    return result


def count_components(mask_ijk: NDArray[Any]) -> int:
    """The number of 26-connected components of a mask."""
    box = bounding_box(mask_ijk)
    return 0 if box is None else _Components(mask_ijk[box], connectivity=26).count


def pieces(mask_ijk: NDArray[Any], least_share: float) -> list[tuple[int, tuple[slice, ...]]]:
    """Voxels and bounding box of the larger 26-connected components, the largest first.

    Args:
        mask_ijk: (I, J, K) bool.
        least_share: of the largest's voxels that a component has at least.
    """
    box = bounding_box(mask_ijk)
    if box is None:
        return []
    components = _Components(mask_ijk[box], connectivity=26)
    found = []
    for index in np.argsort(-components.sizes, kind="stable").tolist():
        if components.sizes[index] < least_share * components.sizes.max():
            break
        piece = _empty_like(mask_ijk)
        components.select(np.arange(components.count) == index, piece[box])
        side = bounding_box(piece)
        found.append((int(components.sizes[index]), side or box))
    return found


def bounding_box(mask_ijk: NDArray[Any]) -> tuple[slice, ...] | None:
    """The smallest slices that hold a mask; None if it is empty."""
    box = [slice(0, size) for size in mask_ijk.shape]
    # The axis along which memory is read in one go comes first, and leaves little for the others.
    for axis in np.argsort(-np.abs(mask_ijk.strides)).tolist():
        others = tuple(other for other in range(3) if other != axis)
        inside = np.flatnonzero(mask_ijk[tuple(box)].any(axis=others))
        if not len(inside):
            return None
        box[axis] = slice(int(inside[0]), int(inside[-1]) + 1)
    return tuple(box)


def surroundings(box: tuple[slice, ...]) -> tuple[slice, ...]:
    """A box and half of its length on each side, from index 0 on."""
    margins = [(side.stop - side.start) // 2 for side in box]
    return tuple(
        slice(max(0, side.start - margin), side.stop + margin)
        for side, margin in zip(box, margins, strict=True)
    )


def _empty_like(mask_ijk: NDArray[Any]) -> NDArray[Any]:
    """All False; what is never written to takes no memory, as it would with np.zeros_like."""
    first, *_, last = np.abs(mask_ijk.strides).tolist()
    return np.zeros(mask_ijk.shape, bool, order="F" if first < last else "C")


class _Components:
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
