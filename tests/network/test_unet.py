"""The network: its size and shapes, its types, and that every part of it takes part."""

from typing import get_args

import keras
import numpy as np
import pytest
import tensorflow as tf

from spleen_tf.network import unet
from spleen_tf.network.spec import NetworkSpec, Norm


@pytest.fixture(autouse=True)
def _float32_afterwards():
    yield
    keras.mixed_precision.set_global_policy("float32")


def tiny(**changes):
    return unet.build(NetworkSpec(**{"base_filters": 2, "depth": 2, **changes}))


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
    model = unet.build(NetworkSpec())
    trainable = sum(int(np.prod(v.shape)) for v in model.trainable_variables)
    assert model.count_params() == parameters(1, 32, 4) == 7_768_353
    # Half of BatchNorm's numbers are statistics, not trained: 2 × 2 × (2·(32+64+128+256) + 512).
    assert model.count_params() - trainable == 5_888


@pytest.mark.parametrize(("in_channels", "base", "depth"), [(3, 4, 2), (1, 8, 3), (5, 300, 2)])
def test_parameters_follow_from_channels_filters_and_depth(in_channels, base, depth):
    model = unet.build(NetworkSpec(in_channels, base, depth=depth))
    assert model.count_params() == parameters(in_channels, base, depth)


def test_the_coarsest_levels_have_no_more_filters_than_the_maximum():
    model = unet.build(NetworkSpec(base_filters=16, max_filters=64))
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


@pytest.mark.parametrize("norm", get_args(Norm))
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
        return unet.build(NetworkSpec(depth=1, **about)).get_layer("encoder_0_norm_0").groups

    assert groups(norm="group", base_filters=32) == 4
    assert groups(norm="group", base_filters=2) == 1
    assert groups(norm="group", base_filters=28) == 1  # Three groups would not share them out.
    assert groups(norm="group", base_filters=44) == 1
    assert groups(norm="instance", base_filters=6) == 6


@pytest.mark.parametrize("norm", get_args(Norm))
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
