"""The network: its size and shapes, its precision, and that every part of it takes part."""

import pathlib

import keras
import numpy as np
import pytest
import tensorflow as tf

from spleen_tf.network import unet


@pytest.fixture(autouse=True)
def _float32_afterwards():
    yield
    keras.mixed_precision.set_global_policy("float32")


def tiny(**changes):
    return unet.build(**{"base_filters": 2, "depth": 2, **changes})


def filters_at(level, base, most=512):
    return min(most, base * 2**level)


def parameters(in_channels, base, depth, most=512):
    """All parameters, counted from the drawing.

    A block of f filters on c channels has convolutions of 9 c f and 9 f f weights, each followed
    by a BatchNorm of 4 f numbers. On the way up, a transposed convolution of 2×2 with bias halves
    the filters, and the block sees twice as many as it gives. One 1×1 convolution with bias ends.
    """

    def block(c, f):
        return 9 * c * f + 9 * f * f + 2 * 4 * f

    total = block(in_channels, base)
    for level in range(1, depth + 1):
        total += block(filters_at(level - 1, base, most), filters_at(level, base, most))
    for level in range(depth):
        f = filters_at(level, base, most)
        total += 4 * filters_at(level + 1, base, most) * f + f + block(2 * f, f)
    return total + base + 1


def test_the_default_network_has_7_8_million_parameters():
    model = unet.build()
    trainable = sum(int(np.prod(v.shape)) for v in model.trainable_variables)
    assert model.count_params() == parameters(1, 32, 4) == 7_768_353
    # Half of BatchNorm's numbers are statistics, not trained: 2 × 2 × (2·(32+64+128+256) + 512).
    assert model.count_params() - trainable == 5_888


@pytest.mark.parametrize(("in_channels", "base", "depth"), [(3, 4, 2), (1, 8, 3), (5, 300, 2)])
def test_parameters_follow_from_channels_filters_and_depth(in_channels, base, depth):
    model = unet.build(in_channels=in_channels, base_filters=base, depth=depth)
    assert model.count_params() == parameters(in_channels, base, depth)


def test_the_coarsest_levels_have_no_more_filters_than_the_maximum():
    model = unet.build(base_filters=16, max_filters=64, depth=4)
    assert model.count_params() == parameters(1, 16, 4, most=64)
    assert model.get_layer("bottom_conv_0").filters == 64


@pytest.mark.parametrize("shape", [(1, 64, 64), (2, 128, 128), (1, 256, 256), (3, 32, 96)])
def test_one_network_takes_images_of_any_size(shape):
    model = tiny(depth=4, in_channels=3)
    logits = model(tf.zeros([*shape, 3]))
    assert logits.shape == (*shape, 1)
    assert logits.dtype == tf.float32


def test_outputs_are_logits_not_probabilities():
    model = tiny()
    model.get_layer("logits").bias.assign([-7.0])
    model.get_layer("logits").kernel.assign(tf.zeros_like(model.get_layer("logits").kernel))
    np.testing.assert_array_equal(model(tf.ones([1, 8, 8, 1])), tf.fill([1, 8, 8, 1], -7.0))


@pytest.mark.parametrize("norm", unet.NORMS)
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_weights_and_logits_are_float32_whatever_computes_between(policy, norm):
    keras.mixed_precision.set_global_policy(policy)
    model = tiny(norm=norm)
    assert model(tf.ones([1, 8, 8, 1])).dtype == tf.float32
    assert {v.dtype for v in model.variables} == {tf.float32}
    expected = {"float32": "float32", "mixed_bfloat16": "bfloat16", "mixed_float16": "float16"}
    assert model.get_layer("encoder_0_conv_0").compute_dtype == expected[policy]


@pytest.mark.parametrize("norm", ["group", "instance"])
def test_group_normalization_computes_in_float32_where_float16_would_give_zeros(norm):
    keras.mixed_precision.set_global_policy("mixed_float16")
    model = tiny(norm=norm, base_filters=8, depth=1)
    layer = model.get_layer("encoder_0_norm_0")
    assert layer.compute_dtype == "float32"
    # Activations of some thousands, whose squares float16 cannot hold.
    activations = tf.random.stateless_normal([1, 16, 16, 8], [1, 2], stddev=3000.0)
    normalized = layer(tf.cast(activations, tf.float16))
    assert np.std(normalized) == pytest.approx(1, abs=0.05)


def test_group_norm_has_groups_of_8_channels_and_instance_norm_of_one():
    def groups(**about):
        return unet.build(depth=1, **about).get_layer("encoder_0_norm_0").groups

    assert groups(norm="group", base_filters=32) == 4
    assert groups(norm="group", base_filters=2) == 1
    assert groups(norm="group", base_filters=28) == 1  # Three groups would not share them out.
    assert groups(norm="group", base_filters=44) == 1
    assert groups(norm="instance", base_filters=6) == 6


@pytest.mark.parametrize("norm", unet.NORMS)
def test_the_gradient_reaches_every_variable(norm):
    keras.utils.set_random_seed(0)
    model = tiny(norm=norm, base_filters=4)
    images = tf.random.stateless_uniform([2, 16, 16, 1], [1, 2])
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean((model(images, training=True) - images) ** 2)
    for variable, slope in zip(
        model.trainable_variables, tape.gradient(loss, model.trainable_variables), strict=True
    ):
        assert slope is not None, variable.name
        assert np.abs(slope).max() > 0, variable.name


@pytest.mark.parametrize("level", [0, 1])
def test_fine_detail_reaches_the_output_by_the_skip_connections(level):
    model = tiny()
    images = tf.random.stateless_uniform([1, 16, 16, 1], [1, 2])
    # Whatever comes from below is cut off.
    for variable in model.get_layer(f"decoder_{level}_up").variables:
        variable.assign(tf.zeros_like(variable))
    logits = model(images).numpy()
    assert np.ptp(logits) > 1e-3


def test_dropout_drops_in_training_only():
    keras.utils.set_random_seed(0)
    model = tiny(dropout=0.5, base_filters=8, norm="instance")
    images = tf.random.stateless_uniform([1, 16, 16, 1], [1, 2])
    np.testing.assert_array_equal(model(images), model(images))
    assert np.abs(model(images, training=True) - model(images, training=True)).max() > 0


def test_names_of_variables_are_the_same_in_every_build():
    assert [v.name for v in tiny().variables] == [v.name for v in tiny().variables]


# Precision


@pytest.mark.parametrize(
    ("precision", "policy"),
    [("float32", "float32"), ("bfloat16", "mixed_bfloat16"), ("float16", "mixed_float16")],
)
def test_a_precision_that_is_asked_for_is_taken(precision, policy):
    assert unet.precision_policy(precision) == (policy, "asked for")


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
    monkeypatch.setattr(unet, "_CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: [])
    policy, reason = unet.precision_policy("auto")
    assert policy == expected[0]
    assert reason.startswith(expected[1])


def test_auto_takes_float32_where_nothing_tells_what_the_cpu_has(monkeypatch):
    monkeypatch.setattr(unet, "_CPUINFO", pathlib.Path("no such file"))
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: [])
    assert unet.precision_policy("auto")[0] == "float32"


@pytest.mark.parametrize(
    ("details", "expected"),
    [
        ({"device_name": "Tensor 9000", "compute_capability": (8, 0)}, "mixed_float16"),
        ({"device_name": "Old 1000", "compute_capability": (6, 1)}, "float32"),
        ({}, "float32"),
    ],
)
def test_auto_takes_float16_on_a_gpu_with_tensor_cores(monkeypatch, details, expected):
    monkeypatch.setattr(unet, "_CPUINFO", pathlib.Path("no such file"))
    monkeypatch.setattr(tf.config, "get_visible_devices", lambda kind: ["a GPU"])
    monkeypatch.setattr(tf.config.experimental, "get_device_details", lambda gpu: details)
    policy, reason = unet.precision_policy("auto")
    assert policy == expected
    assert ("Tensor 9000" in reason) == (expected == "mixed_float16")


def test_deep_supervision_adds_a_head_to_the_levels_between_the_finest_and_the_deepest():
    model = tiny(depth=4, deep_supervision=True)
    assert model(tf.zeros([1, 32, 48, 1])).shape == (1, 32, 48, 3)
    heads = [layer.name for layer in model.layers if layer.name.startswith("logits")]
    assert sorted(heads) == ["logits", "logits_1", "logits_1_up", "logits_2", "logits_2_up"]
    # A head has a weight for each filter, and a bias.
    added = model.count_params() - tiny(depth=4).count_params()
    assert added == sum(filters_at(level, 2) + 1 for level in (1, 2))


def test_without_coarse_heads_the_finest_remains_as_it_was():
    model = tiny(depth=3, deep_supervision=True)
    images = tf.random.stateless_normal([2, 16, 16, 1], [1, 2])
    exported = unet.without_coarse_heads(model)
    np.testing.assert_array_equal(exported(images), model(images)[..., :1])
    assert exported.count_params() == tiny(depth=3).count_params()


def test_a_network_of_one_head_loses_nothing_without_coarse_ones():
    model = tiny()
    exported = unet.without_coarse_heads(model)
    assert [v.name for v in exported.variables] == [v.name for v in model.variables]
