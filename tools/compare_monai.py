"""Trains MONAI's networks as a careful user would, on the folds of a cross-validation, to compare.

--network=2d is a 2D U-Net on axial slices at the volume's own resolution: on CT with the window
from -125 to 275 HU, 7.8 M parameters and mild augmentation; on MR with percentiles of the volume,
residual units (6.5 M parameters) and stronger augmentation. Crops of 256×256, half of them around
spleen, AdamW with a one-cycle schedule, Dice and cross-entropy, no dropout, no mirrors.
--network=3d is the network of MONAI's tutorial on the spleen with its settings: 1.5×1.5×2 mm, -57
to 164 HU, crops of 96×96×96, Adam, Dice loss. Both run in bfloat16 on the CPU and are compiled.

The minutes of training start once the network is compiled. No held-out case chooses weights. The
output folder receives the mask of each held-out case, its largest component, for spleen_tf.evaluate
to measure like any other, and fold_N.json with versions, steps, images and seconds per case.

PyTorch and MONAI run in an interpreter of their own; BUILD.md says how to make it.

Examples:
    python tools/compare_monai.py --dataset=data/ct_btcv --num_folds=3 --network=3d --minutes=30 \\
        --output_dir=data/monai_3d --peer_python=data/peers/bin/python
    python -m spleen_tf.evaluate --predictions=data/monai_3d --labels=data/ct_btcv \\
        --output_dir=data/monai_3d_results
"""

from __future__ import annotations

import dataclasses
import functools
import pathlib
import sys

# Lets the program run from a checkout in which the package is not installed.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from spleen_tf.benchmark import machine
from spleen_tf.benchmark.peers import fold as peer_fold
from spleen_tf.benchmark.peers.exchange import (
    BASE_FILTERS,
    CROPS_PER_VOLUME,
    LEARNING_RATE,
    Network,
    Settings,
)
from spleen_tf.benchmark.peers.fold import FoldReport
from spleen_tf.core import files, flags
from spleen_tf.core.files import InputError
from spleen_tf.core.flags import flag
from spleen_tf.datasets import cases
from spleen_tf.datasets.layouts import Case
from spleen_tf.datasets.splits import Splits
from spleen_tf.evaluation import protocol
from spleen_tf.imaging.intensity import Modality


@dataclasses.dataclass(frozen=True)
class CompareConfig:
    dataset: str = flag(
        "", "A data set's folder or CSV, as make_tfrecords takes it.", required=True
    )
    output_dir: str = flag("", "A folder for the masks of the held-out cases.", required=True)
    network: Network = flag("2d", "MONAI's 2D U-Net, or the 3D one of its tutorial.")
    peer_python: str | None = flag(
        None,
        "A Python interpreter with the packages of requirements-peers.txt. Not set: this one.",
    )
    num_folds: int = flag(5, "Folds that the cases are dealt into.", minimum=2)
    folds: str = flag("0", "The folds to run, separated by commas. Empty: all.")
    seed: int = flag(0, "Seed of the folds, as in cross_validate.", minimum=0)
    minutes: float = flag(15.0, "Minutes of training per fold.", minimum=0.01)
    batch_size: int = flag(
        8, "Slices per step; with --network=3d crops, four from each volume.", minimum=1
    )
    base_filters: int | None = flag(
        None,
        "Channels of the first level. Not set: 32, with --network=3d 16.",
        minimum=1,
        maximum=256,
    )
    learning_rate: float | None = flag(
        None, "Peak learning rate. Not set: 1e-3, with --network=3d 1e-4.", minimum=1e-9, maximum=10
    )
    compile: bool = flag(True, "Compiles the network, which needs a C++ compiler.")
    label_value: int = flag(
        0, "The label's value that means spleen; 0: any value above 0.", minimum=0
    )
    modality: Modality | None = flag(None, "Of all cases, where the data set does not say it.")


def main(config: CompareConfig) -> None:
    if config.network == "3d" and config.batch_size % CROPS_PER_VOLUME:
        raise InputError(
            f"--batch_size: expected a multiple of {CROPS_PER_VOLUME}, the crops of a volume, with "
            f"--network=3d, found {config.batch_size}."
        )
    listed = cases.load(config.dataset, config.modality)
    folds = protocol.deal(listed, config.seed, config.num_folds, config.folds)
    modality = _modality(listed, config.dataset)
    python = config.peer_python or sys.executable
    versions = peer_fold.versions(python)
    output = files.make_folder(config.output_dir)
    case_of = {case.name: case for case in listed}
    for fold, splits in folds.items():
        settings = _settings(config, modality, fold, splits)
        say = functools.partial(print, f"fold {fold}:", flush=True)
        outcome = peer_fold.run(case_of, settings, output, python, config.label_value, say)
        report = FoldReport(
            fold=fold,
            num_folds=config.num_folds,
            fold_seed=config.seed,
            settings=settings,
            outcome=outcome,
            versions=versions,
            machine=machine.describe(),
        )
        files.write_json(output / f"fold_{fold}.json", report)
        say(
            f"{outcome.parameters / 1e6:.1f} M parameters, {outcome.steps} steps, "
            f"{outcome.images / 60 / outcome.minutes:.1f} images/s"
        )


def _modality(listed: list[Case], dataset: str) -> Modality:
    modality, *others = sorted({case.modality for case in listed})
    if others:
        raise InputError(
            f"{dataset}: expected cases of one modality, found CT and MR; list those of one in a "
            "CSV."
        )
    return modality


def _settings(config: CompareConfig, modality: Modality, fold: int, splits: Splits) -> Settings:
    return Settings(
        network=config.network,
        modality=modality,
        train=splits.train,
        held_out=splits.validation,
        minutes=config.minutes,
        batch_size=config.batch_size,
        base_filters=config.base_filters or BASE_FILTERS[config.network],
        learning_rate=config.learning_rate or LEARNING_RATE[config.network],
        compile=config.compile,
        seed=config.seed + fold,
    )


if __name__ == "__main__":
    flags.run(main, CompareConfig)
