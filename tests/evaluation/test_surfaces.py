"""Surfaces and distances, on masks drawn by hand and against SimpleITK."""

import math

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import ndimage

from spleen_tf.evaluation import surfaces
from spleen_tf.imaging.volume import VolumeError

UNIT = np.eye(4)


def spaced(*zooms_mm):
    return np.diag([*zooms_mm, 1.0])


def line(drawing):
    """A row of voxels along k: (1, 1, K)."""
    return np.array([[[character == "#" for character in drawing]]])


def block(shape, *bounds):
    """A bool array with a filled box, given as (from, to) along each axis."""
    mask = np.zeros(shape, bool)
    mask[tuple(slice(*bound) for bound in bounds)] = True
    return mask


def test_surface_of_a_cube_is_all_but_its_centre():
    cube = block((5, 5, 5), (1, 4), (1, 4), (1, 4))
    found = surfaces.surface(cube)
    assert found.sum() == 26
    assert not found[2, 2, 2]


def test_a_mask_has_its_surface_at_the_edge_of_the_array_too():
    full = np.ones((3, 4, 5), bool)
    found = surfaces.surface(full)
    assert found.sum() == 3 * 4 * 5 - 1 * 2 * 3
    assert not found[1, 1:3, 1:4].any()


def test_background_that_touches_at_a_corner_or_an_edge_makes_no_surface():
    with_hole = np.ones((5, 5, 5), bool)
    with_hole[2, 2, 2] = False
    inside = surfaces.surface(with_hole)[1:4, 1:4, 1:4]
    # Of the 26 neighbours of the hole, those that share a face with it.
    assert inside.sum() == 6
    assert inside[[0, 1, 1], [1, 0, 1], [1, 1, 0]].all()
    assert not inside[[0, 0], [0, 0], [0, 1]].any()


def test_surface_of_a_thin_mask_is_the_mask():
    sheet = block((4, 1, 6), (0, 4), (0, 1), (1, 5))
    np.testing.assert_array_equal(surfaces.surface(sheet), sheet)


def test_distance_between_two_voxels_follows_the_spacing_of_each_axis():
    truth = block((2, 3, 2), (0, 1), (0, 1), (0, 1))
    pred = block((2, 3, 2), (1, 2), (2, 3), (1, 2))
    # One step of 3 mm, two of 2 mm, one of 12 mm: 3² + 4² + 12² = 13².
    found = surfaces.distances(truth, pred, spaced(3, 2, 12))
    assert found.truth_to_pred_mm.tolist() == [13.0]
    assert (found.hd_mm, found.hd95_mm, found.assd_mm) == (13.0, 13.0, 13.0)
    assert (found.nsd(12.9), found.nsd(13.0)) == (0.0, 1.0)


def test_pooled_mean_percentile_and_share_of_a_line_against_its_end():
    truth = line("#....")
    pred = line("###..")
    found = surfaces.distances(truth, pred, spaced(1, 1, 2))
    assert found.truth_to_pred_mm.tolist() == [0.0]
    assert found.pred_to_truth_mm.tolist() == [0.0, 2.0, 4.0]
    assert found.hd_mm == 4.0
    # The 95th percentile of 0, 2, 4 lies 0.95 × 2 = 1.9 steps from the first: 2 + 0.9 × 2.
    assert found.hd95_mm == pytest.approx(3.8)
    # All four distances in one pool, not the mean (0 + 2) / 2 of the two directions.
    assert found.assd_mm == (0 + 0 + 2 + 4) / 4
    assert found.nsd(1.0) == 2 / 4
    assert found.nsd(2.0) == 3 / 4


def test_hd95_is_the_larger_direction_not_the_percentile_of_the_pool():
    truth = line("#" * 100 + "." * 10)
    pred = line("." * 99 + "#" + "." * 10)
    found = surfaces.distances(truth, pred, UNIT)
    # Truth to prediction: 0 … 99, whose 95th percentile is 0.95 × 99; back: 0.
    assert found.hd95_mm == pytest.approx(94.05)
    swapped = surfaces.distances(pred, truth, UNIT)
    assert swapped.hd95_mm == found.hd95_mm


def test_a_mask_within_another_is_as_far_from_it_as_its_surface():
    truth = block((7, 7, 7), (1, 6), (1, 6), (1, 6))
    pred = block((7, 7, 7), (2, 5), (2, 5), (2, 5))
    found = surfaces.distances(truth, pred, UNIT)
    assert found.pred_to_truth_mm.tolist() == [1.0] * 26
    assert found.hd_mm == pytest.approx(math.sqrt(3))  # From corner to corner.
    # Of 98 voxels of the outer surface, 6 × 9 lie straight above the inner cube.
    assert found.nsd(1.0) == pytest.approx((26 + 54) / (26 + 98))


def test_equal_masks_are_at_no_distance():
    mask = block((4, 5, 6), (0, 3), (1, 5), (2, 4))
    found = surfaces.distances(mask, mask, spaced(0.8, 0.9, 5))
    assert (found.hd_mm, found.hd95_mm, found.assd_mm, found.nsd(0.0)) == (0.0, 0.0, 0.0, 1.0)


@pytest.mark.parametrize("swap", [False, True])
def test_distances_to_an_empty_mask_are_undefined_and_none_is_within_tolerance(swap):
    pair = (line("##..."), line("....."))
    found = surfaces.distances(*(reversed(pair) if swap else pair), UNIT)
    assert math.isnan(found.hd_mm)
    assert math.isnan(found.hd95_mm)
    assert math.isnan(found.assd_mm)
    assert found.nsd(2.0) == 0.0


def test_all_is_undefined_between_two_empty_masks():
    found = surfaces.distances(line("...."), line("...."), UNIT)
    values = (found.hd_mm, found.hd95_mm, found.assd_mm, found.nsd(2.0))
    assert all(math.isnan(value) for value in values)


def test_distances_are_exact_under_shear():
    truth = block((2, 2, 2), (0, 1), (0, 1), (0, 1))
    pred = block((2, 2, 2), (1, 2), (1, 2), (0, 1))
    sheared = np.array([[4.0, -1, 0, 7], [0, 4, 0, 8], [0, 0, 5, 9], [0, 0, 0, 1]])
    # (4, 0) + (-1, 4) = (3, 4), which is 5 mm long; zooms alone would say √(16 + 17).
    assert surfaces.distances(truth, pred, sheared).hd_mm == 5.0


def test_distances_do_not_depend_on_how_the_volume_lies_in_the_patient():
    truth = block((6, 6, 6), (1, 4), (2, 5), (0, 3))
    pred = block((6, 6, 6), (2, 6), (1, 4), (1, 2))
    turn = math.radians(30)
    oblique = np.eye(4)
    oblique[:2, :2] = [[math.cos(turn), -math.sin(turn)], [math.sin(turn), math.cos(turn)]]
    straight_mm = surfaces.distances(truth, pred, spaced(0.8, 0.9, 5))
    oblique_mm = surfaces.distances(truth, pred, oblique @ spaced(0.8, 0.9, 5))
    assert oblique_mm.hd_mm == pytest.approx(straight_mm.hd_mm)
    assert oblique_mm.assd_mm == pytest.approx(straight_mm.assd_mm)


def test_a_tolerance_forgives_the_rounding_of_a_header_and_no_more():
    truth, pred = line("#."), line(".#")
    assert surfaces.distances(truth, pred, spaced(1, 1, 2.000001)).nsd(2.0) == 1.0
    assert surfaces.distances(truth, pred, spaced(1, 1, 2.001)).nsd(2.0) == 0.0


def test_masks_of_two_shapes_are_refused():
    with pytest.raises(VolumeError, match=r"one shape, found \(1, 1, 3\) \(truth\) and \(1, 1, 4"):
        surfaces.distances(line("#.."), line("#..."), UNIT)


@pytest.mark.parametrize("order", ["C", "F"])
def test_the_order_of_memory_changes_no_distance(order):
    truth = block((6, 4, 5), (0, 2), (1, 3), (1, 5))
    pred = block((6, 4, 5), (1, 5), (0, 2), (2, 4))
    usual = surfaces.distances(truth, pred, spaced(0.8, 0.9, 5))
    stored = surfaces.distances(
        np.asarray(truth, order=order), np.asarray(pred, order="F"), spaced(0.8, 0.9, 5)
    )
    assert sorted(stored.truth_to_pred_mm) == sorted(usual.truth_to_pred_mm)
    assert sorted(stored.pred_to_truth_mm) == sorted(usual.pred_to_truth_mm)


MASKS = hnp.arrays(bool, (4, 3, 5))


@settings(deadline=None, max_examples=50)
@given(MASKS, MASKS)
def test_empty_space_around_changes_nothing(truth, pred):
    inside = surfaces.distances(truth, pred, spaced(0.8, 0.9, 5))
    wide = [np.pad(mask, ((2, 0), (0, 3), (1, 1))) for mask in (truth, pred)]
    around = surfaces.distances(*wide, spaced(0.8, 0.9, 5))
    np.testing.assert_allclose(around.truth_to_pred_mm, inside.truth_to_pred_mm, atol=1e-9)
    np.testing.assert_allclose(around.pred_to_truth_mm, inside.pred_to_truth_mm, atol=1e-9)


@settings(deadline=None, max_examples=50)
@given(MASKS.filter(np.any), MASKS.filter(np.any), st.floats(0, 10))
def test_distances_are_symmetric_and_in_order(truth, pred, tolerance_mm):
    found = surfaces.distances(truth, pred, spaced(0.8, 0.9, 5))
    swapped = surfaces.distances(pred, truth, spaced(0.8, 0.9, 5))
    assert found.hd_mm == swapped.hd_mm
    assert found.hd95_mm == swapped.hd95_mm
    assert found.assd_mm == pytest.approx(swapped.assd_mm)
    assert found.nsd(tolerance_mm) == swapped.nsd(tolerance_mm)
    assert 0 <= found.assd_mm <= found.hd_mm + 1e-9
    assert 0 <= found.hd95_mm <= found.hd_mm
    assert 0 <= found.nsd(tolerance_mm) <= 1


@pytest.mark.parametrize("seed", range(4))
def test_distances_agree_with_simpleitk(seed):
    generator = np.random.default_rng(seed)
    zooms_mm = (0.8, 1.1, 5.0)
    truth, pred = (
        ndimage.gaussian_filter(generator.random((20, 24, 9)), 2) > 0.5 for _ in range(2)
    )
    found = surfaces.distances(truth, pred, spaced(*zooms_mm))
    truth_to_pred_mm = _sitk_distances_mm(truth, pred, zooms_mm)
    pred_to_truth_mm = _sitk_distances_mm(pred, truth, zooms_mm)
    both_mm = np.concatenate([truth_to_pred_mm, pred_to_truth_mm])
    np.testing.assert_allclose(found.truth_to_pred_mm, truth_to_pred_mm, atol=1e-5)
    np.testing.assert_allclose(found.pred_to_truth_mm, pred_to_truth_mm, atol=1e-5)
    assert found.hd_mm == pytest.approx(both_mm.max(), abs=1e-5)
    assert found.assd_mm == pytest.approx(both_mm.mean(), abs=1e-5)


def _sitk_distances_mm(from_mask, to_mask, zooms_mm):
    """From each surface voxel of one mask to the surface of the other, by ITK's filters."""
    from_surface, to_surface = _sitk_contour(from_mask, zooms_mm), _sitk_contour(to_mask, zooms_mm)
    map_mm = sitk.SignedMaurerDistanceMap(
        to_surface, squaredDistance=False, useImageSpacing=True, insideIsPositive=False
    )
    distances_mm = np.maximum(sitk.GetArrayFromImage(map_mm), 0)
    return distances_mm[sitk.GetArrayFromImage(from_surface) > 0]


def _sitk_contour(mask, zooms_mm):
    # Padded, as ITK sees no surface at the array's edge. Given as it is, ITK's axes run k, j, i.
    image = sitk.GetImageFromArray(np.pad(mask, 1).astype(np.uint8))
    image.SetSpacing(zooms_mm[::-1])
    return sitk.BinaryContour(image, fullyConnected=False)
