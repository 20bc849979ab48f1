"""Compares ways to make one mask of several models' probabilities, on held-out cases.

Takes what tools/cross_validate.py left: each case is segmented in every plane by the models of the
fold that never saw it, and the probabilities are fused by several rules (one weights the planes by
their mean Dice in the other folds), cut at several thresholds and cleaned or not. The output
folder receives fusion.csv (a row per case and way) and fusion.md: for each rule the best threshold,
the Dice with it, and the Dice that remains when each fold's threshold is chosen on the other folds
alone.

Example:
    python tools/study_fusion.py --cross_validation=data/cv --dataset=data/mr_t2 \\
        --output_dir=data/fusion
"""

from __future__ import annotations

import dataclasses
import pathlib
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

# Lets the program run from a checkout in which the package is not installed.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import numpy as np
import tqdm

from spleen_tf.core import files, flags
from spleen_tf.core.flags import flag
from spleen_tf.datasets import cases
from spleen_tf.evaluation import held_out, metrics
from spleen_tf.evaluation.held_out import CrossValidation
from spleen_tf.imaging import masks
from spleen_tf.imaging.intensity import Modality
from spleen_tf.inference import runtimes
from spleen_tf.inference.family import Family

THRESHOLDS = (0.3, 0.35, 0.4, 0.45, 0.5, 0.55)
# Logits beyond those of this probability say no more than that.
_SUREST = 1e-3
_LEAST = 1e-6


@dataclasses.dataclass(frozen=True)
class FusionConfig:
    cross_validation: str = flag(
        "", "A folder that tools/cross_validate.py wrote, with its models.", required=True
    )
    dataset: str = flag("", "The data set that was cross-validated.", required=True)
    output_dir: str = flag("", "The folder for the results.", required=True)
    tta: bool = flag(False, "Test-time augmentation in prediction.")
    precision: str = flag(
        "auto",
        "auto takes float16 on GPUs with tensor cores, bfloat16 on CPUs that have it.",
        choices=("auto", "float32", "bfloat16", "float16"),
    )
    modality: Modality | None = flag(None, "Needed where the data set does not say it.")


def mean(p: np.ndarray) -> np.ndarray:
    """The mean of the probabilities."""
    return p.mean(axis=0)


def mean_of_logits(p: np.ndarray) -> np.ndarray:
    """The mean of the log odds, as for independent opinions of equal weight."""
    clipped = np.clip(p, _SUREST, 1 - _SUREST)
    return 1 / (1 + np.exp(-np.log(clipped / (1 - clipped)).mean(axis=0)))


def median(p: np.ndarray) -> np.ndarray:
    """The median, which a single member cannot move far."""
    return np.median(p, axis=0)


RULES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "mean": mean,
    "mean of logits": mean_of_logits,
    "median": median,
}


def main(config: FusionConfig) -> None:
    by_name = {case.name: case for case in cases.load(config.dataset, config.modality)}
    validated = held_out.read(config.cross_validation, by_name)
    shares = _shares(validated)
    folder = files.make_folder(config.output_dir)
    runtimes.setup("auto", config.precision)
    rows = []
    with tqdm.tqdm(total=validated.patients, desc="fuse", unit="case", disable=None) as bar:
        for fold, names in validated.held_out.items():
            members = validated.family(fold).members
            for name in names:
                image, label = cases.read(by_name[name], validated.label_value)
                singles = [
                    Family(member.info.name, (member,))
                    .probability(image, config.tta)
                    .astype(np.float32)
                    for member in members
                ]
                for rule, probability in _fused(validated.planes, np.stack(singles), shares[fold]):
                    rows += [
                        {"case": name, "fold": fold, "rule": rule, **way}
                        for way in _ways(probability, label.array_ijk.astype(bool))
                    ]
                bar.update()
    files.write_csv(folder / "fusion.csv", rows)
    text = page(rows)
    files.write_text(folder / "fusion.md", text)
    print(text)


def _shares(validated: CrossValidation) -> dict[str, np.ndarray]:
    """By fold, what each plane counts for: its mean Dice in the other folds, over those of all.

    Returns:
        float32, in the order of planes, whose sum is 1. A single fold goes by its own cases.
    """
    # The Dice is undefined where there is no spleen and none was found: that is right.
    dices = {key: 1.0 if np.isnan(d) else d for key, d in held_out.dices(validated).items()}
    shares = {}
    for fold, names in validated.held_out.items():
        others = [n for f, of_fold in validated.held_out.items() if f != fold for n in of_fold]
        # Where every plane missed every case, all count alike.
        scores = [
            _LEAST + np.mean([dices[p, n] for n in others or names]) for p in validated.planes
        ]
        shares[fold] = np.array(scores, np.float32) / np.float32(np.sum(scores))
    return shares


def _fused(
    planes: Sequence[str], p: np.ndarray, shares: np.ndarray
) -> Iterator[tuple[str, np.ndarray]]:
    """Each plane alone, each leave-one-out pair, and all by each rule."""
    yield from zip(planes, p, strict=True)
    if len(planes) > 2:
        for index, plane in enumerate(planes):
            yield f"mean without {plane}", mean(np.delete(p, index, axis=0))
    if len(planes) > 1:
        for name, rule in RULES.items():
            yield name, rule(p)
        yield "mean weighted by Dice", np.tensordot(shares, p, axes=1)


def _ways(probability: np.ndarray, truth: np.ndarray) -> Iterator[dict[str, Any]]:
    for threshold in THRESHOLDS:
        above = probability >= threshold
        main_part = masks.largest_component(above)
        for kept, mask in (("all", above), ("largest", main_part)):
            voxels = np.count_nonzero(truth)
            # Without a spleen, an empty mask is right, and a relative error is undefined.
            dice = metrics.dice(truth, mask) if voxels or mask.any() else 1.0
            error = 100 * (np.count_nonzero(mask) / voxels - 1) if voxels else np.nan
            yield {
                "threshold": threshold,
                "kept": kept,
                "dice": dice,
                "volume_error_percent": error,
            }


def page(rows: list[dict[str, Any]]) -> str:
    """fusion.md.

    Args:
        rows: of fusion.csv.
    """
    lines = [
        "# Fusion",
        "",
        "| rule | kept | best threshold | Dice | worst | volume error (%) | at 0.5 | chosen on "
        "other folds |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    ways = dict.fromkeys((row["rule"], row["kept"]) for row in rows)
    for rule, kept in ways:
        those = [row for row in rows if (row["rule"], row["kept"]) == (rule, kept)]
        best = _best_threshold(those)
        chosen = [row for row in those if row["threshold"] == best]
        at_half = [row["dice"] for row in those if row["threshold"] == 0.5]
        error = np.nanmean([abs(row["volume_error_percent"]) for row in chosen])
        lines.append(
            f"| {rule} | {kept} | {best:g} | {np.mean([r['dice'] for r in chosen]):.4f} | "
            f"{min(row['dice'] for row in chosen):.3f} | {error:.1f} | {np.mean(at_half):.4f} | "
            f"{np.mean(_nested(those)):.4f} |"
        )
    return "\n".join(lines) + "\n"


def _best_threshold(rows: list[dict[str, Any]]) -> float:
    dices: dict[float, list[float]] = {}
    for row in rows:
        dices.setdefault(row["threshold"], []).append(row["dice"])
    return max(dices, key=lambda threshold: np.mean(dices[threshold]))


def _nested(rows: list[dict[str, Any]]) -> list[float]:
    """The Dice of each case, at the threshold that is best for the cases of other folds."""
    dices: list[float] = []
    for fold in {row["fold"] for row in rows}:
        others = [row for row in rows if row["fold"] != fold] or rows
        best = _best_threshold(others)
        dices += [r["dice"] for r in rows if r["fold"] == fold and r["threshold"] == best]
    return dices


if __name__ == "__main__":
    flags.run(main, FusionConfig)
