"""Percentiles and windows, against numpy and numbers derived by hand."""

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies
from hypothesis.extra import numpy as arrays

from spleen_tf.imaging import intensity

SHAPES = arrays.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=5)
ORDERS = strategies.permutations(range(3))


@hypothesis.settings(max_examples=60)
@hypothesis.given(array=arrays.arrays(np.int16, SHAPES), axes=ORDERS)
def test_percentiles_of_int16_are_numpys(array, axes):
    # In float64, because numpy 1.26 subtracts neighbours as int16, which overflows.
    expected = np.percentile(array.astype(np.float64), intensity.PERCENTILES)
    found = intensity.percentiles(array.transpose(axes))
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected.astype(np.float32), rtol=2e-7)


@hypothesis.settings(max_examples=30)
@hypothesis.given(
    array=arrays.arrays(
        np.float32, SHAPES, elements=strategies.floats(-1e6, 1e6, width=32, allow_subnormal=False)
    ),
    axes=ORDERS,
)
def test_percentiles_of_float32_are_numpys(array, axes):
    expected = np.percentile(array, intensity.PERCENTILES).astype(np.float32)
    np.testing.assert_array_equal(intensity.percentiles(array.transpose(axes)), expected)


def test_percentiles_over_the_whole_range_of_int16():
    array = np.arange(-32768, 32768).astype(np.int16).reshape(64, 32, 32)
    found = intensity.percentiles(array, (0, 25, 50, 75, 100))
    # Ranks 0.25·65535 = 16383.75 and so on, from -32768 on.
    assert found.tolist() == [-32768, -16384.25, -0.5, 16383.25, 32767]
    two = np.array([[[-32768, 32767]]], np.int16)
    assert intensity.percentiles(two, (50,)).tolist() == [-0.5]


def test_mr_is_windowed_between_percentiles_of_the_volume():
    values = np.random.default_rng(0).permutation(1000).reshape(10, 10, 10)
    values = values.astype(np.int16)
    # The 0.5th percentile of 0…999 lies at rank 0.005 · 999 = 4.995.
    assert intensity.default_window(values, "MR") == pytest.approx((4.995, 994.005))
    assert intensity.default_window(values, "CT") == (-160, 240)


def test_a_volume_whose_lowest_half_percent_is_air_is_in_hounsfield_units():
    values = np.zeros((10, 10, 10), np.int16)
    values[0, 0, :6] = -1000  # The 0.5th percentile lies at rank 0.005 · 999 = 4.995.
    assert intensity.is_hounsfield(values)
    assert intensity.guessed_modality(values) == "CT"
    values[0, 0, 5] = 0  # 0.995 of the way from -1000 to 0 is -5.
    assert not intensity.is_hounsfield(values)
    assert intensity.guessed_modality(values) == "MR"
