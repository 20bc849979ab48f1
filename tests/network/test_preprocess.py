"""Windows, neighbours, the way to the network's grid and back, padding and cropping."""

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
import tensorflow as tf
from hypothesis.extra import numpy as hnp

from spleen_tf.network import preprocess


def nhwc(rows):
    """One slice of one channel."""
    return tf.constant(np.array(rows, np.float32)[np.newaxis, ..., np.newaxis])


def columns_of(images_nhwc):
    """The values along the first row of the first slice."""
    return images_nhwc.numpy()[0, 0, :, 0]


def mm(row_mm, column_mm):
    return tf.constant([row_mm, column_mm], tf.float32)


def ramp_along_columns(count, pixel_mm, rows=3):
    """A slice whose pixels hold the distance in mm from its left edge to their centres."""
    return nhwc([(np.arange(count) + 0.5) * pixel_mm] * rows)


def inverse_sigmoid(probability):
    return tf.math.log(probability) - tf.math.log1p(-probability)


# Windows


def test_the_window_for_any_modality_is_that_of_ct_where_the_lowest_values_are_air():
    by_percentiles = tf.constant([-900.0, 500.0])
    for lowest, expected in ((-1000.0, [-160.0, 240.0]), (-50.0, [-900.0, 500.0])):
        window = preprocess.window_for_any(tf.constant(lowest), by_percentiles)
        assert window.numpy().tolist() == expected


def test_a_window_of_minus_160_to_240_hu_becomes_0_to_1_and_the_rest_is_clipped():
    hu = tf.constant([-1000.0, -160.0, -60.0, 40.0, 240.0, 3000.0])
    scaled = preprocess.normalize(hu, tf.constant([-160.0, 240.0]))
    np.testing.assert_allclose(scaled, [0, 0, 0.25, 0.5, 1, 1], atol=1e-7)


def test_a_window_without_width_gives_zeros_not_nan():
    scaled = preprocess.normalize(tf.constant([6.0, 7.0, 8.0]), tf.constant([7.0, 7.0]))
    np.testing.assert_array_equal(scaled, [0, 0, 0])


def test_intensities_beyond_float16_are_windowed_in_float32():
    scaled = preprocess.normalize(tf.constant([90_000.0]), tf.constant([80_000.0, 100_000.0]))
    assert scaled.dtype == tf.float32
    np.testing.assert_allclose(scaled, [0.5])


def test_percentiles_are_interpolated_between_the_two_values_around_the_rank():
    # Five values: the 10th percentile has rank 0.4, between 0 and 10; the 75th has rank 3.
    values = tf.constant([[40.0, 0.0, 20.0], [10.0, 30.0, 20.0]])[:, :2]
    values = tf.concat([tf.reshape(values, [-1]), [20.0]], axis=0)
    np.testing.assert_allclose(preprocess.percentile_window(values, (10.0, 75.0)), [4.0, 30.0])


@hypothesis.given(
    hnp.arrays(
        np.float32,
        hnp.array_shapes(min_dims=3, max_dims=3, max_side=5),
        elements=st.floats(-1000, 3000, width=32),
    ),
    st.sampled_from([(0.5, 99.5), (5.0, 95.0), (0.0, 100.0), (50.0, 99.5)]),
)
@hypothesis.settings(max_examples=25)
def test_percentiles_are_those_of_numpy(slices_nhw, percentiles):
    window = preprocess.percentile_window(tf.constant(slices_nhw), percentiles)
    assert window.dtype == tf.float32
    np.testing.assert_allclose(window, np.percentile(slices_nhw, percentiles), rtol=1e-5, atol=1e-3)


# Neighbours


@pytest.mark.parametrize(
    ("in_channels", "count", "expected"),
    [
        (1, 3, [[0], [1], [2]]),
        (3, 3, [[0, 0, 1], [0, 1, 2], [1, 2, 2]]),
        (5, 2, [[0, 0, 0, 1, 1], [0, 0, 1, 1, 1]]),
        (3, 1, [[0, 0, 0]]),
    ],
)
def test_each_slice_stands_amid_its_neighbours_and_the_edge_ones_are_repeated(
    in_channels, count, expected
):
    slices_nhw = tf.range(count, dtype=tf.float32)[:, tf.newaxis, tf.newaxis] * tf.ones([1, 2, 3])
    stacked = preprocess.neighbours(slices_nhw, in_channels).numpy()
    assert stacked.shape == (count, 2, 3, in_channels)
    np.testing.assert_array_equal(stacked[:, 1, 2], expected)


# To the grid and back


def test_twice_as_fine_a_grid_holds_the_ramp_at_its_own_centres():
    # Centres at 1, 3, 5, 7 mm; the grid's at 0.5, 1.5, …, 7.5 mm. Beyond the outermost centres
    # there is nothing to interpolate with, and the edge is repeated.
    image = ramp_along_columns(4, pixel_mm=2.0)
    on_grid = preprocess.to_grid(image, mm(1.0, 2.0), (1.0, 1.0))
    np.testing.assert_allclose(columns_of(on_grid), [1, 1.5, 2.5, 3.5, 4.5, 5.5, 6.5, 7])


def test_half_as_fine_a_grid_averages_with_a_triangle_about_its_centres():
    # Centres at 1, 3, …, 15 mm; the grid's at 2, 6, 10, 14 mm. The triangle reaches 2 pixels to
    # either side: weights 1/4, 3/4, 3/4, 1/4, of which three lie inside at the edges:
    # (3/4·1 + 3/4·3 + 1/4·5) / (7/4) = 17/7.
    image = ramp_along_columns(8, pixel_mm=2.0)
    on_grid = preprocess.to_grid(image, mm(4.0, 2.0), (4.0, 4.0))
    np.testing.assert_allclose(columns_of(on_grid), [17 / 7, 6, 10, 16 - 17 / 7], rtol=1e-6)


def test_an_impulse_between_two_coarse_pixels_is_not_lost():
    # Without anti-aliasing, a grid five times as coarse would look at every fifth pixel only. The
    # impulse at 9.5 mm is 2 and 3 mm from the centres at 7.5 and 12.5 mm, whose triangles fall to
    # nothing in 5 mm and sum to 5: (1 - 2/5) / 5 and (1 - 3/5) / 5.
    impulse = nhwc([[1.0 if n == 9 else 0.0 for n in range(20)]])
    on_grid = preprocess.to_grid(impulse, mm(1.0, 1.0), (1.0, 5.0))
    np.testing.assert_allclose(columns_of(on_grid), [0, 0.12, 0.08, 0], atol=1e-6)


@pytest.mark.parametrize("grid_mm", [0.4, 0.7, 1.0])
def test_a_ramp_keeps_its_place_in_mm_on_a_finer_grid(grid_mm):
    image = ramp_along_columns(20, pixel_mm=1.3)
    values = columns_of(preprocess.to_grid(image, mm(1.0, 1.3), (1.0, grid_mm)))
    centres_mm = (np.arange(len(values)) + 0.5) * grid_mm
    inside = (centres_mm > 0.65) & (centres_mm < 26 - 0.65)
    np.testing.assert_allclose(values[inside], centres_mm[inside], atol=1e-4)


def test_rows_and_columns_have_their_own_spacing():
    image = tf.zeros([2, 10, 20, 3])
    on_grid = preprocess.to_grid(image, mm(2.0, 0.5), (1.0, 1.0))
    assert on_grid.shape == (2, 20, 10, 3)


def test_a_slice_is_not_touched_where_the_spacings_agree():
    image = tf.random.stateless_normal([2, 5, 7, 3], [1, 2]) * 1000
    on_grid = preprocess.to_grid(image, mm(0.79, 1.7), (0.79, 1.7))
    np.testing.assert_array_equal(on_grid, image)
    back = preprocess.from_grid(on_grid, mm(0.79, 1.7), (0.79, 1.7), tf.constant([5, 7]))
    np.testing.assert_array_equal(back, image)


def test_rounding_of_a_spacing_adds_no_pixel_and_moves_none():
    # 0.8 mm from a header in float32 and times 512 is a trifle more than 512 × 0.8 mm.
    image = nhwc(np.arange(512)[np.newaxis])
    on_grid = preprocess.to_grid(image, mm(1.0, np.float32(0.8) * 1.00001), (1.0, 0.8))
    assert on_grid.shape[2] == 512
    np.testing.assert_allclose(columns_of(on_grid), np.arange(512), atol=0.01)


def test_the_grid_covers_the_whole_slice():
    # 7 pixels of 1 mm need four of 2 mm, the last of which reaches beyond.
    assert preprocess.to_grid(tf.zeros([1, 7, 1, 1]), mm(1.0, 1.0), (2.0, 1.0)).shape[1] == 4


def test_a_slice_smaller_than_a_grid_pixel_becomes_one_pixel():
    # Its centre, at 1.5 mm, is that of the second pixel and 1 mm from that of the first:
    # weights 1 and 2/3.
    on_grid = preprocess.to_grid(nhwc([[3.0, 5.0]] * 2), mm(1.0, 1.0), (3.0, 3.0))
    np.testing.assert_allclose(on_grid, [[[[(3 * 2 / 3 + 5) / (5 / 3)]]]], rtol=1e-6)


@hypothesis.given(
    st.integers(1, 60),
    st.integers(1, 60),
    st.floats(0.125, 8.0, width=32),
)
@hypothesis.example(37, 37, 1.0)
@hypothesis.example(512, 205, 0.4)
@hypothesis.example(205, 512, 2.5)
@hypothesis.example(5, 60, 2.0)  # Centres beyond the input weigh nothing.
@hypothesis.settings(max_examples=60, deadline=None)
def test_the_resampling_matrix_has_the_weights_of_scale_and_translate(inputs, outputs, scale):
    # One channel per input pixel, each an impulse: the columns of the matrix.
    impulses = tf.eye(inputs)[tf.newaxis, :, tf.newaxis]
    expected = tf.raw_ops.ScaleAndTranslate(
        images=impulses,
        size=[outputs, 1],
        scale=[scale, 1.0],
        translation=[0.0, 0.0],
        kernel_type="triangle",
        antialias=True,
    )
    matrix = preprocess.resampling_matrix(inputs, outputs, tf.constant(scale))
    np.testing.assert_allclose(matrix, expected[0, :, 0], atol=1e-5)


@pytest.mark.parametrize("pixel_mm", [(0.7, 1.9), (3.1, 0.4)])
def test_one_channel_and_several_are_resampled_alike(pixel_mm):
    images = tf.random.stateless_uniform([2, 31, 18, 3], [1, 2])
    together = preprocess.to_grid(images, mm(*pixel_mm), (1.3, 1.1))
    apart = [preprocess.to_grid(c, mm(*pixel_mm), (1.3, 1.1)) for c in tf.split(images, 3, -1)]
    np.testing.assert_allclose(together, tf.concat(apart, -1), atol=1e-6)


@hypothesis.given(
    st.tuples(st.integers(1, 40), st.integers(1, 40)),
    st.tuples(st.floats(0.3, 6.0), st.floats(0.3, 6.0)),
    st.tuples(st.floats(0.3, 6.0), st.floats(0.3, 6.0)),
)
@hypothesis.settings(max_examples=40)
def test_the_way_back_gives_the_native_shape_and_range(shape_hw, pixel_mm, grid_mm):
    image = tf.random.stateless_uniform([1, *shape_hw, 1], [3, 4])
    on_grid = preprocess.to_grid(image, mm(*pixel_mm), grid_mm)
    back = preprocess.from_grid(on_grid, mm(*pixel_mm), grid_mm, tf.constant(shape_hw))
    assert back.shape == image.shape
    assert tf.reduce_min(back) >= -1e-5
    assert tf.reduce_max(back) <= 1 + 1e-5


def blob(shape_hw, pixel_mm, center_mm, sigma_mm):
    row_mm, column_mm = ((np.arange(n) + 0.5) * s for n, s in zip(shape_hw, pixel_mm, strict=True))
    squared = (row_mm[:, np.newaxis] - center_mm[0]) ** 2 + (column_mm - center_mm[1]) ** 2
    return nhwc(np.exp(-0.5 * squared / sigma_mm**2))


def center_of_mass_mm(images_nhwc, pixel_mm):
    image = np.asarray(images_nhwc, np.float64)[0, ..., 0]
    indices = np.indices(image.shape)
    return [
        (image * (index + 0.5)).sum() / image.sum() * s
        for index, s in zip(indices, pixel_mm, strict=True)
    ]


@pytest.mark.parametrize(
    ("pixel_mm", "grid_mm"),
    [((0.8, 1.6), (1.5, 1.1)), ((5.0, 0.79), (1.8, 1.8)), ((0.7, 0.7), (2.7, 2.7))],
)
def test_a_blob_keeps_its_centre_in_mm_to_the_grid_and_back(pixel_mm, grid_mm):
    shape_hw = [round(120 / spacing) for spacing in pixel_mm]
    center_mm = (47.3, 66.1)
    image = blob(shape_hw, pixel_mm, center_mm, sigma_mm=9.0)
    on_grid = preprocess.to_grid(image, mm(*pixel_mm), grid_mm)
    np.testing.assert_allclose(center_of_mass_mm(on_grid, grid_mm), center_mm, atol=0.05)
    back = preprocess.from_grid(on_grid, mm(*pixel_mm), grid_mm, tf.constant(shape_hw))
    np.testing.assert_allclose(center_of_mass_mm(back, pixel_mm), center_mm, atol=0.05)


# Segmenting


def test_a_network_that_says_how_bright_a_pixel_is_gives_the_windowed_slice_back():
    seen = []

    def network(images):
        seen.append(images)
        return inverse_sigmoid(tf.clip_by_value(images, 1e-6, 1 - 1e-6))

    slices_nhwc = tf.reshape(tf.range(70, dtype=tf.float32), [2, 5, 7, 1])
    probability = preprocess.segment(
        network, slices_nhwc, mm(2.0, 3.0), tf.constant([0.0, 100.0]), (2.0, 3.0), multiple=4
    )
    np.testing.assert_allclose(probability, slices_nhwc[..., 0] / 100, atol=1e-5)
    # The network saw multiples of 4, with zeros below and on the right.
    assert seen[0].shape == (2, 8, 8, 1)
    assert tf.reduce_max(tf.abs(seen[0][:, 5:])) == tf.reduce_max(tf.abs(seen[0][:, :, 7:])) == 0


def test_the_middle_of_three_channels_is_the_slice_that_was_asked_for():
    slices_nhwc = tf.constant([[[[10.0, 40.0, 90.0]] * 2] * 2])
    probability = preprocess.segment(
        lambda images: inverse_sigmoid(images[..., 1:2]),
        slices_nhwc,
        mm(1.0, 1.0),
        tf.constant([0.0, 100.0]),
        (1.0, 1.0),
        multiple=2,
    )
    np.testing.assert_allclose(probability, np.full((1, 2, 2), 0.4), atol=1e-6)


def test_probabilities_come_back_to_native_pixels_in_place():
    # A bright square from 40 to 80 mm down and 16 to 48 mm across, on a grid of other pixels.
    pixel_mm, square = (2.0, 0.8), np.zeros((61, 83), np.float32)
    square[20:40, 20:60] = 1.0
    probability = preprocess.segment(
        lambda images: 40 * (images - 0.5),
        nhwc(square),
        mm(*pixel_mm),
        tf.constant([0.0, 1.0]),
        (1.3, 1.3),
        multiple=16,
    )
    found = probability.numpy()[0] > 0.5
    overlap = 2 * (found & (square > 0)).sum() / (found.sum() + square.sum())
    assert overlap > 0.97
    rows, columns = np.nonzero(found)
    assert abs(rows.mean() - 29.5) < 0.25
    assert abs(columns.mean() - 39.5) < 0.25


def test_logits_of_a_network_in_half_precision_become_float32_probabilities():
    probability = preprocess.segment(
        lambda images: tf.cast(images, tf.float16),
        tf.zeros([1, 4, 4, 1]),
        mm(1.0, 1.0),
        tf.constant([0.0, 1.0]),
        (1.0, 1.0),
        multiple=2,
    )
    assert probability.dtype == tf.float32
    np.testing.assert_array_equal(probability, np.full((1, 4, 4), 0.5))


def test_one_graph_serves_slices_of_any_size_and_spacing():
    spec = [tf.TensorSpec([None, None, None, 1]), tf.TensorSpec([2])]

    @tf.function(input_signature=spec)
    def segment(images, pixel_mm):
        window = tf.constant([0.0, 1.0])
        return preprocess.segment(lambda x: x, images, pixel_mm, window, (2.0, 2.0), multiple=8)

    for shape_hw, pixel_mm in (((5, 9), mm(2.0, 2.0)), ((33, 6), mm(0.7, 4.1))):
        assert segment(tf.zeros([3, *shape_hw, 1]), pixel_mm).shape == (3, *shape_hw)
    assert segment.experimental_get_tracing_count() == 1


# Padding and cropping


@pytest.mark.parametrize(
    ("shape_hw", "multiple", "expected_hw"),
    [((5, 8), 4, (8, 8)), ((16, 16), 16, (16, 16)), ((1, 17), 16, (16, 32)), ((3, 5), 1, (3, 5))],
)
def test_padding_goes_up_to_the_next_multiple(shape_hw, multiple, expected_hw):
    padded = preprocess.pad_to_multiple(tf.ones([2, *shape_hw, 1]), multiple)
    assert padded.shape == (2, *expected_hw, 1)
    np.testing.assert_array_equal(
        padded[:, : shape_hw[0], : shape_hw[1]], tf.ones([2, *shape_hw, 1])
    )
    assert tf.reduce_sum(padded) == 2 * shape_hw[0] * shape_hw[1]


@pytest.mark.parametrize(
    ("position", "first_row", "first_column"),
    [((0, 0), 0, 0), ((1, 1), 4, 2), ((0.5, 0.5), 2, 1), ((0, 1), 0, 2), ((1, 0), 4, 0)],
)
def test_a_crop_lies_where_its_position_says(position, first_row, first_column):
    # 6 rows to 2 leave 4 places beyond the first, 5 columns to 3 leave 2.
    image = tf.reshape(tf.range(30), [6, 5, 1])
    crop = preprocess.crop_or_pad(image, (2, 3), tf.constant(position, tf.float32))
    expected = np.arange(30).reshape(6, 5)[
        first_row : first_row + 2, first_column : first_column + 3
    ]
    np.testing.assert_array_equal(crop[..., 0], expected)


@pytest.mark.parametrize(
    ("position", "first_row", "first_column"), [((0, 0), 0, 0), ((1, 1), 3, 4), ((1, 0.5), 3, 2)]
)
def test_padding_lies_around_the_image_where_its_position_says(position, first_row, first_column):
    padded = preprocess.crop_or_pad(tf.ones([2, 1, 1]), (5, 5), tf.constant(position, tf.float32))
    expected = np.zeros((5, 5))
    expected[first_row : first_row + 2, first_column] = 1
    np.testing.assert_array_equal(padded[..., 0], expected)


def test_one_side_is_cropped_while_the_other_is_padded():
    image = tf.reshape(tf.range(8.0), [4, 2, 1])
    fitted = preprocess.crop_or_pad(image, (2, 3), tf.constant([1.0, 1.0]))
    np.testing.assert_array_equal(fitted[..., 0], [[0, 4, 5], [0, 6, 7]])


def test_the_size_is_known_to_the_graph_although_the_image_has_any():
    spec = [tf.TensorSpec([None, None, 2]), tf.TensorSpec([2])]
    graph = tf.function(
        lambda image, position: preprocess.crop_or_pad(image, (4, 6), position), spec
    )
    assert graph.get_concrete_function().structured_outputs.shape == (4, 6, 2)
