"""What a training keeps: the last checkpoint, the best weights, and how it goes on from them."""

import pathlib
import shutil

import keras
import pytest

from spleen_tf.core.files import InputError
from spleen_tf.training import checkpoints, optimizers
from spleen_tf.training.checkpoints import State


def one_number():
    """A network of one weight, compiled, that training on zeros leaves as it is."""
    inputs = keras.Input((1,))
    model = keras.Model(inputs, keras.layers.Dense(1, use_bias=False, name="number")(inputs))
    model.compile(keras.optimizers.SGD(0.0), "mse")
    return model


@pytest.fixture
def kept(tmp_path):
    """A model of one number, its state, and the callback that keeps them below tmp_path."""
    model, state = one_number(), State()
    manager = checkpoints.manager_of(model, state, tmp_path)
    saver = checkpoints.Checkpoints(tmp_path, manager, state)
    saver.set_model(model)
    return model, state, saver


def best_number(model_dir):
    model = one_number()
    model.load_weights(pathlib.Path(model_dir) / checkpoints.BEST_WEIGHTS)
    return float(model.variables[0][0, 0])


def test_the_best_weights_are_kept_not_the_last(kept, tmp_path):
    model, state, saver = kept
    for epoch, dice in enumerate([0.3, 0.7, 0.5]):
        model.variables[0].assign([[epoch]])
        saver.on_epoch_end(epoch, {"val_dice": dice})
    assert best_number(tmp_path) == 1
    assert float(state.best_dice) == pytest.approx(0.7)
    assert checkpoints.best_dice(tmp_path) == pytest.approx(0.7)


def test_the_last_weights_are_kept_where_nothing_validates(kept, tmp_path):
    model, _, saver = kept
    for epoch in range(3):
        model.variables[0].assign([[epoch]])
        saver.on_epoch_end(epoch, {"loss": 1.0})
    assert best_number(tmp_path) == 2
    assert checkpoints.best_dice(tmp_path) is None


def test_a_disk_without_room_ends_the_training_in_words_and_keeps_what_was_saved(
    kept, tmp_path, monkeypatch
):
    _, _, saver = kept
    saver.on_epoch_end(0, {"val_dice": 0.3})
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=0))
    with pytest.raises(InputError, match=r"room on the disk for a checkpoint, found 0 MB; make"):
        saver.on_epoch_end(1, {"val_dice": 0.7})
    assert checkpoints.best_dice(tmp_path) == pytest.approx(0.3)


def test_a_disk_that_fills_up_while_a_checkpoint_is_saved(kept, tmp_path, no_room):
    _, _, saver = kept
    saver.on_epoch_end(0, {"val_dice": 0.3})
    for dice in (0.7, 0.1):  # h5py's error for the best weights, and TensorFlow's.
        message = "expected room on the disk for a checkpoint, found: File too large; make room"
        with no_room(), pytest.raises(InputError, match=message):
            saver.on_epoch_end(1, {"val_dice": dice})
    assert checkpoints.best_dice(tmp_path) == pytest.approx(0.3)


def test_the_best_weights_are_the_averaged_ones(tmp_path):
    model = one_number()
    averages = optimizers.Averages(model, 0.5)
    model.variables[0].assign([[3.0]])
    averages.update(model)
    model.variables[0].assign([[8.0]])
    state = State(averages)
    manager = checkpoints.manager_of(model, state, tmp_path)
    saver = checkpoints.Checkpoints(tmp_path, manager, state)
    saver.set_model(model)
    saver.on_epoch_end(0, {"val_dice": 0.5})
    assert best_number(tmp_path) == 3
    assert float(model.variables[0]) == 8


def test_one_checkpoint_is_kept_and_restores_all_that_counts(kept, tmp_path):
    model, state, saver = kept
    for epoch in range(3):
        model.variables[0].assign([[epoch + 10.0]])
        state.steps.assign(100 * epoch)
        saver.on_epoch_end(epoch, {"val_dice": 0.1})
    assert len(list((tmp_path / "checkpoints").glob("*.index"))) == 1
    other, other_state = one_number(), State()
    assert checkpoints.restore(checkpoints.manager_of(other, other_state, tmp_path), tmp_path)
    assert float(other.variables[0]) == 12
    assert int(other_state.steps) == 200
    assert float(other_state.best_dice) == pytest.approx(0.1)


def test_before_the_first_checkpoint_nothing_is_known_or_restored(kept, tmp_path):
    assert checkpoints.best_dice(tmp_path) is None
    assert not checkpoints.restore(checkpoints.manager_of(*kept[:2], tmp_path), tmp_path)


@pytest.mark.parametrize("content", ["", "x", None, 'model_checkpoint_path: "ckpt-9"'])
def test_a_checkpoint_whose_name_is_lost_is_not_trained_over(kept, tmp_path, content):
    model, state, saver = kept
    saver.on_epoch_end(0, {"val_dice": 0.1})
    named = tmp_path / "checkpoints" / "checkpoint"
    named.unlink()
    if content is not None:
        named.write_text(content)
    sentence = (
        "checkpoint: expected the name of the last checkpoint, found a damaged file, or none; "
        'write into it: model_checkpoint_path: "ckpt-1"'
    )
    manager = checkpoints.manager_of(model, state, tmp_path)
    with pytest.raises(InputError, match=sentence):
        checkpoints.restore(manager, tmp_path)
    with pytest.raises(InputError, match=sentence):
        checkpoints.best_dice(tmp_path)
    named.write_text('model_checkpoint_path: "ckpt-1"\n')
    assert checkpoints.restore(checkpoints.manager_of(model, state, tmp_path), tmp_path)


@pytest.mark.parametrize("left", ["nothing", "the name", "half of a first one"])
def test_a_training_whose_checkpoints_are_gone_is_not_trained_over(kept, tmp_path, left):
    model, state, saver = kept
    saver.on_epoch_end(0, {"val_dice": 0.1})
    folder = tmp_path / "checkpoints"
    if left == "the name":
        for path in folder.glob("ckpt-*"):
            path.unlink()
    else:
        shutil.rmtree(folder)
    if left == "half of a first one":
        (folder / "ckpt-1_temp").mkdir(parents=True)
    manager = checkpoints.manager_of(model, state, tmp_path)
    assert not checkpoints.restore(manager, tmp_path)  # It was stopped before it logged an epoch.
    (tmp_path / checkpoints.LOG).write_text("epoch,loss\n0,1.0\n")
    with pytest.raises(InputError, match=r"expected a checkpoint to resume from, since log\.csv"):
        checkpoints.restore(manager, tmp_path)


@pytest.mark.parametrize("kind", ["index", "data"])
def test_a_damaged_checkpoint_is_refused_in_words(kept, tmp_path, kind):
    _, state, saver = kept
    saver.on_epoch_end(0, {"val_dice": 0.1})
    (path,) = (p for p in (tmp_path / "checkpoints").iterdir() if f".{kind}" in p.name)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match="expected a checkpoint of this model, found a damaged or"):
        checkpoints.restore(checkpoints.manager_of(one_number(), state, tmp_path), tmp_path)


def test_a_checkpoint_of_another_model_is_refused_in_words(kept, tmp_path):
    *_, saver = kept
    saver.on_epoch_end(0, {"val_dice": 0.1})
    wider = keras.Sequential([keras.Input((1,)), keras.layers.Dense(2, use_bias=False)])
    wider.compile("sgd", "mse")
    with pytest.raises(InputError, match="another one; use another --model_dir to start anew"):
        checkpoints.restore(checkpoints.manager_of(wider, State(), tmp_path), tmp_path)
