"""What a volume is taken for, why, and what speaks against it."""

import dataclasses

import numpy as np
import pytest
from fixtures import records

from spleen_tf.imaging.volume import Volume
from spleen_tf.inference import modality


def volume(lowest, header=None):
    """A thousand voxels of lowest, lowest + 1, …."""
    values = (lowest + np.arange(1000)).astype(np.int16).reshape(10, 10, 10)
    return Volume(values, np.eye(4), "a.nii", modality=header)


@pytest.mark.parametrize(
    ("image", "given", "expected", "reason"),
    [
        (volume(-300), None, "CT", "its voxels look like Hounsfield units"),
        (volume(-100), None, "MR", "its voxels do not look like Hounsfield units"),
        (volume(-300, "MR"), None, "MR", "the header says MR"),
        (volume(-100, "CT"), None, "CT", "the header says CT"),
        (volume(-300, "CT"), "MR", "MR", "given by --modality or the data set"),
    ],
)
def test_a_volume_s_modality_is_the_given_one_the_header_s_or_by_its_voxels(
    image, given, expected, reason
):
    taken = modality.taken(image, "any", given)
    assert (taken.modality, taken.reason, taken.doubt) == (expected, reason, None)
    assert not taken.is_mismatch


@pytest.mark.parametrize(
    ("models", "image", "given", "doubt"),
    [
        ("MR", volume(0), None, None),
        ("MR", volume(-300), None, "but the volume looks like CT in Hounsfield units"),
        ("MR", volume(0, "CT"), None, "but the header says CT"),
        ("MR", volume(0), "CT", "but the volume is said to be CT"),
        ("MR", volume(-300), "MR", None),
        ("CT", volume(-300), None, None),
        ("CT", volume(0), None, None),  # It may be a CT of which the air was cut away.
        ("CT", volume(0, "MR"), None, "but the header says MR"),
    ],
)
def test_models_for_one_modality_take_every_volume_for_it(models, image, given, doubt):
    taken = modality.taken(image, models, given)
    assert (taken.modality, taken.reason) == (models, f"the model is for {models}")
    assert taken.doubt == (f"the model is for {models}, {doubt}" if doubt else None)
    assert taken.is_mismatch == bool(doubt)


def test_an_mr_that_was_shifted_far_below_zero_is_no_ct_without_a_doubt():
    taken = modality.taken(volume(-2048), "any")
    assert taken.modality == "CT"
    assert "almost no voxel has the -200 to 300 HU of soft tissue" in taken.doubt
    assert not taken.is_mismatch
    assert modality.taken(volume(-2048), "any", "MR").doubt is None


def info(of, window):
    return records.of_model(modality=of, window=window)


def test_each_model_has_its_window():
    """Of 1000 values from -500 in steps of 1, the 10th percentile is at rank 99.9."""
    image = volume(-500)
    of_any, of_ct = info("any", (10.0, 90.0)), info("CT", (-100.0, 200.0))
    assert modality.windows(image, "CT", [of_any, of_ct]) == [(-160.0, 240.0), (-100.0, 200.0)]
    (window,) = modality.windows(image, "MR", [of_any])
    assert window == pytest.approx((-400.1, 399.1), abs=1e-3)
    shifted = dataclasses.replace(image, array_ijk=image.array_ijk.astype(np.float32))
    (window,) = modality.windows(shifted, "MR", [of_any])
    assert window == pytest.approx((-400.1, 399.1), abs=1e-3)


def test_models_of_any_modality_are_for_that_of_their_companions():
    of_any, of_mr = info("any", (0.5, 99.5)), info("MR", (0.5, 99.5))
    assert modality.of_models([of_any, of_mr]) == modality.of_models([of_mr, of_any]) == "MR"
    assert modality.of_models([of_any, of_any]) == "any"
