"""Length, width and thickness of a spleen, as radiologists measure it on axial slices.

The definitions are those of the splenic index (Lackner et al., Rofo 1980; 132: 21-30; Prassopoulos
et al., Eur Radiol 1997; 7: 246-248; Bezerra et al., AJR 2005; 184: 1510-1513). The length is the
extent from head to foot, which on axial CT is the number of slices with spleen times their
distance. The width is the longest diameter on any axial slice. The thickness is the distance of the
inner from the outer border at the hilum, at right angles to the width. A mask does not show the
hilum: the thickness is taken at the middle of the width, where the hilum of most spleens lies.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from spleen_tf.imaging import masks, planes, volume

# A grid whose axes are turned by less than this is measured on its own slices.
_ALIGNED_COSINE = 1 - 1e-6
_SAMPLES_PER_PIXEL = 20


class Dimensions(msgspec.Struct, frozen=True):
    """The size of a mask along the patient's axes.

    Attributes:
        length_mm: head to foot, with the size of the voxels.
        width_mm: the longest diameter on an axial slice, between edges of pixels.
        thickness_mm: from border to border on the same slice, through the middle of the width and
            at right angles to it.
    """

    length_mm: float
    width_mm: float
    thickness_mm: float

    @property
    def splenic_index_ml(self) -> float:
        """Length × width × thickness: 120 to 480 mL without disease (Lackner et al., 1980)."""
        return self.length_mm * self.width_mm * self.thickness_mm / 1000


def measure(mask_ijk: npt.NDArray[np.bool_], affine: npt.NDArray[Any]) -> Dimensions:
    """Measures a mask on axial slices of the patient.

    A grid along the patient's axes is measured on its own slices. Through an oblique one, axial
    slices are laid as far apart as its own; each pixel takes the voxel that it lies in.

    Args:
        mask_ijk: (I, J, K) bool; all of it counts, also several pieces.
        affine: (4, 4), ijk to RAS+ mm.

    Raises:
        ValueError: for an empty mask, which has no size.
    """
    box = masks.bounding_box(mask_ijk)
    if box is None:
        raise ValueError("expected a mask with a voxel, found an empty one")
    inside_ijk = mask_ijk[box]
    if _is_aligned(affine):
        slices_nhw = planes.split(inside_ijk, affine, "axial")
        pixel_mm = planes.pixel_mm(affine, "axial")
        length_mm = len(slices_nhw) * planes.slice_mm(affine, "axial")
    else:
        slices_nhw, pixel_mm = _oblique_slices(inside_ijk, affine)
        length_mm = _head_to_foot_mm(inside_ijk, affine)
    width_mm, slice_hw, ends_mm = _widest(slices_nhw, pixel_mm)
    return Dimensions(length_mm, width_mm, _thickness_mm(slice_hw, pixel_mm, ends_mm))


def _is_aligned(affine: npt.NDArray[Any]) -> bool:
    cosines = np.abs(affine[:3, :3]) / volume.zooms_mm(affine)
    return bool((cosines.max(axis=0) >= _ALIGNED_COSINE).all())


def _oblique_slices(
    inside_ijk: npt.NDArray[np.bool_], affine: npt.NDArray[Any]
) -> tuple[npt.NDArray[np.bool_], npt.NDArray[Any]]:
    """Axial slices, (N, H, W) bool with y along rows and x along columns, and a pixel's size."""
    slice_mm = planes.slice_mm(affine, "axial")
    side_mm = float(planes.pixel_mm(affine, "axial").min())
    corners_ijk = np.stack(
        np.meshgrid(*[(-0.5, n - 0.5) for n in inside_ijk.shape], indexing="ij")
    ).reshape(3, -1)
    corners_mm = affine[:3, :3] @ corners_ijk
    low, high = corners_mm.min(axis=1), corners_mm.max(axis=1)
    x, y, z = (
        np.arange(start + step / 2, stop, step)
        for start, stop, step in zip(low, high, (side_mm, side_mm, slice_mm), strict=True)
    )
    to_ijk = np.linalg.inv(affine[:3, :3])
    in_plane_hwc = x[None, :, None] * to_ijk[:, 0] + y[:, None, None] * to_ijk[:, 1]
    slices_nhw = np.zeros((len(z), len(y), len(x)), bool)
    for slice_hw, z_mm in zip(slices_nhw, z, strict=True):
        ijk = np.rint(in_plane_hwc + z_mm * to_ijk[:, 2]).astype(np.intp)
        is_in = ((ijk >= 0) & (ijk < inside_ijk.shape)).all(axis=-1)
        slice_hw[is_in] = inside_ijk[tuple(ijk[is_in].T)]
    return slices_nhw, np.array([side_mm, side_mm])


def _head_to_foot_mm(inside_ijk: npt.NDArray[np.bool_], affine: npt.NDArray[Any]) -> float:
    """From the lowest to the highest middle of a voxel's face."""
    up_mm = affine[2, :3]
    heights_mm = np.argwhere(inside_ijk) @ up_mm
    return float(np.ptp(heights_mm) + np.abs(up_mm).max())


def _widest(
    slices_nhw: npt.NDArray[np.bool_], pixel_mm: npt.NDArray[Any]
) -> tuple[float, npt.NDArray[np.bool_], npt.NDArray[Any]]:
    """The longest diameter of all slices, its slice, and its ends (2, 2): row and column in mm."""
    rows, columns = slices_nhw.any(axis=2), slices_nhw.any(axis=1)
    diagonals_mm = np.hypot(_extents(rows) * pixel_mm[0], _extents(columns) * pixel_mm[1])
    widest = (0.0, slices_nhw[0], np.zeros((2, 2)))
    for n in np.argsort(-diagonals_mm):
        if diagonals_mm[n] <= widest[0]:
            break  # No other slice can be wider.
        width_mm, ends_mm = _diameter(slices_nhw[n], pixel_mm)
        if width_mm > widest[0]:
            widest = (width_mm, slices_nhw[n], ends_mm)
    return widest


def _extents(any_nl: npt.NDArray[np.bool_]) -> npt.NDArray[np.intp]:
    """(N,) how far apart the first and the last True of each row are, both counted."""
    length = any_nl.shape[1]
    extents = length - np.argmax(any_nl, axis=1) - np.argmax(any_nl[:, ::-1], axis=1)
    return np.where(any_nl.any(axis=1), extents, 0)


def _diameter(
    slice_hw: npt.NDArray[np.bool_], pixel_mm: npt.NDArray[Any]
) -> tuple[float, npt.NDArray[Any]]:
    """The longest distance between middles of outer pixel edges, and its ends, (2, 2) in mm.

    Centres of pixels would make it a pixel too short, and their corners too long on a slant.
    """
    rows, columns = np.flatnonzero(slice_hw.any(axis=1)), np.flatnonzero(slice_hw.any(axis=0))
    height, width = slice_hw.shape
    left = np.argmax(slice_hw[rows], axis=1) - 0.5
    right = width - np.argmax(slice_hw[rows, ::-1], axis=1) - 0.5
    top = np.argmax(slice_hw[:, columns], axis=0) - 0.5
    bottom = height - np.argmax(slice_hw[::-1, columns], axis=0) - 0.5
    edges = [(rows, left), (rows, right), (top, columns), (bottom, columns)]
    points_mm = np.concatenate([np.stack(pair, axis=1) for pair in edges]) * pixel_mm
    # Some hundred points: SciPy's convex hull saves less time than its import takes.
    row_mm, column_mm = points_mm.T
    apart_mm = np.hypot(np.subtract.outer(row_mm, row_mm), np.subtract.outer(column_mm, column_mm))
    pair = np.unravel_index(apart_mm.argmax(), apart_mm.shape)
    return float(apart_mm[pair]), points_mm[list(pair)]


def _thickness_mm(
    slice_hw: npt.NDArray[np.bool_], pixel_mm: npt.NDArray[Any], ends_mm: npt.NDArray[Any]
) -> float:
    """The longest run of mask on the line that halves a diameter at right angles.

    Where that line runs between two pieces of a mask, it is the longest on any such line.
    """
    width_mm = float(np.linalg.norm(ends_mm[1] - ends_mm[0]))
    along = (ends_mm[1] - ends_mm[0]) / width_mm
    across = np.array([-along[1], along[0]])
    middle_mm = ends_mm.mean(axis=0)
    side_mm = float(pixel_mm.min())
    step_mm = side_mm / _SAMPLES_PER_PIXEL
    t_mm = np.arange(-width_mm, width_mm, step_mm)
    at_middle = _longest_run(slice_hw, (middle_mm + t_mm[:, None] * across) / pixel_mm)
    if at_middle:
        return at_middle * step_mm
    s_mm = np.arange(-width_mm / 2, width_mm / 2, side_mm)
    starts_mm = middle_mm + s_mm[:, None] * along
    lines = ((start_mm + t_mm[:, None] * across) / pixel_mm for start_mm in starts_mm)
    return max(_longest_run(slice_hw, line) for line in lines) * step_mm


def _longest_run(slice_hw: npt.NDArray[np.bool_], line: npt.NDArray[Any]) -> int:
    """The most samples in a row that lie in the mask; (S, 2) rows and columns, fractions too."""
    pixels = np.rint(line).astype(np.intp)
    is_in = ((pixels >= 0) & (pixels < slice_hw.shape)).all(axis=1)
    inside = np.zeros(len(line) + 2, np.int8)  # Outside at both ends, which end a run.
    inside[1:-1][is_in] = slice_hw[tuple(pixels[is_in].T)]
    changes = np.diff(inside)
    runs = np.flatnonzero(changes < 0) - np.flatnonzero(changes > 0)
    return int(runs.max(initial=0))
