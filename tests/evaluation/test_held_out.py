"""What a cross-validation leaves, what is read of it, and what is refused."""

import csv
import json
import math
import re

import pytest

from spleen_tf.core import files
from spleen_tf.core.files import InputError
from spleen_tf.datasets.cases import Case
from spleen_tf.evaluation import held_out, metrics, results
from spleen_tf.evaluation.held_out import CrossValidation, Record
from spleen_tf.evaluation.metrics import CaseMetrics
from spleen_tf.evaluation.protocol import Protocol
from spleen_tf.evaluation.summary import summarize


def cases_named(*names):
    return {name: Case(name, f"{name}.nii", f"{name}_label.nii", "MR") for name in names}


@pytest.fixture
def finished(tmp_path, exported):
    content = {"recipes": {"coronal": {}, "axial": {}}, "folds": {"0": ["a", "b"], "1": ["c"]}}
    content |= {"num_folds": 2, "seed": 0, "a_key_of_another_version": 1}
    (tmp_path / "cv.json").write_text(json.dumps(content))
    for plane in ("axial", "coronal"):
        for fold in ("0", "1"):
            folder = tmp_path / "models" / f"fold_{fold}" / plane
            folder.mkdir(parents=True)
            (folder / "saved_model").symlink_to(exported["MR"])
    return tmp_path


def test_planes_are_sorted_and_patients_counted(finished):
    found = held_out.read(finished, cases_named("a", "b", "c", "d"))
    assert found.planes == ("axial", "coronal")
    assert found.patients == 3


def test_the_models_of_a_fold_are_a_family(finished):
    found = held_out.read(finished, cases_named("a", "b", "c"))
    assert [info.modality for info in found.family("1").infos] == ["MR", "MR"]


def test_a_missing_model_is_told_before_anything_is_done(finished):
    (finished / "models" / "fold_1" / "axial" / "saved_model").unlink()
    with pytest.raises(InputError, match=r"fold_1.axial.saved_model: expected a SavedModel folder"):
        held_out.read(finished, cases_named("a", "b", "c"))


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("[]", "expected `object`, found `array`; give a folder that tools/cross_validate"),
        ('{"num_folds": 2, "seed": 0}', "expected the key 'recipes', found none"),
        ('{"num_folds": "two", "seed": 0}', "expected `int` at $.num_folds, found `str`"),
    ],
)
def test_another_json_is_refused(tmp_path, content, sentence):
    (tmp_path / "cv.json").write_text(content)
    with pytest.raises(InputError, match=f"cv.json: {re.escape(sentence)}"):
        held_out.read(tmp_path, {})


def test_a_folder_of_another_kind_is_refused(tmp_path):
    with pytest.raises(
        InputError, match=r"a folder that tools/cross_validate\.py wrote, found no cv"
    ):
        held_out.read(tmp_path, {})


def test_a_data_set_without_a_held_out_case_is_refused(finished):
    with pytest.raises(InputError, match="found no 'c' among them; give --dataset"):
        held_out.read(finished, cases_named("a", "b"))


def evaluated(folder, dices):
    """What spleen_tf.evaluate leaves of cases with these Dice."""
    undefined = dict.fromkeys(metrics.COLUMNS, float("nan"))
    rows = [CaseMetrics(case, **(undefined | {"dice": dice})) for case, dice in dices.items()]
    models = [results.Model("unet", "112", "0.002")] * len(rows)
    results.write(files.make_folder(folder), models, rows, summarize(rows))
    return folder


def test_what_is_written_is_read_again_and_pooled(finished):
    how = Protocol(num_folds=2, seed=0, recipes={"coronal": {}, "axial": {}}, label_value=2)
    dices = {
        "axial": {"a": 0.5, "b": 0.9, "c": 0.7},
        "coronal": {"a": 0.8, "b": 0.6, "c": math.nan},
    }
    folders = {plane: evaluated(finished / "evaluation" / plane, d) for plane, d in dices.items()}
    held_out_names = {0: ["a", "b"], 1: ["c"]}
    table = held_out.write(finished, how, held_out_names, folders, dict.fromkeys("abc", "MR"))

    content = json.loads((finished / "cv.json").read_text())
    assert [*content] == [
        *("num_folds", "seed", "always_train", "recipes", "first_look", "threshold", "tta"),
        *("label_value", "folds", "results", "volume_intervals"),
    ]
    assert content["results"]["axial"]["dice"]["mean"] == pytest.approx(0.7)
    found = held_out.read(finished, cases_named("a", "b", "c"))
    assert (found.planes, found.record.label_value) == (("axial", "coronal"), 2)
    assert found.held_out == {"0": ("a", "b"), "1": ("c",)}
    flat = {(plane, name): d for plane, of_plane in dices.items() for name, d in of_plane.items()}
    assert held_out.dices(found) == pytest.approx(flat, nan_ok=True)
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
            "expected the columns plane, case, dice, as tools/cross_validate.py writes them, found",
        ),
        (
            "plane,case,dice\naxial,a,\n",
            "found others (Expected `float`, got `str` - at `$[0].dice`); run it again",
        ),
        ("plane,case,dice\naxial,a,0.9\n", "expected a row for 'b' in plane axial, found none"),
    ],
)
def test_a_table_that_does_not_hold_the_dice_is_refused(tmp_path, content, message):
    if content is not None:
        (tmp_path / "cases.csv").write_text(content)
    folds = {"0": ("a",), "1": ("b",)}
    record = Record(num_folds=2, seed=0, recipes={"axial": {}}, folds=folds)
    validated = CrossValidation(tmp_path, record)
    with pytest.raises(InputError) as refused:
        held_out.dices(validated)
    assert message in str(refused.value)
    assert str(tmp_path) in str(refused.value)
