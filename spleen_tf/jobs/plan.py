"""The jobs that a command line asks for: which volumes are read, and where their outputs go."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import types
import warnings
from collections.abc import Mapping, Sequence

from spleen_tf.core import files, flags
from spleen_tf.core.files import InputError, InputWarning
from spleen_tf.datasets import cases
from spleen_tf.datasets.splits import read_splits
from spleen_tf.imaging.intensity import Modality
from spleen_tf.io import nifti, readers
from spleen_tf.jobs import bids, places
from spleen_tf.jobs.config import PredictConfig
from spleen_tf.jobs.job import Job
from spleen_tf.reporting.outputs import DICOM_OBJECTS, SUFFIXES

_NO_OTHERS: Mapping[str, str] = types.MappingProxyType({})


def of(config: PredictConfig) -> list[Job]:
    """The jobs of a configuration.

    Raises:
        InputError: if flags do not go together, or an input or output is at fault.
    """
    others, modality = _others(config), config.modality
    if bool(config.input) == bool(config.dataset):
        found = "both" if config.input else "nothing"
        raise InputError(
            "--input: expected a NIfTI file, a folder of them, or a DICOM series, or --dataset "
            f"with --splits in its place, found {found}."
        )
    flags.check_together(
        config,
        ("dataset", "splits"),
        ("splits", "dataset"),
        ("series_uid", "input"),
        ("bids", "input"),
    )
    if config.dataset and config.splits:
        split = (config.dataset, config.splits, config.split, config.fold)
        return of_split(*split, config.output, others, modality)
    if config.bids and config.series_uid:
        raise InputError("--series_uid: expected DICOM, found --bids, whose images are NIfTI.")
    if config.bids:
        return of_bids(config.input or "", config.output, others, modality)
    return of_path(config.input or "", config.output, others, config.series_uid, modality)


def of_path(
    source: str,
    output: str,
    others: Mapping[str, str] = _NO_OTHERS,
    series_uid: str | None = None,
    modality: Modality | None = None,
) -> list[Job]:
    """The volumes to segment and where their outputs go.

    Args:
        source: a NIfTI file, a folder of them, or a DICOM series: a folder or a file.
        output: the mask's file, or an existing folder for it; for a folder of volumes, a folder,
            which gets masks of the same names. A DICOM series' own name may be its patient's, so
            that its mask in a folder is spleen.nii.gz.
        others: by kind, one of SUFFIXES, a file; for a folder of volumes, a folder.
        series_uid: which series, where a DICOM folder has several.
        modality: of all volumes, where the user says it.

    Raises:
        InputError: if there is no volume, an output has a wrong name or no place to go to, or
            would overwrite an input or another output.
    """
    source_path, output_path = pathlib.Path(source), pathlib.Path(output)
    if not source_path.exists():
        raise InputError(
            f"{source}: expected a NIfTI file, a folder of them, or a DICOM series, found nothing."
        )
    _check_output(output)
    is_dicom = readers.is_dicom(source)
    for_dicom = ["series_uid"] if series_uid else [kind for kind in DICOM_OBJECTS if kind in others]
    if not is_dicom and for_dicom:
        raise InputError(
            f"{source}: expected DICOM for --{for_dicom[0]}, found none; leave the flag out, "
            "or name the DICOM series as --input."
        )
    if source_path.is_dir() and not is_dicom:
        _check_folders(output, others, "--input")
        jobs = [
            _in_folder(path, _mask_name(path), output, others, modality=modality)
            for path in _volumes(source_path)
        ]
    else:
        name = "spleen.nii.gz" if is_dicom else _mask_name(source_path)
        mask = output_path / name if output_path.is_dir() else output_path
        other_paths = {kind: pathlib.Path(path) for kind, path in others.items()}
        jobs = [Job(source_path, mask, other_paths, series_uid, modality)]
    return _checked(jobs)


def of_split(
    dataset: str,
    splits: str,
    split: str,
    fold: int,
    output: str,
    others: Mapping[str, str] = _NO_OTHERS,
    modality: Modality | None = None,
) -> list[Job]:
    """The cases that a split of a data set names; outputs are named after the cases.

    Args:
        dataset: as in `cases.load`.
        splits: a splits.json, or nnU-Net's splits_final.json.
        split: train or validation.
        fold: which one of a list of folds.
        output, others: as in `of_path`, for a folder of volumes.
        modality: of all cases; None: what the data set says.

    Raises:
        InputError: as `of_path`, `cases.load` and `read_splits` do, or if a case is not in the data
            set, or the split is empty.
    """
    _check_output(output)
    by_name = {case.name: case for case in cases.load(dataset, modality)}
    names = read_splits(splits, fold).of(split)
    if not names:
        raise InputError(f"{splits}: expected cases for {split}, found none.")
    for name in names:
        if name not in by_name:
            raise InputError(f"{splits}: expected cases of {dataset}, found {name!r}.")
    _check_folders(output, others, "--dataset")
    jobs = []
    for case in (by_name[name] for name in names):
        mask_name = case.name + (nifti.suffix(case.image) or ".nii.gz")
        image = pathlib.Path(case.image)
        jobs.append(_in_folder(image, mask_name, output, others, case.series_uid, case.modality))
    return _checked(jobs)


def of_bids(
    source: str,
    output: str,
    others: Mapping[str, str] = _NO_OTHERS,
    modality: Modality | None = None,
) -> list[Job]:
    """The images of a BIDS data set; masks are a derivative of it.

    Args:
        source: the data set's folder.
        output: the derivative's folder.
        others: as in `of_path`, for a folder of volumes.
        modality: of all images; None: by their suffixes.

    Raises:
        InputError: as `of_path` and `bids.images` do, or if another data set lies in the output.
    """
    if kind := next((kind for kind in DICOM_OBJECTS if kind in others), None):
        raise InputError(f"--{kind}: expected DICOM, found --bids, whose images are NIfTI.")
    _check_output(output)
    images = bids.images(pathlib.Path(source))
    _check_folders(output, others, "--bids")
    bids.check_output(pathlib.Path(output))
    jobs = []
    for image in images:
        asked_modality = modality or image.modality
        job = _in_folder(image.path, image.mask.name, output, others, modality=asked_modality)
        mask = pathlib.Path(output, image.mask)
        jobs.append(dataclasses.replace(job, mask=mask, bids_uri=image.uri))
    return _checked(jobs)


def check_single_places(config: PredictConfig) -> None:
    """Raises InputError for names of outputs that `of` would refuse for any single volume."""
    _check_output(config.output)
    if not os.path.isdir(config.output):
        places.check_place(pathlib.Path(config.output), nifti.SUFFIXES)
    for kind, path in _others(config).items():
        places.check_place(pathlib.Path(path), SUFFIXES[kind])


def is_batch(source: str | os.PathLike[str]) -> bool:
    """Whether a path names a folder of volumes, and not one volume."""
    return os.path.isdir(source) and not readers.is_dicom(source)


def _others(config: PredictConfig) -> dict[str, str]:
    """By kind, the flags that ask for files besides the masks."""
    return {kind: path for kind in SUFFIXES if (path := getattr(config, kind))}


def _in_folder(
    source: pathlib.Path,
    mask_name: str,
    output: str,
    others: Mapping[str, str],
    series_uid: str | None = None,
    modality: Modality | None = None,
) -> Job:
    """One of many volumes: its outputs go into folders, and are named as its mask."""
    paths = {
        kind: pathlib.Path(folder, nifti.stem(mask_name) + SUFFIXES[kind][0])
        for kind, folder in others.items()
    }
    return Job(source, pathlib.Path(output, mask_name), paths, series_uid, modality)


def _mask_name(source: pathlib.Path) -> str:
    """The source's name; an extension in capitals becomes the usual one."""
    suffix = nifti.suffix(source)
    return source.name[: len(source.name) - len(suffix)] + suffix


def _check_output(output: str) -> None:
    if not output:
        raise InputError("--output: expected a file's name, or a folder's, found nothing.")


def _check_folders(output: str, others: Mapping[str, str], flag: str) -> None:
    """Raises InputError where many volumes would be written to one file."""
    folders = [(output, nifti.SUFFIXES), *((p, SUFFIXES[kind]) for kind, p in others.items())]
    for folder, suffixes in folders:
        if folder.endswith(suffixes) and not os.path.isdir(folder):
            kind = "since --input is a folder" if flag == "--input" else f"for the cases of {flag}"
            raise InputError(f"{folder}: expected a folder, {kind}, found a file's name.")


def _volumes(folder: pathlib.Path) -> list[pathlib.Path]:
    """The NIfTI files of a folder; a warning names what else is in it."""
    shown = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    volumes = [path for path in shown if path.is_file() and nifti.is_nifti(path)]
    if not volumes:
        is_bids = (folder / bids.DESCRIPTION).is_file()
        remedy = "; a BIDS data set needs --bids" if is_bids else ""
        raise InputError(
            f"{folder}: expected .nii or .nii.gz files, or a DICOM series, in it, found none"
            f"{remedy}."
        )
    # A JSON beside a volume describes it, as BIDS has it.
    own = {*volumes, *map(nifti.sidecar, volumes)}
    if left_out := [path for path in shown if path not in own]:
        names = [f"{path.name}/" if path.is_dir() else path.name for path in left_out]
        warnings.warn(
            f"{folder}: {len(names)} of {len(shown)} entries are left out, since they are not .nii "
            f"or .nii.gz files: {files.listed(names, 3)}",
            InputWarning,
            stacklevel=3,
        )
    return volumes


def _checked(jobs: Sequence[Job]) -> list[Job]:
    """Raises InputError for what would fail, or destroy something, after the work is done."""
    for job in jobs:
        places.check_place(job.mask, nifti.SUFFIXES)
        places.check_place(job.json, (".json",))
        for kind, path in job.others.items():
            places.check_place(path, SUFFIXES[kind])
    owners = places.Owners()
    for job in jobs:
        owners.add_input(job.source)
    for job in jobs:
        for path in job.outputs:
            owners.add_output(path, job.source)
    return list(jobs)
