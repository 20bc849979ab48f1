"""Differentiable losses on logits, in float32 whatever the precision of the network.

float16 would overflow in the sums: a slice of 512×512 has more pixels than 65,504.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf

LOSSES = ("dice_ce", "dice_focal", "dice_boundary", "tversky")

# Farther from the outline than this many pixels, a mistake is as bad as any.
_FARTHEST = 10


def build(name: str) -> Callable[[tf.Tensor, tf.Tensor], tf.Tensor]:
    """The loss of a name in LOSSES: (labels, logits), both [N, H, W, 1], to a scalar."""
    return {
        "dice_ce": dice_and_cross_entropy,
        "dice_focal": dice_and_focal,
        "dice_boundary": dice_and_boundary,
        "tversky": tversky,
    }[name]


def of_all_heads(loss: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]):
    """The mean of a loss over heads, each weighing half of the one before (as nnU-Net has it).

    Args:
        loss: (labels, logits), both [N, H, W, 1], to a scalar.

    Returns:
        (labels [N, H, W, 1], logits [N, H, W, heads]) to a scalar.
    """

    def over_heads(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
        heads = tf.split(logits, logits.shape[-1], axis=-1)
        weights = [0.5**number for number in range(len(heads))]
        losses = [weight * loss(labels, head) for weight, head in zip(weights, heads, strict=True)]
        return tf.add_n(losses) / sum(weights)

    return over_heads


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


def dice_and_boundary(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Soft Dice loss plus cross-entropy plus boundary loss (Kervadec et al., 2019).

    The boundary loss is each pixel's mistake times its distance from the label's outline: theirs,
    less what it is for the label itself, so that a perfect prediction costs nothing.
    """
    labels, logits = tf.cast(labels, tf.float32), tf.cast(logits, tf.float32)
    mistake = tf.abs(labels - tf.sigmoid(logits))
    boundary = tf.reduce_mean(distance_to_outline(labels) * mistake)
    return dice_and_cross_entropy(labels, logits) + boundary


def distance_to_outline(labels: tf.Tensor) -> tf.Tensor:
    """Steps, diagonal ones too, to the nearest pixel of the other kind, at most _FARTHEST.

    Args:
        labels: float32 [N, H, W, 1], 0 or 1.
    """
    distance = tf.zeros_like(labels)
    for kind in (labels, 1.0 - labels):
        reached = kind
        for _ in range(_FARTHEST):
            distance += 1.0 - reached
            reached = tf.nn.max_pool2d(reached, 3, 1, "SAME")
    return distance


def soft_dice(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """1 - 2Σpy / (Σp + Σy), over the whole batch (Milletari et al., 2016).

    Summed over the batch, a slice without spleen adds to the denominator only, instead of a
    Dice of its own that is undefined. One pixel is added to both sides: no division by zero.
    """
    return tversky(labels, logits, miss=0.5, false_alarm=0.5)


def tversky(
    labels: tf.Tensor, logits: tf.Tensor, miss: float = 0.7, false_alarm: float = 0.3
) -> tf.Tensor:
    """1 - TP / (TP + α·FN + β·FP), over the whole batch (Salehi et al., 2017).

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
