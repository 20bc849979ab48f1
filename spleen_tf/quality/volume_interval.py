"""The 90% interval of a volume, by conformal prediction from held-out cases.

A prediction says itself how far its volume may be off: by how much the volume changes between a
stricter and a looser threshold, and by how little the members agree. The interval reaches from the
volume down and up by a multiple of these units, which nest as the multiple grows; the multiple is
the smallest one that holds the true volume of nine of ten held-out cases (nested conformal
prediction: Gupta, Kuchibhotla & Ramdas, Pattern Recognition 2022; 127: 108496).

Each held-out case was predicted by the models of its fold and the interval is used with models that
were trained on all cases: the residuals are those of the jackknife, whose coverage is near the
nominal one where the models are stable (Barber et al., Ann Stat 2021; 49: 486-507), and not
guaranteed. Nor does it hold for volumes unlike the held-out ones.

Members that have not found one organ say nothing of its volume: such predictions neither count nor
get an interval.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import msgspec
import numpy as np
import numpy.typing as npt

from spleen_tf.imaging.intensity import MODALITIES, Modality
from spleen_tf.quality.checks import LEAST_AGREEMENT

COVERAGE = 0.9
# The 90% quantile of fewer is not defined once one of them is left out.
LEAST_CASES = 10
# Of the volume: a prediction that shows no doubt at all may still be off.
_LEAST_UNIT = 0.02

Term = Literal["nested", "agreement"]
_TERM_NAMES: dict[Term, str] = {
    "nested": "the change between two thresholds",
    "agreement": "(1 - agreement) of the volume",
}


class Doubt(msgspec.Struct, frozen=True):
    """What a prediction shows of the error of its volume.

    Attributes:
        nested_ml: the volume at a stricter and at a looser threshold (`evidence.nested_ml`); None
            where it was not measured.
        agreement: mean Dice between two views; None where it was not measured.
    """

    nested_ml: tuple[float, float] | None
    agreement: float | None

    @property
    def is_disputed(self) -> bool:
        """Whether members have not found one organ (see `checks.is_disputed`)."""
        return self.agreement is not None and self.agreement < LEAST_AGREEMENT

    @property
    def terms(self) -> tuple[Term, ...]:
        """What was measured."""
        nested: tuple[Term, ...] = () if self.nested_ml is None else ("nested",)
        return nested if self.agreement is None else (*nested, "agreement")


class HeldOutVolume(msgspec.Struct, frozen=True):
    """One held-out case.

    Attributes:
        case: its name.
        modality: of the image.
        truth_ml, volume_ml: as drawn, and as predicted by models that did not train on it.
        doubt: of the prediction.
    """

    case: str
    modality: Modality
    truth_ml: float
    volume_ml: float
    doubt: Doubt


class VolumeInterval(msgspec.Struct, frozen=True):
    """What held-out cases of one modality say of the error of a volume: a part of quality.json.

    Attributes:
        cases: how many there were.
        covered: in how many the true volume lies in the interval that the other cases give.
        terms: what the units are made of.
        scaled_error: the reach of the interval, in units.
    """

    cases: int
    covered: int
    terms: tuple[Term, ...]
    scaled_error: float

    def __str__(self) -> str:
        """What was learnt, for a reader."""
        scaled_by = ["2% of the volume", *(_TERM_NAMES[term] for term in self.terms)]
        return (
            f"{COVERAGE:.0%} interval of {self.scaled_error:.2f} × ({' + '.join(scaled_by)}), from "
            f"{self.cases} cases; {self.covered} lie in the interval that the others give"
        )

    def predict(self, volume_ml: float, doubt: Doubt) -> tuple[float, float] | None:
        """The interval of a volume, in mL.

        Returns:
            None where members disagree, and where what it is scaled by was not measured.
        """
        if doubt.is_disputed or not set(self.terms) <= set(doubt.terms):
            return None
        down, up = _units_ml(volume_ml, doubt, self.terms)
        return max(0.0, volume_ml - self.scaled_error * down), volume_ml + self.scaled_error * up


def by_modality(rows: Sequence[HeldOutVolume]) -> dict[Modality, VolumeInterval]:
    """The intervals of the modalities of which there are cases enough."""
    fitted = {m: fit([row for row in rows if row.modality == m]) for m in MODALITIES}
    return {modality: interval for modality, interval in fitted.items() if interval}


def fit(rows: Sequence[HeldOutVolume]) -> VolumeInterval | None:
    """The interval that held-out cases of one modality give.

    Cases in which nothing was found, or members disagree, do not count.

    Returns:
        None with fewer than LEAST_CASES.
    """
    rows = [row for row in rows if row.volume_ml > 0 and not row.doubt.is_disputed]
    if len(rows) < LEAST_CASES:
        return None
    measured = [set(row.doubt.terms) for row in rows]
    all_terms: tuple[Term, ...] = ("nested", "agreement")
    terms = tuple(term for term in all_terms if all(term in of_row for of_row in measured))
    scores = np.array([_score(row, terms) for row in rows])
    covered = sum(
        bool(score <= _quantile(np.delete(scores, index))) for index, score in enumerate(scores)
    )
    return VolumeInterval(len(rows), covered, terms, _quantile(scores))


def _score(row: HeldOutVolume, terms: Sequence[Term]) -> float:
    """By how many units the interval must reach to hold the truth."""
    down, up = _units_ml(row.volume_ml, row.doubt, terms)
    error_ml = row.truth_ml - row.volume_ml
    return error_ml / up if error_ml > 0 else -error_ml / down


def _units_ml(volume_ml: float, doubt: Doubt, terms: Sequence[Term]) -> tuple[float, float]:
    """Downwards and upwards, in mL; never 0 for a volume above it."""
    share = _LEAST_UNIT
    if "agreement" in terms and doubt.agreement is not None:
        share += 1 - doubt.agreement
    down = up = share * volume_ml
    if "nested" in terms and doubt.nested_ml is not None:
        inner_ml, outer_ml = doubt.nested_ml
        down += max(0.0, volume_ml - inner_ml)
        up += max(0.0, outer_ml - volume_ml)
    return down, up


def _quantile(scores: npt.NDArray[np.float64]) -> float:
    """The conformal quantile: of n scores, the one of rank ⌈(n + 1) · 90%⌉."""
    return float(np.sort(scores)[math.ceil((len(scores) + 1) * COVERAGE) - 1])
