"""NIfTI files to Volume, and masks back into the geometry of their source."""

from __future__ import annotations

import contextlib
import io
import os
import pathlib
from collections.abc import Iterator
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from spleen_tf.core import files
from spleen_tf.imaging.volume import Geometry, Grid, Volume, VolumeError, corner_distance_voxels
from spleen_tf.io import nifti_gzip, nifti_header, nifti_placement, nifti_voxels

SUFFIXES = (".nii", ".nii.gz")


def is_nifti(path: str | os.PathLike[str]) -> bool:
    """Whether a file's name says NIfTI."""
    return bool(suffix(path))


def suffix(path: str | os.PathLike[str]) -> str:
    """What a file's name ends in, .nii or .nii.gz in small letters; '' for another name."""
    name = str(path).lower()
    return next((ending for ending in SUFFIXES if name.endswith(ending)), "")


def stem(path: str | os.PathLike[str]) -> str:
    """The file's name without .nii or .nii.gz, in capitals or not."""
    name = pathlib.Path(path).name
    for suffix in (".gz", ".nii"):
        name = name[: -len(suffix)] if name.lower().endswith(suffix) else name
    return name


def case(path: str | os.PathLike[str]) -> str:
    """The case that a file is of: its stem, as text that can be shown and written anywhere."""
    return stem(path).encode(errors="backslashreplace").decode()


def sidecar(path: pathlib.Path) -> pathlib.Path:
    """The JSON beside a file, which has its stem."""
    return path.with_name(f"{stem(path)}.json")


def read(path: str | os.PathLike[str]) -> Volume:
    """Reads a volume whole: voxels, geometry and, for .gz, the checksum at the stream's end.

    Args:
        path: .nii or .nii.gz, NIfTI-1 or NIfTI-2.

    Returns:
        A Volume in physical units (the header's slope and intercept applied): int16 where that
        loses nothing, else float32. Trailing dimensions of 1 are dropped.

    Raises:
        VolumeError: if the file is missing, damaged, or does not hold one finite 3D image.
    """
    source = os.fspath(path)
    with _opened(source) as (stream, header):
        geometry = _geometry(stream, header, source)
        stored = nifti_voxels.read(stream, header, geometry.shape, source)
    return geometry.with_voxels(nifti_voxels.physical(stored, header, source))


def read_geometry(path: str | os.PathLike[str]) -> Geometry:
    """Like read, but without the voxels.

    Finds in milliseconds what is wrong with a header; damage to the voxels stays unseen.
    """
    source = os.fspath(path)
    with _opened(source) as (stream, header):
        return _geometry(stream, header, source)


def write_mask(path: str | os.PathLike[str], mask_ijk: NDArray[Any], like: Volume) -> None:
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
    inside_ijk = mask_ijk if mask_ijk.dtype == bool else mask_ijk != 0
    image = np.asfortranarray(inside_ijk).view(np.uint8)  # Mostly no copy.
    if not isinstance(like.header, nib.Nifti1Header):
        write(path, Volume(image, like.affine, like.source))
        return
    header = type(like.header)()
    header.set_data_dtype(np.uint8)
    header.set_data_shape(image.shape)
    nifti_placement.copy(like.header, header, like.shape, like.source)
    # The lowest three bits are the unit of length; the others are of time, which a mask has not.
    header["xyzt_units"] = int(like.header["xyzt_units"]) & 7
    header.set_slope_inter(1, 0)
    _save(path, image, header)


def write(path: str | os.PathLike[str], image: Volume) -> None:
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


def _save(path: str | os.PathLike[str], array_ijk: NDArray[Any], header: nib.Nifti1Header) -> None:
    if not is_nifti(path):
        raise VolumeError(f"{path}: expected an output name that ends in .nii or .nii.gz.")
    image_class: type[nib.Nifti1Image] = nib.Nifti1Image
    if isinstance(header, nib.Nifti2Header):
        image_class = nib.Nifti2Image
    is_zipped = str(path).lower().endswith(".gz")
    # An affine of None keeps sform, qform and their codes as they stand in the header.
    image = image_class(array_ijk, None, header)
    with (
        files.replacing(path) as partial,
        open(partial, "wb") as raw,
        nifti_gzip.writer(raw) if is_zipped else contextlib.nullcontext(raw) as stream,
    ):
        image.to_file_map(image_class.make_file_map({"image": stream}))


@contextlib.contextmanager
def _opened(source: str) -> Iterator[tuple[io.BufferedReader, nib.Nifti1Header]]:
    """The stream, behind its header, and the header; raises VolumeError where reading fails."""
    try:
        if not pathlib.Path(source).is_file():  # Which raises what keeps it from being looked at.
            found = "a folder" if os.path.isdir(source) else "no such file"
            raise VolumeError(f"{source}: expected a NIfTI file, found {found}.")
        with open(source, "rb") as raw:
            is_zipped = raw.read(2) == nifti_gzip.MAGIC
            raw.seek(0)
            stream: io.BufferedReader = raw
            if is_zipped:
                stream = nifti_gzip.reader(raw)
            yield stream, nifti_header.read(stream, source)
    except EOFError:
        raise VolumeError(
            f"{source}: expected a whole gzip stream, found one that is cut short; copy it again."
        ) from None
    except nifti_gzip.DamagedError as error:
        raise _damaged(source, error) from None
    except OSError as error:
        raise VolumeError(f"{source}: expected a readable file, found: {error.strerror}.") from None


def _damaged(source: str, error: Exception) -> VolumeError:
    return VolumeError(
        f"{source}: expected an intact gzip stream, found damage ({error}); copy it again."
    )


def _geometry(stream: io.BufferedReader, header: nib.Nifti1Header, source: str) -> Geometry:
    shape = nifti_header.shape_3d(header, source)
    nifti_voxels.check_room(stream, header, shape, source)
    placed = nifti_placement.read(header, shape, source)
    return Geometry(Grid(shape, placed.affine), source, header, geometry_doubt=placed.doubt)
