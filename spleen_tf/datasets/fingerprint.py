"""What a data set's cases have in common, and what a training should take from it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from spleen_tf.core import files
from spleen_tf.imaging import intensity, planes
from spleen_tf.imaging.intensity import PERCENTILES, Modality, ModelModality
from spleen_tf.imaging.planes import Plane
from spleen_tf.imaging.volume import Volume, zooms_mm

FILE_NAME = "fingerprint.json"

_REMEDY = "make one with spleen_tf.explore"
# With a dozen patients coarse pixels generalize best: so many across the field of view.
_PIXELS_ACROSS = 128
# Thick slices, seen from the side, are interpolated to rows at most so much coarser than columns.
_MOST_ANISOTROPY = 1.6
# A training crops a little off the field of view, which shifts it about.
_CROPPED_SHARE = 0.9
# The deepest level keeps at least so many pixels per side.
_LEAST_AT_BOTTOM = 4
_MOST_DEPTH = 4
_PIXELS_PER_BATCH = 112_000
# Beyond the spleens' own range, a CT window shows half of it on both sides: their neighbours.
_WINDOW_MARGIN = 0.5
_WINDOW_STEP_HU = 10.0
_SAMPLED_VOXELS = 20_000


@dataclasses.dataclass(frozen=True, eq=False)
class CaseProfile:
    """What a fingerprint needs of one case.

    Attributes:
        modality: of the image.
        affine: (4, 4).
        shape: of the stored array.
        spleen_values: (n,) intensities inside the spleen, a regular sample of them.
        spleen_mm3: its volume.
    """

    modality: Modality
    affine: NDArray[Any]
    shape: tuple[int, ...]
    spleen_values: NDArray[Any]
    spleen_mm3: float

    @classmethod
    def of(cls, image: Volume, inside_ijk: NDArray[Any], modality: Modality) -> CaseProfile:
        """The profile of a volume whose spleen is where `inside_ijk`, (I, J, K) bool, is true."""
        values = image.array_ijk[inside_ijk]
        step = max(1, len(values) // _SAMPLED_VOXELS)
        mm3 = len(values) * image.voxel_mm3
        return cls(modality, image.affine, image.shape, values[::step].astype(np.float64), mm3)


class Fingerprint(msgspec.Struct, frozen=True):
    """fingerprint.json.

    Attributes:
        modality: 'any' where the cases are of both.
        cases: how many there are.
        plane: that the plan below is for.
        median_shape, median_zooms_mm: towards right, anterior and superior.
        spleen_intensity: percentiles by their rank, such as '50'; empty without any spleen.
        spleen_volume_ml: 'minimum', 'median' and 'maximum'; empty without any spleen.
        window, pixel_mm, image_size, depth, batch_size: see Plan.
    """

    modality: ModelModality
    cases: int
    plane: Plane
    median_shape: tuple[int, ...]
    median_zooms_mm: tuple[float, ...]
    spleen_intensity: dict[str, float]
    spleen_volume_ml: dict[str, float]
    window: tuple[float, float]
    pixel_mm: tuple[float, float]
    image_size: tuple[int, int]
    depth: int
    batch_size: int


class Plan(msgspec.Struct, frozen=True):
    """What a training takes from a fingerprint, by the names of its flags.

    Attributes:
        pixel_mm: of the network's grid: row spacing and column spacing, or one number for both.
        window: HU for CT, else percentiles of the volume.
        image_size: rows and columns of a training's images, or one number for both.
        depth: how often the network halves the resolution; None where an older file says nothing.
        batch_size: slices per step; None likewise.
        plane, modality: that the plan is for; None where a file by hand says nothing.
    """

    pixel_mm: tuple[float, ...]
    window: tuple[float, float]
    image_size: tuple[int, ...]
    depth: int | None = None
    batch_size: int | None = None
    plane: Plane | None = None
    modality: ModelModality | None = None


class _WrittenPlan(msgspec.Struct, frozen=True):
    """A Plan as it may stand in a file: one number stands for rows and columns."""

    pixel_mm: tuple[float, ...] | float
    window: tuple[float, float]
    image_size: tuple[int, ...] | int
    depth: int | None = None
    batch_size: int | None = None
    plane: Plane | None = None
    modality: ModelModality | None = None


def propose(profiles: Sequence[CaseProfile], plane: Plane) -> Fingerprint:
    """What the cases have in common, and the plan that follows for a plane.

    The plan follows rules, after nnU-Net's manner (Isensee et al., 2021): columns of a pixel_mm
    that puts 128 of them across the median field of view, no finer than the slices are; rows of
    the same, or up to 1.6 times that where the slices are coarser; an image_size of nine tenths
    of the field of view; as many halvings as leave 4 pixels per side, at most 4; a batch of about
    112,000 pixels. The window is, for CT, the spleens' 0.5th to 99.5th percentile and half
    of that range on both sides; for MR, whose units mean nothing, the volume's own percentiles.

    Args:
        profiles: of at least one case.
        plane: whose slices are planned for.
    """
    modalities = {profile.modality for profile in profiles}
    modality: ModelModality = "any" if len(modalities) > 1 else profiles[0].modality
    values = np.concatenate([profile.spleen_values for profile in profiles])
    volumes_ml = [profile.spleen_mm3 / 1000 for profile in profiles if profile.spleen_mm3]
    shapes, zooms = zip(*(_in_ras(profile) for profile in profiles), strict=True)
    pixel_mm, image_size, depth, batch_size = _grid(profiles, plane)
    return Fingerprint(
        modality=modality,
        cases=len(profiles),
        plane=plane,
        median_shape=tuple(np.median(shapes, axis=0).round().astype(int).tolist()),
        median_zooms_mm=tuple(np.median(zooms, axis=0).round(4).tolist()),
        spleen_intensity=_intensity(values),
        spleen_volume_ml=_volume_ml(volumes_ml),
        window=_window(modality, values),
        pixel_mm=pixel_mm,
        image_size=image_size,
        depth=depth,
        batch_size=batch_size,
    )


def read(path: str | os.PathLike[str]) -> Plan:
    """What a fingerprint.json proposes to a training.

    Raises:
        InputError: if it proposes nothing, or something else.
    """
    plan = files.read_record(path, _WrittenPlan, _REMEDY)
    size = plan.image_size
    return Plan(
        pixel_mm=plan.pixel_mm if isinstance(plan.pixel_mm, tuple) else (plan.pixel_mm,),
        window=plan.window,
        image_size=size if isinstance(size, tuple) else (size,),
        depth=plan.depth,
        batch_size=plan.batch_size,
        plane=plan.plane,
        modality=plan.modality,
    )


def _intensity(values: NDArray[Any]) -> dict[str, float]:
    if not values.size:
        return {}
    percentiles = np.percentile(values, PERCENTILES).tolist()
    return {f"{q:g}": value for q, value in zip(PERCENTILES, percentiles, strict=True)}


def _volume_ml(volumes_ml: Sequence[float]) -> dict[str, float]:
    if not volumes_ml:
        return {}
    median = float(np.median(volumes_ml))
    measured = {"minimum": min(volumes_ml), "median": median, "maximum": max(volumes_ml)}
    return {name: round(value, 2) for name, value in measured.items()}


def _in_ras(profile: CaseProfile) -> tuple[list[int], list[float]]:
    """Shape and zooms towards right, anterior and superior."""
    zooms = zooms_mm(profile.affine)
    superior, anterior, right = planes.layout_of(profile.affine, "axial").axes
    order = (right, anterior, superior)
    return [profile.shape[axis] for axis in order], [float(zooms[axis]) for axis in order]


def _window(modality: ModelModality, values: NDArray[Any]) -> tuple[float, float]:
    if modality != "CT" or not values.size:
        return intensity.CT_HU if modality == "CT" else intensity.MR_PERCENTILES
    low, high = np.percentile(values, (PERCENTILES[0], PERCENTILES[-1]))
    margin = _WINDOW_MARGIN * (high - low)
    edges = np.array([low - margin, high + margin]) / _WINDOW_STEP_HU
    return float(np.floor(edges[0]) * _WINDOW_STEP_HU), float(np.ceil(edges[1]) * _WINDOW_STEP_HU)


def _grid(
    profiles: Sequence[CaseProfile], plane: Plane
) -> tuple[tuple[float, float], tuple[int, int], int, int]:
    """pixel_mm, image_size, depth and batch_size."""
    native = np.median([planes.pixel_mm(profile.affine, plane) for profile in profiles], axis=0)
    fields_mm = []
    for profile in profiles:
        axes = planes.layout_of(profile.affine, plane).axes[1:]
        fields_mm.append(
            [profile.shape[axis] for axis in axes] * planes.pixel_mm(profile.affine, plane)
        )
    field_mm = np.median(fields_mm, axis=0)
    finest = max(float(native.min()), float(field_mm.max()) / _PIXELS_ACROSS)
    pixel_mm = np.clip(native, finest, _MOST_ANISOTROPY * finest).round(2)
    pixels = field_mm / pixel_mm
    depth = int(np.clip(np.log2(pixels.min() / _LEAST_AT_BOTTOM), 1, _MOST_DEPTH))
    multiple = 2**depth
    size = np.maximum(1, np.round(_CROPPED_SHARE * pixels / multiple)).astype(int) * multiple
    batch_size = int(np.clip(round(_PIXELS_PER_BATCH / size.prod()), 2, 64))
    (row_mm, column_mm), (rows, columns) = pixel_mm.tolist(), size.tolist()
    return (row_mm, column_mm), (rows, columns), depth, batch_size
