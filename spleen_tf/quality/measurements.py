"""What a mask measures: its volume, size and place, and the intensities in it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from spleen_tf.imaging import masks
from spleen_tf.imaging.volume import Volume
from spleen_tf.quality import dimensions

# Of a larger mask, which no spleen fills, percentiles are those of every nth voxel.
_MOST_SORTED_VOXELS = 4_000_000


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
