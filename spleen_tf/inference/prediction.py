"""From a volume and models to a mask, and what it says of itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from spleen_tf.imaging import masks
from spleen_tf.imaging.volume import Volume
from spleen_tf.quality import evidence
from spleen_tf.quality.calibration import Calibration

if TYPE_CHECKING:
    from spleen_tf.inference.fusion import Member, Vote


@dataclasses.dataclass(frozen=True)
class Rule:
    """How probabilities become a mask.

    Attributes:
        threshold: the probability from which a voxel is spleen; 0 for what the models say.
        largest_component: only the largest connected component is kept.
        fill_holes: cavities become part of the mask.
        tta: members also see the body a little larger and smaller.
    """

    threshold: float = 0.0
    largest_component: bool = True
    fill_holes: bool = True
    tta: bool = False


@dataclasses.dataclass(frozen=True)
class Segmentation:
    """A mask and what is known of it.

    Attributes:
        mask_ijk: (I, J, K) bool.
        measured: what `evidence.measure` says of it.
        components: connected components before any was dropped.
        mirrored_ml: what `fusion.mirrored_ml` found.
        signs: what `evidence.signs` says; None where that was not asked for, or nothing is found.
        predicted_dice: what a calibration expects, with its 90% interval; None without one, and of
            a second opinion.
        predicted_dice_interval: likewise.
        reasons: why a person should look at it, in words.
        members: the models that found it, the first or those of the second opinion.
    """

    mask_ijk: np.ndarray
    measured: dict[str, Any]
    components: int
    mirrored_ml: dict[str, tuple[float, float]]
    signs: dict[str, float] | None
    predicted_dice: float | None
    predicted_dice_interval: tuple[float, float] | None
    reasons: list[str]
    members: list[Member]


@dataclasses.dataclass(frozen=True)
class _Found:
    """What members find, before it is judged."""

    members: list[Member]
    mask_ijk: np.ndarray
    components: int
    voxels_above: int
    mirrored_ml: dict[str, tuple[float, float]]
    signs: dict[str, float] | None


def segment(
    image: Volume,
    members: list[Member],
    rule: Rule = Rule(),  # It is frozen.
    *,
    known: Calibration | None = None,
    second_opinion: Callable[[], list[Member]] | None = None,
    with_signs: bool = False,
    keep: Callable[[np.ndarray], None] = lambda probability_ijk: None,
    lap: Callable[[str], None] = lambda stage: None,
) -> Segmentation:
    """Finds the spleen and judges what was found.

    Args:
        image: the volume.
        members: the models, whose probabilities are averaged.
        rule: how to cut them.
        known: what cross-validation has taught of these members; None: no Dice is predicted.
        second_opinion: gives other models, which are asked where the first do not agree on a
            spleen, and believed if they do.
        with_signs: the signs are collected without `known`, too.
        keep: receives the probability, (I, J, K) float16, before it is dropped; that of a second
            opinion after the first one's.
        lap: is told the name of each stage that ends.
    """
    from spleen_tf.inference import fusion

    foreign = fusion.foreign(members, image)
    is_judged = with_signs or known is not None
    votes = is_judged or second_opinion is not None
    found = _find(image, members, rule, votes, keep, lap)
    is_second = False
    if second_opinion is not None and not foreign and evidence.is_disputed(found.signs):
        held: list[np.ndarray] = []
        other = _find(image, second_opinion(), rule, votes, held.append, lap)
        if not evidence.is_disputed(other.signs):
            found, is_second, known = other, True, None  # What is known is not of these models.
            keep(held.pop())
    measured = evidence.measure(image, found.mask_ijk)
    dice, interval = known.predict(found.signs) if known and found.signs else (None, None)
    # Where signs are judged, this is one of them.
    main_share = measured["voxels"] / max(1, found.voxels_above)
    if is_judged and not is_second:
        main_share = 1.0
    reasons = evidence.reasons_for_review(
        image,
        measured,
        dice,
        known.review_below if known else 0.0,
        evidence.orientation_doubts(found.mirrored_ml),
        foreign=foreign,
        main_share=main_share,
        signs=found.signs,
        is_second_opinion=is_second,
    )
    lap("postprocess")
    return Segmentation(
        found.mask_ijk,
        measured,
        found.components,
        found.mirrored_ml,
        found.signs,
        dice,
        interval,
        reasons,
        found.members,
    )


def _find(
    image: Volume,
    members: list[Member],
    rule: Rule,
    with_signs: bool,
    keep: Callable[[np.ndarray], None],
    lap: Callable[[str], None],
) -> _Found:
    from spleen_tf.inference import fusion

    votes: list[Vote] | None = [] if with_signs else None
    probability = fusion.probability(members, image, rule.tta, votes)
    mirrored_ml = fusion.mirrored_ml(members, image)
    lap("network")
    keep(probability)
    mask = probability >= (rule.threshold or fusion.threshold(members))
    voxels_above = int(np.count_nonzero(mask))
    if votes is None:
        del probability  # As large as the image; what follows may need the room.
    components = masks.count_components(mask)
    if rule.largest_component:
        mask = masks.largest_component(mask)
    if rule.fill_holes:
        mask = masks.fill_holes(mask)
    signs = None
    if votes is not None:
        views = (vote.mask_ijk() for vote in votes)
        window = members[0].window(image)
        signs = evidence.signs(image, window, probability, mask, views, voxels_above)
    lap("postprocess")
    return _Found(members, mask, components, voxels_above, mirrored_ml, signs)
