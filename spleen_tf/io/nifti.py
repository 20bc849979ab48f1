"""NIfTI files to Volume, and masks back into the geometry of their source."""

from __future__ import annotations

import contextlib
import gzip
import math
import os
import pathlib
import zlib
from collections.abc import Iterator
from typing import BinaryIO

import nibabel as nib
import numpy as np

from spleen_tf.core import files
from spleen_tf.imaging.volume import Geometry, Grid, Volume, VolumeError, corner_distance_voxels
from spleen_tf.io import nifti_header, nifti_placement

SUFFIXES = (".nii", ".nii.gz")

# DEFLATE cannot expand further: RFC 1951 codes at most 258 bytes in two bits or so.
_MAX_GZIP_RATIO = 1032


def is_nifti(path: str | os.PathLike) -> bool:
    """Whether a file's name says NIfTI."""
    return str(path).lower().endswith(SUFFIXES)


def stem(path: str | os.PathLike) -> str:
    """The file's name without .nii or .nii.gz, in capitals or not."""
    name = pathlib.Path(path).name
    for suffix in (".gz", ".nii"):
        name = name[: -len(suffix)] if name.lower().endswith(suffix) else name
    return name


def case(path: str | os.PathLike) -> str:
    """The case that a file is of: its stem, as text that can be shown and written anywhere."""
    return stem(path).encode(errors="backslashreplace").decode()


def read(path: str | os.PathLike) -> Volume:
    """Reads a volume whole: voxels, geometry and, for .gz, the checksum at the stream's end.

    Args:
        path: .nii or .nii.gz, NIfTI-1 or NIfTI-2.

    Returns:
        A Volume in physical units (the header's slope and intercept applied): int16 where that
        loses nothing, else float32. Trailing dimensions of 1 are dropped.

    Raises:
        VolumeError: if the file is missing, damaged, or does not hold one finite 3D image.
    """
    with _opened(path) as (stream, header):
        geometry = _geometry(stream, header, path)
        raw = _read_voxels(stream, header, geometry.shape, path)
    return geometry.with_voxels(_physical(raw, header, path))


def read_geometry(path: str | os.PathLike) -> Geometry:
    """Like read, but without the voxels.

    Finds in milliseconds what is wrong with a header; damage to the voxels stays unseen.
    """
    with _opened(path) as (stream, header):
        return _geometry(stream, header, path)


def write_mask(path: str | os.PathLike, mask_ijk: np.ndarray, like: Volume) -> None:
    """Writes a mask in its source's geometry.

    The file is uint8 with slope 1 and intercept 0. It has the sform, qform, their codes and the
    length unit of a source that is NIfTI, else the affine as sform and qform, and nothing else of
    the source's header: free text may name a patient.

    Args:
        path: .nii or .nii.gz; replaced only when the new file is whole.
        mask_ijk: (I, J, K), nonzero inside.
        like: the volume that the mask belongs to.
    """
    if mask_ijk.shape != like.shape:
        raise VolumeError(f"{path}: expected a mask of shape {like.shape}, found {mask_ijk.shape}.")
    image = np.asfortranarray(mask_ijk != 0).view(np.uint8)
    if not isinstance(like.header, nib.Nifti1Header):
        write(path, Volume(image, like.affine, like.source))
        return
    header = type(like.header)()
    header.set_data_dtype(np.uint8)
    header.set_data_shape(image.shape)
    geometry = nifti_placement.repaired(like.header, like.shape, like.source)
    header["pixdim"][:4] = geometry.pop("pixdim")[:4]
    for field, value in geometry.items():
        header[field] = value
    # The lowest three bits are the unit of length; the others are of time, which a mask has not.
    header["xyzt_units"] = int(like.header["xyzt_units"]) & 7
    header.set_slope_inter(1, 0)
    _save(path, image, header)


def write(path: str | os.PathLike, image: Volume) -> None:
    """Writes a volume with its dtype and its affine (sform and qform, code 1, millimetres).

    A sheared affine stands in the sform alone.

    NIfTI-1, whose affine is float32, unless that would round it; then NIfTI-2.
    """
    exact = np.array_equal(image.affine.astype(np.float32).astype(np.float64), image.affine)
    header = nib.Nifti1Header() if exact else nib.Nifti2Header()
    header.set_data_dtype(image.array_ijk.dtype)
    header.set_data_shape(image.shape)
    header.set_sform(image.affine, code=1)
    header.set_qform(image.affine, code=1)
    if corner_distance_voxels(image.grid, header.get_qform()) > 0.5:
        header["qform_code"] = 0  # A qform cannot hold shear; it would contradict the sform.
    header.set_xyzt_units("mm")
    header.set_slope_inter(1, 0)
    _save(path, image.array_ijk, header)


def _save(path, array_ijk, header) -> None:
    if not is_nifti(path):
        raise VolumeError(f"{path}: expected an output name that ends in .nii or .nii.gz.")
    image_class = nib.Nifti2Image if isinstance(header, nib.Nifti2Header) else nib.Nifti1Image
    with files.replacing(path) as partial:
        # An affine of None keeps sform, qform and their codes as they stand in the header.
        image = image_class(array_ijk, None, header)
        # nib.save would rename SCAN.Nii.gz; only the suffix .gz counts here, in capitals or not.
        image.to_file_map(image_class.make_file_map({"image": str(partial)}))


@contextlib.contextmanager
def _opened(path) -> Iterator[tuple[BinaryIO, nib.Nifti1Header]]:
    """The stream, behind its header, and the header; damage met while reading is put in words."""
    path = pathlib.Path(path)
    try:
        if not path.is_file():
            found = "a folder" if path.is_dir() else "no such file"
            raise VolumeError(f"{path}: expected a NIfTI file, found {found}.")
        with open(path, "rb") as raw:
            zipped = raw.read(2) == b"\x1f\x8b"
            raw.seek(0)
            stream = gzip.GzipFile(fileobj=raw) if zipped else raw
            yield stream, nifti_header.read(stream, str(path))
    except EOFError:
        raise VolumeError(
            f"{path}: expected a whole gzip stream, found one that is cut short; copy it again."
        ) from None
    except gzip.BadGzipFile as error:
        if "Not a gzipped file" not in str(error):
            raise _damaged(path, error) from None
        raise VolumeError(
            f"{path}: expected nothing behind the end of the gzip stream, found other bytes; copy "
            "it again, or cut them off."
        ) from None
    except zlib.error as error:
        raise _damaged(path, error) from None
    except OSError as error:
        raise VolumeError(f"{path}: expected a readable file, found: {error.strerror}.") from None


def _damaged(path: pathlib.Path, error: Exception) -> VolumeError:
    return VolumeError(
        f"{path}: expected an intact gzip stream, found damage ({error}); copy it again."
    )


def _geometry(stream, header, path) -> Geometry:
    shape = nifti_header.shape_3d(header, str(path))
    _check_room(stream, header, shape, path)
    placed = nifti_placement.read(header, shape, str(path))
    grid = Grid(shape, placed.affine)
    return Geometry(grid, str(path), header, geometry_doubt=placed.doubt)


def _check_room(stream, header, shape, path) -> None:
    """Refuses a claim that the file cannot keep, before anything of that size is allocated."""
    offset, lowest = float(header["vox_offset"]), header.single_vox_offset
    if not lowest <= offset < math.inf:
        raise VolumeError(
            f"{path}: expected voxels from byte {lowest} on, found vox_offset {offset:g}."
        )
    num_bytes = math.prod(shape) * nifti_header.dtype(header, str(path)).itemsize
    most = os.path.getsize(path) * (_MAX_GZIP_RATIO if _is_zipped(stream) else 1)
    room = max(0, most - int(offset))
    if num_bytes > room:
        raise VolumeError(
            f"{path}: expected {num_bytes:,} bytes of voxels as its header says (shape {shape}), "
            f"found a file that can hold at most {room:,}; it is cut short, or its dim, datatype "
            "or vox_offset is wrong."
        )


def _is_zipped(stream) -> bool:
    return isinstance(stream, gzip.GzipFile)


def _read_voxels(stream, header, shape, path) -> np.ndarray:
    stream.seek(int(header["vox_offset"]))  # Past header extensions.
    dtype = nifti_header.dtype(header, str(path))
    num_bytes = math.prod(shape) * dtype.itemsize
    array = np.empty(shape, dtype, order="F")
    view = array.reshape(-1, order="F").view(np.uint8).data
    filled = 0
    while filled < num_bytes and (count := stream.readinto(view[filled : filled + (1 << 24)])):
        filled += count
    if filled < num_bytes:
        raise VolumeError(
            f"{path}: expected {num_bytes:,} bytes of voxels, found {filled:,}; it is cut "
            "short, or its dim or datatype is wrong."
        )
    while _is_zipped(stream) and stream.read(1 << 20):  # The checksum is looked at only at the end.
        continue
    return array


def _physical(raw: np.ndarray, header, path) -> np.ndarray:
    """Slope and intercept applied; int16 where that loses nothing, else float32."""
    scaling = nifti_header.scaling(header, str(path))
    if not scaling and raw.dtype.kind in "iu" and np.can_cast(raw.dtype, np.int16):
        return raw.astype(np.int16, copy=False)
    as_int16 = np.empty(raw.shape, np.int16, order="F")
    for k in range(raw.shape[2]):  # A slab at a time: no second full-size float array.
        slab = _scaled(raw[..., k], *scaling) if scaling else raw[..., k]
        if not np.isfinite(slab).all():
            raise VolumeError(
                f"{path}: expected finite voxels, found NaN or infinity (slab {k} of the last "
                "axis); replace them before."
            )
        if slab.min() < -32768 or slab.max() > 32767 or (slab != np.rint(slab)).any():
            break
        as_int16[..., k] = slab
    else:
        return as_int16
    del as_int16
    as_float32 = np.empty(raw.shape, np.float32, order="F")
    with np.errstate(over="ignore"):  # It is refused below.
        for k in range(raw.shape[2]):
            as_float32[..., k] = _scaled(raw[..., k], *scaling) if scaling else raw[..., k]
    if not np.isfinite(as_float32).all():
        raise VolumeError(
            f"{path}: expected finite voxels, found NaN, infinity or values beyond float32; "
            "replace them before."
        )
    return as_float32


def _scaled(slab, slope, intercept):
    return slab.astype(np.float64) * slope + intercept
