"""What is drawn at random for a slice."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf


def uniform(
    seed: tf.Tensor, shape: list[int] | tf.TensorShape, low: float, high: float
) -> tf.Tensor:
    """float32 of a shape, evenly between two bounds."""
    return tf.random.stateless_uniform(shape, seed, low, high)


def where_drawn(drawn: tf.Tensor, changed: Callable[[], tf.Tensor], image: tf.Tensor) -> tf.Tensor:
    """changed() if this slice is one of those that are drawn; else nothing is computed."""
    return tf.ensure_shape(tf.cond(drawn, changed, lambda: image), image.shape)


def smooth_factor(
    shape_hw: tuple[int, int] | tf.TensorShape, seed: tf.Tensor, strength: float
) -> tf.Tensor:
    """float32 [H, W, 1] around 1: the exponential of a smooth random field."""
    control = tf.random.stateless_normal([1, 4, 4, 1], seed, 0.0, strength)
    return tf.exp(tf.image.resize(control, shape_hw, "bicubic")[0])
