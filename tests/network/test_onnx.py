"""A network is rebuilt from its variables; model.onnx does no more work than it must."""

import pathlib

import numpy as np
import onnx as onnx_files
import onnxruntime
import pytest

from spleen_tf.core.files import InputError
from spleen_tf.network import onnx, unet
from spleen_tf.network.spec import IMAGES_VALUE, ON_GRID_VALUE, NetworkSpec, onnx_path


def variables_of(**spec):
    return {variable.name: variable for variable in unet.build(NetworkSpec(**spec)).variables}


@pytest.mark.parametrize(
    "spec",
    [
        {"in_channels": 3, "base_filters": 4, "max_filters": 16, "depth": 3},
        {"in_channels": 1, "base_filters": 2, "max_filters": 8, "depth": 2},
        {"in_channels": 1, "base_filters": 6, "max_filters": 3, "depth": 1},
    ],
)
def test_a_network_is_rebuilt_from_its_variables(spec):
    variables = variables_of(**spec)
    network, multiple = onnx._rebuilt(variables, pathlib.Path("saved_model"))
    assert multiple == 2 ** spec["depth"]
    assert network.input_shape == (None, None, None, spec["in_channels"])
    for variable in network.variables:
        assert (variable.numpy() == variables[variable.name].numpy()).all()


def test_variables_of_another_kind_of_network_are_refused():
    sentence = "saved_model: expected the variables of a U-Net with batch normalization, found"
    for variables in ({}, variables_of(base_filters=2, depth=1, norm="group")):
        with pytest.raises(InputError, match=sentence):
            onnx._rebuilt(variables, pathlib.Path("saved_model"))


def run(path, **inputs):
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    (probability,) = session.run(None, inputs)
    return probability


def test_slices_that_are_there_as_neighbours_only_may_be_named(exported):
    slices_nhw = np.random.default_rng(0).normal(40.0, 150.0, (5, 30, 20))
    inputs = {
        "slices": slices_nhw.astype(np.float32),
        "pixel_mm": np.array([2.0, 3.0], np.float32),
        "window": np.array([-160.0, 240.0], np.float32),
    }
    path = onnx_path(exported["CT"])
    everything = run(path, **inputs)
    inner = run(path, **inputs, margins=np.array([1, 2], np.int32))
    assert len(everything) == 5
    np.testing.assert_allclose(inner, everything[1:3], atol=1e-6)


def test_nothing_is_cropped_between_upsampling_and_its_skip(exported):
    graph = onnx_files.load(onnx_path(exported["CT"])).graph
    upsampled = {node.output[0] for node in graph.node if node.op_type == "ConvTranspose"}
    users = [node.op_type for node in graph.node if upsampled.intersection(node.input)]
    assert upsampled
    assert set(users) == {"Concat"}


def test_where_the_network_begins_and_ends_has_a_name(exported):
    graph = onnx_files.load(onnx_path(exported["CT"])).graph
    assert [value.name for value in graph.output] == ["probability"]
    values = {name for node in graph.node for name in node.output}
    assert {IMAGES_VALUE, ON_GRID_VALUE} <= values
