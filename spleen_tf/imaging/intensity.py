"""Which intensities become 0 and 1: Hounsfield units for CT, percentiles of the volume for MR."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Modality = Literal["CT", "MR"]
MODALITIES: tuple[Modality, ...] = ("CT", "MR")
ModelModality = Literal["CT", "MR", "any"]

CT_HU = (-160.0, 240.0)  # The abdominal soft tissue window: level 40, width 400.
MR_PERCENTILES = (0.5, 99.5)
# Those that records and fingerprints keep; a window for MR takes two of them.
PERCENTILES = (0.5, 5.0, 50.0, 95.0, 99.5)

# A model for any modality takes CT_HU for a volume in Hounsfield units, and percentiles for any
# other: percentiles of a CT depend on how much air and padding lie around the patient. A volume is
# in Hounsfield units if its LOWEST_PERCENTILE is below that of anything but air and lung; MR is
# never negative, but for scanners that store it with an offset of a few units.
LOWEST_PERCENTILE = 0.5
HOUNSFIELD_BELOW = -200.0

_SAMPLE_VOXELS = 1_000_000


def percentiles(array: NDArray[Any], q: Sequence[float] = PERCENTILES) -> NDArray[np.float32]:
    """(len(q),) float32 percentiles of all voxels, by linear interpolation as numpy has it.

    Integers are counted rather than sorted: exact, in one pass and without a float copy.
    """
    if array.dtype != np.int16:
        interpolated: NDArray[np.float32] = np.percentile(array, q).astype(np.float32)
        return interpolated
    counts = np.zeros(65536, np.int64)
    for slab in np.moveaxis(array, int(np.argmax(array.strides)), 0):
        # Order A: the voxels are counted as they lie in memory.
        counts += np.bincount(slab.reshape(-1, order="A").view(np.uint16), minlength=65536)
    cumulative = np.cumsum(np.roll(counts, 32768))
    rank = np.asarray(q) / 100.0 * (array.size - 1)
    low = np.searchsorted(cumulative, np.floor(rank), side="right") - 32768
    high = np.searchsorted(cumulative, np.ceil(rank), side="right") - 32768
    between: NDArray[np.float32] = (low + (high - low) * (rank - np.floor(rank))).astype(np.float32)
    return between


def is_hounsfield(array: NDArray[Any]) -> bool:
    """Whether a volume's lowest values are those of air in Hounsfield units."""
    return bool(percentiles(array, (LOWEST_PERCENTILE,))[0] < HOUNSFIELD_BELOW)


def guessed_modality(array_ijk: NDArray[Any]) -> Modality:
    """CT for a volume in Hounsfield units, else MR; for pictures, by a sample of the voxels."""
    return "CT" if is_hounsfield(_sample(array_ijk)) else "MR"


def default_window(array_ijk: NDArray[Any], modality: str) -> tuple[float, float]:
    """A picture's darkest and brightest value: CT_HU for CT, else MR_PERCENTILES of the volume.

    The percentiles are those of a regular sample of at most a million voxels.
    """
    if modality == "CT":
        return CT_HU
    low, high = np.percentile(_sample(array_ijk), MR_PERCENTILES)
    return float(low), float(high if high > low else low + 1)  # A constant image has no range.


def _sample(array_ijk: NDArray[Any]) -> NDArray[Any]:
    step = math.ceil((array_ijk.size / _SAMPLE_VOXELS) ** (1 / 3))
    return array_ijk[::step, ::step, ::step]
