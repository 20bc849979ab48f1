"""What a NIfTI header says of the voxels and of their place, and what is refused of it."""

from __future__ import annotations

import contextlib
import warnings

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError

from spleen_tf.core.files import InputWarning
from spleen_tf.imaging.volume import Grid, VolumeError, check_affine, corner_distance_voxels

_TIME_UNITS = {8: "sec", 16: "msec", 24: "usec", 32: "hz", 40: "ppm", 48: "rads"}
_MM_PER_UNIT = {"meter": 1000.0, "micron": 0.001}


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
        "space_unit": _length_unit(header),
        "time_unit": _TIME_UNITS.get(int(header["xyzt_units"]) & 0x38, "unknown"),
    }


def shape_3d(header: nib.Nifti1Header, source: str) -> tuple[int, ...]:
    """The size of the image, without trailing dimensions of 1.

    Args:
        header: as it stands in the file, unchecked.
        source: what messages name.

    Raises:
        VolumeError: unless it is one 3D image of two or more voxels an axis.
    """
    dim = [int(n) for n in header["dim"]]
    if not 1 <= dim[0] <= 7 or min(dim[1 : dim[0] + 1]) < 1:
        raise VolumeError(f"{source}: expected dimensions of at least 1, found dim = {dim}.")
    shape = tuple(dim[1 : dim[0] + 1])
    if len(shape) < 3:
        raise VolumeError(f"{source}: expected a 3D volume, found {len(shape)}D, shape {shape}.")
    if max(shape[3:], default=1) > 1:
        raise VolumeError(
            f"{source}: expected one 3D volume, found shape {shape}: more than one time point or "
            "channel; save the one you mean as a file of its own."
        )
    if min(shape[:3]) < 2:
        raise VolumeError(f"{source}: expected at least 2 voxels an axis, found shape {shape[:3]}.")
    return shape[:3]


def dtype(header: nib.Nifti1Header, source: str) -> np.dtype:
    """The voxels' data type, in the file's byte order.

    Raises:
        VolumeError: unless it is one real number of at most 64 bits.
    """
    try:
        found = header.get_data_dtype()
    except KeyError:
        raise VolumeError(
            f"{source}: expected a known data type, found code {int(header['datatype'])}."
        ) from None
    if found.kind not in "iuf" or found.itemsize > 8:
        raise VolumeError(
            f"{source}: expected one real number of at most 64 bits a voxel, found data type "
            f"{found}."
        )
    return found


def affine(header: nib.Nifti1Header, shape: tuple[int, ...], source: str) -> np.ndarray:
    """The sform where its code is set, else the qform, else the voxel sizes.

    Warns where there is neither, and where the two disagree by more than half a voxel.

    Args:
        header: where pixdim[0], the handedness of the qform, is neither 1 nor -1, it becomes 1.
        shape: what `shape_3d` found.
        source: what messages name.

    Returns:
        (4, 4) float64, from voxel indices to RAS+ millimetres.

    Raises:
        VolumeError: if it, or the voxel sizes, are unusable.
    """
    voxel_sizes = header["pixdim"][1:4]
    if not (np.isfinite(voxel_sizes).all() and (voxel_sizes > 0).all()):
        raise VolumeError(
            f"{source}: expected positive voxel sizes, found {voxel_sizes.tolist()} in pixdim."
        )
    if header["pixdim"][0] not in (-1, 1):  # The handedness of the qform: 1 unless it is -1.
        header["pixdim"][0] = 1
    sform, qform = None, None
    if header["sform_code"] > 0:
        sform = header.get_sform()
    if header["qform_code"] > 0:
        # An unusable quaternion counts as absent.
        with contextlib.suppress(HeaderDataError, ValueError):
            qform = header.get_qform()
    chosen = sform if sform is not None else qform
    if chosen is None:
        chosen = header.get_base_affine()
        warnings.warn(
            f"{source}: no sform and no usable qform is set; orientation is taken from the order "
            "of the axes, which may be wrong",
            InputWarning,
            stacklevel=2,
        )
    scale = np.diag([_MM_PER_UNIT.get(_length_unit(header), 1.0)] * 3 + [1.0])
    affine_mm = scale @ chosen.astype(np.float64)
    check_affine(affine_mm, source)
    if sform is not None and qform is not None:
        apart = corner_distance_voxels(Grid(shape, sform), qform)
        if not apart <= 0.5:
            warnings.warn(
                f"{source}: sform and qform disagree by {apart:.1f} voxels; the sform is used",
                InputWarning,
                stacklevel=2,
            )
    return affine_mm


def _length_unit(header) -> str:
    code = int(header["xyzt_units"]) & 7
    return {1: "meter", 2: "mm", 3: "micron"}.get(code, "unknown")
