"""Compares ways to make one mask of several models' probabilities, on held-out cases.

Takes the folder that tools/cross_validate.py wrote: each case is segmented in every plane by the
models of the fold that held it out, and the probabilities are fused by several rules (one weights
the planes by their mean Dice in the other folds), cut at several thresholds, and cleaned or not.
The output folder receives fusion.csv (one row per case and way) and fusion.md: for each rule the
best threshold, the Dice with it, and the Dice that remains when each fold's threshold is chosen
only on the other folds.

Example:
    python tools/study_fusion.py --cross_validation=data/cv --dataset=data/mr_t2 \\
        --output_dir=data/fusion
"""

from __future__ import annotations

import dataclasses
import pathlib
import sys

# Lets the program run from a checkout in which the package is not installed.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import msgspec

from spleen_tf.core import files, flags
from spleen_tf.core.flags import flag
from spleen_tf.datasets import cases
from spleen_tf.evaluation import fusion_study, held_out
from spleen_tf.imaging.intensity import Modality
from spleen_tf.network.spec import Precision


@dataclasses.dataclass(frozen=True)
class FusionConfig:
    cross_validation: str = flag(
        "", "A folder that tools/cross_validate.py wrote, with its models.", required=True
    )
    dataset: str = flag("", "The data set that was cross-validated.", required=True)
    output_dir: str = flag("", "The folder for the results.", required=True)
    tta: bool = flag(False, "Predicts with test-time augmentation.")
    precision: Precision = flag(
        "auto", "auto takes float16 on GPUs with tensor cores, bfloat16 on CPUs that have it."
    )
    modality: Modality | None = flag(None, "Of all cases, where the data set does not say it.")


def main(config: FusionConfig) -> None:
    case_of = {case.name: case for case in cases.load(config.dataset, config.modality)}
    validated = held_out.read(config.cross_validation, case_of)
    folder = files.make_folder(config.output_dir)
    ways = fusion_study.measure(validated, case_of, config.tta, config.precision)
    files.write_csv(folder / "fusion.csv", [msgspec.structs.asdict(way) for way in ways])
    page = fusion_study.page(ways)
    files.write_text(folder / "fusion.md", page)
    print(page)


if __name__ == "__main__":
    flags.run(main, FusionConfig)
