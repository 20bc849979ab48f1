"""What a mask measures, and what a prediction shows of its own quality."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from spleen_tf.imaging import masks
from spleen_tf.imaging.volume import Volume


class Measurements(msgspec.Struct, frozen=True, kw_only=True):
    """Volume, place and mean intensity of a mask. The last four are None for an empty mask.

    Attributes:
        volume_ml, volume_mm3: the volume of all voxels.
        voxels: how many there are.
        bounding_box_ijk: first and last voxel index along i, j, k, inclusive.
        centroid_ras_mm: the mean place of the voxels' centres.
        complete: False where the mask touches the array's edge; the volume is a lower bound then.
        mean_intensity: in the volume's units.
    """

    volume_ml: float
    volume_mm3: float
    voxels: int
    bounding_box_ijk: tuple[tuple[int, int], ...] | None
    centroid_ras_mm: tuple[float, float, float] | None
    complete: bool | None
    mean_intensity: float | None


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
    return Measurements(
        volume_ml=volume_mm3 / 1000,
        volume_mm3=volume_mm3,
        voxels=voxels,
        bounding_box_ijk=tuple((side.start, side.stop - 1) for side in box),
        centroid_ras_mm=(x_mm, y_mm, z_mm),
        complete=all(
            side.start > 0 and side.stop < size
            for side, size in zip(box, mask_ijk.shape, strict=True)
        ),
        mean_intensity=_intensity_sum(image.array_ijk[box], mask_ijk[box]) / voxels,
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


def _intensity_sum(array_ijk: npt.NDArray[Any], mask_ijk: npt.NDArray[np.bool_]) -> float:
    """A slice at a time: a copy of all voxels inside could be as large as the volume."""
    slices = zip(np.moveaxis(array_ijk, -1, 0), np.moveaxis(mask_ijk, -1, 0), strict=True)
    return sum(float(array_ij[mask_ij].sum(dtype=np.float64)) for array_ij, mask_ij in slices)


def collect(
    image: Volume,
    window: Sequence[float],
    probability_ijk: npt.NDArray[Any],
    mask_ijk: npt.NDArray[np.bool_],
    views_ijk: Iterable[npt.NDArray[np.bool_]],
    voxels_above: int,
) -> Evidence | None:
    """The evidence that a prediction gives; None for an empty mask.

    Only the surroundings of the result count, half of its length on each side: what a view finds
    further off, fusion and the largest component drop.

    Args:
        image: the volume.
        window: the intensities that the network sees as 0 and 1.
        probability_ijk: (I, J, K) floating point.
        mask_ijk: (I, J, K) bool, the result.
        views_ijk: the mask of each view of each member, (I, J, K) bool.
        voxels_above: voxels above the threshold in the whole volume.
    """
    box = masks.bounding_box(mask_ijk)
    if box is None:
        return None
    around = tuple(
        slice(max(0, side.start - margin), side.stop + margin)
        for side in box
        for margin in [(side.stop - side.start) // 2]
    )
    mask, p = mask_ijk[around], probability_ijk[around].astype(np.float32)
    views = [view_ijk[around].copy() for view_ijk in views_ijk]
    voxels = int(np.count_nonzero(mask))
    mean_intensity = float(image.array_ijk[around][mask].mean(dtype=np.float64))
    pairs = [_dice(a, b) for a, b in itertools.combinations(views, 2)]
    return Evidence(
        certainty=float(2 * p[mask].sum(dtype=np.float64) / (p.sum(dtype=np.float64) + voxels)),
        agreement=float(np.mean(pairs)) if pairs else 1.0,
        weakest=min((_dice(mask, view) for view in views), default=1.0),
        main_share=min(1.0, voxels / max(1, voxels_above)),
        smoothness=_smoothness(mask, int(np.argmax(image.zooms_mm))),
        brightness=float((mean_intensity - window[0]) / max(window[1] - window[0], 1e-6)),
    )


def _smoothness(mask_ijk: npt.NDArray[np.bool_], stack_axis: int) -> float:
    areas = np.count_nonzero(mask_ijk, axis=tuple({0, 1, 2} - {stack_axis}))
    steps = np.abs(np.diff(areas, prepend=0, append=0))
    return 1.0 - float(steps.max() / areas.max())


def _dice(a: npt.NDArray[Any], b: npt.NDArray[Any]) -> float:
    total = np.count_nonzero(a) + np.count_nonzero(b)
    return float(2 * np.count_nonzero(a & b) / total) if total else 1.0
