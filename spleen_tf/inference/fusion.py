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

_SAMPLED_SLICES = 12


class ViewMask:
    """The mask that one view of one member gives by itself, one bit per voxel."""

    def __init__(self, image: Volume, plane: Plane):
        self._image, self._plane = image, plane
        self._packed: dict[int, npt.NDArray[Any]] = {}

    def add(self, start: int, mask_nhw: npt.NDArray[np.bool_]) -> None:
        """Takes the slices from `start` on, (N, H, W) bool."""
        for index, mask_hw in enumerate(mask_nhw, start):
            if mask_hw.any():
                self._packed[index] = np.packbits(mask_hw)

    def mask_ijk(self) -> npt.NDArray[np.bool_]:
        """(I, J, K) bool; slices without spleen are never written to and take no memory."""
        mask_ijk = np.zeros(self._image.shape, bool, order="F")
        mask_nhw = planes.split(mask_ijk, self._image.affine, self._plane)
        size = mask_nhw[0].size
        for index, packed in self._packed.items():
            bits = np.unpackbits(packed, count=size).view(bool)
            mask_nhw[index] = bits.reshape(mask_nhw.shape[1:])
        return mask_ijk


def threshold(members: Sequence[Member]) -> float:
    """The mean of the members' thresholds, as fusion takes the mean of their probabilities."""
    return sum(member.info.threshold for member in members) / len(members)


def probability(
    members: Sequence[Member],
    image: Volume,
    windows: Sequence[tuple[float, float]],
    tta: bool = False,
    view_masks: list[ViewMask] | None = None,
    skip_below_mm: float = 0.0,
) -> npt.NDArray[Any]:
    """The mean of the members' probabilities.

    Args:
        members: one or more, of any planes.
        image: the volume.
        windows: of each member, the intensities that become 0 and 1.
        tta: the mean is over views.AUGMENTED.
        view_masks: receives the mask of each view of each member.
        skip_below_mm: as in `Member.batches`.

    Returns:
        (I, J, K) float16: its steps near a half are 0.0005, and it takes half of the memory.

    Raises:
        InputError: as `Member.batches` does.
    """
    shown = views.AUGMENTED if tta else (views.AS_IS,)
    weight = 1.0 / (len(members) * len(shown))
    total_ijk = np.zeros(image.shape, np.float16, order="F")
    count = sum(len(member.slices(image)) for member in members) * len(shown)
    with tqdm.tqdm(total=count, unit="slice", leave=False, disable=None) as bar:
        for member, window in zip(members, windows, strict=True):
            total_nhw = planes.split(total_ijk, image.affine, member.info.plane)
            for view in shown:
                view_mask = ViewMask(image, member.info.plane)
                batches = member.batches(image, window, view, skip_below_mm)
                for start, probability_nhw in batches:
                    stop = start + len(probability_nhw)
                    share_nhw = weight * probability_nhw
                    share_nhw[share_nhw < _LEAST_SHARE] = 0.0
                    # Pages of memory that nothing is written to take none.
                    with_spleen = np.flatnonzero(share_nhw.any(axis=(1, 2)))
                    rows = start + with_spleen
                    total_nhw[rows] = total_nhw[rows] + share_nhw[with_spleen]
                    if view_masks is not None:
                        view_mask.add(start, probability_nhw >= member.info.threshold)
                    bar.update(stop - start)
                if view_masks is not None:
                    view_masks.append(view_mask)
    return total_ijk


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
