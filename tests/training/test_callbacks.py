"""Around the steps of a training: budgets, validation on whole volumes, and what is kept."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from spleen_tf.core.flags import CommandFailed
from spleen_tf.training import callbacks, optimizers, run
from spleen_tf.training.checkpoints import State


def state_at(steps=0, seconds=0.0):
    state = State()
    state.steps.assign(steps)
    state.seconds.assign(seconds)
    return state


def bright_is_spleen(threshold):
    """A network without anything to learn: spleen where the windowed image is above a threshold."""
    inputs = keras.Input((None, None, 1))
    layer = keras.layers.Conv2D(
        1, 1, weights=[np.full((1, 1, 1, 1), 100.0), np.array([-100.0 * threshold])]
    )
    return keras.Model(inputs, layer(inputs))


def one_number():
    """A network of one weight, compiled, that training on zeros leaves as it is."""
    inputs = keras.Input((1,))
    model = keras.Model(inputs, keras.layers.Dense(1, use_bias=False, name="number")(inputs))
    model.compile(keras.optimizers.SGD(0.0), "mse")
    return model


# The budget


@pytest.mark.parametrize(
    ("bounds", "expected"),
    [
        ({"steps": 40}, 10 / 40),
        ({"epochs": 5}, 10 / (5 * 4)),
        ({"minutes": 2.0}, 30 / 120),
        ({"steps": 40, "epochs": 5, "minutes": 2.0}, 0.5),  # Whichever ends first.
        ({"steps": 5}, 1.0),
    ],
)
def test_progress_is_the_share_that_is_used_of_the_nearest_bound(quick_training, bounds, expected):
    config = quick_training(model_dir="m", steps_per_epoch=4, **bounds)
    assert state_at(steps=10, seconds=30.0).progress(run.settle(config)) == expected


def test_the_budget_counts_steps_and_time_and_stops_at_its_end(quick_training):
    config, state = quick_training(model_dir="m", steps=3), state_at()
    model = one_number()
    budget = callbacks.Budget(run.settle(config), state)
    history = model.fit(
        np.zeros((8, 1)), np.zeros((8, 1)), 4, epochs=9, callbacks=[budget], verbose=0
    )
    assert int(state.steps) == 3
    assert int(state.epochs) == 2  # The second one is cut short, not lost.
    assert float(state.seconds) > 0
    assert history.history["steps"] == [2, 3]


def test_the_learning_rate_follows_the_budget(quick_training):
    config = quick_training(
        model_dir="m", steps=4, steps_per_epoch=4, learning_rate=1.0, warmup=0.0
    )
    seen = []
    model = one_number()
    model.fit(
        np.zeros((16, 1)),
        np.zeros((16, 1)),
        4,
        callbacks=[
            callbacks.Budget(run.settle(config), state_at()),
            keras.callbacks.LambdaCallback(
                on_train_batch_end=lambda *_: seen.append(float(model.optimizer.learning_rate))
            ),
        ],
        verbose=0,
    )
    expected = [optimizers.learning_rate(n / 4, 1.0, 0.0) for n in range(4)]
    np.testing.assert_allclose(seen, expected, rtol=1e-6)


def test_a_loss_that_is_no_number_ends_the_training_in_words(quick_training):
    config = quick_training(model_dir="models/mine", steps=9, steps_per_epoch=4)
    x = np.array([[0.0], [0.0], [np.inf], [0.0]])
    sentence = r"models/mine: the loss became (nan|inf) at step 3; lower --learning_rate"
    with pytest.raises(CommandFailed, match=sentence):
        one_number().fit(
            x,
            np.zeros((4, 1)),
            1,
            shuffle=False,
            callbacks=[callbacks.Budget(run.settle(config), state_at())],
            verbose=0,
        )


# Validation


@pytest.fixture
def half_found(make_records):
    """Two cases that validate, of 24 voxels of spleen in all.

    In `half`, 4 of 8 voxels of spleen are bright, and so are 4 outside; `all` has 16, all bright;
    the others stay dark.
    """
    images = {name: np.full((3, 8, 8), -160, np.int16) for name in ("half", "all")}
    labels = {name: np.zeros((3, 8, 8), np.uint8) for name in ("half", "all")}
    labels["half"][0, 2:4, 2:6] = 1
    images["half"][0, 2:4, 4:8] = 240
    labels["all"][1, 0:4, 0:4] = 1
    images["all"][1, 0:4, 0:4] = 240
    cases = {name: ("validation", "CT", images[name], labels[name]) for name in images}
    cases["t"] = ("train", "CT", images["all"], labels["all"])
    return make_records(cases)


def validation_of(config, state=None, tmp_path=None):
    writer = tf.summary.create_noop_writer()
    if tmp_path is not None:
        writer = tf.summary.create_file_writer(str(tmp_path))
    return callbacks.Validation(run.settle(config), state or State(), writer)


def logged_dice(validation, model):
    logs = {}
    validation.set_model(model)
    validation.on_epoch_end(0, logs)
    return logs["val_dice"]


def test_val_dice_is_the_mean_over_whole_cases(quick_training, half_found, capsys):
    config = quick_training(model_dir="m", records=half_found, steps=1, image_size=(8,))
    dice = logged_dice(validation_of(config), bright_is_spleen(0.5))
    # half: 2·4 / (8 + 8), all: 1.
    assert dice == pytest.approx(0.75)
    assert "epoch 1: val_dice 0.7500 (1.000 0.500)" in capsys.readouterr().out


def test_a_case_without_spleen_counts_1_if_nothing_is_found_and_else_0(
    quick_training, make_records
):
    image = np.full((2, 8, 8), -160, np.int16)
    bright = image.copy()
    bright[0, 0, 0] = 240
    empty = np.zeros((2, 8, 8), np.uint8)
    records = make_records(
        {
            "dark": ("validation", "CT", image, empty),
            "bright": ("validation", "CT", bright, empty),
            "t": ("train", "CT", image, empty),
        }
    )
    config = quick_training(model_dir="m", records=records, steps=1, image_size=(8,))
    assert logged_dice(validation_of(config), bright_is_spleen(0.5)) == pytest.approx(0.5)


def test_validation_is_of_the_averaged_weights(quick_training, half_found):
    config = quick_training(model_dir="m", records=half_found, steps=1, image_size=(8,))
    model = bright_is_spleen(0.5)
    model.compile(keras.optimizers.AdamW(), "mse")
    averages = optimizers.Averages(model, 0.5)
    averages.update(model)
    bias = model.variables[1]
    bias.assign([-1000.0])  # The present weights find nothing.
    assert logged_dice(validation_of(config), model) == 0
    assert logged_dice(validation_of(config, State(averages)), model) == pytest.approx(0.75)
    assert float(bias[0]) == -1000


def test_pictures_show_the_slice_with_most_spleen_truth_in_green_and_prediction_in_red(
    quick_training, half_found, tmp_path
):
    config = quick_training(model_dir="m", records=half_found, steps=1, image_size=(8,))
    logged_dice(validation_of(config, tmp_path=tmp_path), bright_is_spleen(0.5))
    (path,) = tmp_path.iterdir()
    pictures = {
        value.tag: tf.io.decode_png(value.tensor.string_val[2]).numpy()
        for event in tf.compat.v1.train.summary_iterator(str(path))
        for value in event.summary.value
        if value.tag.startswith("validation/")
    }
    assert set(pictures) == {"validation/half", "validation/all"}
    both, truth_only, pred_only = (pictures["validation/half"][2, n] for n in (4, 2, 7))
    # Bright pixels are white, and a mask lifts its channel to 0.6 of its grey and 0.4 more.
    np.testing.assert_array_equal(both, [255, 255, 255])
    np.testing.assert_array_equal(truth_only, [0, 102, 0])
    np.testing.assert_array_equal(pred_only, [255, 255, 255])
    np.testing.assert_array_equal(pictures["validation/half"][7, 7], [0, 0, 0])
