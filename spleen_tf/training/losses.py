"""Differentiable losses on logits.

Each takes `labels`, [N, H, W, 1], 0 or 1, and `logits`, of the same shape in the precision of the
network, and returns a float32 scalar over the whole batch. Sums are in float32: those of float16
overflow, since a slice of 512×512 has more pixels than 65,504.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf


def build(name: str) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """The loss of a name in config.LOSSES, as a function of labels and logits."""
    return {
        "dice_ce": dice_and_cross_entropy,
        "dice_focal": dice_and_focal,
        "tversky": tversky,
    }[name]


def dice_and_cross_entropy(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Soft Dice loss plus binary cross-entropy, nnU-Net's sum (Isensee et al., 2021)."""
    labels, logits = tf.cast(labels, tf.float32), tf.cast(logits, tf.float32)
    return soft_dice(labels, logits) + tf.reduce_mean(_cross_entropy(labels, logits))


def dice_and_focal(labels: tf.Tensor, logits: tf.Tensor, gamma: float = 2.0) -> tf.Tensor:
    """Soft Dice loss plus focal loss, (1 - p_t)^γ · CE (Lin et al., 2017)."""
    labels, logits = tf.cast(labels, tf.float32), tf.cast(logits, tf.float32)
    probability = tf.sigmoid(logits)
    missed = tf.abs(labels - probability)
    focal = tf.reduce_mean(missed**gamma * _cross_entropy(labels, logits))
    return soft_dice(labels, logits) + focal


def soft_dice(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """1 - (2Σpy + 2) / (Σp + Σy + 2), of probabilities p and labels y (Milletari et al., 2016).

    Summed over the batch, a slice without spleen adds to the denominator only, instead of a
    Dice of its own that is undefined. What is added to both sides avoids a division by zero.
    """
    return tversky(labels, logits, miss=0.5, false_alarm=0.5)


def tversky(
    labels: tf.Tensor, logits: tf.Tensor, miss: float = 0.7, false_alarm: float = 0.3
) -> tf.Tensor:
    """1 - (TP + 1) / (TP + α·FN + β·FP + 1), by soft counts of pixels (Salehi et al., 2017).

    Args:
        labels, logits: [N, H, W, 1].
        miss: α, the price of a missed pixel.
        false_alarm: β, the price of a pixel too many.
    """
    labels, probability = tf.cast(labels, tf.float32), tf.sigmoid(tf.cast(logits, tf.float32))
    hits = tf.reduce_sum(labels * probability)
    misses = tf.reduce_sum(labels * (1.0 - probability))
    false_alarms = tf.reduce_sum((1.0 - labels) * probability)
    return 1.0 - (hits + 1.0) / (hits + miss * misses + false_alarm * false_alarms + 1.0)


def _cross_entropy(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    return tf.nn.sigmoid_cross_entropy_with_logits(labels, logits)
