"""Corruptions of MR. They go by percentiles, since MR has no unit."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from spleen_tf.imaging.volume import Volume
from spleen_tf.quality.corruptions.shared import Labelled, axis_of, with_voxels


def noise(image: Volume, label_ijk: npt.NDArray[Any], rng: np.random.Generator) -> Labelled:
    """Gaussian noise of a fifth of the contrast between the 0.5th and the 99.5th percentile.

    What is nowhere negative, as the magnitudes of MR, stays so: noise on top of air is positive.
    """
    low, high = _range(image)
    noisy = image.array_ijk + rng.normal(0, 0.2 * (high - low), image.shape)
    return with_voxels(image, noisy if image.array_ijk.min() < 0 else np.abs(noisy)), label_ijk


def bias_field(image: Volume, label_ijk: npt.NDArray[Any], rng: np.random.Generator) -> Labelled:
    """A smooth shading by factors from about a fifth to five."""
    coarse = rng.normal(0, 0.8, (3, 3, 3))
    zoom = np.array(image.shape) / 3
    return with_voxels(
        image, image.array_ijk * np.exp(ndimage.zoom(coarse, zoom, order=2))
    ), label_ijk


def ghosts(image: Volume, label_ijk: npt.NDArray[Any], rng: np.random.Generator) -> Labelled:
    """Breathing: fainter copies of the body, shifted to the front and to the back."""
    axis = axis_of(image, 1)
    shift = image.shape[axis] // 6
    array = image.array_ijk.astype(float)
    for strength, steps in ((0.5, 1), (0.5, -1), (0.3, 2), (0.3, -2)):
        array = array + strength * np.roll(image.array_ijk, steps * shift, axis)
    return with_voxels(image, array), label_ijk


def inverted(image: Volume, label_ijk: npt.NDArray[Any], rng: np.random.Generator) -> Labelled:
    """Light and dark exchanged."""
    low, high = _range(image)
    return with_voxels(image, low + high - np.clip(image.array_ijk, low, high)), label_ijk


def other_contrast(
    image: Volume, label_ijk: npt.NDArray[Any], rng: np.random.Generator
) -> Labelled:
    """Intensities through a random curve that rises and falls, as another modality's would."""
    low, high = _range(image)
    knots = np.linspace(low, high, 6)
    return with_voxels(image, np.interp(image.array_ijk, knots, rng.permutation(knots))), label_ijk


def wrong_window(image: Volume, label_ijk: npt.NDArray[Any], rng: np.random.Generator) -> Labelled:
    """A bright artefact in 2% of the voxels, which carries the percentiles away with it."""
    low, high = _range(image)
    array = image.array_ijk.astype(float)
    array[rng.random(image.shape) < 0.02] = low + 8 * (high - low)
    return with_voxels(image, array), label_ijk


def _range(image: Volume) -> tuple[float, float]:
    low, high = np.percentile(image.array_ijk, (0.5, 99.5))
    return float(low), float(high)
