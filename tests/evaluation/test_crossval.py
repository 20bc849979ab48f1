"""The run of a cross-validation: who is held out, what is resumed, and what is written.

Training, export and prediction leave what they would leave, in no time: the masks are the labels.
"""

import csv
import json
import pathlib
import shutil

import pytest

from spleen_tf import evaluate
from spleen_tf.core import flags
from spleen_tf.core.children import Children
from spleen_tf.core.files import InputError
from spleen_tf.core.flags import CommandFailed
from spleen_tf.datasets import cases
from spleen_tf.evaluation import crossval, held_out, protocol
from spleen_tf.evaluation.protocol import Protocol, Setup

RECIPE = ("--base_filters=2", "--image_size=32", "--depth=2", "--steps=1")
NAMES = ("a", "b", "c", "d")


@pytest.fixture(scope="module")
def data(make_dataset, tmp_path_factory):
    """A data set of four cases, and another one of case x."""
    folder = tmp_path_factory.mktemp("data")
    make_dataset(folder / "held_out", "abcd", modality="MR")
    make_dataset(folder / "extra", "x")
    return folder


def make_setup(
    data, output, planes=("axial", "coronal"), folds="0", extra=(), recipe=RECIPE, first_look=None
):
    listed = cases.load(data / "held_out")
    recipes = dict.fromkeys(planes, recipe)
    settings = {plane: protocol.settings(recipe) for plane in planes}
    return Setup(
        output=output,
        dataset="held_out",
        cases=listed,
        extra_cases=extra,
        folds=protocol.deal(listed, seed=0, num_folds=2, asked=folds),
        recipes=recipes,
        protocol=Protocol(num_folds=2, seed=0, recipes=settings),
        first_look=first_look,
    )


@pytest.fixture
def commands(data, monkeypatch):
    """What was run: conversions, and the logs of commands. Each leaves what the real one does."""
    started = []

    def convert(listed, splits, output, options):
        assert sorted(case.name for case in listed) == sorted([*splits.train, *splits.validation])
        part = "around_organ_" if options.around_organ else ""
        names = "".join(case.name for case in listed)
        started.append(f"convert_{part}{options.plane}_{names}")
        output.mkdir(parents=True)
        (output / "dataset_info.json").touch()

    def run(children, log, *arguments):
        started.append(log.stem)
        options = dict(argument[2:].split("=", 1) for argument in arguments if "=" in argument)
        if "spleen_tf.export" in arguments:
            saved_model = pathlib.Path(options["export_dir"])
            saved_model.mkdir(parents=True)
            (saved_model.parent / "model.onnx").touch()
        if "spleen_tf.predict" in arguments:
            output = pathlib.Path(options["output"])
            output.mkdir(parents=True, exist_ok=True)
            for image in pathlib.Path(options["input"]).iterdir():
                name = image.name.removesuffix(".nii.gz")
                shutil.copy(data / "held_out" / "labelsTr" / image.name, output)
                (output / f"{name}.json").write_text('{"model": "unet"}')
        if "spleen_tf.evaluate" in arguments:
            argv = [argument for argument in arguments if argument.startswith("--")]
            evaluate.main(flags.parse(["evaluate", *argv], evaluate.EvaluateConfig))

    monkeypatch.setattr(crossval, "_command", run)
    monkeypatch.setattr(crossval.convert, "convert", convert)
    return started


def read_json(path):
    return json.loads(path.read_text())


def test_every_held_out_case_is_measured_in_each_plane_and_fused(data, commands, tmp_path):
    table = crossval.run(make_setup(data, tmp_path))
    record = read_json(tmp_path / "cv.json")
    names = record["folds"]["0"]
    assert len(names) == 2
    assert set(names) < set(NAMES)
    with (tmp_path / "cases.csv").open(newline="") as stream:
        rows = [(row["plane"], row["case"], row["dice"]) for row in csv.DictReader(stream)]
    assert rows == [
        (plane, name, "1.0") for plane in ("axial", "coronal", "fused") for name in names
    ]
    # Equal Dice have an interval without width.
    assert "| fused | 1.000 (1.000–1.000) |" in table
    assert table in (tmp_path / "results.md").read_text()
    assert commands == [
        *("convert_axial_abcd", "convert_coronal_abcd"),
        *("train_axial_fold_0", "train_axial_fold_0"),  # Training, then export.
        *("train_coronal_fold_0", "train_coronal_fold_0"),
        *("predict_axial_fold_0", "predict_coronal_fold_0", "predict_axial_coronal_fold_0"),
        *("evaluate_axial", "evaluate_coronal", "evaluate_fused"),
    ]


def test_a_first_look_sees_whole_volumes_and_the_others_what_is_around_the_organ(
    data, commands, tmp_path
):
    setup = make_setup(data, tmp_path, planes=("coronal",), first_look=RECIPE)
    crossval.run(setup)
    assert commands[:6] == [
        *("convert_axial_abcd", "convert_around_organ_coronal_abcd"),
        *("train_first_look_fold_0", "train_first_look_fold_0"),
        *("train_coronal_fold_0", "train_coronal_fold_0"),
    ]
    # predict finds the first look of a member in the folder that both lie in.
    places = setup.places
    assert places.first_look_dir(0).parent == places.model_dir(0, "coronal").parent / "first_look"


def test_no_held_out_case_is_trained_on_or_chooses_weights(data, commands, tmp_path):
    crossval.run(make_setup(data, tmp_path, folds=""))
    for fold, names in read_json(tmp_path / "cv.json")["folds"].items():
        splits = read_json(tmp_path / "splits" / f"fold_{fold}.json")
        assert sorted([*splits["train"], *names]) == list(NAMES)
        assert splits["validation"] == []
        inputs = sorted(path.name for path in (tmp_path / "images" / f"fold_{fold}").iterdir())
        assert inputs == [f"{name}.nii.gz" for name in names]


def test_extra_cases_train_in_every_fold_and_are_never_held_out(data, commands, tmp_path):
    extra = cases.load(data / "extra")
    crossval.run(make_setup(data, tmp_path, planes=("axial",), extra=extra))
    splits = read_json(tmp_path / "splits" / "fold_0.json")
    assert "x" in splits["train"]
    assert len(splits["train"]) == 3
    assert not (tmp_path / "labels" / "x.nii.gz").exists()
    assert commands[0] == "convert_axial_abcdx"


def test_what_is_done_is_not_done_again(data, commands, tmp_path):
    crossval.run(make_setup(data, tmp_path))
    commands.clear()
    crossval.run(make_setup(data, tmp_path))
    assert commands == ["evaluate_axial", "evaluate_coronal", "evaluate_fused"]


def test_a_plane_that_is_added_is_fused_anew(data, commands, tmp_path):
    crossval.run(make_setup(data, tmp_path))
    plan = read_json(tmp_path / "plan.json")
    for recipe in plan["recipes"].values():
        del recipe["dropout"]  # As in a run from before there was this flag.
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    commands.clear()
    crossval.run(make_setup(data, tmp_path, planes=("axial", "coronal", "sagittal")))
    assert [name for name in commands if name.startswith("predict")] == [
        *("predict_sagittal_fold_0", "predict_axial_coronal_sagittal_fold_0"),
    ]


def test_a_fold_that_is_added_joins_the_others(data, commands, tmp_path):
    crossval.run(make_setup(data, tmp_path, planes=("axial",), folds="0"))
    commands.clear()
    crossval.run(make_setup(data, tmp_path, planes=("axial",), folds="0,1"))
    assert commands == [
        *("train_axial_fold_1", "train_axial_fold_1", "predict_axial_fold_1", "evaluate_axial"),
    ]
    finished = held_out.Record(**{**read_json(tmp_path / "cv.json"), "results": {}})
    assert sorted(finished.folds) == ["0", "1"]


def test_another_recipe_needs_another_folder(data, commands, tmp_path):
    crossval.run(make_setup(data, tmp_path))
    with pytest.raises(InputError, match=r"plan.json: expected the same recipes as before"):
        crossval.run(make_setup(data, tmp_path, recipe=(*RECIPE, "--learning_rate=1e-2")))


def test_masks_are_gathered_by_their_whole_names(tmp_path):
    masks = tmp_path / "masks"
    masks.mkdir()
    for name in ("a.nii.gz", "a.json", "a.b.nii.gz", "a.b.json", "[c].nii", "[c].json"):
        (masks / name).touch()
    crossval.gather(masks, tmp_path / "chosen", ["a", "[c]"])
    names = {path.name for path in (tmp_path / "chosen").iterdir()}
    assert names == {"a.nii.gz", "a.json", "[c].nii", "[c].json"}


def test_volumes_may_be_links_into_a_store_of_nameless_files(tmp_path):
    (tmp_path / "4f2a").touch()
    (tmp_path / "scan.nii.gz").symlink_to(tmp_path / "4f2a")
    crossval.link(tmp_path / "scan.nii.gz", tmp_path / "images", "a")
    assert (tmp_path / "images" / "a.nii.gz").resolve() == tmp_path / "4f2a"


def test_a_command_that_fails_names_its_log_and_the_last_line(tmp_path):
    script = "import sys; print('first'); sys.exit('error: the last')"
    log = tmp_path / "logs" / "train.txt"
    with pytest.raises(CommandFailed) as failed:
        crossval._command(Children(), log, "-c", script)
    assert str(failed.value) == f"{log}: expected exit code 0, found 1: error: the last"
    assert "first" in log.read_text()


@pytest.mark.parametrize(
    ("name", "ending"), [("a.nii", ".nii"), ("a.nii.gz", ".nii.gz"), ("a.b.nii.gz", ".nii.gz")]
)
def test_the_ending_is_that_of_the_name(name, ending):
    assert crossval.suffix(name) == ending


def test_a_name_without_ending_is_refused():
    with pytest.raises(InputError, match=r"4f2a: expected a name that ends in .nii"):
        crossval.suffix("folder.nii/4f2a")
