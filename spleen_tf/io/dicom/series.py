"""A DICOM series of CT or MR slices, classic or enhanced, to Volume."""

from __future__ import annotations

import collections
import dataclasses
import hashlib
import os
import warnings
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from spleen_tf.core.files import InputWarning
from spleen_tf.imaging.intensity import Modality
from spleen_tf.imaging.volume import Geometry, Grid, Volume, VolumeError
from spleen_tf.io.dicom import demographics, elements, folder, pixels, stack, streams
from spleen_tf.io.dicom import frames as dicom_frames
from spleen_tf.io.dicom import headers as dicom_headers
from spleen_tf.io.dicom.frames import Frame
from spleen_tf.io.dicom.headers import Header
from spleen_tf.io.dicom.stack import Stack

_INT16 = np.iinfo(np.int16)
_NAMED_SERIES = 5
# What Modality says that contradicts nothing: nothing, and "other".
_VAGUE = ("", "OT")
_DESCRIPTION_LETTERS = 64  # As many as its value representation, LO, has (PS3.5 6.2).


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

    @property
    def label(self) -> str:
        """UID, description and number of images, to choose a series by."""
        description = self.description[:_DESCRIPTION_LETTERS] or "no description"
        return f"{self.uid} ({description}, {self.num_images} images)"


def find(path: str | os.PathLike[str]) -> list[Series]:
    """The series of CT and MR images, sorted by UID.

    Files of other kinds, DICOMDIR and DICOM objects that are no CT or MR images (reports,
    segmentations, presentation states) are passed over; localizers and identical copies of a slice,
    too, with a warning.

    Args:
        path: a folder, which is searched with all folders below it, or a file.

    Raises:
        VolumeError: if there is no such image, or a DICOM file is damaged.
    """
    images, others = folder.images_in(path)
    localizers = [header for header in images if header.is_localizer]
    headers: dict[str, list[Header]] = collections.defaultdict(list)
    for header in images:
        if not header.is_localizer:
            headers[header.series_uid].append(header)
    same_series = [header for header in others if header.series_uid in headers]
    if not headers:
        found = folder.kinds_of(others, len(localizers)) or folder.no_dicom(path)
        raise VolumeError(f"{path}: expected a DICOM series of CT or MR images, found {found}.")
    if localizers:
        warnings.warn(
            f"{path}: {len(localizers)} localizers (images for planning) are left out",
            InputWarning,
            stacklevel=2,
        )
    if same_series:
        warnings.warn(
            f"{path}: left out of the series, as no CT or MR images by "
            f"{elements.name('SOPClassUID')}: {folder.kinds_of(same_series)}",
            InputWarning,
            stacklevel=2,
        )
    series = []
    for series_uid, members in sorted(headers.items()):
        modality = members[0].modality
        assert modality is not None
        series.append(Series(series_uid, members[0].description, modality, tuple(members)))
    return series


def choose(path: str | os.PathLike[str], series_uid: str | None = None) -> Series:
    """One series.

    Args:
        path: a folder or a file, as in `find`.
        series_uid: its SeriesInstanceUID; None: the only one.

    Raises:
        VolumeError: also if that one is not there, or there are several to choose from.
    """
    available = find(path)
    chosen = [series for series in available if series_uid in (None, series.uid)]
    if len(chosen) == 1:
        return chosen[0]
    listed = "; ".join(series.label for series in available[:_NAMED_SERIES])
    if len(available) > _NAMED_SERIES:
        listed += f"; and {len(available) - _NAMED_SERIES} more"
    if series_uid:
        raise VolumeError(
            f"{path}: expected the series that --series_uid names, found others: {listed}."
        )
    raise VolumeError(
        f"{path}: expected one series, found {len(available)}: {listed}; choose one by "
        "--series_uid (in a table of cases, by the column series_uid)."
    )


def read(path: str | os.PathLike[str], series_uid: str | None = None) -> Volume:
    """Reads a series whole: `read_voxels` of `read_geometry`."""
    return read_voxels(read_geometry(path, series_uid))


def read_geometry(path: str | os.PathLike[str], series_uid: str | None = None) -> Geometry:
    """Opens a series: reads the headers of all files, and looks at the sizes of these.

    Args:
        path: a folder, or a multi-frame file.
        series_uid: which series, where there are several.

    Returns:
        A Geometry whose i runs along columns, j along rows, k along the slices' normal; `header` is
        the Stack of slices, from which `read_voxels` reads on.

    Raises:
        VolumeError: unless there is one series, whole, on a regular grid.
    """
    series = choose(path, series_uid)
    _warn_of_other_modalities(series, str(path))
    frames = [frame for header in series.headers for frame in dicom_frames.frames_of(header)]
    frames = _without_copies(frames, str(path))
    for file in dict.fromkeys(frame.file for frame in frames):
        pixels.check(file)
    slices = stack.stack(frames, str(path))
    return Geometry(
        Grid(slices.shape, slices.affine),
        str(path),
        slices,
        series.modality,
        demographics=demographics.of(series.headers[0].dataset),
    )


def read_voxels(geometry: Geometry) -> Volume:
    """The volume whose headers `read_geometry` has read; no header is read again.

    Returns:
        A Volume in physical units (each image's RescaleSlope and RescaleIntercept applied): int16
        where that loses nothing, else float32.

    Raises:
        VolumeError: if pixels are damaged, or their values beyond float32.
    """
    slices = geometry.header
    assert isinstance(slices, Stack)
    array_ijk: npt.NDArray[np.int16] | npt.NDArray[np.float32] | None = _as_int16(slices)
    if array_ijk is None:
        array_ijk = _as_float32(slices, geometry.source)
    return geometry.with_voxels(array_ijk)


def modality(path: str | os.PathLike[str], series_uid: str | None = None) -> Modality | None:
    """That of the first image that is found; None where there is none.

    Args:
        path: a folder or a file.
        series_uid: whose image; None: any.
    """
    for file in folder.paths(path):
        if streams.is_dicom(file):
            header = dicom_headers.read_header(file)
            if header and header.modality and series_uid in (None, header.series_uid):
                return header.modality
    return None


def sha256(image: Volume | Geometry) -> str:
    """The SHA-256 of the bytes of a series' files, one after the other, in the order of the slices.

    Args:
        image: what `read` or `read_geometry` gave.
    """
    assert isinstance(image.header, Stack)
    return _sha256(image.header.paths)


def stored_as(image: Volume | Geometry) -> tuple[int, str]:
    """The bits of a voxel, and the whole numbers that they are, such as int16."""
    assert isinstance(image.header, Stack)
    bits, _, is_signed = image.header.frames[0].bits
    return bits, f"{'int' if is_signed else 'uint'}{bits}"


def _sha256(paths: Sequence[str]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        with streams.readable(path) as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _warn_of_other_modalities(series: Series, source: str) -> None:
    """Warns where Modality names a known modality that the images' class is not for."""
    others = [h for h in series.headers if h.stated_modality not in (h.modality, *_VAGUE)]
    if others:
        warnings.warn(
            f"{source}: {elements.name('Modality')} says {others[0].stated_modality} in "
            f"{len(others)} of {len(series.headers)} files, but "
            f"{elements.name('SOPClassUID')} is {others[0].kind}; read as {series.modality}, "
            "--modality changes that",
            InputWarning,
            stacklevel=3,
        )


def _without_copies(frames: Sequence[Frame], source: str) -> list[Frame]:
    """Leaves out frames that repeat the place, scaling and pixels of another, with a warning.

    Exports and archives make such copies, byte by byte or under another SOPInstanceUID.
    """
    alike: dict[tuple[object, ...], list[Frame]] = collections.defaultdict(list)
    for frame in frames:
        alike[
            *(frame.position_mm, frame.directions, frame.pixel_mm, frame.shape, frame.bits),
            *(frame.slope, frame.intercept, frame.file.transfer_syntax),
        ].append(frame)
    copies = set[int]()
    for members in alike.values():
        digests = set[str]()
        for frame in members if len(members) > 1 else ():
            digest = pixels.sha256(frame)
            if digest in digests:
                copies.add(id(frame))
            digests.add(digest)
    if copies:
        warnings.warn(
            f"{source}: {len(copies)} of {len(frames)} slices repeat the place and pixels of "
            "others, and are left out",
            InputWarning,
            stacklevel=3,
        )
    return [frame for frame in frames if id(frame) not in copies]


def _as_int16(slices: Stack) -> npt.NDArray[np.int16] | None:
    """(I, J, K), or None as soon as a slice is met that would lose by it."""
    array_ijk = None
    for k, values in enumerate(pixels.values(slices.frames)):
        if values.min() < _INT16.min or values.max() > _INT16.max:
            return None
        if values.dtype.kind == "f" and (values != np.rint(values)).any():
            return None
        if array_ijk is None:  # Now that a first slice keeps what the headers promise.
            array_ijk = np.empty(slices.shape, np.int16, order="F")
        array_ijk[..., k] = values.T
    return array_ijk


def _as_float32(slices: Stack, source: str) -> npt.NDArray[np.float32]:
    array_ijk = np.empty(slices.shape, np.float32, order="F")
    for k, values in enumerate(pixels.values(slices.frames)):
        with np.errstate(over="ignore"):  # Refused below.
            array_ijk[..., k] = values.T
        if not np.isfinite(array_ijk[..., k]).all():
            raise VolumeError(
                f"{source}: expected values within float32 by {elements.name('RescaleSlope')} and "
                f"{elements.name('RescaleIntercept')}, found greater ones; correct these."
            )
    return array_ijk
