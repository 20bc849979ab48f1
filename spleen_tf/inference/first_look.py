"""Where the organ may lie, by a quick, coarse look at the whole volume."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from spleen_tf.imaging import masks, planes, regions
from spleen_tf.imaging.regions import Region
from spleen_tf.imaging.volume import Volume, every_nth
from spleen_tf.inference import fusion
from spleen_tf.inference.fusion import Fusion
from spleen_tf.inference.member import Member

# In a few mm, nothing as large as the organ hides from it: slices that lie nearer are skipped.
_SKIP_BELOW_MM = 5.0

# What counts beside the largest thing that looks like the organ: the liver or the heart may, too.
_LEAST_SHARE = 0.2
_MOST_CANDIDATES = 3


@dataclasses.dataclass(frozen=True)
class Candidate:
    """Where the organ may be, and how large it looks there."""

    region: Region
    volume_mm3: float


def overview(members: Sequence[Member], image: Volume, every_slice: bool = False) -> Volume:
    """What the first look sees of a volume: some of its slices, a view of its array.

    Args:
        members: of one plane.
        image: the volume.
        every_slice: none is skipped.
    """
    plane = members[0].info.plane
    step = int(_SKIP_BELOW_MM / planes.slice_mm(image.affine, plane))
    if every_slice or step <= 1:
        return image
    return every_nth(image, planes.layout_of(image.affine, plane).axes[0], step)


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
        # In voxels of the volume, up to the next slice that was not looked at.
        in_volume = tuple(
            slice(max(0, (side.start - 1) * step + 1), min(size, side.stop * step))
            for side, step, size in zip(box, steps, image.shape, strict=True)
        )
        found.append(Candidate(regions.around(in_volume, image.grid), voxels * shown.voxel_mm3))
    return found
