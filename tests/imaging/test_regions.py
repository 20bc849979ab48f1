"""The region around an organ: its margin, how much smaller a long organ is shown, and its edges."""

import numpy as np
import pytest

from spleen_tf.imaging import regions
from spleen_tf.imaging.regions import Region
from spleen_tf.imaging.volume import Grid, Volume


def grid(shape, zooms_mm):
    return Grid(shape, np.diag([*zooms_mm, 1.0]))


def test_the_margin_is_60_mm_on_each_side_where_the_volume_goes_so_far():
    found = regions.around(
        (slice(70, 80), slice(5, 25), slice(90, 98)), grid((200, 60, 100), (1, 2, 4))
    )
    # 60, 30 and 15 voxels; the volume begins 5 voxels before and ends 2 voxels after.
    assert found == Region((slice(10, 140), slice(0, 55), slice(75, 100)), 1.0)


def test_across_slices_of_the_only_plane_the_margin_is_25_mm(make_affine):
    """Stored SAR: axial slices follow one another along i, and coronal ones along j."""
    affine = make_affine("SAR", (5, 2, 1))
    assert regions.margins_mm(affine, ["axial", "axial"]).tolist() == [25, 60, 60]
    assert regions.margins_mm(affine, ["coronal"]).tolist() == [60, 25, 60]
    assert regions.margins_mm(affine, ["axial", "coronal"]).tolist() == [60, 60, 60]
    box = (slice(50, 60),) * 3
    found = regions.around(
        box, Grid((100, 100, 200), affine), regions.margins_mm(affine, ["axial"])
    )
    assert found.box == (slice(45, 65), slice(20, 90), slice(0, 120))


def test_an_organ_of_320_mm_is_shown_at_half_its_size_with_a_margin_of_120_mm():
    found = regions.around(
        (slice(200, 520), slice(200, 210), slice(200, 210)), grid((700, 400, 400), (1, 1, 1))
    )
    assert found == Region((slice(80, 640), slice(80, 330), slice(80, 330)), 0.5)


def test_the_crop_lies_where_it_lay_but_for_being_smaller():
    array_ijk = np.arange(10 * 12 * 14).reshape(10, 12, 14)
    affine = np.array([[0, -2, 0, 30], [1, 0, 0, -7], [0, 0, 3, 5], [0, 0, 0, 1.0]])
    crop = Region((slice(2, 8), slice(3, 9), slice(4, 10)), 0.5).crop(
        Volume(array_ijk, affine, "a")
    )
    assert crop.array_ijk[0, 0, 0] == array_ijk[2, 3, 4]
    # The first voxel is at (-2*3 + 30, 2 - 7, 3*4 + 5) mm.
    np.testing.assert_allclose(crop.affine[:3, 3], [24, -5, 17])
    np.testing.assert_allclose(crop.zooms_mm, [0.5, 1, 1.5])


@pytest.mark.parametrize(
    ("found", "is_cut"),
    [
        ((slice(1, 5), slice(1, 5), slice(1, 5)), False),
        ((slice(0, 5), slice(1, 5), slice(1, 5)), True),  # The volume goes on below i = 2.
        ((slice(1, 5), slice(0, 5), slice(1, 5)), False),  # The volume begins at j = 0.
        ((slice(1, 5), slice(1, 5), slice(1, 6)), False),  # The volume ends at k = 6.
        ((slice(1, 5), slice(1, 6), slice(1, 5)), True),
    ],
)
def test_what_touches_a_side_of_the_region_within_the_volume_is_cut(found, is_cut):
    region = Region((slice(2, 8), slice(0, 6), slice(0, 6)))
    assert region.is_cut_by(found, (10, 10, 6)) == is_cut


def test_boxes_of_the_region_are_boxes_of_the_volume():
    region = Region((slice(2, 8), slice(0, 6), slice(3, 6)))
    assert region.to_volume((slice(1, 2), slice(1, 2), slice(0, 3))) == (
        *(slice(3, 4), slice(1, 2), slice(3, 6)),
    )


def test_networks_learn_on_a_wider_margin():
    box = (slice(100, 110), slice(100, 110), slice(100, 110))
    found = regions.around(box, grid((300, 300, 300), (1, 1, 1)), regions.TRAINING_MARGIN_MM)
    assert found.box == (slice(25, 185),) * 3
