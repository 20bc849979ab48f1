"""Measures how well quality control tells failures from successes, and calibrates it.

Takes what tools/cross_validate.py left: each case is corrupted in every way of
spleen_tf.quality.corruptions and segmented by the models of the fold that never saw it. The output
folder receives study.csv (a row per case and corruption), quality.json (the calibration, beside the
model card of models of the same make) and study.md (the tables). Every figure is of predictions
of which neither the models nor the calibration knew the patient. The same command again resumes.

Example:
    python tools/study_quality.py --cross_validation=data/cv --dataset=data/mr_t2 \\
        --second_opinion=data/cv_second_opinion --output_dir=data/study
"""

from __future__ import annotations

import dataclasses
import pathlib
import sys
import warnings
import zlib
from typing import Any

# Lets the program run from a checkout in which the package is not installed.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import msgspec
import numpy as np
import tqdm
from scipy import stats

from spleen_tf.core import files, flags, resume
from spleen_tf.core.files import InputError, InputWarning
from spleen_tf.core.flags import flag
from spleen_tf.datasets import cases
from spleen_tf.datasets.cases import Case
from spleen_tf.evaluation import held_out, metrics
from spleen_tf.evaluation.held_out import CrossValidation
from spleen_tf.imaging.volume import Volume
from spleen_tf.inference import runtimes
from spleen_tf.inference.family import Family
from spleen_tf.inference.prediction import Options
from spleen_tf.quality import calibration, corruptions
from spleen_tf.quality.calibration import COVERAGE, FAILURE_DICE, Calibration
from spleen_tf.quality.evidence import Evidence

UNCORRUPTED = "none"


@dataclasses.dataclass(frozen=True)
class StudyConfig:
    cross_validation: str = flag(
        "", "A folder that tools/cross_validate.py wrote, with its models.", required=True
    )
    dataset: str = flag("", "The data set that was cross-validated.", required=True)
    second_opinion: str = flag(
        "",
        "Another such folder, with the same folds, whose models are asked where the first do not "
        "agree on a spleen.",
    )
    output_dir: str = flag("", "The folder for the results.", required=True)
    seed: int = flag(0, "Seed of the corruptions.", minimum=0)
    precision: str = flag(
        "auto",
        "auto takes float16 on GPUs with tensor cores, bfloat16 on CPUs that have it.",
        choices=("auto", "float32", "bfloat16", "float16"),
    )
    modality: str = flag(
        "", "CT or MR; needed where the data set does not say it.", choices=("", *cases.MODALITIES)
    )


def main(config: StudyConfig) -> None:
    by_name = {case.name: case for case in cases.load(config.dataset, config.modality)}
    validated = held_out.read(config.cross_validation, by_name)
    second = _second_opinion(config, validated, by_name)
    if validated.patients < calibration.LEAST_PATIENTS:
        raise InputError(
            f"{config.cross_validation}: expected {calibration.LEAST_PATIENTS} patients or more to "
            f"calibrate with, found {validated.patients}."
        )
    folder = files.make_folder(config.output_dir)
    resume.hold(folder, _plan(config))
    measured = files.make_folder(folder / "measured")
    rows = _measure(validated, second, by_name, config, measured)
    known = _calibrate(rows, len(validated.planes), config.cross_validation)
    modalities = {by_name[row["case"]].modality for row in rows}
    if len(modalities) == 1:
        known = dataclasses.replace(known, modality=modalities.pop())
    files.write_csv(folder / "study.csv", [_flat(row) for row in rows])
    calibration.write(
        folder / calibration.FILE_NAME,
        known,
        coverage=COVERAGE,
        predictions=len(_judged(rows)),
        patients=validated.patients,
        how="tools/study_quality.py on held-out cases, corrupted and not",
    )
    text = _page(rows, known)
    files.write_text(folder / "study.md", text)
    print(text)


def _second_opinion(
    config: StudyConfig, validated: CrossValidation, by_name: dict[str, Case]
) -> CrossValidation | None:
    """The cross-validation of the models that are asked second; None: there are none.

    Raises:
        InputError: if a model of it may have trained on a case that the first held out.
    """
    if not config.second_opinion:
        return None
    second = held_out.read(config.second_opinion, by_name)
    if second.held_out != validated.held_out:
        raise InputError(
            f"{config.second_opinion}: expected the folds of {config.cross_validation}, found "
            "others; cross-validate both with the same --num_folds, --folds and --seed."
        )
    return second


def _plan(config: StudyConfig) -> dict[str, Any]:
    """What makes two runs the same study."""
    folders = {
        name: str(pathlib.Path(given).resolve()) if (given := getattr(config, name)) else ""
        for name in ("cross_validation", "second_opinion")
    }
    return {**folders, "seed": config.seed, "precision": config.precision}


def _measure(
    validated: CrossValidation,
    second: CrossValidation | None,
    by_name: dict[str, Case],
    config: StudyConfig,
    folder: pathlib.Path,
) -> list[dict[str, Any]]:
    """A row for every held-out case under every corruption; a case that is there is not redone."""
    total = validated.patients * len(corruptions.ALL)
    rows: list[dict[str, Any]] = []
    with tqdm.tqdm(total=total, desc="study", unit="volume", disable=None) as bar:
        for fold, names in validated.held_out.items():
            family = dataclasses.replace(
                validated.family(fold), second_opinion=second.family(fold) if second else None
            )
            for name in names:
                done = folder / f"{name}.json"
                if not done.is_file():
                    runtimes.setup("auto", config.precision)
                    image, label = cases.read(by_name[name], validated.label_value)
                    truth = label.array_ijk > 0
                    found = _corrupted(family, name, image, truth, config.seed)
                    files.write_json(done, found)
                rows += files.read_json(done)
                bar.update(len(corruptions.ALL))
    return rows


def _corrupted(
    family: Family, name: str, image: Volume, truth: np.ndarray, seed: int
) -> list[dict[str, Any]]:
    """A row for each corruption of a volume."""
    rows = []
    for number, (corruption, corrupt) in enumerate(corruptions.ALL.items()):
        rng = np.random.default_rng([seed, zlib.crc32(name.encode()), number])
        found = _segment(family, *corrupt(image, truth, rng))
        rows.append({"case": name, "corruption": corruption, **found})
    return rows


def _segment(family: Family, image: Volume, truth: np.ndarray) -> dict[str, Any]:
    """What predict would find and say of a volume, and its true Dice (None: both are empty)."""
    found = family.segment(image, Options(with_evidence=True))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", InputWarning)
        dice = metrics.dice(truth, found.mask_ijk)
    return {
        "dice": dice if np.isfinite(dice) else None,
        "mirrored_ml": found.mirrored_ml,
        "reasons": found.reasons,
        "signs": found.record.signs,
        "second_opinion": found.is_second_opinion,
        "known_brightness": _brightness(image, found.window, truth),
    }


def _brightness(image: Volume, window, truth: np.ndarray) -> float | None:
    """The mean intensity of the true spleen as the network sees it; None without one."""
    if not truth.any():
        return None
    return float(
        (image.array_ijk[truth].mean(dtype=np.float64) - window[0]) / (window[1] - window[0])
    )


def _calibrate(rows: list[dict[str, Any]], members: int, source: str) -> Calibration:
    """Adds to each row its truth, whether it is flagged and, with a mask, what is predicted.

    All is said by calibrations that never saw the row's patient.
    """
    for row in rows:
        # No mask where there is no spleen is right.
        row["truth"] = 1.0 if row["dice"] is None else row["dice"]
        row["flagged"] = bool(row["reasons"])
    judged = _judged(rows)
    patients = [row["case"] for row in judged]
    if len(set(patients)) < calibration.LEAST_PATIENTS:
        raise InputError(
            f"{source}: expected a mask for {calibration.LEAST_PATIENTS} patients or more, found "
            f"one for {len(set(patients))}; these models find too little to be calibrated."
        )
    sound = [row for row in rows if row["corruption"] == UNCORRUPTED]
    known, judgements = calibration.fit(
        [msgspec.convert(row["signs"], Evidence) for row in judged],
        [row["truth"] for row in judged],
        patients,
        members,
        {r["case"]: r["known_brightness"] for r in sound if r["known_brightness"] is not None},
    )
    for row, judgement in zip(judged, judgements, strict=True):
        row |= {"predicted": judgement.dice, "low": judgement.low, "high": judgement.high}
        row["flagged"] = row["flagged"] or judgement.review
    return known


def _judged(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of which a Dice is predicted: none of an empty mask, nor of a second opinion."""
    return [row for row in rows if row["signs"] and not row["second_opinion"]]


def _flat(row: dict[str, Any]) -> dict[str, Any]:
    """A row of study.csv."""
    told = {key: row[key] for key in ("predicted", "low", "high") if key in row}
    return {
        "case": row["case"],
        "corruption": row["corruption"],
        "dice": row["dice"],
        "second_opinion": row["second_opinion"],
        "flagged": row["flagged"],
        "reasons": "; ".join(row["reasons"]),
        **told,
        **(row["signs"] or {}),
    }


def _page(rows: list[dict[str, Any]], known: Calibration) -> str:
    """study.md: the figures over all predictions, then a line a corruption."""
    judged = _judged(rows)
    inside = [row["low"] <= row["truth"] <= row["high"] for row in judged]
    rank = stats.spearmanr([row["predicted"] for row in judged], [row["truth"] for row in judged])
    failures = [row for row in rows if row["truth"] < FAILURE_DICE]
    sound = [
        row for row in rows if row["corruption"] == UNCORRUPTED and row["truth"] >= FAILURE_DICE
    ]
    lines = [
        "# Quality control",
        "",
        f"{len(rows)} predictions of {len({row['case'] for row in rows})} patients; a failure is a "
        f"Dice below {FAILURE_DICE:g}.",
        "",
        "| measure | value |",
        "| --- | --- |",
        f"| failures flagged | {_share([row['flagged'] for row in failures])} |",
        f"| false alarms on uncorrupted successes | {_share([r['flagged'] for r in sound])} |",
        f"| coverage of the {COVERAGE:.0%} interval | {_share(inside)} |",
        f"| rank correlation of predicted and true Dice | {rank.statistic:.2f} |",
        f"| review below a predicted Dice of | {known.review_below:.2f} |",
        "",
        "| corruption | mean Dice | second opinions | failures | of them flagged "
        "| others flagged |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for corruption in corruptions.ALL:
        those = [row for row in rows if row["corruption"] == corruption]
        failed = [row["flagged"] for row in those if row["truth"] < FAILURE_DICE]
        others = [row["flagged"] for row in those if row["truth"] >= FAILURE_DICE]
        mean = np.mean([row["truth"] for row in those])
        lines.append(
            f"| {corruption.replace('_', ' ')} | {mean:.3f} | "
            f"{sum(row['second_opinion'] for row in those)} | {len(failed)} | {sum(failed)} | "
            f"{sum(others)} of {len(others)} |"
        )
    return "\n".join(lines) + "\n"


def _share(hits: list[bool]) -> str:
    return f"{np.mean(hits):.1%} ({sum(hits)} of {len(hits)})" if hits else "none"


if __name__ == "__main__":
    flags.run(main, StudyConfig)
