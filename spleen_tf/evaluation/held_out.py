"""Cross-validations on the disk: cv.json, cases.csv and results.md, written and read.

In a cross-validation, every case is held out once and segmented by models that never saw it.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import pathlib
from collections.abc import Container, Mapping, Sequence
from typing import TYPE_CHECKING

import msgspec

from spleen_tf.core import files
from spleen_tf.core.files import InputError
from spleen_tf.evaluation import held_out_volumes, places, results, summary, tables
from spleen_tf.evaluation.metrics import CaseMetrics
from spleen_tf.evaluation.places import Places
from spleen_tf.evaluation.protocol import Protocol
from spleen_tf.evaluation.summary import Content
from spleen_tf.imaging.intensity import Modality
from spleen_tf.inference import model_files
from spleen_tf.quality import volume_interval
from spleen_tf.quality.volume_interval import VolumeInterval

if TYPE_CHECKING:
    from spleen_tf.inference.family import Family

FILE_NAME = "cv.json"


class Record(Protocol, frozen=True, kw_only=True):
    """cv.json.

    Attributes:
        folds: the names of the cases that each fold held out, by the fold's number.
        results: summaries by plane; of the planes fused under 'fused'.
        volume_intervals: by modality, how far volumes are off, and in how many cases the interval
            that the other cases give holds the true volume.
    """

    folds: dict[str, tuple[str, ...]]
    results: dict[str, Content] = msgspec.field(default_factory=dict)
    volume_intervals: dict[Modality, VolumeInterval] = msgspec.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class CrossValidation:
    """A finished cross-validation.

    Attributes:
        folder: where its models lie.
        record: its cv.json.
    """

    folder: pathlib.Path
    record: Record

    @property
    def planes(self) -> tuple[str, ...]:
        """The planes of its models, sorted."""
        return tuple(sorted(self.record.recipes))

    @property
    def held_out(self) -> dict[str, tuple[str, ...]]:
        """The names of the cases that each fold held out, by the fold's number."""
        return self.record.folds

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all cases, fold by fold."""
        return tuple(itertools.chain.from_iterable(self.held_out.values()))

    @property
    def label_value(self) -> int:
        """The labels' value that means spleen; 0 for any value above 0."""
        return self.record.label_value

    @property
    def patients(self) -> int:
        """How many cases were held out in all."""
        return len(self.names)

    def model_folders(self, fold: str) -> list[pathlib.Path]:
        """The SavedModel folders of a fold, in the order of planes."""
        of_model = Places(self.folder).model_dir
        return [places.saved_model(of_model(fold, plane)) for plane in self.planes]

    def family(self, fold: str) -> Family:
        """The models of a fold, in the order of planes; each is loaded when it is first used."""
        from spleen_tf.inference import loading
        from spleen_tf.inference.family import Family

        models = model_files.find(self.model_folders(fold))
        first_look = loading.members(model_files.find_first_look(models))
        return Family(f"fold_{fold}", loading.members(models), first_look=first_look)


def read(folder: str | os.PathLike[str], cases: Container[str]) -> CrossValidation:
    """Reads cv.json.

    Args:
        folder: what tools/cross_validate.py wrote.
        cases: the names of the cases of the data set that was cross-validated.

    Raises:
        InputError: if there is no cv.json, a model of it is missing, or a case of it is not in the
            data set.
    """
    folder = pathlib.Path(folder)
    if not (folder / FILE_NAME).is_file():
        raise InputError(
            f"{folder}: expected a folder that tools/cross_validate.py wrote, found no "
            f"{FILE_NAME} in it."
        )
    record = files.read_record(
        folder / FILE_NAME, Record, "give a folder that tools/cross_validate.py wrote"
    )
    validated = CrossValidation(folder, record)
    for fold, names in validated.held_out.items():
        model_files.find(validated.model_folders(fold))
        for name in names:
            if name not in cases:
                raise InputError(
                    f"{folder}: expected the cases of its data set, found no {name!r} among them; "
                    "give --dataset as the cross-validation got it."
                )
    return validated


class _DiceRow(msgspec.Struct, frozen=True):
    """Of a row of cases.csv, what `dices` reads."""

    plane: str
    case: str
    dice: float


def dices(validated: CrossValidation) -> dict[tuple[str, str], float]:
    """The Dice of every case, by plane and case; NaN where it is undefined.

    Raises:
        InputError: if cases.csv is missing or lacks a case.
    """
    path = validated.folder / results.CASES_NAME
    rows = results.read_table(path, _DiceRow, held_out_volumes.WRITER)
    dice_of = {(row.plane, row.case): row.dice for row in rows}
    for plane, name in itertools.product(validated.planes, validated.names):
        if (plane, name) not in dice_of:
            raise InputError(
                f"{path}: expected a row for {name!r} in plane {plane}, found none; run "
                "tools/cross_validate.py again."
            )
    return dice_of


def write(
    folder: pathlib.Path,
    protocol: Protocol,
    held_out: Mapping[int, Sequence[str]],
    evaluated: Mapping[str, pathlib.Path],
    modality_of: Mapping[str, Modality],
) -> str:
    """Writes cv.json, cases.csv (every measure of every case) and results.md.

    Args:
        folder: where the models lie.
        protocol: how they were made and used.
        held_out: the names of the cases that each fold held out, by the fold's number.
        evaluated: what spleen_tf.evaluate wrote, by plane; of the fused planes under 'fused'.
        modality_of: of each case.

    Returns:
        The table of means.
    """
    fold_of = {case: fold for fold, names in held_out.items() for case in names}
    rows = {plane: results.read_cases(at / results.CASES_NAME) for plane, at in evaluated.items()}
    pooled = [
        {"plane": plane, "fold": fold_of[row.case], **msgspec.structs.asdict(row)}
        for plane, of_plane in rows.items()
        for row in of_plane
    ]
    files.write_csv(folder / results.CASES_NAME, pooled)
    summaries = {plane: summary.read(at / results.SUMMARY_NAME) for plane, at in evaluated.items()}
    intervals = volume_interval.by_modality(held_out_volumes.read(folder, modality_of.get))
    record = Record(
        **msgspec.structs.asdict(protocol),
        folds={str(fold): tuple(names) for fold, names in held_out.items()},
        results={plane: of_plane.content() for plane, of_plane in summaries.items()},
        volume_intervals=intervals,
    )
    files.write_json(folder / FILE_NAME, record)
    means = tables.means(summaries, "plane")
    notes = [
        f"{plane}: {note}"
        for plane, of_plane in summaries.items()
        if (note := tables.left_out(of_plane))
    ]
    notes += [f"Volumes on {modality}: {interval}." for modality, interval in intervals.items()]
    files.write_text(folder / results.PAGE_NAME, _page(protocol, means, notes, rows, len(fold_of)))
    return means


def _page(
    protocol: Protocol,
    means: str,
    notes: list[str],
    rows: Mapping[str, Sequence[CaseMetrics]],
    patients: int,
) -> str:
    """results.md: means by plane, then every case, the worst Dice first and undefined ones last."""
    note = (
        f"Each of {patients} cases was segmented by models that did not train on it "
        f"({protocol.num_folds} folds, seed {protocol.seed}); threshold {protocol.threshold:g}"
        f"{', test-time augmentation' if protocol.tta else ''}. {tables.INTERVAL_NOTE}"
    )
    pooled = [(plane, row) for plane, of_plane in rows.items() for row in of_plane]
    pooled.sort(key=lambda item: results.badness(item[1]))
    listing = "\n".join(f"- {row.dice:.4f} {plane} {row.case}" for plane, row in pooled)
    parts = [
        "# Cross-validation",
        means,
        note,
        *notes,
        "## Dice of every case, the worst first",
        listing,
    ]
    return "\n\n".join(parts) + "\n"
