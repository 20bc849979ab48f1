"""`tools/study_compare.py` with a model that is known: it marks what is bright."""

import csv
import json

import numpy as np
import pytest

from spleen_tf.imaging.volume import Volume


@pytest.fixture(scope="module")
def patients(tmp_path_factory, make_affine, make_dataset):
    """Two MR of a body in which a block of 40 × 40 × 40 mm is bright."""
    array_ijk = np.zeros((32, 28, 24), np.int16)
    array_ijk[3:29, 3:25] = 200
    array_ijk[6:16, 9:19, 7:17] = 1000
    volume = Volume(array_ijk, make_affine("RAS", (4.0, 4.0, 4.0)), "")
    return make_dataset(tmp_path_factory.mktemp("patients"), {"a": volume, "b": volume}, "MR")


@pytest.mark.slow
def test_rescans_of_unchanged_patients_are_counted_and_a_second_run_measures_nothing(
    load_tool, patients, exported, tmp_path, monkeypatch
):
    study = load_tool("study_compare")
    config = study.StudyConfig(
        dataset=str(patients),
        model=str(exported["MR"]),
        output_dir=str(tmp_path),
        rescans=2,
        error_percent=10.0,
    )
    study.main(config)
    figures = json.loads((tmp_path / "study.json").read_text())
    assert (figures["cases"], figures["pairs"], figures["not_judged"]) == (2, 6, 0)
    assert figures["beyond_limits"] == 0
    assert figures["limits_percent"] == pytest.approx([-24.21, 31.94], abs=0.01)
    assert figures["alignment_worst_mm"] < 1.0
    rows = list(csv.DictReader((tmp_path / "pairs.csv").read_text().splitlines()))
    assert float(rows[0]["before_ml"]) == pytest.approx(64.0, rel=0.15)

    monkeypatch.setattr(study, "measure", None)
    study.main(config)
    assert json.loads((tmp_path / "study.json").read_text()) == figures
