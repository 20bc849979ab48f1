"""Volumes moved by known rigid transforms, and what is found; ITK as the judge of the file."""

import dataclasses
import math

import numpy as np
import pytest
import SimpleITK as sitk

from spleen_tf.comparison import rescans
from spleen_tf.imaging import registration
from spleen_tf.imaging.registration import RegistrationError, Rigid
from spleen_tf.imaging.volume import Grid, Volume
from spleen_tf.io import nifti
from spleen_tf.phantom import generate

QUARTER_TURN = Rigid(
    np.array([[0.0, -1, 0, 5], [1, 0, 0, 0], [0, 0, 1, -2], [0, 0, 0, 1]]), (0.0, 0.0, 0.0)
)


@pytest.fixture(scope="module")
def phantom():
    return generate.make(2, "MR", 48)


@pytest.fixture(scope="module")
def rescan(phantom):
    return rescans.simulate(phantom.image, np.random.default_rng(0))


@pytest.fixture(scope="module")
def found(phantom, rescan):
    return registration.register(rescan.image, phantom.image)


def test_a_known_movement_is_found_within_a_millimetre_over_the_body(rescan, found):
    """The pixels of the phantom measure 5 to 8 mm."""
    apart = rescans.alignment(1, found, rescan)
    assert apart.mean_mm < 1.0
    assert rescan.movement.shift_mm > 20


def test_without_registration_the_bodies_lie_apart(rescan):
    """The movement is not so small that doing nothing would pass."""
    still = Rigid(np.eye(4), (0.0, 0.0, 0.0))
    assert rescans.alignment(1, still, rescan).mean_mm > 20


def test_the_same_volumes_give_the_same_movement(phantom, rescan, found):
    again = registration.register(rescan.image, phantom.image)
    np.testing.assert_array_equal(again.matrix, found.matrix)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mr_t2", "ct"])
def test_a_known_movement_of_a_patient_is_found_within_a_millimetre(real_data, name):
    path = next((real_data / name / "imagesTr").glob("*.nii.gz"))
    image = nifti.read(path)
    if name == "ct":  # A half of the resolution in plane, for the time that it takes.
        halved = image.affine @ np.diag([2.0, 2.0, 1.0, 1.0])
        image = dataclasses.replace(image, array_ijk=image.array_ijk[::2, ::2], affine=halved)
    rescan = rescans.simulate(image, np.random.default_rng(0))
    found = registration.register(rescan.image, image)
    assert rescans.alignment(1, found, rescan).mean_mm < 1.0


def test_shift_and_turn_are_those_of_the_matrix():
    """The origin goes to (5, 0, -2), a turn of 90 degrees about S."""
    assert QUARTER_TURN.shift_mm == pytest.approx(math.sqrt(29))
    assert QUARTER_TURN.rotation_degrees == pytest.approx(90.0)


def test_a_mask_goes_where_the_transform_says():
    """Later (1, 2, 3) mm shows earlier (-2 + 5, 1, 3 - 2) = (3, 1, 1) mm; voxels measure 1 mm."""
    array_ijk = np.zeros((5, 5, 5), bool)
    array_ijk[3, 1, 1] = True
    earlier = Volume(array_ijk, np.eye(4), "earlier")
    moved = registration.resampled_mask(earlier, Grid((5, 5, 5), np.eye(4)), QUARTER_TURN)
    assert np.argwhere(moved).tolist() == [[1, 2, 3]]


@pytest.mark.parametrize("axcodes", ["RAS", "LPS", "SAR"])
def test_itk_reads_the_transform_and_resamples_alike(make_volume, make_affine, tmp_path, axcodes):
    earlier = make_volume(axcodes, zooms_mm=(2.0, 3.0, 4.0))
    place_mm = (earlier.affine @ [3, 3, 2, 1])[:3]
    affine = make_affine("LAS", (1.75, 2.25, 3.125))
    affine[:3, 3] += place_mm - (affine @ [3, 4, 3, 1])[:3]
    grid = Grid((7, 9, 6), affine)
    movement = Rigid.about(place_mm, np.array([0.05, -0.1, 0.2]), np.array([1.0, -2.0, 0.5]))
    nifti.write(tmp_path / "earlier.nii", earlier)
    nifti.write(tmp_path / "later.nii", Volume(np.zeros(grid.shape, np.int16), grid.affine, ""))
    registration.write_transform(tmp_path / "moved.tfm", movement)
    transform = sitk.ReadTransform(str(tmp_path / "moved.tfm"))
    moving, reference = (
        sitk.ReadImage(str(tmp_path / name), sitk.sitkFloat32)
        for name in ("earlier.nii", "later.nii")
    )
    by_itk = sitk.GetArrayFromImage(sitk.Resample(moving, reference, transform)).transpose(2, 1, 0)
    ours = registration.resampled(earlier, grid, movement)
    both = (by_itk != 0) & (ours != 0)
    assert both.sum() > 20
    np.testing.assert_allclose(ours[both], by_itk[both], rtol=1e-3)


def test_volumes_that_do_not_overlap_are_rejected(phantom):
    far = [np.zeros(3), np.full(3, 5000.0)]
    with pytest.raises(RegistrationError, match="expected a volume of the same part of the body"):
        registration.register(phantom.image, phantom.image, *far)


def test_a_movement_becomes_itk_s_transform_and_comes_back():
    movement = Rigid.about(
        np.array([3.0, -4.0, 5.0]), np.array([0.05, -0.1, 0.2]), np.array([1.0, -2.0, 0.5])
    )
    back = registration._rigid(registration._itk_transform(sitk, movement))
    np.testing.assert_allclose(back.matrix, movement.matrix, atol=1e-12)
    assert back.center_ras_mm == movement.center_ras_mm
