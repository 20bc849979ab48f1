"""Layouts of data sets' folders: the Decathlon's, and that of nnU-Net v2."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import warnings
from collections.abc import Callable, Mapping, Sequence, Set
from typing import Literal

import msgspec

from spleen_tf.core import files
from spleen_tf.core.files import InputError, InputWarning
from spleen_tf.datasets import naming
from spleen_tf.imaging.intensity import Modality
from spleen_tf.io import nifti

Split = Literal["train", "validation"]
SPLITS: tuple[Split, ...] = ("train", "validation")
DESCRIPTION = "dataset.json"

_DECATHLON_MODALITY = {"CT": "CT", "MR": "MRI"}
_NULL = msgspec.Raw(b"null")
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
    """What tells the layouts apart, undecoded, and the data set's name."""

    name: object = None
    channel_names: msgspec.Raw = _NULL
    training: msgspec.Raw = _NULL


class _Pair(msgspec.Struct, frozen=True):
    image: str
    label: str


class _Decathlon(msgspec.Struct, frozen=True):
    training: tuple[_Pair, ...]
    modality: object = None
    capital_modality: object = msgspec.field(default=None, name="Modality")


class _Files(msgspec.Struct, frozen=True):
    images: tuple[str, ...]
    label: str


class _NnunetV2(msgspec.Struct, frozen=True):
    channel_names: dict[str, str] | tuple[str, ...]
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
    if kind.channel_names != _NULL:
        return _from_nnunet(folder, files.read_record(path, _NnunetV2, _REMEDY))
    if kind.training != _NULL:
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


def _from_decathlon(folder: pathlib.Path, description: _Decathlon) -> list[Entry]:
    if not description.training:
        raise DatasetError(
            f"{folder / DESCRIPTION}: expected at least one labelled case, found none: 'training' "
            "is empty; list pairs of image and label in it, or name the files in a .csv with the "
            "columns case,image,label."
        )
    modality = _first_name(description.modality or description.capital_modality)
    entries = []
    for pair in description.training:
        image, label = naming.located(folder, pair.image), naming.located(folder, pair.label)
        # nnU-Net v1 lists CASE.nii.gz, and names the file CASE_0000.nii.gz.
        channel = _channel(image)
        is_v1 = not image.exists() and channel(0).exists() and not channel(1).exists()
        file = channel(0) if is_v1 else image
        entries.append(Entry(nifti.stem(image), str(file), str(label), modality))
    return entries


def _channel(image: pathlib.Path) -> Callable[[int], pathlib.Path]:
    """A function from a channel's number to its file, as nnU-Net names it after a case's."""
    stem = nifti.stem(image)
    return lambda number: image.with_name(f"{stem}_{number:04d}{image.name[len(stem) :]}")


def _from_nnunet(folder: pathlib.Path, description: _NnunetV2) -> list[Entry]:
    path, ending = folder / DESCRIPTION, f".{description.file_ending.lstrip('.')}"
    named = description.channel_names
    names_of_channels = list(named.values()) if isinstance(named, dict) else list(named)
    if len(names_of_channels) != 1:
        raise DatasetError(
            f"{path}: expected one channel in channel_names, found "
            f"{', '.join(names_of_channels) or 'none'}."
        )
    if ending.lower() not in nifti.SUFFIXES:
        raise DatasetError(
            f"{path}: expected a file_ending of {' or '.join(nifti.SUFFIXES)}, found {ending!r}."
        )
    modality = _first_name(names_of_channels)
    if description.dataset:
        return [_nnunet_entry(folder, *item, modality) for item in description.dataset.items()]
    labels = folder / "labelsTr"
    names = _visible(labels)
    images = folder / "imagesTr"
    entries = []
    for name in names:
        if name.lower().endswith(ending.lower()):
            case = name[: -len(ending)]
            image = naming.located(images, f"{case}_0000{ending}")
            if not image.exists() and (plain := naming.located(images, f"{case}{ending}")).exists():
                image = plain
            entries.append(Entry(case, str(image), str(labels / name), modality))
    if not entries:
        others = f"{len(names)} others, such as {names[0]}" if names else "no file"
        raise DatasetError(
            f"{path}: expected at least one labelled case, found none: {labels} holds no file that "
            f"ends in {ending}, as file_ending says, but {others}."
        )
    _warn_of_unlabelled(images, {pathlib.Path(entry.image).name for entry in entries})
    return entries


def _warn_of_unlabelled(images: pathlib.Path, used: Set[str]) -> None:
    unlabelled = [name for name in _visible(images) if nifti.is_nifti(name) and name not in used]
    if unlabelled:
        more = f" and {len(unlabelled) - 1} more" if len(unlabelled) > 1 else ""
        warnings.warn(
            f"{images}: {unlabelled[0]}{more} without a label in labelsTr: left out",
            InputWarning,
            stacklevel=4,
        )


def _nnunet_entry(folder: pathlib.Path, name: str, named: _Files, modality: str) -> Entry:
    """A case of nnU-Net's key 'dataset', for files that lie elsewhere."""
    if len(named.images) != 1:
        raise DatasetError(
            f"{folder / DESCRIPTION}: expected one image of case {name!r}, found "
            f"{len(named.images)}."
        )
    return Entry(
        name,
        str(naming.located(folder, named.images[0])),
        str(naming.located(folder, named.label)),
        modality,
    )


def _first_name(named: object) -> str:
    """That of the first channel, of an object, a list or a text; '' where there is none."""
    if isinstance(named, dict):
        named = list(named.values())
    if isinstance(named, list | tuple):
        named = named[0] if named else ""
    return named.strip() if isinstance(named, str) else ""


def _visible(folder: pathlib.Path) -> list[str]:
    """The files in a folder, sorted; archives made on a Mac bring a ._CASE.nii.gz beside each."""
    with contextlib.suppress(OSError):  # No such folder: no files.
        return sorted(name for name in os.listdir(folder) if not name.startswith("."))
    return []


def _hint_of_data_sets_below(folder: pathlib.Path) -> str:
    below = sorted(path.parent.name for path in folder.glob(f"*/{DESCRIPTION}"))
    return f"; the folder {below[0]} in it has one: give that" if below else ""
