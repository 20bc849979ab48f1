"""Each corruption does what it says, to the image, the label and the geometry."""

import numpy as np
import pytest

from spleen_tf.imaging.volume import Volume
from spleen_tf.quality import corruptions

SHAPE = (24, 20, 16)
ZOOMS_MM = (2.0, 2.0, 5.0)
KEEP_THE_GRID = (
    *("none", "noise", "bias_field", "blur", "ghosts", "inverted", "other_contrast"),
    *("low_dose", "sharp_kernel", "no_contrast", "mottled", "fluid_around", "metal", "no_offset"),
)


@pytest.fixture(params=["RAS", "LPI", "SAR"])
def case(make_affine, request):
    """A volume in some orientation, and a block of spleen in slices 6 to 10 of the third axis."""
    rng = np.random.default_rng(0)
    array = rng.normal(100, 20, SHAPE).astype(np.float32)
    label = np.zeros(SHAPE, bool)
    label[8:16, 6:14, 6:11] = True
    array[label] += 100
    return Volume(array, make_affine(request.param, ZOOMS_MM, (1.0, 2.0, 3.0)), "a.nii"), label


ALL = corruptions.of("MR") | corruptions.of("CT")


def corrupted(case, name, seed=0):
    return ALL[name](*case, np.random.default_rng(seed))


@pytest.mark.parametrize("name", ALL)
def test_image_and_label_stay_on_one_grid_and_the_source_is_not_touched(case, name):
    before = case[0].array_ijk.copy(), case[1].copy()
    image, label = corrupted(case, name)
    assert image.shape == label.shape
    assert np.isfinite(image.array_ijk).all()
    np.testing.assert_array_equal(case[0].array_ijk, before[0])
    np.testing.assert_array_equal(case[1], before[1])


@pytest.mark.parametrize("name", ALL)
def test_the_same_seed_gives_the_same_corruption(case, name):
    once, again = corrupted(case, name, 3), corrupted(case, name, 3)
    np.testing.assert_array_equal(once[0].array_ijk, again[0].array_ijk)
    np.testing.assert_array_equal(once[0].affine, again[0].affine)


@pytest.mark.parametrize("name", KEEP_THE_GRID)
def test_intensities_change_and_places_do_not(case, name):
    image, label = corrupted(case, name)
    np.testing.assert_array_equal(image.affine, case[0].affine)
    np.testing.assert_array_equal(label, case[1])
    assert np.array_equal(image.array_ijk, case[0].array_ijk) == (name == "none")


def test_inverting_makes_the_bright_organ_dark(case):
    image, label = corrupted(case, "inverted")
    assert image.array_ijk[label].mean() < image.array_ijk[~label].mean() - 50


def test_a_dark_spleen_is_darker_and_the_rest_is_as_before(case):
    image, label = corrupted(case, "dark_spleen")
    ratio = image.array_ijk / case[0].array_ijk
    assert np.median(ratio[label]) < 0.5
    np.testing.assert_allclose(ratio[:, :, :3], 1, atol=1e-3)


@pytest.mark.parametrize("direction", range(3))
def test_a_wrong_header_mirrors_one_direction_of_the_world_and_no_voxel(case, direction):
    name = ("flipped_right", "flipped_anterior", "flipped_superior")[direction]
    image, _ = corrupted(case, name)
    np.testing.assert_array_equal(image.array_ijk, case[0].array_ijk)
    signs = np.ones(4)
    signs[direction] = -1
    np.testing.assert_allclose(image.affine, signs[:, np.newaxis] * case[0].affine)


def voxel_in_mm(image, array_ijk):
    """{intensity: place} of a volume whose intensities are all different."""
    places = np.argwhere(np.ones(array_ijk.shape, bool)) @ image.affine[:3, :3].T
    return dict(zip(array_ijk.ravel().tolist(), places + image.affine[:3, 3], strict=True))


@pytest.mark.parametrize("name", ["truncated", "no_spleen"])
def test_what_a_smaller_field_of_view_leaves_stays_where_it_was(case, name):
    image, _ = corrupted(case, name)
    assert image.array_ijk.size < case[0].array_ijk.size
    before = voxel_in_mm(case[0], case[0].array_ijk)
    after = voxel_in_mm(image, image.array_ijk)
    for intensity in list(after)[::101]:
        np.testing.assert_allclose(after[intensity], before[intensity], atol=1e-4)


def test_truncation_leaves_about_half_of_the_spleen_at_the_edge(case):
    _, label = corrupted(case, "truncated")
    assert 0.3 < label.sum() / case[1].sum() < 0.7


def test_no_spleen_is_left_in_a_view_beside_it(case):
    _, label = corrupted(case, "no_spleen")
    assert not label.any()


def test_where_all_is_spleen_none_can_be_left_out(case):
    image, label = case[0], np.zeros_like(case[1])
    label[1:-1, 1:-1, 1:-1] = True
    left, left_label = corrupted((image, label), "no_spleen")
    np.testing.assert_array_equal(left.array_ijk, image.array_ijk)
    np.testing.assert_array_equal(left_label, label)


def test_a_third_of_the_thick_slices_is_lost_and_the_spacing_stays(case):
    image, label = corrupted(case, "missing_slices")
    assert image.shape == (24, 20, 11) == label.shape
    np.testing.assert_array_equal(image.array_ijk[..., 1], case[0].array_ijk[..., 2])
    np.testing.assert_array_equal(image.affine, case[0].affine)


@pytest.fixture
def body():
    """A CT of 2×2×2.5 mm: 40 HU, in air at the sides, and a spleen of 110 HU."""
    array = np.full((40, 40, 16), 40, np.float32)
    array[:4] = array[-4:] = -1000
    label = np.zeros(array.shape, bool)
    label[8:18, 12:26, 3:13] = True
    array[label] = 110
    return Volume(array, np.diag([2.0, 2.0, 2.5, 1.0]), "a.nii"), label


def test_a_low_dose_adds_noise_of_50_hu_that_is_alike_in_neighbouring_pixels(body):
    noise = corrupted(body, "low_dose")[0].array_ijk - body[0].array_ijk
    assert noise.std() == pytest.approx(50, rel=0.01)
    assert abs(noise.mean()) < 2
    within, across = (
        np.corrcoef(np.delete(noise, -1, a).ravel(), np.delete(noise, 0, a).ravel())[0, 1]
        for a in (0, 2)
    )
    assert within > 0.2 > abs(across)


def test_thick_slices_are_means_of_four_at_the_middle_of_their_slab(body):
    """8 mm are four slices of 2.5 mm; the label of slices 3 to 12 has 1, 4, 4 and 1 of them."""
    image, label = corrupted(body, "thick_slices")
    assert image.shape == (40, 40, 4)
    np.testing.assert_allclose(image.affine[:3, 2:].T, [[0, 0, 10], [0, 0, 3.75]])
    np.testing.assert_allclose(image.array_ijk[10, 15], [57.5, 110, 110, 57.5])
    assert label[10, 15].tolist() == [False, True, True, False]


def test_without_contrast_the_spleen_is_as_bright_as_muscle_and_air_is_air(body):
    """110 HU lie at 7 of the 11 steps from 40 to 150, which become 40 to 60."""
    image, label = corrupted(body, "no_contrast")
    np.testing.assert_allclose(image.array_ijk[label], 40 + 20 * 7 / 11, atol=1e-4)
    np.testing.assert_allclose(image.array_ijk[0], -1000, atol=1e-3)
    np.testing.assert_allclose(image.array_ijk[30, 30], 40, atol=1e-4)


def test_a_mottled_spleen_varies_by_40_hu_and_keeps_its_mean(body):
    image, label = corrupted(body, "mottled")
    change = image.array_ijk - body[0].array_ijk
    assert 20 < change[label].std() < 50
    assert np.abs(change[30:]).max() == 0


def test_fluid_lies_around_the_spleen_and_not_in_it_nor_in_air(body):
    image, label = corrupted(body, "fluid_around")
    np.testing.assert_array_equal(image.array_ijk[label], 110)
    np.testing.assert_array_equal(image.array_ijk[:4], -1000)
    assert image.array_ijk[19:24, 14:24, 5:11].mean() == pytest.approx(10, abs=2)
    np.testing.assert_array_equal(image.array_ijk[30], 40)  # 26 mm away.


def test_metal_is_not_in_the_spleen_but_its_streaks_are(body):
    image, label = corrupted(body, "metal")
    change = image.array_ijk[label] - 110
    assert change.max() < 1000
    assert 5 < change.std() < 200


def test_a_display_window_and_a_lost_offset_keep_what_they_must(body):
    narrow = corrupted(body, "narrow_window")[0].array_ijk
    assert (narrow.min(), narrow.max()) == (-135, 110)
    raw = corrupted(body, "no_offset")[0].array_ijk
    np.testing.assert_array_equal(raw, body[0].array_ijk + 1024)


def test_seeds_of_mr_stay_what_they_were():
    """A calibration that was made before can be made again."""
    names = ["none", "noise", "bias_field", "blur", "ghosts", "inverted", "other_contrast"]
    assert list(corruptions.of("MR"))[:7] == names
    assert len(corruptions.of("MR")) == 15
