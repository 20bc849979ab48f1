"""A 3D image as stored, with the affine that places it in the patient."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from nibabel import orientations

from spleen_tf.core.files import InputError

# Beyond these a header is wrong, in its unit most likely, and slices would be as large as memory.
_PLAUSIBLE_ZOOMS_MM = (0.01, 100.0)


class VolumeError(InputError):
    """A volume that cannot be used as it is."""


@dataclasses.dataclass(frozen=True)
class Volume:
    """A 3D image.

    Attributes:
        array_ijk: (I, J, K), in the order and orientation of the file, in physical units.
        affine: (4, 4) float64, from voxel indices ijk to RAS+ millimetres.
        source: the path that it was read from, for messages.
        header: what a writer needs to give the source's geometry back to the letter; None if
            there is nothing beyond the affine.
        modality: 'CT' or 'MR' where the file itself says so, else ''.
    """

    array_ijk: np.ndarray
    affine: np.ndarray
    source: str
    header: Any = None
    modality: str = ""

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels along i, j, k."""
        return self.array_ijk.shape

    @property
    def zooms_mm(self) -> np.ndarray:
        """(3,) float64: the distance between neighbouring voxel centres along i, j, k."""
        return zooms_mm(self.affine)

    @property
    def voxel_mm3(self) -> float:
        """The volume of one voxel; exact for sheared affines, too."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    @property
    def orientation(self) -> str:
        """Three letters such as 'RAS': where i, j, k increase to."""
        return "".join(orientations.aff2axcodes(self.affine))


def zooms_mm(affine: np.ndarray) -> np.ndarray:
    """Lengths of the columns of a (4, 4) affine: mm per voxel along i, j, k."""
    return np.sqrt((np.asarray(affine, np.float64)[:3, :3] ** 2).sum(axis=0))


def check_affine(affine: np.ndarray, source: str) -> None:
    """Raises VolumeError unless the affine is finite and invertible with zooms that scans have."""
    if not np.isfinite(affine).all():
        raise VolumeError(f"{source}: expected a finite affine, found NaN or infinite entries.")
    zooms = zooms_mm(affine)
    # The determinant scales with the cube of the voxel size, so it is judged without it.
    if (zooms == 0).any() or abs(np.linalg.det(affine[:3, :3] / zooms)) < 1e-4:
        raise VolumeError(
            f"{source}: expected an invertible affine, found a singular one "
            f"(rows {np.round(affine[:3], 4).tolist()}); rewrite the header's sform or qform."
        )
    low, high = _PLAUSIBLE_ZOOMS_MM
    if zooms.min() < low * (1 - 1e-6) or zooms.max() > high * (1 + 1e-6):  # float32 rounds.
        raise VolumeError(
            f"{source}: expected voxels of {low:g} to {high:g} mm, found "
            f"{'×'.join(f'{mm:g}' for mm in zooms)} mm; correct its voxel sizes, or their unit."
        )


def in_order_of(image: Volume, other: Volume) -> Volume:
    """The same voxels at the same places, with axes permuted and flipped to run as another's do."""
    transform = orientations.ornt_transform(
        orientations.io_orientation(image.affine), orientations.io_orientation(other.affine)
    )
    return dataclasses.replace(
        image,
        array_ijk=orientations.apply_orientation(image.array_ijk, transform),
        affine=image.affine @ orientations.inv_ornt_aff(transform, image.shape),
        header=None,  # It tells of the order before.
    )


def check_same_grid(a: Volume, b: Volume, tolerance_voxels: float = 0.1) -> None:
    """Raises VolumeError unless two volumes share shape and affine.

    Affines may differ by rounding: every corner of the array must fall within a tenth of a
    voxel of its twin.
    """
    if a.shape != b.shape:
        raise VolumeError(
            f"{b.source}: expected shape {a.shape} as in {a.source}, found {b.shape}; "
            "resample one onto the grid of the other."
        )
    distance = corner_distance_voxels(a.affine, b.affine, a.shape)
    if distance > tolerance_voxels:
        raise VolumeError(
            f"{b.source}: expected the affine of {a.source}, found one that differs by "
            f"{distance:.1f} voxels inside the volume; resample one onto the grid of the other."
        )


def corner_distance_voxels(affine_a, affine_b, shape) -> float:
    """The largest distance between twin corners of an array under two affines, in voxels."""
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in shape], indexing="ij")).reshape(3, -1)
    homogeneous = np.vstack([corners, np.ones(corners.shape[1])])
    apart_mm = np.linalg.norm(((affine_a - affine_b) @ homogeneous)[:3], axis=0)
    return float(apart_mm.max() / zooms_mm(affine_a).min())
