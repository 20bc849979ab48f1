"""Measures how often spleen_tf.compare calls an unchanged spleen changed, on simulated rescans.

Every case is rescanned in simulation: moved, on another grid with other slice thickness, with new
noise. The family segments all of them, and every two examinations of a case are compared: each one
that is called changed is wrong. The rescans are also registered to the original, whose movement is
known. The output folder receives pairs.csv and study.json. The same command again resumes.

Example:
    python tools/study_compare.py --dataset=data/mr_t2 --model=models/spleen_mr_t2 \\
        --output_dir=data/study_compare
"""

from __future__ import annotations

import dataclasses
import pathlib
import sys

# Lets the program run from a checkout in which the package is not installed.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import msgspec
import numpy as np
from tqdm import tqdm

from spleen_tf.comparison import family_error, rescans, timepoints
from spleen_tf.comparison.rescans import Examination, Measured, Rescan
from spleen_tf.comparison.timepoints import TimePoint
from spleen_tf.core import files, flags, resume
from spleen_tf.core.flags import flag
from spleen_tf.datasets import cases
from spleen_tf.datasets.layouts import Case
from spleen_tf.evaluation.agreement import limits_of_change
from spleen_tf.imaging import registration
from spleen_tf.imaging.intensity import Modality
from spleen_tf.imaging.registration import Rigid
from spleen_tf.imaging.volume import Volume
from spleen_tf.inference import loading
from spleen_tf.inference.family import Family
from spleen_tf.inference.prediction import Options
from spleen_tf.io import readers

# What makes two runs the same study.
PLAN = ("dataset", "model", "rescans", "register", "seed")


@dataclasses.dataclass(frozen=True)
class StudyConfig:
    dataset: str = flag("", "Volumes, one per patient.", required=True)
    model: str = flag("", "The family: a folder, or the name of a released one.", required=True)
    output_dir: str = flag("", "The folder for the results.", required=True)
    rescans: int = flag(3, "Simulated rescans of each case.", minimum=1)
    cases: int | None = flag(None, "Takes only the first so many cases. Not set: all.", minimum=1)
    error_percent: float | None = flag(
        None, "The error of one measurement, where the family has no cross-validation."
    )
    register: bool = flag(True, "Also registers each rescan to the original.")
    seed: int = flag(0, "Seed of the rescans.", minimum=0)
    modality: Modality | None = flag(None, "Of all cases, where the data set does not say it.")


def main(config: StudyConfig) -> None:
    listed = cases.load(config.dataset, config.modality)[: config.cases]
    error = (
        family_error.of_family(config.model)
        if config.error_percent is None
        else family_error.stated(config.error_percent)
    )
    if config.register:
        registration.check_installed()
    folder = files.make_folder(config.output_dir)
    resume.hold(folder, {name: getattr(config, name) for name in PLAN})
    family = loading.load(config.model)
    measured = []
    for number, case in enumerate(tqdm(listed, "study", unit="case", disable=None)):
        path = folder / "measured" / f"{case.name}.json"
        if not path.is_file():
            rng = np.random.default_rng([config.seed, number])
            files.write_json(path, measure(case, family, rng, config))
        measured.append(files.read_record(path, Measured))
    pairs = [pair for one in measured for pair in rescans.pairs(one, error)]
    alignments = [alignment for one in measured for alignment in one.alignments]
    files.write_csv(folder / "pairs.csv", [msgspec.structs.asdict(pair) for pair in pairs])
    figures = rescans.figures(pairs, alignments, limits_of_change(error.error, error.error))
    files.write_json(folder / "study.json", figures)
    for name, value in msgspec.structs.asdict(figures).items():
        print(f"{name}: {value}")


def measure(case: Case, family: Family, rng: np.random.Generator, config: StudyConfig) -> Measured:
    """Rescans a case, and segments and registers its rescans."""
    original = readers.read(case.image)
    simulated = [rescans.simulate(original, rng) for _ in range(config.rescans)]
    points = [
        segmented(image, family, case.modality)
        for image in (original, *(rescan.image for rescan in simulated))
    ]
    alignments = []
    for number, rescan in enumerate(simulated if config.register else [], start=1):
        rigid = register(original, rescan, points[0], points[number])
        alignments.append(rescans.alignment(number, rigid, rescan))
    return Measured(
        case=case.name,
        examinations=tuple(Examination(point.volume_ml, point.complete) for point in points),
        alignments=tuple(alignments),
    )


def segmented(image: Volume, family: Family, modality: Modality | None) -> TimePoint:
    """What the family finds."""
    prediction = family.segment(image, Options(modality=modality))
    return timepoints.of_mask(dataclasses.replace(image, array_ijk=prediction.mask_ijk))


def register(original: Volume, rescan: Rescan, before: TimePoint, after: TimePoint) -> Rigid:
    """As spleen_tf.compare registers."""
    after_mm, before_mm = (
        registration.centroid_ras_mm(point.mask) if point.mask else None
        for point in (after, before)
    )
    return registration.register(rescan.image, original, after_mm, before_mm)


if __name__ == "__main__":
    flags.run(main, StudyConfig)
