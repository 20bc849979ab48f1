"""Predictions and their labels on the disk: which belong together, and how they are read."""

from __future__ import annotations

import os
import pathlib
import warnings
from collections.abc import Container
from typing import NamedTuple

from spleen_tf.core import files
from spleen_tf.core.files import InputError, InputWarning
from spleen_tf.datasets import labels
from spleen_tf.imaging.volume import Volume
from spleen_tf.io import nifti

_NNUNET_CHANNEL = "_0000"


class Pair(NamedTuple):
    """One case to evaluate."""

    case: str
    prediction: pathlib.Path
    label: pathlib.Path


def find_pairs(predictions: str | os.PathLike[str], labels: str | os.PathLike[str]) -> list[Pair]:
    """Pairs predictions with labels: two files as they are, else by the name without suffix.

    CASE_0000.nii.gz, as nnU-Net names inputs, and as predictions from them are named then, pairs
    with the label CASE.nii.gz where no other prediction does. Warns of labels that have no
    prediction.

    Returns:
        At least one Pair, sorted by case. A pair of files goes by the name of the label.

    Raises:
        InputError: if a path does not exist or holds no NIfTI file, or if a prediction has no
            label.
    """
    predictions, labels = pathlib.Path(predictions), pathlib.Path(labels)
    if (labels / "labelsTr").is_dir():
        labels = labels / "labelsTr"
    if predictions.is_file() and labels.is_file():
        return [Pair(nifti.case(labels), predictions, labels)]
    label_of = volumes_at(labels)
    prediction_of = as_cases(volumes_at(predictions), label_of)
    for case, path in prediction_of.items():
        if case not in label_of:
            raise InputError(
                f"{path}: expected a label of the same name in {labels}, found none among "
                f"{len(label_of)}; give the two files themselves, or rename one."
            )
    left_out = sorted(label_of.keys() - prediction_of.keys())
    if left_out:
        warnings.warn(
            f"{labels}: {len(left_out)} of {len(label_of)} labels have no prediction in "
            f"{predictions} and are left out: {files.listed(left_out, 5)}",
            InputWarning,
            stacklevel=2,
        )
    return [Pair(case, prediction_of[case], label_of[case]) for case in sorted(prediction_of)]


def as_cases(path_of: dict[str, pathlib.Path], cases: Container[str]) -> dict[str, pathlib.Path]:
    """The same files by case: CASE_0000 stands for CASE where nothing else does."""
    by_case = dict(path_of)
    for name in [name for name in path_of if name not in cases]:
        case = name.removesuffix(_NNUNET_CHANNEL)
        if case in cases and case not in by_case:
            by_case[case] = by_case.pop(name)
    return by_case


def read_mask(path: pathlib.Path, value: int) -> Volume:
    """Reads a label map as a bool mask of one value, or of all above 0 where value is 0.

    Raises:
        VolumeError: if the file cannot be read, or `labels.mask` rejects it.
    """
    return labels.mask(nifti.read(path), value)


def volumes_at(path: pathlib.Path) -> dict[str, pathlib.Path]:
    """Case to file: of a folder, or of a single file.

    Raises:
        InputError: if there is no NIfTI file, or a folder holds two of one case.
    """
    if path.is_file():
        return {nifti.case(path): path}
    if not path.is_dir():
        raise InputError(f"{path}: expected a mask or a folder of masks, found no such path.")
    try:
        listing = sorted(path.iterdir())
    except OSError as error:
        raise InputError(f"{path}: expected a readable folder, found: {error.strerror}.") from None
    masks: dict[str, pathlib.Path] = {}
    for file in listing:
        # Archives made on a Mac bring a ._CASE.nii.gz beside each file.
        if not nifti.is_nifti(file) or file.name.startswith(".") or not file.is_file():
            continue
        twin = masks.setdefault(nifti.case(file), file)
        if twin != file:
            raise InputError(f"{file}: expected one file per case, found {twin.name} beside it.")
    if not masks:
        raise InputError(f"{path}: expected masks (CASE.nii.gz or CASE.nii), found none.")
    return masks
