"""The folds of a cross-validation, and what one left: for every case, models that never saw it."""

from __future__ import annotations

import csv
import dataclasses
import itertools
import math
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from spleen_tf.core import files
from spleen_tf.core.files import InputError
from spleen_tf.datasets import cases
from spleen_tf.datasets.cases import Case, Splits
from spleen_tf.evaluation import results
from spleen_tf.inference import model_files

if TYPE_CHECKING:
    from spleen_tf.inference.fusion import Member

FILE_NAME = "cv.json"
_TABLE_NAME = "cases.csv"


@dataclasses.dataclass(frozen=True)
class CrossValidation:
    """A finished cross-validation.

    Attributes:
        folder: where its models lie.
        planes: of its models, sorted.
        held_out: the names of the cases that each fold held out, by the fold's number.
        label_value: the labels' value that means spleen; 0 for any value above 0.
    """

    folder: pathlib.Path
    planes: tuple[str, ...]
    held_out: dict[str, list[str]]
    label_value: int

    @property
    def patients(self) -> int:
        """How many cases were held out in all."""
        return sum(map(len, self.held_out.values()))

    def folders(self, fold: str) -> list[pathlib.Path]:
        """The SavedModel folders of a fold, in the order of planes."""
        models = (self.folder / "models" / plane / f"fold_{fold}" for plane in self.planes)
        return [model / "saved_model" for model in models]

    def members(self, fold: str) -> list[Member]:
        """The models of a fold, in the order of planes."""
        from spleen_tf.inference import (
            fusion,  # TensorFlow: seconds that reading a folder need not cost.
        )

        return fusion.load(self.folders(fold))


def deal(listed: Sequence[Case], seed: int, num_folds: int, asked: str = "") -> dict[int, Splits]:
    """The splits of the folds that --folds names, by their number.

    Args:
        listed: the cases. A data set's own splits, which are for one training, do not count.
        seed: of the shuffle.
        num_folds: parts that the cases are dealt into.
        asked: numbers separated by commas; '': all.

    Raises:
        InputError: if there are fewer cases than folds, or a number names no fold, or stands twice.
    """
    numbers = list(range(num_folds))
    if asked:
        numbers = [int(n) if n.strip().isdigit() else -1 for n in asked.split(",")]
    if any(not 0 <= n < num_folds or numbers.count(n) > 1 for n in numbers):
        raise InputError(
            f"--folds: expected numbers from 0 to {num_folds - 1}, once each, found {asked!r}."
        )
    if num_folds > len(listed):
        raise InputError(
            f"--num_folds: expected at most {len(listed)}, the number of cases, found {num_folds}."
        )
    dealt = [dataclasses.replace(case, split="") for case in listed]
    return {n: cases.make_splits(dealt, seed, n, num_folds) for n in numbers}


def read(folder: str | os.PathLike, by_name: dict[str, Case]) -> CrossValidation:
    """Reads cv.json.

    Args:
        folder: what tools/cross_validate.py wrote.
        by_name: the cases of the data set that was cross-validated.

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
    content = files.read_json(folder / FILE_NAME)
    if not isinstance(content, dict) or not {"recipes", "folds"} <= content.keys():
        raise InputError(
            f"{folder / FILE_NAME}: expected the keys recipes and folds, found others."
        )
    planes = tuple(sorted(content["recipes"]))
    found = CrossValidation(folder, planes, content["folds"], content.get("label_value", 0))
    for fold, names in found.held_out.items():
        model_files.find(found.folders(fold))
        for name in names:
            if name not in by_name:
                raise InputError(
                    f"{folder}: expected the cases of its data set, found no {name!r} among them; "
                    "give --dataset as the cross-validation got it."
                )
    return found


def dices(validated: CrossValidation) -> dict[tuple[str, str], float]:
    """The Dice of every case, by plane and case; NaN where it is undefined.

    Raises:
        InputError: if cases.csv is missing or does not hold them.
    """
    path = validated.folder / _TABLE_NAME
    if not path.is_file():
        raise InputError(
            f"{path}: expected what tools/cross_validate.py wrote, found no such file."
        )
    with path.open(newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    try:
        found = {(row["plane"], row["case"]): float(row["dice"]) for row in rows}
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: expected the columns plane, case and dice (numbers), found others ({error}); "
            "run tools/cross_validate.py again."
        ) from None
    held_out = [name for names in validated.held_out.values() for name in names]
    for plane, name in itertools.product(validated.planes, held_out):
        if (plane, name) not in found:
            raise InputError(
                f"{path}: expected a row for {name!r} in plane {plane}, found none; run "
                "tools/cross_validate.py again."
            )
    return found


def write(
    folder: pathlib.Path,
    about: Mapping[str, Any],
    held_out: Mapping[int, Sequence[str]],
    evaluated: Mapping[str, pathlib.Path],
) -> str:
    """Writes cv.json, which `read` goes by, cases.csv (every measure of every case) and results.md.

    Args:
        folder: where the models lie.
        about: how the models were made and used: recipes by plane, num_folds, seed, threshold, tta,
            label_value, and what else cv.json is to say.
        held_out: the names of the cases that each fold held out, by the fold's number, which JSON
            turns into a string.
        evaluated: what spleen_tf.evaluate wrote, by plane; the fused ones are called 'fused'.

    Returns:
        The table of means.
    """
    fold_of = {case: fold for fold, names in held_out.items() for case in names}
    pooled = []
    for plane, output in evaluated.items():
        with (output / "cases.csv").open(newline="", encoding="utf-8") as rows:
            pooled += [
                {"plane": plane, "fold": fold_of[row["case"]], **row}
                for row in csv.DictReader(rows)
            ]
    files.write_csv(folder / _TABLE_NAME, pooled)
    summaries = {plane: files.read_json(at / "summary.json") for plane, at in evaluated.items()}
    folds = {str(fold): list(names) for fold, names in held_out.items()}
    files.write_json(folder / FILE_NAME, {**about, "folds": folds, "results": summaries})
    means = results.means_table(summaries, "plane")
    notes = [
        f"{plane}: {note}"
        for plane, summary in summaries.items()
        if (note := results.left_out(summary))
    ]
    files.write_text(folder / "results.md", _page(about, means, notes, pooled, len(fold_of)))
    return means


def _page(
    about: Mapping[str, Any],
    means: str,
    notes: list[str],
    pooled: list[dict[str, Any]],
    count: int,
) -> str:
    note = (
        f"Each of {count} cases was segmented by models that did not train on it "
        f"({about['num_folds']} folds, seed {about['seed']}); threshold {about['threshold']:g}"
        f"{', test-time augmentation' if about['tta'] else ''}. In brackets: 95% interval of the "
        "mean, by bootstrap over cases."
    )
    dices = [(float(row["dice"]), row["plane"], row["case"]) for row in pooled]
    # A case that is empty in truth and prediction has no Dice; it comes last.
    worst = sorted(dices, key=lambda item: (math.isnan(item[0]), *item))
    listing = "\n".join(f"- {dice:.4f} {plane} {case}" for dice, plane, case in worst)
    parts = [
        "# Cross-validation",
        means,
        note,
        *notes,
        "## Dice of every case, the worst first",
        listing,
    ]
    return "\n\n".join(parts) + "\n"
