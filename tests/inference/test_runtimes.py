"""What runs a model keeps to the cores of its job."""

import os
import pathlib

import pytest

from spleen_tf.core import cores
from spleen_tf.inference.runtimes import OnnxModel

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "models/spleen_any/axial/saved_model"


@pytest.mark.parametrize(
    ("numbers", "in_machine", "threads"),
    [([4, 7], 64, 2), ([0, 1], 2, 0)],  # 0: as many as ONNX Runtime thinks best.
)
def test_onnx_runtime_uses_no_more_threads_than_the_job_has_cores(
    monkeypatch, numbers, in_machine, threads
):
    monkeypatch.setattr(cores, "numbers", lambda: numbers)
    monkeypatch.setattr(os, "cpu_count", lambda: in_machine)
    model = OnnxModel(FOLDER)
    model.load()
    assert model._session.get_session_options().intra_op_num_threads == threads
