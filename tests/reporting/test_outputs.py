"""Each file that was asked for is written, and no other."""

import numpy as np
import pytest

from spleen_tf.imaging.volume import Volume
from spleen_tf.reporting import outputs

MASK = np.zeros((12, 10, 8), bool)
MASK[2:6, 3:7, 2:6] = True
IMAGE = Volume(np.where(MASK, 150, 0).astype(np.int16), np.diag([2.0, 2.0, 3.0, 1.0]), "a.nii")
RESULT = {
    "voxels": 64,
    "volume_ml": 0.768,
    "volume_mm3": 768.0,
    "complete": True,
    "mean_intensity": 150.0,
    "components": 1,
    "predicted_dice": None,
    "predicted_dice_note": None,
    "review": False,
    "reasons": [],
    "model": "a model",
    "version": "1.0.0",
}
NAMES = {"preview": "a.png", "report": "a.html", "mesh": "a.stl"}


@pytest.mark.parametrize("kind", NAMES)
def test_only_what_was_asked_for_is_written(tmp_path, kind):
    places = {kind: tmp_path / NAMES[kind]}
    outputs.write(places, IMAGE, MASK, RESULT, outputs.How("CT"))
    assert [path.name for path in tmp_path.iterdir()] == [NAMES[kind]]


def test_an_empty_mask_has_no_surface_and_takes_an_earlier_one_away(tmp_path):
    places = {"mesh": tmp_path / "a.stl"}
    outputs.write(places, IMAGE, MASK, RESULT, outputs.How("CT"))
    assert places["mesh"].is_file()
    outputs.write(places, IMAGE, MASK & False, RESULT | {"voxels": 0}, outputs.How("CT"))
    assert not places["mesh"].exists()


def test_a_smoothed_surface_is_another(tmp_path):
    for name, smooth in (("plain.stl", False), ("smooth.stl", True)):
        how = outputs.How("CT", smooth=smooth)
        outputs.write({"mesh": tmp_path / name}, IMAGE, MASK, RESULT, how)
    assert (tmp_path / "plain.stl").read_bytes() != (tmp_path / "smooth.stl").read_bytes()
