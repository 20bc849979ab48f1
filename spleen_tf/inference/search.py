"""The probability of spleen in a volume: where members look, and what they find there.

Members of a family with a first look know the surroundings of the organ alone. The first look
sees the whole volume, coarsely, and says where these are. Where it is wrong, or sees a part of the
organ alone, the members look elsewhere, too.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from spleen_tf.imaging import masks, regions
from spleen_tf.imaging.intensity import Modality
from spleen_tf.imaging.regions import Box, Region
from spleen_tf.imaging.volume import Volume
from spleen_tf.inference import first_look, fusion, lead, modality
from spleen_tf.inference.fusion import Fusion, ViewMask
from spleen_tf.inference.member import Member

Windows = list[tuple[float, float]]

# Between slices that lie nearer, an outline hardly moves: they are not all looked at.
_SKIP_BELOW_MM = 1.5
# A region that cuts off what was found in it is replaced by a larger one, so often at most.
_MOST_REGIONS = 3
# Of what the first look takes for the organ, the members must find this share there. Where they do
# not, they look at its next candidate.
_LEAST_CONFIRMED_SHARE = 0.5

NOTHING_SEEN = "the first look found no spleen; the whole volume was searched"
NOT_CONFIRMED = (
    "where the first look saw the spleen, the other models found none; "
    "the whole volume was searched"
)


@dataclasses.dataclass(frozen=True)
class Plan:
    """How members search a volume.

    Attributes:
        members: whose probabilities are averaged.
        first_look: those that say where, all of one plane; (): the members see the whole volume.
        modality: what the volume is taken for.
        tta: members also see the body a little larger and smaller.
        full: every member sees every slice.
        with_lead: of members of several planes, one sees the whole volume and the others may see
            the surroundings of the organ alone; see `lead`.
    """

    members: Sequence[Member]
    first_look: Sequence[Member]
    modality: Modality
    tta: bool = False
    full: bool = False
    with_lead: bool = False


@dataclasses.dataclass(frozen=True, eq=False)
class Seen:
    """What members see where they look.

    Attributes:
        crop: the part of the volume that the members saw, or all of it.
        box: where that lies in the volume.
        probability_ijk: float16, of the crop's shape.
        windows: of each member, the intensities that become 0 and 1.
        views: the mask of each view of each member, of the crop's shape.
        whole: what the members saw that know whole volumes.
        skip_below_mm: slices were skipped as long as those left lay no further apart.
        doubt: why the place may be wrong, as a reason for a review; None: nothing says so.
    """

    crop: Volume
    box: Box
    probability_ijk: npt.NDArray[Any]
    windows: Windows
    views: list[ViewMask]
    whole: Fusion
    skip_below_mm: float
    doubt: str | None = None

    def in_volume(self, array_ijk: npt.NDArray[Any], shape: tuple[int, ...]) -> npt.NDArray[Any]:
        """An array of the crop's shape in one of the volume's, 0 around it."""
        if array_ijk.shape == shape:
            return array_ijk
        whole_ijk = np.zeros(shape, array_ijk.dtype, order="F")
        masks.paste(array_ijk, whole_ijk[self.box])
        return whole_ijk


def search(image: Volume, plan: Plan) -> Seen:
    """Searches a volume.

    Raises:
        InputError: as `Member.batches` does.
    """
    windows = _windows(image, plan, plan.members)
    if not plan.first_look:
        return _seen_in(image, None, plan, windows)
    shown = first_look.overview(plan.first_look, image, plan.full)
    look_windows = _windows(image, plan, plan.first_look)
    whole = Fusion(plan.first_look, shown, look_windows).look_everywhere()
    candidates = first_look.candidates(whole, image)
    best: Seen | None = None
    most_voxels = 0
    for candidate in candidates:
        seen, voxels = _seen_around(image, candidate.box, plan, windows)
        if voxels > most_voxels:
            best, most_voxels = seen, voxels
        if voxels * image.voxel_mm3 >= _LEAST_CONFIRMED_SHARE * candidate.volume_mm3:
            break
    if best is None:
        best = _seen_in(image, None, plan, windows)
        doubt = NOT_CONFIRMED if candidates else NOTHING_SEEN
        best = dataclasses.replace(best, doubt=doubt)
    return dataclasses.replace(best, whole=whole)


def _windows(image: Volume, plan: Plan, members: Sequence[Member]) -> Windows:
    return modality.windows(image, plan.modality, [member.info for member in members])


def _seen_around(image: Volume, organ: Box, plan: Plan, windows: Windows) -> tuple[Seen, int]:
    """What the members find around a box, or a larger one where that cuts it off; its voxels."""
    threshold = fusion.threshold(plan.members)
    margins_mm = regions.margins_mm(image.affine, [member.info.plane for member in plan.members])
    for _ in range(_MOST_REGIONS):
        region = regions.around(organ, image.grid, margins_mm)
        seen = _seen_in(image, region, plan, windows)
        organ_ijk = masks.largest_component(masks.at_least(seen.probability_ijk, threshold))
        box = masks.bounding_box(organ_ijk)
        if box is None or not region.is_cut_by(box, image.shape):
            break
        organ = region.to_volume(box)
    return seen, int(np.count_nonzero(organ_ijk))


def _seen_in(image: Volume, region: Region | None, plan: Plan, windows: Windows) -> Seen:
    """What the members find in a region, or in the whole volume."""
    crop = region.crop(image) if region else image
    box = region.box if region else tuple(slice(0, size) for size in image.shape)
    skip_below_mm = _SKIP_BELOW_MM if plan.first_look and not plan.full else 0.0
    fused = Fusion(plan.members, crop, windows, plan.tta, skip_below_mm)
    if plan.with_lead and not plan.first_look and not plan.full:
        lead.look(fused)
    else:
        fused.look_everywhere()
    views = [view for views_of_member in fused.views for view in views_of_member]
    return Seen(crop, box, fused.probability_ijk, windows, views, fused, skip_below_mm)
