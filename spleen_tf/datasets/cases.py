"""A data set's folder or table as a list of cases, and what each of them holds."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import warnings
from collections.abc import Sequence

import numpy as np
import tqdm

from spleen_tf.core.files import InputError, InputWarning
from spleen_tf.datasets import labels, layouts
from spleen_tf.datasets.layouts import Case, DatasetError
from spleen_tf.imaging import volume
from spleen_tf.imaging.volume import Placed, Volume, VolumeError
from spleen_tf.io import nifti, readers

MODALITIES = ("CT", "MR")


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
        VolumeError: if either is damaged or unfit, they are on different grids, or the label holds
            fractions or more values than labels have.
    """
    image = readers.read(case.image, case.series_uid)
    label = _on_grid_of(image, nifti.read(case.label))
    label = labels.mask(label, label_value, warn_of_several=True)
    if not label.array_ijk.any():
        sought = label_value or "above 0"
        warnings.warn(
            f"{case.label}: no voxel with value {sought}: a case without spleen",
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
    _on_grid_of(image, nifti.read_geometry(case.label))


def _on_grid_of(image: Placed, label: Placed) -> Placed:
    """The label with its axes in the image's order and directions, if it is on the image's grid.

    Converters turn the axes of a volume over, each in its own way; to a label that was drawn on
    what they made, the same is done backwards.
    """
    turned = volume.in_order_of(label, image.grid)
    try:
        volume.check_same_grid(image, turned)
    except VolumeError:
        volume.check_same_grid(image, label)  # Its message tells of the file as it is.
    else:
        return turned
    return label


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
