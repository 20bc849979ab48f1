"""How much spleen the models find in mirror images: a header that takes right for left shows so."""

from __future__ import annotations

import functools
import statistics
from collections.abc import Sequence

import numpy as np

from spleen_tf.imaging.planes import Plane
from spleen_tf.imaging.volume import Volume
from spleen_tf.inference.member import Member
from spleen_tf.quality.checks import Direction

# For each direction the planes that show it, and whether along rows (0) or columns (1).
_SHOWN: dict[Direction, dict[Plane, int]] = {
    "right": {"axial": 1, "coronal": 1},
    "anterior": {"axial": 0, "sagittal": 1},
    "superior": {"coronal": 0, "sagittal": 0},
}
_SAMPLED_SLICES = 12


def mirrored_ml(
    members: Sequence[Member], image: Volume, windows: Sequence[tuple[float, float]]
) -> dict[Direction, tuple[float, float]]:
    """How much spleen is found in a few slices as they are, and in their mirror images.

    Args:
        members: one or more; each direction is looked at in all planes that show it.
        image: the volume.
        windows: of each member, the intensities that become 0 and 1.

    Returns:
        By direction (without those that no member's plane shows, and without 'right' where the
        members do not use contrast): mL as it is, mL in the mirror, each the mean over members,
        extrapolated from a sample of slices.
    """
    window_of = dict(zip(members, windows, strict=True))

    @functools.cache
    def as_is_ml(member: Member) -> float:
        return sampled_ml(member, image, window_of[member])

    mirrored: dict[Direction, tuple[float, float]] = {}
    for direction, axis_of in _SHOWN.items():
        able = [member for member in members if member.info.plane in axis_of]
        if direction == "right":
            # By shape and place alone, or in the contrast of CT, a liver in the mirror passes for a
            # large spleen. In T2-weighted MR the two organs differ.
            able = [member for member in able if member.info.modality == "MR"]
        if able:
            # A mass can mislead one plane; it seldom misleads the others, too.
            in_mirror_ml = [
                sampled_ml(member, image, window_of[member], axis_of[member.info.plane])
                for member in able
            ]
            as_is = statistics.fmean(map(as_is_ml, able))
            mirrored[direction] = (as_is, statistics.fmean(in_mirror_ml))
    return mirrored


def sampled_ml(
    member: Member, image: Volume, window: tuple[float, float], mirror_axis: int | None = None
) -> float:
    """Volume of spleen, from the probability in a few slices spread over the volume.

    Args:
        member: the model.
        image: the volume.
        window: the intensities that become 0 and 1.
        mirror_axis: 0 turns each slice upside down, 1 exchanges its sides.
    """
    slices_nhw = member.slices(image)
    if mirror_axis is not None:
        slices_nhw = np.flip(slices_nhw, 1 + mirror_axis)
    count = len(slices_nhw)
    sample = np.unique(np.linspace(0, count - 1, _SAMPLED_SLICES + 2).round().astype(int)[1:-1])
    total = 0.0
    for index in sample.tolist():
        probability = member.probability(image, slices_nhw, (index, index + 1), window)
        total += float(probability[probability >= member.info.threshold].sum())
    return total * image.voxel_mm3 / 1000 * count / len(sample)
