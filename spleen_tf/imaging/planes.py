"""Anatomical planes: where their slices lie in a stored array; taking them out and back."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, get_args

import numpy as np
from nibabel import orientations
from numpy.typing import NDArray

from spleen_tf.imaging import volume

Plane = Literal["coronal", "axial", "sagittal"]
PLANES: tuple[Plane, ...] = get_args(Plane)

# The direction, in RAS+, along which slices follow one another and along which rows and
# columns run: the radiologist's view, with the patient's right on the left of the picture.
_DIRECTIONS: dict[str, tuple[str, str, str]] = {
    "coronal": ("A", "I", "L"),
    "axial": ("S", "P", "L"),
    "sagittal": ("R", "I", "P"),
}
_WORLD_AXIS_OF_LETTER = {"L": 0, "R": 0, "P": 1, "A": 1, "I": 2, "S": 2}
_PLANE_ACROSS_WORLD_AXIS: tuple[Plane, Plane, Plane] = ("sagittal", "coronal", "axial")


@dataclasses.dataclass(frozen=True)
class PlaneLayout:
    """How the slices of one plane lie in a stored array.

    Attributes:
        axes: (3,) stored axes that become slice, row, column.
        flips: (3,) bool, whether each of them runs against the stored direction.
    """

    axes: tuple[int, int, int]
    flips: tuple[bool, bool, bool]


def layout_of(affine: NDArray[Any], plane: str) -> PlaneLayout:
    """The layout of an anatomical plane, by the stored axes closest to it.

    Slices follow one another towards anterior (coronal), superior (axial) or right (sagittal).
    Row 0 is superior in coronal and sagittal slices and anterior in axial ones; column 0 is the
    patient's right in coronal and axial slices and anterior in sagittal ones.

    Args:
        affine: (4, 4), any of the 48 axis orders, oblique ones included.
        plane: one of PLANES.
    """
    ornt = orientations.io_orientation(affine)
    world_axes = ornt[:, 0].astype(int).tolist()
    axes, flips = [], []
    for letter in _DIRECTIONS[plane]:
        stored_axis = world_axes.index(_WORLD_AXIS_OF_LETTER[letter])
        stored_towards_positive = ornt[stored_axis, 1] > 0
        axes.append(stored_axis)
        flips.append(bool(stored_towards_positive != (letter in "RAS")))
    return PlaneLayout((axes[0], axes[1], axes[2]), (flips[0], flips[1], flips[2]))


def plane_of_axis(affine: NDArray[Any], array_axis: int) -> Plane:
    """The anatomical plane that is cut when slices are taken along a stored axis."""
    return _PLANE_ACROSS_WORLD_AXIS[int(orientations.io_orientation(affine)[array_axis, 0])]


def split(array_ijk: NDArray[Any], affine: NDArray[Any], plane: str) -> NDArray[Any]:
    """The slices of a plane in the radiologist's view (see layout_of).

    Args:
        array_ijk: (I, J, K), any dtype.
        affine: (4, 4), ijk to RAS+ mm.
        plane: one of PLANES.

    Returns:
        slices_nhw: (N, H, W), a view of the array, nothing is copied.
    """
    layout = layout_of(affine, plane)
    return _flip(array_ijk.transpose(layout.axes), layout.flips)


def stack(slices_nhw: NDArray[Any], affine: NDArray[Any], plane: str) -> NDArray[Any]:
    """The inverse of split, exactly: (N, H, W) slices to the stored (I, J, K) array, a view."""
    layout = layout_of(affine, plane)
    return _flip(slices_nhw, layout.flips).transpose(np.argsort(layout.axes))


def pixel_mm(affine: NDArray[Any], plane: str) -> NDArray[Any]:
    """(2,) float64: row spacing and column spacing of a plane's slices."""
    _, row_axis, column_axis = layout_of(affine, plane).axes
    return volume.zooms_mm(affine)[[row_axis, column_axis]]


def slice_mm(affine: NDArray[Any], plane: str) -> float:
    """The distance between neighbouring slices of a plane."""
    return float(volume.zooms_mm(affine)[layout_of(affine, plane).axes[0]])


def stored_index(n: int, num_slices: int, affine: NDArray[Any], plane: str) -> int:
    """The voxel index, along the stored axis that was cut, of slice n; its own inverse."""
    return num_slices - 1 - n if layout_of(affine, plane).flips[0] else n


def _flip(array: NDArray[Any], flips: tuple[bool, ...]) -> NDArray[Any]:
    return array[tuple(slice(None, None, -1) if flip else slice(None) for flip in flips)]
