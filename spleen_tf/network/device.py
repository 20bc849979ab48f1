"""Where a network runs and in which precision."""

from __future__ import annotations

import contextlib
import ctypes
import pathlib

import tensorflow as tf

from spleen_tf.core.files import InputError

_CPUINFO = pathlib.Path("/proc/cpuinfo")
_POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16", "float16": "mixed_float16"}
# TensorFlow's optimizers of graphs that rewrite convolutions, by the policy that they carry out.
_REWRITES = {
    "mixed_bfloat16": "auto_mixed_precision_onednn_bfloat16",
    "mixed_float16": "auto_mixed_precision",
}
_LEAST_BF16_FILTERS = 16
_M_TRIM_THRESHOLD = -1  # glibc's malloc.h
_TRIM_ABOVE_BYTES = 1 << 20


def setup(device: str, precision: str) -> str:
    """Chooses device and precision for all exported models that this process runs.

    Weights stay float32. In bfloat16 or float16, TensorFlow rewrites a graph's convolutions when
    it first runs the graph, so that one SavedModel serves every machine. From here on, freed memory
    goes back to the system.

    Args:
        device: 'auto', 'cpu', 'gpu' or 'gpu:N'.
        precision: a spec.Precision.

    Returns:
        What was chosen and why: 'POLICY: reason'.

    Raises:
        InputError: if the device does not exist here.
    """
    _choose_device(device)
    policy, reason = precision_policy(precision)
    rewrite_graphs(policy)
    _return_freed_memory()
    return f"{policy}: {reason}"


def rewrite_graphs(policy: str) -> None:
    """Says how TensorFlow rewrites the convolutions of graphs that it first runs from here on.

    Args:
        policy: the Keras policy that float32 graphs are to follow; 'float32': none is rewritten.
    """
    # Each is set on or off, so that an earlier choice in this process does not stay.
    tf.config.optimizer.set_experimental_options(
        {rewrite: name == policy for name, rewrite in _REWRITES.items()}
    )


def precision_policy(precision: str, base_filters: int | None = None) -> tuple[str, str]:
    """The Keras policy for --precision, and why.

    'auto' takes float16 on a GPU with tensor cores (compute capability 7.0 and up), bfloat16 on a
    CPU with AMX or AVX512-BF16, else float32. With fewer filters than a vector has room for,
    AVX512-BF16 costs a training more than it gains; docs/experiments.md has the measurements.

    Args:
        precision: a spec.Precision.
        base_filters: of the network that is to be trained; None: not known, or not trained.
    """
    if precision != "auto":
        return _POLICIES[precision], "asked for"
    for gpu in tf.config.get_visible_devices("GPU"):
        details = tf.config.experimental.get_device_details(gpu)
        if details.get("compute_capability", (0, 0)) >= (7, 0):
            return "mixed_float16", f"{details.get('device_name', 'the GPU')} has tensor cores"
    cpu_flags = _CPUINFO.read_text().split() if _CPUINFO.is_file() else []
    for cpu_flag, name in (("amx_bf16", "AMX"), ("avx512_bf16", "AVX512-BF16")):
        if cpu_flag not in cpu_flags:
            continue
        if cpu_flag == "avx512_bf16" and base_filters and base_filters < _LEAST_BF16_FILTERS:
            return "float32", f"the CPU has {name}, which is slower with {base_filters} filters"
        return "mixed_bfloat16", f"the CPU has {name}"
    return "float32", "neither a GPU with tensor cores nor a CPU with AMX or AVX512-BF16 was found"


def _choose_device(device: str) -> None:
    gpus = tf.config.list_physical_devices("GPU")
    if device.startswith("gpu"):
        index = int(device.removeprefix("gpu").lstrip(":") or 0)
        if index >= len(gpus):
            raise InputError(
                f"--device={device}: expected a GPU that TensorFlow can use, found {len(gpus)} of "
                "them; --device=cpu needs none."
            )
        tf.config.set_visible_devices(gpus[index], "GPU")
    elif device == "cpu":
        tf.config.set_visible_devices([], "GPU")


def _return_freed_memory() -> None:
    """By itself, glibc keeps blocks of up to 32 MB: 170 MB of a U-Net's activations in the end."""
    with contextlib.suppress(OSError, AttributeError):  # Other C libraries have no mallopt.
        ctypes.CDLL(None).mallopt(_M_TRIM_THRESHOLD, _TRIM_ABOVE_BYTES)
