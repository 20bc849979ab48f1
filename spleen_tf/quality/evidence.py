"""What a prediction shows of its own quality."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from spleen_tf.imaging import masks
from spleen_tf.imaging.volume import Volume

# Of each value of a byte.
_BITS_SET = np.unpackbits(np.arange(256, dtype=np.uint8)[:, np.newaxis], axis=1).sum(
    axis=1, dtype=np.uint8
)


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
    inner = int(np.count_nonzero(p[mask] >= (threshold + 1) / 2))
    looser = masks.at_least(p, threshold / 2)
    looser[mask] = True
    outer = int(np.count_nonzero(masks.largest_component(looser)))
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
