"""The picture for viewers that show no segmentation: what it says, and how it is laid out."""

import msgspec
import numpy as np
import pytest

from spleen_tf.imaging.volume import Volume
from spleen_tf.inference.prediction import Prediction, PredictionRecord
from spleen_tf.reporting import panels, snapshot

MASK = np.zeros((12, 10, 8), bool)
MASK[2:6, 3:7, 2:6] = True
IMAGE = Volume(np.where(MASK, 150, 0).astype(np.int16), np.diag([2.0, 2.0, 3.0, 1.0]), "DOE.nii")
RECORD = PredictionRecord(
    voxels=64,
    volume_ml=182.34,
    volume_mm3=182340.0,
    volume_ml_interval=(170.0, 199.96),
    bounding_box_ijk=((2, 5), (3, 6), (2, 5)),
    centroid_ras_mm=(7.0, 9.0, 10.5),
    complete=True,
    mean_intensity=150.0,
    length_mm=105.2,
    width_mm=98.4,
    thickness_mm=40.0,
    splenic_index_ml=414.1,
    components=1,
    modality="CT",
    predicted_dice=None,
    predicted_dice_interval=None,
    predicted_dice_note=None,
    review=False,
    reasons=(),
    model="spleen_ct_axial",
    image_size=32,
    learning_rate=0.001,
    version="1.2.0",
    software="spleen_tf 0.3.0",
)


def lines(**changes):
    return snapshot.figure_lines(msgspec.structs.replace(RECORD, **changes), "spleen_ct")


def test_it_has_the_measures_the_model_and_the_versions():
    assert lines() == [
        "Spleen: 182.3 mL (90% interval 170.0 to 200.0 mL)",
        "length 105 mm, width 98 mm, thickness 40 mm, splenic index 414 mL",
        "spleen_ct 1.2.0, spleen_tf 0.3.0",
    ]


@pytest.mark.parametrize(
    ("changes", "first_line"),
    [
        ({"volume_ml_interval": None}, "Spleen: 182.3 mL"),
        (
            {"volume_ml_interval": None, "complete": False},
            "Spleen: 182.3 mL, at least: cut off by the edge of the volume",
        ),
        ({"volume_ml_interval": None, "voxels": 0, "complete": None}, "Spleen: none found"),
    ],
)
def test_the_volume_is_said_as_far_as_it_is_known(changes, first_line):
    assert lines(**changes)[0] == first_line


def test_an_empty_mask_has_no_lengths():
    sizes = ("length_mm", "width_mm", "thickness_mm", "splenic_index_ml")
    assert len(lines(voxels=0, volume_ml_interval=None, **dict.fromkeys(sizes))) == 2


def draw(**changes):
    record = msgspec.structs.replace(RECORD, **changes)
    prediction = Prediction(MASK, record, "spleen_ct", (-160.0, 240.0), {})
    return snapshot.draw(IMAGE, prediction, window=(-160.0, 240.0), modality="CT")


def test_a_banner_stands_above_the_planes_and_the_outline_in_them():
    picture_hwc = draw()
    assert picture_hwc.dtype == np.uint8
    assert picture_hwc.shape[1:] == (1500, 3)
    is_amber = (picture_hwc == panels.PREDICTION_RGB).all(axis=2)
    assert is_amber[:44, -100:].all()  # The banner, right of its text.
    assert is_amber[44:].any()  # The outline.


def test_reasons_for_a_review_are_added_below():
    """A line has 30 pixels; the text of 150 letters is broken into two."""
    reasons = ("components: " + "two " * 30,)
    assert len(draw(review=True, reasons=reasons)) == len(draw()) + 2 * 30
