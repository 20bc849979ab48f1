"""The learning rate's course, the optimizers, and averaged weights."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from spleen_tf.training import optimizers
from spleen_tf.training.config import TrainConfig


@pytest.fixture(autouse=True)
def _float32_afterwards():
    yield
    keras.mixed_precision.set_global_policy("float32")


def settings(**changes):
    return TrainConfig(**{"records": "r", "model_dir": "m", "steps": 100, **changes})


def toy_model(with_batch_norm=False):
    """y = w · x + b on two inputs; with BatchNorm before it if asked for."""
    keras.utils.set_random_seed(0)
    inputs = keras.Input((2,))
    x = keras.layers.BatchNormalization(momentum=0.5)(inputs) if with_batch_norm else inputs
    return keras.Model(inputs, keras.layers.Dense(1, dtype="float32")(x))


def toy_batch(seed=0):
    """A line of slopes 2 and -1 and offset 0.5."""
    x = np.random.default_rng(seed).normal(size=(64, 2)).astype(np.float32)
    return x, x @ np.array([[2.0], [-1.0]], np.float32) + 0.5


def fit(model, steps, averages=None):
    """The loss before and after some steps on the toy batch."""
    x, y = toy_batch()
    losses = []
    for _ in range(steps):
        losses.append(model.train_on_batch(x, y))
        if averages is not None:
            averages.update(model)
    return losses[0], model.test_on_batch(x, y)


def values(variables):
    return [variable.numpy() for variable in variables]


# The learning rate


@pytest.mark.parametrize(
    ("progress", "expected"),
    [
        (0.0, 0.02),  # A hundredth of the peak, since none would be a wasted step.
        (0.05, 1.0),  # Half of the warm-up.
        (0.1, 2.0),
        (0.55, 2 * (0.01 + 0.99 * 0.5)),  # Half of the cosine.
        (1.0, 0.02),
        (1.7, 0.02),
    ],
)
def test_the_learning_rate_rises_in_a_line_and_falls_in_half_a_cosine(progress, expected):
    assert optimizers.learning_rate(progress, peak=2.0, warmup=0.1) == pytest.approx(expected)


def test_without_warm_up_the_learning_rate_starts_at_its_peak():
    assert optimizers.learning_rate(0.0, peak=3.0, warmup=0.0) == pytest.approx(3.0)


def test_the_learning_rate_never_rises_after_the_warm_up():
    rates = [optimizers.learning_rate(p, 1.0, 0.2) for p in np.linspace(0.2, 1.0, 50)]
    assert rates == sorted(rates, reverse=True)


# Optimizers


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
@pytest.mark.parametrize("name", ["adamw", "ranger", "swa"])
def test_every_optimizer_learns_a_line(name, policy):
    keras.mixed_precision.set_global_policy(policy)
    model = toy_model()
    config = settings(optimizer=name, learning_rate=0.1, steps=40)
    model.compile(optimizers.build(config, 40), "mse")
    before, after = fit(model, 40)
    assert after < before / 2


@pytest.mark.parametrize("name", ["adamw", "ranger", "swa"])
def test_the_learning_rate_of_every_optimizer_can_be_set_as_it_goes(name):
    model = toy_model()
    config = settings(optimizer=name, learning_rate=0.1, weight_decay=0.0)
    model.compile(optimizers.build(config, 100), "mse")
    fit(model, 2)
    before = values(model.variables)
    keras.backend.set_value(model.optimizer.learning_rate, 0.0)
    assert float(model.optimizer.learning_rate) == 0
    fit(model, 3)
    for value, now in zip(before, values(model.variables), strict=True):
        np.testing.assert_array_equal(value, now)


@pytest.mark.parametrize("name", ["adamw", "ranger", "swa"])
def test_weight_decay_shrinks_weights_that_nothing_else_moves(name):
    model = toy_model()
    config = settings(optimizer=name, learning_rate=0.1, weight_decay=0.5)
    model.compile(optimizers.build(config, 100), lambda y_true, y_pred: 0.0 * y_pred)
    before = values(model.trainable_variables)[0]
    fit(model, 1)
    # Decoupled: a step of learning rate times decay, 5 %.
    np.testing.assert_allclose(values(model.trainable_variables)[0], 0.95 * before, rtol=1e-4)


# Averages


class Numbers(tf.Module):
    """What Averages need of a model: variables, set by hand here."""

    def __init__(self, *numbers):
        super().__init__()
        self.numbers = [tf.Variable(number) for number in numbers]


def test_the_average_forgets_its_start_and_then_decays_as_told():
    model = Numbers(100.0)
    averages = optimizers.Averages(model, decay=0.2)
    seen = []
    for number in (1.0, 2.0, 4.0, 8.0):
        model.numbers[0].assign(number)
        averages.update(model)
        seen.append(float(averages.values[0]))
    # Decays t / (t + 9) of 0, 1/10, 2/11, and then 0.2 instead of 3/12.
    second = 0.1 * 1 + 0.9 * 2
    third = 2 / 11 * second + 9 / 11 * 4
    np.testing.assert_allclose(seen, [1, second, third, 0.2 * third + 0.8 * 8], rtol=1e-6)


def test_batch_norms_statistics_are_averaged_with_the_weights():
    model = toy_model(with_batch_norm=True)
    model.compile(optimizers.build(settings(learning_rate=0.1), 100), "mse")
    averages = optimizers.averages(settings(), model)
    history = []
    x, y = toy_batch()
    for n in range(3):
        model.train_on_batch(x + 5 * n, y)
        averages.update(model)
        history.append(values(model.variables))
    moving_mean = [v.name for v in model.variables].index("batch_normalization/moving_mean:0")
    for index in (0, moving_mean):
        first, second, third = (step[index] for step in history)
        expected = 2 / 11 * (0.1 * first + 0.9 * second) + 9 / 11 * third
        np.testing.assert_allclose(averages.values[index], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_averaged_weights_take_the_place_of_the_others_and_give_it_back(policy):
    keras.mixed_precision.set_global_policy(policy)
    model = toy_model(with_batch_norm=True)
    model.compile(optimizers.build(settings(learning_rate=0.1), 100), "mse")
    averages = optimizers.averages(settings(), model)
    fit(model, 5, averages)
    present = values(model.variables)
    with optimizers.averaged(model, averages):
        for inside, average in zip(values(model.variables), values(averages.values), strict=True):
            np.testing.assert_array_equal(inside, average)
        assert np.abs(values(model.variables)[0] - present[0]).max() > 0
    for before, after in zip(present, values(model.variables), strict=True):
        np.testing.assert_array_equal(before, after)


def test_the_weights_come_back_when_something_fails_meanwhile():
    model = toy_model()
    model.compile(optimizers.build(settings(learning_rate=0.1), 100), "mse")
    averages = optimizers.averages(settings(), model)
    fit(model, 5, averages)
    present = values(model.variables)
    with pytest.raises(ZeroDivisionError), optimizers.averaged(model, averages):
        1 / 0  # noqa: B018
    np.testing.assert_array_equal(values(model.variables)[0], present[0])


def test_before_the_first_step_there_is_no_average_to_take():
    model = toy_model()
    averages = optimizers.averages(settings(), model)
    model.layers[-1].bias.assign([7.0])
    model.compile(optimizers.build(settings(), 100), "mse")
    with optimizers.averaged(model, averages):
        assert float(model.layers[-1].bias[0]) == 7


def test_swa_takes_the_mean_of_snapshots_from_the_second_half():
    # Of 40 steps, snapshots follow the 21st (as the half is full), the 31st, and so on.
    model = toy_model()
    config = settings(optimizer="swa", learning_rate=0.1, steps=40)
    model.compile(optimizers.build(config, 40), "mse")
    snapshots = []
    for step in range(1, 36):
        fit(model, 1)
        if step in (21, 31):
            snapshots.append(values(model.trainable_variables)[0])
    with optimizers.averaged(model, optimizers.averages(config, model)):
        averaged = values(model.trainable_variables)[0]
    np.testing.assert_allclose(averaged, np.mean(snapshots, axis=0), rtol=1e-5)


def test_swa_has_statistics_that_are_averaged_like_its_weights():
    model = toy_model(with_batch_norm=True)
    config = settings(optimizer="swa", learning_rate=0.1, steps=40)
    model.compile(optimizers.build(config, 40), "mse")
    averages = optimizers.averages(config, model)
    statistics = []
    for seed in range(40):
        model.train_on_batch(*toy_batch(seed))
        averages.update(model)
        statistics.append(values(model.non_trainable_variables)[0])
    with optimizers.averaged(model, averages):
        averaged = values(model.non_trainable_variables)[0]
    recent = np.mean(statistics[-10:], axis=0)
    assert np.abs(averaged - recent).max() < np.abs(statistics[-1] - recent).max()
    np.testing.assert_array_equal(values(model.non_trainable_variables)[0], statistics[-1])


@pytest.mark.parametrize(
    "changes",
    [{"optimizer": "swa"}, {"optimizer": "ranger"}, {"optimizer": "adamw", "ema": 0.0}],
    ids=["swa before it starts", "ranger", "no ema"],
)
def test_nothing_changes_where_nothing_is_averaged(changes):
    model = toy_model()
    config = settings(learning_rate=0.1, **changes)
    model.compile(optimizers.build(config, 100), "mse")
    averages = optimizers.averages(config, model)
    assert (averages is None) == (config.optimizer != "swa")
    fit(model, 5)
    present = values(model.variables)
    with optimizers.averaged(model, averages):
        for before, inside in zip(present, values(model.variables), strict=True):
            np.testing.assert_array_equal(before, inside)


def test_averages_outlive_a_checkpoint(tmp_path):
    model = toy_model()
    model.compile(optimizers.build(settings(learning_rate=0.1), 100), "mse")
    averages = optimizers.averages(settings(), model)
    fit(model, 3, averages)
    path = tf.train.Checkpoint(averages=averages).save(tmp_path / "checkpoint")
    other = optimizers.averages(settings(), toy_model())
    tf.train.Checkpoint(averages=other).restore(path).assert_consumed()
    assert int(other.steps) == 3
    np.testing.assert_array_equal(other.values[0], averages.values[0])
