"""A model.onnx as OpenVINO compiles it."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from spleen_tf.network import spec

Precision = Literal["float32", "bfloat16"]

_ELEMENT_TYPES: dict[Precision, str] = {"float32": "f32", "bfloat16": "bf16"}
# What the part behind the network needs beside its output.
_AFTER_INPUTS = ("slices", "pixel_mm")


class Compiled:
    """A model.onnx that OpenVINO has compiled in three parts.

    Only the network runs in bfloat16: places in millimetres, and intensities, need float32.
    What OpenVINO complains of is a RuntimeError.
    """

    def __init__(self, path: pathlib.Path, precision: Precision):
        import openvino

        core = openvino.Core()

        def compiled(model: Any, precision: Precision) -> Any:
            hints = {
                "INFERENCE_PRECISION_HINT": _ELEMENT_TYPES[precision],
                "PERFORMANCE_HINT": "LATENCY",
            }
            return core.compile_model(model, "CPU", hints).create_infer_request()

        before, network, after = (_read(core, path) for _ in range(3))
        images = _value(before, spec.IMAGES_VALUE)
        self._before = compiled(openvino.Model([images], before.get_parameters()), "float32")
        seen = _made_input(network, spec.IMAGES_VALUE)
        on_grid = _value(network, spec.ON_GRID_VALUE)
        self._network = compiled(openvino.Model([on_grid], [seen]), precision)
        from_grid = _made_input(after, spec.ON_GRID_VALUE)
        needed = [p for p in after.get_parameters() if p.get_friendly_name() in _AFTER_INPUTS]
        self._after = compiled(openvino.Model(after.get_results(), [*needed, from_grid]), "float32")

    def probability(
        self,
        slices_nhw: npt.NDArray[Any],
        pixel_mm: Sequence[float] | npt.NDArray[Any],
        window: tuple[float, float],
        margins: tuple[int, int] = (0, 0),
    ) -> npt.NDArray[Any]:
        """The probability of spleen; see Runtime.probability."""
        spacing = np.asarray(pixel_mm, np.float32)
        inputs = {
            "slices": slices_nhw,
            "pixel_mm": spacing,
            "window": np.asarray(window, np.float32),
            spec.MARGINS_INPUT: np.array(margins, np.int32),
        }
        images = self._before.infer(inputs, share_inputs=True)[0]
        on_grid = self._network.infer({spec.IMAGES_VALUE: images}, share_inputs=True)[0]
        # Of the slices, this part needs the size alone.
        inputs = {"slices": slices_nhw[:1], "pixel_mm": spacing, spec.ON_GRID_VALUE: on_grid}
        return np.array(self._after.infer(inputs, share_inputs=True)[0])


def _read(core: Any, path: pathlib.Path) -> Any:
    """The model, with margins as an input: OpenVINO takes the default of an input as constant."""
    model = core.read_model(path)
    model.add_parameters([_made_input(model, spec.MARGINS_INPUT)])
    return model


def _made_input(model: Any, name: str) -> Any:
    """An input in the place of a value within a model."""
    from openvino import PartialShape, opset13

    value = _value(model, name)
    dimensions = [d.get_length() if d.is_static else -1 for d in value.get_partial_shape()]
    shape = PartialShape(dimensions)  # Bounds of 2**31 pixels would overflow.
    parameter = opset13.parameter(shape, value.get_element_type(), name=name)
    for user in value.get_target_inputs():
        user.replace_source_output(parameter.output(0))
    parameter.output(0).set_names({name})
    return parameter


def _value(model: Any, name: str) -> Any:
    """The value of a name within a model.

    Raises:
        RuntimeError: if there is none, as in the files of earlier releases.
    """
    for operation in model.get_ops():
        for value in operation.outputs():
            if name in value.get_names() or operation.get_friendly_name() == name:
                return value
    raise RuntimeError("model.onnx is of an earlier version (spleen_tf.export writes a new one)")
