"""What a mask measures, and what a prediction shows of its own quality."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from spleen_tf.imaging import masks
from spleen_tf.imaging.volume import Volume
from spleen_tf.quality import dimensions

# Of a larger mask, which no spleen fills, percentiles are those of every nth voxel.
_MOST_SORTED_VOXELS = 4_000_000
# Of each value of a byte.
_BITS_SET = np.unpackbits(np.arange(256, dtype=np.uint8)[:, np.newaxis], axis=1).sum(
    axis=1, dtype=np.uint8
)


class Intensity(msgspec.Struct, frozen=True, kw_only=True):
    """The intensities of a mask's voxels, in the volume's units (HU on CT).

    Attributes:
        mean, sd, median: of all voxels; sd is that of these voxels, divided by their number.
        p5, p95: the 5th and the 95th percentile, with linear interpolation.
    """

    mean: float
    sd: float
    median: float
    p5: float
    p95: float


class Measurements(msgspec.Struct, frozen=True, kw_only=True):
    """Volume, size, place and intensity of a mask. What an empty mask does not have is None.

    Attributes:
        volume_ml, volume_mm3: the volume of all voxels.
        voxels: how many there are.
        length_mm, width_mm, thickness_mm: see `dimensions.Dimensions`.
        splenic_index_ml: length × width × thickness.
        bounding_box_ijk: first and last voxel index along i, j, k, inclusive.
        centroid_ras_mm: the mean place of the voxels' centres.
        complete: False where the mask touches the array's edge; the volume is a lower bound then.
        mean_intensity: in the volume's units; also in `intensity`, which files before 0.3 lack.
        intensity: of the voxels.
    """

    volume_ml: float
    volume_mm3: float
    voxels: int
    length_mm: float | None = None
    width_mm: float | None = None
    thickness_mm: float | None = None
    splenic_index_ml: float | None = None
    bounding_box_ijk: tuple[tuple[int, int], ...] | None
    centroid_ras_mm: tuple[float, float, float] | None
    complete: bool | None
    mean_intensity: float | None
    intensity: Intensity | None = None


class Agreement(NamedTuple):
    """How well views agree.

    Attributes:
        mean: the mean Dice between two of them; 1 with a single one.
        weakest: the lowest Dice of one with the result.
    """

    mean: float
    weakest: float


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What a prediction shows of its own quality; all but brightness from 0 (trouble) to 1 (none).

    Attributes:
        certainty: the Dice to expect if each voxel were spleen with its probability.
        agreement: mean Dice between two views; 1 with a single view.
        weakest: lowest Dice of a view with the result.
        main_share: the result's share of all voxels above the threshold.
        smoothness: 1 less the largest change of the area between two slices of the stack (the
            axis of the widest spacing), as a share of the largest area.
        brightness: the mean intensity inside, as the network sees it. A calibration compares it
            with the spleens that it was made of.
    """

    certainty: float
    agreement: float
    weakest: float
    main_share: float
    smoothness: float
    brightness: float


def measure(image: Volume, mask_ijk: npt.NDArray[np.bool_]) -> Measurements:
    """Measures a mask.

    Args:
        image: the volume that it was found in.
        mask_ijk: (I, J, K) bool.
    """
    voxels = int(np.count_nonzero(mask_ijk))
    volume_mm3 = voxels * image.voxel_mm3
    box = masks.bounding_box(mask_ijk)
    if box is None:
        return Measurements(
            volume_ml=volume_mm3 / 1000,
            volume_mm3=volume_mm3,
            voxels=voxels,
            bounding_box_ijk=None,
            centroid_ras_mm=None,
            complete=None,
            mean_intensity=None,
        )
    x_mm, y_mm, z_mm = (image.affine @ [*_centroid_ijk(mask_ijk, box, voxels), 1.0])[:3].tolist()
    extent = dimensions.measure(mask_ijk, image.affine)
    intensity = _intensity(image.array_ijk[box], mask_ijk[box], voxels)
    return Measurements(
        volume_ml=volume_mm3 / 1000,
        volume_mm3=volume_mm3,
        voxels=voxels,
        length_mm=extent.length_mm,
        width_mm=extent.width_mm,
        thickness_mm=extent.thickness_mm,
        splenic_index_ml=extent.splenic_index_ml,
        bounding_box_ijk=tuple((side.start, side.stop - 1) for side in box),
        centroid_ras_mm=(x_mm, y_mm, z_mm),
        complete=all(
            side.start > 0 and side.stop < size
            for side, size in zip(box, mask_ijk.shape, strict=True)
        ),
        mean_intensity=intensity.mean,
        intensity=intensity,
    )


def _centroid_ijk(
    mask_ijk: npt.NDArray[np.bool_], box: tuple[slice, ...], voxels: int
) -> list[float]:
    centroid_ijk = []
    for axis, side in enumerate(box):
        others = tuple(other for other in range(3) if other != axis)
        counts = np.count_nonzero(mask_ijk[box], axis=others)
        centroid_ijk.append(float(counts @ np.arange(side.start, side.stop) / voxels))
    return centroid_ijk


def _intensity(
    array_ijk: npt.NDArray[Any], mask_ijk: npt.NDArray[np.bool_], voxels: int
) -> Intensity:
    """A slice at a time: a copy of all voxels inside could be as large as the volume."""
    step = math.ceil(voxels / _MOST_SORTED_VOXELS)
    mean = sum(float(v.sum(dtype=np.float64)) for v in _slices(array_ijk, mask_ijk)) / voxels
    squares, sample = 0.0, []
    for values in _slices(array_ijk, mask_ijk):
        squares += float(np.square(values - np.float64(mean)).sum())
        sample.append(values[::step])
    p5, median, p95 = np.percentile(np.concatenate(sample).astype(float), (5, 50, 95)).tolist()
    return Intensity(mean=mean, sd=math.sqrt(squares / voxels), median=median, p5=p5, p95=p95)


def _slices(
    array_ijk: npt.NDArray[Any], mask_ijk: npt.NDArray[np.bool_]
) -> Iterator[npt.NDArray[Any]]:
    """The values inside the mask, slice by slice."""
    slices = zip(np.moveaxis(array_ijk, -1, 0), np.moveaxis(mask_ijk, -1, 0), strict=True)
    return (array_ij[mask_ij] for array_ij, mask_ij in slices)


def agreement(result: npt.NDArray[np.bool_], views: Iterable[npt.NDArray[np.bool_]]) -> Agreement:
    """How well views agree with one another, and with the result; arrays of one shape."""
    result_bits, views_bits = np.packbits(result), [np.packbits(view) for view in views]
    pairs = [_dice(a, b) for a, b in itertools.combinations(views_bits, 2)]
    return Agreement(
        mean=float(np.mean(pairs)) if pairs else 1.0,
        weakest=min((_dice(result_bits, view_bits) for view_bits in views_bits), default=1.0),
    )


def agreement_around(
    mask_ijk: npt.NDArray[np.bool_], views_ijk: Iterable[npt.NDArray[np.bool_]]
) -> Agreement:
    """How well views agree near the result, half of its length on each side.

    What a view finds further off, fusion and the largest component drop.

    Args:
        mask_ijk: (I, J, K) bool, the result, which is not empty.
        views_ijk: the mask of each view of each member, (I, J, K) bool.
    """
    box = masks.bounding_box(mask_ijk)
    assert box is not None
    around = masks.surroundings(box)
    return agreement(mask_ijk[around], (view_ijk[around] for view_ijk in views_ijk))


def collect(
    image: Volume,
    window: Sequence[float],
    probability_ijk: npt.NDArray[Any],
    mask_ijk: npt.NDArray[np.bool_],
    agreement: Agreement,
    voxels_above: int,
) -> Evidence | None:
    """The evidence that a prediction gives; None for an empty mask.

    Only the surroundings of the result count, half of its length on each side.

    Args:
        image: the volume.
        window: the intensities that the network sees as 0 and 1.
        probability_ijk: (I, J, K) floating point.
        mask_ijk: (I, J, K) bool, the result.
        agreement: of the views of the members.
        voxels_above: voxels above the threshold in the whole volume.
    """
    box = masks.bounding_box(mask_ijk)
    if box is None:
        return None
    around = masks.surroundings(box)
    mask, p = mask_ijk[around], probability_ijk[around]
    voxels = int(np.count_nonzero(mask))
    mean_intensity = float(image.array_ijk[around][mask].mean(dtype=np.float64))
    return Evidence(
        certainty=float(2 * p[mask].sum(dtype=np.float64) / (p.sum(dtype=np.float64) + voxels)),
        agreement=agreement.mean,
        weakest=agreement.weakest,
        main_share=min(1.0, voxels / max(1, voxels_above)),
        smoothness=_smoothness(mask, int(np.argmax(image.zooms_mm))),
        brightness=float((mean_intensity - window[0]) / max(window[1] - window[0], 1e-6)),
    )


def nested_ml(
    image: Volume,
    probability_ijk: npt.NDArray[Any],
    mask_ijk: npt.NDArray[np.bool_],
    threshold: float,
) -> tuple[float, float] | None:
    """The volume within a mask, and around it, at a stricter and at a looser threshold.

    These lie half way from the threshold to 1 and to 0. Of what the looser one finds, the largest
    component in the mask's surroundings counts.

    Args:
        image: the volume.
        probability_ijk: (I, J, K) floating point.
        mask_ijk: (I, J, K) bool, the result at the threshold.
        threshold: the probability from which a voxel is spleen.

    Returns:
        None for an empty mask.
    """
    box = masks.bounding_box(mask_ijk)
    if box is None:
        return None
    around = masks.surroundings(box)
    mask, p = mask_ijk[around], probability_ijk[around]
    inner = np.count_nonzero(p[mask] >= (threshold + 1) / 2)
    looser = masks.at_least(p, threshold / 2)
    looser[mask] = True
    outer = np.count_nonzero(masks.largest_component(looser))
    return inner * image.voxel_mm3 / 1000, outer * image.voxel_mm3 / 1000


def _smoothness(mask_ijk: npt.NDArray[np.bool_], stack_axis: int) -> float:
    areas = np.count_nonzero(mask_ijk, axis=tuple({0, 1, 2} - {stack_axis}))
    steps = np.abs(np.diff(areas, prepend=0, append=0))
    return 1.0 - float(steps.max() / areas.max())


def _dice(a_bits: npt.NDArray[np.uint8], b_bits: npt.NDArray[np.uint8]) -> float:
    """Of two masks by np.packbits; 1 if both are empty."""
    total = _count(a_bits) + _count(b_bits)
    return 2 * _count(a_bits & b_bits) / total if total else 1.0


def _count(bits: npt.NDArray[np.uint8]) -> int:
    return int(_BITS_SET[bits].sum(dtype=np.int64))
