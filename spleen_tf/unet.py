"""The network: a 2D U-Net (Ronneberger et al., 2015) in the functional Keras API."""

from __future__ import annotations

import pathlib

import keras
import tensorflow as tf
from keras import layers

MAX_FILTERS = 512
NORMS = ("batch", "group", "instance")
PRECISIONS = ("auto", "float32", "bfloat16", "float16")

_CPUINFO = pathlib.Path("/proc/cpuinfo")


def build(
    *,
    in_channels: int = 1,
    base_filters: int = 32,
    depth: int = 4,
    norm: str = "batch",
    dropout: float = 0.0,
) -> keras.Model:
    """A U-Net for images of any height and width that 2^depth divides.

    Args:
        in_channels: neighbouring slices given as channels.
        base_filters: filters at full resolution; each level down has twice as many, up to 512.
        depth: how often the resolution is halved.
        norm: 'batch', 'group' (8 channels a group) or 'instance'.
        dropout: share of the deepest level's channels that is dropped in training.

    Returns:
        A model from [N, H, W, in_channels] to float32 logits [N, H, W, 1], under the Keras
        precision policy in force.
    """
    filters = [min(MAX_FILTERS, base_filters * 2**level) for level in range(depth + 1)]
    inputs = keras.Input((None, None, in_channels), name="images")
    x, skips = inputs, []
    for level in range(depth):
        x = _block(x, filters[level], norm, f"encoder_{level}")
        skips.append(x)
        x = layers.MaxPooling2D(name=f"encoder_{level}_pool")(x)
    x = _block(x, filters[depth], norm, "bottom")
    x = layers.SpatialDropout2D(dropout, name="bottom_dropout")(x)
    for level in reversed(range(depth)):
        x = layers.Conv2DTranspose(filters[level], 2, strides=2, name=f"decoder_{level}_up")(x)
        x = layers.Concatenate(name=f"decoder_{level}_skip")([skips[level], x])
        x = _block(x, filters[level], norm, f"decoder_{level}")
    logits = layers.Conv2D(1, 1, dtype="float32", name="logits")(x)
    return keras.Model(inputs, logits, name="unet")


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


def _norm(norm: str, filters: int, name: str) -> layers.Layer:
    if norm == "batch":
        return layers.BatchNormalization(momentum=0.9, name=name)
    groups = -1 if norm == "instance" else max(1, filters // 8)
    # In float16 this layer returns zeros, without a word, once activations are large.
    return layers.GroupNormalization(groups=groups, dtype="float32", name=name)
