"""Losses: numbers by hand, and none that overflows, whatever the precision of the network."""

import math

import numpy as np
import pytest
import tensorflow as tf

from spleen_tf.training import losses
from spleen_tf.training.config import LOSSES

SURE = 100.0  # A logit whose probability is 1 in float32.


def pixels(*values):
    """[1, 1, W, 1]"""
    return tf.reshape(tf.constant(values, tf.float32), [1, 1, -1, 1])


def gradient(loss, labels, logits):
    with tf.GradientTape() as tape:
        tape.watch(logits)
        value = loss(labels, logits)
    return tape.gradient(value, logits)


@pytest.mark.parametrize("name", LOSSES)
def test_a_perfect_prediction_costs_nothing(name):
    labels = pixels(1, 1, 0, 0, 0)
    assert losses.build(name)(labels, (2 * labels - 1) * SURE).numpy() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_an_empty_slice_that_is_left_empty_costs_nothing(name):
    labels = tf.zeros([2, 4, 4, 1])
    assert losses.build(name)(labels, labels - SURE).numpy() == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("name", LOSSES)
def test_the_worse_the_prediction_the_higher_the_loss(name):
    labels = pixels(1, 1, 0, 0, 0)
    values = [losses.build(name)(labels, (2 * labels - 1) * scale) for scale in (4, 1, 0, -1, -4)]
    assert values == sorted(values)
    assert values[0] < values[-1]


# At logits of 0, every probability is 1/2. Of labels 1, 1, 0, 0: one pixel of hits, one of misses,
# one of false alarms. One is added above and below.


def test_soft_dice_by_hand():
    # 1 - (1 + 1) / (1 + 1/2 + 1/2 + 1) = 1/3
    assert losses.soft_dice(pixels(1, 1, 0, 0), pixels(0, 0, 0, 0)).numpy() == pytest.approx(1 / 3)


def test_dice_and_cross_entropy_by_hand():
    loss = losses.build("dice_ce")(pixels(1, 1, 0, 0), pixels(0, 0, 0, 0))
    assert loss.numpy() == pytest.approx(1 / 3 + math.log(2))


def test_dice_and_focal_by_hand():
    # The focal loss weighs the cross entropy of ln 2 by (1 - 1/2)².
    loss = losses.build("dice_focal")(pixels(1, 1, 0, 0), pixels(0, 0, 0, 0))
    assert loss.numpy() == pytest.approx(1 / 3 + math.log(2) / 4)


def test_tversky_asks_more_for_a_miss_than_for_a_false_alarm():
    loss = losses.build("tversky")
    miss = loss(pixels(1, 1, 0), pixels(SURE, -SURE, -SURE))
    false_alarm = loss(pixels(1, 0, 0), pixels(SURE, SURE, -SURE))
    assert miss.numpy() == pytest.approx(1 - 2 / (1 + 0.7 + 1))
    assert false_alarm.numpy() == pytest.approx(1 - 2 / (1 + 0.3 + 1))


def test_dice_is_summed_over_the_batch_so_that_a_slice_without_spleen_counts_as_it_should():
    labels = tf.concat([pixels(1, 1, 0, 0), pixels(0, 0, 0, 0)], axis=0)
    logits = tf.concat([pixels(SURE, SURE, -SURE, -SURE), pixels(SURE, *[-SURE] * 3)], axis=0)
    # Two hits, one false alarm: 1 - (2 + 1) / (2 + 1/2 + 1).
    assert losses.soft_dice(labels, logits).numpy() == pytest.approx(1 - 3 / 3.5)


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("scale", [0.0, 1.0, 30.0, 1e4])
def test_gradients_are_finite_for_extreme_logits(name, scale):
    labels = pixels(1, 1, 0, 0)
    logits = pixels(1, -1, 1, -1) * scale
    assert np.isfinite(losses.build(name)(labels, logits))
    assert np.isfinite(gradient(losses.build(name), labels, logits)).all()


@pytest.mark.parametrize("name", LOSSES)
def test_gradients_ask_for_more_where_there_is_spleen_and_less_elsewhere(name):
    slope = np.ravel(gradient(losses.build(name), pixels(1, 1, 0, 0), pixels(0.5, -3, 0.5, -3)))
    assert (slope[:2] < 0).all()
    assert (slope[2:] > 0).all()


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", [tf.float16, tf.bfloat16])
def test_half_precision_does_not_overflow_on_a_slice_full_of_spleen(name, dtype):
    labels = tf.ones([1, 512, 512, 1])
    logits = tf.zeros([1, 512, 512, 1], dtype)
    value = losses.build(name)(tf.cast(labels, dtype), logits)
    assert value.dtype == tf.float32
    # 131,072 pixels of hits and as many of misses; float16 ends at 65,504.
    assert value.numpy() == pytest.approx(losses.build(name)(labels, tf.zeros_like(labels)).numpy())
    assert np.isfinite(value)


def test_labels_may_come_as_integers():
    loss = losses.build("dice_ce")(tf.constant([[[[1], [0]]]], tf.uint8), pixels(SURE, -SURE))
    assert loss.numpy() == pytest.approx(0, abs=1e-6)
