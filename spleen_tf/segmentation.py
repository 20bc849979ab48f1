"""From a volume and models to a mask, and what it says of itself."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from spleen_tf import postprocess, quality
from spleen_tf.calibration import Calibration
from spleen_tf.volume import Volume

if TYPE_CHECKING:
    from spleen_tf.ensemble import Member, Vote


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
        measured: what `quality.measure` says of it.
        components: connected components before any was dropped.
        mirrored_ml: what `ensemble.mirrored_ml` found.
        signs: what `quality.signs` says; None where that was not asked for, or nothing is found.
        predicted_dice: what a calibration expects, with its 90% interval; None without one.
        predicted_dice_interval: likewise.
        reasons: why a person should look at it, in words.
    """

    mask_ijk: np.ndarray
    measured: dict[str, Any]
    components: int
    mirrored_ml: dict[str, tuple[float, float]]
    signs: dict[str, float] | None
    predicted_dice: float | None
    predicted_dice_interval: tuple[float, float] | None
    reasons: list[str]


def segment(
    image: Volume,
    members: list[Member],
    rule: Rule = Rule(),  # It is frozen.
    *,
    known: Calibration | None = None,
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
        with_signs: the signs are collected without `known`, too.
        keep: receives the probability, (I, J, K) float16, before it is dropped.
        lap: is told the name of each stage that ends.
    """
    from spleen_tf import ensemble

    votes: list[Vote] | None = [] if known or with_signs else None
    probability = ensemble.probability(members, image, rule.tta, votes)
    mirrored_ml = ensemble.mirrored_ml(members, image)
    lap("network")
    keep(probability)
    mask = probability >= (rule.threshold or ensemble.threshold(members))
    voxels_above = np.count_nonzero(mask)
    if votes is None:
        del probability  # As large as the image; what follows may need the room.
    components = postprocess.count_components(mask)
    if rule.largest_component:
        mask = postprocess.largest_component(mask)
    if rule.fill_holes:
        mask = postprocess.fill_holes(mask)
    signs = None
    if votes is not None:
        views = (vote.mask_ijk() for vote in votes)
        window = members[0].window(image)
        signs = quality.signs(image, window, probability, mask, views, voxels_above)
        del probability
    measured = quality.measure(image, mask)
    dice, interval = known.predict(signs) if known and signs else (None, None)
    # Where signs are taken, this is one of them.
    main_share = 1.0 if votes is not None else measured["voxels"] / max(1, voxels_above)
    reasons = quality.reasons_for_review(
        image,
        measured,
        dice,
        known.review_below if known else 0.0,
        quality.orientation_doubts(mirrored_ml),
        foreign=ensemble.foreign(members, image),
        main_share=main_share,
    )
    lap("postprocess")
    return Segmentation(mask, measured, components, mirrored_ml, signs, dice, interval, reasons)
