"""What makes a labelled case doubtful, alone or beside the others, before it is trained on."""

from __future__ import annotations

import collections
import hashlib
import statistics
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from spleen_tf.core.files import InputWarning
from spleen_tf.datasets import alignment
from spleen_tf.datasets.layouts import Case, DatasetError
from spleen_tf.datasets.splits import Splits
from spleen_tf.imaging import intensity
from spleen_tf.imaging.intensity import Modality
from spleen_tf.imaging.volume import Volume
from spleen_tf.quality import checks
from spleen_tf.quality.measurements import Measurements

# A modified z-score beyond this is an outlier: Iglewicz and Hoaglin (1993), How to Detect and
# Handle Outliers.
OUTLIER_SCORE = 3.5
# The median absolute deviation of a normal distribution, in standard deviations.
_MAD_OF_NORMAL = 0.6745
# Fewer cases of a modality say too little of what is usual.
_LEAST_CASES = 8
# Where all cases are alike, smaller deviations than this mean nothing: HU, and shares of an MR's
# grey scale.
_LEAST_MAD: dict[Modality, float] = {"CT": 10.0, "MR": 0.05}
_MOST_NAMED = 5

Findings = Mapping[str, tuple[str, ...]]


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """What is seen of one case.

    Attributes:
        case: its name.
        modality: of the image.
        doubts: what is odd about the case alone, each in a phrase.
        brightness: the median intensity inside the label: HU of a CT; of an MR, where it lies
            between the volume's 0.5th and 99.5th percentile. None without a label.
        voxels_sha256: of how often each intensity occurs, so that a copy whose axes were turned or
            whose header was changed has the same. None for an image of so few values that another
            may have them as often.
    """

    case: str
    modality: Modality
    doubts: tuple[str, ...]
    brightness: float | None
    voxels_sha256: str | None


def look_at(case: Case, image: Volume, label_ijk: NDArray[np.bool_], spleen: Measurements) -> Look:
    """Looks at a case that was read.

    Args:
        case: which.
        image: in physical units, whole.
        label_ijk: (I, J, K) bool, on the same grid.
        spleen: what `measurements.measure` says of the label.
    """
    return Look(
        case=case.name,
        modality=case.modality,
        doubts=tuple(_doubts(case, image, label_ijk, spleen)),
        brightness=_brightness(case, image, spleen),
        voxels_sha256=_sha256_of_counts(image.array_ijk),
    )


def findings(looks: Sequence[Look]) -> dict[str, tuple[str, ...]]:
    """What is odd about each case, alone and beside the others; cases without are left out."""
    found = {look.case: list(look.doubts) for look in looks}
    for case, phrase in (*_unlike_the_others(looks), *_copies(looks)):
        found[case].append(phrase)
    return {case: tuple(phrases) for case, phrases in found.items() if phrases}


def check_splits(looks: Sequence[Look], splits: Splits) -> None:
    """Raises DatasetError where the same image trains and validates, under whatever names."""
    train, validation = set(splits.train), set(splits.validation)
    trains = {look.voxels_sha256: look.case for look in looks if look.case in train}
    trains.pop(None, None)
    for look in looks:
        if look.case in validation and (twin := trains.get(look.voxels_sha256)):
            raise DatasetError(
                f"{look.case}: expected another image to validate with than to train with, found "
                f"the same voxels as in {twin}; leave one out, or put both into one split."
            )


def report(found: Findings, strict: bool) -> None:
    """Warns of what was found.

    Args:
        found: what `findings` gave.
        strict: raises in place of warnings.

    Raises:
        DatasetError: if strict, and anything was found.
    """
    lines = [f"{case}: {'; '.join(phrases)}" for case, phrases in found.items()]
    if strict and lines:
        more = f"; and {len(lines) - _MOST_NAMED} more" if len(lines) > _MOST_NAMED else ""
        raise DatasetError(
            f"--strict: expected cases without doubt, found {len(lines)} with: "
            f"{'; '.join(lines[:_MOST_NAMED])}{more}; correct them, leave them out, or do without "
            "--strict."
        )
    for line in lines:
        warnings.warn(line, InputWarning, stacklevel=2)


def modified_z_scores(values: Sequence[float], least_mad: float = 0.0) -> list[float]:
    """0.6745·(x − median) / MAD for each value (Iglewicz and Hoaglin, 1993); 0 where MAD is 0.

    Median and MAD (the median absolute deviation) do not follow the outliers, as mean and standard
    deviation would.

    Args:
        values: any number of them.
        least_mad: taken where the MAD is less.
    """
    if not values:
        return []
    median = statistics.median(values)
    mad = max(least_mad, statistics.median(abs(x - median) for x in values))
    return [_MAD_OF_NORMAL * (x - median) / mad if mad else 0.0 for x in values]


def _doubts(
    case: Case, image: Volume, label_ijk: NDArray[np.bool_], spleen: Measurements
) -> list[str]:
    if spleen.centroid_ras_mm is None:  # Cases without spleen are fine.
        return []
    doubts = []
    if not spleen.complete:
        doubts.append("the spleen touches the volume's edge: its volume is a lower bound")
    if checks.is_on_the_right(image, spleen.centroid_ras_mm):
        doubts.append("the spleen lies in the right half of the volume; check the header")
    if offset := alignment.better_offset(image, label_ijk, case.modality):
        doubts.append(
            f"the label fits the image's edges {offset.gain:.1f} times as well {offset} away; is "
            "it shifted?"
        )
    return doubts


def _brightness(case: Case, image: Volume, spleen: Measurements) -> float | None:
    if spleen.intensity is None:
        return None
    if case.modality == "CT":
        return spleen.intensity.median
    low, high = intensity.default_window(image.array_ijk, case.modality)
    return (spleen.intensity.median - low) / (high - low)


def _unlike_the_others(looks: Sequence[Look]) -> list[tuple[str, str]]:
    """Cases whose labels hold other intensities than those of their modality, and why."""
    odd = []
    for modality, least_mad in _LEAST_MAD.items():
        pairs = [
            (look.case, look.brightness)
            for look in looks
            if look.modality == modality and look.brightness is not None
        ]
        if len(pairs) < _LEAST_CASES:
            continue
        values = [value for _, value in pairs]
        usual, unit = statistics.median(values), "HU" if modality == "CT" else "of the grey scale"
        for (case, value), score in zip(pairs, modified_z_scores(values, least_mad), strict=True):
            if abs(score) > OUTLIER_SCORE:
                odd.append(
                    (
                        case,
                        f"the label's median intensity of {value:.3g} {unit} is unlike the others' "
                        f"(median {usual:.3g}, modified z-score {score:.1f}); check the label, and "
                        "the contrast of the image",
                    )
                )
    return odd


def _copies(looks: Sequence[Look]) -> list[tuple[str, str]]:
    """Cases whose images have the same voxels as others', and of which."""
    cases_of = collections.defaultdict(list)
    for look in looks:
        if look.voxels_sha256:
            cases_of[look.voxels_sha256].append(look.case)
    copies = []
    for same in cases_of.values():
        for case in same if len(same) > 1 else ():
            others = ", ".join(other for other in same if other != case)
            copies.append((case, f"the image has the same voxels as {others}"))
    return copies


def _sha256_of_counts(array_ijk: NDArray[Any]) -> str | None:
    """The SHA-256 of how often each value occurs, of more than 32 values.

    Values are counted by halves of 16 bits, which is exact for int16; two images whose halves of
    float32 occur equally often are copies as well.
    """
    halves = array_ijk.itemsize // 2
    counts = np.zeros((halves, 65536), np.int64)
    for slab in np.moveaxis(array_ijk, int(np.argmax(array_ijk.strides)), 0):
        words = slab.ravel(order="K").view(np.uint16).reshape(-1, halves)
        for half in range(halves):
            counts[half] += np.bincount(words[:, half], minlength=65536)
    has_few_values = np.count_nonzero(counts, axis=1).max() <= checks.FEW_VALUES
    return None if has_few_values else hashlib.sha256(counts.tobytes()).hexdigest()
