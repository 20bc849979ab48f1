"""Measures how well quality control tells failures from successes, and calibrates it.

Takes the folder that tools/cross_validate.py wrote: each case is corrupted in every way that
spleen_tf.quality.corruptions has for its modality, and segmented by the models of the fold that
held it out. The output folder receives study.csv (a row per case and corruption), quality.json (the
calibration, which goes beside the model card of models of the same make), study.json and study.md
(the figures, by modality where the study has CT and MR). Every figure is of predictions of which
neither the models nor the calibration knew the patient. The same command again resumes.

Example:
    python tools/study_quality.py --cross_validation=data/cv --dataset=data/mr_t2 \\
        --second_opinion=data/cv_second_opinion --output_dir=data/study
"""

from __future__ import annotations

import dataclasses
import pathlib
import sys

# Lets the program run from a checkout in which the package is not installed.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import msgspec

from spleen_tf.core import files, flags, resume
from spleen_tf.core.files import InputError
from spleen_tf.core.flags import flag
from spleen_tf.datasets import cases
from spleen_tf.datasets.layouts import Case
from spleen_tf.evaluation import held_out, held_out_volumes, quality_figures, quality_study
from spleen_tf.evaluation.held_out import CrossValidation
from spleen_tf.imaging.intensity import Modality
from spleen_tf.network.spec import Precision
from spleen_tf.quality import calibration, calibration_fit, volume_interval


@dataclasses.dataclass(frozen=True)
class StudyConfig:
    cross_validation: str = flag(
        "", "A folder that tools/cross_validate.py wrote, with its models.", required=True
    )
    dataset: str = flag("", "The data set that was cross-validated.", required=True)
    second_opinion: str | None = flag(
        None,
        "Another such folder, with the same folds: its models are the fallback where the first "
        "disagree.",
    )
    output_dir: str = flag("", "The folder for the results.", required=True)
    seed: int = flag(0, "Seed of the corruptions.", minimum=0)
    precision: Precision = flag(
        "auto", "auto takes float16 on GPUs with tensor cores, bfloat16 on CPUs that have it."
    )
    modality: Modality | None = flag(None, "Of all cases, where the data set does not say it.")


def main(config: StudyConfig) -> None:
    case_of = {case.name: case for case in cases.load(config.dataset, config.modality)}
    validated = held_out.read(config.cross_validation, case_of)
    second = _second_opinion(config, validated, case_of)
    if validated.patients < calibration_fit.LEAST_PATIENTS:
        raise InputError(
            f"{config.cross_validation}: expected {calibration_fit.LEAST_PATIENTS} patients or "
            f"more to calibrate with, found {validated.patients}."
        )
    folder = files.make_folder(config.output_dir)
    resume.hold(folder, _plan(config))
    measurements = quality_study.measure(
        *(validated, second, case_of, files.make_folder(folder / "measured")),
        seed=config.seed,
        precision=config.precision,
    )
    modality_of = {name: case.modality for name, case in case_of.items()}
    learnt, judged = quality_study.calibrate(
        measurements, modality_of, len(validated.planes), config.cross_validation
    )
    volumes = held_out_volumes.read(validated.folder, modality_of.get)
    intervals = volume_interval.by_modality(volumes)
    learnt = msgspec.structs.replace(learnt, volume_intervals=intervals)
    study = quality_figures.study(judged, learnt)
    page = quality_figures.page(study, judged)
    files.write_csv(folder / "study.csv", [row.row() for row in judged])
    files.write_json(folder / "study.json", study)
    files.write_text(folder / "study.md", page)
    calibration.write(
        folder / calibration.FILE_NAME,
        learnt,
        coverage=calibration.COVERAGE,
        predictions=study.all.coverage.total,
        how="tools/study_quality.py on held-out cases, corrupted and not",
    )
    print(page)


def _second_opinion(
    config: StudyConfig, validated: CrossValidation, case_of: dict[str, Case]
) -> CrossValidation | None:
    """The cross-validation of the models that are asked second; None: there are none.

    Raises:
        InputError: if a model of it may have trained on a case that the first held out.
    """
    if not config.second_opinion:
        return None
    second = held_out.read(config.second_opinion, case_of)
    if second.held_out != validated.held_out:
        raise InputError(
            f"{config.second_opinion}: expected the folds of {config.cross_validation}, found "
            "others; cross-validate both with the same --num_folds, --folds and --seed."
        )
    return second


def _plan(config: StudyConfig) -> dict[str, object]:
    """What makes two runs the same study."""
    folders = {
        name: str(pathlib.Path(given).resolve()) if (given := getattr(config, name)) else ""
        for name in ("cross_validation", "second_opinion")
    }
    return {**folders, "seed": config.seed, "precision": config.precision}


if __name__ == "__main__":
    flags.run(main, StudyConfig)
