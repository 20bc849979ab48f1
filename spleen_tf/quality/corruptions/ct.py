"""Corruptions of CT, in HU."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import ndimage

from spleen_tf.imaging import blocks, volume
from spleen_tf.imaging.volume import Volume
from spleen_tf.quality.corruptions.shared import Labelled, axis_of, with_voxels

_LOW_DOSE_SD_HU = 50.0
_SHARP_SD_HU = 30.0
_THICK_MM = 8.0
_CONTRAST_HU = ((-2000, 40, 150, 300, 4000), (-2000, 40, 60, 150, 3850))
_MOTTLE_HU, _MOTTLE_MM = 40.0, 5.0
_FLUID_HU, _FLUID_MM = 10.0, 12.0
_TISSUE_FROM_HU = -300.0
_METAL_HU, _METAL_MM = 3000.0, 8.0
_STREAK_HU, _STREAKS, _STREAK_MM = 250.0, 9, 80.0
_NARROW_WINDOW_HU = (-135.0, 215.0)  # Width 350, level 40: that of the abdomen.
_CT_OFFSET = 1024.0


def low_dose(image: Volume, label_ijk: npt.NDArray[Any], rng: np.random.Generator) -> Labelled:
    """Noise of 50 HU in grains of some 2 mm, as with a tenth of the usual dose."""
    noise = _grains(image, rng, 1.0) * _LOW_DOSE_SD_HU
    return with_voxels(image, image.array_ijk + noise), label_ijk


def sharp_kernel(image: Volume, label_ijk: npt.NDArray[Any], rng: np.random.Generator) -> Labelled:
    """Edges made steeper and fine noise of 30 HU, as kernels for lung and bone do."""
    array = image.array_ijk.astype(float)
    sharper = 2 * array - ndimage.gaussian_filter(array, _sigma(image, 1.0))
    noise = rng.normal(0, 1, image.shape)
    fine = noise - ndimage.gaussian_filter(noise, _sigma(image, 1.0))
    return with_voxels(image, sharper + fine * (_SHARP_SD_HU / fine.std())), label_ijk


def thick_slices(image: Volume, label_ijk: npt.NDArray[Any], rng: np.random.Generator) -> Labelled:
    """Axial slices averaged until they are 8 mm thick or more; the label goes by the majority."""
    axis = axis_of(image, 2)
    count = int(np.ceil(_THICK_MM / volume.zooms_mm(image.affine)[axis]))
    if count < 2 or image.shape[axis] < 2 * count:
        return image, label_ijk
    factors = [count if other == axis else 1 for other in range(3)]
    return blocks.reduced(image, factors), blocks.means(label_ijk, factors) >= 0.5


def no_contrast(image: Volume, label_ijk: npt.NDArray[Any], rng: np.random.Generator) -> Labelled:
    """What contrast medium brightens is as bright as without it: a spleen of 110 HU has 53."""
    return with_voxels(image, np.interp(image.array_ijk, *_CONTRAST_HU)), label_ijk


def mottled(image: Volume, label_ijk: npt.NDArray[Any], rng: np.random.Generator) -> Labelled:
    """A spleen of bright and dark bands, as in the arterial phase."""
    pattern = ndimage.gaussian_filter(rng.normal(0, 1, image.shape), _sigma(image, _MOTTLE_MM))
    inside = ndimage.gaussian_filter(label_ijk.astype(float), _sigma(image, 1.0))
    mottle = inside * pattern * (_MOTTLE_HU / pattern.std())
    return with_voxels(image, image.array_ijk + mottle), label_ijk


def fluid_around(image: Volume, label_ijk: npt.NDArray[Any], rng: np.random.Generator) -> Labelled:
    """Ascites: the soft tissue within 12 mm of the spleen becomes fluid."""
    if not label_ijk.any():
        return image, label_ijk
    distance_mm = ndimage.distance_transform_edt(
        ~label_ijk.astype(bool), sampling=volume.zooms_mm(image.affine)
    )
    is_near = (distance_mm > 0) & (distance_mm <= _FLUID_MM)
    array = image.array_ijk.astype(float)
    wet = is_near & (array > _TISSUE_FROM_HU)
    array[wet] = _FLUID_HU + rng.normal(0, 10, int(wet.sum()))
    return with_voxels(image, array), label_ijk


def metal(image: Volume, label_ijk: npt.NDArray[Any], rng: np.random.Generator) -> Labelled:
    """An implant 5 to 10 cm from the middle of the spleen, with streaks in its slices."""
    axis = axis_of(image, 2)
    across = [a for a in range(3) if a != axis]
    zooms_mm = np.array(volume.zooms_mm(image.affine))
    middle = ndimage.center_of_mass(label_ijk) if label_ijk.any() else np.array(image.shape) / 2
    angle, reach_mm = rng.uniform(0, 2 * np.pi), rng.uniform(50, 100)
    places_mm = [
        (np.arange(n) - m) * z for n, m, z in zip(image.shape, middle, zooms_mm, strict=True)
    ]
    x_mm, y_mm, z_mm = (
        places_mm[a].reshape([-1 if b == a else 1 for b in range(3)]) for a in (*across, axis)
    )
    x_mm, y_mm = x_mm - reach_mm * np.cos(angle), y_mm - reach_mm * np.sin(angle)
    distance_mm = np.hypot(x_mm, y_mm)
    rays = np.cos(_STREAKS * np.arctan2(y_mm, x_mm) + rng.uniform(0, 2 * np.pi))
    fading = np.exp(-distance_mm / _STREAK_MM - (z_mm / 20) ** 2)
    array = image.array_ijk + _STREAK_HU * rays * fading
    array = np.where(np.hypot(distance_mm, z_mm) < _METAL_MM, _METAL_HU, array)
    return with_voxels(image, array), label_ijk


def narrow_window(image: Volume, label_ijk: npt.NDArray[Any], rng: np.random.Generator) -> Labelled:
    """Values clipped to the window of a display, -135 to 215 HU."""
    return with_voxels(image, np.clip(image.array_ijk, *_NARROW_WINDOW_HU)), label_ijk


def no_offset(image: Volume, label_ijk: npt.NDArray[Any], rng: np.random.Generator) -> Labelled:
    """Stored values for HU: the offset of -1024 was not applied."""
    return with_voxels(image, image.array_ijk + _CT_OFFSET), label_ijk


def _grains(image: Volume, rng: np.random.Generator, sigma_mm: float) -> npt.NDArray[Any]:
    """(I, J, K) noise of unit variance, correlated within axial slices."""
    sigma = _sigma(image, sigma_mm)
    sigma[axis_of(image, 2)] = 0
    noise = ndimage.gaussian_filter(rng.normal(0, 1, image.shape), sigma)
    return np.asarray(noise / noise.std())


def _sigma(image: Volume, sigma_mm: float) -> npt.NDArray[Any]:
    """A Gaussian's sigma in voxels of each axis."""
    return sigma_mm / np.array(volume.zooms_mm(image.affine))
