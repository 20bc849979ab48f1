"""Trainings of seconds: what they leave, how they go on after a kill, and what they refuse."""

import csv
import dataclasses
import json
import pathlib
import shutil
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest
import tensorflow as tf

from spleen_tf import export, train
from spleen_tf.core.files import InputError
from spleen_tf.core.flags import CommandFailed
from spleen_tf.network import unet
from spleen_tf.network.spec import NetworkSpec
from spleen_tf.training import callbacks, checkpoints, initial_weights, run

ROOT = pathlib.Path(__file__).resolve().parents[1]


@pytest.fixture(autouse=True)
def _float32_afterwards():
    yield
    keras.mixed_precision.set_global_policy("float32")


@pytest.fixture(scope="module")
def four_steps(quick_training, tmp_path_factory):
    """The folder of a training of four steps, two an epoch; not to be changed."""
    model_dir = tmp_path_factory.mktemp("four_steps") / "model"
    train.main(quick_training(model_dir=str(model_dir), steps=4))
    return model_dir


@pytest.fixture
def copy(four_steps, tmp_path):
    """A copy of it that may be."""
    return pathlib.Path(shutil.copytree(four_steps, tmp_path / "model"))


def log_of(model_dir):
    with open(pathlib.Path(model_dir) / "log.csv", newline="") as stream:
        return list(csv.DictReader(stream))


def column(model_dir, name):
    return [float(row[name]) for row in log_of(model_dir)]


def checkpointed(model_dir, name):
    """A variable of the last checkpoint."""
    latest = tf.train.latest_checkpoint(pathlib.Path(model_dir) / "checkpoints")
    return tf.train.load_variable(latest, f"{name}/.ATTRIBUTES/VARIABLE_VALUE")


def all_checkpointed(model_dir):
    latest = tf.train.latest_checkpoint(pathlib.Path(model_dir) / "checkpoints")
    reader = tf.train.load_checkpoint(latest)
    names = reader.get_variable_to_shape_map()
    return {name: reader.get_tensor(name) for name in names if "OBJECT_GRAPH" not in name}


def snapshot(folder):
    """The bytes of each file."""
    return {path: path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def best_weights(model_dir):
    network = unet.build(NetworkSpec(base_filters=2, depth=1))
    network.load_weights(pathlib.Path(model_dir) / checkpoints.BEST_WEIGHTS)
    return [variable.numpy() for variable in network.variables]


# What a training leaves


def test_the_log_has_a_row_an_epoch_with_loss_and_dice(four_steps):
    rows = log_of(four_steps)
    columns = {"epoch", "loss", "val_dice", "learning_rate", "images_per_s", "steps"}
    assert columns <= set(rows[0])
    assert column(four_steps, "epoch") == [0, 1]
    assert column(four_steps, "steps") == [2, 4]
    assert all(0 < loss < 5 for loss in column(four_steps, "loss"))
    assert all(0 <= dice <= 1 for dice in column(four_steps, "val_dice"))
    assert all(speed > 0 for speed in column(four_steps, "images_per_s"))


def test_the_best_dice_is_the_highest_of_the_log(four_steps):
    assert checkpoints.best_dice(four_steps) == pytest.approx(max(column(four_steps, "val_dice")))


def test_tensorboard_files_hold_losses_dice_and_pictures_of_validation_cases(four_steps):
    tags = set()
    for path in (four_steps / "tensorboard").rglob("events.*"):
        for event in tf.compat.v1.train.summary_iterator(str(path)):
            for value in event.summary.value:
                plugin = value.metadata.plugin_data.plugin_name
                tags.add((f"{path.parent.name}/{value.tag}", plugin))
    assert {
        ("train/epoch_loss", "scalars"),
        ("validation/val_dice", "scalars"),
        ("validation/validation/v", "images"),
    } <= tags


def test_training_json_says_what_was_trained_on(four_steps, disc_records):
    training = json.loads((four_steps / "training.json").read_text())
    assert (training["plane"], training["modality"]) == ("axial", "CT")
    assert training["pixel_mm"] == [2.0, 1.5]
    assert training["window"] == [-160.0, 240.0]
    assert training["config"]["learning_rate"] == 0.01
    cases = json.loads(pathlib.Path(disc_records, "cases.json").read_text())["cases"]
    assert training["train"] == {name: cases[name]["source_sha256"] for name in ("a", "b")}
    assert set(training["validation"]) == {"v"}


@pytest.mark.slow
def test_a_training_finds_the_spleen(quick_training, tmp_path):
    train.main(
        quick_training(
            model_dir=str(tmp_path),
            steps=60,
            steps_per_epoch=60,
            base_filters=4,
            learning_rate=0.05,
        )
    )
    assert column(tmp_path, "val_dice")[-1] > 0.9


# Going on


def test_the_same_command_after_the_end_trains_nothing(quick_training, copy, capsys):
    before = snapshot(copy)
    train.main(quick_training(model_dir=str(copy), steps=4, learning_rate=0.5))
    assert "trained to the end already (4 steps)" in capsys.readouterr().out
    assert snapshot(copy) == before


def test_a_training_goes_on_where_it_stopped(quick_training, copy, capsys):
    train.main(quick_training(model_dir=str(copy), steps=8))
    assert "resumes after 4 steps" in capsys.readouterr().out
    assert column(copy, "epoch") == [0, 1, 2, 3]
    assert column(copy, "steps") == [2, 4, 6, 8]
    assert checkpointed(copy, "state/steps") == 8


def test_weights_optimizer_and_averages_go_on_as_they_were(quick_training, copy):
    # A step with a learning rate of nothing moves none but the averages and BatchNorm.
    before = all_checkpointed(copy)
    train.main(quick_training(model_dir=str(copy), steps=5, learning_rate=1e-30))
    after = all_checkpointed(copy)
    kernels = [name for name in before if name.startswith("model/") and "/kernel" in name]
    assert len(kernels) == 8
    for name in kernels:
        np.testing.assert_allclose(after[name], before[name], rtol=1e-6)
    # The first kernel's second moments: v ← 0.999 v + 0.001 g², and not from new zeros.
    v = "optimizer/_variables/2/.ATTRIBUTES/VARIABLE_VALUE"
    assert before[v].max() > 0
    assert (after[v] >= 0.998 * before[v]).all()
    assert int(after["optimizer/_iterations/.ATTRIBUTES/VARIABLE_VALUE"]) == 5
    # The averages' decay after four steps is 4/13.
    steps = "state/averages/steps/.ATTRIBUTES/VARIABLE_VALUE"
    assert (before[steps], after[steps]) == (4, 5)
    average = "state/averages/values/0/.ATTRIBUTES/VARIABLE_VALUE"
    kernel = next(n for n in kernels if before[n].shape == (3, 3, 1, 2))
    expected = 4 / 13 * before[average] + 9 / 13 * before[kernel]
    np.testing.assert_allclose(after[average], expected, rtol=1e-5)


@pytest.mark.slow
def test_a_killed_training_goes_on_from_its_last_checkpoint(quick_training, tmp_path, capsys):
    config = quick_training(model_dir=str(tmp_path / "model"), steps=10**6)
    flags = [
        f"--{name}={','.join(map(str, value)) if isinstance(value, tuple) else value}"
        for name, value in vars(config).items()
        if value != type(config).__dataclass_fields__[name].default
    ]
    log = tmp_path / "model" / "log.csv"
    process = subprocess.Popen(
        [sys.executable, "-m", "spleen_tf.train", *flags],
        cwd=ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        deadline = time.monotonic() + 300
        while not log.exists() or log.read_text().count("\n") < 4:
            assert process.poll() is None, process.stderr.read()
            assert time.monotonic() < deadline
            time.sleep(0.05)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stderr.close()
    steps = int(checkpointed(tmp_path / "model", "state/steps"))
    assert steps >= 6
    train.main(quick_training(model_dir=str(tmp_path / "model"), steps=steps + 2))
    assert f"resumes after {steps} steps" in capsys.readouterr().out
    logged = column(tmp_path / "model", "steps")
    assert logged[-1] == steps + 2
    assert logged == sorted(set(logged))  # No epoch twice.


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["ranger", "swa"])
def test_other_optimizers_train_and_go_on(quick_training, tmp_path, capsys, optimizer):
    def settings(steps):
        return quick_training(
            model_dir=str(tmp_path), optimizer=optimizer, steps=steps, steps_per_epoch=13
        )

    train.main(settings(26))
    train.main(settings(28))
    assert "resumes after 26 steps" in capsys.readouterr().out
    assert column(tmp_path, "steps") == [13, 26, 28]


@pytest.mark.slow
def test_float16_trains_with_loss_scaling_and_goes_on(quick_training, tmp_path, capsys):
    train.main(quick_training(model_dir=str(tmp_path), steps=2, precision="float16"))
    assert "mixed_float16: asked for" in capsys.readouterr().out
    assert any("loss_scale" in name for name in all_checkpointed(tmp_path))
    train.main(quick_training(model_dir=str(tmp_path), steps=4, precision="float16"))
    assert "resumes after 2 steps" in capsys.readouterr().out
    assert np.isfinite(column(tmp_path, "loss")).all()
    assert all(np.isfinite(weights).all() for weights in best_weights(tmp_path))
    train.main(quick_training(model_dir=str(tmp_path), steps=6, precision="float32"))
    assert "resumes after 4 steps" in capsys.readouterr().out


@pytest.mark.slow
def test_float16_does_not_go_on_without_a_loss_scale(quick_training, tmp_path):
    train.main(quick_training(model_dir=str(tmp_path), steps=2, precision="float32"))
    with pytest.raises(InputError, match="go on with --precision=bfloat16 or float32"):
        train.main(quick_training(model_dir=str(tmp_path), steps=4, precision="float16"))


def test_minutes_end_a_training_and_count_over_all_runs(quick_training, tmp_path, capsys):
    config = quick_training(model_dir=str(tmp_path), minutes=1e-6)
    train.main(config)
    assert column(tmp_path, "steps") == [1]  # The first step is longer than that.
    train.main(config)
    assert "trained to the end already (1 steps)" in capsys.readouterr().out


def test_epochs_end_a_training_too(quick_training, tmp_path):
    # 10 training slices in batches of 4: 3 steps show each once.
    train.main(quick_training(model_dir=str(tmp_path), epochs=1, steps_per_epoch=0))
    assert column(tmp_path, "steps") == [3]


def test_a_fold_of_nnunets_splits_trains_and_validates(quick_training, tmp_path):
    splits = tmp_path / "splits_final.json"
    splits.write_text('[{"train": ["a"], "val": ["v"]}, {"train": ["b", "v"], "val": ["a"]}]')
    config = quick_training(model_dir="m", steps=2, splits=str(splits), fold=1)
    data = run.settle(config)
    assert (data.train, data.validation) == (("b", "v"), ("a",))


def test_a_fold_that_the_records_were_not_made_for_is_refused(quick_training):
    with pytest.raises(InputError, match=r"splits\.json: expected a list of folds"):
        run.settle(quick_training(model_dir="m", steps=2, fold=3))


def test_without_validation_the_last_weights_are_kept(quick_training, tmp_path):
    splits = tmp_path / "splits.json"
    splits.write_text('{"train": ["a", "b", "v"], "validation": []}')
    train.main(quick_training(model_dir=str(tmp_path / "m"), steps=2, splits=str(splits)))
    assert "val_dice" not in log_of(tmp_path / "m")[0]
    assert checkpoints.best_dice(tmp_path / "m") is None
    assert len(best_weights(tmp_path / "m")) > 0


@pytest.mark.slow
def test_neighbours_dropout_and_group_norm_train(quick_training, tmp_path):
    train.main(
        quick_training(
            model_dir=str(tmp_path),
            steps=2,
            in_channels=3,
            dropout=0.5,
            norm="group",
            loss="dice_focal",
            augment_rotation_degrees=10.0,
            augment_noise=0.1,
        )
    )
    assert np.isfinite(column(tmp_path, "loss")).all()


# Failing


@pytest.mark.slow
def test_a_loss_that_is_no_number_fails_in_one_line_and_keeps_the_checkpoint(quick_training, copy):
    before = all_checkpointed(copy)
    weights = (copy / checkpoints.BEST_WEIGHTS).read_bytes()
    with pytest.raises(CommandFailed, match=r"the loss became (nan|inf|-inf) at step \d+; lower"):
        train.main(
            quick_training(
                model_dir=str(copy), steps=100, steps_per_epoch=90, learning_rate=1e30, warmup=0.0
            )
        )
    after = all_checkpointed(copy)
    for name, value in before.items():
        np.testing.assert_array_equal(after[name], value)
    assert (copy / checkpoints.BEST_WEIGHTS).read_bytes() == weights


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"base_filters": 4}, "expected --base_filters=2 to resume, found --base_filters=4; use"),
        ({"max_filters": 3}, "expected --max_filters=512 to resume, found --max_filters=3; use"),
        ({"depth": 2}, "expected --depth=1 to resume, found --depth=2; use another --model_dir"),
        ({"norm": "group"}, "expected --norm=batch to resume, found --norm=group"),
        ({"in_channels": 3}, "expected --in_channels=1 to resume, found --in_channels=3"),
        ({"optimizer": "ranger"}, "expected --optimizer=adamw to resume, found --optimizer=ranger"),
        ({"ema": 0.0}, "expected --ema=0.99 to resume, found --ema=0.0"),
        ({"pixel_mm": (3.0,)}, "expected no --pixel_mm to resume, found --pixel_mm=3.0"),
    ],
)
def test_another_model_in_the_same_folder_is_refused(quick_training, copy, changes, sentence):
    before = snapshot(copy)
    with pytest.raises(InputError, match=sentence):
        train.main(quick_training(model_dir=str(copy), steps=8, **changes))
    assert snapshot(copy) == before


def test_other_cases_in_the_same_folder_are_refused(quick_training, copy, tmp_path):
    splits = tmp_path / "splits.json"
    splits.write_text('{"train": ["a"], "validation": ["v"]}')
    with pytest.raises(
        InputError, match="expected records with the same train as before to resume"
    ):
        train.main(quick_training(model_dir=str(copy), steps=8, splits=str(splits)))


@pytest.mark.parametrize("content", ["{}", "[]", '{"config": {}, "plane": 7}'])
def test_a_training_json_of_another_form_is_refused(quick_training, copy, content):
    (copy / "training.json").write_text(content)
    sentence = r"training\.json: .*expected .*; restore the file, or train in another --model_dir"
    with pytest.raises(InputError, match=sentence):
        train.main(quick_training(model_dir=str(copy), steps=8))


def test_a_damaged_checkpoint_is_refused(quick_training, copy):
    (path,) = (copy / "checkpoints").glob("*.index")
    path.write_bytes(path.read_bytes()[:20])
    with pytest.raises(InputError, match="expected a checkpoint of this model, found a damaged or"):
        train.main(quick_training(model_dir=str(copy), steps=8))


def test_a_fingerprint_plans_what_is_not_set(quick_training, tmp_path):
    plan = {"pixel_mm": [2.0, 2.0], "window": [0, 500], "image_size": [16, 24], "batch_size": 3}
    (tmp_path / "fingerprint.json").write_text(json.dumps(plan))
    config = dataclasses.replace(
        quick_training(model_dir=str(tmp_path / "model"), steps=1, window=(0.0, 900.0)),
        fingerprint=str(tmp_path / "fingerprint.json"),
        image_size=None,
    )
    train.main(config)
    trained = json.loads((tmp_path / "model" / "training.json").read_text())["config"]
    assert trained["image_size"] == [16, 24]
    assert trained["window"] == [0, 900]  # Set by hand, as was the batch size.
    assert trained["batch_size"] == config.batch_size


@pytest.mark.parametrize(("key", "other"), [("plane", "sagittal"), ("modality", "MR")])
def test_a_fingerprint_of_other_data_is_refused(quick_training, tmp_path, key, other):
    plan = {"pixel_mm": [2.0], "window": [0, 500], "image_size": [16], key: other}
    (tmp_path / "fingerprint.json").write_text(json.dumps(plan))
    config = dataclasses.replace(
        quick_training(model_dir=str(tmp_path), steps=1),
        fingerprint=str(tmp_path / "fingerprint.json"),
    )
    with pytest.raises(
        InputError, match=f"expected a plan for the {key} .*, found one for {other}"
    ):
        train.main(config)


@pytest.mark.parametrize("name", ["run[1]", "run*", "run?"])
def test_a_folder_in_which_no_checkpoint_is_found_is_refused(quick_training, tmp_path, name):
    with pytest.raises(
        InputError, match=r"^--model_dir: expected a path without \* \? \[ \], which"
    ):
        train.main(quick_training(model_dir=str(tmp_path / name), steps=1))
    assert not (tmp_path / name).exists()


def test_records_that_are_no_folder_are_refused_first(quick_training, tmp_path):
    with pytest.raises(
        InputError, match=r"nothing: expected a folder of records .* run make_tfrecords"
    ):
        train.main(
            quick_training(
                records=str(tmp_path / "nothing"), model_dir=str(tmp_path / "m"), steps=1
            )
        )
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize("split", ["train", "validation"])
def test_damaged_records_are_told_in_words_on_a_line_of_their_own(
    quick_training, disc_records, tmp_path, capsys, split
):
    records = pathlib.Path(shutil.copytree(disc_records, tmp_path / "records"))
    path = sorted(records.glob(f"spleen-{split}.*"))[0]
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(
        InputError, match=r"records: expected intact records, found damage; .*verify"
    ):
        train.main(quick_training(records=str(records), model_dir=str(tmp_path / "m"), steps=2))
    if split == "train":  # Validation comes when the epoch's progress bar is closed.
        assert capsys.readouterr().err.endswith("\n")


@pytest.mark.slow
def test_records_that_vanish_are_told_in_words(quick_training, disc_records, tmp_path, monkeypatch):
    records = pathlib.Path(shutil.copytree(disc_records, tmp_path / "records"))
    path = sorted(records.glob("spleen-validation.*"))[0]
    gone = keras.callbacks.LambdaCallback(on_train_begin=lambda logs: path.unlink())
    build = callbacks.build
    monkeypatch.setattr(callbacks, "build", lambda *arguments: [gone, *build(*arguments)])
    with pytest.raises(InputError, match=r"records: expected records, found some gone or not .*ve"):
        train.main(quick_training(records=str(records), model_dir=str(tmp_path / "m"), steps=2))


# Starting from an earlier model


@pytest.mark.slow
def test_a_training_starts_from_the_weights_of_another(quick_training, four_steps, tmp_path):
    train.main(
        quick_training(
            model_dir=str(tmp_path),
            init_from=str(four_steps),
            steps=1,
            learning_rate=1e-30,
            ema=0.0,
            weight_decay=0.0,
        )
    )
    earlier, later = best_weights(four_steps), best_weights(tmp_path)
    network = unet.build(NetworkSpec(base_filters=2, depth=1))
    for variable, a, b in zip(network.variables, earlier, later, strict=True):
        if "moving" not in variable.name:  # BatchNorm's statistics have seen a batch.
            np.testing.assert_allclose(a, b, rtol=1e-6)


@pytest.mark.parametrize("kind", ["model_dir", "SavedModel"])
def test_weights_are_the_same_from_a_folder_of_training_and_of_export(four_steps, tmp_path, kind):
    source = four_steps
    if kind == "SavedModel":
        source = tmp_path / "tiny" / "saved_model"
        export.main(export.ExportConfig(model_dir=str(four_steps), export_dir=str(source)))
    network = unet.build(NetworkSpec(base_filters=2, depth=1))
    initial_weights.load_into(network, str(source))
    for variable, expected in zip(network.variables, best_weights(four_steps), strict=True):
        np.testing.assert_array_equal(variable, expected)


@pytest.mark.parametrize("kind", ["model_dir", "SavedModel"])
@pytest.mark.slow
def test_weights_of_another_architecture_are_refused(four_steps, tmp_path, kind):
    source = four_steps
    if kind == "SavedModel":
        source = tmp_path / "tiny" / "saved_model"
        export.main(export.ExportConfig(model_dir=str(four_steps), export_dir=str(source)))
    for changes in (
        {"base_filters": 4},
        {"depth": 2},
        {"norm": "group"},
        {"in_channels": 3},
    ):
        network = unet.build(NetworkSpec(**{"base_filters": 2, "depth": 1, **changes}))
        sentence = "expected weights of the architecture that the flags describe, found others"
        with pytest.raises(InputError, match=sentence):
            initial_weights.load_into(network, str(source))


def test_a_damaged_saved_model_is_refused(four_steps, tmp_path):
    source = tmp_path / "tiny" / "saved_model"
    export.main(export.ExportConfig(model_dir=str(four_steps), export_dir=str(source)))
    (source / "saved_model.pb").write_bytes(b"0123456789")
    with pytest.raises(
        InputError, match=r"expected a SavedModel that spleen_tf\.export wrote, found"
    ):
        initial_weights.load_into(unet.build(NetworkSpec(base_filters=2, depth=1)), str(source))


def test_a_folder_without_weights_is_refused(tmp_path):
    sentence = r"expected best.weights.h5 \(a --model_dir\) or saved_model.pb .* found neither"
    with pytest.raises(InputError, match=sentence):
        initial_weights.load_into(unet.build(NetworkSpec(base_filters=2, depth=1)), str(tmp_path))


# Several devices

DISTRIBUTED = """
import dataclasses, msgspec, sys
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * {cpus})
from spleen_tf import train
from spleen_tf.training.config import TrainConfig
config = msgspec.json.decode(sys.argv[1], type=TrainConfig)
train.main(config)
train.main(dataclasses.replace(config, steps=4))
"""


@pytest.mark.slow
@pytest.mark.parametrize(("distribution", "cpus"), [("mirrored", 2), ("multi_worker", 1)])
def test_trainings_on_several_devices_train_and_go_on(
    quick_training, tmp_path, run_python, monkeypatch, distribution, cpus
):
    if distribution == "multi_worker":
        # A cluster of this machine alone; port 0 is any that is free.
        cluster = {"cluster": {"worker": ["localhost:0"]}, "task": {"type": "worker", "index": 0}}
        monkeypatch.setenv("TF_CONFIG", json.dumps(cluster))
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "3")
    config = quick_training(model_dir=str(tmp_path), steps=2, distribution=distribution)
    done = run_python("-c", DISTRIBUTED.format(cpus=cpus), json.dumps(vars(config)), timeout_s=300)
    assert done.returncode == 0, done.stderr
    assert "resumes after 2 steps" in done.stdout
    assert column(tmp_path, "steps") == [2, 4]
    assert np.isfinite(column(tmp_path, "loss")).all()
    assert checkpointed(tmp_path, "state/averages/steps") == 4
    assert all(np.isfinite(weights).all() for weights in best_weights(tmp_path))
