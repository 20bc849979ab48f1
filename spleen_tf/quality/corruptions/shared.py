"""Corruptions of CT and MR alike, and what all corruptions are made with."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from spleen_tf.imaging import planes, volume
from spleen_tf.imaging.volume import Volume

Labelled = tuple[Volume, npt.NDArray[Any]]
Corruption = Callable[[Volume, npt.NDArray[Any], np.random.Generator], Labelled]

# mm that are left between the spleen and a field of view without it.
_GAP_MM = 8.0


def none(image: Volume, label_ijk: npt.NDArray[Any], rng: np.random.Generator) -> Labelled:
    """As it is."""
    return image, label_ijk


def blur(image: Volume, label_ijk: npt.NDArray[Any], rng: np.random.Generator) -> Labelled:
    """A Gaussian of 4 mm in every direction."""
    sigma = 4.0 / np.array(volume.zooms_mm(image.affine))
    return with_voxels(
        image, ndimage.gaussian_filter(image.array_ijk.astype(float), sigma)
    ), label_ijk


def dark_spleen(image: Volume, label_ijk: npt.NDArray[Any], rng: np.random.Generator) -> Labelled:
    """The spleen at a quarter of its intensity, as iron leaves it."""
    softness = ndimage.gaussian_filter(
        label_ijk.astype(float), 1.5 / np.array(volume.zooms_mm(image.affine))
    )
    return with_voxels(image, image.array_ijk * (1 - 0.75 * softness)), label_ijk


def flipped_right(image: Volume, label_ijk: npt.NDArray[Any], rng: np.random.Generator) -> Labelled:
    """A header that takes right for left."""
    return _flipped(image, 0), label_ijk


def flipped_anterior(
    image: Volume, label_ijk: npt.NDArray[Any], rng: np.random.Generator
) -> Labelled:
    """A header that takes front for back."""
    return _flipped(image, 1), label_ijk


def flipped_superior(
    image: Volume, label_ijk: npt.NDArray[Any], rng: np.random.Generator
) -> Labelled:
    """A header that takes head for feet."""
    return _flipped(image, 2), label_ijk


def truncated(image: Volume, label_ijk: npt.NDArray[Any], rng: np.random.Generator) -> Labelled:
    """A field of view that ends in the middle of the spleen, from above or from below."""
    axis = axis_of(image, 2)
    inside = np.flatnonzero(label_ijk.any(axis=_others(axis)))
    if not inside.size:
        return image, label_ijk
    middle = int(np.mean(inside))
    kept = slice(middle, None) if rng.random() < 0.5 else slice(None, middle + 1)
    return _cropped(image, label_ijk, axis, kept)


def missing_slices(
    image: Volume, label_ijk: npt.NDArray[Any], rng: np.random.Generator
) -> Labelled:
    """Every third slice lost, the others closed up under the old spacing."""
    axis = int(np.argmax(volume.zooms_mm(image.affine)))
    kept = np.flatnonzero(np.arange(image.shape[axis]) % 3 != 1)
    return (
        with_voxels(image, np.take(image.array_ijk, kept, axis)),
        np.take(label_ijk, kept, axis),
    )


def no_spleen(image: Volume, label_ijk: npt.NDArray[Any], rng: np.random.Generator) -> Labelled:
    """The part of the volume below the spleen, or above it where that is more.

    A volume of which less than two slices would be left stays as it is.
    """
    axis = axis_of(image, 2)
    inside = np.flatnonzero(label_ijk.any(axis=_others(axis)))
    if not inside.size:
        return image, label_ijk
    gap = round(_GAP_MM / volume.zooms_mm(image.affine)[axis])
    end, start = inside[0] - gap, inside[-1] + 1 + gap
    above = image.shape[axis] - start
    if max(end, above) < 2:
        return image, label_ijk
    return _cropped(image, label_ijk, axis, slice(0, end) if end > above else slice(start, None))


def with_voxels(image: Volume, array_ijk: npt.NDArray[Any]) -> Volume:
    """The volume with other intensities."""
    return dataclasses.replace(image, array_ijk=np.asarray(array_ijk, np.float32))


def axis_of(image: Volume, direction: int) -> int:
    """The array's axis that runs closest to R (0), A (1) or S (2)."""
    return planes.layout_of(image.affine, "axial").axes[2 - direction]


def _others(axis: int) -> tuple[int, ...]:
    return tuple(other for other in range(3) if other != axis)


def _flipped(image: Volume, direction: int) -> Volume:
    mirror = np.eye(4)
    mirror[direction, direction] = -1
    return dataclasses.replace(image, affine=mirror @ image.affine)


def _cropped(image: Volume, label_ijk: npt.NDArray[Any], axis: int, kept: slice) -> Labelled:
    index = tuple(kept if a == axis else slice(None) for a in range(3))
    start = np.zeros(4)
    start[axis] = kept.start or 0
    affine = image.affine.copy()
    affine[:, 3] += image.affine @ start
    cropped = np.ascontiguousarray(image.array_ijk[index])
    return dataclasses.replace(image, array_ijk=cropped, affine=affine), label_ijk[index]
