"""What a mask says of the organ, and reasons not to take it at its word."""

from __future__ import annotations

from typing import Any

import numpy as np

from spleen_tf import postprocess
from spleen_tf.volume import Volume

# Beyond what adults' spleens measure, splenomegaly included, a result deserves a look.
PLAUSIBLE_ML = (30.0, 3000.0)


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
    box = postprocess.bounding_box(mask_ijk)
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


def reasons_for_review(image: Volume, measured: dict[str, Any]) -> list[str]:
    """In words, why a person should look at a result before it is used; empty if nothing is odd.

    Args:
        image: the volume.
        measured: what `measure` says of its mask.
    """
    if not measured["voxels"]:
        return ["no spleen was found: absent, outside the field of view, or missed"]
    reasons = []
    if not measured["complete"]:
        reasons.append("the spleen touches the volume's edge: its volume is a lower bound")
    low, high = PLAUSIBLE_ML
    if not low <= measured["volume_ml"] <= high:
        reasons.append(
            f"{measured['volume_ml']:.1f} mL is outside {low:.0f} to {high:.0f} mL, what adults' "
            "spleens measure"
        )
    centre_ijk = (np.array(image.shape) - 1) / 2
    centre_r_mm = (image.affine @ [*centre_ijk, 1.0])[0]
    if measured["centroid_ras_mm"][0] > centre_r_mm:
        reasons.append(
            "it lies in the right half of the volume: is the header's orientation right?"
        )
    return reasons
