"""Slices in the radiologist's view, for every axis order and for oblique volumes."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spleen_tf.imaging import planes
from spleen_tf.imaging.planes import PLANES, PlaneLayout

AXIS_ORDERS = [
    "".join(letters)
    for order in itertools.permutations(("RL", "AP", "SI"))
    for letters in itertools.product(*order)
]
PLANE_CUT_ALONG = dict(
    zip("RLAPSI", ["sagittal"] * 2 + ["coronal"] * 2 + ["axial"] * 2, strict=True)
)
# The RAS coordinate that changes from slice to slice, row to row, column to column, and whether
# it grows or falls: DESIGN's words on the radiologist's view, in signs.
RIGHT, ANTERIOR, SUPERIOR = 0, 1, 2
VIEW = {
    "coronal": ((ANTERIOR, +1), (SUPERIOR, -1), (RIGHT, -1)),
    "axial": ((SUPERIOR, +1), (ANTERIOR, -1), (RIGHT, -1)),
    "sagittal": ((RIGHT, +1), (SUPERIOR, -1), (ANTERIOR, -1)),
}


def world_coordinates(image):
    """(3, I, J, K): where each voxel lies, in RAS+ mm."""
    homogeneous = np.stack([*np.indices(image.shape), np.ones(image.shape)])
    return np.einsum("ab,bijk->aijk", image.affine, homogeneous)[:3]


@pytest.mark.parametrize("axcodes", AXIS_ORDERS)
def test_plane_of_axis_goes_by_anatomy(make_affine, axcodes):
    affine = make_affine(axcodes)
    cut = [planes.plane_of_axis(affine, axis) for axis in range(3)]
    assert cut == [PLANE_CUT_ALONG[letter] for letter in axcodes]


def test_the_last_axis_of_a_decathlon_volume_is_axial(make_affine):
    assert planes.plane_of_axis(make_affine("RAS", (0.79, 0.79, 5.0)), 2) == "axial"


def test_the_layout_of_an_lps_volume_is_as_drawn_by_hand(make_affine):
    # L, P, S: a coronal slice is cut along axis 1, which runs backwards (P) against A; its rows
    # run down axis 2, against S; its columns run along axis 0, with L.
    affine = make_affine("LPS")
    assert planes.layout_of(affine, "coronal") == PlaneLayout((1, 2, 0), (True, True, False))
    assert planes.layout_of(affine, "axial") == PlaneLayout((2, 1, 0), (False, False, False))
    assert planes.layout_of(affine, "sagittal") == PlaneLayout((0, 2, 1), (True, True, False))


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("axcodes", AXIS_ORDERS)
def test_slices_rows_and_columns_run_as_a_radiologist_expects(make_volume, axcodes, plane):
    image = make_volume(axcodes)
    for axis, (coordinate, sign) in enumerate(VIEW[plane]):
        along = world_coordinates(image)[coordinate]
        steps_mm = np.diff(planes.split(along, image.affine, plane), axis=axis) * sign
        assert (steps_mm > 0).all()


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("axcodes", AXIS_ORDERS)
def test_stack_is_the_inverse_of_split_and_split_of_stack(make_volume, axcodes, plane):
    image = make_volume(axcodes)
    slices_nhw = planes.split(image.array_ijk, image.affine, plane)
    back = planes.stack(slices_nhw, image.affine, plane)
    np.testing.assert_array_equal(back, image.array_ijk)
    assert back.dtype == np.int16
    np.testing.assert_array_equal(planes.split(back, image.affine, plane), slices_nhw)


@pytest.mark.parametrize("plane", PLANES)
@pytest.mark.parametrize("axcodes", AXIS_ORDERS)
def test_stored_index_names_the_voxel_index_that_was_cut(make_volume, axcodes, plane):
    image = make_volume(axcodes)
    letters = {"coronal": "AP", "axial": "SI", "sagittal": "RL"}[plane]
    cut_axis = next(axis for axis, letter in enumerate(axcodes) if letter in letters)
    slices_nhw = planes.split(image.array_ijk, image.affine, plane)
    for n in range(len(slices_nhw)):
        index = planes.stored_index(n, len(slices_nhw), image.affine, plane)
        stored = np.take(image.array_ijk, index, axis=cut_axis)
        assert set(slices_nhw[n].ravel()) == set(stored.ravel())
        assert planes.stored_index(index, len(slices_nhw), image.affine, plane) == n


@pytest.mark.parametrize("axcodes", ["RAS", "LPS", "LAS", "PIR", "SLA"])
def test_markers_land_where_a_radiologist_looks_for_them(make_volume, axcodes):
    image = make_volume(axcodes)
    world = world_coordinates(image)

    def picture_of(plane, *conditions):
        """The slices with 1 where the RAS coordinate is extreme in all the ways given."""
        marked = np.ones(image.shape, bool)
        for coordinate, extreme in conditions:
            marked &= world[coordinate] == extreme(world[coordinate])
        return planes.split(marked, image.affine, plane)

    right_top = picture_of("coronal", (RIGHT, np.max), (SUPERIOR, np.max))
    assert right_top[:, 0, 0].all()
    assert right_top.sum() == len(right_top)
    left_front = picture_of("axial", (RIGHT, np.min), (ANTERIOR, np.max))
    assert left_front[:, 0, -1].all()
    assert left_front.sum() == len(left_front)
    front_bottom = picture_of("sagittal", (ANTERIOR, np.max), (SUPERIOR, np.min))
    assert front_bottom[:, -1, 0].all()
    assert front_bottom.sum() == len(front_bottom)
    assert picture_of("coronal", (ANTERIOR, np.max))[-1].all()
    assert picture_of("axial", (SUPERIOR, np.max))[-1].all()
    assert picture_of("sagittal", (RIGHT, np.max))[-1].all()


def test_coronal_slice_of_an_ras_volume_is_as_drawn_by_hand(make_affine):
    # Voxel (i, j, k) of 2×2×3 holds 100 i + 10 j + k; i grows to the right, k upwards.
    array = np.array([[[0, 1, 2], [10, 11, 12]], [[100, 101, 102], [110, 111, 112]]])
    first = planes.split(array, make_affine("RAS"), "coronal")[0]
    np.testing.assert_array_equal(first, [[102, 2], [101, 1], [100, 0]])


@pytest.mark.parametrize(
    ("axcodes", "plane", "pixel_mm", "slice_mm"),
    [
        # Voxels of 0.8×0.7×5 mm along i, j, k.
        ("RAS", "coronal", (5.0, 0.8), 0.7),
        ("RAS", "axial", (0.7, 0.8), 5.0),
        ("RAS", "sagittal", (5.0, 0.7), 0.8),
        ("LPI", "axial", (0.7, 0.8), 5.0),
        # S along i, L along j, A along k.
        ("SLA", "coronal", (0.8, 0.7), 5.0),
        ("SLA", "axial", (5.0, 0.7), 0.8),
        ("SLA", "sagittal", (0.8, 5.0), 0.7),
    ],
)
def test_pixel_mm_is_row_then_column_spacing(make_affine, axcodes, plane, pixel_mm, slice_mm):
    affine = make_affine(axcodes)
    np.testing.assert_allclose(planes.pixel_mm(affine, plane), pixel_mm, rtol=1e-12)
    assert planes.slice_mm(affine, plane) == pytest.approx(slice_mm)


def test_split_and_stack_copy_nothing(make_volume):
    image = make_volume("LPS")
    slices_nhw = planes.split(image.array_ijk, image.affine, "coronal")
    assert np.shares_memory(slices_nhw, image.array_ijk)
    assert np.shares_memory(planes.stack(slices_nhw, image.affine, "coronal"), image.array_ijk)


def rotation(axis_xyz, angle):
    """(3, 3), by Rodrigues' formula."""
    x, y, z = np.asarray(axis_xyz) / np.linalg.norm(axis_xyz)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def rotations(max_degrees):
    component = st.floats(-1, 1)
    axes = st.tuples(component, component, component).filter(lambda v: np.linalg.norm(v) > 0.1)
    return st.builds(rotation, axes, st.floats(0, max_degrees).map(np.radians))


def tilted(image, turn):
    affine = image.affine.copy()
    affine[:3] = turn @ affine[:3]
    return affine


zooms = st.tuples(*[st.floats(0.3, 8.0)] * 3)


@given(st.sampled_from(AXIS_ORDERS), st.sampled_from(PLANES), zooms, rotations(40))
def test_an_oblique_volume_is_cut_along_the_closest_axes(make_volume, axcodes, plane, zooms, turn):
    straight = make_volume(axcodes, zooms_mm=zooms)
    # Within 45° every stored axis stays closest to the one that it was turned away from.
    np.testing.assert_array_equal(
        planes.split(straight.array_ijk, tilted(straight, turn), plane),
        planes.split(straight.array_ijk, straight.affine, plane),
    )


@given(st.sampled_from(AXIS_ORDERS), st.sampled_from(PLANES), zooms, rotations(180))
def test_any_rotation_keeps_the_round_trip_and_the_spacings(
    make_volume, axcodes, plane, zooms, turn
):
    straight = make_volume(axcodes, zooms_mm=zooms)
    affine = tilted(straight, turn)
    slices_nhw = planes.split(straight.array_ijk, affine, plane)
    back = planes.stack(slices_nhw, affine, plane)
    np.testing.assert_array_equal(back, straight.array_ijk)

    homogeneous = np.stack([*np.indices(straight.shape), np.ones(straight.shape)])
    world = np.einsum("ab,bijk->aijk", affine, homogeneous)[:3]
    pictures = np.stack([planes.split(axis, affine, plane) for axis in world])
    steps_mm = [np.diff(pictures, axis=1 + axis)[:, 0, 0, 0] for axis in range(3)]
    lengths_mm = np.linalg.norm(steps_mm, axis=1)
    np.testing.assert_allclose(lengths_mm[0], planes.slice_mm(affine, plane), rtol=1e-6)
    np.testing.assert_allclose(lengths_mm[1:], planes.pixel_mm(affine, plane), rtol=1e-6)
    for step_mm, (coordinate, sign) in zip(steps_mm, VIEW[plane], strict=True):
        assert step_mm[coordinate] * sign > 0
