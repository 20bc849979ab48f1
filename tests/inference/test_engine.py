"""Which runtime is taken, and that they find the same."""

import shutil

import numpy as np
import pytest

from spleen_tf.core.files import InputError
from spleen_tf.imaging.volume import Volume
from spleen_tf.inference import engine, loading
from spleen_tf.inference.engine import Engine
from spleen_tf.network import spec


@pytest.fixture
def folders(tmp_path):
    """Two SavedModels' folders, of which nothing is looked at here; one has a model.onnx."""
    names = ("axial/saved_model", "coronal/saved_model")
    found = [tmp_path / name for name in names]
    for folder in found:
        folder.mkdir(parents=True)
        (folder / "saved_model.pb").touch()
    spec.onnx_path(found[0]).touch()
    return found


def names_of(runtimes):
    return [runtime.name for runtime in runtimes]


@pytest.fixture
def gpu(monkeypatch):
    """A function that says whether the machine has a GPU."""
    return lambda there: monkeypatch.setattr(engine, "_has_gpu", lambda: there)


def test_onnx_runtime_is_taken_on_a_cpu_where_every_model_has_its_file(folders, gpu):
    gpu(False)
    assert names_of(engine.choose(folders)) == ["tensorflow", "tensorflow"]
    assert names_of(engine.choose(folders[:1])) == ["onnx"]
    assert names_of(engine.choose(folders[:1], Engine("tensorflow"))) == ["tensorflow"]
    assert names_of(engine.choose(folders[:1], Engine(precision="bfloat16"))) == ["tensorflow"]
    assert names_of(engine.choose(folders[:1], Engine(precision="float32"))) == ["onnx"]


def test_tensorflow_is_taken_where_a_gpu_may_be_used(folders, gpu):
    gpu(True)
    assert names_of(engine.choose(folders[:1])) == ["tensorflow"]
    assert names_of(engine.choose(folders[:1], Engine(device="cpu"))) == ["onnx"]
    assert names_of(engine.choose(folders[:1], Engine("onnx"))) == ["onnx"]
    gpu(False)
    assert names_of(engine.choose(folders[:1], Engine(device="gpu:0"))) == ["tensorflow"]


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (Engine("onnx", precision="float16"), "expected tensorflow for --precision=float16"),
        (Engine("onnx", device="gpu"), "expected tensorflow for --device=gpu"),
    ],
)
def test_onnx_runtime_is_refused_where_it_cannot_do_what_is_asked(folders, asked, message):
    with pytest.raises(InputError, match=message):
        engine.choose(folders[:1], asked)
    with pytest.raises(InputError, match=r"coronal.model\.onnx: expected an ONNX model for"):
        engine.choose(folders, Engine("onnx"))


def test_onnx_runtime_is_taken_where_the_saved_model_is_not_there(folders, gpu):
    """A wheel brings model.onnx alone."""
    (folders[0] / "saved_model.pb").unlink()
    gpu(True)
    assert names_of(engine.choose(folders[:1])) == ["onnx"]
    for asked in (Engine("tensorflow"), Engine(device="gpu"), Engine(precision="float16")):
        with pytest.raises(InputError, match=r"axial.saved_model: expected a SavedModel .* alone"):
            engine.choose(folders[:1], asked)
    with pytest.raises(InputError, match=r"axial.saved_model: expected a SavedModel .* alone"):
        engine.choose(folders)  # The other one has no model.onnx.


@pytest.fixture
def noise(make_affine):
    values = np.random.default_rng(0).integers(-300, 400, (12, 10, 9))
    return Volume(values.astype(np.int16), make_affine("RAS", (2, 2, 2)), "noise.nii")


@pytest.mark.parametrize("modality", ["MR", "CT"])
def test_both_runtimes_find_the_same(exported, noise, modality):
    """The CT model sees neighbours, which go along and are dropped."""
    found = []
    for runtime in ("onnx", "tensorflow"):
        asked = Engine(runtime, "cpu", "float32")
        models = loading.resolve([exported[modality]], asked)
        note = models.start(asked)
        assert models.runtime == runtime
        assert "float32" in note
        found.append(models.probability(noise))
    np.testing.assert_allclose(found[0], found[1], atol=2e-3)  # Half precision's steps, twice.
    assert found[0].max() > 0.9


@pytest.fixture
def copied(exported, tmp_path):
    """A SavedModel with its model.onnx beside it."""
    shutil.copytree(exported["MR"], tmp_path / "saved_model")
    shutil.copy(spec.onnx_path(exported["MR"]), tmp_path)
    return tmp_path / "saved_model"


def test_a_damaged_onnx_model_is_refused(copied):
    path = spec.onnx_path(copied)
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"model\.onnx: expected an ONNX model that .* not load"):
        loading.resolve([copied], Engine("onnx")).start(Engine("onnx"))


def test_an_onnx_model_of_other_weights_is_refused(copied, exported):
    shutil.copy(spec.onnx_path(exported["CT"]), spec.onnx_path(copied))
    with pytest.raises(InputError, match=r"expected the weights of the SavedModel beside it"):
        loading.resolve([copied], Engine("onnx")).start(Engine("onnx"))


def test_an_onnx_model_runs_without_the_saved_model(copied, exported, noise):
    beside = loading.resolve([exported["MR"]], Engine("onnx")).probability(noise)
    (copied / "saved_model.pb").unlink()
    shutil.rmtree(copied / "variables")
    alone = loading.resolve([copied])
    assert alone.runtime == "onnx"
    np.testing.assert_array_equal(alone.probability(noise), beside)
