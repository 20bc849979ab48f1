"""What a training reads: its cases, their grid and their window, settled from flags and records."""

from __future__ import annotations

import dataclasses
import statistics

from spleen_tf.datasets import metadata, shards
from spleen_tf.datasets.metadata import CaseRecord
from spleen_tf.datasets.schema import RecordError
from spleen_tf.datasets.splits import read_splits
from spleen_tf.imaging import intensity
from spleen_tf.training.config import TrainConfig


@dataclasses.dataclass(frozen=True)
class Selection:
    """What a training reads, settled from its configuration and the records.

    Attributes:
        folder: of the records.
        shards: the paths of all shards, whatever split they were written for.
        cases: what cases.json says of each case, by name.
        train, validation: names.
        plane: of all cases.
        modality: 'CT', 'MR', or 'any' where the cases are of both.
        pixel_mm: row and column spacing of the network's grid.
        window: HU for CT, else percentiles of the volume (for 'any', see windows).
    """

    folder: str
    shards: tuple[str, ...]
    cases: dict[str, CaseRecord]
    train: tuple[str, ...]
    validation: tuple[str, ...]
    plane: str
    modality: str
    pixel_mm: tuple[float, float]
    window: tuple[float, float]

    def spleen_slices(self, names: tuple[str, ...]) -> int:
        """Slices with spleen of these cases."""
        return sum(self.cases[name].spleen_slices for name in names)

    def num_slices(self, names: tuple[str, ...]) -> int:
        """Slices of these cases."""
        return sum(self.cases[name].num_slices for name in names)


def select(config: TrainConfig) -> Selection:
    """Settles cases, grid and window.

    Raises:
        RecordError: if the records are incomplete or do not fit the configuration.
    """
    known = metadata.read_cases(config.records)
    splits = read_splits(config.splits or f"{config.records}/splits.json", config.fold)
    absent = [name for name in (*splits.train, *splits.validation) if name not in known]
    if absent:
        raise RecordError(
            f"{config.splits or config.records}: expected cases of {config.records}, found "
            f"{absent[0]!r}."
        )
    if not splits.train:
        raise RecordError(
            f"{config.splits or config.records}: expected cases to train on, found none."
        )
    used = [known[name] for name in (*splits.train, *splits.validation)]
    modalities = sorted({case.modality for case in used})
    modality = modalities[0] if len(modalities) == 1 else "any"
    window = config.window or (intensity.CT_HU if modality == "CT" else intensity.MR_PERCENTILES)
    if modality != "CT" and not set(window) <= set(intensity.PERCENTILES):
        raise RecordError(
            f"--window: expected two of the percentiles {intensity.PERCENTILES} for MR or both "
            f"modalities, found {window}."
        )
    plane, *others = sorted({case.plane for case in used})
    if others:
        raise RecordError(
            f"{config.records}: expected slices of one plane, found {', '.join([plane, *others])}; "
            "convert with --plane."
        )
    native = [known[name].pixel_mm for name in splits.train]
    median = [round(statistics.median(spacing[axis] for spacing in native), 3) for axis in (0, 1)]
    pixel_mm = config.pixel_mm or tuple(median)
    return Selection(
        config.records,
        shards.check(config.records),
        known,
        splits.train,
        splits.validation,
        plane,
        modality,
        (pixel_mm[0], pixel_mm[-1]),
        (window[0], window[1]),
    )
