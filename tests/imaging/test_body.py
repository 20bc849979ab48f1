"""Where a patient is found in a volume."""

import numpy as np
import pytest

from spleen_tf.imaging import body
from spleen_tf.imaging.volume import Volume, VolumeError

AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])


def test_the_body_includes_its_lungs_and_leaves_out_a_couch():
    hu = np.full((30, 30, 20), -1000, np.int16)
    hu[5:25, 10:25] = 40
    hu[10:20, 14:20, 5:15] = -850  # Lungs.
    hu[3:27, 5] = 200  # A couch, one voxel thick.
    mask = body.find(Volume(hu, AFFINE, "a"))
    assert mask.array_ijk[15, 17, 10]
    assert not mask.array_ijk[:, :8].any()
    # The body and a voxel around it.
    assert 20 * 15 * 20 <= mask.array_ijk.sum() <= 22 * 17 * 20


def test_nothing_but_air_has_no_body():
    air = Volume(np.full((20, 20, 20), -1000, np.int16), AFFINE, "air.nii.gz")
    with pytest.raises(VolumeError, match=r"air\.nii\.gz: expected a patient's body, found"):
        body.find(air)
