"""Ways to show a body, and back: by hand in mm, also where pixels are not square."""

import numpy as np
import pytest

from spleen_tf.inference import tta
from spleen_tf.inference.tta import View

SQUARE_MM = np.array([2.0, 2.0])
OBLONG_MM = np.array([4.0, 2.0])


def dot(row, column, shape=(21, 31)):
    slices_nhw = np.zeros((1, *shape), np.float32)
    slices_nhw[0, row, column] = 1
    return slices_nhw


def blob(shape_hw, pixel_mm):
    """A smooth hill of 15 mm, 20 mm to the right of the middle and 8 mm below it."""
    rows, columns = np.indices(shape_hw)
    row_mm = (rows - (shape_hw[0] - 1) / 2) * pixel_mm[0] - 8
    column_mm = (columns - (shape_hw[1] - 1) / 2) * pixel_mm[1] - 20
    return np.exp(-(row_mm**2 + column_mm**2) / (2 * 15**2)).astype(np.float32)[np.newaxis]


def place(slices_nhw):
    return [int(n) for n in np.unravel_index(slices_nhw[0].argmax(), slices_nhw.shape[1:])]


@pytest.mark.parametrize("view", tta.AUGMENTED)
def test_scaling_resamples_nothing(view):
    slices_nhw = dot(3, 4)
    assert view.show(slices_nhw, SQUARE_MM) is slices_nhw
    assert view.undo(slices_nhw, SQUARE_MM) is slices_nhw


@pytest.mark.parametrize(("pixel_mm", "rows"), [(SQUARE_MM, 4), (OBLONG_MM, 2)])
def test_a_shift_is_in_mm_down_and_to_the_right(pixel_mm, rows):
    moved = View(shift_mm=(8.0, 6.0)).show(dot(10, 15), pixel_mm)
    assert place(moved) == [10 + rows, 15 + 3]
    assert moved.max() == pytest.approx(1)


def test_a_quarter_turn_brings_what_is_right_of_the_middle_below_it():
    turned = View(rotation_degrees=90.0).show(dot(10, 20), SQUARE_MM)
    assert place(turned) == [15, 15]
    # 12 mm to the right are 3 rows of 4 mm.
    turned = View(rotation_degrees=90.0).show(dot(10, 21), OBLONG_MM)
    assert place(turned) == [13, 15]


@pytest.mark.parametrize("pixel_mm", [SQUARE_MM, OBLONG_MM])
@pytest.mark.parametrize("view", [*tta.OF_SINGLE_MEMBER, View(1.0, 20.0, (-8.0, 14.0))])
def test_undoing_brings_everything_back_to_its_place(view, pixel_mm):
    slices_nhw = np.concatenate([blob((64, 96), pixel_mm), 0.5 * blob((64, 96), pixel_mm)])
    back = view.undo(view.show(slices_nhw, pixel_mm), pixel_mm)
    assert back.shape == slices_nhw.shape
    inside = slices_nhw > 0.1
    np.testing.assert_allclose(back[inside], slices_nhw[inside], atol=0.03)


def test_what_comes_into_view_repeats_the_edge_and_is_no_spleen_on_the_way_back():
    view = View(shift_mm=(0.0, 10.0))
    assert (view.show(np.full((1, 8, 8), 7.0, np.float32), SQUARE_MM) == 7).all()
    back = view.undo(np.ones((1, 8, 8), np.float32), SQUARE_MM)
    assert (back[..., 3:] == 0).all()
    assert (back[..., :3] == 1).all()
