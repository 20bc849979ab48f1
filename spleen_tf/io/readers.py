"""Whatever a path names, a NIfTI file or a DICOM series, as a Volume.

pydicom takes a third of a second to import, and NIfTI does not need it: only what touches DICOM
imports `io.dicom`.
"""

from __future__ import annotations

import os
import pathlib

from nibabel.nifti1 import Nifti1Header

from spleen_tf.core import files
from spleen_tf.core.files import InputError
from spleen_tf.imaging.intensity import Modality
from spleen_tf.imaging.volume import Geometry, Volume
from spleen_tf.io import nifti, nifti_header


def is_dicom(path: str | os.PathLike[str]) -> bool:
    """Whether a path names DICOM: a file, or a folder that holds such, there or further below.

    A folder that holds NIfTI files is a folder of those, whatever else is in it.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        shown = [child.name for child in path.iterdir() if not child.name.startswith(".")]
        if any(map(nifti.is_nifti, shown)):
            return False
        from spleen_tf.io.dicom import folder

        return folder.holds_dicom(path)
    if nifti.is_nifti(path):
        return False
    if path.suffix.lower() == ".dcm":
        return True
    from spleen_tf.io.dicom import streams

    return streams.is_dicom(path)


def read(path: str | os.PathLike[str], series_uid: str | None = None) -> Volume:
    """Reads a volume whole.

    Args:
        path: a NIfTI file, a folder with a DICOM series, or a DICOM file of several frames.
        series_uid: the SeriesInstanceUID, where there are several series; None: the only one.

    Raises:
        VolumeError: see `nifti.read` and `series.read`.
    """
    if is_dicom(path) or os.path.isdir(path):
        from spleen_tf.io.dicom import series

        return series.read(path, series_uid)
    _check_no_series(path, series_uid)
    return nifti.read(path)


def read_geometry(path: str | os.PathLike[str], series_uid: str | None = None) -> Geometry:
    """Like read, but without voxels; see `nifti.read_geometry`."""
    if is_dicom(path) or os.path.isdir(path):
        from spleen_tf.io.dicom import series

        return series.read_geometry(path, series_uid)
    _check_no_series(path, series_uid)
    return nifti.read_geometry(path)


def read_voxels(geometry: Geometry) -> Volume:
    """The volume whose geometry was read; of DICOM, no header is read again."""
    if from_dicom(geometry):
        from spleen_tf.io.dicom import series

        return series.read_voxels(geometry)
    return nifti.read(geometry.source)


def from_dicom(image: Volume | Geometry) -> bool:
    """Whether a volume that was read comes from a DICOM series."""
    # A volume that was made in memory has no header.
    return not isinstance(image.header, Nifti1Header | None)


def modality(path: str | os.PathLike[str], series_uid: str | None = None) -> Modality | None:
    """By the DICOM header; None where there is none that says it."""
    if not is_dicom(path):
        return None
    from spleen_tf.io.dicom import series

    return series.modality(path, series_uid)


def sha256(image: Volume) -> str:
    """The SHA-256 of the bytes that a volume was read from: of the file; of a series, of all its
    files in the order of the slices, as one stream."""
    if not from_dicom(image):
        return files.sha256(image.source)
    from spleen_tf.io.dicom import series

    return series.sha256(image)


def storage(image: Volume) -> dict[str, str | int]:
    """How voxels are stored and what their numbers mean; see `nifti_header.storage`."""
    if isinstance(image.header, Nifti1Header):
        return nifti_header.storage(image.header)
    if from_dicom(image):
        from spleen_tf.io.dicom import series

        bits, stored_as = series.stored_as(image)
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
