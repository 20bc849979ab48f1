"""Layouts of data sets' folders: the Decathlon's, and that of nnU-Net v2."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Literal

import msgspec

from spleen_tf.core import files
from spleen_tf.core.files import InputError
from spleen_tf.imaging.intensity import Modality
from spleen_tf.io import nifti

Split = Literal["train", "validation"]
SPLITS: tuple[Split, ...] = ("train", "validation")
DESCRIPTION = "dataset.json"

_DECATHLON_MODALITY = {"CT": "CT", "MR": "MRI"}
_MR_NAMES = ("mr", "t1", "t2", "flair", "dwi", "adc", "pd")
_REMEDY = "correct it, or name the files in a .csv with the columns case,image,label"


class DatasetError(InputError):
    """A data set whose files or description do not fit together."""


@dataclasses.dataclass(frozen=True)
class Case:
    """One patient's volume and its label.

    Attributes:
        name: unique in the data set; outputs are named after it.
        image: a NIfTI file, or a folder with a DICOM series.
        label: a NIfTI file.
        modality: of the image.
        split: where the data set itself says it.
        series_uid: which series of the folder, where it has several; else None.
    """

    name: str
    image: str
    label: str
    modality: Modality
    split: Split | None = None
    series_uid: str | None = None


@dataclasses.dataclass(frozen=True)
class Entry:
    """A case as a data set describes it; see Case.

    Attributes:
        name, image, label, split, series_uid: as in Case.
        modality: as it is written, or 'CT' or 'MR' where that is understood; '' where nothing is.
    """

    name: str
    image: str
    label: str
    modality: str
    split: Split | None = None
    series_uid: str | None = None


class _Kind(msgspec.Struct, frozen=True):
    """What tells the layouts apart, and the data set's name."""

    name: object = None
    channel_names: object = None
    training: object = None


class _Pair(msgspec.Struct, frozen=True):
    image: str
    label: str


class _Decathlon(msgspec.Struct, frozen=True):
    training: tuple[_Pair, ...]
    modality: dict[str, str] | tuple[str, ...] | str = ""


class _Files(msgspec.Struct, frozen=True):
    images: tuple[str, ...]
    label: str


class _NnunetV2(msgspec.Struct, frozen=True):
    channel_names: dict[str, str]
    file_ending: str = ".nii.gz"
    dataset: dict[str, _Files] = {}


def from_folder(folder: pathlib.Path) -> list[Entry]:
    """The cases that a folder's dataset.json describes, in the Decathlon's layout or nnU-Net v2's.

    Raises:
        InputError: if the description cannot be read, says neither (DatasetError), or names no
            labelled case.
    """
    path = folder / DESCRIPTION
    if not path.exists():
        raise DatasetError(
            f"{folder}: expected {DESCRIPTION} in it (Medical Segmentation Decathlon, nnU-Net v2), "
            f"or a .csv with the columns case,image,label in its place, found neither"
            f"{_hint_of_data_sets_below(folder)}."
        )
    kind = files.read_record(path, _Kind, _REMEDY)
    if kind.channel_names is not None:
        return _from_nnunet(folder, files.read_record(path, _NnunetV2, _REMEDY))
    if kind.training is not None:
        return _from_decathlon(folder, files.read_record(path, _Decathlon, _REMEDY))
    raise DatasetError(
        f"{path}: expected a list 'training' (Medical Segmentation Decathlon) or 'channel_names' "
        f"(nnU-Net v2), found neither; {_REMEDY}."
    )


def read_name(path: pathlib.Path) -> str | None:
    """The name of a data set by its dataset.json.

    Raises:
        InputError: if it cannot be read.
    """
    name = files.read_record(path, _Kind, _REMEDY).name
    return name if isinstance(name, str) else None


def write_decathlon(
    folder: pathlib.Path,
    name: str,
    description: str,
    modality: Modality,
    training: Sequence[Mapping[str, str | float]],
) -> None:
    """Writes dataset.json, as the Decathlon has it, of a data set with spleen labels.

    Args:
        folder: of the data set.
        name, description: for people who read it.
        modality: of all cases.
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
    files.write_json(folder / DESCRIPTION, content)


def located(folder: pathlib.Path, text: str) -> pathlib.Path:
    """The file that a description names, relative to a folder; it may be missing.

    Where there is none of this very name, backslashes count as slashes, and the suffix may be in
    other letters: SCAN.NII.GZ for SCAN.nii.gz.
    """
    path = folder / text
    if path.exists():
        return path
    if "\\" in text:
        path = folder / text.replace("\\", "/")
    suffix = next((s for s in nifti.SUFFIXES[::-1] if path.name.lower().endswith(s)), None)
    if suffix is None or path.exists():
        return path
    stem = path.name[: -len(suffix)]
    with contextlib.suppress(OSError):  # No folder, or one that may not be read: no such file.
        for other in sorted(os.listdir(path.parent)):
            if other.lower() == path.name.lower() and other.startswith(stem):
                return path.with_name(other)
    return path


def understood_modality(name: str) -> Modality | None:
    """The modality that the name of a channel, such as 'T1w', means."""
    name = name.strip().lower()
    if name.startswith("ct"):
        return "CT"
    return "MR" if name.startswith(_MR_NAMES) else None


def _from_decathlon(folder: pathlib.Path, description: _Decathlon) -> list[Entry]:
    if not description.training:
        raise DatasetError(
            f"{folder / DESCRIPTION}: expected at least one labelled case, found none: 'training' "
            "is empty; list pairs of image and label in it, or name the files in a .csv with the "
            "columns case,image,label."
        )
    named = description.modality
    names = list(named.values()) if isinstance(named, dict) else named
    modality = _first_modality((names,) if isinstance(names, str) else names)
    entries = []
    for pair in description.training:
        image, label = located(folder, pair.image), located(folder, pair.label)
        entries.append(Entry(_stem(image), str(image), str(label), modality))
    return entries


def _from_nnunet(folder: pathlib.Path, description: _NnunetV2) -> list[Entry]:
    path, ending = folder / DESCRIPTION, description.file_ending
    if len(description.channel_names) != 1:
        raise DatasetError(
            f"{path}: expected one channel in channel_names, found "
            f"{', '.join(description.channel_names.values()) or 'none'}."
        )
    if ending.lower() not in nifti.SUFFIXES:
        raise DatasetError(
            f"{path}: expected a file_ending of {' or '.join(nifti.SUFFIXES)}, found {ending!r}."
        )
    modality = _first_modality(description.channel_names.values())
    if description.dataset:
        return [_nnunet_entry(folder, *item, modality) for item in description.dataset.items()]
    labels = folder / "labelsTr"
    names = _visible(labels)
    entries = [
        Entry(
            name[: -len(ending)],
            str(located(folder / "imagesTr", f"{name[: -len(ending)]}_0000{ending}")),
            str(labels / name),
            modality,
        )
        for name in names
        if name.lower().endswith(ending.lower())
    ]
    if not entries:
        others = f"{len(names)} others, such as {names[0]}" if names else "no file"
        raise DatasetError(
            f"{path}: expected at least one labelled case, found none: {labels} holds no file that "
            f"ends in {ending}, as file_ending says, but {others}."
        )
    return entries


def _nnunet_entry(folder: pathlib.Path, name: str, named: _Files, modality: str) -> Entry:
    """A case of nnU-Net's key 'dataset', for files that lie elsewhere."""
    if len(named.images) != 1:
        raise DatasetError(
            f"{folder / DESCRIPTION}: expected one image of case {name!r}, found "
            f"{len(named.images)}."
        )
    return Entry(
        name, str(located(folder, named.images[0])), str(located(folder, named.label)), modality
    )


def _first_modality(names: Iterable[str]) -> str:
    """Of the first channel; '' where its name is not understood."""
    return understood_modality(next(iter(names), "")) or ""


def _stem(path: pathlib.Path) -> str:
    """The file's name without .nii or .nii.gz, in any letters."""
    suffix = next((s for s in nifti.SUFFIXES[::-1] if path.name.lower().endswith(s)), "")
    return path.name.removesuffix(path.name[len(path.name) - len(suffix) :])


def _visible(folder: pathlib.Path) -> list[str]:
    """The files in a folder, sorted; archives made on a Mac bring a ._CASE.nii.gz beside each."""
    with contextlib.suppress(OSError):  # No such folder: no files.
        return sorted(name for name in os.listdir(folder) if not name.startswith("."))
    return []


def _hint_of_data_sets_below(folder: pathlib.Path) -> str:
    below = sorted(path.parent.name for path in folder.glob(f"*/{DESCRIPTION}"))
    return f"; the folder {below[0]} in it has one: give that" if below else ""
