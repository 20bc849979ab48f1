"""What a network was built from is read off its variables."""

import pathlib

import pytest

from spleen_tf.core.files import InputError
from spleen_tf.network import onnx, unet
from spleen_tf.network.spec import NetworkSpec


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
