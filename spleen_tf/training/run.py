"""What a training is: settled once from flags and records, and written down in training.json."""

from __future__ import annotations

import dataclasses
import math
import os
import pathlib
import statistics
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from spleen_tf.core import files, flags
from spleen_tf.core.files import InputError
from spleen_tf.datasets import fingerprint, metadata, shards
from spleen_tf.datasets.metadata import CaseRecord
from spleen_tf.datasets.schema import RecordError
from spleen_tf.datasets.splits import Splits, read_splits
from spleen_tf.imaging import intensity
from spleen_tf.imaging.intensity import ModelModality
from spleen_tf.imaging.planes import Plane
from spleen_tf.network.spec import NetworkSpec, ServingSpec
from spleen_tf.training.augment_config import AugmentConfig
from spleen_tf.training.config import TrainConfig

FILE_NAME = "training.json"

_REMEDY = "restore the file, or train in another --model_dir"
_WILDCARDS = "*?[]"
# What makes two trainings the same one. The others may differ between a run and its resumption,
# but for precision: float16 goes on only from float16, whose loss scale it needs.
_IDENTITY = (
    *("image_size", "pixel_mm", "window", "in_channels", "base_filters", "max_filters"),
    *("depth", "norm", "optimizer", "ema", "batch_size", "deterministic"),
)


class TrainingRecord(msgspec.Struct, frozen=True):
    """training.json: what a training is of, by which it is resumed and exported.

    Attributes:
        config: the flags, with nothing left open but what the records settle.
        plane, modality, pixel_mm, window: as in Training.
        train, validation: the SHA-256 of each case's image, by its name.
    """

    config: TrainConfig
    plane: Plane
    modality: ModelModality
    pixel_mm: tuple[float, float]
    window: tuple[float, float]
    train: dict[str, str]
    validation: dict[str, str]

    @property
    def serving(self) -> ServingSpec:
        """What the exported model needs beside its weights."""
        network = self.config.network
        return ServingSpec(
            self.modality, self.pixel_mm, self.window, network.in_channels, network.multiple
        )


@dataclasses.dataclass(frozen=True)
class Training:
    """A training with nothing left open.

    Attributes:
        config: the flags, with defaults and what a fingerprint proposes filled in.
        shards: the paths of all shards of the records, whatever split they were written for.
        cases: what cases.json says of each case, by name.
        train, validation: names of cases.
        plane: of all cases.
        modality: 'CT', 'MR', or 'any' where the cases are of both.
        pixel_mm: row and column spacing of the network's grid.
        window: HU for CT, else percentiles of the volume.
        batch_size: slices per step.
        steps_per_epoch: steps between validations.
    """

    config: TrainConfig
    shards: tuple[str, ...]
    cases: Mapping[str, CaseRecord]
    train: tuple[str, ...]
    validation: tuple[str, ...]
    plane: Plane
    modality: ModelModality
    pixel_mm: tuple[float, float]
    window: tuple[float, float]
    batch_size: int
    steps_per_epoch: int

    @property
    def network(self) -> NetworkSpec:
        """What the network is built from."""
        return self.config.network

    @property
    def augmentation(self) -> AugmentConfig:
        """How strongly slices are varied."""
        return self.config.augmentation

    @property
    def total_steps(self) -> int | None:
        """Steps of the whole training; None if only time bounds it."""
        config = self.config
        return config.steps or (config.epochs * self.steps_per_epoch if config.epochs else None)

    @property
    def record(self) -> TrainingRecord:
        """The content of its training.json."""

        def hashes(names: Iterable[str]) -> dict[str, str]:
            return {name: self.cases[name].source_sha256 for name in names}

        return TrainingRecord(
            self.config,
            self.plane,
            self.modality,
            self.pixel_mm,
            self.window,
            hashes(self.train),
            hashes(self.validation),
        )

    def spleen_slices(self, names: Iterable[str]) -> int:
        """Slices with spleen of these cases."""
        return sum(self.cases[name].spleen_slices for name in names)

    def num_slices(self, names: Iterable[str]) -> int:
        """Slices of these cases."""
        return sum(self.cases[name].num_slices for name in names)


def settle(config: TrainConfig) -> Training:
    """Settles flags, cases, grid and window, without TensorFlow.

    Raises:
        InputError: if flags, fingerprint, split and records do not fit one another, or the records
            are incomplete or damaged.
    """
    _check_model_dir(config.model_dir)
    cases = metadata.read_cases(config.records)
    splits = _splits(config, cases)
    used = [cases[name] for name in (*splits.train, *splits.validation)]
    plane, modality = _plane(used, config.records), _modality(used)
    config = _planned(config, plane, modality)
    pixel_mm = config.pixel_mm or _median_pixel_mm([cases[name] for name in splits.train])
    window = config.window or (intensity.CT_HU if modality == "CT" else intensity.MR_PERCENTILES)
    if modality != "CT" and not set(window) <= set(intensity.PERCENTILES):
        raise RecordError(
            f"--window: expected two of the percentiles {intensity.PERCENTILES} for MR or both "
            f"modalities, found {window}."
        )
    batch_size = config.batch_size or 1
    slices = sum(cases[name].num_slices for name in splits.train)
    return Training(
        config,
        shards.check(config.records),
        cases,
        splits.train,
        splits.validation,
        plane,
        modality,
        (pixel_mm[0], pixel_mm[-1]),
        (window[0], window[1]),
        batch_size,
        config.steps_per_epoch or math.ceil(slices / batch_size),
    )


def read(path: str | os.PathLike[str]) -> TrainingRecord:
    """Reads a training.json, also one of an earlier release, which may lack newer flags.

    Raises:
        InputError: if the file holds something else.
    """
    return files.read_record(path, TrainingRecord, _REMEDY, strict=False)


def check_resumes(training: Training) -> None:
    """Raises InputError if model_dir holds another training than this one."""
    path = pathlib.Path(training.config.model_dir, FILE_NAME)
    if not path.is_file():
        return
    earlier, now = read(path), training.record
    for name in _IDENTITY:
        before, value = getattr(earlier.config, name), getattr(now.config, name)
        if before != value:
            raise InputError(
                f"{path}: expected {_flag(name, before)} to resume, found {_flag(name, value)}; "
                "use another --model_dir for another model."
            )
    for name in ("plane", "modality", "train", "validation"):
        if getattr(earlier, name) != getattr(now, name):
            raise InputError(
                f"{path}: expected records with the same {name} as before to resume, found "
                "others; use another --model_dir for another model."
            )


def _flag(name: str, value: Any) -> str:
    if value is None:
        return f"no --{name}"
    text = ",".join(map(str, value)) if isinstance(value, tuple) else value
    return f"--{name}={text}"


def _check_model_dir(model_dir: str) -> None:
    if set(_WILDCARDS) & set(model_dir):
        raise InputError(
            f"--model_dir: expected a path without {' '.join(_WILDCARDS)}, which TensorFlow takes "
            f"for wildcards when it looks for checkpoints, found {model_dir!r}."
        )


def _splits(config: TrainConfig, cases: Mapping[str, CaseRecord]) -> Splits:
    splits = read_splits(config.splits or f"{config.records}/splits.json", config.fold)
    place = config.splits or config.records
    for name in (*splits.train, *splits.validation):
        if name not in cases:
            raise RecordError(f"{place}: expected cases of {config.records}, found {name!r}.")
    if not splits.train:
        raise RecordError(f"{place}: expected cases to train on, found none.")
    return splits


def _plane(used: Sequence[CaseRecord], records: str) -> Plane:
    plane, *others = sorted({case.plane for case in used})
    if others:
        raise RecordError(
            f"{records}: expected slices of one plane, found {', '.join([plane, *others])}; "
            "convert with --plane."
        )
    return plane


def _modality(used: Sequence[CaseRecord]) -> ModelModality:
    modality, *others = sorted({case.modality for case in used})
    return "any" if others else modality


def _median_pixel_mm(cases: Sequence[CaseRecord]) -> tuple[float, ...]:
    return tuple(
        round(statistics.median(case.pixel_mm[axis] for case in cases), 3) for axis in (0, 1)
    )


def _planned(config: TrainConfig, plane: Plane, modality: ModelModality) -> TrainConfig:
    """The configuration with defaults and what its fingerprint proposes filled in."""
    if config.fingerprint is None:
        return config.settled()
    plan = fingerprint.read(config.fingerprint)
    for key, kind in (("plane", plane), ("modality", modality)):
        if getattr(plan, key) not in (kind, None):
            raise InputError(
                f"{config.fingerprint}: expected a plan for the {key} {kind}, as in "
                f"{config.records}, found one for {getattr(plan, key)}; make one with "
                f"spleen_tf.explore{f' --plane={kind}' if key == 'plane' else ' of this data'}."
            )
    settled = config.settled(plan)
    flags.check(settled)
    return settled
