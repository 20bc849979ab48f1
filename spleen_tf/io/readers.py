"""Whatever a path names, a NIfTI file or a DICOM series, as a Volume."""

from __future__ import annotations

import os
import pathlib

from nibabel.nifti1 import Nifti1Header

from spleen_tf.core import files
from spleen_tf.core.files import InputError
from spleen_tf.imaging.intensity import Modality
from spleen_tf.imaging.volume import Geometry, Volume
from spleen_tf.io import nifti, nifti_header
from spleen_tf.io.dicom import folder, series, streams
from spleen_tf.io.dicom.stack import Stack


def is_dicom(path: str | os.PathLike[str]) -> bool:
    """Whether a path names DICOM: a file, or a folder that holds such, there or further below.

    A folder that holds NIfTI files is a folder of those, whatever else is in it.
    """
    path = pathlib.Path(path)
    if not path.is_dir():
        return not nifti.is_nifti(path) and (
            path.suffix.lower() == ".dcm" or streams.is_dicom(path)
        )
    shown = [child.name for child in path.iterdir() if not child.name.startswith(".")]
    return not any(map(nifti.is_nifti, shown)) and folder.holds_dicom(path)


def read(path: str | os.PathLike[str], series_uid: str | None = None) -> Volume:
    """Reads a volume whole.

    Args:
        path: a NIfTI file, a folder with a DICOM series, or a DICOM file of several frames.
        series_uid: the SeriesInstanceUID, where there are several series; None: the only one.

    Raises:
        VolumeError: see `nifti.read` and `series.read`.
    """
    if is_dicom(path) or os.path.isdir(path):
        return series.read(path, series_uid)
    _check_no_series(path, series_uid)
    return nifti.read(path)


def read_geometry(path: str | os.PathLike[str], series_uid: str | None = None) -> Geometry:
    """Like read, but without voxels; see `nifti.read_geometry`."""
    if is_dicom(path) or os.path.isdir(path):
        return series.read_geometry(path, series_uid)
    _check_no_series(path, series_uid)
    return nifti.read_geometry(path)


def read_voxels(geometry: Geometry) -> Volume:
    """The volume whose geometry was read; of DICOM, no header is read again."""
    if from_dicom(geometry):
        return series.read_voxels(geometry)
    return nifti.read(geometry.source)


def from_dicom(image: Volume | Geometry) -> bool:
    """Whether a volume that was read comes from a DICOM series."""
    return isinstance(image.header, Stack)


def modality(path: str | os.PathLike[str], series_uid: str | None = None) -> Modality | None:
    """By the DICOM header; None where there is none that says it."""
    return series.modality(path, series_uid) if is_dicom(path) else None


def sha256(image: Volume) -> str:
    """The SHA-256 of the bytes that a volume was read from: of the file; of a series, of all its
    files in the order of the slices, as one stream."""
    return series.sha256(image) if from_dicom(image) else files.sha256(image.source)


def storage(image: Volume) -> dict[str, str | int]:
    """How voxels are stored and what their numbers mean; see `nifti_header.storage`."""
    if isinstance(image.header, Nifti1Header):
        return nifti_header.storage(image.header)
    if isinstance(image.header, Stack):
        bits, _, is_signed = image.header.frames[0].bits
        stored_as = f"{'int' if is_signed else 'uint'}{bits}"
    else:  # It was made in memory.
        bits, stored_as = 8 * image.array_ijk.itemsize, image.array_ijk.dtype.name
    return {
        "bits_per_voxel": bits,
        "stored_as": stored_as,
        "space_unit": "mm",
        "time_unit": "unknown",
    }


def _check_no_series(path: str | os.PathLike[str], series_uid: str | None) -> None:
    if series_uid:
        raise InputError(f"{path}: expected DICOM where a series_uid is given, found other files.")
