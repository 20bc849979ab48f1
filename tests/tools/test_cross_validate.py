"""Cross-validation: who is held out, what is resumed, and what is written."""

import csv
import json
import shutil

import dicom_files
import pytest

from spleen_tf.core import files
from spleen_tf.core.files import InputError
from spleen_tf.datasets import cases
from spleen_tf.datasets.cases import Splits

RECIPE = """\
# A network far too small to learn anything.
--image_size=32
--pixel_mm=12
--base_filters=2
--depth=2
--batch_size=2
--steps=2
--steps_per_epoch=2
"""
FUSIONS = ("mean", "mean of logits", "median", "mean weighted by Dice")
CASES = [f"phantom_mr_{number:03d}" for number in range(4)]


@pytest.fixture(scope="module")
def crossed(run_python, tmp_path_factory):
    """A folder with four phantoms, and one fold of two cross-validated in two planes."""
    folder = tmp_path_factory.mktemp("crossed")
    made = run_python(
        *("tools/make_phantom.py", f"--output_dir={folder}/data", "--num_cases=4"),
        *("--modality=MR", "--max_size=64", "--workers=1"),
        timeout_s=300,
    )
    assert made.returncode == 0, made.stderr
    (folder / "axial.flags").write_text(RECIPE)
    (folder / "coronal.flags").write_text(RECIPE + "--learning_rate=5e-4\n")
    done = run_python("tools/cross_validate.py", *command(folder), timeout_s=600)
    assert done.returncode == 0, done.stderr
    return folder


def command(folder, **changes):
    flags = {
        "dataset": folder / "data",
        "flagfile": folder / "{plane}.flags",
        "output_dir": folder / "cv",
        "planes": "axial,coronal",
        "num_folds": 2,
        "folds": 0,
        "override": "precision=float32",
        "jobs": 2,
    }
    return [f"--{name}={value}" for name, value in {**flags, **changes}.items()]


@pytest.fixture
def cross_validate(load_tool, run_main):
    """Runs the program in this process: (exit code, stdout, stderr)."""
    tool = load_tool("cross_validate")

    def run(*argv):
        return run_main(tool.main, tool.CrossValidateConfig, *argv)

    return tool, run


def read_json(path):
    return json.loads(path.read_text())


def rows_of(folder):
    with (folder / "cases.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_every_held_out_case_is_measured_in_each_plane_and_fused(crossed):
    rows = rows_of(crossed / "cv")
    held_out = read_json(crossed / "cv" / "cv.json")["folds"]["0"]
    assert len(held_out) == 2
    assert set(held_out) < set(CASES)
    assert [(row["plane"], row["case"]) for row in rows] == [
        (plane, case) for plane in ("axial", "coronal", "fused") for case in held_out
    ]
    assert all(0 <= float(row["dice"]) <= 1 or row["dice"] == "nan" for row in rows)


def test_no_held_out_case_is_trained_on_or_chooses_weights(crossed):
    held_out = read_json(crossed / "cv" / "cv.json")["folds"]["0"]
    for plane in ("axial", "coronal"):
        training = read_json(crossed / "cv" / "models" / plane / "fold_0" / "training.json")
        assert sorted([*training["train"], *held_out]) == CASES
        assert training["validation"] == {}


def test_other_data_sets_train_in_every_fold_and_are_never_held_out(
    cross_validate, crossed, tmp_path, monkeypatch
):
    tool, run = cross_validate
    with (tmp_path / "others.csv").open("w") as table:
        print("case,image,label,modality", file=table)
        for kind in ("image", "label"):
            (tmp_path / f"{kind}.nii.gz").touch()
        print("other,image.nii.gz,label.nii.gz,CT", file=table)

    def stop(log, *arguments):
        raise InputError(" ".join(arguments))

    monkeypatch.setattr(tool, "_run", stop)
    flags = {"output_dir": tmp_path / "cv", "always_train": tmp_path / "others.csv"}
    _, _, stderr = run(*command(crossed, **flags))
    assert "--dataset=" + str(tmp_path / "cv" / "dataset.csv") in stderr
    with (tmp_path / "cv" / "dataset.csv").open(newline="") as table:
        rows = {row["case"]: row["modality"] for row in csv.DictReader(table)}
    assert rows == {**dict.fromkeys(CASES, "MR"), "other": "CT"}
    splits = read_json(tmp_path / "cv" / "splits" / "fold_0.json")
    assert "other" in splits["train"]
    assert len(splits["train"]) == 3
    assert not (tmp_path / "cv" / "labels" / "other.nii.gz").exists()


def test_a_case_of_two_data_sets_is_refused(cross_validate, crossed, tmp_path):
    _, run = cross_validate
    flags = {"output_dir": tmp_path / "cv", "always_train": crossed / "data"}
    code, _, stderr = run(*command(crossed, **flags))
    assert code == 2
    assert "--always_train: expected cases of other names" in stderr


def test_each_plane_has_its_own_recipe(crossed):
    recipes = read_json(crossed / "cv" / "cv.json")["recipes"]
    assert recipes["axial"]["learning_rate"] == 1e-3
    assert recipes["coronal"]["learning_rate"] == 5e-4
    assert {recipe["precision"] for recipe in recipes.values()} == {"float32"}


def test_results_name_each_plane_with_its_interval(crossed):
    page = (crossed / "cv" / "results.md").read_text()
    summary = read_json(crossed / "cv" / "cv.json")["results"]["fused"]["dice"]
    low, high = summary["ci95"]
    assert f"| fused | {summary['mean']:.3f} ({low:.3f}–{high:.3f}) |" in page


def test_what_is_done_is_not_done_again(crossed, cross_validate, monkeypatch):
    tool, run = cross_validate
    started = []
    monkeypatch.setattr(tool, "_run", lambda log, *arguments: started.append(log.stem))
    code, _, stderr = run(*command(crossed))
    assert code == 0, stderr
    assert started == ["evaluate_axial", "evaluate_coronal", "evaluate_fused"]


def test_a_plane_that_is_added_is_fused_anew(crossed, cross_validate, monkeypatch, tmp_path):
    tool, run = cross_validate
    shutil.copytree(crossed / "cv", tmp_path / "cv", symlinks=True)
    for plane in ("axial", "coronal"):
        shutil.copy(crossed / f"{plane}.flags", tmp_path)
    (tmp_path / "sagittal.flags").write_text(RECIPE)
    plan = json.loads((tmp_path / "cv" / "plan.json").read_text())
    for recipe in plan["recipes"].values():
        del recipe["augment_mass"]  # As in a run from before there was this flag.
    (tmp_path / "cv" / "plan.json").write_text(json.dumps(plan))
    started = []
    monkeypatch.setattr(tool, "_run", lambda log, *arguments: started.append(log.stem))
    monkeypatch.setattr(tool.crossval, "write", lambda *results: "")
    flags = {"flagfile": tmp_path / "{plane}.flags", "output_dir": tmp_path / "cv", "jobs": 1}
    code, _, stderr = run(*command(crossed, **flags, planes="axial,coronal,sagittal"))
    assert code == 0, stderr
    predictions = [name for name in started if name.startswith("predict")]
    assert predictions == ["predict_sagittal_fold_0", "predict_axial_coronal_sagittal_fold_0"]


def test_masks_are_gathered_by_their_whole_names(cross_validate, tmp_path):
    tool, _ = cross_validate
    masks = files.make_folder(tmp_path / "predictions" / "axial")
    for name in ("a.nii.gz", "a.json", "a.b.nii.gz", "a.b.json", "[c].nii", "[c].json"):
        (masks / name).touch()
    folds = [tool.Fold(0, Splits(train=(), validation=("a", "[c]"), seed=0, fold=0, num_folds=2))]
    asked = tool._gather(tmp_path, folds, "axial", ["axial"])
    names = {path.name for path in asked.iterdir()}
    assert names == {"a.nii.gz", "a.json", "[c].nii", "[c].json"}


def test_volumes_may_be_links_into_a_store_of_nameless_files(cross_validate, tmp_path):
    tool, _ = cross_validate
    (tmp_path / "4f2a").touch()
    (tmp_path / "scan.nii.gz").symlink_to(tmp_path / "4f2a")
    table = tmp_path / "data.csv"
    table.write_text("case,image,label,modality\na,scan.nii.gz,scan.nii.gz,MR\n")
    (case,) = cases.load(table)
    fold = tool.Fold(0, Splits(train=(), validation=("a",), seed=0, fold=0, num_folds=2))
    tool._link(tmp_path / "images", fold, {"a": case}, "image")
    assert (tmp_path / "images" / "a.nii.gz").resolve() == tmp_path / "4f2a"


def test_another_recipe_needs_another_folder(crossed, cross_validate):
    _, run = cross_validate
    code, _, stderr = run(*command(crossed, override="learning_rate=1e-2"))
    assert code == 2
    assert "plan.json: expected the same recipes as before to resume, found another" in stderr


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
    crossed, cross_validate, tmp_path, changes, message
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
    code, _, stderr = run(*command(crossed, **{"output_dir": tmp_path / "new", **changes}))
    assert code == 2
    assert stderr.startswith("error: ")
    assert stderr.count("\n") == 1
    assert message in stderr
    assert not (tmp_path / "new" / "plan.json").exists()


def test_ways_to_fuse_what_it_left_are_compared(crossed, run_python, tmp_path):
    done = run_python(
        *("tools/study_fusion.py", f"--cross_validation={crossed / 'cv'}"),
        *(f"--dataset={crossed / 'data'}", f"--output_dir={tmp_path}", "--precision=float32"),
        timeout_s=300,
    )
    assert done.returncode == 0, done.stderr
    rules = [line.split(" | ")[0] for line in done.stdout.split("\n") if line.startswith("| ")]
    assert rules[2:] == [f"| {r}" for r in ("axial", "coronal", *FUSIONS) for _ in range(2)]
    with (tmp_path / "fusion.csv").open(newline="") as table:
        assert len(list(csv.DictReader(table))) == 2 * len(rules[2:]) * 6  # Cases, thresholds.


def test_two_patients_are_too_few_to_calibrate_quality_control(crossed, run_python, tmp_path):
    done = run_python(
        *("tools/study_quality.py", f"--cross_validation={crossed / 'cv'}"),
        *(f"--dataset={crossed / 'data'}", f"--output_dir={tmp_path / 'study'}"),
    )
    assert done.returncode == 2
    assert "expected 4 patients or more to calibrate with, found 2." in done.stderr


def test_a_second_opinion_with_other_folds_would_know_the_patients(crossed, run_python, tmp_path):
    other = shutil.copytree(crossed / "cv", tmp_path / "cv", symlinks=True)
    content = json.loads((other / "cv.json").read_text())
    content["folds"]["0"].pop()
    (other / "cv.json").write_text(json.dumps(content))
    done = run_python(
        *("tools/study_quality.py", f"--cross_validation={crossed / 'cv'}"),
        *(f"--second_opinion={other}", f"--dataset={crossed / 'data'}"),
        f"--output_dir={tmp_path / 'study'}",
    )
    assert done.returncode == 2
    assert f"{other}: expected the folds of {crossed / 'cv'}, found others" in done.stderr
    assert not (tmp_path / "study").exists()


def test_a_training_that_fails_names_its_log_and_what_it_said(crossed, cross_validate, tmp_path):
    _, run = cross_validate
    code, _, stderr = run(
        *command(crossed, output_dir=tmp_path, planes="axial", override="learning_rate=10"),
        "--override=init_from=nowhere",
    )
    assert code == 1
    log = tmp_path / "logs" / "train_axial_fold_0.txt"
    assert stderr.startswith(f"error: {log}: expected exit code 0, found 2: error: nowhere: ")
