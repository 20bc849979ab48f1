"""Ways to make one mask of several models' probabilities, compared on held-out cases.

The probabilities of a fold's models, one per plane, are fused by several rules, cut at several
thresholds, and cleaned or not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal

import msgspec
import numpy as np
import numpy.typing as npt
import tqdm

from spleen_tf.datasets import cases
from spleen_tf.datasets.layouts import Case
from spleen_tf.evaluation import held_out, metrics, tables
from spleen_tf.evaluation.held_out import CrossValidation
from spleen_tf.imaging import masks
from spleen_tf.inference import runtimes
from spleen_tf.inference.family import Family

THRESHOLDS = (0.3, 0.35, 0.4, 0.45, 0.5, 0.55)
# Logits beyond those of this probability say no more than that.
_SUREST = 1e-3
# So that planes that found nothing count alike.
_LEAST_DICE = 1e-6

Probabilities = npt.NDArray[np.floating[Any]]


class Way(msgspec.Struct, frozen=True, kw_only=True):
    """One case, segmented in one way: a row of fusion.csv.

    Attributes:
        case, fold: the case, and the number of the fold that held it out.
        rule: a plane alone, or how several were fused.
        threshold: the probability from which a voxel is spleen.
        kept: of what lies above it, all or the largest component.
        dice: with the truth; 1 if both are empty.
        volume_error_percent: of the true volume; NaN where there is no spleen.
    """

    case: str
    fold: str
    rule: str
    threshold: float
    kept: Literal["all", "largest"]
    dice: float
    volume_error_percent: float


def mean(p: Probabilities) -> Probabilities:
    """(I, J, K): the mean of (M, I, J, K) probabilities."""
    fused: Probabilities = p.mean(axis=0)
    return fused


def mean_of_logits(p: Probabilities) -> Probabilities:
    """The mean of the log odds, as for independent opinions of equal weight."""
    clipped = np.clip(p, _SUREST, 1 - _SUREST)
    fused: Probabilities = 1 / (1 + np.exp(-np.log(clipped / (1 - clipped)).mean(axis=0)))
    return fused


def median(p: Probabilities) -> Probabilities:
    """The median, which a single member cannot move far."""
    fused: Probabilities = np.median(p, axis=0)
    return fused


RULES: dict[str, Callable[[Probabilities], Probabilities]] = {
    "mean": mean,
    "mean of logits": mean_of_logits,
    "median": median,
}


def measure(
    validated: CrossValidation, case_of: Mapping[str, Case], tta: bool, precision: str = "auto"
) -> list[Way]:
    """Measures every held-out case in every way, under a progress bar.

    Args:
        validated: the cross-validation.
        case_of: the cases by name.
        tta: whether prediction uses test-time augmentation.
        precision: of the networks.

    Raises:
        InputError: if a case or a model cannot be read, or cases.csv.
    """
    shares_of = shares(validated)
    runtimes.setup("auto", precision)
    ways: list[Way] = []
    with tqdm.tqdm(total=validated.patients, desc="fuse", unit="case", disable=None) as bar:
        for fold, names in validated.held_out.items():
            members = validated.family(fold).members
            alone = [Family(member.info.name, (member,)) for member in members]
            for name in names:
                image, label = cases.read(case_of[name], validated.label_value)
                p = np.stack([one.probability(image, tta).astype(np.float32) for one in alone])
                truth_ijk = label.array_ijk.astype(bool)
                for rule, probability_ijk in fused(validated.planes, p, shares_of[fold]):
                    ways += _cut(name, fold, rule, probability_ijk, truth_ijk)
                bar.update()
    return ways


def shares(validated: CrossValidation) -> dict[str, npt.NDArray[np.float32]]:
    """By fold, what each plane counts for: its mean Dice in the other folds, over those of all.

    Returns:
        (M,) float32 in the order of planes, whose sum is 1. A single fold goes by its own cases.

    Raises:
        InputError: if cases.csv is missing or lacks a case.
    """
    # The Dice is undefined where there is no spleen and none was found: that is right.
    dices = {key: 1.0 if np.isnan(d) else d for key, d in held_out.dices(validated).items()}
    shares_of = {}
    for fold, names in validated.held_out.items():
        others = [n for f, of_fold in validated.held_out.items() if f != fold for n in of_fold]
        scores = [
            _LEAST_DICE + np.mean([dices[plane, n] for n in others or names])
            for plane in validated.planes
        ]
        shares_of[fold] = np.array(scores, np.float32) / np.float32(np.sum(scores))
    return shares_of


def fused(
    planes: Sequence[str], p: Probabilities, plane_shares: Probabilities
) -> Iterator[tuple[str, Probabilities]]:
    """Each plane alone, each leave-one-out pair, and all by each rule.

    Args:
        planes: (M,) names.
        p: (M, I, J, K) probabilities.
        plane_shares: (M,) what each plane counts for, where they are weighted.
    """
    yield from zip(planes, p, strict=True)
    if len(planes) > 2:
        for index, plane in enumerate(planes):
            yield f"mean without {plane}", mean(np.delete(p, index, axis=0))
    if len(planes) > 1:
        for name, rule in RULES.items():
            yield name, rule(p)
        yield "mean weighted by Dice", np.tensordot(plane_shares, p, axes=1)


def _cut(
    case: str,
    fold: str,
    rule: str,
    probability_ijk: Probabilities,
    truth_ijk: npt.NDArray[np.bool_],
) -> Iterator[Way]:
    """Every threshold, with all that lies above it and with only the largest component."""
    for threshold in THRESHOLDS:
        above = probability_ijk >= threshold
        kept: dict[Literal["all", "largest"], npt.NDArray[np.bool_]] = {
            "all": above,
            "largest": masks.largest_component(above),
        }
        for what, mask_ijk in kept.items():
            voxels = np.count_nonzero(truth_ijk)
            yield Way(
                case=case,
                fold=fold,
                rule=rule,
                threshold=threshold,
                kept=what,
                dice=metrics.dice(truth_ijk, mask_ijk) if voxels or mask_ijk.any() else 1.0,
                volume_error_percent=(
                    100 * (np.count_nonzero(mask_ijk) / voxels - 1) if voxels else np.nan
                ),
            )


def page(ways: Sequence[Way]) -> str:
    """fusion.md: for each rule the best threshold, and what it is worth where others chose it."""
    header = ["rule", "kept", "best threshold", "Dice", "worst", "volume error (%)", "at 0.5"]
    lines = []
    for rule, kept in dict.fromkeys((way.rule, way.kept) for way in ways):
        those = [way for way in ways if (way.rule, way.kept) == (rule, kept)]
        best = best_threshold(those)
        chosen = [way for way in those if way.threshold == best]
        errors = [abs(way.volume_error_percent) for way in chosen]
        lines.append(
            [
                *(rule, kept, f"{best:g}"),
                f"{np.mean([way.dice for way in chosen]):.4f}",
                f"{min(way.dice for way in chosen):.3f}",
                f"{np.nanmean(errors):.1f}",
                f"{np.mean([way.dice for way in those if way.threshold == 0.5]):.4f}",
                f"{np.mean(dices_by_other_folds(those)):.4f}",
            ]
        )
    return f"# Fusion\n\n{tables.markdown([*header, 'chosen on other folds'], lines)}\n"


def best_threshold(ways: Sequence[Way]) -> float:
    """The threshold with the best mean Dice."""
    dices_at: dict[float, list[float]] = {}
    for way in ways:
        dices_at.setdefault(way.threshold, []).append(way.dice)
    return max(dices_at, key=lambda threshold: float(np.mean(dices_at[threshold])))


def dices_by_other_folds(ways: Sequence[Way]) -> list[float]:
    """The Dice of each case, at the threshold that is best for the cases of the other folds."""
    dices: list[float] = []
    for fold in {way.fold for way in ways}:
        best = best_threshold([way for way in ways if way.fold != fold] or ways)
        dices += [way.dice for way in ways if way.fold == fold and way.threshold == best]
    return dices
