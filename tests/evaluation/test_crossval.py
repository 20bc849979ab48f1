"""What a cross-validation leaves, what is read of it, and the words in which others are refused."""

import csv
import json
import math

import pytest

from spleen_tf.core import files
from spleen_tf.core.files import InputError
from spleen_tf.datasets.cases import Case
from spleen_tf.evaluation import crossval, metrics, results


def cases_named(*names):
    return {name: Case(name, f"{name}.nii", f"{name}_label.nii", "MR") for name in names}


@pytest.fixture
def finished(tmp_path, exported):
    content = {"recipes": {"coronal": {}, "axial": {}}, "folds": {"0": ["a", "b"], "1": ["c"]}}
    (tmp_path / "cv.json").write_text(json.dumps(content))
    for plane in ("axial", "coronal"):
        for fold in ("0", "1"):
            folder = tmp_path / "models" / plane / f"fold_{fold}"
            folder.mkdir(parents=True)
            (folder / "saved_model").symlink_to(exported["MR"])
    return tmp_path


def test_planes_are_sorted_and_patients_counted(finished):
    found = crossval.read(finished, cases_named("a", "b", "c", "d"))
    assert found.planes == ("axial", "coronal")
    assert found.patients == 3


def test_the_models_of_a_fold_are_loaded(finished):
    found = crossval.read(finished, cases_named("a", "b", "c"))
    assert [member.info["modality"] for member in found.members("1")] == ["MR", "MR"]


def test_a_missing_model_is_told_before_anything_is_done(finished):
    (finished / "models" / "axial" / "fold_1" / "saved_model").unlink()
    with pytest.raises(InputError, match=r"axial.fold_1.saved_model: expected a SavedModel folder"):
        crossval.read(finished, cases_named("a", "b", "c"))


@pytest.mark.parametrize("content", ["[]", "{}", '{"folds": {}}'])
def test_another_json_is_refused(tmp_path, content):
    (tmp_path / "cv.json").write_text(content)
    with pytest.raises(InputError, match="expected the keys recipes and folds, found others"):
        crossval.read(tmp_path, {})


def test_a_folder_of_another_kind_is_refused(tmp_path):
    with pytest.raises(
        InputError, match=r"a folder that tools/cross_validate\.py wrote, found no cv"
    ):
        crossval.read(tmp_path, {})


def test_a_data_set_without_a_held_out_case_is_refused(finished):
    with pytest.raises(InputError, match="found no 'c' among them; give --dataset"):
        crossval.read(finished, cases_named("a", "b"))


def test_every_case_is_held_out_once_whatever_split_the_data_set_gives_it():
    listed = [Case(f"c{n}", "i.nii", "l.nii", modality="MR", split="train") for n in range(5)]
    dealt = crossval.deal(listed, seed=0, num_folds=3)
    assert list(dealt) == [0, 1, 2]
    held_out = sorted(name for splits in dealt.values() for name in splits.validation)
    assert held_out == [case.name for case in listed]
    assert crossval.deal(listed, 0, 3, "2,0") == {2: dealt[2], 0: dealt[0]}


def evaluated(folder, dices):
    """What spleen_tf.evaluate leaves of cases with these Dice."""
    rows = [{**dict.fromkeys(metrics.COLUMNS, float("nan")), "dice": d} for d in dices.values()]
    models = [results.Model("unet", "112", "0.002")] * len(rows)
    results.write(files.make_folder(folder), list(dices), models, rows, metrics.summary(rows))
    return folder


def test_what_is_written_is_read_again_and_pooled(finished):
    about = {"recipes": {"coronal": {}, "axial": {}}, "label_value": 2}
    about |= {"num_folds": 2, "seed": 0, "threshold": 0.5, "tta": False}
    held_out = {0: ["a", "b"], 1: ["c"]}
    dices = {
        "axial": {"a": 0.5, "b": 0.9, "c": 0.7},
        "coronal": {"a": 0.8, "b": 0.6, "c": math.nan},
    }
    folders = {plane: evaluated(finished / "evaluation" / plane, d) for plane, d in dices.items()}
    table = crossval.write(finished, about, held_out, folders)

    found = crossval.read(finished, cases_named("a", "b", "c"))
    assert (found.planes, found.label_value) == (("axial", "coronal"), 2)
    assert found.held_out == {"0": ["a", "b"], "1": ["c"]}
    flat = {(plane, name): d for plane, of_plane in dices.items() for name, d in of_plane.items()}
    assert crossval.dices(found) == pytest.approx(flat, nan_ok=True)
    with (finished / "cases.csv").open(newline="") as rows:
        pooled = [
            (r["plane"], r["fold"], r["case"], float(r["dice"])) for r in csv.DictReader(rows)
        ]
    assert pooled[2] == ("axial", "1", "c", 0.7)
    assert pooled[3] == ("coronal", "0", "a", 0.8)
    page = (finished / "results.md").read_text()
    assert table in page
    assert (
        "Each of 3 cases was segmented by models that did not train on it (2 folds, seed 0)" in page
    )
    assert page.endswith(
        "- 0.5000 axial a\n- 0.6000 coronal b\n"
        "- 0.7000 axial c\n- 0.8000 coronal a\n- 0.9000 axial b\n- nan coronal c\n"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "cases.csv: expected what tools/cross_validate.py wrote, found no such file"),
        (
            "plane;case;dice\naxial;a;0.9\n",
            "case and dice (numbers), found others ('plane')",
        ),
        (
            "plane,case,dice\naxial,a,\n",
            "case and dice (numbers), found others (could not",
        ),
        ("plane,case,dice\naxial,a,0.9\n", "expected a row for 'b' in plane axial, found none"),
    ],
)
def test_a_table_that_does_not_hold_the_dice_is_refused(tmp_path, content, message):
    if content is not None:
        (tmp_path / "cases.csv").write_text(content)
    validated = crossval.CrossValidation(tmp_path, ("axial",), {"0": ["a"], "1": ["b"]}, 0)
    with pytest.raises(InputError) as refused:
        crossval.dices(validated)
    assert message in str(refused.value)
    assert str(tmp_path) in str(refused.value)
