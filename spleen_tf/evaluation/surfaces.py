"""The surfaces of masks, and the distances between two of them."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial import cKDTree

from spleen_tf.imaging import masks
from spleen_tf.imaging.volume import VolumeError

# Headers keep affines in float32, so voxels that are 2 mm apart may come out as 2.000001 mm.
_ROUNDING_MM = 1e-4


@dataclasses.dataclass(frozen=True)
class SurfaceDistances:
    """From every surface voxel of one mask to the nearest surface voxel of the other.

    Attributes:
        truth_to_pred_mm: float64, one for each surface voxel of the truth.
        pred_to_truth_mm: float64, one for each surface voxel of the prediction.
            If the other mask is empty, distances are infinite.
    """

    truth_to_pred_mm: npt.NDArray[Any]
    pred_to_truth_mm: npt.NDArray[Any]

    @property
    def _one_is_empty(self) -> bool:
        return not (self.truth_to_pred_mm.size and self.pred_to_truth_mm.size)

    @property
    def hd_mm(self) -> float:
        """Hausdorff distance: the larger of the two directed maxima; NaN if a mask is empty."""
        if self._one_is_empty:
            return math.nan
        return float(max(self.truth_to_pred_mm.max(), self.pred_to_truth_mm.max()))

    @property
    def hd95_mm(self) -> float:
        """The larger of the two directed 95th percentiles; NaN if a mask is empty."""
        if self._one_is_empty:
            return math.nan
        directed = (self.truth_to_pred_mm, self.pred_to_truth_mm)
        return float(max(np.percentile(distances_mm, 95) for distances_mm in directed))

    @property
    def assd_mm(self) -> float:
        """Average symmetric surface distance: the mean over both surfaces' distances, pooled.

        NaN if a mask is empty.
        """
        if self._one_is_empty:
            return math.nan
        return float(np.concatenate([self.truth_to_pred_mm, self.pred_to_truth_mm]).mean())

    def nsd(self, tolerance_mm: float) -> float:
        """Normalized surface distance (Nikolov et al., 2018), by voxels.

        The share of both surfaces' voxels that lie within the tolerance, the tolerance itself
        included, of the other surface; 0 if one mask is empty, NaN if both are.
        """
        both_mm = np.concatenate([self.truth_to_pred_mm, self.pred_to_truth_mm])
        return float((both_mm <= tolerance_mm + _ROUNDING_MM).mean()) if both_mm.size else math.nan


def distances(
    truth: npt.NDArray[Any], pred: npt.NDArray[Any], affine: npt.NDArray[Any]
) -> SurfaceDistances:
    """Distances between the surfaces of two masks, from voxel centre to voxel centre.

    Args:
        truth, pred: (I, J, K), nonzero inside.
        affine: (4, 4), voxels to mm. Centres are placed by it, so that distances are exact for
            oblique and for sheared affines, too; without shear they depend on the zooms only.

    Raises:
        VolumeError: if the shapes differ.
    """
    truth, pred = as_masks(truth, pred)
    box = masks.bounding_box(truth | pred)
    if box is None:
        return SurfaceDistances(np.zeros(0), np.zeros(0))
    # Just outside the box is background or the array's edge: either way the box keeps surfaces.
    truth_mm = _voxels(surface(truth[box])) @ affine[:3, :3].T
    pred_mm = _voxels(surface(pred[box])) @ affine[:3, :3].T
    return SurfaceDistances(_nearest_mm(truth_mm, pred_mm), _nearest_mm(pred_mm, truth_mm))


def surface(mask: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The voxels of a bool mask with a face on background or on the array's edge, as a mask."""
    inner = mask.copy(order="K")  # NIfTI arrays are Fortran's; mixed orders are far slower.
    for axis in range(mask.ndim):
        along, inner_along = np.moveaxis(mask, axis, 0), np.moveaxis(inner, axis, 0)
        inner_along[1:] &= along[:-1]
        inner_along[:-1] &= along[1:]
        inner_along[:1] = False
        inner_along[-1:] = False
    return mask & ~inner


def as_masks(
    truth: npt.NDArray[Any], pred: npt.NDArray[Any]
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Two masks, nonzero inside, as bool; bool ones are not copied.

    Raises:
        VolumeError: if the shapes differ.
    """
    truth, pred = np.asarray(truth), np.asarray(pred)
    if truth.shape != pred.shape:
        raise VolumeError(
            f"expected masks of one shape, found {truth.shape} (truth) and {pred.shape} (pred)."
        )
    return truth.astype(bool, copy=False), pred.astype(bool, copy=False)


def _voxels(mask: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """(N, 3) indices of the voxels of a mask, in the order of memory, which is quick to walk."""
    if mask.flags.f_contiguous:
        return np.argwhere(mask.T)[:, ::-1]
    return np.argwhere(mask)


def _nearest_mm(from_mm: npt.NDArray[Any], to_mm: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """(N,) distances from each of (N, 3) points to the nearest of (M, 3); inf for M = 0."""
    if not len(to_mm):
        return np.full(len(from_mm), np.inf)
    nearest_mm: npt.NDArray[np.float64] = cKDTree(to_mm).query(from_mm)[0]
    return nearest_mm
