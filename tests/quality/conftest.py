"""The volume in which the tests of quality measure their masks."""

import numpy as np
import pytest
from fixtures.blocks import SHAPE, ZOOMS_MM

from spleen_tf.imaging.volume import Volume


@pytest.fixture
def image(make_affine):
    """Stored LPS; the voxel (i, j, k) holds i + 100 k; the origin is at (50, 60, -30) mm."""
    i, _, k = np.indices(SHAPE)
    affine = make_affine("LPS", ZOOMS_MM, (50.0, 60.0, -30.0))
    return Volume((i + 100 * k).astype(np.int16), affine, "a.nii")
