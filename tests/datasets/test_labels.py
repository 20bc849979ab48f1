"""Label maps: what counts as whole, and what is refused."""

import warnings

import numpy as np
import pytest

from spleen_tf.core.files import InputWarning
from spleen_tf.datasets import labels
from spleen_tf.imaging.volume import Volume, VolumeError


def label(*values, dtype=np.float32):
    return Volume(np.array(values, dtype).reshape(-1, 1, 1), np.eye(4), "map.nii")


def inside(volume, value=0):
    return labels.mask(volume, value).array_ijk.ravel().tolist()


def test_voxels_within_a_hundredth_of_a_whole_number_count_as_it():
    scaled = label(-0.004, 0.0, 0.009, 0.99997, 1.0099, 1.991, 13.001)
    assert inside(scaled) == [False, False, False, True, True, True, True]
    assert inside(scaled, 1) == [False, False, False, True, True, False, False]
    assert inside(scaled, 2) == [False, False, False, False, False, True, False]
    assert inside(scaled, 13) == [False] * 6 + [True]


@pytest.mark.parametrize("fraction", [0.011, 0.5, 0.989, 1.25, -0.5])
def test_other_fractions_are_refused_with_a_remedy(fraction):
    with pytest.raises(
        VolumeError,
        match=rf"^map\.nii: expected whole numbers as labels, found {fraction:g} and other fractio"
        r"ns in 1 voxels; cut .* at 0\.5, and resample labels with nearest neighbours\.$",
    ):
        labels.mask(label(0, 1, fraction))


def test_integers_stay_as_they_are():
    assert inside(label(-1, 0, 1, 255, dtype=np.int16)) == [False, False, True, True]
    assert labels.mask(label(0, 0)).array_ijk.dtype == bool


def test_more_values_than_labels_have_are_an_image():
    assert sum(inside(label(*range(201)))) == 200
    with pytest.raises(VolumeError, match="found 201 different values above 0, as in an image"):
        labels.mask(label(*range(202)))


def test_several_values_are_warned_of_where_that_is_asked_for_and_none_is_chosen():
    with pytest.warns(InputWarning, match="map.nii: the values 1, 2 all count as spleen; "):
        labels.mask(label(0, 1, 2), warn_of_several=True)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        labels.mask(label(0, 1, 2))
        labels.mask(label(0, 1, 2), 1, warn_of_several=True)
