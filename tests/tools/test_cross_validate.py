"""The cross-validation's command line; and a real run, on which the studies go on."""

import csv
import dataclasses
import json
import shutil

import dicom_files
import pytest

RECIPE = """\
# A network far too small to learn anything.
--image_size=32
--pixel_mm=12
--base_filters=2
--depth=1
--batch_size=2
--steps=2
--steps_per_epoch=2
"""
FUSIONS = ("mean", "mean of logits", "median", "mean weighted by Dice")
NAMES = ("a", "b", "c", "d")


def flags_of(folder, **changes):
    values = {
        "dataset": folder / "data",
        "flagfile": folder / "{plane}.flags",
        "output_dir": folder / "cv",
        "planes": "axial,coronal",
        "num_folds": 2,
        "folds": 0,
        "override": "precision=float32",
        "jobs": 2,
    }
    return [f"--{name}={value}" for name, value in {**values, **changes}.items()]


@pytest.fixture(scope="module")
def prepared(make_dataset, make_volume, tmp_path_factory):
    """A folder with a data set of four MR cases and a recipe per plane."""
    folder = tmp_path_factory.mktemp("prepared")
    patient = make_volume(shape=(24, 20, 16), zooms_mm=(12, 12, 12))
    # The same image to train and to validate with is rejected.
    volumes = {
        name: dataclasses.replace(patient, array_ijk=patient.array_ijk + number)
        for number, name in enumerate(NAMES)
    }
    make_dataset(folder / "data", volumes, modality="MR")
    (folder / "axial.flags").write_text(RECIPE)
    (folder / "coronal.flags").write_text(RECIPE + "--learning_rate=5e-4\n")
    return folder


@pytest.fixture(scope="module")
def crossed(prepared, run_python):
    """The same folder, after one fold of two was cross-validated in two planes."""
    done = run_python("tools/cross_validate.py", *flags_of(prepared), timeout_s=600)
    assert done.returncode == 0, done.stderr
    return prepared, done


@pytest.fixture
def cross_validate(load_tool, run_main):
    """Runs the program in this process: (exit code, stdout, stderr)."""
    tool = load_tool("cross_validate")

    def run(*argv):
        return run_main(tool.main, tool.CrossValidateConfig, *argv)

    return tool, run


def read_json(path):
    return json.loads(path.read_text())


def test_each_plane_has_its_own_recipe(cross_validate, prepared, tmp_path, monkeypatch):
    tool, run = cross_validate
    setups = []
    monkeypatch.setattr(tool.crossval, "run", lambda setup: setups.append(setup) or "the table")
    code, stdout, _ = run(*flags_of(prepared, output_dir=tmp_path), "--minutes=3")
    assert (code, stdout) == (0, "the table\n")
    (setup,) = setups
    recipes = setup.protocol.recipes
    assert [recipes[plane]["learning_rate"] for plane in ("axial", "coronal")] == [1e-3, 5e-4]
    assert {recipe["precision"] for recipe in recipes.values()} == {"float32"}
    assert setup.recipes["axial"] == [
        *(f"--flagfile={prepared / 'axial.flags'}", "--precision=float32", "--minutes=3"),
    ]


def test_a_case_of_two_data_sets_is_refused(cross_validate, prepared, tmp_path):
    _, run = cross_validate
    flags = {"output_dir": tmp_path / "cv", "always_train": prepared / "data"}
    code, _, stderr = run(*flags_of(prepared, **flags))
    assert code == 2
    assert "--always_train: expected cases of other names" in stderr


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"planes": "axial,oblique"}, "--planes: expected some of "),
        ({"planes": "axial,axial"}, "--planes: expected some of "),
        ({"folds": "2"}, "--folds: expected numbers from 0 to 1, once each, found '2'"),
        ({"folds": "a"}, "--folds: expected numbers from 0 to 1, once each, found 'a'"),
        ({"num_folds": 9}, "--num_folds: expected at most 4, the number of cases, found 9"),
        ({"override": "no_such_flag=1"}, "no_such_flag"),
        ({"override": "depth=7"}, "--image_size: expected a multiple of 128"),
        ({"flagfile": "nowhere.flags"}, "nowhere.flags: expected a file of flags"),
        ({"dataset": "nowhere"}, "nowhere: expected a data set's folder"),
        ({"dataset": "dicom.csv"}, "scan: expected NIfTI to cross-validate with, found DICOM"),
        ({"dataset": "nameless.csv"}, "4f2a: expected a name that ends in .nii or .nii.gz"),
        ({"always_train": "nameless.csv"}, "expected a data set that says CT or MR of its cases"),
    ],
)
def test_a_wrong_command_line_is_told_in_one_line(
    prepared, cross_validate, tmp_path, changes, message
):
    _, run = cross_validate
    if changes.get("dataset") == "dicom.csv":
        dicom_files.write_series(tmp_path / "scan", dicom_files.ramp())
        (tmp_path / "label.nii").touch()
        changes = {"dataset": tmp_path / "dicom.csv"}
        changes["dataset"].write_text("case,image,label\na,scan,label.nii\n")
    for name in ("4f2a", "label.nii"):
        (tmp_path / name).touch()
    (tmp_path / "nameless.csv").write_text("case,image,label\na,4f2a,label.nii\n")
    changes = {k: tmp_path / v if v == "nameless.csv" else v for k, v in changes.items()}
    if "dataset" in changes:
        changes["modality"] = "MR"
    code, _, stderr = run(*flags_of(prepared, **{"output_dir": tmp_path / "new", **changes}))
    assert code == 2
    assert stderr.startswith("error: ")
    assert stderr.count("\n") == 1
    assert message in stderr
    assert not (tmp_path / "new" / "plan.json").exists()


@pytest.mark.slow
def test_real_models_are_trained_without_the_cases_that_they_are_measured_on(crossed):
    folder, done = crossed
    record = read_json(folder / "cv" / "cv.json")
    held_out = record["folds"]["0"]
    for plane in ("axial", "coronal"):
        training = read_json(folder / "cv" / "models" / "fold_0" / plane / "training.json")
        assert sorted([*training["train"], *held_out]) == list(NAMES)
        assert not training["validation"]
    with (folder / "cv" / "cases.csv").open(newline="") as stream:
        rows = [(row["plane"], row["case"]) for row in csv.DictReader(stream)]
    assert rows == [(p, name) for p in ("axial", "coronal", "fused") for name in held_out]
    assert set(record["results"]) == {"axial", "coronal", "fused"}
    assert done.stdout in (folder / "cv" / "results.md").read_text()


@pytest.mark.slow
def test_a_training_that_fails_names_its_log_and_what_it_said(prepared, cross_validate, tmp_path):
    _, run = cross_validate
    code, _, stderr = run(
        *flags_of(prepared, output_dir=tmp_path, planes="axial"), "--override=init_from=nowhere"
    )
    assert code == 1
    log = tmp_path / "logs" / "train_axial_fold_0.txt"
    assert stderr.startswith(f"error: {log}: expected exit code 0, found 2: error: nowhere: ")


@pytest.mark.slow
def test_ways_to_fuse_its_models_are_compared(crossed, run_python, tmp_path):
    folder, _ = crossed
    done = run_python(
        *("tools/study_fusion.py", f"--cross_validation={folder / 'cv'}"),
        *(f"--dataset={folder / 'data'}", f"--output_dir={tmp_path}", "--precision=float32"),
        timeout_s=300,
    )
    assert done.returncode == 0, done.stderr
    rules = [line.split(" | ")[0] for line in done.stdout.split("\n") if line.startswith("| ")]
    assert rules[2:] == [f"| {r}" for r in ("axial", "coronal", *FUSIONS) for _ in range(2)]
    with (tmp_path / "fusion.csv").open(newline="") as table:
        assert len(list(csv.DictReader(table))) == 2 * len(rules[2:]) * 6  # Cases, thresholds.


@pytest.mark.slow
def test_two_patients_are_too_few_to_calibrate_quality_control(crossed, run_python, tmp_path):
    folder, _ = crossed
    done = run_python(
        *("tools/study_quality.py", f"--cross_validation={folder / 'cv'}"),
        *(f"--dataset={folder / 'data'}", f"--output_dir={tmp_path / 'study'}"),
    )
    assert done.returncode == 2
    assert "expected 4 patients or more to calibrate with, found 2." in done.stderr


@pytest.mark.slow
def test_a_second_opinion_with_other_folds_would_know_the_patients(crossed, run_python, tmp_path):
    folder, _ = crossed
    other = shutil.copytree(folder / "cv", tmp_path / "cv", symlinks=True)
    content = read_json(other / "cv.json")
    content["folds"]["0"].pop()
    (other / "cv.json").write_text(json.dumps(content))
    done = run_python(
        *("tools/study_quality.py", f"--cross_validation={folder / 'cv'}"),
        *(f"--second_opinion={other}", f"--dataset={folder / 'data'}"),
        f"--output_dir={tmp_path / 'study'}",
    )
    assert done.returncode == 2
    assert f"{other}: expected the folds of {folder / 'cv'}, found others" in done.stderr
    assert not (tmp_path / "study").exists()
