"""model.onnx: the SavedModel's function `windowed` for every runtime, without TensorFlow.

The inputs are `slices` float32 [N, H, W] in raw units, `pixel_mm` float32 [2] and `window`
float32 [2]; the output is `probability` float32 [N, H, W]. N, H and W are dynamic. An optional
input, `margins` int32 [2], says how many first and last slices are there as neighbours only, and
have no probability in the output; by default none. The values `images` and `on_grid` within the
graph are where the network begins and ends.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import pathlib

import keras
import numpy as np
import numpy.typing as npt
import onnx
import onnxruntime
import tensorflow as tf
import tf2onnx

from spleen_tf.core import files
from spleen_tf.core.files import InputError
from spleen_tf.network import onnx_order, serving, unet
from spleen_tf.network.spec import (
    IMAGES_VALUE,
    MARGINS_INPUT,
    ON_GRID_VALUE,
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
    model, difference = convert(network, spec, saved_model)
    with files.replacing(onnx_path(saved_model)) as partial:
        partial.write_bytes(model)
    return difference


def convert(
    network: keras.Model, spec: ServingSpec, saved_model: pathlib.Path
) -> tuple[bytes, float]:
    """The content of model.onnx, compared with the SavedModel.

    Args:
        network: in float32, as `serving.servable` takes it.
        spec: of the network.
        saved_model: the folder with which it is compared.

    Returns:
        The file's content, and the largest difference of a probability between the two.

    Raises:
        InputError: if they differ by more than MAX_DIFFERENCE.
    """
    model = _converted(network, spec, weights_sha256(saved_model))
    difference = _largest_difference(model, spec, saved_model)
    if not difference <= MAX_DIFFERENCE:
        raise InputError(
            f"{saved_model}: expected an ONNX model whose probabilities differ by at most "
            f"{MAX_DIFFERENCE:g}, found {difference:.2g}; please report this."
        )
    return model, difference


def _converted(network: keras.Model, spec: ServingSpec, weights: str) -> bytes:
    logging.getLogger("tf2onnx").setLevel(logging.ERROR)  # It reports every step.
    stages = serving.Stages(functools.partial(network, training=False), spec)

    def traced(
        slices: tf.Tensor, pixel_mm: tf.Tensor, window: tf.Tensor, margins: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        images = stages.images(slices, pixel_mm, window, margins)
        on_grid = stages.on_grid(images)
        probability = stages.native(on_grid, pixel_mm, slices)
        return {"probability": probability, IMAGES_VALUE: images, ON_GRID_VALUE: on_grid}

    function = tf.function(traced, serving.INPUTS, autograph=False)
    model, _ = tf2onnx.convert.from_function(function, serving.INPUTS, opset=_OPSET)
    graph = model.graph
    # As outputs, the other two have got their names; they need not be outputs to keep them.
    outputs = [value for value in graph.output if value.name == "probability"]
    del graph.output[:]
    graph.output.extend(outputs)
    _without_transposition(graph, IMAGES_VALUE)
    _name_dimensions(graph)
    _make_optional(graph, MARGINS_INPUT, np.zeros(2, np.int32))
    _drop_cropping(graph)
    onnx_order.settle(model, (IMAGES_VALUE, ON_GRID_VALUE))
    onnx.helper.set_model_props(model, {ONNX_WEIGHTS_KEY: weights})
    onnx.checker.check_model(model, full_check=True)
    return bytes(model.SerializeToString(deterministic=True))


def _without_transposition(graph: onnx.GraphProto, name: str) -> None:
    """Gives a value's name to what it was transposed from to be an output, if it was."""
    producer = next(node for node in graph.node if name in node.output)
    if producer.op_type != "Transpose":
        return
    source = producer.input[0]
    graph.node.remove(producer)
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [name if other == source else other for other in names]


def _name_dimensions(graph: onnx.GraphProto) -> None:
    """Names the dynamic dimensions of slices and probability."""
    for value in (*graph.input, *graph.output):
        if value.name in ("slices", "probability"):
            letters = "NHW" if value.name == "slices" else "MHW"
            for dimension, letter in zip(value.type.tensor_type.shape.dim, letters, strict=True):
                dimension.dim_param = letter


def _make_optional(graph: onnx.GraphProto, name: str, default: npt.NDArray[np.int32]) -> None:
    """Lets an input be left out: an initializer of its name is its default."""
    graph.initializer.append(onnx.numpy_helper.from_array(default, name))


def _drop_cropping(graph: onnx.GraphProto) -> None:
    """Takes out what tf2onnx puts behind each ConvTranspose of a dynamic size.

    It crops and pads the output to the size that TensorFlow would give it, which it has: strides
    equal the kernel's size. Left in, this costs two copies of the largest feature maps.
    """
    producers = {output: node for node in graph.node for output in node.output}
    for node in graph.node:
        if node.op_type == "Concat":
            for index, name in enumerate(node.input):
                node.input[index] = _before_cropping(name, producers)


def _before_cropping(name: str, producers: dict[str, onnx.NodeProto]) -> str:
    """The output of the ConvTranspose that a value is cropped and padded from; else the value."""
    source = name
    while source in producers and producers[source].op_type in ("Slice", "Pad"):
        source = producers[source].input[0]
    is_upsampled = source in producers and producers[source].op_type == "ConvTranspose"
    return source if is_upsampled else name


def _largest_difference(model: bytes, spec: ServingSpec, saved_model: pathlib.Path) -> float:
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # It warns that margins may not be constant.
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
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
        margins = np.array([1, 0] if len(slices) > 1 else [0, 0], np.int32)
        (inner,) = session.run(None, {**inputs, MARGINS_INPUT: margins})
        differences.append(float(np.abs(inner - expected[margins[0] :]).max()))
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
