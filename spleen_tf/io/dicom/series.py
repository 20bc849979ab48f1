"""A DICOM series of CT or MR slices, classic or enhanced, to Volume."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import os
import pathlib
import warnings
from collections.abc import Iterator

import numpy as np

from spleen_tf.core.files import InputWarning
from spleen_tf.imaging.intensity import Modality
from spleen_tf.imaging.volume import Geometry, Grid, Volume, VolumeError
from spleen_tf.io.dicom import frames as dicom_frames
from spleen_tf.io.dicom import headers as dicom_headers
from spleen_tf.io.dicom import pixels, stack
from spleen_tf.io.dicom.headers import Header, is_dicom
from spleen_tf.io.dicom.stack import Stack

_INT16 = np.iinfo(np.int16)
_NAMED_KINDS = 3


@dataclasses.dataclass(frozen=True)
class Series:
    """The images that share a SeriesInstanceUID, localizers apart.

    Attributes:
        uid: the SeriesInstanceUID.
        description: the SeriesDescription, or ''.
        modality: CT or MR.
        headers: of each file, in no order.
    """

    uid: str
    description: str
    modality: Modality
    headers: tuple[Header, ...]

    @property
    def num_images(self) -> int:
        """Files, or frames of multi-frame files."""
        return sum(header.num_frames for header in self.headers)


def holds_dicom(folder: str | os.PathLike) -> bool:
    """Whether there is a DICOM file in a folder or below it; DICOMDIR does not count."""
    return any(is_dicom(path) for path in _paths(folder))


def find(path: str | os.PathLike) -> list[Series]:
    """The series of CT and MR images, sorted by UID.

    Files of other kinds, DICOMDIR and DICOM objects that are no CT or MR images (reports,
    segmentations, presentation states) are passed over; localizers, too, with a warning.

    Args:
        path: a folder, which is searched with all folders below it, or a file.

    Raises:
        VolumeError: if there is no such image, or a DICOM file is damaged.
    """
    headers: dict[str, list[Header]] = collections.defaultdict(list)
    others: collections.Counter[str] = collections.Counter()
    localizers = 0
    for file in _paths(path):
        if not _is_dicom_or_should_be(file):
            continue
        header = dicom_headers.read_header(file)
        if header is None:
            continue
        if not header.modality:
            others[header.kind] += 1
        elif header.is_localizer:
            localizers += 1
        else:
            headers[header.series_uid].append(header)
    if not headers:
        found = _kinds(others, localizers) or "no DICOM file"
        raise VolumeError(f"{path}: expected a DICOM series of CT or MR images, found {found}.")
    if localizers:
        warnings.warn(
            f"{path}: {localizers} localizers (images for planning) are left out",
            InputWarning,
            stacklevel=2,
        )
    return [
        Series(series_uid, members[0].description, members[0].modality, tuple(members))
        for series_uid, members in sorted(headers.items())
    ]


def choose(path: str | os.PathLike, series_uid: str = "") -> Series:
    """One series.

    Args:
        path: a folder or a file, as in `find`.
        series_uid: its SeriesInstanceUID; '': the only one.

    Raises:
        VolumeError: also if that one is not there, or there are several to choose from.
    """
    found = find(path)
    chosen = [series for series in found if series_uid in ("", series.uid)]
    if len(chosen) == 1:
        return chosen[0]
    listed = "; ".join(
        f"{series.uid} ({series.description or 'no description'}, {series.num_images} images)"
        for series in found
    )
    if series_uid:
        raise VolumeError(
            f"{path}: expected the series that --series_uid names, found others: {listed}."
        )
    raise VolumeError(
        f"{path}: expected one series, found {len(found)}: {listed}; choose one by --series_uid "
        "(in a table of cases, by the column series_uid)."
    )


def read(path: str | os.PathLike, series_uid: str = "") -> Volume:
    """Reads a series whole.

    Args:
        path: a folder, or a multi-frame file.
        series_uid: which series, where there are several.

    Returns:
        A Volume in physical units (each image's RescaleSlope and RescaleIntercept applied), whose
        i runs along columns, j along rows, k along the slices' normal: int16 where that loses
        nothing, else float32. `header` is the Stack that it came from, `modality` 'CT' or 'MR'.

    Raises:
        VolumeError: unless there is one series, whole and undamaged, on a regular grid.
    """
    geometry = read_geometry(path, series_uid)
    assert isinstance(geometry.header, Stack)
    array_ijk = _as_int16(geometry.header)
    if array_ijk is None:
        array_ijk = _as_float32(geometry.header, str(path))
    return geometry.with_voxels(array_ijk)


def read_geometry(path: str | os.PathLike, series_uid: str = "") -> Geometry:
    """Like read, but without the voxels.

    Headers are read, and sizes of files looked at; damage to pixels stays unseen.
    """
    series = choose(path, series_uid)
    frames = [frame for header in series.headers for frame in dicom_frames.frames_of(header)]
    found = stack.stack(frames, str(path))
    return Geometry(Grid(found.shape, found.affine), str(path), found, series.modality)


def modality(path: str | os.PathLike, series_uid: str = "") -> Modality | None:
    """That of the first image that is found; None where there is none.

    Args:
        path: a folder or a file.
        series_uid: whose image; '': any.
    """
    for file in _paths(path):
        if is_dicom(file):
            header = dicom_headers.read_header(file)
            if header and header.modality and series_uid in ("", header.series_uid):
                return header.modality
    return None


def sha256(image: Volume | Geometry) -> str:
    """The SHA-256 of the bytes of a series' files, one after the other, in the order of the slices.

    Args:
        image: what `read` or `read_geometry` gave.
    """
    digest = hashlib.sha256()
    for path in image.header.paths:
        with open(path, "rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _paths(path: str | os.PathLike) -> Iterator[pathlib.Path]:
    """Files in a steady order, without hidden ones and the list of files on a disc, DICOMDIR."""
    path = pathlib.Path(path)
    if not path.is_dir():
        yield path
        return
    for folder, subfolders, names in os.walk(path, onerror=_refuse):
        subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))
        for name in sorted(names):
            hidden = name.startswith(".") or name.upper() == "DICOMDIR"
            if not hidden and (file := pathlib.Path(folder, name)).is_file():
                yield file


def _refuse(error: OSError) -> None:
    """What cannot be looked into may hold slices, or another series to choose from."""
    raise VolumeError(f"{error.filename}: expected a readable folder, found: {error.strerror}.")


def _is_dicom_or_should_be(file: pathlib.Path) -> bool:
    if is_dicom(file):
        return True
    if file.suffix.lower() == ".dcm":
        found = "an empty one" if file.is_file() and not file.stat().st_size else "other content"
        raise VolumeError(f"{file}: expected a DICOM file by its name, found {found}.")
    return False


def _kinds(others: collections.Counter[str], localizers: int) -> str:
    kinds = [f"{count} of {name}" for name, count in others.most_common(_NAMED_KINDS)]
    if len(others) > _NAMED_KINDS:
        kinds.append("more")
    if localizers:
        kinds.append(f"{localizers} localizers (images for planning)")
    return ", ".join(kinds)


def _as_int16(found: Stack) -> np.ndarray | None:
    """(I, J, K), or None as soon as a slice is met that would lose by it."""
    array_ijk = None
    for k, values in enumerate(pixels.values(found.frames)):
        if values.min() < _INT16.min or values.max() > _INT16.max:
            return None
        if values.dtype.kind == "f" and (values != np.rint(values)).any():
            return None
        if array_ijk is None:  # Now that a first slice keeps what the headers promise.
            array_ijk = np.empty(found.shape, np.int16, order="F")
        array_ijk[..., k] = values.T
    return array_ijk


def _as_float32(found: Stack, source: str) -> np.ndarray:
    array_ijk = np.empty(found.shape, np.float32, order="F")
    for k, values in enumerate(pixels.values(found.frames)):
        with np.errstate(over="ignore"):  # Told below, in words.
            array_ijk[..., k] = values.T
        if not np.isfinite(array_ijk[..., k]).all():
            raise VolumeError(f"{source}: expected values within float32, found greater ones.")
    return array_ijk
