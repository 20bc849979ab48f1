"""The rows of prediction, without the processes that they time."""

import types

import pytest

from spleen_tf.benchmark import prediction
from spleen_tf.benchmark.measure import Skipped


def test_a_runtime_is_not_measured_where_another_takes_its_place(monkeypatch):
    """As ONNX Runtime does with a warning, where OpenVINO is not installed or not right."""
    onnx = types.SimpleNamespace(name="onnx")
    monkeypatch.setattr(prediction.networks, "seen_by", lambda family, image: [])
    monkeypatch.setattr(prediction.networks, "started", lambda seen, engine: [onnx])
    bench = types.SimpleNamespace(family=None, inputs=types.SimpleNamespace(ct=None))
    with pytest.raises(Skipped, match="openvino does not run these networks here"):
        prediction.runtime_openvino(bench)
