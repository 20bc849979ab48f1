"""The same graph, its nodes and names in another order, becomes the same bytes."""

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from spleen_tf.network import onnx_order


def model(order, suffix):
    """y = kept + b, kept = relu(x · a), beside a node that nothing needs."""
    node = {
        "mul": helper.make_node("Mul", ["x", f"a{suffix}"], [f"m{suffix}"], name=f"one{suffix}"),
        "relu": helper.make_node("Relu", [f"m{suffix}"], ["kept"], name=f"two{suffix}"),
        "add": helper.make_node("Add", ["kept", f"b{suffix}"], ["y"], name=f"three{suffix}"),
        "unused": helper.make_node("Neg", ["x"], [f"n{suffix}"], name=f"four{suffix}"),
    }
    constants = [
        numpy_helper.from_array(np.array([2, 3], np.float32), f"a{suffix}"),
        numpy_helper.from_array(np.array([5, 7], np.float32), f"b{suffix}"),
    ]
    graph = helper.make_graph(
        [node[name] for name in order],
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2])],
        constants if suffix == "_1" else constants[::-1],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.fixture
def settled():
    models = [
        model(("mul", "relu", "unused", "add"), "_1"),
        model(("unused", "mul", "relu", "add"), "_2"),
    ]
    for one in models:
        onnx_order.settle(one, ["kept"])
    return models


def test_order_and_names_of_a_model_do_not_matter(settled):
    first, second = (one.SerializeToString(deterministic=True) for one in settled)
    assert first == second


def test_a_settled_model_is_valid_and_computes_the_same(settled):
    onnx.checker.check_model(settled[0], full_check=True)
    session = ReferenceEvaluator(settled[0])
    (y,) = session.run(None, {"x": np.array([1, -1], np.float32)})
    assert y.tolist() == [1 * 2 + 5, 7]


def test_names_that_others_know_stay_and_what_nothing_needs_goes(settled):
    nodes = settled[0].graph.node
    assert [node.op_type for node in nodes] == ["Mul", "Relu", "Add"]
    assert [*nodes[1].output, *nodes[2].output] == ["kept", "y"]
