"""What a NIfTI header says of the voxels, and what is refused of it."""

from __future__ import annotations

import io
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError

from spleen_tf.imaging.volume import VolumeError

_HEADERS: dict[int, type[nib.Nifti1Header]] = {348: nib.Nifti1Header, 540: nib.Nifti2Header}
_LENGTH_UNITS = {1: "meter", 2: "mm", 3: "micron"}
_LINE_ENDS = b"\r\n\x1a\n"  # Behind the magic of NIfTI-2, where a transfer as text shows.
# By the first bytes, in small letters.
_OTHER_MAGICS = {
    b"version https://git-lfs": "a Git LFS pointer; fetch the file with `git lfs pull`",
    b"<": "a web page or XML; download the file again",
    b"\x1f\x8b": "a gzip stream within a gzip stream; unpack it once",
    b"pk\3\4": "a zip archive; unpack it",
    b"bzh": "a bzip2 stream; unpack it",
    b"\x28\xb5\x2f\xfd": "a Zstandard stream; unpack it",
    b"\xfd7zxz": "an xz stream; unpack it",
    b"nrrd": "NRRD; convert it to .nii.gz",
    b"objecttype": "MetaImage; convert it to .nii.gz",
    b"\x89hdf": "HDF5 or MINC; convert it to .nii.gz",
}
_TIME_UNITS = {8: "sec", 16: "msec", 24: "usec", 32: "hz", 40: "ppm", 48: "rads"}


def read(stream: io.BufferedIOBase, source: str) -> nib.Nifti1Header:
    """The header at the start of a stream, unchecked; the stream is left behind it.

    Raises:
        VolumeError: if it is none, or that of a file pair.
    """
    start = stream.read(4)
    sizes = {int.from_bytes(start, "little"), int.from_bytes(start, "big")}
    size = next((n for n in _HEADERS if n in sizes), None)
    if len(start) < 4 or size is None:
        raise VolumeError(
            f"{source}: expected a NIfTI header, whose first field (sizeof_hdr) is 348 or 540, "
            f"found {_other_content(start + stream.read(128))}."
        )
    block = start + stream.read(size - 4)
    if len(block) < size:
        raise VolumeError(
            f"{source}: expected a NIfTI header of {size} bytes, found {len(block)}; it is cut "
            "short, copy it again."
        )
    magic = block[344:348] if size == 348 else block[4:8]
    if magic[:2] == b"ni":
        raise VolumeError(
            f"{source}: expected header and voxels in one .nii file, found half of a pair "
            "(.hdr and .img) by its magic; convert it to .nii."
        )
    if magic[:2] != b"n+":
        raise VolumeError(
            f"{source}: expected the magic of a NIfTI header, n+1 or n+2, found {magic!r}; an "
            "Analyze file must be converted to .nii."
        )
    if size == 540 and block[8:12] not in (_LINE_ENDS, bytes(4)):
        raise VolumeError(
            f"{source}: expected an eol_check of {[*_LINE_ENDS]}, found {[*block[8:12]]}: line "
            "ends were changed as in a text, and voxels with them; copy it again, as binary."
        )
    kind = _HEADERS[size]
    return kind(block, check=False)


def _other_content(start: bytes) -> str:
    """What the first bytes of a file are, and what to do about it."""
    if not start:
        return "an empty file; copy it again"
    if start[128:132] == b"DICM":
        return "a DICOM file; give the folder of its series, or name it .dcm"
    for magic, content in _OTHER_MAGICS.items():
        if start.lower().startswith(magic):
            return content
    return "other content"


def storage(header: nib.Nifti1Header) -> dict[str, str | int]:
    """How a file stores its voxels and what its numbers mean.

    Returns:
        bits_per_voxel, stored_as (the data type), space_unit and time_unit ('unknown' where the
        header says none).
    """
    stored = header.get_data_dtype()
    return {
        "bits_per_voxel": 8 * stored.itemsize,
        "stored_as": stored.name,
        "space_unit": length_unit(header),
        "time_unit": _TIME_UNITS.get(int(header["xyzt_units"]) & 0x38, "unknown"),
    }


def length_unit(header: nib.Nifti1Header) -> str:
    """'meter', 'mm', 'micron', or 'unknown', which is read as millimetres."""
    return _LENGTH_UNITS.get(int(header["xyzt_units"]) & 7, "unknown")


def shape_3d(header: nib.Nifti1Header, source: str) -> tuple[int, int, int]:
    """The size of the image, without trailing dimensions of 1 (or of 0, which some write for it).

    Args:
        header: as it stands in the file, unchecked.
        source: what messages name.

    Raises:
        VolumeError: unless it is one 3D image of two or more voxels per axis.
    """
    dim = [int(n) for n in header["dim"]]
    if not 1 <= dim[0] <= 7 or min(dim[1 : min(dim[0], 3) + 1]) < 1:
        raise VolumeError(f"{source}: expected dimensions of at least 1, found dim = {dim}.")
    shape = (*dim[1 : min(dim[0], 3) + 1], *(max(1, n) for n in dim[4 : dim[0] + 1]))
    if len(shape) < 3:
        raise VolumeError(
            f"{source}: expected a 3D volume, found {len(shape)}D, shape {shape}, by dim."
        )
    if max(shape[3:], default=1) > 1:
        raise VolumeError(
            f"{source}: expected one 3D volume, found shape {shape} by dim: more than one time "
            "point or channel; save the one you mean as a file of its own."
        )
    if min(shape[:3]) < 2:
        raise VolumeError(
            f"{source}: expected at least 2 voxels per axis, found shape {shape[:3]} by dim."
        )
    return shape[0], shape[1], shape[2]


def dtype(header: nib.Nifti1Header, source: str) -> np.dtype[Any]:
    """The voxels' data type, in the file's byte order.

    Raises:
        VolumeError: unless it is one real number of at most 64 bits.
    """
    code = int(header["datatype"])
    try:
        stored: np.dtype[Any] = header.get_data_dtype()
    except KeyError:
        raise VolumeError(
            f"{source}: expected a data type that NIfTI defines, found datatype {code}."
        ) from None
    if stored.kind not in "iuf" or stored.itemsize > 8:
        raise VolumeError(
            f"{source}: expected one real number of at most 64 bits per voxel, found datatype "
            f"{code} ({'colors' if stored.fields else stored})."
        )
    return stored


def scaling(header: nib.Nifti1Header, source: str) -> tuple[float, float] | None:
    """Slope and intercept; None where voxels are stored as they are.

    Raises:
        VolumeError: if the slope is usable and the intercept is not.
    """
    try:
        slope, intercept = header.get_slope_inter()
    except HeaderDataError:
        raise VolumeError(
            f"{source}: expected a finite scl_inter beside a scl_slope, found "
            f"{float(header['scl_inter'])}."
        ) from None
    return None if slope is None or (slope, intercept) == (1.0, 0.0) else (slope, intercept)
