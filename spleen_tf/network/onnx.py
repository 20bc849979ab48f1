"""model.onnx: the SavedModel's function `windowed` for every runtime, without TensorFlow.

The inputs are `slices` float32 [N, H, W] in raw units, `pixel_mm` float32 [2] and `window`
float32 [2]; the output is `probability` float32 [N, H, W]. N, H and W are dynamic.
"""

from __future__ import annotations

import dataclasses
import logging
import pathlib

import keras
import numpy as np
import onnx
import onnxruntime
import tensorflow as tf
import tf2onnx

from spleen_tf.core import files
from spleen_tf.core.files import InputError
from spleen_tf.network import serving, unet
from spleen_tf.network.spec import (
    ONNX_WEIGHTS_KEY,
    NetworkSpec,
    ServingSpec,
    onnx_path,
    weights_sha256,
)

# Float32 in another order of summation differs by some 1e-6.
MAX_DIFFERENCE = 1e-3

_OPSET = 17
# Slices, rows, columns and pixel sizes relative to the grid's: finer, coarser, and neither.
_PROBES = (((3, 75, 54), (0.45, 0.7)), ((2, 29, 34), (1.7, 2.2)), ((1, 64, 48), (1.0, 1.0)))


def write_from_saved_model(saved_model: pathlib.Path, spec: ServingSpec) -> float:
    """Writes model.onnx beside a SavedModel, from the SavedModel's variables.

    Args:
        saved_model: the folder; may be of an earlier release.
        spec: what its model.json says; `multiple` is not needed.

    Returns:
        The largest difference of a probability between the two.

    Raises:
        InputError: if the folder holds no network of this project, or the two differ too much.
    """
    network, multiple = _rebuilt(serving.load_variables(saved_model), saved_model)
    spec = dataclasses.replace(spec, multiple=multiple)
    model, difference = convert(serving.servable(network, spec), spec, saved_model)
    with files.replacing(onnx_path(saved_model)) as partial:
        partial.write_bytes(model)
    return difference


def convert(module: tf.Module, spec: ServingSpec, saved_model: pathlib.Path) -> tuple[bytes, float]:
    """The content of model.onnx, compared with the SavedModel.

    Args:
        module: what serving.servable made of the same network, in float32.
        spec: of the network.
        saved_model: the folder with which it is compared.

    Returns:
        The file's content, and the largest difference of a probability between the two.

    Raises:
        InputError: if they differ by more than MAX_DIFFERENCE.
    """
    model = _converted(module, weights_sha256(saved_model))
    difference = _largest_difference(model, spec, saved_model)
    if not difference <= MAX_DIFFERENCE:
        raise InputError(
            f"{saved_model}: expected an ONNX model whose probabilities differ by at most "
            f"{MAX_DIFFERENCE:g}, found {difference:.2g}; please report this."
        )
    return model, difference


def _converted(module: tf.Module, weights: str) -> bytes:
    logging.getLogger("tf2onnx").setLevel(logging.ERROR)  # It reports every step.
    windowed = module.windowed
    model, _ = tf2onnx.convert.from_function(
        windowed, input_signature=windowed.input_signature, opset=_OPSET
    )
    for value in (*model.graph.input, *model.graph.output):
        if value.name in ("slices", "probability"):
            for dimension, letter in zip(value.type.tensor_type.shape.dim, "NHW", strict=True):
                dimension.dim_param = letter
    onnx.helper.set_model_props(model, {ONNX_WEIGHTS_KEY: weights})
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _largest_difference(model: bytes, spec: ServingSpec, saved_model: pathlib.Path) -> float:
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    with serving.loading(saved_model):
        loaded = tf.saved_model.load(str(saved_model))
        windowed = loaded.signatures["windowed"]
    rng = np.random.default_rng(0)
    window = np.array([-160.0, 240.0], np.float32)
    differences = []
    for shape_nhw, finer in _PROBES:
        slices = rng.normal(40.0, 150.0, shape_nhw).astype(np.float32)
        pixel_mm = np.multiply(spec.grid_mm, finer).astype(np.float32)
        inputs = {"slices": slices, "pixel_mm": pixel_mm, "window": window}
        tensors = {name: tf.constant(value) for name, value in inputs.items()}
        expected = windowed(**tensors)["probability"].numpy()
        (actual,) = session.run(None, inputs)
        differences.append(float(np.abs(actual - expected).max()))
    return max(differences)


def _rebuilt(
    variables: dict[str, tf.Variable], saved_model: pathlib.Path
) -> tuple[keras.Model, int]:
    """The network that has these variables, in float32, and the multiple of its image sizes."""
    shapes = {name: tuple(variable.shape) for name, variable in variables.items()}
    spec = _spec_of(shapes)
    network = unet.build_float32(spec) if spec else None
    if not (spec and network) or {v.name: tuple(v.shape) for v in network.variables} != shapes:
        raise InputError(
            f"{saved_model}: expected the variables of a U-Net with batch normalization, found "
            "others; export it from its --model_dir."
        )
    for variable in network.variables:
        variable.assign(variables[variable.name])
    return network, spec.multiple


def _spec_of(shapes: dict[str, tuple[int, ...]]) -> NetworkSpec | None:
    """What a network with batch normalization was built from, by its variables' shapes."""
    depth = sum(name.startswith("decoder_") and name.endswith("_up/kernel:0") for name in shapes)
    first, coarsest = shapes.get("encoder_0_conv_0/kernel:0"), shapes.get("bottom_conv_0/kernel:0")
    if not (depth and first and coarsest):
        return None
    return NetworkSpec(first[2], first[3], max_filters=coarsest[3], depth=depth)
