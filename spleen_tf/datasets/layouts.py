"""The three layouts of data sets: the Decathlon's, that of nnU-Net v2, and a table."""

from __future__ import annotations

import csv
import dataclasses
import pathlib
from typing import Any

from spleen_tf.core import files
from spleen_tf.core.files import InputError
from spleen_tf.io import nifti

SPLITS = ("train", "validation")

_DECATHLON_MODALITY = {"CT": "CT", "MR": "MRI"}
_MR_NAMES = ("mr", "t1", "t2", "flair", "dwi", "adc", "pd")


class DatasetError(InputError):
    """A data set whose files or description do not fit together."""


@dataclasses.dataclass(frozen=True)
class Case:
    """One patient's volume and its label.

    Attributes:
        name: unique in the data set; outputs are named after it.
        image: a NIfTI file, or a folder with a DICOM series.
        label: a NIfTI file.
        modality: 'CT' or 'MR'.
        split: 'train' or 'validation' where the data set itself says so, else ''.
        series_uid: which series of the folder, where it has several; else ''.
    """

    name: str
    image: str
    label: str
    modality: str
    split: str = ""
    series_uid: str = ""


def from_folder(folder: pathlib.Path) -> list[Case]:
    """The cases that a folder's dataset.json describes, in the Decathlon's layout or nnU-Net v2's.

    Raises:
        DatasetError: if the description cannot be read or says neither.
    """
    path = folder / "dataset.json"
    if not path.exists():
        raise DatasetError(
            f"{folder}: expected dataset.json in it (Medical Segmentation Decathlon, nnU-Net v2), "
            "or a .csv with the columns case,image,label in its place, found neither."
        )
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


def from_csv(path: pathlib.Path) -> list[Case]:
    """The cases of a table with the columns case,image,label[,split][,modality][,series_uid].

    Its paths start at its folder.

    Raises:
        DatasetError: if it cannot be read, or lacks a column or a cell.
    """
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
        known = _modality(modality) or modality
        cases.append(Case(row["case"], image, label, known, split, row.get("series_uid", "")))
    return cases


def write_decathlon(
    folder: pathlib.Path, name: str, description: str, modality: str, training: list[dict[str, Any]]
) -> None:
    """Writes dataset.json, as the Decathlon has it, of a data set with spleen labels.

    Args:
        folder: of the data set.
        name, description: in words.
        modality: 'CT' or 'MR'.
        training: of each case image and label, relative to the folder, and what else is to be said.
    """
    content = {
        "name": name,
        "description": description,
        "tensorImageSize": "3D",
        "modality": {"0": _DECATHLON_MODALITY[modality]},
        "labels": {"0": "background", "1": "spleen"},
        "numTraining": len(training),
        "numTest": 0,
        "training": training,
        "test": [],
    }
    files.write_json(folder / "dataset.json", content)


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
