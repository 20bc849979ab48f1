"""Which precision a network computes in, and why."""

import pathlib

import pytest
import tensorflow as tf

from spleen_tf.network import device


@pytest.mark.parametrize(
    ("precision", "policy"),
    [("float32", "float32"), ("bfloat16", "mixed_bfloat16"), ("float16", "mixed_float16")],
)
def test_a_precision_that_is_asked_for_is_taken(precision, policy):
    assert device.precision_policy(precision) == (policy, "asked for")


@pytest.mark.parametrize(
    ("cpu_flags", "expected"),
    [
        ("flags : fpu avx512_bf16 amx_bf16 amx_tile", ("mixed_bfloat16", "the CPU has AMX")),
        ("flags : fpu avx512f avx512_bf16", ("mixed_bfloat16", "the CPU has AVX512-BF16")),
        ("flags : fpu avx2 avx512f", ("float32", "neither a GPU with tensor cores nor a CPU")),
    ],
)
def test_auto_takes_bfloat16_where_the_cpu_has_it_and_says_why(
    monkeypatch, tmp_path, cpu_flags, expected
):
    (tmp_path / "cpuinfo").write_text(cpu_flags)
    monkeypatch.setattr(device, "_CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: [])
    policy, reason = device.precision_policy("auto")
    assert policy == expected[0]
    assert reason.startswith(expected[1])


@pytest.mark.parametrize(
    ("cpu_flags", "base_filters", "expected"),
    [
        ("avx512_bf16", 8, "float32"),
        ("avx512_bf16", 16, "mixed_bfloat16"),
        ("avx512_bf16 amx_bf16", 8, "mixed_bfloat16"),
    ],
)
def test_auto_trains_few_filters_in_float32_without_amx(
    monkeypatch, tmp_path, cpu_flags, base_filters, expected
):
    (tmp_path / "cpuinfo").write_text(cpu_flags)
    monkeypatch.setattr(device, "_CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: [])
    assert device.precision_policy("auto", base_filters)[0] == expected
    assert device.precision_policy("bfloat16", base_filters) == ("mixed_bfloat16", "asked for")


def test_auto_takes_float32_where_nothing_tells_what_the_cpu_has(monkeypatch):
    monkeypatch.setattr(device, "_CPUINFO", pathlib.Path("no such file"))
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: [])
    assert device.precision_policy("auto")[0] == "float32"


@pytest.mark.parametrize(
    ("details", "expected"),
    [
        ({"device_name": "Tensor 9000", "compute_capability": (8, 0)}, "mixed_float16"),
        ({"device_name": "Old 1000", "compute_capability": (6, 1)}, "float32"),
        ({}, "float32"),
    ],
)
def test_auto_takes_float16_on_a_gpu_with_tensor_cores(monkeypatch, details, expected):
    monkeypatch.setattr(device, "_CPUINFO", pathlib.Path("no such file"))
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: ["a GPU"])
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda gpu: details)
    policy, reason = device.precision_policy("auto")
    assert policy == expected
    assert ("Tensor 9000" in reason) == (expected == "mixed_float16")
