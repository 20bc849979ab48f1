"""Each file that was asked for is written, and no other."""

import msgspec
import numpy as np
import pytest

from spleen_tf.imaging.volume import Volume
from spleen_tf.inference.prediction import Prediction, PredictionRecord
from spleen_tf.quality.measurements import Intensity
from spleen_tf.quality.reference import Reference
from spleen_tf.reporting import outputs
from spleen_tf.reporting.outputs import Style

MASK = np.zeros((12, 10, 8), bool)
MASK[2:6, 3:7, 2:6] = True
IMAGE = Volume(np.where(MASK, 150, 0).astype(np.int16), np.diag([2.0, 2.0, 3.0, 1.0]), "a.nii")
RECORD = PredictionRecord(
    voxels=64,
    volume_ml=0.768,
    volume_mm3=768.0,
    bounding_box_ijk=((2, 5), (3, 6), (2, 5)),
    centroid_ras_mm=(7.0, 9.0, 10.5),
    complete=True,
    mean_intensity=150.0,
    length_mm=12.0,
    width_mm=10.0,
    thickness_mm=8.0,
    splenic_index_ml=0.96,
    intensity=Intensity(mean=150.0, sd=3.0, median=150.0, p5=145.0, p95=155.0),
    volume_ml_interval=(0.7, 0.8),
    volume_reference=Reference(
        population="adults", source="a paper", low_ml=100.0, high_ml=300.0, place="below"
    ),
    components=1,
    modality="CT",
    modality_reason="the model is for CT",
    predicted_dice=0.9,
    predicted_dice_interval=(0.8, 1.0),
    predicted_dice_note=None,
    evidence=None,
    review=True,
    reasons=("one", "two"),
    model="a model",
    image_size=32,
    learning_rate=0.001,
    version="1.0.0",
    software="spleen_tf",
)
PREDICTION = Prediction(MASK, RECORD, "a family", (-160.0, 240.0), {})
NAMES = {"preview": "a.png", "report": "a.html", "mesh": "a.stl", "seg_nrrd": "a.seg.nrrd"}


@pytest.mark.parametrize("kind", NAMES)
def test_only_what_was_asked_for_is_written(tmp_path, kind):
    outputs.write({kind: tmp_path / NAMES[kind]}, IMAGE, PREDICTION)
    assert [path.name for path in tmp_path.iterdir()] == [NAMES[kind]]


def test_an_empty_mask_has_no_surface_and_takes_an_earlier_one_away(tmp_path):
    places = {"mesh": tmp_path / "a.stl"}
    outputs.write(places, IMAGE, PREDICTION)
    assert places["mesh"].is_file()
    empty = msgspec.structs.replace(RECORD, voxels=0)
    outputs.write(places, IMAGE, Prediction(MASK & False, empty, "a family", (0.0, 1.0), {}))
    assert not places["mesh"].exists()


def test_a_smoothed_surface_is_another(tmp_path):
    for name, smooth in (("plain.stl", False), ("smooth.stl", True)):
        outputs.write({"mesh": tmp_path / name}, IMAGE, PREDICTION, Style(smooth=smooth))
    assert (tmp_path / "plain.stl").read_bytes() != (tmp_path / "smooth.stl").read_bytes()


def test_a_row_of_the_table_has_the_bounds_of_the_interval_and_the_reasons_in_one_cell():
    assert outputs.row("a", RECORD) == {
        "case": "a",
        "volume_ml": 0.768,
        "volume_ml_low": 0.7,
        "volume_ml_high": 0.8,
        "volume_place": "below",
        "complete": True,
        "length_mm": 12.0,
        "width_mm": 10.0,
        "thickness_mm": 8.0,
        "splenic_index_ml": 0.96,
        "mean_intensity": 150.0,
        "sd_intensity": 3.0,
        "modality": "CT",
        "predicted_dice": 0.9,
        "predicted_dice_low": 0.8,
        "predicted_dice_high": 1.0,
        "review": True,
        "predicted_dice_note": None,
        "reasons": "one; two",
    }
