"""The study of quality control: what it writes of cases that were measured before."""

import csv
import json

import pytest

from spleen_tf.core import files
from spleen_tf.evaluation.held_out import CrossValidation, Record
from spleen_tf.evaluation.quality_study import Measurement
from spleen_tf.inference.family import Family
from spleen_tf.quality import calibration
from spleen_tf.quality.evidence import Evidence

DICES = {"a": 0.95, "b": 0.9, "c": 0.85, "d": 0.4}


def measurement(case, corruption, dice):
    """Evidence that says just what the Dice is."""
    evidence = Evidence(
        **dict.fromkeys(("certainty", "agreement", "weakest", "main_share", "smoothness"), dice),
        brightness=0.5,
    )
    return Measurement(case, corruption, dice, {}, (), evidence, False, 0.5)


@pytest.fixture
def study(load_tool, run_main, make_dataset, tmp_path, monkeypatch):
    """Runs the program on a cross-validation whose cases are measured already."""
    tool = load_tool("study_quality")
    make_dataset(tmp_path / "data", "abcd", modality="MR")
    folds = {"0": ("a", "b"), "1": ("c", "d")}
    record = Record(num_folds=2, seed=0, recipes={"coronal": {}}, folds=folds)
    validated = CrossValidation(tmp_path / "cv", record)
    volumes = {"truth_mm3": 200_000.0, "pred_mm3": 190_000.0}
    files.write_csv(
        tmp_path / "cv" / "cases.csv", [{"plane": "coronal", "case": c, **volumes} for c in "abcd"]
    )
    monkeypatch.setattr(tool.held_out, "read", lambda folder, cases: validated)
    monkeypatch.setattr(CrossValidation, "family", lambda self, fold: Family(fold, ()))
    for case, dice in DICES.items():
        rows = [measurement(case, "none", dice), measurement(case, "noise", dice - 0.3)]
        files.write_json(tmp_path / "study" / "measured" / f"{case}.json", rows)

    def run(**flags):
        given = {"cross_validation": "cv", "dataset": tmp_path / "data", **flags}
        given.setdefault("output_dir", tmp_path / "study")
        argv = (f"--{name}={value}" for name, value in given.items())
        return run_main(tool.main, tool.StudyConfig, *argv)

    return run


def test_figures_table_and_calibration_are_written(study, tmp_path):
    code, stdout, stderr = study()
    assert code == 0, stderr
    folder = tmp_path / "study"
    assert stdout.rstrip("\n") == (folder / "study.md").read_text().rstrip("\n")
    content = json.loads((folder / "study.json").read_text())
    # Below 0.8 are d, and all four with noise. The predicted Dice finds them.
    assert content["all"]["failures_flagged"]["total"] == 5
    assert content["all"]["predictions"] == 8
    curve = content["all"]["risk_coverage"]
    assert curve["aurc"] == pytest.approx(curve["ideal_aurc"], abs=0.02)
    assert content["by_modality"] == {}
    with (folder / "study.csv").open(newline="") as table:
        rows = list(csv.DictReader(table))
    assert [(row["case"], row["corruption"]) for row in rows][:3] == [
        *(("a", "none"), ("a", "noise"), ("b", "none")),
    ]
    assert {row["modality"] for row in rows} == {"MR"}
    learnt = calibration.read(folder / "quality.json")
    assert (learnt.members, learnt.modality) == (1, "MR")


def test_another_study_needs_another_folder(study):
    assert study()[0] == 0
    code, _, stderr = study(seed=1)
    assert code == 2
    assert "plan.json: expected the same seed as before (0) to resume, found 1" in stderr


def test_a_measured_case_that_is_damaged_is_named_with_its_remedy(study, tmp_path):
    (tmp_path / "study" / "measured" / "b.json").write_text('[{"case": "b"}]')
    code, _, stderr = study()
    assert code == 2
    assert "b.json: expected the key 'corruption'" in stderr
    assert stderr.rstrip().endswith("remove it, and it is measured again.")
