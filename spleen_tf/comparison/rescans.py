"""Rescans of unchanged patients, simulated: how often a comparison calls one of them changed.

A rescan is the same volume on another grid (pixels, slice thickness, field of view), after the
patient moved, with new noise. What changes between it and the original is measurement alone.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt
from scipy import ndimage

from spleen_tf.comparison import change
from spleen_tf.comparison.family_error import FamilyError
from spleen_tf.comparison.timepoints import TimePoint
from spleen_tf.imaging import body, intensity, registration
from spleen_tf.imaging.registration import Rigid
from spleen_tf.imaging.volume import Grid, Volume

_DEGREES = 3.0  # About each axis.
_TABLE_MM = 30.0  # Along each axis: the patient in the scanner.
_FIELD_MM = 5.0  # Along each axis: the field of view about the patient.
_PIXEL_FACTORS = (0.85, 1.25)
_SLICE_FACTORS = (0.75, 1.6)
_NOISE_HU = (8.0, 20.0)
_NOISE_SHARE = (0.01, 0.03)  # Of the contrast of MR.
_GAIN = (0.8, 1.25)  # Of MR, whose units are the scanner's own.
_CONTRAST_PERCENTILES = (0.5, 99.5)


@dataclasses.dataclass(frozen=True, eq=False)
class Rescan:
    """A simulated second examination.

    Attributes:
        image: the volume.
        movement: from places in it to those of the same tissue in the original.
    """

    image: Volume
    movement: Rigid


class Examination(msgspec.Struct, frozen=True):
    """What the family found in the original or a rescan.

    Attributes:
        volume_ml: of the mask.
        complete: False where the mask touches the edge of its image; None for an empty mask.
    """

    volume_ml: float
    complete: bool | None


class Alignment(msgspec.Struct, frozen=True, kw_only=True):
    """How well a known movement was found.

    Attributes:
        rescan: its number, from 1.
        mean_mm, max_mm: distances, over the body, of where a voxel goes and where it belongs.
    """

    rescan: int
    mean_mm: float
    max_mm: float


class Measured(msgspec.Struct, frozen=True, kw_only=True):
    """One patient of a study.

    Attributes:
        case: its name.
        examinations: of the original, then of each rescan.
        alignments: of the rescans that were registered to the original.
    """

    case: str
    examinations: tuple[Examination, ...]
    alignments: tuple[Alignment, ...] = ()


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """Two examinations of an unchanged patient, compared.

    Attributes:
        case: the patient.
        before, after: the number of the rescan, 0 for the original.
        before_ml, after_ml: the volumes that the family found.
        change_percent: of the earlier volume; None where that is empty.
        beyond_limits: whether the change was called one; None where it was not judged.
    """

    case: str
    before: int
    after: int
    before_ml: float
    after_ml: float
    change_percent: float | None
    beyond_limits: bool | None


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What a study of rescans found.

    Attributes:
        cases, pairs: how many there were.
        not_judged: pairs with an empty mask, or one that touches the edge of its image.
        beyond_limits: pairs of the others that were called changed, each of them wrongly.
        beyond_percent: the same, as a percentage of the pairs that were judged.
        limits_percent: the limits of agreement that judged them.
        repeatability_percent: 1.96 √2 times the SD within patients of the logarithm of the volume,
            in percent: what rescans alone differ by in 19 of 20 pairs.
        largest_percent: the largest change of a pair that was judged.
        alignment_mean_mm, alignment_worst_mm: the mean over rescans of the mean error over the
            body, and the largest such mean; None where nothing was registered.
    """

    cases: int
    pairs: int
    not_judged: int
    beyond_limits: int
    beyond_percent: float | None
    limits_percent: tuple[float, float]
    repeatability_percent: float | None
    largest_percent: float | None
    alignment_mean_mm: float | None
    alignment_worst_mm: float | None


def simulate(image: Volume, rng: np.random.Generator) -> Rescan:
    """A second examination of the same patient.

    Args:
        image: CT or MR.
        rng: what differs is drawn from it.
    """
    center_mm = (image.affine @ [*((np.array(image.shape) - 1) / 2), 1.0])[:3]
    turn_radians = np.radians(rng.uniform(-_DEGREES, _DEGREES, 3))
    shift_mm = rng.uniform(-_TABLE_MM, _TABLE_MM, 3)
    movement = Rigid.about(center_mm, turn_radians, shift_mm)
    grid = _grid(image, np.linalg.inv(movement.matrix), center_mm, rng)
    array_ijk = _thick(image, grid)
    air = float(image.array_ijk.min())
    moved = dataclasses.replace(image, array_ijk=array_ijk)
    array_ijk = registration.resampled(moved, grid, movement, outside=air)
    is_ct = (image.modality or intensity.guessed_modality(image.array_ijk)) == "CT"
    noisy = _with_noise(array_ijk, is_ct, rng)
    source = f"rescan of {image.source}"
    return Rescan(Volume(noisy, grid.affine, source, modality=image.modality), movement)


def pairs(measured: Measured, error: FamilyError | None) -> list[Pair]:
    """Every two examinations of an unchanged patient, compared.

    Args:
        measured: the patient.
        error: of the family that measured.
    """
    points = [TimePoint("", one.volume_ml, one.complete) for one in measured.examinations]
    compared = []
    for before, after in itertools.combinations(range(len(points)), 2):
        changed = change.compare(measured.case, points[before], points[after], error)
        compared.append(
            Pair(
                case=measured.case,
                before=before,
                after=after,
                before_ml=changed.before_ml,
                after_ml=changed.after_ml,
                change_percent=changed.change_percent,
                beyond_limits=changed.beyond_limits,
            )
        )
    return compared


def alignment(rescan: int, found: Rigid, simulated: Rescan) -> Alignment:
    """How far a registration that was found is from the movement that was made."""
    patient = body.find(simulated.image)
    places = np.argwhere(patient.array_ijk)
    places_mm = patient.affine @ np.vstack([places.T, np.ones(len(places))])
    apart = ((found.matrix - simulated.movement.matrix) @ places_mm)[:3]
    distances_mm = np.linalg.norm(apart, axis=0)
    return Alignment(
        rescan=rescan,
        mean_mm=float(distances_mm.mean()),
        max_mm=float(distances_mm.max()),
    )


def figures(
    compared: Sequence[Pair],
    alignments: Sequence[Alignment],
    limits_percent: tuple[float, float],
) -> Figures:
    """The figures of a study.

    Args:
        compared: all pairs, of one case or more.
        alignments: of the registrations, if there were any.
        limits_percent: what judged the pairs.
    """
    judged = [pair for pair in compared if pair.beyond_limits is not None]
    percents = [pair.change_percent for pair in judged if pair.change_percent is not None]
    beyond = sum(pair.beyond_limits is True for pair in judged)
    means_mm = [one.mean_mm for one in alignments]
    return Figures(
        cases=len({pair.case for pair in compared}),
        pairs=len(compared),
        not_judged=len(compared) - len(judged),
        beyond_limits=beyond,
        beyond_percent=100 * beyond / len(judged) if judged else None,
        limits_percent=limits_percent,
        repeatability_percent=_repeatability_percent(percents),
        largest_percent=max(percents, key=abs) if percents else None,
        alignment_mean_mm=float(np.mean(means_mm)) if means_mm else None,
        alignment_worst_mm=max(means_mm) if means_mm else None,
    )


def _repeatability_percent(percents: Sequence[float]) -> float | None:
    """1.96 times the root mean square of ln(after / before), which is √2 SD within patients."""
    if not percents:
        return None
    logs = np.log1p(np.array(percents) / 100)
    return 100 * math.expm1(1.96 * float(np.sqrt(np.mean(logs**2))))


def _grid(
    image: Volume,
    to_rescan: npt.NDArray[np.float64],
    center_mm: npt.NDArray[np.float64],
    rng: np.random.Generator,
) -> Grid:
    """Other voxels over a field of view of the same size, about where the patient lies now."""
    factors = np.full(3, rng.uniform(*_PIXEL_FACTORS))
    factors[int(np.argmax(image.zooms_mm))] = rng.uniform(*_SLICE_FACTORS)
    shape = np.maximum(2, np.rint(np.array(image.shape) / factors)).astype(int)
    affine = image.affine @ np.diag([*factors, 1.0])
    middle_mm = (to_rescan @ [*center_mm, 1.0])[:3] + rng.uniform(-_FIELD_MM, _FIELD_MM, 3)
    affine[:3, 3] = middle_mm - affine[:3, :3] @ ((shape - 1) / 2)
    return Grid(tuple(shape.tolist()), affine)


def _thick(image: Volume, grid: Grid) -> npt.NDArray[np.float32]:
    """The voxels, blurred as those of a coarser grid are, which average over their size."""
    factors = grid.zooms_mm / image.zooms_mm
    sigmas = np.sqrt(
        np.maximum(factors**2 - 1, 0) / 12
    )  # The variance of a box of width 1 is 1/12.
    blurred: npt.NDArray[np.float32] = ndimage.gaussian_filter(
        image.array_ijk.astype(np.float32), sigmas
    )
    return blurred


def _with_noise(
    array_ijk: npt.NDArray[np.float32], is_ct: bool, rng: np.random.Generator
) -> npt.NDArray[np.float32]:
    """Of CT in Hounsfield units; of MR in shares of the contrast, with another gain."""
    low, high = np.percentile(array_ijk, _CONTRAST_PERCENTILES)
    sd = rng.uniform(*_NOISE_HU) if is_ct else rng.uniform(*_NOISE_SHARE) * (high - low)
    noisy = array_ijk + rng.standard_normal(array_ijk.shape, np.float32) * np.float32(sd)
    return noisy if is_ct else np.abs(noisy) * np.float32(rng.uniform(*_GAIN))
