"""The voxels of a NIfTI file: as they are stored, and in physical units."""

from __future__ import annotations

import io
import math
import os
import warnings
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from spleen_tf.core.files import InputWarning
from spleen_tf.imaging.volume import VolumeError
from spleen_tf.io import nifti_gzip, nifti_header

# DEFLATE cannot expand further: RFC 1951 codes at most 258 bytes in two bits or so.
_MAX_GZIP_RATIO = 1032
# Masks come near that, and are below a GiB. What is larger and packs better than any scan is no
# scan, but may take all memory.
_SCANS_GZIP_RATIO, _MUCH = 100, 1 << 30
# Of header extensions, and of what stands behind the voxels.
_MOST_BESIDE = 1 << 26
_BLOCK_BYTES = 1 << 24


def check_room(
    stream: io.BufferedReader, header: nib.Nifti1Header, shape: tuple[int, ...], source: str
) -> None:
    """Raises VolumeError for a claim that the file cannot keep, before memory is taken for it."""
    offset, lowest = float(header["vox_offset"]), header.single_vox_offset
    if not lowest <= offset < math.inf:
        raise VolumeError(
            f"{source}: expected voxels from byte {lowest} on, found vox_offset {offset:g}."
        )
    num_bytes = math.prod(shape) * nifti_header.dtype(header, source).itemsize
    room = max(0, _most_bytes(os.path.getsize(source), _is_zipped(stream)) - int(offset))
    if num_bytes > room:
        raise VolumeError(
            f"{source}: expected {num_bytes:,} bytes of voxels as its header says (shape {shape}), "
            f"found a file that can hold at most {room:,}; it is cut short, or its dim, datatype "
            "or vox_offset is wrong."
        )
    if _is_zipped(stream) and offset > _MOST_BESIDE:
        raise VolumeError(
            f"{source}: expected header extensions of up to {_MOST_BESIDE:,} bytes, found "
            f"vox_offset {offset:g}."
        )


def _most_bytes(file_bytes: int, is_zipped: bool) -> int:
    """The bytes that a file can hold; of a gzip stream, those for which memory is taken."""
    if not is_zipped:
        return file_bytes
    most = _MAX_GZIP_RATIO * file_bytes
    return most if most <= _MUCH else max(_MUCH, _SCANS_GZIP_RATIO * file_bytes)


def read(
    stream: io.BufferedReader, header: nib.Nifti1Header, shape: tuple[int, ...], source: str
) -> NDArray[Any]:
    """(I, J, K) in the stored type and byte order; a gzip stream is read to its checksum.

    Raises:
        VolumeError: if there are fewer voxels than the header says.
    """
    _skip(stream, int(header["vox_offset"]) - header.sizeof_hdr)  # Header extensions.
    dtype = nifti_header.dtype(header, source)
    num_bytes = math.prod(shape) * dtype.itemsize
    stored = np.empty(shape, dtype, order="F")
    view = stored.reshape(-1, order="F").view(np.uint8).data
    filled = 0
    while filled < num_bytes and (count := stream.readinto(view[filled : filled + _BLOCK_BYTES])):
        filled += count
    if filled < num_bytes:
        raise VolumeError(
            f"{source}: expected {num_bytes:,} bytes of voxels, found {filled:,}; it is cut "
            "short, or its dim or datatype is wrong."
        )
    _read_to_end(stream, source)
    return stored


def _skip(stream: io.BufferedReader, num_bytes: int) -> None:
    while num_bytes > 0 and (skipped := len(stream.read(min(num_bytes, 1 << 20)))):
        num_bytes -= skipped


def _read_to_end(stream: io.BufferedReader, source: str) -> None:
    """Reads a gzip stream past its checksum; warns of bytes behind it, as gzip itself does."""
    unzipped = stream.raw
    if not isinstance(unzipped, nifti_gzip.Reader):
        return
    behind = 0
    while count := len(stream.read(1 << 20)):
        behind += count
        if behind > _MOST_BESIDE:
            raise VolumeError(
                f"{source}: expected a gzip stream that ends with its voxels, found over "
                f"{_MOST_BESIDE:,} bytes more; its dim or datatype is wrong."
            )
    if unzipped.has_other_bytes:
        warnings.warn(
            f"{source}: other bytes stand behind the end of the gzip stream; they are left out",
            InputWarning,
            stacklevel=4,
        )


def physical(stored: NDArray[Any], header: nib.Nifti1Header, source: str) -> NDArray[Any]:
    """Slope and intercept applied; int16 where that loses nothing, else float32.

    Raises:
        VolumeError: if a value is not finite, or beyond float32.
    """
    scaling = nifti_header.scaling(header, source)
    if not scaling and stored.dtype.kind in "iu" and np.can_cast(stored.dtype, np.int16):
        return stored.astype(np.int16, copy=False)
    as_int16 = np.empty(stored.shape, np.int16, order="F")
    for k in range(stored.shape[2]):  # A slab at a time: no second full-size float array.
        slab = _scaled(stored[..., k], scaling)
        if not np.isfinite(slab).all():
            raise VolumeError(
                f"{source}: expected finite voxels, found NaN or infinity (slab {k} of the last "
                "axis); replace them first."
            )
        if slab.min() < -32768 or slab.max() > 32767 or (slab != np.rint(slab)).any():
            break
        as_int16[..., k] = slab
    else:
        return as_int16
    del as_int16
    as_float32 = np.empty(stored.shape, np.float32, order="F")
    with np.errstate(over="ignore"):  # It is refused below.
        for k in range(stored.shape[2]):
            as_float32[..., k] = _scaled(stored[..., k], scaling)
    if not np.isfinite(as_float32).all():
        raise VolumeError(
            f"{source}: expected finite voxels, found NaN, infinity or values beyond float32; "
            "replace them first."
        )
    return as_float32


def _is_zipped(stream: io.BufferedReader) -> bool:
    return isinstance(stream.raw, nifti_gzip.Reader)


def _scaled(slab: NDArray[Any], scaling: tuple[float, float] | None) -> NDArray[Any]:
    return slab.astype(np.float64) * scaling[0] + scaling[1] if scaling else slab
