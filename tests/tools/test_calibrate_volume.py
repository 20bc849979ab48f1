"""A released family's quality.json gets the interval of its volumes."""

import json
import pathlib
import shutil

import pytest

from spleen_tf.quality import calibration

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture
def run(load_tool, run_main):
    tool = load_tool("calibrate_volume")
    return lambda *argv: run_main(tool.main, tool.CalibrateVolumeConfig, *argv)


def test_the_interval_is_that_of_the_held_out_cases(run, tmp_path):
    """Of 14 MR cases the largest error counts: 295.0 mL were found where 222.7 mL are true."""
    family = ROOT / "models" / "spleen_mr_t2"
    quality = tmp_path / "quality.json"
    shutil.copy(family / "quality.json", quality)
    before = json.loads(quality.read_text())
    code, stdout, stderr = run(f"--cross_validation={family}", f"--quality={quality}")
    assert code == 0, stderr
    assert "from 14 cases; 13 lie in the interval that the others give" in stdout
    after = json.loads(quality.read_text())
    assert {**before, "volume_intervals": after["volume_intervals"]} == after
    reach = calibration.read(quality).volume_intervals["MR"].scaled_error * 0.02
    assert reach == pytest.approx((295.006 - 222.686) / 295.006, abs=1e-4)


def test_too_few_cases_are_rejected(run, tmp_path):
    quality = tmp_path / "quality.json"
    shutil.copy(ROOT / "models" / "spleen_mr_t2" / "quality.json", quality)
    before = quality.read_bytes()
    (tmp_path / "cases.csv").write_text("plane,case,truth_mm3,pred_mm3\nfused,a,1,1\n")
    code, _, stderr = run(f"--cross_validation={tmp_path}", f"--quality={quality}")
    assert code == 2
    assert "expected 10 cases or more of CT or of MR" in stderr
    assert quality.read_bytes() == before
