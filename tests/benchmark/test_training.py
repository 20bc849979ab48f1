"""The rows of training and conversion, with tiny networks and volumes."""

import sys

import pytest

from spleen_tf.benchmark import conversion, pytorch
from spleen_tf.benchmark.bench import Bench
from spleen_tf.benchmark.inputs import Inputs
from spleen_tf.core.flags import CommandFailed
from spleen_tf.network.spec import NetworkSpec

RECIPE = "--image_size=32\n--pixel_mm=8\n--base_filters=2\n--depth=2\n--batch_size=2\n--steps=3\n"


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
    """One turn of one step, a recipe of a tiny network, and volumes of a sixteenth of the size."""
    folder = tmp_path_factory.mktemp("bench")
    (folder / "train.flags").write_text(RECIPE)
    made = Bench(Inputs(folder / "in", folder, shrink=16), folder, repeats=1, steps=1)
    from spleen_tf.benchmark import networks

    # In place of the released family's.
    vars(made)["recipe_path"] = folder / "train.flags"
    vars(made)["recipe"] = networks.recipe(folder / "saved_model").settled()
    return made


def test_conversion_is_measured_beside_nibabel(bench):
    measurement = conversion.conversion(bench)
    assert len(measurement.values) == len(measurement.references) == 1
    assert min(*measurement.values, *measurement.references) > 0


@pytest.mark.slow
def test_step_and_pipeline_are_measured(bench):
    from spleen_tf.benchmark import training

    alone = training.train_step_released(bench)
    assert alone.values[0] > 0
    assert "no --peer_python to compare with" in alone.note
    both = training.input_pipeline(bench)
    assert min(*both.values, *both.references) > 0


@pytest.mark.slow
def test_the_command_is_measured_by_its_own_log(bench):
    from spleen_tf.benchmark import training

    assert training.fit(bench).values[0] > 0


FAKE_TORCH = """
import json, sys
settings = json.loads(sys.argv[-1])
assert settings["filters"] == [2, 4], settings
print(1234, flush=True)
for line in sys.stdin:
    print(0.5 * int(line), flush=True)
"""


def test_a_peer_answers_steps_with_their_seconds(tmp_path, monkeypatch):
    program = tmp_path / "fake.py"
    program.write_text(FAKE_TORCH)
    monkeypatch.setattr(pytorch, "PROGRAM", program)
    network = NetworkSpec(base_filters=2, depth=1)
    with pytorch.started(sys.executable, network, (8, 8), 10, "float32") as torch:
        assert torch.parameters == 1234
        # 3 steps of half a second, 10 images each.
        assert torch.ms_per_image(3) == pytest.approx(50.0)
    assert torch.process.poll() is not None


def test_an_interpreter_without_pytorch_is_named():
    network = NetworkSpec(base_filters=2, depth=1)
    with (
        pytest.raises(CommandFailed, match="No module named 'torch'"),
        pytorch.started(sys.executable, network, (8, 8), 1, "float32"),
    ):
        pass
