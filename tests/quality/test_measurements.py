"""What a mask measures, computed by hand, in the patient's millimetres."""

import msgspec
import numpy as np
import pytest
from fixtures.blocks import SHAPE, ZOOMS_MM, block

from spleen_tf.imaging.volume import Volume
from spleen_tf.quality import measurements
from spleen_tf.quality.measurements import Measurements


def test_a_block_is_measured(image):
    measured = measurements.measure(image, block((30, 40), (10, 30), (5, 15)))
    # 10 · 20 · 10 voxels of 30 mm³. The middle is i = 34.5, j = 19.5, k = 9.5; stored LPS, so
    # that x = 50 − 2 i, y = 60 − 3 j, z = −30 + 5 k. The mean of i + 100 k is 34.5 + 950.
    assert measured.voxels == 2000
    assert measured.volume_mm3 == pytest.approx(60_000)
    assert measured.volume_ml == pytest.approx(60)
    assert measured.bounding_box_ijk == ((30, 39), (10, 29), (5, 14))
    assert measured.centroid_ras_mm == pytest.approx((-19.0, 1.5, 17.5))
    assert measured.complete is True
    assert measured.mean_intensity == pytest.approx(984.5)


@pytest.mark.parametrize("codes", ["RAS", "LAS", "LPI", "RPS"])
def test_the_centroid_follows_flips_of_the_affine(make_affine, codes):
    """One voxel at (1, 2, 3): steps of 2, 3 and 5 mm, each with its axis' sign."""
    affine = make_affine(codes, ZOOMS_MM, (10.0, 20.0, 30.0))
    image = Volume(np.zeros((4, 5, 6), np.int16), affine, "a.nii")
    measured = measurements.measure(image, block((1, 2), (2, 3), (3, 4), (4, 5, 6)))
    signs = [1 if letter in "RAS" else -1 for letter in codes]
    expected = [10 + 2 * signs[0], 20 + 6 * signs[1], 30 + 15 * signs[2]]
    assert measured.centroid_ras_mm == pytest.approx(expected)


def test_the_centroid_follows_permuted_axes(make_affine):
    """Stored SLP: i runs upwards by 2 mm, j to the left by 3 mm, k backwards by 5 mm."""
    image = Volume(np.zeros((4, 5, 6), np.int16), make_affine("SLP", ZOOMS_MM, (0, 0, 0)), "a.nii")
    measured = measurements.measure(image, block((1, 2), (2, 3), (3, 4), (4, 5, 6)))
    assert measured.centroid_ras_mm == pytest.approx([-6, -15, 2])


def test_voxels_of_a_sheared_volume_keep_their_volume():
    """A shear of 3 mm a voxel lengthens the column to √(4 + 9) but not the volume of 2·3·5."""
    affine = np.array([[2, 0, 0, 0], [3, 3, 0, 0], [0, 0, 5, 0], [0, 0, 0, 1.0]])
    image = Volume(np.zeros(SHAPE, np.int16), affine, "a.nii")
    measured = measurements.measure(image, block((30, 31), (10, 12), (5, 6)))
    assert measured.volume_mm3 == pytest.approx(60)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("end", ["first", "last"])
def test_a_mask_at_any_of_the_six_sides_is_incomplete(image, axis, end):
    ranges = [[30, 40], [10, 30], [5, 15]]
    ranges[axis] = [0, ranges[axis][1]] if end == "first" else [ranges[axis][0], SHAPE[axis]]
    assert measurements.measure(image, block(*ranges)).complete is False
    ranges[axis] = [1, SHAPE[axis] - 1]
    assert measurements.measure(image, block(*ranges)).complete is True


def test_intensities_by_hand(make_affine):
    """1, 2, 3, 4 and 10: the mean is 4, squares from it are 9 + 4 + 1 + 0 + 36 = 50 of 5 voxels.

    The 5th percentile lies a fifth of the way from 1 to 2, the 95th four fifths from 4 to 10.
    """
    array = np.full((9, 3, 3), -1000, np.int16)
    array[2:7, 1, 1] = [10, 1, 4, 2, 3]
    image = Volume(array, make_affine("RAS"), "a.nii")
    found = measurements.measure(image, array > 0).intensity
    expected = {"mean": 4.0, "sd": 10**0.5, "median": 3.0, "p5": 1.2, "p95": 8.8}
    assert msgspec.structs.asdict(found) == pytest.approx(expected)


def test_percentiles_of_a_mask_that_no_spleen_fills_are_those_of_a_sample(make_affine, monkeypatch):
    """Of 1000 values from 0 to 999 every tenth is sorted: 0, 10, …, 990."""
    monkeypatch.setattr(measurements, "_MOST_SORTED_VOXELS", 100)
    array = np.arange(1000.0).reshape(1000, 1, 1)
    image = Volume(array, make_affine("RAS"), "a.nii")
    found = measurements.measure(image, np.ones(array.shape, bool)).intensity
    assert (found.mean, found.median) == (pytest.approx(499.5), pytest.approx(495))
    assert found.sd == pytest.approx(np.sqrt((1000**2 - 1) / 12))


def test_size_and_index_are_those_of_the_mask(image):
    """10 slices of 5 mm; the diagonal between edges of the block's pixels, and across it."""
    measured = measurements.measure(image, block((30, 40), (10, 30), (5, 15)))
    assert measured.length_mm == 50
    assert measured.width_mm == pytest.approx(np.hypot(60, 18))
    product_ml = measured.length_mm * measured.width_mm * measured.thickness_mm / 1000
    assert measured.splenic_index_ml == pytest.approx(product_ml)


def test_a_mean_of_many_large_values_does_not_overflow(make_affine):
    image = Volume(np.full((40, 40, 40), 30_000, np.int16), make_affine("RAS"), "a.nii")
    mask = np.ones(image.shape, bool)
    assert measurements.measure(image, mask).mean_intensity == 30_000


def test_an_empty_mask_measures_zero_and_nothing_more(image):
    assert measurements.measure(image, np.zeros(SHAPE, bool)) == Measurements(
        voxels=0,
        volume_mm3=0.0,
        volume_ml=0.0,
        bounding_box_ijk=None,
        centroid_ras_mm=None,
        complete=None,
        mean_intensity=None,
    )
