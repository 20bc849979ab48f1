"""The probabilities of several models as one, and the mask that each gives by itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tqdm

from spleen_tf.imaging import planes
from spleen_tf.imaging.planes import Plane
from spleen_tf.imaging.volume import Volume
from spleen_tf.inference import tta as views
from spleen_tf.inference.member import Member

# float16 holds smaller numbers, too, but NumPy takes ten times as long to convert to them, and far
# from the organ nearly all probabilities are that small. Near a half, its steps are 0.0005.
_LEAST_SHARE = float(np.finfo(np.float16).smallest_normal)
# Rows without a larger share are left out: what is never written to takes no memory.
_LEAST_OF_ROW = 2.0**-13

_SAMPLED_SLICES = 12


class ViewMask:
    """The mask that one view of one member gives by itself, one bit per voxel."""

    def __init__(self, image: Volume, plane: Plane):
        self._image, self._plane = image, plane
        self._packed: dict[int, tuple[tuple[slice, slice], npt.NDArray[Any]]] = {}

    def add(self, start: int, mask_nhw: npt.NDArray[np.bool_]) -> None:
        """Takes the slices from `start` on, (N, H, W) bool."""
        for index, mask_hw in enumerate(mask_nhw, start):
            rows, columns = (np.flatnonzero(mask_hw.any(axis=axis)) for axis in (1, 0))
            if rows.size:
                box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
                self._packed[index] = box, np.packbits(mask_hw[box])

    def mask_ijk(self) -> npt.NDArray[np.bool_]:
        """(I, J, K) bool; slices without spleen are never written to and take no memory."""
        mask_ijk = np.zeros(self._image.shape, bool, order="F")
        mask_nhw = planes.split(mask_ijk, self._image.affine, self._plane)
        for index, (box, packed) in self._packed.items():
            inside = mask_nhw[index][box]
            bits = np.unpackbits(packed, count=inside.size).view(bool)
            inside[...] = bits.reshape(inside.shape)
        return mask_ijk


class Fusion:
    """The mean of the members' probabilities in a volume, as far as they have looked.

    Attributes:
        members: one or more, of any planes.
        image: the volume.
        windows: of each member, the intensities that become 0 and 1.
        probability_ijk: (I, J, K) float16: its steps near a half are 0.0005, and it takes half of
            the memory. Where a member has not looked, it counts as 0.
        views: of each member, the masks of the views of the body that it was shown.
        above: of each member, (N,) per slice in its plane the sum of the probabilities that reach
            its threshold, where it sees the body as it is.
    """

    def __init__(
        self,
        members: Sequence[Member],
        image: Volume,
        windows: Sequence[tuple[float, float]],
        tta: bool = False,
        skip_below_mm: float = 0.0,
    ) -> None:
        """Nobody has looked yet.

        Args:
            members, image, windows: as in the class.
            tta: the mean is over views.AUGMENTED.
            skip_below_mm: as in `Member.batches`.
        """
        self.members, self.image, self.windows = members, image, windows
        self._shown = views.AUGMENTED if tta else (views.AS_IS,)
        self._skip_below_mm = skip_below_mm
        self.probability_ijk: npt.NDArray[Any] = np.zeros(image.shape, np.float16, order="F")
        self.views = [[ViewMask(image, m.info.plane) for _ in self._shown] for m in members]
        self.above = [np.zeros(len(member.slices(image))) for member in members]

    def look_everywhere(self) -> Fusion:
        """All members see all slices.

        Raises:
            InputError: as `Member.batches` does.
        """
        for number in range(len(self.members)):
            self.look(number)
        return self

    def look(self, number: int, span: tuple[int, int] | None = None) -> None:
        """A member sees slices that it has not seen yet.

        Args:
            number: of the member.
            span: the first slice and the one after the last; None: all.

        Raises:
            InputError: as `Member.batches` does.
        """
        member, window = self.members[number], self.windows[number]
        total_nhw = planes.split(self.probability_ijk, self.image.affine, member.info.plane)
        weight = 1.0 / (len(self.members) * len(self._shown))
        count = (span[1] - span[0]) if span else len(total_nhw)
        total = count * len(self._shown)
        with tqdm.tqdm(total=total, unit="slice", leave=False, disable=None) as bar:
            for view, view_mask in zip(self._shown, self.views[number], strict=True):
                batches = member.batches(self.image, window, view, self._skip_below_mm, span)
                for start, probability_nhw in batches:
                    stop = start + len(probability_nhw)
                    _add(total_nhw[start:stop], weight * probability_nhw)
                    inside_nhw = probability_nhw >= member.info.threshold
                    view_mask.add(start, inside_nhw)
                    if view == views.AS_IS:
                        above_nhw = np.where(inside_nhw, probability_nhw, 0.0)
                        self.above[number][start:stop] = above_nhw.sum(axis=(1, 2))
                    bar.update(stop - start)


def _add(total_nhw: npt.NDArray[Any], share_nhw: npt.NDArray[Any]) -> None:
    """Adds the rows of slices that hold a share that counts."""
    share_nhw[share_nhw < _LEAST_SHARE] = 0.0
    for total_hw, share_hw in zip(total_nhw, share_nhw, strict=True):
        counts_h = share_hw.max(axis=1) >= _LEAST_OF_ROW
        if counts_h.any():
            total_hw[counts_h] += share_hw[counts_h]


def threshold(members: Sequence[Member]) -> float:
    """The mean of the members' thresholds, as fusion takes the mean of their probabilities."""
    return sum(member.info.threshold for member in members) / len(members)


def shown_differently(
    member: Member,
    image: Volume,
    window: tuple[float, float],
    mask_ijk: npt.NDArray[np.bool_],
    skip_below_mm: float = 0.0,
) -> tuple[npt.NDArray[np.bool_], list[npt.NDArray[np.bool_]]]:
    """What a member finds where the body is shown in another way: views.OF_SINGLE_MEMBER.

    It sees some slices only, spread over the result and half of its length on each side: an
    agreement is a mean, for which a sample is enough.

    Args:
        member: the model.
        image: the volume.
        window: the intensities that become 0 and 1.
        mask_ijk: (I, J, K) bool, the result.
        skip_below_mm: as in `Member.batches`.

    Returns:
        (n, H, W) bool: the result in these slices, and what each view finds there.
    """
    stride = member.stride(image, skip_below_mm)
    slices_nhw = member.slices(image)[::stride]
    mask_nhw = planes.split(mask_ijk, image.affine, member.info.plane)[::stride]
    rows = _sample(np.flatnonzero(mask_nhw.any(axis=(1, 2))), len(mask_nhw))
    found = []
    for view in views.OF_SINGLE_MEMBER:
        probability_nhw = [
            member.probability(image, slices_nhw, (row, row + 1), window, view) for row in rows
        ]
        found.append(np.concatenate(probability_nhw) >= member.info.threshold)
    return mask_nhw[rows], found


def _sample(with_spleen: npt.NDArray[np.intp], count: int) -> list[int]:
    """Some of `count` slices: those with spleen, and half of their number on each side."""
    first, last = (int(with_spleen[0]), int(with_spleen[-1])) if with_spleen.size else (0, count)
    margin = (last - first + 1) // 2
    around = np.linspace(max(0, first - margin), min(count - 1, last + margin), _SAMPLED_SLICES)
    return [int(row) for row in np.unique(around.round())]
