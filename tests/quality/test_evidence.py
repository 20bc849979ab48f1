"""Measurements and evidence of a mask, computed by hand, in the patient's millimetres."""

import msgspec
import numpy as np
import pytest

from spleen_tf.imaging.volume import Volume
from spleen_tf.quality import evidence
from spleen_tf.quality.evidence import Evidence, Measurements

# 60 × 40 × 20 voxels of 2 × 3 × 5 mm: 30 mm³ each.
SHAPE = (60, 40, 20)
ZOOMS_MM = (2.0, 3.0, 5.0)


@pytest.fixture
def image(make_affine):
    """Stored LPS; the voxel (i, j, k) holds i + 100 k; the origin is at (50, 60, -30) mm."""
    i, _, k = np.indices(SHAPE)
    affine = make_affine("LPS", ZOOMS_MM, (50.0, 60.0, -30.0))
    return Volume((i + 100 * k).astype(np.int16), affine, "a.nii")


def block(i, j, k, shape=SHAPE):
    mask = np.zeros(shape, bool)
    mask[slice(*i), slice(*j), slice(*k)] = True
    return mask


def test_a_block_is_measured(image):
    measured = evidence.measure(image, block((30, 40), (10, 30), (5, 15)))
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
    measured = evidence.measure(image, block((1, 2), (2, 3), (3, 4), (4, 5, 6)))
    signs = [1 if letter in "RAS" else -1 for letter in codes]
    expected = [10 + 2 * signs[0], 20 + 6 * signs[1], 30 + 15 * signs[2]]
    assert measured.centroid_ras_mm == pytest.approx(expected)


def test_the_centroid_follows_permuted_axes(make_affine):
    """Stored SLP: i runs upwards by 2 mm, j to the left by 3 mm, k backwards by 5 mm."""
    image = Volume(np.zeros((4, 5, 6), np.int16), make_affine("SLP", ZOOMS_MM, (0, 0, 0)), "a.nii")
    measured = evidence.measure(image, block((1, 2), (2, 3), (3, 4), (4, 5, 6)))
    assert measured.centroid_ras_mm == pytest.approx([-6, -15, 2])


def test_voxels_of_a_sheared_volume_keep_their_volume():
    """A shear of 3 mm a voxel lengthens the column to √(4 + 9) but not the volume of 2·3·5."""
    affine = np.array([[2, 0, 0, 0], [3, 3, 0, 0], [0, 0, 5, 0], [0, 0, 0, 1.0]])
    image = Volume(np.zeros(SHAPE, np.int16), affine, "a.nii")
    measured = evidence.measure(image, block((30, 31), (10, 12), (5, 6)))
    assert measured.volume_mm3 == pytest.approx(60)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("end", ["first", "last"])
def test_a_mask_at_any_of_the_six_sides_is_incomplete(image, axis, end):
    ranges = [[30, 40], [10, 30], [5, 15]]
    ranges[axis] = [0, ranges[axis][1]] if end == "first" else [ranges[axis][0], SHAPE[axis]]
    assert evidence.measure(image, block(*ranges)).complete is False
    ranges[axis] = [1, SHAPE[axis] - 1]
    assert evidence.measure(image, block(*ranges)).complete is True


def test_intensities_by_hand(make_affine):
    """1, 2, 3, 4 and 10: the mean is 4, squares from it are 9 + 4 + 1 + 0 + 36 = 50 of 5 voxels.

    The 5th percentile lies a fifth of the way from 1 to 2, the 95th four fifths from 4 to 10.
    """
    array = np.full((9, 3, 3), -1000, np.int16)
    array[2:7, 1, 1] = [10, 1, 4, 2, 3]
    image = Volume(array, make_affine("RAS"), "a.nii")
    found = evidence.measure(image, array > 0).intensity
    expected = {"mean": 4.0, "sd": 10**0.5, "median": 3.0, "p5": 1.2, "p95": 8.8}
    assert msgspec.structs.asdict(found) == pytest.approx(expected)


def test_percentiles_of_a_mask_that_no_spleen_fills_are_those_of_a_sample(make_affine, monkeypatch):
    """Of 1000 values from 0 to 999 every tenth is sorted: 0, 10, …, 990."""
    monkeypatch.setattr(evidence, "_MOST_SORTED_VOXELS", 100)
    array = np.arange(1000.0).reshape(1000, 1, 1)
    image = Volume(array, make_affine("RAS"), "a.nii")
    found = evidence.measure(image, np.ones(array.shape, bool)).intensity
    assert (found.mean, found.median) == (pytest.approx(499.5), pytest.approx(495))
    assert found.sd == pytest.approx(np.sqrt((1000**2 - 1) / 12))


def test_size_and_index_are_those_of_the_mask(image):
    """10 slices of 5 mm; the diagonal between edges of the block's pixels, and across it."""
    measured = evidence.measure(image, block((30, 40), (10, 30), (5, 15)))
    assert measured.length_mm == 50
    assert measured.width_mm == pytest.approx(np.hypot(60, 18))
    product_ml = measured.length_mm * measured.width_mm * measured.thickness_mm / 1000
    assert measured.splenic_index_ml == pytest.approx(product_ml)


def test_a_mean_of_many_large_values_does_not_overflow(make_affine):
    image = Volume(np.full((40, 40, 40), 30_000, np.int16), make_affine("RAS"), "a.nii")
    mask = np.ones(image.shape, bool)
    assert evidence.measure(image, mask).mean_intensity == 30_000


def test_an_empty_mask_measures_zero_and_nothing_more(image):
    assert evidence.measure(image, np.zeros(SHAPE, bool)) == Measurements(
        voxels=0,
        volume_mm3=0.0,
        volume_ml=0.0,
        bounding_box_ijk=None,
        centroid_ras_mm=None,
        complete=None,
        mean_intensity=None,
    )


def votes_of(*blocks):
    return [block(*sides) for sides in blocks]


def collected(probability_ijk, mask_ijk, views_ijk, voxels_above):
    """Of an image whose voxel i, j, k holds i, seen through the window 0 to 100."""
    array = np.broadcast_to(np.arange(SHAPE[0], dtype=np.int16)[:, None, None], SHAPE)
    image = Volume(array, np.diag([*ZOOMS_MM, 1.0]), "a.nii")
    agreement = evidence.agreement_around(mask_ijk, views_ijk)
    return evidence.collect(image, (0.0, 100.0), probability_ijk, mask_ijk, agreement, voxels_above)


def test_members_that_agree_and_are_sure_show_no_trouble():
    mask = block((30, 40), (10, 30), (5, 15))
    found = collected(mask.astype(np.float16), mask, [mask, mask], 2000)
    # The mask begins and ends at its full area; the mean of 30 to 39 is 34.5.
    assert found.brightness == pytest.approx(0.345)
    assert found == Evidence(
        certainty=1.0,
        agreement=1.0,
        weakest=1.0,
        main_share=1.0,
        smoothness=0.0,
        brightness=found.brightness,
    )


def test_an_area_that_grows_evenly_is_smooth():
    """Slices follow one another along k, 5 mm apart; 100, 200 and 100 voxels in three of them."""
    mask = block((30, 40), (10, 20), (5, 8)) | block((30, 40), (20, 30), (6, 7))
    assert collected(mask.astype(np.float16), mask, [], 400).smoothness == 0.5


def test_evidence_by_hand():
    """2000 voxels at 0.75, and 500 of 0.25 beside them that did not reach the threshold."""
    mask = block((30, 40), (10, 30), (5, 15))
    p = 0.75 * mask + 0.25 * block((40, 45), (10, 30), (5, 10))
    half, all_of_it = votes_of(((30, 35), (10, 30), (5, 15)), ((30, 40), (10, 30), (5, 15)))
    found = collected(p, mask, [half, all_of_it, all_of_it], 2000)
    # 2 · 1500 / (1500 + 125 + 2000); Dice of the half with the whole 2 · 1000 / 3000.
    assert found.certainty == pytest.approx(3000 / 3625)
    assert found.agreement == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)
    assert found.weakest == pytest.approx(2 / 3)


def test_what_lies_far_off_does_not_count_as_disagreement_but_as_a_lesser_share():
    mask = block((30, 40), (10, 30), (5, 15))
    stray = block((0, 4), (0, 25), (0, 5))  # 500 voxels.
    found = collected((mask | stray).astype(np.float16), mask, [mask, mask | stray], 2500)
    assert found.agreement == 1.0
    assert found.main_share == pytest.approx(2000 / 2500)


def test_a_single_view_cannot_disagree():
    mask = block((30, 40), (10, 30), (5, 15))
    found = collected(mask.astype(np.float16), mask, [], 2000)
    assert (found.agreement, found.weakest) == (1.0, 1.0)


def test_an_empty_mask_gives_no_evidence():
    image = Volume(np.zeros(SHAPE, np.int16), np.diag([*ZOOMS_MM, 1.0]), "a.nii")
    nothing = np.zeros(SHAPE, bool)
    agreement = evidence.agreement(nothing, [])
    assert evidence.collect(image, (0.0, 1.0), nothing, nothing, agreement, 0) is None


def test_nested_volumes_by_hand():
    """2000 voxels of 30 mm³ are found: of them 1500 at 0.8; 400 beside them have 0.3, and 50 0.2.

    Half way from 0.5 to 1 and to 0 is 0.75 and 0.25. 100 voxels at 0.3 that touch nothing, and what
    lies beyond the surroundings, do not count.
    """
    mask = block((30, 40), (10, 30), (5, 15))
    p = 0.6 * mask
    p[block((30, 40), (10, 25), (5, 15))] = 0.8
    p[block((40, 42), (10, 30), (5, 15))] = 0.3
    p[block((42, 43), (10, 15), (5, 15))] = 0.2
    p[block((26, 28), (10, 20), (10, 15))] = 0.3
    p[block((0, 20), (0, 10), (0, 5))] = 0.9
    image = Volume(np.zeros(SHAPE, np.int16), np.diag([*ZOOMS_MM, 1.0]), "a.nii")
    inner_ml, outer_ml = evidence.nested_ml(image, p.astype(np.float16), mask, 0.5)
    assert inner_ml == pytest.approx(1500 * 0.03)
    assert outer_ml == pytest.approx(2400 * 0.03)


def test_an_empty_mask_has_no_nested_volumes(image):
    nothing = np.zeros(SHAPE, bool)
    assert evidence.nested_ml(image, nothing.astype(np.float16), nothing, 0.5) is None
