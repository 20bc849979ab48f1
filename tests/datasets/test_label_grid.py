"""Labels on the grids of their images, but for rounding; test_cases.py has whole files."""

import nibabel
import numpy as np
import pytest

from spleen_tf.core.files import InputWarning
from spleen_tf.datasets import label_grid
from spleen_tf.imaging.volume import Geometry, Grid, VolumeError


@pytest.mark.parametrize("flips", [(1, 1, 1), (-1, 1, 1), (-1, -1, 1)])
def test_a_label_with_rounded_voxel_sizes_is_taken_with_a_warning(flips):
    """0.7031 mm become 0.70: 1.8 voxels at the end of a row of 400; half a voxel is no grid."""
    affine = np.diag([0.7031, 0.7031, 2.5, 1.0])
    image = Geometry(Grid((400, 400, 60), affine), "image.nii")
    orientation = np.array([[axis, flip] for axis, flip in enumerate(flips)], float)
    turned = affine @ nibabel.orientations.inv_ornt_aff(orientation, image.shape)
    turned[:3, :2] *= 0.7 / 0.7031
    with pytest.warns(
        InputWarning, match=r"label\.nii: lies off the grid of image\.nii by less th"
    ):
        label_grid.on_grid_of(image, Geometry(Grid(image.shape, turned), "label.nii"))
    turned[:3, :2] *= 0.72 / 0.7
    with pytest.raises(VolumeError, match=r"label\.nii: expected the affine of image\.nii, found"):
        label_grid.on_grid_of(image, Geometry(Grid(image.shape, turned), "label.nii"))
