"""Where members of several planes look: one leads, the others look around what it sees.

The member with the fewest slices sees the whole volume. Around what it takes for the organ, the
others look as far as the evidence of the result does, so that mask and evidence are as they would
be after looking everywhere. Where they do not confirm what it sees, they do look everywhere.
"""

from __future__ import annotations

import math

import numpy as np

from spleen_tf.imaging import masks, planes
from spleen_tf.imaging.regions import Box
from spleen_tf.imaging.volume import Volume
from spleen_tf.inference import fusion
from spleen_tf.inference.fusion import Fusion
from spleen_tf.quality import checks

# On each side of what the lead sees, at least; half of its length if that is more.
_MARGIN_MM = 30.0
# Of what the lead sees, the members together must find this share, in one piece.
_LEAST_CONFIRMED_SHARE = 0.5
# The surroundings of what they find may reach further; so often they look again at most.
_MOST_STEPS = 3


def look(fused: Fusion) -> None:
    """All members look, the others than the lead only where they have to.

    Args:
        fused: nobody has looked yet.

    Raises:
        InputError: as `Member.batches` does.
    """
    counts = [len(above) for above in fused.above]
    lead = int(np.argmin(counts))
    fused.look(lead)
    spans = {number: (0, 0) for number in range(len(counts)) if number != lead}
    lead_ijk = fused.views[lead][0].mask_ijk()
    box = masks.bounding_box(lead_ijk)
    if spans and box:
        seen = _with_margins(box, fused.image)
        spans = {number: (_span(seen, number, fused)[0],) * 2 for number in spans}
        for _ in range(_MOST_STEPS):
            _widen(spans, seen, fused)
            organ = _confirmed(fused, int(np.count_nonzero(lead_ijk)))
            if organ is None:
                break
            wider = _union(seen, masks.surroundings(organ), fused.image.shape)
            if wider == seen:
                return
            seen = wider
    _widen(spans, tuple(slice(0, size) for size in fused.image.shape), fused)


def _with_margins(box: Box, image: Volume) -> Box:
    margins = [
        max((side.stop - side.start) // 2, math.ceil(_MARGIN_MM / zoom_mm))
        for side, zoom_mm in zip(box, image.zooms_mm, strict=True)
    ]
    return tuple(
        slice(max(0, side.start - margin), min(size, side.stop + margin))
        for side, margin, size in zip(box, margins, image.shape, strict=True)
    )


def _union(first: Box, second: Box, shape: tuple[int, ...]) -> Box:
    """The box around two boxes, within the volume."""
    return tuple(
        slice(min(a.start, b.start), min(size, max(a.stop, b.stop)))
        for a, b, size in zip(first, second, shape, strict=True)
    )


def _widen(spans: dict[int, tuple[int, int]], box: Box, fused: Fusion) -> None:
    """Members look at the slices that cut a box, as far as they have not seen them.

    Args:
        spans: of each member, the first slice that it has seen and the one after the last; brought
            up to date.
        box: holds all that was looked at before.
        fused: receives what they see.
    """
    for number, (start, stop) in spans.items():
        first, last = _span(box, number, fused)
        for part in ((first, start), (stop, last)):
            if part[0] < part[1]:
                fused.look(number, part)
        spans[number] = first, last


def _span(box: Box, number: int, fused: Fusion) -> tuple[int, int]:
    """The slices of a member that cut a box: the first, and the one after the last."""
    image = fused.image
    layout = planes.layout_of(image.affine, fused.members[number].info.plane)
    side, size = box[layout.axes[0]], image.shape[layout.axes[0]]
    return (size - side.stop, size - side.start) if layout.flips[0] else (side.start, side.stop)


def _confirmed(fused: Fusion, lead_voxels: int) -> Box | None:
    """The box of the organ that the members find together; None if it is not what the lead saw."""
    found_ijk = masks.at_least(fused.probability_ijk, fusion.threshold(fused.members))
    organ_ijk = masks.largest_component(found_ijk)
    voxels = int(np.count_nonzero(organ_ijk))
    is_plausible = voxels * fused.image.voxel_mm3 / 1000 >= checks.PLAUSIBLE_ML[0]
    is_seen_by_lead = voxels >= _LEAST_CONFIRMED_SHARE * lead_voxels
    return masks.bounding_box(organ_ijk) if is_plausible and is_seen_by_lead else None
