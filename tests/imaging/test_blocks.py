"""Means over blocks of voxels, and where they lie."""

import numpy as np
import pytest

from spleen_tf.imaging import blocks
from spleen_tf.imaging.volume import Volume


def test_a_block_has_the_mean_of_its_voxels_and_what_fills_none_is_dropped():
    array_ijk = np.array([1, 3, 5, 9, 100], np.int16).reshape(5, 1, 1)
    means = blocks.means(array_ijk, (2, 1, 1))
    assert means.dtype == np.float32
    assert means.ravel().tolist() == [2.0, 7.0]


def test_of_a_mask_a_mean_is_the_share_inside():
    mask_ijk = np.zeros((2, 2, 2), bool)
    mask_ijk[0, 0, 0] = True
    assert blocks.means(mask_ijk, (2, 2, 2)).tolist() == [[[0.125]]]


def test_factors_of_one_change_no_value():
    array_ijk = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    np.testing.assert_array_equal(blocks.means(array_ijk, (1, 1, 1)), array_ijk)


@pytest.mark.parametrize("axcodes", ["RAS", "LPS", "SAR"])
def test_a_voxel_lies_at_the_centre_of_its_block(make_affine, axcodes):
    image = Volume(np.zeros((4, 6, 3)), make_affine(axcodes, (2.0, 3.0, 4.0)), "a")
    coarse = blocks.reduced(image, (2, 3, 1))
    assert coarse.shape == (2, 2, 3)
    # Voxels 2 and 3 along i, 3 to 5 along j.
    np.testing.assert_allclose(coarse.affine @ [1, 1, 2, 1], image.affine @ [2.5, 4, 2, 1])


def test_factors_give_voxels_of_about_a_size_but_no_larger_than_the_volume(make_affine):
    image = Volume(np.zeros((9, 9, 1)), make_affine("RAS", (0.8, 5.0, 2.0)), "a")
    assert blocks.factors_for(image, 4.0) == [5, 1, 1]
