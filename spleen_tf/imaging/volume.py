"""A 3D image as stored, and the grid of voxels that places it in the patient."""

from __future__ import annotations

import dataclasses
from typing import Any, Protocol, TypeVar

import numpy as np
from nibabel import orientations
from nibabel.nifti1 import Nifti1Header
from numpy.typing import NDArray

from spleen_tf.core.files import InputError
from spleen_tf.imaging.demographics import NOTHING_KNOWN, Demographics
from spleen_tf.imaging.intensity import Modality

# Beyond these a header is wrong, in its unit most likely, and slices would be as large as memory.
_PLAUSIBLE_ZOOMS_MM = (0.01, 100.0)
# Affines that differ by rounding move no corner of an array further.
_ROUNDING_VOXELS = 0.1


class VolumeError(InputError):
    """A volume that cannot be used as it is."""


class SliceStack(Protocol):
    """The slices of a DICOM series, in order; `io.dicom.stack.Stack` is the one that is read."""

    @property
    def paths(self) -> list[str]:
        """The files, each once, in the order of the slices."""


SourceHeader = Nifti1Header | SliceStack | None  # Nifti2Header is a Nifti1Header.


@dataclasses.dataclass(frozen=True, eq=False)
class Grid:
    """Where the voxels of a volume lie.

    Attributes:
        shape: voxels along i, j, k.
        affine: (4, 4) float64, from voxel indices ijk to RAS+ millimetres.
    """

    shape: tuple[int, ...]
    affine: NDArray[Any]

    @property
    def zooms_mm(self) -> NDArray[Any]:
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


@dataclasses.dataclass(frozen=True, eq=False)
class Geometry:
    """What the headers of a volume say, without its voxels.

    Attributes:
        grid: where the voxels lie.
        source, header, modality, geometry_doubt, demographics: as in Volume.
    """

    grid: Grid
    source: str
    header: SourceHeader = None
    modality: Modality | None = None
    geometry_doubt: str | None = None
    demographics: Demographics = NOTHING_KNOWN

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels along i, j, k."""
        return self.grid.shape

    @property
    def affine(self) -> NDArray[Any]:
        """(4, 4) float64, from voxel indices ijk to RAS+ millimetres."""
        return self.grid.affine

    def with_voxels(self, array_ijk: NDArray[Any]) -> Volume:
        """The volume of this geometry that holds an (I, J, K) array."""
        return Volume(
            array_ijk,
            self.affine,
            self.source,
            header=self.header,
            modality=self.modality,
            geometry_doubt=self.geometry_doubt,
            demographics=self.demographics,
        )


@dataclasses.dataclass(frozen=True, eq=False)
class Volume:
    """A 3D image.

    Attributes:
        array_ijk: (I, J, K), in the order and orientation of the file, in physical units.
        affine: (4, 4) float64, from voxel indices ijk to RAS+ millimetres.
        source: the path that it was read from, for messages.
        header: what a writer needs to give the source's geometry back to the letter; None if
            there is nothing beyond the affine.
        modality: where the file itself says it.
        geometry_doubt: why the affine may be wrong, as a reason for a review; None if nothing
            in the header speaks against it.
        demographics: what the file itself says of the patient.
    """

    array_ijk: NDArray[Any]
    affine: NDArray[Any]
    source: str
    header: SourceHeader = None
    modality: Modality | None = None
    geometry_doubt: str | None = None
    demographics: Demographics = NOTHING_KNOWN

    @property
    def grid(self) -> Grid:
        """Where the voxels lie."""
        return Grid(self.array_ijk.shape, self.affine)

    @property
    def shape(self) -> tuple[int, ...]:
        """Voxels along i, j, k."""
        return self.array_ijk.shape

    @property
    def zooms_mm(self) -> NDArray[Any]:
        """(3,) float64: the distance between neighbouring voxel centres along i, j, k."""
        return self.grid.zooms_mm

    @property
    def voxel_mm3(self) -> float:
        """The volume of one voxel; exact for sheared affines, too."""
        return self.grid.voxel_mm3

    @property
    def orientation(self) -> str:
        """Three letters such as 'RAS': where i, j, k increase to."""
        return self.grid.orientation


def every_nth(image: Volume, axis: int, step: int) -> Volume:
    """Every `step`-th slice across a stored axis, from the first on; a view of the array."""
    chosen = [slice(None)] * 3
    chosen[axis] = slice(None, None, step)
    affine = image.affine.copy()
    affine[:3, axis] *= step
    return dataclasses.replace(
        image, array_ijk=image.array_ijk[tuple(chosen)], affine=affine, header=None
    )


Placed = TypeVar("Placed", Volume, Geometry)


def zooms_mm(affine: NDArray[Any]) -> NDArray[Any]:
    """Lengths of the columns of a (4, 4) affine: mm per voxel along i, j, k."""
    lengths: NDArray[np.float64] = np.sqrt((affine[:3, :3].astype(np.float64) ** 2).sum(axis=0))
    return lengths


def check_affine(affine: NDArray[Any], source: str, fields: str = "affine") -> None:
    """Raises VolumeError unless the affine is finite and invertible with zooms that scans have.

    Args:
        affine: (4, 4), to mm.
        source: what messages name.
        fields: what it is called there, and which fields of the header hold it.
    """
    if not np.isfinite(affine).all():
        raise VolumeError(f"{source}: expected a finite {fields}, found NaN or infinite entries.")
    zooms = zooms_mm(affine)
    # The determinant scales with the cube of the voxel size, so it is judged without it.
    if (zooms == 0).any() or abs(np.linalg.det(affine[:3, :3] / zooms)) < 1e-4:
        raise VolumeError(
            f"{source}: expected an invertible {fields}, found a singular one "
            f"(rows {np.round(affine[:3], 4).tolist()}); rewrite the header's sform or qform."
        )
    low, high = _PLAUSIBLE_ZOOMS_MM
    if zooms.min() < low * (1 - 1e-6) or zooms.max() > high * (1 + 1e-6):  # float32 rounds.
        raise VolumeError(
            f"{source}: expected voxels of {low:g} to {high:g} mm, found "
            f"{'×'.join(f'{mm:g}' for mm in zooms)} mm by its {fields}; correct the voxel "
            "sizes, or their unit."
        )


def in_order_of(placed: Placed, grid: Grid) -> Placed:
    """The same voxels at the same places, with axes permuted and flipped to run as a grid's do."""
    transform = orientations.ornt_transform(
        orientations.io_orientation(placed.affine), orientations.io_orientation(grid.affine)
    )
    affine = placed.affine @ orientations.inv_ornt_aff(transform, placed.shape)
    changes: dict[str, Any] = {"header": None}  # It tells of the order before.
    if isinstance(placed, Geometry):
        shape = tuple(placed.shape[axis] for axis in np.argsort(transform[:, 0]))
        changes["grid"] = Grid(shape, affine)
    else:
        changes["array_ijk"] = orientations.apply_orientation(placed.array_ijk, transform)
        changes["affine"] = affine
    return dataclasses.replace(placed, **changes)


def check_same_grid(a: Volume | Geometry, b: Volume | Geometry) -> None:
    """Raises VolumeError unless two volumes share shape and affine.

    Affines may differ by rounding: every corner of the array must fall within a tenth of a
    voxel of its twin.
    """
    if a.shape != b.shape:
        raise VolumeError(
            f"{b.source}: expected shape {a.shape} as in {a.source}, found {b.shape}; "
            "resample one onto the grid of the other."
        )
    distance = corner_distance_voxels(Grid(a.shape, a.affine), b.affine)
    if distance > _ROUNDING_VOXELS:
        raise VolumeError(
            f"{b.source}: expected the affine of {a.source}, found one that differs by "
            f"{distance:.1f} voxels inside the volume; resample one onto the grid of the other."
        )


def corner_distance_voxels(grid: Grid, affine: NDArray[Any]) -> float:
    """The largest distance between a grid's corners and their places under another affine.

    Args:
        grid: whose smallest voxel edge is the unit.
        affine: (4, 4), from the same voxel indices to mm.
    """
    corners = np.array(np.meshgrid(*[(0, n - 1) for n in grid.shape], indexing="ij"))
    homogeneous = np.vstack([corners.reshape(3, -1), np.ones(8)])
    apart_mm = np.linalg.norm(((grid.affine - affine) @ homogeneous)[:3], axis=0)
    return float(apart_mm.max() / grid.zooms_mm.min())
