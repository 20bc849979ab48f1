"""What a data set's cases have in common, and what a training should take from it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from spleen_tf.core import files
from spleen_tf.core.files import InputError
from spleen_tf.imaging import intensity, planes
from spleen_tf.imaging.intensity import PERCENTILES
from spleen_tf.imaging.volume import Volume, zooms_mm

FILE_NAME = "fingerprint.json"
# What a training takes from a fingerprint; the other keys describe the data set.
PROPOSALS = ("pixel_mm", "window", "image_size", "depth", "batch_size")

# With a dozen patients coarse pixels generalize best: so many across the field of view.
_PIXELS_ACROSS = 128
# Thick slices, seen from the side, are interpolated to rows at most so much coarser than columns.
_MOST_ANISOTROPY = 1.6
# A training crops a little off the field of view, which shifts it about.
_CROPPED_SHARE = 0.9
# The deepest level keeps at least so many pixels a side.
_LEAST_AT_BOTTOM = 4
_MOST_DEPTH = 4
_PIXELS_A_BATCH = 112_000
# Beyond the spleens' own range, a CT window shows half of it on both sides: their neighbours.
_WINDOW_MARGIN = 0.5
_WINDOW_STEP_HU = 10.0
_SAMPLED_VOXELS = 20_000


@dataclasses.dataclass(frozen=True)
class Facts:
    """What a fingerprint needs of one case.

    Attributes:
        modality: 'CT' or 'MR'.
        affine: (4, 4).
        shape: of the stored array.
        spleen_values: (n,) intensities inside the spleen, a regular sample of them.
        spleen_mm3: its volume.
    """

    modality: str
    affine: np.ndarray
    shape: tuple[int, ...]
    spleen_values: np.ndarray
    spleen_mm3: float

    @classmethod
    def of(cls, image: Volume, inside_ijk: np.ndarray, modality: str) -> Facts:
        """The facts of a volume whose spleen is where `inside_ijk`, (I, J, K) bool, is true."""
        values = image.array_ijk[inside_ijk]
        step = max(1, len(values) // _SAMPLED_VOXELS)
        mm3 = len(values) * image.voxel_mm3
        return cls(modality, image.affine, image.shape, values[::step].astype(np.float64), mm3)


def propose(facts: Sequence[Facts], plane: str) -> dict[str, Any]:
    """A fingerprint: what the cases have in common, and the plan that follows for a plane.

    The plan follows rules, after nnU-Net's manner (Isensee et al., 2021): columns of a pixel_mm
    that puts 128 of them across the median field of view, no finer than the slices are; rows of
    the same, or up to 1.6 times that where the slices are coarser; an image_size of nine tenths
    of the field of view; as many halvings as leave 4 pixels a side, at most 4; a batch of about
    112,000 pixels. The window is, for CT, the spleens' 0.5th to 99.5th percentile and half
    of that range on both sides; for MR, whose units mean nothing, the volume's own percentiles.

    Args:
        facts: of at least one case.
        plane: one of planes.PLANES.

    Returns:
        JSON-ready: modality ('any' where the cases are of both), cases, plane, median_shape and
        median_zooms_mm (towards right, anterior, superior), spleen_intensity (percentiles by
        name, empty without any spleen), spleen_volume_ml (minimum, median, maximum), and what
        PROPOSALS lists.
    """
    modalities = sorted({fact.modality for fact in facts})
    modality = modalities[0] if len(modalities) == 1 else "any"
    values = np.concatenate([fact.spleen_values for fact in facts])
    volumes_ml = [fact.spleen_mm3 / 1000 for fact in facts if fact.spleen_mm3]
    shapes, zooms = zip(*(_in_ras(fact) for fact in facts), strict=True)
    return {
        "modality": modality,
        "cases": len(facts),
        "plane": plane,
        "median_shape": np.median(shapes, axis=0).round().astype(int).tolist(),
        "median_zooms_mm": np.median(zooms, axis=0).round(4).tolist(),
        "spleen_intensity": {
            f"{q:g}": float(v)
            for q, v in zip(PERCENTILES, np.percentile(values, PERCENTILES), strict=True)
        }
        if values.size
        else {},
        "spleen_volume_ml": {
            name: round(float(function(volumes_ml)), 2)
            for name, function in (("minimum", min), ("median", np.median), ("maximum", max))
        }
        if volumes_ml
        else {},
        "window": _window(modality, values),
        **_grid(facts, plane),
    }


def read(path: str | os.PathLike) -> dict[str, Any]:
    """What a fingerprint.json proposes, by the names of a training's flags.

    Returns:
        pixel_mm, window and image_size as tuples, depth and batch_size as integers, and plane and
        modality, as far as they are there; the first three always are.

    Raises:
        InputError: if it is not one.
    """
    content = files.read_json(path)
    required = ("pixel_mm", "window", "image_size")
    missing = [key for key in required if not isinstance(content, dict) or key not in content]
    if missing:
        raise InputError(
            f"{path}: expected a fingerprint that spleen_tf.explore wrote, found no "
            f"{missing[0]!r} in it."
        )
    found: dict[str, Any] = {k: content[k] for k in ("plane", "modality") if k in content}
    for key in (key for key in PROPOSALS if key in content):
        value = content[key]
        numbers = value if isinstance(value, list) else [value]
        if not all(isinstance(n, int | float) and not isinstance(n, bool) for n in numbers):
            raise InputError(f"{path}: expected numbers as {key!r}, found {value!r}.")
        if key in required:
            found[key] = tuple(float(number) for number in numbers)
        elif isinstance(value, int):
            found[key] = value
        else:
            raise InputError(f"{path}: expected an integer as {key!r}, found {value!r}.")
    return found


def _in_ras(fact: Facts) -> tuple[list[int], list[float]]:
    """Shape and zooms towards right, anterior and superior."""
    zooms = zooms_mm(fact.affine)
    superior, anterior, right = planes.layout_of(fact.affine, "axial").axes
    order = (right, anterior, superior)
    return [fact.shape[axis] for axis in order], [float(zooms[axis]) for axis in order]


def _window(modality: str, values: np.ndarray) -> list[float]:
    if modality != "CT" or not values.size:
        return list(intensity.CT_HU if modality == "CT" else intensity.MR_PERCENTILES)
    low, high = np.percentile(values, (PERCENTILES[0], PERCENTILES[-1]))
    margin = _WINDOW_MARGIN * (high - low)
    edges = np.array([low - margin, high + margin]) / _WINDOW_STEP_HU
    return [float(np.floor(edges[0]) * _WINDOW_STEP_HU), float(np.ceil(edges[1]) * _WINDOW_STEP_HU)]


def _grid(facts: Sequence[Facts], plane: str) -> dict[str, Any]:
    native = np.median([planes.pixel_mm(fact.affine, plane) for fact in facts], axis=0)
    fields_mm = []
    for fact in facts:
        axes = planes.layout_of(fact.affine, plane).axes[1:]
        fields_mm.append([fact.shape[axis] for axis in axes] * planes.pixel_mm(fact.affine, plane))
    field_mm = np.median(fields_mm, axis=0)
    finest = max(float(native.min()), float(field_mm.max()) / _PIXELS_ACROSS)
    pixel_mm = np.clip(native, finest, _MOST_ANISOTROPY * finest).round(2)
    pixels = field_mm / pixel_mm
    depth = int(np.clip(np.log2(pixels.min() / _LEAST_AT_BOTTOM), 1, _MOST_DEPTH))
    multiple = 2**depth
    size = np.maximum(1, np.round(_CROPPED_SHARE * pixels / multiple)).astype(int) * multiple
    batch_size = int(np.clip(round(_PIXELS_A_BATCH / size.prod()), 2, 64))
    return {
        "pixel_mm": pixel_mm.tolist(),
        "image_size": size.tolist(),
        "depth": depth,
        "batch_size": batch_size,
    }
