"""A data set's folder or table as a list of cases, and what each of them holds."""

from __future__ import annotations

import dataclasses
import glob
import os
import pathlib
import re
import warnings
from collections.abc import Sequence

import numpy as np
import tqdm

from spleen_tf.core.files import InputError, InputWarning
from spleen_tf.datasets import label_grid, labels, layouts, naming, table
from spleen_tf.datasets.layouts import Case, DatasetError, Entry
from spleen_tf.imaging.intensity import MODALITIES, Modality
from spleen_tf.imaging.volume import Volume
from spleen_tf.io import nifti, readers

# Neither folders nor control characters, which would write to other places or to a terminal.
_NOT_IN_NAMES = r"[/\\\x00-\x1f\x7f-\x9f]"


class UnknownModalityError(DatasetError):
    """Neither the user, nor the data set, nor a DICOM header says whether cases are CT or MR."""


def load(
    dataset: str | os.PathLike[str], modality: Modality | None = None, missing_ok: bool = False
) -> list[Case]:
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
        entries, source = table.read(dataset), dataset
    elif dataset.is_dir():
        entries, source = layouts.from_folder(dataset), dataset / layouts.DESCRIPTION
    else:
        found = "a file of another kind" if dataset.exists() else "nothing there"
        hint = "; give the folder that it is in" if dataset.name == layouts.DESCRIPTION else ""
        raise DatasetError(
            f"{dataset}: expected a data set's folder or a .csv, found {found}{hint}."
        )
    _check(entries, source, missing_ok)
    listed = [
        Case(
            entry.name,
            entry.image,
            entry.label,
            _modality(entry, modality, source),
            split=entry.split,
            series_uid=entry.series_uid,
        )
        for entry in entries
    ]
    return sorted(listed, key=lambda case: case.name)


def _modality(entry: Entry, given: Modality | None, source: pathlib.Path) -> Modality:
    """What the user says, else the data set, else the DICOM header."""
    said = (
        given
        or naming.understood_modality(entry.modality)
        or readers.modality(entry.image, entry.series_uid)
        or entry.modality
    )
    for modality in MODALITIES:
        if said == modality:
            return modality
    found = repr(said) if said else "nothing that says it"
    raise UnknownModalityError(
        f"{source}: expected the modality CT or MR, found {found}; pass --modality."
    )


def read(case: Case, label_value: int = 0) -> tuple[Volume, Volume]:
    """A case's image and its label on the same grid.

    Args:
        case: which.
        label_value: the label's value that means spleen; 0 for any value above 0.

    Returns:
        image in physical units, and label as uint8, 1 inside.

    Raises:
        VolumeError: if either is damaged or unfit, they are on different grids, or the label holds
            fractions or more values than labels have.
    """
    image = readers.read(case.image, case.series_uid)
    label = label_grid.on_grid_of(image, nifti.read(case.label))
    label = labels.mask(label, label_value, warn_of_several=True)
    if not label.array_ijk.any():
        sought = f"has the value {label_value}" if label_value else "has a value above 0"
        warnings.warn(
            f"{case.label}: no voxel {sought}; it counts as a case without spleen",
            InputWarning,
            stacklevel=2,
        )
    return image, dataclasses.replace(label, array_ijk=label.array_ijk.view(np.uint8))


def usable(
    listed: Sequence[Case], label_value: int = 0, *, skip: bool = False
) -> tuple[list[Case], dict[str, InputError]]:
    """The cases that can be used, and by name why the others cannot.

    Headers are looked at, so that a long conversion does not fail at its end; where bad cases are
    to be skipped, every voxel is, since cases are dealt to splits and shards before they are read.

    Args:
        listed: cases of a data set.
        label_value: as in `read`.
        skip: leaves bad cases out.

    Raises:
        InputError: of the first bad case, unless `skip`.
    """
    good: list[Case] = []
    error_of: dict[str, InputError] = {}
    for case in tqdm.tqdm(listed, desc="check", unit="case", disable=None):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # They are given when the case is converted.
                check_geometry(case)
                if skip:
                    read(case, label_value)
        except InputError as error:
            if not skip:
                raise
            error_of[case.name] = error
        else:
            good.append(case)
    return good, error_of


def no_such_label_value(label_value: int, num_cases: int) -> DatasetError:
    """What to raise where a label_value is in none of a data set's labels."""
    return DatasetError(
        f"--label_value: expected a value of the labels, found {label_value} in none of "
        f"{num_cases} cases."
    )


def check_geometry(case: Case) -> None:
    """Raises VolumeError where the headers of a case's image and label already show a fault."""
    image = readers.read_geometry(case.image, case.series_uid)
    label_grid.on_grid_of(image, nifti.read_geometry(case.label))


def _check(entries: Sequence[Entry], source: pathlib.Path, missing_ok: bool) -> None:
    """Names that name files, each once, and files that are there."""
    seen: set[str] = set()
    for entry in entries:
        name = entry.name
        if name in seen:
            raise DatasetError(f"{source}: expected every case once, found {name!r} twice.")
        seen.add(name)
        if not name or name.startswith(".") or re.search(_NOT_IN_NAMES, name):
            raise DatasetError(
                f"{source}: expected case names that can name files, found {name!r}."
            )
        if name.encode(errors="ignore").decode() != name:
            raise DatasetError(
                f"{source}: expected files with names in UTF-8, found {name!r}; rename them."
            )
        if missing_ok:
            continue
        if not os.path.exists(entry.image):
            raise DatasetError(
                f"{entry.image}: expected a file, as {source} says, found none; "
                f"{_hint(entry.image)}."
            )
        if not os.path.isfile(entry.label):
            raise DatasetError(
                f"{entry.label}: expected a file, as {source} says, found none; "
                f"{_hint(entry.label)}."
            )


def _hint(path: str) -> str:
    """What to do about a file that is missing."""
    if re.search(r"(^|/)[A-Za-z]:[/\\]", path):
        return "a path of Windows: write it relative to the description's folder"
    stem = nifti.stem(path)
    if sorted(pathlib.Path(path).parent.glob(f"{glob.escape(stem)}_000[0-9].nii*")):
        return f"there are several channels {stem}_000N, as nnU-Net v1 has them: name one in a .csv"
    return "correct the path, which starts at the description's folder"
