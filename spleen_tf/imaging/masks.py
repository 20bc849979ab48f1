"""Masks: where they lie, and what a spleen cannot be: in pieces, or hollow."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from spleen_tf.imaging.components import Components


def at_least(values_ijk: NDArray[Any], threshold: float) -> NDArray[np.bool_]:
    """Where values reach a threshold, (I, J, K) bool; rows where none does take no memory."""
    result = _empty_like(values_ijk)
    as_in_memory = np.argsort(-np.abs(values_ijk.strides))
    slabs = zip(values_ijk.transpose(as_in_memory), result.transpose(as_in_memory), strict=True)
    for values, inside in slabs:
        rows = values.max(axis=1) >= threshold
        if rows.any():
            inside[rows] = values[rows] >= threshold
    return result


def paste(array_ijk: NDArray[Any], into_ijk: NDArray[Any]) -> None:
    """Copies an array into one of its shape that holds 0; rows of 0 are not written to."""
    as_in_memory = np.argsort(-np.abs(into_ijk.strides))
    slabs = zip(array_ijk.transpose(as_in_memory), into_ijk.transpose(as_in_memory), strict=True)
    for values, target in slabs:
        rows = values.any(axis=1)
        target[rows] = values[rows]


def largest_component(mask_ijk: NDArray[Any]) -> NDArray[Any]:
    """The largest 26-connected component of a mask.

    Args:
        mask_ijk: (I, J, K) bool.

    Returns:
        bool of the same shape; empty if the mask is.
    """
    result = _empty_like(mask_ijk)
    box = bounding_box(mask_ijk)
    if box is not None:
        components = Components(mask_ijk[box], connectivity=26)
        components.select(np.arange(components.count) == components.sizes.argmax(), result[box])
    return result


def fill_holes(mask_ijk: NDArray[Any]) -> NDArray[Any]:
    """A mask without cavities: background that no path of faces joins to the outside."""
    result = _empty_like(mask_ijk)
    box = bounding_box(mask_ijk)
    if box is not None:
        result[box] = mask_ijk[box]
        background = Components(mask_ijk[box], connectivity=6, value=False)
        background.select(~background.at_side, result[box])
    return result


def count_components(mask_ijk: NDArray[Any]) -> int:
    """The number of 26-connected components of a mask."""
    box = bounding_box(mask_ijk)
    return 0 if box is None else Components(mask_ijk[box], connectivity=26).count


def pieces(mask_ijk: NDArray[Any], least_share: float) -> list[tuple[int, tuple[slice, ...]]]:
    """Voxels and bounding box of the larger 26-connected components, the largest first.

    Args:
        mask_ijk: (I, J, K) bool.
        least_share: of the largest's voxels that a component has at least.
    """
    box = bounding_box(mask_ijk)
    if box is None:
        return []
    components = Components(mask_ijk[box], connectivity=26)
    larger = []
    for index in np.argsort(-components.sizes, kind="stable").tolist():
        if components.sizes[index] < least_share * components.sizes.max():
            break
        piece = _empty_like(mask_ijk)
        components.select(np.arange(components.count) == index, piece[box])
        larger.append((int(components.sizes[index]), bounding_box(piece) or box))
    return larger


def bounding_box(mask_ijk: NDArray[Any]) -> tuple[slice, ...] | None:
    """The smallest slices that hold a mask; None if it is empty."""
    box = [slice(0, size) for size in mask_ijk.shape]
    # The axis along which memory is read in one go comes first, and leaves little for the others.
    for axis in np.argsort(-np.abs(mask_ijk.strides)).tolist():
        others = tuple(other for other in range(3) if other != axis)
        inside = np.flatnonzero(mask_ijk[tuple(box)].any(axis=others))
        if not len(inside):
            return None
        box[axis] = slice(int(inside[0]), int(inside[-1]) + 1)
    return tuple(box)


def surroundings(box: tuple[slice, ...]) -> tuple[slice, ...]:
    """A box and half of its length on each side, from index 0 on."""
    margins = [(side.stop - side.start) // 2 for side in box]
    return tuple(
        slice(max(0, side.start - margin), side.stop + margin)
        for side, margin in zip(box, margins, strict=True)
    )


def _empty_like(mask_ijk: NDArray[Any]) -> NDArray[Any]:
    """All False; what is never written to takes no memory, as it would with np.zeros_like."""
    first, *_, last = np.abs(mask_ijk.strides).tolist()
    return np.zeros(mask_ijk.shape, bool, order="F" if first < last else "C")
