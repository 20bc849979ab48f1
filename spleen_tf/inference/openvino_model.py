"""OpenVINO as a runtime, which is tried before it is trusted.

Whatever goes wrong, ONNX Runtime runs the models, and one warning says why.
"""

from __future__ import annotations

import functools
import pathlib
import warnings
from collections.abc import Sequence
from typing import Any

import numpy.typing as npt

from spleen_tf.core.files import InputWarning
from spleen_tf.inference import openvino_trial
from spleen_tf.inference.openvino_compiled import Compiled
from spleen_tf.inference.openvino_trial import Choice, NotTrustedError
from spleen_tf.inference.runtimes import OnnxModel, RuntimeName
from spleen_tf.network import spec


class OpenVinoModel:
    """A Runtime: OpenVINO on the CPU with the model.onnx beside a SavedModel, or ONNX Runtime."""

    pixels_per_batch = OnnxModel.pixels_per_batch

    def __init__(self, folder: pathlib.Path, precision: str = "auto"):
        self.folder, self.precision = folder, precision
        self.choice: Choice | None = None
        self.is_tried = False
        self._onnx = OnnxModel(folder)

    @property
    def name(self) -> RuntimeName:
        """What runs it."""
        return "openvino" if self.choice or not self.is_tried else "onnx"

    def load(self) -> None:
        """Tries the model out, if that was not done, and loads it; see Runtime.load."""
        try_out([self])
        if self.choice is None:
            self._onnx.load()
            return
        try:
            _ = self._compiled
        except RuntimeError as error:
            self._give_up(error)

    def probability(
        self,
        slices_nhw: npt.NDArray[Any],
        pixel_mm: Sequence[float] | npt.NDArray[Any],
        window: tuple[float, float],
        margins: tuple[int, int] = (0, 0),
    ) -> npt.NDArray[Any]:
        """The probability of spleen; see Runtime.probability."""
        if not self.is_tried:
            self.load()
        if self.choice:
            try:
                return self._compiled.probability(slices_nhw, pixel_mm, window, margins)
            except RuntimeError as error:
                self._give_up(error)
        return self._onnx.probability(slices_nhw, pixel_mm, window, margins)

    @functools.cached_property
    def _compiled(self) -> Compiled:
        assert self.choice  # The caller has looked.
        return Compiled(spec.onnx_path(self.folder), self.choice.precision)

    def _give_up(self, error: RuntimeError) -> None:
        self.choice = None
        _warn(openvino_trial.first_line(error))


def try_out(models: Sequence[OpenVinoModel]) -> None:
    """Decides in which precision OpenVINO runs some models, if it does; a warning says why not."""
    untried = [model for model in models if not model.is_tried]
    if not untried:
        return
    choices: list[Choice] = []
    try:
        choices = openvino_trial.in_child(untried[0].precision, [model.folder for model in untried])
    except NotTrustedError as error:
        _warn(str(error))
    for model in untried:
        model.is_tried = True
    for model, choice in zip(untried, choices, strict=False):
        model.choice = choice


def note(models: Sequence[OpenVinoModel]) -> str:
    """What runs some models that were tried out, and why."""
    choices = [model.choice for model in models if model.choice]
    if not choices:
        return "ONNX Runtime, float32: OpenVINO is not used"
    precisions = " and ".join(dict.fromkeys(choice.precision for choice in choices))
    factor = min(choice.times_as_fast for choice in choices)
    return f"OpenVINO, {precisions}: {factor:.1f} times as fast as ONNX Runtime on a few slices"


def _warn(reason: str) -> None:
    warnings.warn(
        f"--runtime=openvino: OpenVINO is not used, since {reason}; ONNX Runtime runs the models.",
        InputWarning,
        stacklevel=3,
    )
