"""The best convolution rate of this machine, measured: what networks are compared with."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Literal

import numpy as np

from spleen_tf.benchmark import measure

# Channels, and pixels a side: many channels keep a processor busiest, small images its caches.
_SIZES = ((64, 96), (128, 48), (256, 24))
_BATCH, _CALLS = 4, 5


def best_gflops(precision: Literal["float32", "bfloat16"] = "float32") -> float:
    """GFLOP/s of the fastest 3×3 convolution, in ONNX Runtime (float32) or TensorFlow."""
    makers = [_in_tensorflow] if precision == "bfloat16" else [_in_tensorflow, _in_onnx_runtime]
    rates = []
    for channels, size in _SIZES:
        flop = 2.0 * _BATCH * size * size * 9 * channels * channels
        for maker in makers:
            convolve = _prepared(maker, channels, size, precision)
            seconds = min(measure.seconds(convolve) for _ in range(_CALLS))
            rates.append(flop / 1e9 / seconds)
    return max(rates)


_Maker = Callable[[int, int, str], Callable[[], object]]


@functools.cache
def _prepared(maker: _Maker, channels: int, size: int, precision: str) -> Callable[[], object]:
    convolve = maker(channels, size, precision)
    convolve()
    return convolve


def _in_tensorflow(channels: int, size: int, precision: str) -> Callable[[], object]:
    import tensorflow as tf

    dtype = tf.as_dtype(precision)
    images = tf.cast(tf.random.normal([_BATCH, size, size, channels]), dtype)
    weights = tf.cast(tf.random.normal([3, 3, channels, channels]), dtype)
    convolve = tf.function(lambda: tf.nn.conv2d(images, weights, 1, "SAME"))
    return lambda: convolve()[0, 0, 0, 0].numpy()


def _in_onnx_runtime(channels: int, size: int, precision: str) -> Callable[[], object]:
    import onnx
    import onnxruntime
    from onnx import helper, numpy_helper

    shape = [_BATCH, channels, size, size]
    rng = np.random.default_rng(0)
    weights = rng.normal(size=(channels, channels, 3, 3)).astype(np.float32)
    ends = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name in ("x", "y")
    ]
    node = helper.make_node("Conv", ["x", "w"], ["y"], pads=[1, 1, 1, 1])
    initializers = [numpy_helper.from_array(weights, "w")]
    graph = helper.make_graph([node], "convolution", ends[:1], ends[1:], initializers)
    opset = helper.make_opsetid("", 17)
    model = helper.make_model(graph, opset_imports=[opset], ir_version=8)
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    images: Any = rng.normal(size=shape).astype(np.float32)
    return lambda: session.run(None, {"x": images})
