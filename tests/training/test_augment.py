"""Augmentation: what each strength may change, how far, and what it leaves alone."""

import math

import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage

from spleen_tf.imaging import masks
from spleen_tf.training import augment
from spleen_tf.training.augment_config import AugmentConfig
from spleen_tf.training.config import TrainConfig

DEFAULTS = TrainConfig(records="records", model_dir="model", steps=1).augmentation
GEOMETRY = {"rotation_degrees": 25.0, "scale": 0.2, "shift": 0.1, "elastic_pixels": 2.0}


def constant(image, channels=1):
    """float32 [H, W, C] of a 2D array."""
    image = np.asarray(image, np.float32)[..., np.newaxis]
    return tf.constant(np.repeat(image, channels, axis=-1))


def noise_image(height, width, channels=1):
    return tf.random.stateless_uniform([height, width, channels], [5, 6])


def square(height, width, top, left, side):
    image = np.zeros((height, width), np.float32)
    image[top : top + side, left : left + side] = 1
    return image


def variants(image, label, count=64, pixel_aspect=1.0, **strengths):
    """Images [count, H, W, C] and labels [count, H, W, 1] under count seeds.

    A label of one channel is that of all.
    """
    label = tf.broadcast_to(label, image.shape)
    numbers = tf.data.Dataset.range(count, output_type=tf.int32)
    config = AugmentConfig(**strengths)
    drawn = numbers.map(lambda n: augment.augment(image, label, [3, n], config, pixel_aspect))
    images, labels = next(iter(drawn.batch(count)))
    return images.numpy(), labels.numpy()


def blob(height, width, center_row, center_column, sigma=1.5):
    row, column = np.indices((height, width))
    return np.exp(-0.5 * ((row - center_row) ** 2 + (column - center_column) ** 2) / sigma**2)


def centers(images):
    """(N, C, 2): centre of mass, row and column, of each channel of [N, H, W, C]."""
    images = np.asarray(images, np.float64)
    mass = images.sum(axis=(1, 2))
    row, column = np.indices(images.shape[1:3])
    moments = [np.einsum("nhwc,hw->nc", images, index) / mass for index in (row, column)]
    return np.stack(moments, axis=-1)


def blobs(height, width, *places):
    """float32 [H, W, C], a blob in each channel, and a label without spleen."""
    image = np.stack([blob(height, width, *place) for place in places], axis=-1)
    return tf.constant(image.astype(np.float32)), tf.zeros([height, width, 1])


# What holds for all


def test_without_strengths_nothing_changes_to_the_bit():
    image, label = noise_image(16, 24, 3), constant(square(16, 24, 4, 5, 6), 3)
    changed, label_after = augment.augment(image, label, tf.constant([1, 2]), AugmentConfig())
    np.testing.assert_array_equal(changed, image)
    np.testing.assert_array_equal(label_after, label[..., 1:2])


def test_the_same_seed_gives_the_same_variant_and_another_seed_another():
    image, label = noise_image(32, 32), constant(square(32, 32, 8, 9, 12))
    first, first_label = augment.augment(image, label, tf.constant([1, 2]), DEFAULTS)
    again, again_label = augment.augment(image, label, tf.constant([1, 2]), DEFAULTS)
    other, other_label = augment.augment(image, label, tf.constant([1, 3]), DEFAULTS)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(first_label, again_label)
    assert np.abs(first - other).mean() > 0.01
    assert (first_label.numpy() != other_label.numpy()).any()


def test_a_graph_gives_what_eager_mode_gives_with_several_channels_too():
    image, label = noise_image(32, 40, 3), constant(square(32, 40, 8, 9, 12), 3)
    strengths = {**vars(DEFAULTS), "mass": 1.0}
    images, labels = variants(image, label, count=3, **strengths)
    assert images.shape == (3, 32, 40, 3)
    assert labels.shape == (3, 32, 40, 1)
    for n in range(3):
        eager, eager_label = augment.augment(image, label, [3, n], AugmentConfig(**strengths))
        np.testing.assert_allclose(images[n], eager, atol=1e-5)
        np.testing.assert_array_equal(labels[n], eager_label)


def test_images_stay_in_0_to_1_and_labels_binary_under_strong_changes():
    strong = {"gain": 1.0, "gamma": 2.0, "bias_field": 2.0, "organ": 1.0, "mass": 1.0, "noise": 1.0}
    images, labels = variants(
        noise_image(32, 32), constant(square(32, 32, 8, 8, 9)), **GEOMETRY, **strong, blur_pixels=8
    )
    assert images.dtype == labels.dtype == np.float32
    assert images.min() == 0
    assert images.max() == 1
    assert set(np.unique(labels)) == {0, 1}


def test_channels_are_changed_alike_but_for_their_noise():
    one = noise_image(32, 32, 1)
    images, _ = variants(
        tf.repeat(one, 3, axis=-1),
        constant(square(32, 32, 8, 8, 9)),
        **{**vars(DEFAULTS), "noise": 0},
    )
    np.testing.assert_allclose(images[..., 0], images[..., 1], atol=1e-6)
    np.testing.assert_allclose(images[..., 0], images[..., 2], atol=1e-6)


def test_patient_right_stays_right():
    # Three landmarks that are no mirror image of themselves: from the first to the second to the
    # third one turns the same way in every variant, which a mirror would reverse.
    image, label = blobs(64, 64, (20, 20), (20, 44), (44, 20))
    images, _ = variants(image, label, count=100, **{**vars(DEFAULTS), "noise": 0})
    landmarks = images > 0.6 * images.max(axis=(1, 2), keepdims=True)
    first, second, third = np.moveaxis(centers(landmarks), 1, 0)
    (a, b), (c, d) = (second - first).T, (third - first).T
    assert ((a * d - b * c) < 0).all()


# Geometry


def test_the_label_follows_the_image():
    shape = square(48, 48, 10, 12, 18)
    shape[10:19, 12:20] = 0  # An L, unlike any turn or mirror of itself.
    images, labels = variants(constant(shape), constant(shape), **GEOMETRY)
    np.testing.assert_array_equal(images > 0.5, labels == 1)
    assert (labels != shape[..., np.newaxis]).any(axis=(1, 2, 3)).all()


def test_a_shift_moves_all_by_up_to_its_share_of_each_side_and_both_ways():
    image, label = blobs(40, 80, (20, 40), (15, 55))
    images, _ = variants(image, label, shift=0.1)
    moved = centers(images) - centers(image[np.newaxis])
    np.testing.assert_allclose(moved[:, 0], moved[:, 1], atol=0.05)
    down, right = moved[:, 0].T
    for moves, bound in ((down, 4.0), (right, 8.0)):
        assert np.abs(moves).max() <= bound + 0.05
        assert moves.min() < -0.8 * bound
        assert moves.max() > 0.8 * bound


def test_a_rotation_turns_about_the_middle_by_up_to_its_angle_and_both_ways():
    image, label = blobs(64, 64, (31.5, 51.5), (31.5, 31.5))
    images, _ = variants(image, label, rotation_degrees=30)
    places = centers(images) - 31.5
    np.testing.assert_allclose(places[:, 1], 0, atol=0.05)  # The middle stays.
    row, column = places[:, 0].T
    np.testing.assert_allclose(np.hypot(row, column), 20, atol=0.1)
    angles = np.degrees(np.arctan2(row, column))
    assert np.abs(angles).max() <= 30.2
    assert angles.min() < -25
    assert angles.max() > 25


def test_a_rotation_is_rigid_in_mm_where_pixels_are_not_square():
    # Rows of 2 mm and columns of 1 mm: 20 mm across are 20 columns, 20 mm down are 10 rows.
    image, label = blobs(64, 64, (31.5, 51.5), (41.5, 31.5))
    images, _ = variants(image, label, rotation_degrees=30, pixel_aspect=2.0)
    places_mm = (centers(images) - 31.5) * (2.0, 1.0)
    across, down = np.moveaxis(places_mm, 1, 0)
    np.testing.assert_allclose(np.linalg.norm(across, axis=1), 20, atol=0.2)
    np.testing.assert_allclose(np.linalg.norm(down, axis=1), 20, atol=0.2)
    np.testing.assert_allclose((across * down).sum(axis=1), 0, atol=4)  # Still a right angle.
    assert np.degrees(np.arctan2(across[:, 0], across[:, 1])).max() > 25


def test_a_zoom_stretches_about_the_middle_in_and_out_by_up_to_its_share():
    image, label = blobs(64, 64, (31.5, 46.5), (43.5, 31.5))
    images, _ = variants(image, label, scale=0.25)
    across, down = np.moveaxis(centers(images) - 31.5, 1, 0)
    zooms = across[:, 1] / 15
    np.testing.assert_allclose(down[:, 0] / 12, zooms, atol=0.02)
    assert zooms.min() >= 1 / 1.25 - 0.01
    assert zooms.max() <= 1.25 + 0.01
    assert zooms.min() < 0.85
    assert zooms.max() > 1.18


def test_an_elastic_warp_moves_places_differently_by_about_its_strength():
    image, label = blobs(64, 64, (12, 12), (50, 50))
    images, _ = variants(image, label, elastic_pixels=2.0)
    moved = centers(images) - centers(image[np.newaxis])
    assert 0.7 < moved.std() < 2.5
    assert np.abs(moved[:, 0] - moved[:, 1]).mean() > 1


# Intensities


def test_recolouring_changes_the_organ_and_its_rim_and_nothing_else():
    label = square(32, 32, 10, 12, 8)
    images, _ = variants(constant(np.full((32, 32), 0.5)), constant(label), organ=1.0)
    within_two_pixels = square(32, 32, 8, 10, 12)
    assert (images[:, within_two_pixels == 0] == 0.5).all()
    # How far it goes beyond the outline differs, so that no rim tells where that is: in the next
    # pixel there is a third of the change, to which the wider outline adds up to another third.
    core, rim = images[:, 14, 15, 0] - 0.5, images[:, 14, 11, 0] - 0.5
    share = (rim / core)[np.abs(core) > 0.05]
    assert 1 / 3 - 1e-3 < share.min() < 0.4
    assert 0.6 < share.max() < 2 / 3 + 1e-3
    # Factors from 0.08 to 1.5, one for the whole organ.
    inside = images[:, square(32, 32, 11, 13, 6) > 0][..., 0] / 0.5
    np.testing.assert_allclose(inside, inside[:, :1] * np.ones_like(inside), rtol=1e-5)
    assert inside.min() >= 0.08 - 1e-6
    assert inside.max() <= 1.5 + 1e-6
    assert inside.min() < 0.1
    assert inside.max() > 1.2
    assert np.median(inside) < 0.5  # Dark and bright alike, by factors.


def test_recolouring_follows_the_organ_into_neighbouring_slices():
    """Else its outline in the middle slice would be drawn, in another colour, on the others."""
    label = np.zeros((32, 32, 3), np.float32)
    label[4:12, 4:12, 0] = label[4:20, 4:20, 1] = 1  # It ends before the last slice.
    images, labels = variants(tf.fill([32, 32, 3], 0.5), tf.constant(label), organ=1.0)
    first, middle, last = np.moveaxis(images, -1, 0)
    np.testing.assert_allclose(first[:, 8, 8], middle[:, 8, 8], rtol=1e-6)
    assert (first[:, 16, 16] == 0.5).all()
    assert (last == 0.5).all()
    assert (labels[..., 0] == label[..., 1]).all()


def test_recolouring_takes_its_share_of_the_slices():
    label = constant(square(16, 16, 4, 4, 8))
    images, _ = variants(constant(np.full((16, 16), 0.5)), label, count=200, organ=0.3)
    share = (images[:, 8, 8, 0] != 0.5).mean()
    # 200 draws with a chance of 0.3: three standard deviations are 0.097.
    assert abs(share - 0.3) < 0.1


def test_mottling_lays_bands_over_the_organ_and_its_rim_and_nothing_else():
    """Their standard deviation is uniform below 0.15 times that of bicubic bands, about 0.9."""
    label = square(48, 48, 8, 8, 32)
    images, labels = variants(constant(np.full((48, 48), 0.5)), constant(label), mottle=0.5)
    assert (labels[..., 0] == label).all()
    wider = ndimage.binary_dilation(label > 0, np.ones((3, 3)))
    assert (images[:, ~wider, 0] == 0.5).all()
    inside = images[:, label > 0, 0] - 0.5
    drawn = np.abs(inside).max(axis=1) > 1e-6
    assert 0.35 < drawn.mean() < 0.65
    sds = inside[drawn].std(axis=1)
    assert 0.1 < sds.max() < 0.16
    assert abs(inside[drawn].mean()) < 0.02
    # Six pixels apart, bands are other ones; next to one another, they are the same.
    rows = images[drawn][:, 10:38, 10:38, 0] - 0.5
    near = np.mean(rows[:, 1:] * rows[:, :-1]) / np.mean(rows**2)
    far = np.mean(rows[:, 9:] * rows[:, :-9]) / np.mean(rows**2)
    assert near > 0.85
    assert abs(far) < 0.2


def test_a_mass_is_one_even_body_behind_the_organ_in_its_share_of_the_slices():
    label = square(64, 64, 24, 40, 16)
    image = np.where(label > 0, 0.9, 0.5).astype(np.float32)
    images, labels = variants(constant(image), constant(label), count=300, mass=0.5)
    assert (labels[..., 0] == label).all()
    assert (images[:, label > 0, 0] == np.float32(0.9)).all()
    changed = np.abs(images[..., 0] - image) > 1e-6
    drawn = changed.any(axis=(1, 2))
    assert 0.4 < drawn.mean() < 0.6
    for body, shown in zip(changed[drawn], images[drawn, ..., 0], strict=True):
        # The organ may cut it in two.
        assert masks.count_components(body[..., np.newaxis]) <= 2
        counts = np.unique(shown[body].round(4), return_counts=True)[1]
        assert counts.max() >= 0.4 * counts.sum()  # The rest is its rim.
    sizes = changed[drawn].sum(axis=(1, 2)) / 64**2
    assert sizes.max() < math.pi * 0.3**2 * 2.5  # Lumps reach further than the ellipse.
    assert sizes.max() > 0.15
    assert np.quantile(sizes, 0.1) < 0.03
    assert images.max() > 0.98  # As bright as fluid,
    assert images.min() < 0.2  # and dark.


def test_a_mass_is_at_least_as_bright_as_its_darkest():
    """A mass covers 70% to 100% of what lies under it: 0.5 becomes 0.5 + 0.7 · 0.4 or more."""
    images, _ = variants(
        tf.fill([64, 64, 1], 0.5), tf.zeros([64, 64, 1]), mass=1.0, mass_darkest=0.9
    )
    assert images.min() == 0.5
    brightest = images.max(axis=(1, 2, 3))
    inside = brightest[brightest > 0.5]  # Some lie so far off that only their rim is seen.
    assert np.quantile(inside, 0.1) > 0.78
    assert images.max() > 0.99


def test_a_mass_goes_through_neighbouring_slices_where_the_organ_does_not():
    label = np.zeros((32, 32, 3), np.float32)
    label[8:24, 8:24, 0] = 1
    images, _ = variants(tf.fill([32, 32, 3], 0.5), tf.constant(label), mass=1.0)
    assert (images[:, 8:24, 8:24, 0] == 0.5).all()
    np.testing.assert_array_equal(images[..., 1], images[..., 2])
    assert (images[:, 8:24, 8:24, 1] != 0.5).any()


def test_gain_is_a_line_of_slope_and_offset_within_its_bounds():
    image = np.full((8, 8), 0.4, np.float32)
    image[:4] = 0.6
    images, _ = variants(constant(image), tf.zeros([8, 8, 1]), gain=0.2)
    high, low = images[:, 0, 0, 0], images[:, 7, 0, 0]
    slope = (high - low) / 0.2
    offset = low - 0.4 * slope
    assert (slope.min() >= 0.8 - 1e-4) & (slope.max() <= 1.2 + 1e-4)
    assert (np.abs(offset) <= 0.1 + 1e-4).all()
    assert np.ptp(slope) > 0.3
    assert np.ptp(offset) > 0.15


def test_gamma_is_one_exponent_for_the_slice_within_its_bounds():
    image = np.full((8, 8), 0.3, np.float32)
    image[:4] = 0.7
    image[3], image[4] = 0, 1
    images, _ = variants(constant(image), tf.zeros([8, 8, 1]), gamma=0.4)
    exponents = np.log(images[:, [0, 7], 0, 0]) / np.log([0.7, 0.3])
    np.testing.assert_allclose(exponents[:, 0], exponents[:, 1], rtol=1e-4)
    assert exponents.min() >= math.exp(-0.4) - 1e-4
    assert exponents.max() <= math.exp(0.4) + 1e-4
    assert np.ptp(exponents) > 0.5
    assert (images[:, 3] == 0).all()
    assert (images[:, 4] == 1).all()


@pytest.mark.parametrize(("share", "bounds"), [(1.0, (1.0, 1.0)), (0.3, (0.2, 0.4))])
def test_light_and_dark_are_exchanged_in_the_share_of_slices(share, bounds):
    images, _ = variants(
        constant(np.full((4, 4), 0.25)), tf.zeros([4, 4, 1]), count=200, invert=share
    )
    assert set(np.unique(images)) <= {0.25, 0.75}
    assert bounds[0] <= (images[:, 0, 0, 0] == 0.75).mean() <= bounds[1]


def test_a_curve_maps_each_intensity_to_one_other_in_its_share_of_the_slices():
    image = np.repeat(np.linspace(0, 1, 16, dtype=np.float32)[np.newaxis], 8, axis=0)
    images, _ = variants(constant(image), tf.zeros([8, 16, 1]), count=300, curve=0.5)
    curves = images[:, 0, :, 0]
    np.testing.assert_array_equal(images[..., 0], np.repeat(curves[:, np.newaxis], 8, axis=1))
    changed = np.abs(curves - image[0]).max(axis=1) > 1e-3
    assert 0.4 < changed.mean() < 0.6
    falls = (np.diff(curves[changed], axis=1) < -1e-6).any(axis=1)
    assert 0.2 < falls.mean() < 1.0  # Some rise all the way, most do not.


def test_texture_keeps_the_outlines_and_changes_what_lies_between():
    step = square(32, 32, 8, 8, 16)
    images, _ = variants(constant(step), tf.zeros([32, 32, 1]), count=100, texture=1.0)
    inside, outside = images[:, 12:20, 12:20, 0], images[:, 2:5, 2:5, 0]
    # A convolution of 5x5 pixels sees no outline from here.
    np.testing.assert_allclose(inside, inside[:, :1, :1] * np.ones_like(inside), atol=1e-5)
    np.testing.assert_allclose(outside, outside[:, :1, :1] * np.ones_like(outside), atol=1e-5)
    contrast = inside[:, 0, 0] - outside[:, 0, 0]
    assert contrast.min() < 0 < 0.5 < contrast.max()


def test_texture_of_an_even_slice_is_even_within():
    images, _ = variants(constant(np.full((9, 9), 0.5)), tf.zeros([9, 9, 1]), texture=1.0)
    within = images[:, 2:-2, 2:-2]
    np.testing.assert_allclose(within, within[:, :1, :1] * np.ones_like(within), atol=1e-5)


def test_noise_has_no_bias_and_a_deviation_up_to_its_strength():
    images, _ = variants(constant(np.full((32, 32), 0.5)), tf.zeros([32, 32, 1]), noise=0.05)
    deviations = images.std(axis=(1, 2, 3))
    assert 0.04 < deviations.max() < 0.055
    assert deviations.min() < 0.01
    assert abs(images.mean() - 0.5) < 0.002


def test_blur_spares_every_other_slice_and_spreads_a_point_by_up_to_its_sigma():
    point = square(31, 31, 15, 15, 1)
    images, _ = variants(constant(point), tf.zeros([31, 31, 1]), count=100, blur_pixels=1.5)
    untouched = (images[..., 0] == point).all(axis=(1, 2))
    assert 0.35 < untouched.mean() < 0.65
    row = np.arange(31) - 15
    variances = np.einsum("nhwc,h->n", images, row**2.0)
    np.testing.assert_allclose(images.sum(axis=(1, 2, 3)), 1, atol=1e-4)
    assert variances.max() <= 1.5**2
    assert variances.max() > 1.2**2
    np.testing.assert_allclose(images, images.swapaxes(1, 2), atol=1e-6)  # Alike along both axes.


def test_blur_keeps_an_even_slice_even_to_its_edges():
    images, _ = variants(constant(np.full((9, 9), 0.5)), tf.zeros([9, 9, 1]), blur_pixels=3.0)
    np.testing.assert_allclose(images, 0.5, atol=1e-5)


def test_a_bias_field_is_smooth_and_multiplies():
    flat, half = (np.full((64, 64), value, np.float32) for value in (0.4, 0.2))
    both = tf.constant(np.stack([flat, half], axis=-1))
    images, _ = variants(both, tf.zeros([64, 64, 1]), bias_field=0.2)
    np.testing.assert_allclose(images[..., 0], 2 * images[..., 1], rtol=1e-5)
    log_field = np.log(images[..., 0] / 0.4)
    assert 0.1 < log_field.std() < 0.3
    steps = np.abs(np.diff(log_field, axis=1))
    assert steps.max() < 0.12  # A control point every 16 pixels.
    assert np.ptp(log_field, axis=(1, 2)).min() > 0.1


def test_coarse_slices_keep_their_mean_and_lose_what_is_finer_than_their_pixels():
    stripes = np.zeros((32, 32), np.float32)
    stripes[:, ::2] = 1.0
    images, labels = variants(constant(stripes), constant(square(32, 32, 8, 8, 9)), 60, coarse=1.0)
    np.testing.assert_allclose(images.mean(axis=(1, 2, 3)), 0.5, atol=0.02)
    contrast = images[:, 8:24, 8:24, 0].std(axis=(1, 2))
    assert contrast.min() < 0.05
    np.testing.assert_array_equal(labels[..., 0], square(32, 32, 8, 8, 9)[np.newaxis].repeat(60, 0))


def test_coarse_slices_take_their_share():
    stripes = np.tile(np.array([0.0, 1.0], np.float32), (16, 8))
    images, _ = variants(constant(stripes), tf.zeros([16, 16, 1]), count=200, coarse=0.3)
    changed = (images[..., 0] != stripes).any(axis=(1, 2))
    assert 0.2 < changed.mean() < 0.4


def test_a_cut_field_of_view_is_black_outside_of_one_rectangle_in_image_and_label():
    images, labels = variants(
        constant(np.full((30, 30), 0.5)), constant(np.ones((30, 30))), count=100, cut=0.5
    )
    np.testing.assert_array_equal(images / 0.5, labels)
    shown = labels[..., 0]
    rows, columns = shown.any(axis=2), shown.any(axis=1)
    np.testing.assert_array_equal(shown, rows[:, :, np.newaxis] & columns[:, np.newaxis, :])
    assert rows[:, 10:20].all()  # A third of each side at most.
    assert 0.35 < (shown.min(axis=(1, 2)) == 0).mean() < 0.65
