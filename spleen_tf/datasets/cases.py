"""A data set's folder or table as a list of cases, and their split into folds by patient."""

from __future__ import annotations

import collections
import dataclasses
import os
import pathlib
import warnings
from typing import Any

import numpy as np

from spleen_tf.core import files
from spleen_tf.core.files import InputWarning
from spleen_tf.datasets import layouts
from spleen_tf.datasets.layouts import SPLITS, Case, DatasetError
from spleen_tf.imaging import volume
from spleen_tf.imaging.volume import Placed, Volume, VolumeError
from spleen_tf.io import nifti, readers

MODALITIES = ("CT", "MR")

# Maps of all organs have about a hundred labels; an image has more.
_MOST_LABELS = 200
_NAMED_LABELS = 6


@dataclasses.dataclass(frozen=True)
class Splits:
    """Which cases train and which validate; seed, fold and num_folds say how that came about."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    seed: int | None = None
    fold: int | None = None
    num_folds: int | None = None


def load(dataset: str | os.PathLike, modality: str = "", missing_ok: bool = False) -> list[Case]:
    """The labelled cases of a data set, sorted by name.

    Args:
        dataset: a folder in the layout of the Medical Segmentation Decathlon or of nnU-Net v2,
            or a CSV file with the columns case,image,label[,split][,modality][,series_uid], whose
            relative paths start at the CSV's folder.
        modality: 'CT' or 'MR'; overrides what the data set and DICOM headers say.
        missing_ok: cases whose files are not there are returned, too.

    Raises:
        DatasetError: if the description cannot be read, a file is missing, a case is there
            twice, or nothing tells the modality.
    """
    dataset = pathlib.Path(dataset)
    if dataset.suffix.lower() == ".csv" and dataset.is_file():
        cases, source = layouts.from_csv(dataset), dataset
    elif dataset.is_dir():
        cases, source = layouts.from_folder(dataset), dataset / "dataset.json"
    else:
        found = "a file of another kind" if dataset.exists() else "nothing there"
        raise DatasetError(f"{dataset}: expected a data set's folder or a .csv, found {found}.")
    if not cases:
        raise DatasetError(f"{source}: expected at least one labelled case, found none.")
    cases = [
        dataclasses.replace(
            case,
            modality=modality
            or case.modality
            or readers.modality(case.image, case.series_uid)
            or "",
        )
        for case in cases
    ]
    _check(cases, source, missing_ok)
    return sorted(cases, key=lambda case: case.name)


def read(case: Case, label_value: int = 0) -> tuple[Volume, Volume]:
    """A case's image and its label on the same grid.

    Args:
        case: which.
        label_value: the label's value that means spleen; 0 for any value above 0.

    Returns:
        image in physical units, and label as uint8, 1 inside.

    Raises:
        VolumeError: if either is damaged or unfit, they are on different grids, or the label has
            more values than labels have.
    """
    image = readers.read(case.image, case.series_uid)
    label = _on_grid_of(image, nifti.read(case.label))
    values = check_is_label(label)
    if len(values) > 1 and not label_value:
        _warn_of_several_organs(label, values)
    inside = label.array_ijk == label_value if label_value else label.array_ijk > 0
    if not inside.any():
        wanted = label_value or "above 0"
        warnings.warn(
            f"{case.label}: no voxel with value {wanted}: a case without spleen",
            InputWarning,
            stacklevel=2,
        )
    return image, dataclasses.replace(label, array_ijk=inside.view(np.uint8))


def check_is_label(label: Volume) -> np.ndarray:
    """The different values above 0 of a label map.

    Raises:
        VolumeError: if they are more than labels have: an image in a label's place.
    """
    values = np.unique(label.array_ijk[label.array_ijk > 0])
    if len(values) > _MOST_LABELS:
        raise VolumeError(
            f"{label.source}: expected a label, found {len(values)} different values above 0, as "
            "in an image; are image and label exchanged?"
        )
    return values


def _warn_of_several_organs(label: Volume, values: np.ndarray) -> None:
    found = ", ".join(f"{value:g}" for value in values[:_NAMED_LABELS])
    more = ", …" if len(values) > _NAMED_LABELS else ""
    warnings.warn(
        f"{label.source}: the values {found}{more} all count as spleen; --label_value picks one",
        InputWarning,
        stacklevel=3,
    )


def no_such_label_value(dataset: str | os.PathLike, label_value: int) -> DatasetError:
    """What to raise where a label_value is in none of a data set's labels."""
    return DatasetError(
        f"--label_value: expected a value of the labels of {dataset}, found {label_value} in none "
        "of them."
    )


def check_geometry(case: Case) -> None:
    """Raises VolumeError where the headers of a case's image and label already show a fault."""
    image = readers.read_geometry(case.image, case.series_uid)
    _on_grid_of(image, nifti.read_geometry(case.label))


def _on_grid_of(image: Placed, label: Placed) -> Placed:
    """The label, if it is on the image's grid.

    Converters turn the axes of a DICOM series over, each in its own way; to a label that was drawn
    on what they made, the same is done backwards.
    """
    if readers.from_dicom(image):
        label = volume.in_order_of(label, image.grid)
    volume.check_same_grid(image, label)
    return label


def make_splits(cases: list[Case], seed: int, fold: int, num_folds: int) -> Splits:
    """One fold of a cross-validation: a seeded shuffle dealt into num_folds parts of even size.

    Where the data set itself assigns splits, those are taken, and there are no folds. A single case
    trains, and nothing validates.

    Raises:
        DatasetError: if the fold does not exist or would hold no case, or is asked for beside a
            data set's own splits.
    """
    names = [case.name for case in cases]
    if any(case.split for case in cases):
        if fold:
            raise DatasetError(
                f"--fold: expected none with a table that has a column split of its own, found "
                f"{fold}; leave out the column to have folds dealt."
            )
        train, validation = ([c.name for c in cases if c.split == split] for split in SPLITS)
        return Splits(tuple(train), tuple(validation))
    if not 0 <= fold < num_folds:
        raise DatasetError(f"--fold: expected 0 to {num_folds - 1} of {num_folds}, found {fold}.")
    if len(names) == 1:
        warnings.warn("one case only: it trains, and nothing validates", InputWarning, stacklevel=2)
        return Splits(tuple(names), (), seed, fold, num_folds)
    if fold >= len(names):
        raise DatasetError(
            f"--fold: expected a fold below {len(names)}, the number of cases, found {fold}."
        )
    order = np.random.default_rng(seed).permutation(sorted(names))
    validation = sorted(str(name) for name in np.array_split(order, num_folds)[fold])
    train = [name for name in sorted(names) if name not in set(validation)]
    return Splits(tuple(train), tuple(validation), seed, fold, num_folds)


def read_splits(path: str | os.PathLike, fold: int = 0) -> Splits:
    """Reads a splits.json, or a fold of nnU-Net's splits_final.json.

    Args:
        path: an object with the lists train and validation, as write_splits makes it; or a list of
            folds, each an object with the lists train and val.
        fold: which one of a list of folds.

    Raises:
        DatasetError: if it has not these lists, or not this fold, or a case stands in both lists,
            or twice in one.
    """
    content = files.read_json(path)
    if isinstance(content, list):
        content = _fold_of(content, fold, path)
    if not isinstance(content, dict) or not all(
        isinstance(content.get(split), list)
        and all(isinstance(name, str) for name in content[split])
        for split in SPLITS
    ):
        raise DatasetError(
            f"{path}: expected lists of case names, train and validation, or a list of folds, each "
            "with train and val."
        )
    if fold and content.get("fold") != fold:
        raise DatasetError(f"{path}: expected a list of folds, of which --fold={fold}, found one.")
    both = sorted(set(content["train"]) & set(content["validation"]))
    if both:
        raise DatasetError(f"{path}: expected each case in one split, found {both[0]!r} in both.")
    for name, count in collections.Counter(content["train"] + content["validation"]).items():
        if count > 1:
            raise DatasetError(f"{path}: expected each case once, found {name!r} {count} times.")
    return Splits(
        tuple(content["train"]),
        tuple(content["validation"]),
        *(content.get(key) for key in ("seed", "fold", "num_folds")),
    )


def _fold_of(folds: list[Any], fold: int, path: str | os.PathLike) -> dict[str, Any] | None:
    """A fold of nnU-Net's list, with the keys of a splits.json; None if it is none."""
    if not folds or not all(isinstance(part, dict) for part in folds):
        return None
    if not 0 <= fold < len(folds):
        raise DatasetError(
            f"{path}: expected --fold below {len(folds)}, the number of folds in it, found {fold}."
        )
    lists = {"train": folds[fold].get("train"), "validation": folds[fold].get("val")}
    return lists | {"fold": fold, "num_folds": len(folds)}


def write_splits(path: str | os.PathLike, splits: Splits) -> None:
    """Writes a splits.json that read_splits gives back."""
    files.write_json(path, dataclasses.asdict(splits))


def _check(cases: list[Case], source: pathlib.Path, missing_ok: bool) -> None:
    seen: set[str] = set()
    for case in cases:
        if case.name in seen:
            raise DatasetError(f"{source}: expected every case once, found {case.name!r} twice.")
        seen.add(case.name)
        if not case.name or case.name.startswith(".") or {"/", "\\", "\n"} & set(case.name):
            raise DatasetError(
                f"{source}: expected case names that can name files, found {case.name!r}."
            )
        if case.name.encode(errors="ignore").decode() != case.name:
            raise DatasetError(
                f"{source}: expected files with names in UTF-8, found {case.name!r}; rename them."
            )
        for path, is_there in (
            (case.image, os.path.exists(case.image)),
            (case.label, os.path.isfile(case.label)),
        ):
            if not missing_ok and not is_there:
                raise DatasetError(f"{path}: expected a file, as {source} says, found none.")
        if case.modality not in MODALITIES:
            found = repr(case.modality) if case.modality else "nothing that says it"
            raise DatasetError(
                f"{source}: expected the modality CT or MR, found {found}; pass --modality."
            )
