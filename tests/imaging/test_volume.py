"""Orientation, voxel sizes and grids of volumes, against numbers derived by hand."""

import dataclasses
import itertools

import numpy as np
import pytest
from nibabel import orientations

from spleen_tf.imaging import volume
from spleen_tf.imaging.volume import Geometry, Grid, Volume, VolumeError

AXIS_ORDERS = [
    "".join(letters)
    for order in itertools.permutations(("RL", "AP", "SI"))
    for letters in itertools.product(*order)
]


def test_there_are_48_axis_orders():
    assert len(set(AXIS_ORDERS)) == 48


@pytest.mark.parametrize("axcodes", AXIS_ORDERS)
def test_orientation_and_zooms_are_read_from_the_affine(make_volume, axcodes):
    image = make_volume(axcodes)
    assert image.orientation == axcodes
    np.testing.assert_allclose(image.zooms_mm, (0.8, 0.7, 5.0), rtol=1e-15)
    assert image.voxel_mm3 == pytest.approx(2.8)  # 0.8 · 0.7 · 5
    assert image.shape == (8, 6, 5)


def test_volume_of_a_sheared_voxel_is_the_determinant():
    affine = np.array([[1, 0.5, 0, 0], [0, 2, 0, 0], [0, 0, 3, 0], [0, 0, 0, 1.0]])
    image = Volume(np.zeros((2, 2, 2), np.int16), affine, "sheared.nii")
    assert image.voxel_mm3 == pytest.approx(6.0)  # Base 1, height 2, depth 3: shear adds nothing.
    assert image.zooms_mm[1] == pytest.approx(np.sqrt(0.25 + 4))


def test_a_volume_cannot_be_changed_in_place(make_volume):
    with pytest.raises(dataclasses.FrozenInstanceError):
        make_volume().affine = np.eye(4)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_an_affine_that_is_not_finite_is_refused(bad):
    affine = np.eye(4)
    affine[1, 3] = bad
    with pytest.raises(VolumeError, match=r"ct\.nii: expected a finite affine, found NaN or inf"):
        volume.check_affine(affine, "ct.nii")


@pytest.mark.parametrize(
    "matrix",
    [
        [[1, 0, 0], [0, 0, 0], [0, 0, 1]],  # A column of zeros.
        [[1, 2, 0], [1, 2, 0], [0, 0, 1]],  # Two columns along one line.
        [[0, 0, 0], [0, 0, 0], [0, 0, 0]],
        [[1, 0, 1], [0, 1, 1], [0, 0, 1e-6]],  # Flat but for rounding.
    ],
)
def test_a_singular_affine_is_refused_with_what_it_is_and_a_remedy(matrix):
    affine = np.eye(4)
    affine[:3, :3] = matrix
    with pytest.raises(
        VolumeError, match=r"ct\.nii: expected an invertible affine, found a singular .*; rewrite"
    ):
        volume.check_affine(affine, "ct.nii")


@pytest.mark.parametrize("zoom_mm", [np.float32(0.01), np.float32(100)])
def test_the_smallest_and_the_largest_voxels_are_not_singular(zoom_mm):
    volume.check_affine(np.diag([zoom_mm, zoom_mm, zoom_mm, 1]), "micro.nii")


@pytest.mark.parametrize("zooms_mm", [(0.0099, 1, 1), (1, 1, 101)])
def test_voxels_of_sizes_that_no_scan_has_are_refused(zooms_mm):
    with pytest.raises(VolumeError, match=r"a\.nii: expected voxels of 0\.01 to 100 mm, found"):
        volume.check_affine(np.diag([*zooms_mm, 1]), "a.nii")


def test_grids_that_agree_to_a_tenth_of_a_voxel_are_the_same(make_volume):
    a = make_volume()
    shifted = a.affine.copy()
    shifted[0, 3] += 0.069  # The smallest voxel edge is 0.7 mm.
    volume.check_same_grid(a, dataclasses.replace(a, affine=shifted))


def test_grids_that_differ_by_more_than_a_tenth_of_a_voxel_are_not_the_same(make_volume):
    a = make_volume()
    shifted = a.affine.copy()
    shifted[0, 3] += 0.075  # 0.107 of 0.7 mm.
    with pytest.raises(VolumeError, match=r"differs by 0\.1 voxels"):
        volume.check_same_grid(a, dataclasses.replace(a, affine=shifted))


def test_grids_shifted_by_one_voxel_are_not_the_same_and_both_files_are_named(make_volume):
    image = make_volume()
    affine = image.affine.copy()
    affine[1, 3] += 0.7
    label = dataclasses.replace(image, affine=affine, source="label.nii")
    with pytest.raises(
        VolumeError,
        match=r"label\.nii: expected the affine of tiny_RAS\.nii, found .* differs by 1\.0 voxels",
    ):
        volume.check_same_grid(image, label)


def test_grids_that_agree_at_the_origin_but_not_at_the_far_corner_are_not_the_same(make_volume):
    image = make_volume()
    affine = image.affine.copy()
    affine[2, 2] = 5.1  # Four steps of 0.1 mm: 0.4 mm, more than half of 0.7 mm.
    with pytest.raises(VolumeError, match=r"differs by 0\.6 voxels"):
        volume.check_same_grid(image, dataclasses.replace(image, affine=affine))


def test_grids_of_different_shape_are_refused_with_both_shapes(make_volume):
    label = dataclasses.replace(make_volume(shape=(8, 5, 6)), source="label.nii")
    with pytest.raises(
        VolumeError,
        match=r"label\.nii: expected shape \(8, 6, 5\) as in tiny_RAS\.nii, found \(8, 5, 6\); res",
    ):
        volume.check_same_grid(make_volume(), label)


def test_corner_distance_is_the_worst_corner_in_units_of_the_smallest_voxel_edge(make_affine):
    affine = make_affine("RAS", (1.0, 2.0, 4.0))
    rotated = affine.copy()
    rotated[0, 1], rotated[1, 0] = 0.3, 0.4  # Corner (2, 5, ·): 1.5 mm along x, 0.8 mm along y.
    distance = volume.corner_distance_voxels(Grid((3, 6, 9), affine), rotated)
    assert distance == pytest.approx(1.7)  # The hypotenuse, over 1 mm.


@pytest.mark.parametrize("codes", ["RAS", "LPS", "LAS", "SAR", "PIR"])
def test_a_volume_is_brought_into_the_axis_order_of_another_voxel_by_voxel(make_volume, codes):
    image = make_volume()
    transform = orientations.ornt_transform(
        orientations.axcodes2ornt("RAS"), orientations.axcodes2ornt(codes)
    )
    turned = dataclasses.replace(
        image,
        array_ijk=orientations.apply_orientation(image.array_ijk, transform),
        affine=image.affine @ orientations.inv_ornt_aff(transform, image.shape),
    )
    assert turned.orientation == codes
    back = volume.in_order_of(turned, image.grid)
    np.testing.assert_array_equal(back.array_ijk, image.array_ijk)
    np.testing.assert_allclose(back.affine, image.affine)
    geometry = volume.in_order_of(Geometry(turned.grid, turned.source), image.grid)
    assert geometry.shape == image.shape
    np.testing.assert_allclose(geometry.affine, image.affine)
