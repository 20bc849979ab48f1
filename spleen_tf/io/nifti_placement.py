"""Where a NIfTI header puts the voxels: sform, qform, voxel sizes, and how far they agree."""

from __future__ import annotations

import dataclasses
import warnings

import nibabel as nib
import numpy as np
import numpy.typing as npt
from nibabel.spatialimages import HeaderDataError

from spleen_tf.core.files import InputWarning
from spleen_tf.imaging.volume import Grid, VolumeError, check_affine, corner_distance_voxels
from spleen_tf.io.nifti_header import length_unit

_MM_PER_UNIT = {"meter": 1000.0, "micron": 0.001}
_MOST_DISAGREEMENT_VOXELS = 0.5
# b, c and d of a half turn have the length 1, or a little more when they were rounded.
_ROUNDED_QUATERNION = 0.01

FloatArray = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Placement:
    """Where a header puts the voxels.

    Attributes:
        affine: (4, 4) float64, from voxel indices to RAS+ millimetres.
        doubt: what in the header contradicts the affine, as a reason for a review; None if
            nothing does.
    """

    affine: FloatArray
    doubt: str | None


def read(header: nib.Nifti1Header, shape: tuple[int, ...], source: str) -> Placement:
    """The sform where its code is set, else the qform, else the voxel sizes.

    A sform of NaN or a singular one gives way to a usable qform, with a warning. Warns also where
    only the voxel sizes are left, where one of them is negative and counts, and where two of the
    three disagree by more than half a voxel.

    Args:
        header: as it stands in the file, unchecked.
        shape: what `nifti_header.shape_3d` gave.
        source: what messages name.

    Raises:
        VolumeError: if what places the voxels is unusable, or a voxel size is 0.
    """
    sform = header.get_sform() if header["sform_code"] > 0 else None
    sizes = _voxel_sizes(header, source, is_needed=sform is None)
    qform = _qform(header, sizes, source, is_needed=sform is None)
    unusable = None
    if sform is not None and qform is not None and not _is_usable(sform):
        sform, unusable = None, "the sform is unusable (NaN or singular); the qform is used"
        _warn(f"{source}: {unusable}")
    if sform is not None:
        stored, fields = sform, "sform (srow_x, srow_y, srow_z)"
    elif qform is not None:
        stored, fields = qform, "qform (quatern, qoffset, pixdim)"
    else:
        stored, fields = _along_the_axes(sizes, shape), "pixdim"
    unit = length_unit(header)
    affine_mm = np.diag([_MM_PER_UNIT.get(unit, 1.0)] * 3 + [1.0]) @ stored
    is_metric = unit in _MM_PER_UNIT
    check_affine(affine_mm, source, f"{fields} in {unit} (xyzt_units)" if is_metric else fields)
    if sform is None and qform is None:
        _warn(
            f"{source}: no sform and no usable qform is set; orientation is taken from the order "
            "of the axes, which may be wrong"
        )
    if sform is None and (header["pixdim"][1:4] < 0).any():
        _warn(f"{source}: pixdim has a negative voxel size; its absolute value is used")
    doubt = _doubt(Grid(shape, stored), sform, qform, sizes)
    if doubt:
        _warn(f"{source}: {doubt}")
    return Placement(affine_mm, doubt or unusable)


def copy(
    header: nib.Nifti1Header, target: nib.Nifti1Header, shape: tuple[int, ...], source: str
) -> None:
    """Writes sform, qform, their codes and the voxel sizes of a header into another.

    Voxel sizes are made positive, and a sform or qform that no reader can use is left out.

    Args:
        header: as it stands in the source, unchecked.
        target: of the file to be written.
        shape: what `nifti_header.shape_3d` gave.
        source: what messages name.
    """
    names = (
        *("qform_code", "sform_code", "quatern_b", "quatern_c", "quatern_d"),
        *("qoffset_x", "qoffset_y", "qoffset_z", "srow_x", "srow_y", "srow_z"),
    )
    fields = {name: header[name] for name in names}
    sizes = _voxel_sizes(header, source, is_needed=header["sform_code"] <= 0)
    numbers = [fields[name] for name in names if name.startswith(("quatern", "qoffset"))]
    is_unusable = _qform(header, sizes, source, is_needed=False) is None
    # A qform that is not set keeps its numbers, as the source has them.
    if (header["qform_code"] > 0 and is_unusable) or not np.isfinite(numbers).all():
        fields |= dict.fromkeys((n for n in names if n.startswith("q")), 0)
    if header["sform_code"] > 0 and not _is_usable(header.get_sform()):
        fields |= dict.fromkeys((n for n in names if n.startswith("s")), 0)
    pixdim = header["pixdim"].copy()
    pixdim[0] = -1 if pixdim[0] == -1 else 1
    usable = np.isfinite(sizes)
    pixdim[1:4] = np.where(usable, sizes, 1)
    if not usable.all():
        pixdim[1:4] = Grid(shape, header.get_sform()).zooms_mm
    target["pixdim"][:4] = pixdim[:4]
    for name, value in fields.items():
        target[name] = value


def _is_usable(affine: FloatArray) -> bool:
    zooms = np.linalg.norm(affine[:3, :3], axis=0)
    if not np.isfinite(affine).all() or not zooms.all():
        return False
    return bool(abs(np.linalg.det(affine[:3, :3] / zooms)) > 1e-4)  # As `check_affine` has it.


def _voxel_sizes(header: nib.Nifti1Header, source: str, is_needed: bool) -> FloatArray:
    """(3,) absolute voxel sizes in the file's unit; NaN for one that the header does not say.

    Beside a sform, they may be 0: not set.
    """
    sizes = np.abs(header["pixdim"][1:4].astype(np.float64))
    if not is_needed:
        sizes[sizes == 0] = np.nan
    if (sizes == 0).any():
        raise VolumeError(
            f"{source}: expected positive voxel sizes, found {header['pixdim'][1:4].tolist()} in "
            "pixdim."
        )
    return np.where(np.isfinite(sizes), sizes, np.nan)


def _qform(
    header: nib.Nifti1Header, sizes: FloatArray, source: str, is_needed: bool
) -> FloatArray | None:
    """The qform; None where it is not set, or its quaternion or voxel sizes are unusable."""
    if header["qform_code"] <= 0:
        return None
    quaternion = np.array([header[f"quatern_{axis}"] for axis in "bcd"], np.float64)
    offset = np.array([header[f"qoffset_{axis}"] for axis in "xyz"], np.float64)
    if not np.isfinite(quaternion).all() or not np.isfinite(sizes).all():
        return None
    if not np.isfinite(offset).all():
        if is_needed:
            raise VolumeError(
                f"{source}: expected a finite qoffset, found {offset.tolist()}; set it, or a sform."
            )
        return None
    # A copy, since an odd handedness means 1, and the sign of a voxel size means nothing.
    usable = header.copy()
    usable["pixdim"][0] = -1 if header["pixdim"][0] == -1 else 1
    usable["pixdim"][1:4] = sizes
    length = float(np.linalg.norm(quaternion))
    if 1 < length < 1 + _ROUNDED_QUATERNION:
        for axis, value in zip("bcd", quaternion / length, strict=True):
            usable[f"quatern_{axis}"] = value
    try:
        qform: FloatArray = usable.get_qform()
    except (HeaderDataError, ValueError):  # A quaternion longer than 1 is no rotation.
        return None
    return qform


def _along_the_axes(sizes: FloatArray, shape: tuple[int, ...]) -> FloatArray:
    """The affine where only the voxel sizes are known: as nibabel, x runs to the left."""
    affine = np.diag([-sizes[0], sizes[1], sizes[2], 1.0])
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    return affine


def _doubt(
    grid: Grid, sform: FloatArray | None, qform: FloatArray | None, sizes: FloatArray
) -> str | None:
    """How far a sform is from the qform and from the voxel sizes, where that is too far."""
    if sform is None:
        return None
    others = {}
    if np.isfinite(sizes).all():
        resized = sform.copy()
        resized[:3, :3] *= sizes / grid.zooms_mm
        others["the voxel sizes (pixdim)"] = resized
    if qform is not None:
        others["qform"] = qform
    distances = {name: corner_distance_voxels(grid, other) for name, other in others.items()}
    apart = {name: d for name, d in distances.items() if not d <= _MOST_DISAGREEMENT_VOXELS}
    if not apart:
        return None
    listed = " and ".join(f"{name} by {distance:.1f} voxels" for name, distance in apart.items())
    return f"the sform disagrees with {listed}; the sform is used, check the header"


def _warn(text: str) -> None:
    warnings.warn(text, InputWarning, stacklevel=4)
