"""What a mask says of the organ, and reasons not to take it at its word."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from spleen_tf.imaging import masks
from spleen_tf.imaging.volume import Volume

# Beyond what adults' spleens measure, splenomegaly included, a result deserves a look.
PLAUSIBLE_ML = (30.0, 3000.0)
# Mirrored slices show less than those that are right side up: on 14 held-out MR subjects, of right
# and left up to 0.5 times as much, and from 2.2 times on where the header is what is wrong; of
# front and back up to 0.4 times, and from 2.6 times on, but for a subject with a mass of a litre;
# of head and feet up to 1.4 times, and from 0.7 times on (tools/study_quality.py). Between 1.5 and
# 2.5 times, no bound misses a failure that another finds.
_MIRROR_RATIO = 1.5

# Members that agree less (a mean Dice between two of them) have not found one organ. Held-out MR
# subjects as they are have 0.78 or more, with their spleens darkened 0.31 or less.
_LEAST_AGREEMENT = 0.5

# An image has thousands of values, a mask or a map of organs few; a sample of voxels tells.
_FEW_VALUES = 32
_SAMPLED_VOXELS = 100_000

# Without a calibration, a mask that holds less of all that was found deserves a look.
_LEAST_MAIN_SHARE = 0.7


def measure(image: Volume, mask_ijk: np.ndarray) -> dict[str, Any]:
    """Volume, place and mean intensity of a mask.

    Args:
        image: the volume that it was found in.
        mask_ijk: (I, J, K) bool.

    Returns:
        JSON-ready: volume_ml, volume_mm3, voxels, bounding_box_ijk ([[first, last], …], voxel
        indices, inclusive), centroid_ras_mm, complete (False when the mask touches the array's
        edge: then the volume is a lower bound), mean_intensity. The last four are None for an
        empty mask.
    """
    voxels = int(np.count_nonzero(mask_ijk))
    mm3 = voxels * image.voxel_mm3
    measured: dict[str, Any] = {"volume_ml": mm3 / 1000, "volume_mm3": mm3, "voxels": voxels}
    box = masks.bounding_box(mask_ijk)
    if box is None:
        nothing = ("bounding_box_ijk", "centroid_ras_mm", "complete", "mean_intensity")
        return measured | dict.fromkeys(nothing)
    centroid_ijk = []
    for axis, side in enumerate(box):
        others = tuple(other for other in range(3) if other != axis)
        counts = np.count_nonzero(mask_ijk[box], axis=others)
        centroid_ijk.append(counts @ np.arange(side.start, side.stop) / voxels)
    # A slice at a time: a copy of all voxels inside could be as large as the volume.
    intensity_sum = sum(
        float(image_ij[mask_ij].sum(dtype=np.float64))
        for image_ij, mask_ij in zip(
            np.moveaxis(image.array_ijk[box], -1, 0), np.moveaxis(mask_ijk[box], -1, 0), strict=True
        )
    )
    return measured | {
        "bounding_box_ijk": [[side.start, side.stop - 1] for side in box],
        "centroid_ras_mm": (image.affine @ [*centroid_ijk, 1.0])[:3].tolist(),
        "complete": all(
            side.start > 0 and side.stop < size
            for side, size in zip(box, mask_ijk.shape, strict=True)
        ),
        "mean_intensity": intensity_sum / voxels,
    }


def signs(
    image: Volume,
    window: Sequence[float],
    probability_ijk: np.ndarray,
    mask_ijk: np.ndarray,
    views_ijk: Iterable[np.ndarray],
    voxels_above: int,
) -> dict[str, float] | None:
    """What a prediction says of itself; all but brightness between 0 (trouble) and 1 (none).

    Only the surroundings of the result count, half of its length on each side: what a view finds
    further off, fusion and the largest component drop.

    Args:
        image: the volume.
        window: the intensities that the network sees as 0 and 1.
        probability_ijk: (I, J, K) floating point.
        mask_ijk: (I, J, K) bool, the result.
        views_ijk: the mask of each view of each member, (I, J, K) bool.
        voxels_above: voxels above the threshold in the whole volume.

    Returns:
        None for an empty mask; else
        certainty: the Dice to expect if each voxel were spleen with its probability;
        agreement: mean Dice between two views; 1 with a single view;
        weakest: lowest Dice of a view with the result;
        main_share: the result's share of all voxels above the threshold;
        smoothness: 1 less the largest change of the area between two slices of the stack (the
        axis of the widest spacing), as a share of the largest area;
        brightness: the mean intensity inside, as the network sees it, which a calibration holds
        against the spleens that it knows.
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
    voxels = np.count_nonzero(mask)
    stack_axis = int(np.argmax(image.zooms_mm))
    areas = np.count_nonzero(mask, axis=tuple({0, 1, 2} - {stack_axis}))
    steps = np.abs(np.diff(areas, prepend=0, append=0))
    mean_intensity = float(image.array_ijk[around][mask].mean(dtype=np.float64))
    pairs = [_dice(a, b) for a, b in itertools.combinations(views, 2)]
    return {
        "certainty": float(2 * p[mask].sum(dtype=np.float64) / (p.sum(dtype=np.float64) + voxels)),
        "agreement": float(np.mean(pairs)) if pairs else 1.0,
        "weakest": min((_dice(mask, view) for view in views), default=1.0),
        "main_share": min(1.0, voxels / max(1, voxels_above)),
        "smoothness": 1.0 - float(steps.max() / areas.max()),
        "brightness": (mean_intensity - window[0]) / max(window[1] - window[0], 1e-6),
    }


def _dice(a: np.ndarray, b: np.ndarray) -> float:
    total = np.count_nonzero(a) + np.count_nonzero(b)
    return 2 * np.count_nonzero(a & b) / total if total else 1.0


def is_disputed(found: Mapping[str, float] | None) -> bool:
    """Whether members found nothing, or each something else.

    Args:
        found: what `signs` says.
    """
    return found is None or found["agreement"] < _LEAST_AGREEMENT


def orientation_doubts(mirrored_ml: Mapping[str, tuple[float, float]]) -> list[str]:
    """The directions in which the header seems to be wrong.

    Args:
        mirrored_ml: what `fusion.mirrored_ml` found: mL as it is, mL in the mirror.
    """
    return [
        direction
        for direction, (as_is, mirror) in mirrored_ml.items()
        if mirror > PLAUSIBLE_ML[0] and mirror > _MIRROR_RATIO * as_is
    ]


def is_on_the_right(image: Volume, centroid_ras_mm: Sequence[float]) -> bool:
    """Whether a point lies in the half of the volume that its header calls the patient's right."""
    centre_ijk = (np.array(image.shape) - 1) / 2
    return centroid_ras_mm[0] > (image.affine @ [*centre_ijk, 1.0])[0]


def is_like_a_mask(image: Volume) -> bool:
    """Whether a volume has no more different values than a mask, or a map of organs."""
    step = max(1, round((image.array_ijk.size / _SAMPLED_VOXELS) ** (1 / 3)))
    return np.unique(image.array_ijk[::step, ::step, ::step]).size <= _FEW_VALUES


def reasons_for_review(
    image: Volume,
    measured: dict[str, Any],
    predicted_dice: float | None = None,
    review_below: float = 0.0,
    doubts: Sequence[str] = (),
    foreign: str = "",
    main_share: float = 1.0,
    signs: Mapping[str, float] | None = None,
    is_second_opinion: bool = False,
) -> list[str]:
    """In words, why a person should look at a result before it is used; empty if nothing is odd.

    Args:
        image: the volume.
        measured: what `measure` says of its mask.
        predicted_dice: what a calibration expects; None: there is none.
        review_below: the calibration's bound.
        doubts: what `orientation_doubts` returned.
        foreign: that the model is for another modality, in words; '': it is not.
        main_share: the mask's share of all that was found; only looked at without a calibration,
            which knows better.
        signs: what `signs` says, where that was asked for and there is a mask.
        is_second_opinion: the mask is of models that were asked since the first did not agree.
    """
    reasons = [
        f"orientation: more spleen is found with {direction} and its opposite exchanged; is the "
        "header right?"
        for direction in doubts
    ]
    if foreign:
        reasons.append(foreign)
    if is_like_a_mask(image):
        reasons.append("the volume has no more different values than a mask: is it an image?")
    if is_second_opinion:
        reasons.append(
            "a second opinion: the models that are asked first did not agree on a spleen, those "
            "that are asked then did"
        )
    if not measured["voxels"]:
        return ["no spleen was found: absent, outside the field of view, or missed", *reasons]
    if signs is not None and is_disputed(signs):
        reasons.append(
            "the models, or the views of one, do not agree on a spleen: a mean Dice of "
            f"{signs['agreement']:.2f} between two of them"
        )
    if predicted_dice is not None and predicted_dice < review_below:
        reasons.append(
            f"a Dice of {predicted_dice:.2f} is expected, and results below {review_below:.2f} are "
            "to be looked at"
        )
    if predicted_dice is None and main_share < _LEAST_MAIN_SHARE:
        reasons.append(
            f"only {main_share:.0%} of what was found lies in one piece, and the rest was dropped"
        )
    if not measured["complete"]:
        reasons.append("the spleen touches the volume's edge: its volume is a lower bound")
    low, high = PLAUSIBLE_ML
    if not low <= measured["volume_ml"] <= high:
        reasons.append(
            f"{measured['volume_ml']:.1f} mL is outside {low:.0f} to {high:.0f} mL, what adults' "
            "spleens measure"
        )
    if is_on_the_right(image, measured["centroid_ras_mm"]):
        reasons.append("orientation: it lies in the right half of the volume; is the header right?")
    return reasons
