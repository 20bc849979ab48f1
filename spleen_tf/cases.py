"""A data set's folder or table as a list of cases, and their split into folds by patient."""

from __future__ import annotations

import collections
import csv
import dataclasses
import os
import pathlib
import warnings
from typing import Any

import numpy as np

from spleen_tf import files, nifti, volume
from spleen_tf.files import InputError, InputWarning
from spleen_tf.volume import Volume, VolumeError

MODALITIES = ("CT", "MR")
SPLITS = ("train", "validation")

# Maps of all organs have about a hundred labels; an image has more.
_MOST_LABELS = 200
_NAMED_LABELS = 6
_MR_NAMES = ("mr", "t1", "t2", "flair", "dwi", "adc", "pd")


class DatasetError(InputError):
    """A data set whose files or description do not fit together."""


@dataclasses.dataclass(frozen=True)
class Case:
    """One patient's volume and its label.

    Attributes:
        name: unique in the data set; outputs are named after it.
        image, label: paths.
        modality: 'CT' or 'MR'.
        split: 'train' or 'validation' where the data set itself says so, else ''.
    """

    name: str
    image: str
    label: str
    modality: str
    split: str = ""


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
            or a CSV file with the columns case,image,label[,split], whose relative paths start
            at the CSV's folder.
        modality: 'CT' or 'MR'; overrides what the data set says.
        missing_ok: cases whose files are not there are returned, too.

    Raises:
        DatasetError: if the description cannot be read, a file is missing, a case is there
            twice, or nothing tells the modality.
    """
    dataset = pathlib.Path(dataset)
    if dataset.suffix.lower() == ".csv" and dataset.is_file():
        cases, source = _from_csv(dataset), dataset
    elif dataset.is_dir():
        cases, source = _from_folder(dataset), dataset / "dataset.json"
    else:
        found = "a file of another kind" if dataset.exists() else "nothing there"
        raise DatasetError(f"{dataset}: expected a data set's folder or a .csv, found {found}.")
    if not cases:
        raise DatasetError(f"{source}: expected at least one labelled case, found none.")
    cases = [dataclasses.replace(case, modality=modality or case.modality) for case in cases]
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
    image = nifti.read(case.image)
    label = nifti.read(case.label)
    volume.check_same_grid(image, label)
    _check_values(label, label_value)
    inside = label.array_ijk == label_value if label_value else label.array_ijk > 0
    if not inside.any():
        wanted = label_value or "above 0"
        warnings.warn(
            f"{case.label}: no voxel with value {wanted}: a case without spleen",
            InputWarning,
            stacklevel=2,
        )
    return image, dataclasses.replace(label, array_ijk=inside.view(np.uint8))


def _check_values(label: Volume, label_value: int) -> None:
    """Refuses an image in a label's place; warns where several organs would count as spleen."""
    values = np.unique(label.array_ijk[label.array_ijk > 0])
    if len(values) > _MOST_LABELS:
        raise VolumeError(
            f"{label.source}: expected a label, found {len(values)} different values above 0, as "
            "in an image; are image and label exchanged?"
        )
    if len(values) > 1 and not label_value:
        found = ", ".join(f"{value:g}" for value in values[:_NAMED_LABELS])
        more = ", …" if len(values) > _NAMED_LABELS else ""
        warnings.warn(
            f"{label.source}: the values {found}{more} all count as spleen; --label_value picks "
            "one",
            InputWarning,
            stacklevel=3,
        )


def check_geometry(case: Case) -> None:
    """Raises VolumeError where the headers of a case's image and label already show a fault."""
    volume.check_same_grid(nifti.read_geometry(case.image), nifti.read_geometry(case.label))


def make_splits(cases: list[Case], seed: int, fold: int, num_folds: int) -> Splits:
    """One fold of a cross-validation: a seeded shuffle dealt into num_folds parts of even size.

    Where the data set itself assigns splits, those are taken and the rest is ignored. A single
    case trains, and nothing validates.

    Raises:
        DatasetError: if the fold does not exist or would hold no case.
    """
    names = [case.name for case in cases]
    if any(case.split for case in cases):
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


def read_splits(path: str | os.PathLike) -> Splits:
    """Reads a splits.json.

    Raises:
        DatasetError: if it has not the lists train and validation, or a case stands in both, or
            twice in one.
    """
    content = files.read_json(path)
    if not isinstance(content, dict) or not all(
        isinstance(content.get(split), list)
        and all(isinstance(name, str) for name in content[split])
        for split in SPLITS
    ):
        raise DatasetError(f"{path}: expected lists of case names, train and validation.")
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
        for path in (case.image, case.label):
            if not missing_ok and not os.path.isfile(path):
                raise DatasetError(f"{path}: expected a file, as {source} says, found none.")
        if case.modality not in MODALITIES:
            found = repr(case.modality) if case.modality else "nothing that says it"
            raise DatasetError(
                f"{source}: expected the modality CT or MR, found {found}; pass --modality."
            )


def _from_folder(folder: pathlib.Path) -> list[Case]:
    path = folder / "dataset.json"
    description = files.read_json(path)
    if not isinstance(description, dict):
        raise DatasetError(f"{path}: expected a JSON object, found {type(description).__name__}.")
    if "channel_names" in description:
        return _from_nnunet(folder, description)
    if isinstance(description.get("training"), list):
        return _from_decathlon(folder, description)
    raise DatasetError(
        f"{path}: expected a list 'training' (Medical Segmentation Decathlon) or 'channel_names' "
        "(nnU-Net v2), found neither."
    )


def _from_decathlon(folder: pathlib.Path, description: dict) -> list[Case]:
    modality = _modality(description.get("modality"))
    cases = []
    for entry in description["training"]:
        if not isinstance(entry, dict) or not all(
            isinstance(entry.get(key), str) for key in ("image", "label")
        ):
            raise DatasetError(
                f"{folder / 'dataset.json'}: expected entries with image and label in 'training', "
                f"found {entry!r}."
            )
        image, label = (folder / entry[key] for key in ("image", "label"))
        cases.append(Case(nifti.stem(image), str(image), str(label), modality))
    return cases


def _from_nnunet(folder: pathlib.Path, description: dict) -> list[Case]:
    channels = description["channel_names"]
    if not isinstance(channels, dict) or len(channels) != 1:
        raise DatasetError(
            f"{folder / 'dataset.json'}: expected one channel in channel_names, found {channels!r}."
        )
    ending = description.get("file_ending", ".nii.gz")
    if ending not in nifti.SUFFIXES:
        raise DatasetError(
            f"{folder / 'dataset.json'}: expected a file_ending of {' or '.join(nifti.SUFFIXES)}, "
            f"found {ending!r}."
        )
    modality = _modality(channels)
    return [
        Case(
            label.name.removesuffix(ending),
            str(folder / "imagesTr" / f"{label.name.removesuffix(ending)}_0000{ending}"),
            str(label),
            modality,
        )
        for label in sorted((folder / "labelsTr").glob(f"*{ending}"))
        if not label.name.startswith(".")
    ]


def _from_csv(path: pathlib.Path) -> list[Case]:
    try:
        with open(path, newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, skipinitialspace=True)
            rows = [(reader.line_num, _stripped(row)) for row in reader]
            columns = [name.strip() for name in reader.fieldnames or []]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path}: expected a readable CSV in UTF-8, found: {error}.") from None
    missing = [name for name in ("case", "image", "label") if name not in columns]
    if missing:
        raise DatasetError(
            f"{path}: expected the columns case,image,label[,split], found {','.join(columns)}."
        )
    cases = []
    for number, row in rows:
        if not all(row[name] for name in ("case", "image", "label")):
            raise DatasetError(f"{path}: expected case, image and label in line {number}.")
        split = row.get("split", "")
        if split not in (*SPLITS, "") or bool(split) != bool(rows[0][1].get("split")):
            raise DatasetError(
                f"{path}: expected the split train or validation in every line or in none, "
                f"found {split!r} in line {number}."
            )
        image, label = (str(path.parent / row[name]) for name in ("image", "label"))
        modality = row.get("modality", "")
        cases.append(Case(row["case"], image, label, _modality(modality) or modality, split))
    return cases


def _stripped(row: dict[str | None, Any]) -> dict[str, str]:
    """A line's cells without the blanks around them; '' for those that are not there."""
    return {name.strip(): (row[name] or "").strip() for name in row if name is not None}


def _modality(names: Any) -> str:
    """'CT', 'MR' or '' from a dataset.json's {"0": name} (or a bare name)."""
    values = list(names.values()) if isinstance(names, dict) else [names]
    name = str(values[0]).strip().lower() if values else ""
    if name.startswith("ct"):
        return "CT"
    return "MR" if name.startswith(_MR_NAMES) else ""
