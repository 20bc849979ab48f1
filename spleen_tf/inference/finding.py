"""What members find in a volume, before it is judged: the mask, and what shows its quality."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from spleen_tf.core.timing import Clock
from spleen_tf.imaging import masks
from spleen_tf.imaging.volume import Volume
from spleen_tf.inference import fusion, orientation
from spleen_tf.inference import search as searches
from spleen_tf.inference.member import Member
from spleen_tf.inference.modality import TakenModality
from spleen_tf.inference.prediction import Options
from spleen_tf.inference.search import Plan, Seen
from spleen_tf.quality import evidence
from spleen_tf.quality.checks import Direction
from spleen_tf.quality.evidence import Agreement, Evidence


@dataclasses.dataclass(frozen=True, eq=False)
class Case:
    """A volume, what it is taken for, and how it is to be segmented."""

    image: Volume
    taken: TakenModality
    options: Options


@dataclasses.dataclass(frozen=True, eq=False)
class Finding:
    """What members find in a case.

    Attributes:
        mask_ijk: (I, J, K) bool, on the volume's grid.
        components: connected components before any was dropped.
        voxels_above: how many voxels these have.
        window: the intensities that the first member sees as 0 and 1.
        mirrored_ml: see `orientation.mirrored_ml`.
        evidence: None where it was not collected, or nothing is found.
        nested_ml: see `evidence.nested_ml`; None likewise.
        probability_ijk: (I, J, K) float16, where it was asked for.
        doubt: why the place may be wrong, as a reason for a review; None: nothing says so.
    """

    mask_ijk: npt.NDArray[np.bool_]
    components: int
    voxels_above: int
    window: tuple[float, float]
    mirrored_ml: dict[Direction, tuple[float, float]]
    evidence: Evidence | None
    nested_ml: tuple[float, float] | None
    probability_ijk: npt.NDArray[Any] | None
    doubt: str | None


def find(
    members: Sequence[Member],
    first_look: Sequence[Member],
    case: Case,
    with_evidence: bool,
    clock: Clock,
) -> Finding:
    """Searches a volume, and cleans what is found.

    Args:
        members, first_look: as in `search.Plan`.
        case: the volume.
        with_evidence: evidence is collected.
        clock: counts the time.

    Raises:
        InputError: as `search.search` does.
    """
    image, options = case.image, case.options
    plan = Plan(
        members,
        first_look,
        case.taken.modality,
        tta=options.tta,
        full=options.full,
        # Otherwise, what was asked for may lie anywhere.
        with_lead=options.is_as_calibrated and not options.with_probability,
    )
    seen = searches.search(image, plan)
    mirrored_ml = orientation.mirrored_ml(seen.whole)
    clock.lap("network")
    probability, cutoff = seen.probability_ijk, options.threshold
    if cutoff is None:
        cutoff = fusion.threshold(members)
    mask = masks.at_least(probability, cutoff)
    voxels_above = int(np.count_nonzero(mask))
    components = masks.count_components(mask)
    if options.largest_component:
        mask = masks.largest_component(mask)
    if options.fill_holes:
        mask = masks.fill_holes(mask)
    collected, nested_ml = None, None
    if with_evidence and mask.any():
        agreement = _agreement(members, seen, mask)
        collected = evidence.collect(
            seen.crop, seen.windows[0], probability, mask, agreement, voxels_above
        )
        nested_ml = evidence.nested_ml(seen.crop, probability, mask, cutoff)
    clock.lap("postprocess")
    return Finding(
        mask_ijk=seen.in_volume(mask, image.shape),
        components=components,
        voxels_above=voxels_above,
        window=seen.windows[0],
        mirrored_ml=mirrored_ml,
        evidence=collected,
        nested_ml=nested_ml,
        probability_ijk=(
            seen.in_volume(probability, image.shape) if options.with_probability else None
        ),
        doubt=seen.doubt,
    )


def _agreement(members: Sequence[Member], seen: Seen, mask_ijk: npt.NDArray[np.bool_]) -> Agreement:
    """Between the members, or of a single one with itself where it is shown another body."""
    if len(members) > 1:
        return evidence.agreement_around(mask_ijk, (view.mask_ijk() for view in seen.views))
    result_nhw, views_nhw = fusion.shown_differently(
        members[0], seen.crop, seen.windows[0], mask_ijk, seen.skip_below_mm
    )
    return evidence.agreement(result_nhw, [result_nhw, *views_nhw])
