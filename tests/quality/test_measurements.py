"""What a mask measures, computed by hand, in the patient's millimetres."""

import msgspec
import numpy as np
import pytest
import SimpleITK as sitk
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


def test_volume_box_centroid_and_intensity_are_those_of_simpleitk():
    """On voxels of 2 × 3 × 5 mm, turned by 0.3 about the x axis; ITK's axes are LPS.

    ITK divides the squares by n - 1, and takes its median from a histogram: within one of its bins.
    """
    rng = np.random.default_rng(0)
    array_ijk = rng.normal(100, 20, SHAPE).astype(np.float32)
    mask_ijk = block((30, 40), (10, 30), (5, 15)) & (rng.random(SHAPE) < 0.8)
    cosine, sine = np.cos(0.3), np.sin(0.3)
    turn = np.array([[1, 0, 0], [0, cosine, -sine], [0, sine, cosine]])
    affine = np.eye(4)
    affine[:3] = np.c_[turn * ZOOMS_MM, (50.0, 60.0, -30.0)]
    measured = measurements.measure(Volume(array_ijk, affine, "a.nii"), mask_ijk)

    to_lps = np.diag([-1.0, -1.0, 1.0])
    images = [sitk.GetImageFromArray(a.T) for a in (mask_ijk.astype(np.uint8), array_ijk)]
    for image in images:
        image.SetSpacing(ZOOMS_MM)
        image.SetDirection((to_lps @ turn).ravel().tolist())
        image.SetOrigin((to_lps @ affine[:3, 3]).tolist())
    shape, values = (
        sitk.LabelShapeStatisticsImageFilter(),
        sitk.LabelIntensityStatisticsImageFilter(),
    )
    bins = 1000
    values.SetNumberOfBins(bins)
    shape.Execute(images[0])
    values.Execute(*images)
    assert measured.voxels == (n := shape.GetNumberOfPixels(1))
    assert measured.volume_mm3 == pytest.approx(shape.GetPhysicalSize(1))
    assert measured.centroid_ras_mm == pytest.approx(to_lps @ shape.GetCentroid(1))
    first, size = np.split(np.array(shape.GetBoundingBox(1)), 2)
    assert measured.bounding_box_ijk == tuple(zip(first, first + size - 1, strict=True))
    intensity = measured.intensity
    assert intensity.mean == pytest.approx(values.GetMean(1))
    assert intensity.sd == pytest.approx(values.GetStandardDeviation(1) * np.sqrt((n - 1) / n))
    assert intensity.median == pytest.approx(values.GetMedian(1), abs=np.ptp(array_ijk) / bins)
