"""The part of a page that compares two examinations."""

import dataclasses

import numpy as np
import pytest

from spleen_tf import predict
from spleen_tf.imaging.volume import Volume
from spleen_tf.inference import model_files, prediction, released
from spleen_tf.io import nifti
from spleen_tf.jobs.config import PredictConfig
from spleen_tf.reporting import comparison, report

AFFINE = np.diag([5.0, 5.0, 8.0, 1.0])  # A voxel has 0.2 mL.


def block(width):
    """A mask of 8 × 8 voxels by a width, away from every edge: 12.8 mL per voxel of width."""
    mask_ijk = np.zeros((30, 24, 16), bool)
    mask_ijk[6 : 6 + width, 8:16, 4:12] = True
    return mask_ijk


@pytest.fixture
def later(tmp_path, save_json):
    """The record of a mask of 128 mL by models that were not released."""
    return prediction.read(save_json(tmp_path / "later.json", 128.0))


@pytest.fixture
def image():
    array_ijk = np.full((30, 24, 16), -100, np.int16)
    return Volume(array_ijk, AFFINE, "DOE_JANE.nii")


@pytest.fixture
def before(tmp_path):
    path = tmp_path / "DOE_JANE_2024.nii.gz"
    nifti.write(path, Volume(block(8).astype(np.uint8), AFFINE, ""))
    return path


def test_the_part_has_both_volumes_and_the_change(before, image, later):
    """102.4 and 128 mL: +25.6 mL, a quarter."""
    part = comparison.earlier(before, None, image, block(10), later)
    for text in ("102.4 mL", "128.0 mL", "+25.6 mL", "+25.0%"):
        assert text in part
    assert "The change cannot be judged" in part
    assert "no measurement error is known for a mask without JSON and mine 1.0.0 on MR" in part
    assert "data:image" not in part


@pytest.mark.parametrize(
    ("before_ml", "review", "heading", "kind"),
    [
        (120.0, False, "The change is within the error of measurement<", "calm"),
        (40.0, False, "The change is beyond the error of measurement<", "alert"),
        (120.0, True, "The change is within the error of measurement, if both masks are", "alert"),
        (40.0, True, "The change is beyond the error of measurement, if both masks are", "alert"),
    ],
)
def test_a_result_that_asks_for_a_review_is_not_taken_for_right(
    tmp_path, save_json, image, before_ml, review, heading, kind
):
    """128 mL after 120 or 40 mL, by a family whose limits are -33.5% and +50.3%."""
    infos = list(model_files.find([released.find("spleen_mr_t2")]).values())
    model = {"model": " + ".join(info.name for info in infos), "version": infos[0].version}
    before = save_json(tmp_path / "before.json", before_ml, **model)
    reasons = ["low predicted Dice: 0.20, below 0.75"] if review else []
    later = save_json(tmp_path / "later.json", 128.0, **model, review=review, reasons=reasons)
    later = prediction.read(later)
    part = comparison.earlier(before, None, image, block(10), later)
    assert f"<h2>{heading}" in part
    assert f'class="notice {kind}"' in part
    assert ("low predicted Dice" in part) is review


def test_it_is_part_of_the_page_of_a_prediction_and_names_no_file(before, image, later):
    part = comparison.earlier(before, None, image, block(10), later)
    page = report.prediction(
        image, block(10), later, window=(-160.0, 240.0), modality="CT", earlier=part
    )
    assert part in page
    assert "DOE" not in page


def test_without_an_earlier_examination_the_page_has_no_such_part(image, later):
    page = report.prediction(image, block(10), later, window=(-160.0, 240.0), modality="CT")
    assert "Earlier and later" not in page


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"before": "{before}"}, "--before: expected together with --report, found it alone"),
        ({"before_image": "{before}"}, "--before_image: expected together with --before, found"),
        ({"before": "none.nii", "report": "r.html"}, "none.nii: expected a NIfTI file, found no"),
        (
            {"before": "{before}", "report": "r.html", "before_image": "{scan}"},
            "expected shape (4, 5, 6) as in",
        ),
    ],
)
def test_predict_looks_at_the_earlier_files_first(
    run_main, tmp_path, before, image, flags, message
):
    scan = tmp_path / "scan.nii"
    small = dataclasses.replace(image, array_ijk=np.zeros((4, 5, 6), np.int16))
    nifti.write(scan, small)
    given = [f"--{k}={v}".format(before=before, scan=scan) for k, v in flags.items()]
    output = tmp_path / "out.nii.gz"
    code, _, err = run_main(
        predict.main, PredictConfig, f"--input={scan}", f"--output={output}", *given
    )
    assert code == 2
    assert message in err
    assert not output.exists()
