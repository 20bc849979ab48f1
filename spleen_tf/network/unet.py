"""The network: a 2D U-Net (Ronneberger et al., 2015) in the functional Keras API."""

from __future__ import annotations

import math

import keras
import tensorflow as tf
from keras import layers

from spleen_tf.network.spec import NetworkSpec, Norm


def build(spec: NetworkSpec) -> keras.Model:
    """A U-Net for images of any height and width that are multiples of `spec.multiple`.

    Returns:
        A model from [N, H, W, in_channels] to float32 logits [N, H, W, 1], under the Keras
        precision policy in force.
    """
    inputs = keras.Input((None, None, spec.in_channels), name="images")
    x, skips = inputs, []
    for level in range(spec.depth):
        x = _block(x, spec.filters(level), spec.norm, f"encoder_{level}")
        skips.append(x)
        x = layers.MaxPooling2D(name=f"encoder_{level}_pool")(x)
    x = _block(x, spec.filters(spec.depth), spec.norm, "bottom")
    x = layers.SpatialDropout2D(spec.dropout, name="bottom_dropout")(x)
    for level in reversed(range(spec.depth)):
        filters = spec.filters(level)
        x = layers.Conv2DTranspose(filters, 2, strides=2, name=f"decoder_{level}_up")(x)
        x = layers.Concatenate(name=f"decoder_{level}_skip")([skips[level], x])
        x = _block(x, filters, spec.norm, f"decoder_{level}")
    logits = layers.Conv2D(1, 1, dtype="float32", name="logits")(x)
    return keras.Model(inputs, logits, name="unet")


def build_float32(spec: NetworkSpec) -> keras.Model:
    """As `build`, in float32 whatever the precision policy in force."""
    policy = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy("float32")
    try:
        return build(spec)
    finally:
        keras.mixed_precision.set_global_policy(policy)


def _block(x: tf.Tensor, filters: int, norm: Norm, name: str) -> tf.Tensor:
    for index in range(2):
        x = layers.Conv2D(
            filters,
            3,
            padding="same",
            use_bias=False,
            kernel_initializer="he_normal",
            name=f"{name}_conv_{index}",
        )(x)
        x = _norm(norm, filters, f"{name}_norm_{index}")(x)
        x = layers.ReLU(name=f"{name}_relu_{index}")(x)
    return x


def _norm(norm: Norm, filters: int, name: str) -> layers.Layer:
    if norm == "batch":
        return layers.BatchNormalization(momentum=0.9, name=name)
    # About eight channels per group, if they divide evenly.
    groups = -1 if norm == "instance" else math.gcd(filters, max(1, filters // 8))
    # In float16 this layer silently returns zeros once activations are large.
    return layers.GroupNormalization(groups=groups, dtype="float32", name=name)
