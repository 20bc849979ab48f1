"""From a stored array to the slices of a plane, and back."""

from __future__ import annotations

from typing import Literal

import numpy as np

from spleen_tf.imaging import volume

Plane = Literal["coronal", "axial", "sagittal"]


def split(array_ijk: np.ndarray, affine: np.ndarray, plane: str) -> np.ndarray:
    """The slices of a plane in the radiologist's view (see volume.view_of).

    Args:
        array_ijk: (I, J, K), any dtype.
        affine: (4, 4), ijk to RAS+ mm.
        plane: one of volume.PLANES.

    Returns:
        slices_nhw: (N, H, W), a view of the array, nothing is copied.
    """
    view = volume.view_of(affine, plane)
    return _flip(array_ijk.transpose(view.axes), view.flips)


def stack(slices_nhw: np.ndarray, affine: np.ndarray, plane: str) -> np.ndarray:
    """The inverse of split, exactly: (N, H, W) slices to the stored (I, J, K) array, a view."""
    view = volume.view_of(affine, plane)
    return _flip(slices_nhw, view.flips).transpose(np.argsort(view.axes))


def pixel_mm(affine: np.ndarray, plane: str) -> np.ndarray:
    """(2,) float64: row spacing and column spacing of a plane's slices."""
    _, row_axis, column_axis = volume.view_of(affine, plane).axes
    return volume.zooms_mm(affine)[[row_axis, column_axis]]


def slice_mm(affine: np.ndarray, plane: str) -> float:
    """The distance between neighbouring slices of a plane."""
    return float(volume.zooms_mm(affine)[volume.view_of(affine, plane).axes[0]])


def stored_index(n: int, num_slices: int, affine: np.ndarray, plane: str) -> int:
    """The voxel index, along the stored axis that was cut, of slice n; its own inverse."""
    return num_slices - 1 - n if volume.view_of(affine, plane).flips[0] else n


def _flip(array: np.ndarray, flips: tuple[bool, ...]) -> np.ndarray:
    return array[tuple(slice(None, None, -1) if flip else slice(None) for flip in flips)]
