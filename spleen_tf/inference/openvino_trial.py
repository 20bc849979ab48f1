"""The trial of OpenVINO: whether, and in which precision, it runs models right and fastest.

On some CPUs, OpenVINO's kernels crash or give other numbers. So a child process compiles each model
in each precision, runs it on a slice beside ONNX Runtime, and takes the fastest that agrees.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import pathlib
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Any, get_args

import msgspec
import numpy as np
import numpy.typing as npt

from spleen_tf.core.files import InputError
from spleen_tf.inference import model_files
from spleen_tf.inference.openvino_compiled import Compiled, Precision
from spleen_tf.inference.runtimes import OnnxModel
from spleen_tf.network import spec

# Of log odds, relative to their spread, in a slice. In bfloat16 it is 0.03 for released models.
MOST_DISAGREEMENT = 0.1

_CHILD = (sys.executable, "-m", "spleen_tf.inference.openvino_trial")
_CHILD_SECONDS = 300.0
_REPEATS = 3
# Beyond, log odds are rounding of the probability.
_LEAST_PROBABILITY = 1e-7


class Choice(msgspec.Struct, frozen=True):
    """What the child process found out about a model.

    Attributes:
        precision: the fastest that agrees with ONNX Runtime.
        times_as_fast: as ONNX Runtime, on a few slices.
        disagreement: of the log odds of both; see MOST_DISAGREEMENT.
    """

    precision: Precision
    times_as_fast: float
    disagreement: float


class NotTrustedError(Exception):
    """Why OpenVINO does not run the models."""


def in_child(precision: str, folders: Sequence[pathlib.Path]) -> list[Choice]:
    """What a child process finds out about models.

    Args:
        precision: 'auto', 'float32' or 'bfloat16'.
        folders: of their SavedModels, beside which model.onnx lies.

    Raises:
        NotTrustedError: if OpenVINO is not installed, or a model fails.
    """
    if importlib.util.find_spec("openvino") is None:
        raise NotTrustedError("it is not installed (pip install openvino)")
    try:
        child = subprocess.run(
            [*_CHILD, precision, *map(str, folders)],
            capture_output=True,
            timeout=_CHILD_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise NotTrustedError(f"its trial took more than {_CHILD_SECONDS:.0f} s") from None
    if child.returncode < 0:
        raise NotTrustedError(f"its trial was ended by signal {-child.returncode}")
    try:
        # Libraries may write lines of their own before.
        last_line = (child.stdout.splitlines() or [b""])[-1]
        result = msgspec.json.decode(last_line, type=list[Choice] | str)
    except msgspec.DecodeError:
        raise NotTrustedError(f"its trial failed with exit code {child.returncode}") from None
    if isinstance(result, str):
        raise NotTrustedError(result)
    return result


def first_line(error: Exception) -> str:
    """What OpenVINO complains of; the first lines of its messages are places in its source."""
    lines = [line for line in str(error).splitlines() if line and "Exception from" not in line]
    return (lines or [type(error).__name__])[0].rstrip(".:")


@dataclasses.dataclass(frozen=True)
class _Trial:
    """A slice with what it takes to look at it."""

    slices_nhw: npt.NDArray[np.float32]
    pixel_mm: tuple[float, float]
    window: tuple[float, float] = (0.0, 1.0)


def main(precision: str, *folders: str) -> None:
    """In the child process: writes the Choice of each model as JSON, or why there is none."""
    try:
        result: list[Choice] | str = [_choose(pathlib.Path(f), precision) for f in folders]
    except (NotTrustedError, InputError, RuntimeError) as error:
        result = first_line(error)
    print(msgspec.json.encode(result).decode())


def _choose(folder: pathlib.Path, asked: str) -> Choice:
    trial = _trial(model_files.describe(folder))
    reference = OnnxModel(folder)
    expected, onnx_seconds = _timed(reference, trial)
    best: Choice | None = None
    worst_disagreement = 0.0
    for precision in _candidates(asked):
        actual, seconds = _timed(Compiled(spec.onnx_path(folder), precision), trial)
        disagreement = _disagreement(actual, expected)
        worst_disagreement = max(worst_disagreement, disagreement)
        choice = Choice(precision, onnx_seconds / seconds, disagreement)
        if disagreement <= MOST_DISAGREEMENT and (
            best is None or choice.times_as_fast > best.times_as_fast
        ):
            best = choice
    if best is None:
        raise NotTrustedError(
            f"its log odds differ from those of ONNX Runtime by {worst_disagreement:.2g} SD"
        )
    return best


def _candidates(asked: str) -> list[Precision]:
    if asked != "auto":
        return [precision for precision in get_args(Precision) if precision == asked]
    import openvino

    able = openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return ["float32", "bfloat16"] if "BF16" in able else ["float32"]


def _trial(info: model_files.ModelInfo) -> _Trial:
    """A few slices of soft shapes and noise, in the network's own pixels."""
    rng = np.random.default_rng(0)
    shape = (info.in_channels + 1, 112, 136)
    rows, columns = np.meshgrid(*(np.linspace(-1, 1, n) for n in shape[1:]), indexing="ij")
    body = (rows**2 + columns**2 < 0.8) * 0.5
    organ = 0.2 * np.exp(-((rows - 0.1) ** 2 + (columns - 0.5) ** 2) / 0.03)
    slices = body + organ + 0.05 * rng.normal(size=shape)
    return _Trial(slices.astype(np.float32), info.pixel_mm)


def _timed(runtime: OnnxModel | Compiled, trial: _Trial) -> tuple[npt.NDArray[Any], float]:
    """The probability, and the seconds that the fastest of some runs took."""
    seconds = []
    for _ in range(_REPEATS):
        start = time.perf_counter()
        probability = runtime.probability(trial.slices_nhw, trial.pixel_mm, trial.window)
        seconds.append(time.perf_counter() - start)
    return probability, min(seconds)


def _disagreement(actual: npt.NDArray[Any], expected: npt.NDArray[Any]) -> float:
    """The RMS difference of log odds, relative to their standard deviation; NaN counts as inf."""
    actual_odds, expected_odds = map(_log_odds, (actual, expected))
    spread = float(expected_odds.std())
    difference = float(np.sqrt(np.mean((actual_odds - expected_odds) ** 2)))
    return difference / max(spread, 1e-3) if np.isfinite(difference) else float("inf")


def _log_odds(probability: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    clipped = np.clip(probability.astype(np.float64), _LEAST_PROBABILITY, 1 - _LEAST_PROBABILITY)
    return np.log(clipped / (1 - clipped))


if __name__ == "__main__":
    main(*sys.argv[1:])
