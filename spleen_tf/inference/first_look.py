"""Where the organ may lie, by a quick, coarse look at the whole volume."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from spleen_tf.imaging import masks, planes
from spleen_tf.imaging.regions import Box
from spleen_tf.imaging.volume import Volume, every_nth
from spleen_tf.inference import fusion
from spleen_tf.inference.fusion import Fusion
from spleen_tf.inference.member import Member

# In a few mm, nothing as large as the organ hides from it: slices that lie nearer are skipped, and
# pixels that lie nearer than half of one of the network's.
_SKIP_BELOW_MM = 5.0
_SKIP_BELOW_PIXELS = 0.5

# What counts beside the largest thing that looks like the organ: the liver or the heart may, too.
_LEAST_SHARE = 0.2
_MOST_CANDIDATES = 3


@dataclasses.dataclass(frozen=True)
class Candidate:
    """Where the organ may be, and how large it looks there."""

    box: Box
    volume_mm3: float


def overview(members: Sequence[Member], image: Volume, every_slice: bool = False) -> Volume:
    """What the first look sees of a volume: some of its voxels, a view of its array.

    Args:
        members: of one plane.
        image: the volume.
        every_slice: nothing is skipped.
    """
    if every_slice:
        return image
    info = members[0].info
    across, down, along = planes.layout_of(image.affine, info.plane).axes
    down_mm, along_mm = info.pixel_mm
    spacing_mm = {across: _SKIP_BELOW_MM}
    spacing_mm |= {down: _SKIP_BELOW_PIXELS * down_mm, along: _SKIP_BELOW_PIXELS * along_mm}
    for axis, most_mm in spacing_mm.items():
        step = int(most_mm / image.zooms_mm[axis])
        if step > 1:
            image = every_nth(image, axis, step)
    return image


def candidates(fused: Fusion, image: Volume) -> list[Candidate]:
    """What looks like the organ, the largest first.

    Args:
        fused: what the members of the first look saw of an overview.
        image: the volume that it is of.
    """
    shown = fused.image
    mask_ijk = masks.at_least(fused.probability_ijk, fusion.threshold(fused.members))
    steps = np.round(shown.zooms_mm / image.zooms_mm).astype(int).tolist()
    found = []
    for voxels, box in masks.pieces(mask_ijk, _LEAST_SHARE)[:_MOST_CANDIDATES]:
        # In voxels of the volume, up to the next one that was looked at.
        in_volume = tuple(
            slice(max(0, (side.start - 1) * step + 1), min(size, side.stop * step))
            for side, step, size in zip(box, steps, image.shape, strict=True)
        )
        found.append(Candidate(in_volume, voxels * shown.voxel_mm3))
    return found
