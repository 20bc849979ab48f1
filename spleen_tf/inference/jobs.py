"""The volumes that a prediction reads, and the files that become of each."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

from spleen_tf.core import files
from spleen_tf.core.files import InputError
from spleen_tf.io import nifti, readers

# What may become of a volume besides its mask, and how the names of such files end; in a folder,
# they end in the first of these.
SUFFIXES: dict[str, tuple[str, ...]] = {
    "preview": (".png",),
    "probabilities": (".nii.gz", ".nii"),
    "report": (".html",),
    "mesh": (".stl", ".obj", ".ply"),  # As mesh.SUFFIXES, whose module takes longer to import.
    "dicom_seg": (".dcm",),
}

# What a whole JSON tells: the table of `predict --table` has all of it.
_TOLD = {
    *("voxels", "seconds", "volume_ml", "complete", "review", "reasons"),
    *("predicted_dice", "predicted_dice_interval", "predicted_dice_note"),
}


@dataclasses.dataclass(frozen=True)
class Job:
    """One volume and the files that become of it.

    Attributes:
        source: the volume's file, or its DICOM folder.
        mask: the mask's file.
        others: by kind, one of SUFFIXES, the other files that were asked for.
        series_uid: the SeriesInstanceUID that was asked for, or ''.
    """

    source: pathlib.Path
    mask: pathlib.Path
    others: Mapping[str, pathlib.Path] = dataclasses.field(default_factory=dict)
    series_uid: str = ""

    @property
    def json(self) -> pathlib.Path:
        """The JSON beside the mask."""
        return _sidecar(self.mask)

    @property
    def outputs(self) -> list[pathlib.Path]:
        """All files that are written."""
        return [self.mask, self.json, *self.others.values()]

    def result(self) -> dict[str, Any] | None:
        """The content of the JSON, if all outputs are there from an earlier run; else None.

        Raises:
            InputError: if the JSON is none.
        """
        if not self.json.is_file():
            return None
        content = files.read_json(self.json)
        # A run that was cut short has not come to all of them, nor had versions before this one.
        if not (isinstance(content, dict) and _TOLD.issubset(content)):
            return None
        # Of an empty mask there is no surface.
        wanted = [p for kind, p in self.others.items() if kind != "mesh" or content["voxels"]]
        return content if all(path.is_file() for path in (self.mask, *wanted)) else None


def plan(
    source: str, output: str, others: Mapping[str, str] | None = None, series_uid: str = ""
) -> list[Job]:
    """The volumes to segment and where their outputs go.

    Args:
        source: a NIfTI file, a folder of them, or a DICOM series: a folder or a file.
        output: the mask's file, or an existing folder for it; for a folder of volumes, a folder,
            which gets masks of the same names. A DICOM series' own name may be its patient's, so
            that its mask in a folder is spleen.nii.gz.
        others: by kind, one of SUFFIXES, a file; for a folder of volumes, a folder. Empty: none.
        series_uid: which series, where a DICOM folder has several.

    Raises:
        InputError: if there is no volume, an output has a wrong name or no place to go to, or
            would overwrite an input or another output.
    """
    source_path, output_path = pathlib.Path(source), pathlib.Path(output)
    asked = {kind: path for kind, path in (others or {}).items() if path}
    if not source_path.exists():
        raise InputError(
            f"{source}: expected a NIfTI file, a folder of them, or a DICOM series, found nothing."
        )
    if not output:
        raise InputError("--output: expected a file's name, or a folder's, found nothing.")
    is_dicom = readers.is_dicom(source)
    if not is_dicom and (series_uid or "dicom_seg" in asked):
        flag = "--series_uid" if series_uid else "--dicom_seg"
        raise InputError(f"{source}: expected DICOM for {flag}, found none.")
    if source_path.is_dir() and not is_dicom:
        jobs = _plan_folder(source_path, output, asked)
    else:
        name = "spleen.nii.gz" if is_dicom else source_path.name
        mask = output_path / name if output_path.is_dir() else output_path
        places = {kind: pathlib.Path(path) for kind, path in asked.items()}
        jobs = [Job(source_path, mask, places, series_uid)]
    for job in jobs:
        _check_outputs(job)
    _check_places(jobs)
    return jobs


def check_place(path: pathlib.Path, suffixes: tuple[str, ...]) -> None:
    """Raises InputError if a file of that name cannot be written there, or should not be."""
    if not path.name.endswith(suffixes):
        raise InputError(f"{path}: expected an output name that ends in {' or '.join(suffixes)}.")
    if path.is_dir():
        raise InputError(f"{path}: expected a file to write, found a folder.")
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        found = "one that cannot be written to" if folder.is_dir() else "a file"
        raise InputError(f"{path}: expected {folder} to be a folder, found {found}.")


def is_batch(source: str | os.PathLike) -> bool:
    """Whether a path names a folder of volumes, and not one volume."""
    return os.path.isdir(source) and not readers.is_dicom(source)


def _plan_folder(source: pathlib.Path, output: str, asked: Mapping[str, str]) -> list[Job]:
    volumes = _volumes(source)
    _check_folders([(output, nifti.SUFFIXES), *((p, SUFFIXES[k]) for k, p in asked.items())])
    return [
        Job(
            path,
            pathlib.Path(output, path.name),
            {
                kind: pathlib.Path(folder, nifti.stem(path) + SUFFIXES[kind][0])
                for kind, folder in asked.items()
            },
        )
        for path in volumes
    ]


def _check_folders(suffixes_of: Iterable[tuple[str, tuple[str, ...]]]) -> None:
    for folder, suffixes in suffixes_of:
        if folder.endswith(suffixes) and not os.path.isdir(folder):
            raise InputError(
                f"{folder}: expected a folder, as --input is one, found a file's name."
            )


def _volumes(folder: pathlib.Path) -> list[pathlib.Path]:
    found = [p for p in sorted(folder.iterdir()) if p.is_file() and nifti.is_nifti(p)]
    found = [path for path in found if not path.name.startswith(".")]
    if not found:
        raise InputError(
            f"{folder}: expected .nii or .nii.gz files, or a DICOM series, in it, found none."
        )
    return found


def _check_outputs(job: Job) -> None:
    expected = [
        (job.mask, nifti.SUFFIXES),
        (job.json, (".json",)),
        *((p, SUFFIXES[k]) for k, p in job.others.items()),
    ]
    for path, suffixes in expected:
        check_place(path, suffixes)


def _check_places(jobs: Iterable[Job]) -> None:
    """Raises InputError for what would fail, or destroy something, after the work is done."""
    # A JSON beside a source is the source's.
    owners = {
        p.resolve(): f"the input {j.source}" for j in jobs for p in (j.source, _sidecar(j.source))
    }
    for job in jobs:
        for path in job.outputs:
            if (place := path.resolve()) in owners:
                raise InputError(
                    f"{path}: expected a place of its own for each output, found that of "
                    f"{owners[place]}."
                )
            if job.source.is_dir() and place.is_relative_to(job.source.resolve()):
                raise InputError(
                    f"{path}: expected a place outside of the DICOM folder {job.source}, found one "
                    "inside."
                )
            owners[place] = f"an output for {job.source}"


def _sidecar(path: pathlib.Path) -> pathlib.Path:
    return path.with_name(f"{nifti.stem(path)}.json")
