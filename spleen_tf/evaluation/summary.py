"""Statistics over the cases of an evaluation, and summary.json."""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from scipy import stats

from spleen_tf.core import files
from spleen_tf.core.files import InputError
from spleen_tf.evaluation.metrics import COLUMNS, CaseMetrics

RESAMPLES = 9_999
# Resampled means that are computed at once hold no more values than this: some MB.
_VALUES_AT_ONCE = 1_000_000


class Statistics(msgspec.Struct, frozen=True):
    """One measure over all cases in which it is defined.

    Attributes:
        mean, median, minimum, maximum: None without such a case.
        sd: of a sample (n - 1); None with fewer than two such cases.
        ci95: the 95% interval of the mean (low, high), see `bootstrap_ci95`; None likewise.
        undefined: the number of the other cases.
    """

    mean: float | None
    sd: float | None
    median: float | None
    minimum: float | None
    maximum: float | None
    ci95: tuple[float | None, float | None]
    undefined: int


# summary.json: the key `cases` holds their number, the key of each measure its Statistics.
Content = dict[str, int | Statistics]


@dataclasses.dataclass(frozen=True)
class Summary:
    """What summary.json holds.

    Attributes:
        cases: how many were measured.
        measures: statistics by the name of a measure, in the order of metrics.COLUMNS.
    """

    cases: int
    measures: Mapping[str, Statistics]

    def content(self) -> Content:
        """As JSON has it."""
        return {"cases": self.cases, **self.measures}

    @staticmethod
    def of_content(content: Content, source: str) -> Summary:
        """The inverse of `content`.

        Args:
            content: as `files.read_record` returns it.
            source: the file's name, for the message.

        Raises:
            InputError: if the number of cases or a measure is missing.
        """
        cases = content.get("cases")
        measures = {k: v for k, v in content.items() if isinstance(v, Statistics)}
        if not isinstance(cases, int) or not set(COLUMNS) <= measures.keys():
            missing = next((column for column in COLUMNS if column not in measures), "cases")
            raise InputError(
                f"{source}: expected the summary of an evaluation, found none of {missing!r}; run "
                "spleen_tf.evaluate again."
            )
        return Summary(cases, measures)


def write(path: str | os.PathLike[str], summary: Summary) -> None:
    """Writes a summary.json."""
    files.write_json(path, summary.content())


def read(path: str | os.PathLike[str]) -> Summary:
    """Reads a summary.json.

    Raises:
        InputError: if it is missing or is not one.
    """
    return Summary.of_content(files.read_record(path, Content), str(path))


def summarize(rows: Sequence[CaseMetrics], seed: int = 0) -> Summary:
    """Statistics over cases of each of metrics.COLUMNS.

    Args:
        rows: (N,) cases; N may be 0.
        seed: of the bootstrap.
    """
    measures = {
        column: _statistics(np.array([getattr(row, column) for row in rows], np.float64), seed)
        for column in COLUMNS
    }
    return Summary(len(rows), measures)


def bootstrap_ci95(values: npt.NDArray[Any], seed: int = 0) -> tuple[float, float] | None:
    """The bias-corrected and accelerated bootstrap interval of a mean, from RESAMPLES resamples.

    BCa follows the skew that a few bad cases give to a mean (Efron, J Am Stat Assoc 82:171, 1987).

    Args:
        values: (N,) finite, one per case.
        seed: the same one gives the same interval.

    Returns:
        (low, high), 95%; None for fewer than two values, which say nothing about their spread.
        Equal values give an interval without width. Where rounding alone tells values apart, BCa is
        undefined, and the percentile interval (Efron, 1979) stands in for it.
    """
    if len(values) < 2:
        return None
    if np.ptp(values) == 0:
        return float(values[0]), float(values[0])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", stats.DegenerateDataWarning)
        warnings.simplefilter("ignore", RuntimeWarning)  # Its division by a spread of 0.
        result = stats.bootstrap(
            (values,),
            np.mean,
            n_resamples=RESAMPLES,
            batch=max(1, _VALUES_AT_ONCE // len(values)),
            method="BCa",
            rng=np.random.default_rng(seed),
        )
    low, high = result.confidence_interval
    if np.isnan(low) or np.isnan(high):
        low, high = np.percentile(result.bootstrap_distribution, (2.5, 97.5))
    return float(low), float(high)


def _statistics(values: npt.NDArray[Any], seed: int) -> Statistics:
    """Of (N,) values, NaN where undefined."""
    defined = values[~np.isnan(values)]
    undefined = len(values) - len(defined)
    if not defined.size:
        return Statistics(None, None, None, None, None, (None, None), undefined)
    return Statistics(
        mean=float(defined.mean()),
        sd=float(defined.std(ddof=1)) if defined.size > 1 else None,
        median=float(np.median(defined)),
        minimum=float(defined.min()),
        maximum=float(defined.max()),
        ci95=bootstrap_ci95(defined, seed) or (None, None),
        undefined=undefined,
    )
