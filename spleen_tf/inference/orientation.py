"""How much spleen the models find in mirror images: a header that takes right for left shows so."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from spleen_tf.imaging.planes import Plane
from spleen_tf.inference.fusion import Fusion
from spleen_tf.quality.checks import Direction

# For each direction the planes that show it, and whether along rows (0) or columns (1).
_SHOWN: dict[Direction, dict[Plane, int]] = {
    "right": {"axial": 1, "coronal": 1},
    "anterior": {"axial": 0, "sagittal": 1},
    "superior": {"coronal": 0, "sagittal": 0},
}
_SAMPLED_SLICES = 12


def mirrored_ml(fused: Fusion) -> dict[Direction, tuple[float, float]]:
    """How much spleen members see in a few slices as they are, and in their mirror images.

    Args:
        fused: what one or more members saw of a whole volume.

    Returns:
        By direction (without those that no member's plane shows, and without 'right' where the
        members do not use contrast): mL as it is, mL in the mirror, each the mean over members
        that were asked, extrapolated from a sample of slices.
    """
    mirrored: dict[Direction, tuple[float, float]] = {}
    for direction, axis_of in _SHOWN.items():
        infos = [member.info for member in fused.members]
        able = [number for number, info in enumerate(infos) if info.plane in axis_of]
        if direction == "right":
            # By shape and place alone, or in the contrast of CT, a liver in the mirror passes for a
            # large spleen. In T2-weighted MR the two organs differ.
            able = [number for number in able if infos[number].modality == "MR"]
        if able:
            mirrored[direction] = _as_is_and_mirrored_ml(fused, able, axis_of)
    return mirrored


def _as_is_and_mirrored_ml(
    fused: Fusion, able: Sequence[int], axis_of: Mapping[Plane, int]
) -> tuple[float, float]:
    """What members see as it is, and in the mirror; the means of those that were asked.

    A mass can mislead one plane; it seldom misleads the others, too. So one that sees no more in
    the mirror than as it is settles it, and the member of the smallest slices is asked first.
    """
    pixels = {number: fused.members[number].slices(fused.image)[0].size for number in able}
    as_is_ml, mirror_ml = [], []
    for number in sorted(able, key=pixels.__getitem__):
        axis = axis_of[fused.members[number].info.plane]
        as_is_ml.append(_ml(fused, fused.above[number]))
        mirror_ml.append(_ml(fused, _above_in_mirror(fused, number, axis)))
        if mirror_ml[-1] <= as_is_ml[-1]:
            break
    return statistics.fmean(as_is_ml), statistics.fmean(mirror_ml)


def _above_in_mirror(fused: Fusion, number: int, axis: int) -> npt.NDArray[Any]:
    """As `fused.above[number]`, in the sampled slices alone.

    Args:
        fused, number: a member.
        axis: 0 turns each slice upside down, 1 exchanges its sides.
    """
    member, window = fused.members[number], fused.windows[number]
    slices_nhw = np.flip(member.slices(fused.image), 1 + axis)
    above = np.zeros(len(slices_nhw))
    for index in _sample(len(slices_nhw)):
        probability = member.probability(fused.image, slices_nhw, (index, index + 1), window)
        above[index] = probability[probability >= member.info.threshold].sum()
    return above


def _ml(fused: Fusion, above: npt.NDArray[Any]) -> float:
    """The volume that a member sees, from the sampled slices alone."""
    sample = _sample(len(above))
    total = float(above[sample].sum())
    return total * fused.image.voxel_mm3 / 1000 * len(above) / len(sample)


def _sample(count: int) -> list[int]:
    """A few of so many slices, spread over the volume."""
    spread = np.linspace(0, count - 1, _SAMPLED_SLICES + 2)[1:-1]
    return [int(index) for index in np.unique(spread.round())]
