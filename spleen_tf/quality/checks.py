"""Reasons why a person should look at a result before it is used. Each begins with what is odd."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np

from spleen_tf.imaging.volume import Volume
from spleen_tf.quality.evidence import Evidence
from spleen_tf.quality.measurements import Measurements

Direction = Literal["right", "anterior", "superior"]

# Beyond what adults' spleens measure, splenomegaly included.
PLAUSIBLE_ML = (30.0, 3000.0)

# The volume found in mirrored slices over that in the slices as they are, on 14 held-out MR cases
# (tools/study_quality.py):
#   exchanged          header right    header wrong
#   right and left     up to 0.5       from 2.2
#   front and back     up to 0.4       from 2.6, but for a case with a mass of a litre
#   head and feet      up to 1.4       from 0.7
# Every bound between 1.5 and 2.5 finds the same failures.
_MIRROR_RATIO = 1.5
_FLIP: dict[Direction, str] = {
    "right": "left-to-right",
    "anterior": "front-to-back",
    "superior": "head-to-foot",
}

# Members that agree less (a mean Dice between two of them) have not found one organ. Held-out MR
# cases have 0.78 or more as they are, and 0.31 or less with darkened spleens.
LEAST_AGREEMENT = 0.5

# An image has thousands of values, a mask or a map of organs few. A sample of the voxels is enough.
FEW_VALUES = 32
_SAMPLED_VOXELS = 100_000

# Without a calibration, a mask that holds less of all that was found deserves a look.
_LEAST_MAIN_SHARE = 0.7

# Between fat and enhanced vessels. A CT of the abdomen has a tenth of its voxels there, or more; an
# MR whose values were shifted far below zero has almost none.
SOFT_TISSUE_HU = (-200.0, 300.0)
_LEAST_SOFT_TISSUE_SHARE = 0.001


def reasons_for_review(
    image: Volume,
    measurements: Measurements,
    *,
    predicted_dice: float | None = None,
    review_below: float = 0.0,
    flipped: Sequence[Direction] = (),
    modality_doubt: str | None = None,
    place_doubt: str | None = None,
    main_share: float = 1.0,
    evidence: Evidence | None = None,
    is_second_opinion: bool = False,
) -> list[str]:
    """Why a person should look at a result before it is used; empty if nothing is odd.

    Args:
        image: the volume.
        measurements: of the mask.
        predicted_dice: what a calibration expects; None: there is none.
        review_below: the calibration's bound.
        flipped: what `flipped_directions` returned.
        modality_doubt: why the volume may be of another modality than it was taken for.
        place_doubt: why the spleen may have been looked for in the wrong place.
        main_share: the mask's share of all that was found. It only counts without a calibration,
            which takes account of it.
        evidence: of the prediction, where it was collected and there is a mask.
        is_second_opinion: the mask is that of the fallback models.
    """
    reasons = [
        f"orientation: the model finds more spleen in the {_FLIP[direction]} flipped image; check "
        "the header"
        for direction in flipped
    ]
    if modality_doubt:
        reasons.append(f"modality: {modality_doubt}")
    if image.geometry_doubt:
        reasons.append(f"geometry: {image.geometry_doubt}")
    if place_doubt:
        reasons.append(place_doubt)
    if is_like_a_mask(image):
        reasons.append("intensities: the volume has as few values as a mask; check the input file")
    if is_second_opinion:
        reasons.append("the primary models disagreed; this is the fallback models' result")
    if not measurements.voxels:
        return ["no spleen was found: absent, outside the field of view, or missed", *reasons]
    if evidence is not None and is_disputed(evidence):
        reasons.append(
            f"the models disagree: a mean Dice of {evidence.agreement:.2f} between two of them, or "
            "between two views of one"
        )
    if predicted_dice is not None and predicted_dice < review_below:
        reasons.append(f"low predicted Dice: {predicted_dice:.2f}, below {review_below:.2f}")
    if predicted_dice is None and main_share < _LEAST_MAIN_SHARE:
        reasons.append(
            f"several pieces: the largest holds {main_share:.0%} of what was found; the others "
            "were removed"
        )
    return [*reasons, *_implausible(image, measurements)]


def _implausible(image: Volume, measurements: Measurements) -> list[str]:
    reasons = []
    if not measurements.complete:
        reasons.append("the spleen touches the edge of the volume: its volume is a lower bound")
    low_ml, high_ml = PLAUSIBLE_ML
    if not low_ml <= measurements.volume_ml <= high_ml:
        reasons.append(
            f"unusual size: {measurements.volume_ml:.1f} mL is outside {low_ml:.0f} to "
            f"{high_ml:.0f} mL, the range of adult spleens"
        )
    centroid = measurements.centroid_ras_mm
    if centroid is not None and is_on_the_right(image, centroid):
        reasons.append(
            "orientation: the spleen lies in the right half of the volume; check the header"
        )
    return reasons


def is_disputed(evidence: Evidence | None) -> bool:
    """Whether members found nothing (None), or each something else."""
    return evidence is None or evidence.agreement < LEAST_AGREEMENT


def flipped_directions(mirrored_ml: Mapping[Direction, tuple[float, float]]) -> list[Direction]:
    """The directions in which the header seems to be wrong.

    Args:
        mirrored_ml: by direction, mL found in the slices as they are, and in their mirror images.
    """
    return [
        direction
        for direction, (as_is, mirror) in mirrored_ml.items()
        if mirror > PLAUSIBLE_ML[0] and mirror > _MIRROR_RATIO * as_is
    ]


def is_on_the_right(image: Volume, centroid_ras_mm: Sequence[float]) -> bool:
    """Whether a point lies in the half of the volume that its header calls the patient's right."""
    center_ijk = (np.array(image.shape) - 1) / 2
    return bool(centroid_ras_mm[0] > (image.affine @ [*center_ijk, 1.0])[0])


def is_like_a_mask(image: Volume) -> bool:
    """Whether a volume has no more different values than a mask, or a map of organs."""
    step = max(1, round((image.array_ijk.size / _SAMPLED_VOXELS) ** (1 / 3)))
    return bool(np.unique(image.array_ijk[::step, ::step, ::step]).size <= FEW_VALUES)


def lacks_soft_tissue(image: Volume) -> bool:
    """Whether a CT has next to no voxel in SOFT_TISSUE_HU, as no CT of a body can."""
    low_hu, high_hu = SOFT_TISSUE_HU
    slowest = int(np.argmax(np.abs(image.array_ijk.strides)))
    # A slab at a time: a comparison of all voxels would take the memory of a mask.
    inside = sum(
        int(np.count_nonzero((slab > low_hu) & (slab < high_hu)))
        for slab in np.moveaxis(image.array_ijk, slowest, 0)
    )
    return inside < _LEAST_SOFT_TISSUE_SHARE * image.array_ijk.size
