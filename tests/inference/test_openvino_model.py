"""OpenVINO runs models where it is right; whatever goes wrong, ONNX Runtime runs them."""

import importlib.util
import pathlib
import sys

import numpy as np
import pytest

from spleen_tf.core.files import InputError, InputWarning
from spleen_tf.inference import engine, openvino_model, openvino_trial
from spleen_tf.inference.engine import Engine
from spleen_tf.inference.openvino_model import OpenVinoModel
from spleen_tf.inference.openvino_trial import Choice
from spleen_tf.inference.runtimes import OnnxModel

needs_openvino = pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None, reason="OpenVINO (an extra) is not installed"
)


@pytest.fixture
def child(monkeypatch):
    """A function that sets what the child process does, as if OpenVINO were installed."""

    def set_code(code):
        monkeypatch.setattr(openvino_trial.importlib.util, "find_spec", lambda name: True)
        monkeypatch.setattr(openvino_trial, "_CHILD", (sys.executable, "-c", code))

    return set_code


@pytest.fixture
def model(exported):
    return OpenVinoModel(exported["CT"])


def inputs(count=4):
    slices = np.random.default_rng(0).normal(40.0, 150.0, (count, 30, 20)).astype(np.float32)
    return slices, (2.0, 3.0), (-160.0, 240.0)


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("import os; os.abort()", "its trial was ended by signal 6"),
        ("import sys; sys.exit(3)", "its trial failed with exit code 3"),
        ("print('not JSON')", "its trial failed with exit code 0"),
        ("""print('"its results differ"')""", "its results differ"),
        ("import time; time.sleep(9)", "its trial took more than"),
    ],
)
def test_onnx_runtime_takes_over_where_the_trial_fails(child, monkeypatch, model, code, reason):
    child(code)
    monkeypatch.setattr(openvino_trial, "_CHILD_SECONDS", 0.2 if "sleep" in code else 60.0)
    with pytest.warns(InputWarning, match=f"OpenVINO is not used, since {reason}") as caught:
        model.load()
    assert len(caught) == 1
    assert model.name == "onnx"
    assert openvino_model.note([model]).startswith("ONNX Runtime, float32")
    expected = OnnxModel(model.folder).probability(*inputs(), margins=(1, 0))
    np.testing.assert_array_equal(model.probability(*inputs(), margins=(1, 0)), expected)


def test_a_missing_openvino_costs_one_warning_for_all_models(monkeypatch, exported):
    monkeypatch.setattr(openvino_trial.importlib.util, "find_spec", lambda name: None)
    models = engine.choose(list(exported.values()), Engine("openvino"))
    with pytest.warns(InputWarning, match="it is not installed") as caught:
        engine.start(models, Engine("openvino"))
    assert len(caught) == 1
    assert {model.name for model in models} == {"onnx"}


def test_what_the_trial_chose_is_taken_and_told(child, model):
    child("""print('a line of a library'); print('[{"precision":"bfloat16","times_as_fast":1.94,\
"disagreement":0.01}]')""")
    openvino_model.try_out([model])
    assert model.choice == Choice("bfloat16", 1.94, 0.01)
    assert model.name == "openvino"
    assert openvino_model.note([model]).startswith("OpenVINO, bfloat16: 1.9 times as fast")


def test_disagreement_is_relative_to_the_spread_of_log_odds():
    odds = np.array([-4.0, -2.0, 2.0, 4.0])  # Their standard deviation is the root of 10.
    probability = 1 / (1 + np.exp(-odds))
    shifted = 1 / (1 + np.exp(-odds - 0.1))
    disagreement = openvino_trial._disagreement
    assert disagreement(probability, probability) == 0.0
    assert disagreement(shifted, probability) == pytest.approx(0.1 / np.sqrt(10.0))
    assert disagreement(probability[::-1], probability) > 1.0
    assert disagreement(np.full(4, np.nan), probability) == float("inf")


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (Engine("openvino", precision="float16"), "expected tensorflow for --precision=float16"),
        (Engine("openvino", device="gpu"), "expected tensorflow for --device=gpu, found openvino"),
    ],
)
def test_openvino_is_refused_where_it_cannot_do_what_is_asked(exported, asked, message):
    with pytest.raises(InputError, match=message):
        engine.choose([exported["CT"]], asked)


def test_openvino_needs_an_onnx_model():
    with pytest.raises(
        InputError, match=r"model\.onnx: expected an ONNX model for --runtime=openv"
    ):
        engine.choose([pathlib.Path("nowhere/saved_model")], Engine("openvino"))


@needs_openvino
@pytest.mark.parametrize("modality", ["MR", "CT"])
def test_openvino_finds_what_onnx_runtime_finds(exported, modality):
    model = OpenVinoModel(exported[modality], "float32")
    model.load()
    assert model.name == "openvino"
    for margins in ((0, 0), (1, 2)):
        expected = OnnxModel(model.folder).probability(*inputs(), margins=margins)
        actual = model.probability(*inputs(), margins=margins)
        np.testing.assert_allclose(actual, expected, atol=1e-4)
