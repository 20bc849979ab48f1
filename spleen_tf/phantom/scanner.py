"""What a scanner adds to a painted patient: couch, blur, noise, shading."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from spleen_tf.phantom import shapes


def measure_ct(
    image: NDArray[Any], zooms_mm: NDArray[Any], rng: np.random.Generator
) -> NDArray[Any]:
    """A CT: couch, blur of the kernel, noise that is correlated in plane, streaks across the trunk.

    Args:
        image: (K, J, I) float32, HU without noise.
        zooms_mm: (3,) along these axes.
        rng: of all that is random.

    Returns:
        int16 HU of the same shape.
    """
    image = _couch(image, zooms_mm, rng)
    blur = rng.uniform(0.35, 0.8)
    image = ndimage.gaussian_filter(image, (0.35, blur, blur), truncate=3)
    noise = rng.standard_normal(image.shape, dtype=np.float32)
    noise = ndimage.gaussian_filter(noise, (0.2, 0.6, 0.6), truncate=2)
    streaks = rng.standard_normal(image.shape, dtype=np.float32)
    streaks = ndimage.uniform_filter1d(streaks, 31, axis=2)
    # Photons are fewest in the rays that cross the trunk from side to side, through bone.
    thick = np.clip((image > 150).sum(axis=2, keepdims=True) / 12, 0.3, 2.0)
    sigma = rng.uniform(6, 20)
    image += sigma * noise / noise.std() + 0.35 * sigma * thick * streaks / streaks.std()
    hu: NDArray[Any] = np.clip(np.rint(image), -1024, 3071).astype(np.int16)
    return hu


def measure_mr(
    image: NDArray[Any], zooms_mm: NDArray[Any], rng: np.random.Generator
) -> NDArray[Any]:
    """An MR: blur of the matrix, uneven coils, Rician noise, and the scanner's arbitrary scale.

    Args:
        image: (K, J, I) float32, signals without noise.
        zooms_mm: (3,) along these axes.
        rng: of all that is random.

    Returns:
        int16 of the same shape, 0 or more.
    """
    image = np.abs(image)
    blur = rng.uniform(0.45, 0.95)
    image = ndimage.gaussian_filter(image, (0.35, blur, blur), truncate=3)
    extent_voxels = 140 / zooms_mm
    field = shapes.spline_noise(rng, image.shape, extent_voxels)
    image *= np.exp(rng.uniform(0.08, 0.25) * field)
    image *= 1 + 0.025 * rng.standard_normal((len(image), 1, 1), dtype=np.float32)
    sigma = rng.uniform(0.8, 3.5)
    real = image + sigma * rng.standard_normal(image.shape, dtype=np.float32)
    imaginary = sigma * rng.standard_normal(image.shape, dtype=np.float32)
    image = np.hypot(real, imaginary) * float(np.exp(rng.uniform(np.log(2), np.log(15))))
    signal: NDArray[Any] = np.clip(np.rint(image), 0, 32767).astype(np.int16)
    return signal


def _couch(image: NDArray[Any], zooms_mm: NDArray[Any], rng: np.random.Generator) -> NDArray[Any]:
    """A thin curved line under the patient."""
    body_rows = np.flatnonzero((image > -300).any(axis=(0, 2)))
    pixel = zooms_mm[1]
    j, i = np.arange(image.shape[1])[:, None], np.arange(image.shape[2])[None, :]
    top = body_rows[0] - rng.uniform(2, 14) / pixel
    sag = top + 2e-3 * pixel * (i - image.shape[2] / 2) ** 2 * rng.uniform(0.0, 0.7)
    share = np.clip(1.5 - np.abs(j - sag), 0, 1).astype(np.float32)
    return np.maximum(image, -1000 + share * rng.uniform(300, 800))
