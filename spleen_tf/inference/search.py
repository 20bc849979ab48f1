"""The probability of spleen in a volume: where members look, and what they find there.

Members of a family with a first look know the surroundings of the organ alone. The first look sees
the whole volume, coarsely, and says where these are. Where it sees nothing, and where what the
members find goes on beyond, the members look again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from spleen_tf.imaging import masks, planes, regions
from spleen_tf.imaging.intensity import Modality
from spleen_tf.imaging.regions import Box, Region
from spleen_tf.imaging.volume import Volume, every_nth
from spleen_tf.inference import fusion, modality, orientation
from spleen_tf.inference.fusion import ViewMask
from spleen_tf.inference.member import Member
from spleen_tf.quality.checks import Direction

Windows = list[tuple[float, float]]

# Slices that lie nearer are not all looked at: between 1.5 mm, an outline hardly moves, and in a
# few mm, nothing as large as the organ hides from the first look.
_SKIP_BELOW_MM = 1.5
_FIRST_LOOK_SKIPS_BELOW_MM = 5.0
# A region that cuts off what was found in it is replaced by a larger one, so often at most.
_MOST_REGIONS = 3

NOTHING_SEEN = "the first look found no spleen; the whole volume was searched"


@dataclasses.dataclass(frozen=True)
class Plan:
    """How members search a volume.

    Attributes:
        members: whose probabilities are averaged.
        first_look: those that say where, all of one plane; (): the members see the whole volume.
        modality: what the volume is taken for.
        tta: members also see the body a little larger and smaller.
        full: no slice is skipped.
        with_views: the mask of each view of each member is kept.
    """

    members: Sequence[Member]
    first_look: Sequence[Member]
    modality: Modality
    tta: bool = False
    full: bool = False
    with_views: bool = False


@dataclasses.dataclass(frozen=True, eq=False)
class Found:
    """What a search found.

    Attributes:
        crop: the part of the volume that the members saw, or all of it.
        box: where that lies in the volume.
        probability_ijk: float16, of the crop's shape.
        windows: of each member, the intensities that become 0 and 1.
        views: the mask of each view, of the crop's shape, if they were asked for.
        mirrored_ml: what `orientation.mirrored_ml` returned.
        doubt: why the place may be wrong, as a reason for a review; None: nothing says so.
    """

    crop: Volume
    box: Box
    probability_ijk: npt.NDArray[Any]
    windows: Windows
    views: list[ViewMask]
    mirrored_ml: dict[Direction, tuple[float, float]]
    doubt: str | None = None

    def in_volume(self, array_ijk: npt.NDArray[Any], shape: tuple[int, ...]) -> npt.NDArray[Any]:
        """An array of the crop's shape in one of the volume's, 0 around it."""
        if array_ijk.shape == shape:
            return array_ijk
        whole_ijk = np.zeros(shape, array_ijk.dtype, order="F")
        whole_ijk[self.box] = array_ijk
        return whole_ijk


def search(image: Volume, plan: Plan) -> Found:
    """Searches a volume.

    Raises:
        InputError: as `Member.batches` does.
    """
    windows = modality.windows(image, plan.modality, [member.info for member in plan.members])
    if not plan.first_look:
        mirrored_ml = orientation.mirrored_ml(plan.members, image, windows)
        return _found_in(image, None, plan, windows, mirrored_ml)
    look_infos = [member.info for member in plan.first_look]
    look_windows = modality.windows(image, plan.modality, look_infos)
    shown = overview(plan.first_look, image, plan.full)
    mirrored_ml = orientation.mirrored_ml(plan.first_look, shown, look_windows)
    region = _region(plan.first_look, image, shown, look_windows)
    found = _found_in(image, region, plan, windows, mirrored_ml)
    for _ in range(_MOST_REGIONS - 1):
        threshold = fusion.threshold(plan.members)
        box = masks.bounding_box(masks.largest_component(found.probability_ijk >= threshold))
        if not region or not box or not region.is_cut_by(box, image.shape):
            break
        region = regions.around(region.to_volume(box), image.grid)
        found = _found_in(image, region, plan, windows, mirrored_ml)
    return found


def overview(first_look: Sequence[Member], image: Volume, every_slice: bool = False) -> Volume:
    """What the first look sees of a volume: some of its slices, a view of its array."""
    plane = first_look[0].info.plane
    step = int(_FIRST_LOOK_SKIPS_BELOW_MM / planes.slice_mm(image.affine, plane))
    if every_slice or step <= 1:
        return image
    return every_nth(image, planes.layout_of(image.affine, plane).axes[0], step)


def _region(
    first_look: Sequence[Member], image: Volume, shown: Volume, windows: Windows
) -> Region | None:
    """The region around the largest thing that looks like the organ; None where nothing does."""
    probability = fusion.probability(first_look, shown, windows)
    box = masks.bounding_box(masks.largest_component(probability >= fusion.threshold(first_look)))
    if box is None:
        return None
    # Voxels of the overview as those of the volume, up to the next slice that was not looked at.
    steps = np.round(shown.zooms_mm / image.zooms_mm).astype(int).tolist()
    sides = zip(box, steps, image.shape, strict=True)
    in_volume = tuple(
        slice(max(0, (side.start - 1) * step + 1), min(size, side.stop * step))
        for side, step, size in sides
    )
    return regions.around(in_volume, image.grid)


def _found_in(
    image: Volume,
    region: Region | None,
    plan: Plan,
    windows: Windows,
    mirrored_ml: dict[Direction, tuple[float, float]],
) -> Found:
    """What the members find in a region, or in the whole volume."""
    crop = region.crop(image) if region else image
    box = region.box if region else tuple(slice(0, size) for size in image.shape)
    views: list[ViewMask] = []
    probability_ijk = fusion.probability(
        plan.members,
        crop,
        windows,
        plan.tta,
        views if plan.with_views else None,
        _SKIP_BELOW_MM if plan.first_look and not plan.full else 0.0,
    )
    doubt = NOTHING_SEEN if plan.first_look and not region else None
    return Found(crop, box, probability_ijk, windows, views, mirrored_ml, doubt)
