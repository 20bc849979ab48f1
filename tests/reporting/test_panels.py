"""Letters and outlines of previews, and the layout of their panels."""

import numpy as np
import pytest

from spleen_tf.imaging.volume import Volume
from spleen_tf.reporting import panels


@pytest.mark.parametrize("codes", ["RAS", "LPS", "PIR"])
def test_the_patients_right_is_on_the_left_however_a_volume_is_stored(make_affine, codes):
    affine = make_affine(codes)
    # top, bottom, left, right
    assert panels.border_letters(affine, "axial") == ("A", "P", "R", "L")
    assert panels.border_letters(affine, "coronal") == ("S", "I", "R", "L")
    assert panels.border_letters(affine, "sagittal") == ("S", "I", "A", "P")


def turned_about_z(degrees):
    """RAS voxels of 1 mm whose i axis points from right towards anterior by an angle."""
    angle = np.radians(degrees)
    affine = np.eye(4)
    affine[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    return affine


def test_a_tilted_plane_has_two_letters_the_stronger_first():
    """The view's right is −i, (−cos 30°, −sin 30°): more L than P."""
    letters = panels.border_letters(turned_about_z(30), "axial")
    assert letters == ("AL", "PR", "RA", "LP")


def test_a_plane_tilted_by_less_than_20_degrees_has_one_letter():
    assert panels.border_letters(turned_about_z(19), "axial") == ("A", "P", "R", "L")


def test_a_pixel_has_four_edges():
    mask = np.zeros((3, 4), bool)
    mask[1, 2] = True
    assert {tuple(map(tuple, edge)) for edge in panels.voxel_edges(mask)} == {
        ((1, 2), (1, 3)),  # above, below
        ((2, 2), (2, 3)),
        ((1, 2), (2, 2)),  # left, right
        ((1, 3), (2, 3)),
    }


def test_neighbours_share_no_edge_and_the_arrays_border_is_an_edge():
    assert len(panels.voxel_edges(np.ones((2, 3), bool))) == 2 * (2 + 3)


def test_nothing_has_no_edges():
    assert panels.voxel_edges(np.zeros((3, 4), bool)).shape == (0, 2, 2)


def test_all_panels_have_one_scale_and_their_slices_proportions():
    """200 × 100 × 150 mm: axial 200 × 100 (width × height), coronal 200 × 150, sagittal …"""
    image = Volume(np.zeros((100, 100, 30), np.int16), np.diag([2.0, 1, 5, 1]), "a.nii")
    figure, axes_of = panels.layout(image, (50, 50, 15))
    widths_px = {p: axes.get_window_extent().width for p, axes in axes_of.items()}
    heights_px = {p: axes.get_window_extent().height for p, axes in axes_of.items()}
    # 1500 px less four gaps of 12 px, for 200 + 200 + 100 mm.
    px_per_mm = 1452 / 500
    assert widths_px == pytest.approx(
        {"axial": 200 * px_per_mm, "coronal": 200 * px_per_mm, "sagittal": 100 * px_per_mm}
    )
    # The figure's height is a whole number of pixels, hence a tolerance of one.
    assert heights_px == pytest.approx(
        {"axial": 100 * px_per_mm, "coronal": 150 * px_per_mm, "sagittal": 150 * px_per_mm}, abs=1
    )
    assert figure.bbox.width == 1500


def test_a_thin_slab_is_centred_in_a_panel_with_room_for_letters():
    """2 slices of 5 mm beside 200 mm: the panel is 0.4 · 200 = 80 mm high, 35 above, 35 below."""
    image = Volume(np.zeros((200, 200, 2), np.int16), np.diag([1.0, 1, 5, 1]), "a.nii")
    _, axes_of = panels.layout(image, (100, 100, 1))
    bottom, top = axes_of["coronal"].get_ylim()
    assert (top, bottom) == (-35, 45)


@pytest.mark.parametrize(
    ("center_k", "shown_mm"),
    [
        (500, (249.5, 749.5)),  # k = 500 is 999 − 500 + 0.5 = 499.5 mm below the top.
        (990, (0, 500)),  # Near the head, the panel begins at the head.
        (10, (500, 1000)),
    ],
)
def test_of_a_long_patient_500_mm_around_the_centre_are_shown(center_k, shown_mm):
    image = Volume(np.broadcast_to(np.int16(0), (300, 300, 1000)), np.eye(4), "a.nii")
    _, axes_of = panels.layout(image, (150, 150, center_k))
    bottom, top = axes_of["sagittal"].get_ylim()
    assert (top, bottom) == shown_mm


def scale_bar_of(axes):
    """(length in mm, label)."""
    line = axes.get_lines()[-1]
    return np.ptp(line.get_xdata()), axes.texts[-1].get_text()


@pytest.mark.parametrize(
    ("zoom_mm", "expected_mm"),
    [(3.2, 50), (4.0, 100), (0.1, 2), (0.01, 0.2)],  # 100 voxels; at most a quarter of them.
)
def test_scale_bars_are_as_long_as_they_say_and_round(zoom_mm, expected_mm):
    affine = np.diag([zoom_mm, zoom_mm, zoom_mm, 1])
    image = Volume(np.zeros((100, 100, 100), np.int16), affine, "a.nii")
    _, axes_of = panels.layout(image, (50, 50, 50))
    panels.label_panels(axes_of, image, (50, 50, 50))
    for axes in axes_of.values():
        length_mm, label = scale_bar_of(axes)
        assert length_mm == pytest.approx(expected_mm)
        assert label == f"{expected_mm:g} mm"


def test_panels_say_plane_position_and_sides():
    affine = np.diag([1.0, 1, 5, 1])
    affine[:3, 3] = (-60, 10, -200)
    image = Volume(np.zeros((100, 100, 30), np.int16), affine, "a.nii")
    _, axes_of = panels.layout(image, (20, 50, 15))
    panels.label_panels(axes_of, image, (20, 50, 15))
    words = {p: [text.get_text() for text in axes.texts] for p, axes in axes_of.items()}
    # Voxel (20, 50, 15) lies at x = −40, y = 60, z = −125 mm in RAS+.
    assert words["axial"][:5] == ["A", "P", "R", "L", "axial\nI 125 mm"]
    assert words["coronal"][:5] == ["S", "I", "R", "L", "coronal\nA 60 mm"]
    assert words["sagittal"][:5] == ["S", "I", "A", "P", "sagittal\nL 40 mm"]
