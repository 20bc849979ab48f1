"""Which intensities become 0 and 1: Hounsfield units for CT, percentiles of the volume for MR."""

from __future__ import annotations

from typing import Literal

Modality = Literal["CT", "MR"]
ModelModality = Literal["CT", "MR", "any"]

CT_HU = (-160.0, 240.0)  # The abdominal soft tissue window: level 40, width 400.
MR_PERCENTILES = (0.5, 99.5)

# A model for any modality takes CT_HU for a volume in Hounsfield units, and percentiles for any
# other: percentiles of a CT depend on how much air and padding lie around the patient. A volume is
# in Hounsfield units if its LOWEST_PERCENTILE is below that of anything but air and lung; MR is
# never negative, but for scanners that store it with an offset of a few units.
LOWEST_PERCENTILE = 0.5
HOUNSFIELD_BELOW = -200.0


def is_hounsfield(lowest: float) -> bool:
    """Whether a volume, by its LOWEST_PERCENTILE, is in Hounsfield units."""
    return bool(lowest < HOUNSFIELD_BELOW)
