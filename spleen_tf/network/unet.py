"""The network: a 2D U-Net (Ronneberger et al., 2015) in the functional Keras API."""

from __future__ import annotations

import math
import pathlib

import keras
import tensorflow as tf
from keras import layers

NORMS = ("batch", "group", "instance")
PRECISIONS = ("auto", "float32", "bfloat16", "float16")

_LOGITS = "logits"
_CPUINFO = pathlib.Path("/proc/cpuinfo")


def build(
    *,
    in_channels: int = 1,
    base_filters: int = 32,
    max_filters: int = 512,
    depth: int = 4,
    norm: str = "batch",
    dropout: float = 0.0,
    deep_supervision: bool = False,
) -> keras.Model:
    """A U-Net for images of any height and width that 2^depth divides.

    Args:
        in_channels: neighbouring slices given as channels.
        base_filters: filters at full resolution; each level down has twice as many.
        max_filters: filters of the coarsest levels, at most.
        depth: how often the resolution is halved.
        norm: 'batch', 'group' (8 channels a group) or 'instance'.
        dropout: share of the deepest level's channels that is dropped in training.
        deep_supervision: coarser levels of the decoder, all but the deepest and the one above it,
            have heads of their own, to learn by.

    Returns:
        A model from [N, H, W, in_channels] to float32 logits [N, H, W, 1], under the Keras
        precision policy in force; with deep_supervision [N, H, W, heads], the finest first, all at
        full resolution.
    """
    filters = [min(max_filters, base_filters * 2**level) for level in range(depth + 1)]
    inputs = keras.Input((None, None, in_channels), name="images")
    x, skips = inputs, []
    for level in range(depth):
        x = _block(x, filters[level], norm, f"encoder_{level}")
        skips.append(x)
        x = layers.MaxPooling2D(name=f"encoder_{level}_pool")(x)
    x = _block(x, filters[depth], norm, "bottom")
    x = layers.SpatialDropout2D(dropout, name="bottom_dropout")(x)
    heads = []
    for level in reversed(range(depth)):
        x = layers.Conv2DTranspose(filters[level], 2, strides=2, name=f"decoder_{level}_up")(x)
        x = layers.Concatenate(name=f"decoder_{level}_skip")([skips[level], x])
        x = _block(x, filters[level], norm, f"decoder_{level}")
        if deep_supervision and 0 < level < depth - 1:
            heads.append(_coarse_head(x, level))
    logits = layers.Conv2D(1, 1, dtype="float32", name=_LOGITS)(x)
    if heads:
        logits = layers.Concatenate(dtype="float32", name="heads")([logits, *reversed(heads)])
    return keras.Model(inputs, logits, name="unet")


def without_coarse_heads(model: keras.Model) -> keras.Model:
    """The same network, with the same variables, to the logits [N, H, W, 1] of its finest level."""
    return keras.Model(model.inputs, model.get_layer(_LOGITS).output, name=model.name)


def precision_policy(precision: str) -> tuple[str, str]:
    """The Keras policy for --precision, and why.

    'auto' takes float16 on a GPU with tensor cores (compute capability 7.0 and up), bfloat16 on a
    CPU with AMX or AVX512-BF16, else float32.
    """
    names = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}
    if precision != "auto":
        return names[precision], "asked for"
    for gpu in tf.config.get_visible_devices("GPU"):
        details = tf.config.experimental.get_device_details(gpu)
        if details.get("compute_capability", (0, 0)) >= (7, 0):
            return "mixed_float16", f"{details.get('device_name', 'the GPU')} has tensor cores"
    cpu_flags = _CPUINFO.read_text().split() if _CPUINFO.is_file() else []
    for cpu_flag, name in (("amx_bf16", "AMX"), ("avx512_bf16", "AVX512-BF16")):
        if cpu_flag in cpu_flags:
            return "mixed_bfloat16", f"the CPU has {name}"
    return "float32", "neither a GPU with tensor cores nor a CPU with AMX or AVX512-BF16 was found"


def _block(x: tf.Tensor, filters: int, norm: str, name: str) -> tf.Tensor:
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


def _coarse_head(x: tf.Tensor, level: int) -> tf.Tensor:
    logits = layers.Conv2D(1, 1, dtype="float32", name=f"{_LOGITS}_{level}")(x)
    return layers.UpSampling2D(
        2**level, interpolation="bilinear", dtype="float32", name=f"{_LOGITS}_{level}_up"
    )(logits)


def _norm(norm: str, filters: int, name: str) -> layers.Layer:
    if norm == "batch":
        return layers.BatchNormalization(momentum=0.9, name=name)
    # Some eight channels a group, if they can be shared out so.
    groups = -1 if norm == "instance" else math.gcd(filters, max(1, filters // 8))
    # In float16 this layer returns zeros, without a word, once activations are large.
    return layers.GroupNormalization(groups=groups, dtype="float32", name=name)
