"""What a spleen cannot be: in pieces, or hollow."""

from __future__ import annotations

import cc3d
import numpy as np
from scipy import ndimage


def largest_component(mask_ijk: np.ndarray) -> np.ndarray:
    """The largest 26-connected component of a mask.

    Args:
        mask_ijk: (I, J, K) bool.

    Returns:
        bool of the same shape; empty if the mask is.
    """
    return _inside_box(mask_ijk, _largest)


def fill_holes(mask_ijk: np.ndarray) -> np.ndarray:
    """A mask without cavities: background that no path of faces joins to the outside."""
    return _inside_box(mask_ijk, ndimage.binary_fill_holes)


def count_components(mask_ijk: np.ndarray) -> int:
    """The number of 26-connected components of a mask."""
    box = bounding_box(mask_ijk)
    return 0 if box is None else int(cc3d.connected_components(_rimmed(mask_ijk[box])).max())


def bounding_box(mask_ijk: np.ndarray) -> tuple[slice, ...] | None:
    """The smallest slices that hold a mask; None if it is empty."""
    box = []
    for axis in range(3):
        others = tuple(other for other in range(3) if other != axis)
        inside = np.flatnonzero(mask_ijk.any(axis=others))
        if not len(inside):
            return None
        box.append(slice(int(inside[0]), int(inside[-1]) + 1))
    return tuple(box)


def _inside_box(mask_ijk, change) -> np.ndarray:
    """Works on the bounding box only: the organ is a few hundredths of the volume."""
    result = np.zeros_like(mask_ijk, dtype=bool)
    box = bounding_box(mask_ijk)
    if box is not None:
        result[box] = change(np.ascontiguousarray(mask_ijk[box]))
    return result


def _largest(box) -> np.ndarray:
    return cc3d.largest_k(_rimmed(box), k=1, connectivity=26)[1:-1, 1:-1, 1:-1] > 0


def _rimmed(box) -> np.ndarray:
    """With background all around: cc3d 4.1 reserves too few labels for boxes one voxel thin."""
    return np.pad(box, 1)
