"""Spleen in mirror images, found by runtimes that take bright pixels for it, or one side."""

import pathlib

import numpy as np
import pytest
from fixtures import records

from spleen_tf.imaging.volume import Volume
from spleen_tf.inference import orientation
from spleen_tf.inference.fusion import Fusion
from spleen_tf.inference.member import Member

PLANES = ("coronal", "axial", "sagittal")


@pytest.fixture
def noise(make_affine):
    """Voxels of 2 mm and of every intensity from -300 to 399, stored RAS."""
    values = np.random.default_rng(0).integers(-300, 400, (12, 10, 9))
    return Volume(values.astype(np.int16), make_affine("RAS", (2, 2, 2)), "noise.nii")


def info(plane, modality="MR"):
    return records.of_model(plane=plane, modality=modality)


class BrightPixels:
    """A runtime that finds spleen where pixels are above the window's middle."""

    pixels_per_batch = 1 << 20

    def probability(self, slices_nhw, pixel_mm, window, margins):
        return (slices_nhw > sum(window) / 2).astype(np.float32)


def every_bright_pixel(plane, modality="MR"):
    return Member(info(plane, modality), BrightPixels(), pathlib.Path())


def mirrored_ml(models, image):
    fused = Fusion(models, image, [(-300.0, 400.0)] * len(models))
    return orientation.mirrored_ml(fused.look_everywhere())


def test_a_direction_is_mirrored_in_a_plane_that_shows_it(noise):
    found = mirrored_ml([every_bright_pixel("axial")], noise)
    assert found.keys() == {"right", "anterior"}
    found = mirrored_ml([every_bright_pixel(plane) for plane in PLANES], noise)
    assert found.keys() == {"right", "anterior", "superior"}


@pytest.mark.parametrize("modality", ["any", "CT"])
def test_left_and_right_are_not_compared_where_a_liver_looks_like_a_spleen(noise, modality):
    members = [every_bright_pixel(plane, modality) for plane in PLANES]
    assert mirrored_ml(members, noise).keys() == {"anterior", "superior"}


def test_a_network_that_looks_at_single_pixels_finds_as_much_in_the_mirror(noise):
    for as_is, mirror in mirrored_ml([every_bright_pixel("axial")], noise).values():
        assert mirror == pytest.approx(as_is, rel=1e-3)
        # Half of the voxels, 8 mm³ each, are bright.
        assert as_is / (noise.array_ijk.size * 8 / 1000) == pytest.approx(0.5, abs=0.05)


class SeesOneSide:
    """A runtime that finds spleen in the first column, or the last row, of a slice."""

    pixels_per_batch = 1 << 20

    def __init__(self, place):
        self._place = place

    def probability(self, slices_nhw, pixel_mm, window, margins):
        found = np.zeros(slices_nhw.shape, np.float32)
        found[self._place] = slices_nhw[self._place] > 0
        return found


def sees_one_side(place, plane):
    return Member(info(plane), SeesOneSide(place), pathlib.Path())


@pytest.mark.parametrize(
    ("place", "bright", "direction"),
    [
        (np.s_[:, :, 0], np.s_[0], "right"),  # Columns run to the left: the first is right.
        (np.s_[:, -1, :], np.s_[:, -1], "anterior"),  # The last row is posterior.
    ],
)
def test_anatomy_that_shows_in_the_mirror_only_is_found_there(
    make_affine, place, bright, direction
):
    """Stored RAS, an edge that the network would take for spleen is on the other side."""
    model = sees_one_side(place, "axial")
    values = np.zeros((20, 20, 20), np.int16)
    values[bright] = 100
    image = Volume(values, make_affine("RAS", (2, 2, 2)), "a.nii")
    as_is, mirror = mirrored_ml([model], image)[direction]
    assert (as_is, mirror) == (0.0, pytest.approx(400 * 8 / 1000))


def test_all_planes_that_show_a_direction_are_asked(make_affine):
    """What one plane sees in the mirror alone is weighed against another that sees all as it is."""
    axial = sees_one_side(np.s_[:, -1, :], "axial")
    sagittal = sees_one_side(np.s_[:, :, 0], "sagittal")
    values = np.zeros((20, 20, 20), np.int16)
    values[:, -1] = 100  # Anterior: first row of axial slices, first column of sagittal ones.
    image = Volume(values, make_affine("RAS", (2, 2, 2)), "a.nii")
    side_ml = 400 * 8 / 1000
    found = [mirrored_ml([m], image)["anterior"] for m in (axial, sagittal)]
    np.testing.assert_allclose(found, [(0, side_ml), (side_ml, 0)])
    both = mirrored_ml([axial, sagittal], image)
    assert both["anterior"] == pytest.approx((side_ml / 2, side_ml / 2))


def test_a_plane_that_sees_no_more_in_the_mirror_settles_it(make_affine):
    """Of the same volume; sagittal slices are smaller than axial ones, and asked first."""
    axial = sees_one_side(np.s_[:, -1, :], "axial")
    sagittal = sees_one_side(np.s_[:, :, 0], "sagittal")
    values = np.zeros((20, 20, 10), np.int16)
    values[:, -1] = 100
    image = Volume(values, make_affine("RAS", (2, 2, 2)), "a.nii")
    side_ml = 200 * 8 / 1000
    assert mirrored_ml([axial, sagittal], image)["anterior"] == pytest.approx((side_ml, 0))
