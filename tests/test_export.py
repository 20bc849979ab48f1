"""The exported model is one file for every machine: plain TensorFlow, core ops, float32.

The networks' weights are set by hand (see fixtures): the probability of a pixel x, windowed to
0..1, is σ(8 (x − 1/2)).
"""

import json
import re
import shutil
import textwrap

import numpy as np
import onnxruntime
import pytest

from spleen_tf import export
from spleen_tf.core.files import InputError
from spleen_tf.network import onnx, serving
from spleen_tf.network.spec import onnx_path, weights_sha256

# A process as on a server that has TensorFlow and none of what the model was made with.
PLAIN_TENSORFLOW = """
    import contextlib, importlib.abc, io, json, sys

    class Absent(importlib.abc.MetaPathFinder):
        def find_spec(self, name, path=None, target=None):
            if name.split(".")[0] in absent:
                raise ModuleNotFoundError(name)

    absent = {"spleen_tf", "tensorflow_addons", "tf_keras"}
    sys.meta_path.insert(0, Absent())
    import numpy as np
    import tensorflow as tf

    absent.add("keras")  # TensorFlow imports some of it by itself; from here on nothing more.
    with_tensorflow = set(sys.modules)
    from tensorflow.core.protobuf import saved_model_pb2
    from tensorflow.python.framework import op_def_registry
    from tensorflow.python.tools import saved_model_cli

    model, folder = sys.argv[1:]
    inputs = {k: np.load(f"{folder}/{k}.npy") for k in ("slices", "pixel_mm", "window", "images")}
    loaded = tf.saved_model.load(model)
    wanted = {"serving_default": "slices pixel_mm", "windowed": "slices pixel_mm window"}
    wanted["network"] = "images"
    for name, names in wanted.items():
        given = {key: tf.constant(inputs[key]) for key in names.split()}
        probability = loaded.signatures[name](**given)["probability"]
        np.save(f"{folder}/{name}.npy", probability.numpy())

    def cli(*arguments):
        sys.argv = ["saved_model_cli", *arguments]
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            try:
                saved_model_cli.main()
            except SystemExit as ended:
                assert not ended.code, ended.code
        return printed.getvalue()

    shown = cli("show", "--dir", model, "--all")
    pairs = ";".join(f"{key}={folder}/{key}.npy" for key in ("slices", "pixel_mm", "window"))
    cli("run", "--dir", model, "--tag_set", "serve", "--signature_def", "windowed",
        "--inputs", pairs, "--outdir", folder + "/cli")

    graph = saved_model_pb2.SavedModel()
    graph.ParseFromString(open(model + "/saved_model.pb", "rb").read())
    definition = graph.meta_graphs[0].graph_def
    functions = {function.signature.name for function in definition.library.function}
    nodes = [*definition.node, *(n for f in definition.library.function for n in f.node_def)]
    ops = sorted({node.op for node in nodes} - functions)
    types = sorted({tf.as_dtype(v.type).name for n in nodes for v in n.attr.values() if v.type})
    print(json.dumps({
        "shown": shown, "ops": ops, "types": types,
        "unknown": [op for op in ops if op_def_registry.get(op) is None],
        "foreign": sorted(m for m in set(sys.modules) - with_tensorflow
                          if m.split(".")[0] in absent),
        "variables": [variable.dtype.name for variable in loaded.variables_of_network],
    }))
"""


def sigma(x):
    """The probability that the networks give to a windowed intensity."""
    return 1 / (1 + np.exp(-8 * (np.asarray(x) - 0.5)))


@pytest.fixture(scope="module")
def volume_nhw():
    """5 slices of 7 × 9 pixels, neither of which 2² divides."""
    return np.random.default_rng(0).uniform(0, 1000, (5, 7, 9)).astype(np.float32)


@pytest.fixture(scope="module")
def plain(exported, volume_nhw, run_python, tmp_path_factory):
    """What a process without spleen_tf, TensorFlow Addons and Keras finds in the MR model."""
    folder = tmp_path_factory.mktemp("plain")
    inputs = {
        "slices": volume_nhw,
        "pixel_mm": np.array([2, 2], np.float32),
        "window": np.array([100, 900], np.float32),
        "images": volume_nhw[..., np.newaxis] / 1000,
    }
    for name, array in inputs.items():
        np.save(folder / f"{name}.npy", array)
    script = folder / "plain.py"
    script.write_text(textwrap.dedent(PLAIN_TENSORFLOW))
    finished = run_python(script, exported["MR"], folder, cwd=folder)
    assert finished.returncode == 0, finished.stderr
    return {"folder": folder, **json.loads(finished.stdout.splitlines()[-1])}


def test_plain_tensorflow_runs_all_signatures(plain, volume_nhw):
    assert plain["foreign"] == []
    windowed = np.load(plain["folder"] / "windowed.npy")
    expected = sigma(np.clip((volume_nhw - 100) / 800, 0, 1))
    np.testing.assert_allclose(windowed, expected, atol=1e-5)
    network = np.load(plain["folder"] / "network.npy")
    assert network.shape == (5, 7, 9, 1)
    np.testing.assert_allclose(network[..., 0], sigma(volume_nhw / 1000), atol=1e-5)


def test_without_a_window_an_mr_model_takes_percentiles_of_the_batch(plain, volume_nhw):
    low, high = np.percentile(volume_nhw, [0.5, 99.5])
    expected = sigma(np.clip((volume_nhw - low) / (high - low), 0, 1))
    served = np.load(plain["folder"] / "serving_default.npy")
    np.testing.assert_allclose(served, expected, atol=1e-5)


def test_saved_model_cli_shows_and_runs_it(plain):
    for name in ("serving_default", "windowed", "network"):
        assert f"signature_def['{name}']" in plain["shown"]
    ran = np.load(plain["folder"] / "cli" / "probability.npy")
    np.testing.assert_array_equal(ran, np.load(plain["folder"] / "windowed.npy"))


def test_the_graph_has_core_ops_only(plain):
    """Plain TensorFlow has registered every one of them, and none comes from a library."""
    assert plain["unknown"] == []
    assert "Conv2D" in plain["ops"]
    assert not [op for op in plain["ops"] if op.startswith("Addons>")]


def test_weights_and_graph_are_float32(plain):
    assert set(plain["variables"]) == {"float32"}
    assert "float32" in plain["types"]
    assert not {"float16", "bfloat16"} & set(plain["types"])


@pytest.fixture(scope="module")
def signatures(exported):
    """The loaded models' signatures by modality; the models are kept alive with them."""
    import tensorflow as tf

    loaded = {modality: tf.saved_model.load(str(path)) for modality, path in exported.items()}
    return {modality: (model.signatures, model) for modality, model in loaded.items()}


@pytest.mark.parametrize(
    ("name", "inputs", "output"),
    [
        ("serving_default", {"slices": [None] * 3, "pixel_mm": [2]}, [None] * 3),
        ("windowed", {"slices": [None] * 3, "pixel_mm": [2], "window": [2]}, [None] * 3),
        ("network", {"images": [None, None, None, 3]}, [None, None, None, 1]),
    ],
)
def test_a_signature_has_named_float32_inputs_of_dynamic_shape(signatures, name, inputs, output):
    signature = signatures["CT"][0][name]
    _, specs = signature.structured_input_signature
    assert {key: spec.shape.as_list() for key, spec in specs.items()} == inputs
    assert {spec.dtype.name for spec in specs.values()} == {"float32"}
    (result,) = signature.structured_outputs.items()
    assert result[0] == "probability"
    assert result[1].dtype.name == "float32"
    assert result[1].shape.as_list() == output


def run(signature, **inputs):
    import tensorflow as tf

    given = {name: tf.constant(value, tf.float32) for name, value in inputs.items()}
    return signature(**given)["probability"].numpy()


def test_without_a_window_a_ct_model_takes_its_own_in_hounsfield_units(signatures):
    """Window -160..240 HU: 40 HU is its middle, whatever else is in the batch."""
    slices = np.full((3, 8, 8), 40.0)
    slices[:, 4:] = 240
    found = run(signatures["CT"][0]["serving_default"], slices=slices, pixel_mm=[2, 2])
    assert found[1, 2, 2] == pytest.approx(0.5, abs=1e-6)
    assert found[1, 6, 6] == pytest.approx(sigma(1), abs=1e-6)
    windowed = run(
        signatures["CT"][0]["windowed"], slices=slices, pixel_mm=[2, 2], window=[-160, 240]
    )
    np.testing.assert_array_equal(found, windowed)


def test_three_channels_are_the_slice_and_its_neighbours_and_edges_are_repeated(signatures):
    """By its weights the CT network looks one slice, row and column back."""
    slices = 40 + 10 * np.arange(4.0)[:, None, None] * np.ones((4, 8, 8))
    found = run(signatures["CT"][0]["windowed"], slices=slices, pixel_mm=[2, 2], window=[40, 80])
    # Slice 0 has none before it and sees itself; the image is 0, 1/4, 1/2, 3/4.
    np.testing.assert_allclose(found[:, 4, 4], sigma([0, 0, 0.25, 0.5]), atol=1e-6)
    # Before row 0 and column 0 there is nothing but zeros.
    np.testing.assert_allclose(found[3, 0], sigma(0), atol=1e-6)
    np.testing.assert_allclose(found[3, :, 0], sigma(0), atol=1e-6)


def test_the_network_signature_takes_images_on_the_grid_with_their_channels(signatures):
    images = np.zeros((2, 5, 6, 3))
    images[1, 2, 3, 0] = 1
    found = run(signatures["CT"][0]["network"], images=images)
    expected = np.full((2, 5, 6, 1), sigma(0))
    expected[1, 3, 4, 0] = sigma(1)
    np.testing.assert_allclose(found, expected, atol=1e-6)


@pytest.mark.parametrize(("shape", "pixel_mm"), [((1, 5, 6), (2, 2)), ((3, 33, 18), (0.7, 1.9))])
def test_probabilities_are_at_the_native_resolution(signatures, shape, pixel_mm):
    slices = np.full(shape, 7.0)
    found = run(signatures["MR"][0]["windowed"], slices=slices, pixel_mm=pixel_mm, window=[0, 7])
    assert found.shape == shape
    middle = found[0, shape[1] // 2, shape[2] // 2]
    assert middle == pytest.approx(sigma(1), abs=1e-5)


def test_a_constant_mr_volume_is_dark_not_nan(signatures):
    found = run(
        signatures["MR"][0]["serving_default"], slices=np.full((2, 4, 4), 9), pixel_mm=[2, 2]
    )
    np.testing.assert_allclose(found, sigma(0), atol=1e-6)


def described(saved_model):
    return json.loads((saved_model / "assets.extra" / "model.json").read_text())


def test_the_description_says_what_the_model_is_and_what_it_saw(exported):
    versions = described(exported["CT"])["versions"]
    assert versions["tensorflow"].startswith("2.15")
    assert versions["keras"].startswith("2.15")
    assert described(exported["CT"]) == {
        "name": "by_hand_CT",
        "family": "by_hand_CT",
        "license": None,
        "version": "1.0.0",
        "plane": "coronal",
        "modality": "CT",
        "pixel_mm": [2.0, 2.0],
        "window": [-160.0, 240.0],
        "image_size": 32,
        "learning_rate": 0.001,
        "in_channels": 3,
        "threshold": 0.5,
        "labels": {"0": "background", "1": "spleen"},
        "training": {
            "cases": [
                {"name": "case_a", "sha256": "aa11"},
                {"name": "case_b", "sha256": "bb22"},
            ]
        },
        "validation": {"dice": None, "how": "not measured: training was not validated"},
        "versions": versions,
    }
    assert described(exported["MR"])["window"] == [0.5, 99.5]


@pytest.fixture
def export_quickly(exported, monkeypatch):
    """A function that exports, but takes the graphs from an earlier export: seconds saved."""
    monkeypatch.setattr(
        serving, "save", lambda module, folder, place: shutil.copytree(exported["MR"], folder)
    )
    onnx_model = onnx_path(exported["MR"]).read_bytes()
    monkeypatch.setattr(onnx, "convert", lambda module, spec, folder: (onnx_model, 0.0))

    def run_main(model_dir, export_dir, **options):
        export.main(
            export.ExportConfig(model_dir=str(model_dir), export_dir=str(export_dir), **options)
        )

    return run_main


@pytest.fixture
def trained_copy(trained, tmp_path):
    """A function that copies a trained MR model's folder and overwrites parts of training.json."""

    def copy(**entries):
        folder = tmp_path / "trained"
        shutil.copytree(trained["MR"], folder)
        path = folder / "training.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **entries}))
        return folder

    return copy


def test_names_come_from_the_folder_unless_given(trained, tmp_path, export_quickly):
    export_quickly(trained["MR"], tmp_path / "models/my_model/saved_model")
    export_quickly(trained["MR"], tmp_path / "models/family/axial/saved_model")
    export_quickly(trained["MR"], tmp_path / "other", name="named", model_version="2.1.0")
    folders = ("models/my_model/saved_model", "models/family/axial/saved_model", "other")
    names = [described(tmp_path / folder)["name"] for folder in folders]
    assert names == ["my_model", "family-axial", "named"]
    assert described(tmp_path / "other")["version"] == "2.1.0"


def test_the_validation_dice_is_that_of_the_best_weights(trained_copy, tmp_path, export_quickly):
    import tensorflow as tf

    from spleen_tf.training import checkpoints

    folder = trained_copy(validation={"case_c": "cc33", "case_d": "dd44"})
    state = checkpoints.State()
    state.best_dice.assign(0.875)
    manager = tf.train.CheckpointManager(
        tf.train.Checkpoint(state=state), folder / "checkpoints", max_to_keep=1
    )
    manager.save()
    export_quickly(folder, tmp_path / "saved_model")
    validation = described(tmp_path / "saved_model")["validation"]
    assert validation["dice"] == 0.875
    assert validation["how"].startswith("mean over 2 validation cases")


def test_a_model_that_was_trained_on_every_case_claims_no_dice(
    trained_copy, tmp_path, export_quickly
):
    export_quickly(trained_copy(validation={}), tmp_path / "saved_model")
    assert described(tmp_path / "saved_model")["validation"] == {
        "dice": None,
        "how": "not measured: every case was trained on",
    }


def test_an_oblong_image_size_is_told_as_two_numbers(trained_copy, tmp_path, export_quickly):
    folder = trained_copy()
    config = json.loads((folder / "training.json").read_text())["config"]
    text = (folder / "training.json").read_text()
    assert config["image_size"] == [32.0]
    (folder / "training.json").write_text(text.replace("[32.0]", "[64.0, 32.0]"))
    export_quickly(folder, tmp_path / "saved_model")
    assert described(tmp_path / "saved_model")["image_size"] == [64, 32]


def test_an_older_saved_model_is_replaced_whole(exported, trained, tmp_path, export_quickly):
    place = tmp_path / "my_model" / "saved_model"
    shutil.copytree(exported["CT"], place)
    (place / "stale.txt").write_text("of the older one")
    onnx_path(place).write_text("of the older one")
    export_quickly(trained["MR"], place)
    assert described(place)["modality"] == "MR"
    assert not (place / "stale.txt").exists()
    assert sorted(path.name for path in place.parent.iterdir()) == ["model.onnx", "saved_model"]
    assert onnx_path(place).read_bytes() == onnx_path(exported["MR"]).read_bytes()


def test_a_full_disk_leaves_the_older_saved_model(exported, trained, tmp_path, no_room):
    place = tmp_path / "my_model" / "saved_model"
    shutil.copytree(exported["CT"], place)
    before = {path: path.read_bytes() for path in place.rglob("*") if path.is_file()}
    config = export.ExportConfig(model_dir=str(trained["MR"]), export_dir=str(place))
    with no_room(), pytest.raises(InputError, match=r"saved_model: expected a place to write to"):
        export.main(config)
    assert {path: path.read_bytes() for path in place.rglob("*") if path.is_file()} == before
    assert [path.name for path in place.parent.iterdir()] == ["saved_model"]


def test_an_empty_folder_is_filled(trained, tmp_path, export_quickly):
    (tmp_path / "empty").mkdir()
    export_quickly(trained["MR"], tmp_path / "empty")
    assert (tmp_path / "empty" / "saved_model.pb").is_file()


@pytest.mark.parametrize("name", ["folder", "folder/thesis.docx"])
def test_what_is_no_saved_model_is_not_replaced(trained, tmp_path, export_quickly, name):
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "thesis.docx").write_text("three years of work")
    with pytest.raises(InputError, match="expected a SavedModel to replace, or nothing, found"):
        export_quickly(trained["MR"], tmp_path / name)
    assert (tmp_path / "folder" / "thesis.docx").read_text() == "three years of work"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("missing", ["training.json", "best.weights.h5"])
def test_a_folder_that_training_did_not_finish_an_epoch_in_is_refused(
    trained_copy, tmp_path, export_quickly, missing
):
    folder = trained_copy()
    (folder / missing).unlink()
    with pytest.raises(
        InputError, match=f"trained: expected a folder that .*train wrote.*{missing}"
    ):
        export_quickly(folder, tmp_path / "saved_model")
    assert not (tmp_path / "saved_model").exists()


def test_weights_of_another_network_are_refused(trained, trained_copy, tmp_path, export_quickly):
    folder = trained_copy()
    shutil.copy(trained["CT"] / "best.weights.h5", folder)
    with pytest.raises(InputError, match=r"best\.weights\.h5: expected the weights of the network"):
        export_quickly(folder, tmp_path / "saved_model")
    assert not (tmp_path / "saved_model").exists()


def test_damaged_weights_are_refused(trained_copy, tmp_path, export_quickly):
    folder = trained_copy()
    weights = folder / "best.weights.h5"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"best\.weights\.h5: expected the weights of the network"):
        export_quickly(folder, tmp_path / "saved_model")


def test_a_damaged_description_is_refused(trained_copy, tmp_path, export_quickly):
    folder = trained_copy()
    (folder / "training.json").write_text('{"config": ')
    with pytest.raises(InputError, match=r"training\.json: expected JSON"):
        export_quickly(folder, tmp_path / "saved_model")


@pytest.mark.parametrize("content", ["[]", "{}", '{"config": []}'])
def test_a_description_of_another_kind_is_refused(trained_copy, tmp_path, export_quickly, content):
    folder = trained_copy()
    (folder / "training.json").write_text(content)
    with pytest.raises(InputError, match=r"training\.json: expected .*; restore the file, or"):
        export_quickly(folder, tmp_path / "saved_model")


def test_flags_of_another_release_are_ignored(trained_copy, tmp_path, export_quickly):
    folder = trained_copy()
    content = json.loads((folder / "training.json").read_text())
    content["config"]["deep_supervision"] = False
    (folder / "training.json").write_text(json.dumps(content))
    export_quickly(folder, tmp_path / "saved_model")
    assert described(tmp_path / "saved_model")["in_channels"] == 1


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        ({}, "--model_dir: expected a folder that spleen_tf.train wrote. Found nothing."),
        ({"model_dir": "m"}, "--export_dir: expected the SavedModel's folder. Found nothing."),
        ({"saved_model": "s", "model_dir": "m"}, "--saved_model: expected neither --model_dir nor"),
    ],
)
def test_what_to_export_and_where_to_are_needed_unless_a_saved_model_is_given(flags, sentence):
    with pytest.raises(InputError, match=re.escape(sentence)):
        export.ExportConfig(**flags)


# model.onnx


@pytest.fixture(scope="module")
def sessions(exported):
    """ONNX Runtime's sessions of the exported models, by modality."""
    return {
        modality: onnxruntime.InferenceSession(onnx_path(folder))
        for modality, folder in exported.items()
    }


def test_the_onnx_model_has_the_inputs_and_output_of_windowed(sessions):
    (output,) = sessions["CT"].get_outputs()
    values = {value.name: value for value in (*sessions["CT"].get_inputs(), output)}
    assert {value.type for value in values.values()} == {"tensor(float)"}
    assert {name: value.shape for name, value in values.items()} == {
        "slices": ["N", "H", "W"],
        "pixel_mm": [2],
        "window": [2],
        "probability": ["M", "H", "W"],
    }


def test_the_onnx_model_names_the_weights_of_its_saved_model(sessions, exported):
    for modality, folder in exported.items():
        metadata = sessions[modality].get_modelmeta().custom_metadata_map
        assert metadata["saved_model_weights_sha256"] == weights_sha256(folder)


def test_the_onnx_model_gives_the_probabilities_by_hand(sessions, volume_nhw):
    inputs = {"slices": volume_nhw, "pixel_mm": [2, 2], "window": [100, 900]}
    (found,) = sessions["MR"].run(None, {k: np.float32(v) for k, v in inputs.items()})
    np.testing.assert_allclose(found, sigma(np.clip((volume_nhw - 100) / 800, 0, 1)), atol=1e-5)


@pytest.mark.parametrize(
    ("shape", "pixel_mm"), [((4, 33, 18), (0.7, 1.9)), ((1, 5, 6), (4, 3)), ((2, 1, 9), (1, 2))]
)
def test_the_onnx_model_agrees_with_the_saved_model_on_every_grid(
    sessions, signatures, shape, pixel_mm
):
    """Two models: of one slice, and of a slice amid its neighbours."""
    slices = np.random.default_rng(1).normal(0, 300, shape)
    inputs = {"slices": slices, "pixel_mm": pixel_mm, "window": (-160, 240)}
    for modality, session in sessions.items():
        (found,) = session.run(None, {k: np.float32(v) for k, v in inputs.items()})
        expected = run(signatures[modality][0]["windowed"], **inputs)
        np.testing.assert_allclose(found, expected, atol=1e-5)


def test_an_onnx_model_is_made_from_a_saved_model_alone(exported, tmp_path, capsys):
    place = tmp_path / "released" / "saved_model"
    shutil.copytree(exported["CT"], place)
    export.main(export.ExportConfig(saved_model=str(place)))
    assert "model.onnx: probabilities differ from the SavedModel's by at most" in (
        capsys.readouterr().out
    )
    session = onnxruntime.InferenceSession(onnx_path(place))
    slices = np.full((3, 9, 7), 240, np.float32)
    pair = np.float32([2, 2]), np.float32([-160, 240])
    (found,) = session.run(None, {"slices": slices, "pixel_mm": pair[0], "window": pair[1]})
    assert found[1, 4, 4] == pytest.approx(sigma(1), abs=1e-5)


@pytest.mark.slow
def test_an_onnx_model_that_differs_from_the_saved_model_is_refused(exported, tmp_path):
    """The grid of model.json is not the one that the SavedModel has."""
    place = tmp_path / "released" / "saved_model"
    shutil.copytree(exported["MR"], place)
    path = place / "assets.extra" / "model.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "pixel_mm": [3.0, 2.0]}))
    with pytest.raises(InputError, match=r"expected an ONNX model whose .* at most 0\.001, found"):
        export.main(export.ExportConfig(saved_model=str(place)))
    assert not onnx_path(place).exists()
