"""Conversion as a user runs it: what is written, what is refused, and what survives a kill."""

import hashlib
import json
import os
import shutil
import signal
import warnings

import nibabel
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets

from spleen_tf.core.files import InputError, InputWarning
from spleen_tf.datasets import convert as conversion
from spleen_tf.datasets import metadata, records
from spleen_tf.datasets.layouts import SPLITS
from spleen_tf.datasets.schema import FIELDS, RecordError
from spleen_tf.datasets.splits import Splits, read_splits, write_splits
from spleen_tf.imaging.volume import Volume
from spleen_tf.io import nifti


@pytest.fixture(scope="session")
def tool(load_tool):
    return load_tool("make_tfrecords")


@pytest.fixture
def convert(tool):
    """A function that converts, in this process and with one worker unless told otherwise."""

    def run(dataset, output_dir, **flags):
        flags = {"workers": 1, "num_folds": 2, **flags}
        tool.main(tool.ConvertConfig(dataset=str(dataset), output_dir=str(output_dir), **flags))
        return output_dir

    return run


@pytest.fixture(scope="session")
def dataset(make_dataset, tmp_path_factory):
    """Five cases a to e; voxel (i, j, k) of a holds 100 i + 10 j + k, b's 1000 more, and so on."""
    return make_dataset(tmp_path_factory.mktemp("five"), "abcde")


@pytest.fixture
def own(dataset, tmp_path):
    """A copy of the data set to damage."""
    return shutil.copytree(dataset, tmp_path / "own")


def content(folder):
    """Every file of a folder, as bytes by name."""
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def cases_of(path):
    """The cases of a shard's records, one entry a record, in their order."""
    return [example.case for example in records.read_examples(path)]


def shard_paths(folder, split):
    return sorted(folder.glob(f"spleen-{split}.tfrecord-*"))


def slices_per_shard(folder):
    return {split.name: split.slices_per_shard for split in metadata.read_info(folder).splits}


def replace(path, array_ijk=None, affine=None):
    """Writes a volume again with other voxels or another affine."""
    old = nifti.read(path)
    array_ijk = old.array_ijk if array_ijk is None else array_ijk
    nifti.write(path, Volume(array_ijk, old.affine if affine is None else affine, ""))


def sha256(octets):
    return hashlib.sha256(octets).hexdigest()


def cut(path):
    path.write_bytes(path.read_bytes()[:-20])


# What is written.


def test_folder_holds_shards_and_metadata_and_nothing_else(dataset, tmp_path, convert, capsys):
    out = convert(dataset, tmp_path / "deep" / "out", num_shards=2)
    assert sorted(content(out)) == [
        *("cases.json", "dataset_info.json", "features.json"),
        "spleen-train.tfrecord-00000-of-00002",
        "spleen-train.tfrecord-00001-of-00002",
        "spleen-validation.tfrecord-00000-of-00002",
        "spleen-validation.tfrecord-00001-of-00002",
        "splits.json",
    ]
    # Coronal slices run along j: 6 of each case. Of 5 cases, the first of two folds has 3.
    assert capsys.readouterr().out == (
        f"{out}: 30 coronal slices, 2 cases for train, 3 cases for validation\n"
    )


def test_records_hold_each_case_whole_in_one_shard_of_its_split(dataset, tmp_path, convert):
    out = convert(dataset, tmp_path / "out", num_shards=2)
    splits = json.loads((out / "splits.json").read_text())
    for split in SPLITS:
        first, second = (cases_of(path) for path in shard_paths(out, split))
        names = splits[split]
        # Dealt in turn: the first shard has the first and third case, the second the second.
        assert first == [name for name in names[::2] for _ in range(6)]
        assert second == [name for name in names[1::2] for _ in range(6)]
    assert sorted(splits["train"] + splits["validation"]) == list("abcde")
    assert (splits["seed"], splits["fold"], splits["num_folds"]) == (0, 0, 2)
    known = metadata.read_cases(out)
    assert {name: about.split for name, about in known.items()} == {
        name: split for split in SPLITS for name in splits[split]
    }


def test_what_is_known_of_a_case_stands_in_cases_json(dataset, tmp_path, convert):
    out = convert(dataset, tmp_path / "out", num_folds=5)
    i, j, k = np.indices((8, 6, 5))
    voxels = (1000 + 100 * i + 10 * j + k).astype("<i2")
    box = ((i >= 2) & (i <= 4) & (j >= 1) & (j <= 3) & (k >= 1) & (k <= 2)).astype(np.uint8)
    assert json.loads((out / "cases.json").read_text())["cases"]["b"] == {
        "split": "train" if "b" in read_splits(out / "splits.json").train else "validation",
        "modality": "CT",
        "plane": "coronal",
        "num_slices": 6,
        "spleen_slices": 3,  # The box spans j from 1 to 3.
        "pixel_mm": pytest.approx([5.0, 0.8]),
        "slice_mm": pytest.approx(0.7),
        "shape": [8, 6, 5],
        "source_sha256": sha256((dataset / "imagesTr/b.nii.gz").read_bytes()),
        "label_sha256": sha256((dataset / "labelsTr/b.nii.gz").read_bytes()),
        # In the order of a NIfTI file, in which i runs fastest.
        "voxels_sha256": sha256(voxels.tobytes(order="F")),
        "label_voxels_sha256": sha256(box.tobytes(order="F")),
    }


def test_same_input_gives_same_bytes_whatever_the_number_of_workers(dataset, tmp_path, convert):
    once = content(convert(dataset, tmp_path / "1", num_shards=2, num_folds=5))
    assert len(once) == 4 + 2 + 1
    assert content(convert(dataset, tmp_path / "2", num_shards=2, num_folds=5)) == once
    several = convert(dataset, tmp_path / "3", num_shards=2, num_folds=5, workers=2)
    assert content(several) == once


def test_warnings_of_worker_processes_reach_the_user(own, tmp_path, convert):
    replace(own / "labelsTr/c.nii.gz", np.zeros((8, 6, 5), np.uint8))
    with pytest.warns(InputWarning, match=r"c\.nii\.gz: no voxel has a value above 0"):
        convert(own, tmp_path / "out", workers=2)


def test_more_shards_than_cases_gives_one_a_case(dataset, tmp_path, convert):
    out = convert(dataset, tmp_path / "out", num_shards=64, num_folds=5)
    assert len(shard_paths(out, "train")) == 4
    assert len(shard_paths(out, "validation")) == 1
    assert slices_per_shard(out) == {"train": (6, 6, 6, 6), "validation": (6,)}


def test_earlier_shards_of_another_number_vanish(dataset, tmp_path, convert):
    out = tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").write_text("of the user")
    convert(dataset, out, num_shards=3)
    convert(dataset, out, num_shards=1)
    expected = content(convert(dataset, tmp_path / "fresh", num_shards=1))
    assert content(out) == {**expected, "notes.txt": b"of the user"}


@pytest.mark.parametrize(
    ("plane", "count", "height_width"),
    [("coronal", 6, (5, 8)), ("axial", 5, (6, 8)), ("sagittal", 8, (5, 6))],
)
def test_plane_is_anatomical(dataset, tmp_path, convert, plane, count, height_width):
    out = convert(dataset, tmp_path / "out", plane=plane)
    (path, *_) = shard_paths(out, "train")
    examples = list(records.read_examples(path))
    assert len(examples) == examples[0].num_slices == count
    assert {(e.plane, e.height, e.width) for e in examples} == {(plane, *height_width)}


@pytest.mark.parametrize(
    ("axcodes", "planes"),
    [
        ("RAS", ("sagittal", "coronal", "axial")),
        ("IPR", ("axial", "coronal", "sagittal")),
        ("PSL", ("coronal", "axial", "sagittal")),
    ],
)
def test_array_axis_cuts_the_stored_array(
    make_dataset, make_volume, tmp_path, convert, axcodes, planes
):
    names = {name: make_volume(axcodes) for name in "ab"}
    names["b"].array_ijk[:] += 1
    folder = make_dataset(tmp_path / "set", names)
    for axis, (plane, count) in enumerate(zip(planes, (8, 6, 5), strict=True)):
        with warnings.catch_warnings():
            warnings.filterwarnings("error", message=".* in different cases")
            out = convert(folder, tmp_path / f"out_{axis}", array_axis=axis)
        about = metadata.read_cases(out)["a"]
        assert (about.plane, about.num_slices) == (plane, count)


def test_array_axis_that_is_another_plane_in_another_case_is_warned_of(
    make_dataset, make_volume, tmp_path, convert
):
    volumes = {"a": make_volume("RAS"), "b": make_volume("RSA")}
    volumes["b"].array_ijk[:] += 1
    folder = make_dataset(tmp_path / "set", volumes)
    with pytest.warns(InputWarning, match="axis 2 is axial and coronal in different cases; a mod"):
        convert(folder, tmp_path / "out", array_axis=2)


def test_label_value_and_modality_are_the_users(own, tmp_path, convert):
    two_organs = np.ones((8, 6, 5), np.uint8)
    two_organs[7] = 6
    for name in "abcde":
        replace(own / f"labelsTr/{name}.nii.gz", two_organs)
    out = convert(own, tmp_path / "out", plane="sagittal", label_value=6, modality="MR")
    about = metadata.read_cases(out)["a"]
    assert (about.spleen_slices, about.modality) == (1, "MR")


def test_a_label_value_that_no_label_has_is_refused_and_nothing_written(own, tmp_path, convert):
    with (
        pytest.warns(InputWarning, match="no voxel has the value 7"),
        pytest.raises(
            InputError, match=r"--label_value: expected a value of the labels, found 7 in none of 5"
        ),
    ):
        convert(own, tmp_path / "out", label_value=7)
    assert not (tmp_path / "out").exists()


def test_tensorflow_datasets_reads_the_folder_as_it_is(dataset, tmp_path, convert):
    out = convert(dataset, tmp_path / "out", num_shards=2)
    builder = tensorflow_datasets.builder_from_directory(str(out))
    assert {name: split.num_examples for name, split in builder.info.splits.items()} == {
        "train": 12,
        "validation": 18,
    }
    splits = read_splits(out / "splits.json")
    for split, count in (("train", 12), ("validation", 18)):
        examples = list(builder.as_dataset(split=split))
        assert len(examples) == count
        assert {e["case"].numpy().decode() for e in examples} == set(getattr(splits, split))
        for example in examples:
            kinds = {
                name: (value.dtype.name, tuple(value.shape)) for name, value in example.items()
            }
            assert kinds == FIELDS
    one = next(e for e in examples if e["slice_index"] == 2)
    offset = 1000 * "abcde".index(one["case"].numpy().decode())
    pixels = np.frombuffer(one["image"].numpy(), "<i2").reshape(one["height"], one["width"])
    # Row 0 is superior, k = 4. RAS runs towards the patient's left, and column 0 is right: i = 7.
    assert pixels[0, :3].tolist() == [offset + 724, offset + 624, offset + 524]
    assert tf.io.decode_raw(one["label"], tf.uint8).numpy().sum() == 6  # i 2 to 4, k 1 and 2.


# Splits.


def test_folds_together_validate_every_case_once(dataset, tmp_path, convert):
    validated = []
    for fold in range(2):
        out = convert(dataset, tmp_path / str(fold), fold=fold)
        validated += read_splits(out / "splits.json").validation
    assert sorted(validated) == list("abcde")


def test_splits_file_rules_and_leaves_out_what_it_does_not_name(dataset, tmp_path, convert):
    path = tmp_path / "mine.json"
    write_splits(path, Splits(("e", "a"), ("c",)))
    out = convert(dataset, tmp_path / "out", splits=str(path), num_shards=1)
    assert read_splits(out / "splits.json") == read_splits(path)
    (train,), (validation,) = (shard_paths(out, split) for split in SPLITS)
    assert cases_of(train) == ["e"] * 6 + ["a"] * 6
    assert cases_of(validation) == ["c"] * 6


def test_a_fold_of_nnunets_splits_rules_however_many_folds_are_dealt(dataset, tmp_path, convert):
    path = tmp_path / "splits_final.json"
    folds = [{"train": [c for c in "abcde" if c != v], "val": [v]} for v in "abcde"]
    path.write_text(json.dumps(folds))
    out = convert(dataset, tmp_path / "out", splits=str(path), fold=3, num_folds=2, num_shards=1)
    expected = Splits(("a", "b", "c", "e"), ("d",), fold=3, num_folds=5)
    assert read_splits(out / "splits.json") == expected


def test_splits_that_a_conversion_wrote_give_its_bytes_again(dataset, tmp_path, convert):
    first = convert(dataset, tmp_path / "1", fold=1, seed=3)
    again = convert(dataset, tmp_path / "2", splits=str(first / "splits.json"))
    assert content(again) == content(first)


@pytest.mark.parametrize(
    ("splits", "sentence"),
    [
        ({"train": ["a"], "validation": ["x"]}, r"mine\.json: expected cases of .*, found 'x'\.$"),
        ({"train": ["a"], "validation": ["a"]}, "expected each case in one split, found 'a' in bo"),
        ({"train": [], "validation": []}, r"mine\.json: expected at least one usable case"),
    ],
)
@pytest.mark.parametrize("skip_bad", [False, True])
def test_splits_that_do_not_fit_the_data_set_are_refused(
    dataset, tmp_path, convert, splits, sentence, skip_bad
):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(splits))
    with pytest.raises(InputError, match=sentence):
        convert(dataset, tmp_path / "out", splits=str(path), skip_bad=skip_bad)
    assert not (tmp_path / "out").exists()


def test_single_case_is_converted_for_training(make_dataset, tmp_path, convert):
    folder = make_dataset(tmp_path / "set", "a")
    with pytest.warns(InputWarning, match="one case only"):
        out = convert(folder, tmp_path / "out")
    assert slices_per_shard(out) == {"train": (6,)}
    assert tensorflow_datasets.builder_from_directory(str(out)).info.splits["train"].num_shards == 1


# Bad cases.


def damage(folder):
    """Spoils b to e, each in its own way."""
    voxels = nifti.read(folder / "imagesTr/b.nii.gz").array_ijk.astype(np.float32)
    voxels[3, 3, 3] = np.nan
    replace(folder / "imagesTr/b.nii.gz", voxels)
    cut(folder / "imagesTr/c.nii.gz")
    replace(folder / "labelsTr/d.nii.gz", np.ones((8, 6, 4), np.uint8))
    (folder / "labelsTr/e.nii.gz").unlink()


def test_skip_bad_leaves_bad_cases_out_and_lists_them(own, tmp_path, convert, capsys):
    damage(own)
    with pytest.warns(InputWarning, match="one case only"):
        out = convert(own, tmp_path / "out", skip_bad=True)
    assert list(metadata.read_cases(out)) == ["a"]
    assert read_splits(out / "splits.json").train == ("a",)
    told = capsys.readouterr()
    assert told.out.splitlines()[-1] == "left out: b, c, d, e"
    assert [line.split(": ")[:2] for line in told.err.splitlines()] == [
        ["left out", name] for name in "bcde"
    ]
    for words in ("found NaN", "cut short", "expected shape (8, 6, 5)", "found no such file"):
        assert words in told.err


def test_skip_bad_leaves_the_splits_of_the_others_as_given(own, tmp_path, convert):
    cut(own / "imagesTr/c.nii.gz")
    path = tmp_path / "mine.json"
    write_splits(path, Splits(("a", "c"), ("e",)))
    out = convert(own, tmp_path / "out", splits=str(path), skip_bad=True)
    assert read_splits(out / "splits.json") == Splits(("a",), ("e",))


def test_nothing_usable_is_an_error_also_when_bad_cases_are_skipped(own, tmp_path, convert):
    damage(own)
    cut(own / "labelsTr/a.nii.gz")
    with pytest.raises(InputError, match=r"own: expected at least one usable case, found none\."):
        convert(own, tmp_path / "out", skip_bad=True)
    assert not (tmp_path / "out").exists()


def test_bad_header_in_the_last_case_is_refused_before_anything_is_written(own, tmp_path, convert):
    replace(own / "labelsTr/e.nii.gz", np.ones((8, 6, 4), np.uint8))
    with pytest.raises(InputError, match=r"labelsTr/e\.nii\.gz: expected shape \(8, 6, 5\)"):
        convert(own, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("workers", [1, 2])
def test_bad_voxels_leave_an_earlier_conversion_whole(own, tmp_path, convert, workers):
    out = convert(own, tmp_path / "out")
    earlier = content(out)
    cut(own / "imagesTr/d.nii.gz")
    with pytest.raises(InputError, match=r"imagesTr/d\.nii\.gz: expected .* cut short; copy it"):
        convert(own, out, plane="axial", workers=workers)
    assert content(out) == earlier


def test_full_disk_leaves_an_earlier_conversion_whole(dataset, tmp_path, convert, no_room):
    out = convert(dataset, tmp_path / "out")
    earlier = content(out)
    with no_room(), pytest.raises(InputError, match="expected a place to write to, found: File to"):
        convert(dataset, out, plane="axial")
    assert content(out) == earlier


# Kill and rerun.

KILLED_AT_THE_THIRD_CASE = """
import os, signal, sys
sys.path.insert(0, "tools")
import make_tfrecords
from spleen_tf.core import flags
from spleen_tf.datasets import cases

read, count = cases.read, 0

def read_two(case, label_value):
    global count
    count += 1
    if count == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return read(case, label_value)

cases.read = read_two
flags.run(make_tfrecords.main, make_tfrecords.ConvertConfig)
"""


@pytest.mark.slow
def test_conversion_that_was_killed_is_simply_run_again(dataset, tmp_path, convert, run_python):
    out = convert(dataset, tmp_path / "out", plane="axial", num_shards=1)
    earlier = content(out)
    flags = (f"--dataset={dataset}", f"--output_dir={out}", "--num_shards=3", "--workers=1")
    killed = run_python("-c", KILLED_AT_THE_THIRD_CASE, *flags, "--num_folds=5")
    assert killed.returncode == -signal.SIGKILL
    # Until the new one is whole, the earlier one is the one that is read.
    leftover = content(out / ".partial")
    assert any(name.endswith("-of-00003") for name in leftover)
    shutil.move(out / ".partial", tmp_path / "leftover")
    assert {name: text for name, text in content(out).items() if name != ".lock"} == earlier
    shutil.move(tmp_path / "leftover", out / ".partial")
    # With fewer shards than the killed one had begun: none of those must stay.
    convert(dataset, out, num_shards=2, num_folds=5)
    expected = content(convert(dataset, tmp_path / "fresh", num_shards=2, num_folds=5))
    assert content(out) == expected


def test_folder_of_a_first_conversion_that_was_killed_is_refused_by_readers(
    dataset, tmp_path, convert
):
    whole = convert(dataset, tmp_path / "whole")
    out = tmp_path / "out"
    shutil.copytree(whole, out / ".partial")
    with pytest.raises(RecordError, match=r"out: expected a folder of records .* half of"):
        metadata.read_cases(out)
    assert content(convert(dataset, out)) == content(whole)


def test_kill_while_files_move_to_their_place_leaves_what_readers_refuse(
    dataset, tmp_path, convert, tool, monkeypatch
):
    out = convert(dataset, tmp_path / "out", num_shards=2)
    whole = convert(dataset, tmp_path / "whole", num_shards=1)
    staging = shutil.copytree(whole, tmp_path / "staging")
    rename, moved = os.replace, []

    def until_the_third(source, target):
        if len(moved) == 2:
            raise KeyboardInterrupt
        moved.append(target)
        rename(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(conversion.os, "replace", until_the_third)
        with pytest.raises(KeyboardInterrupt):
            conversion._publish(staging, out)
    with pytest.raises(RecordError, match="found none or half of one; run make_tfrecords"):
        metadata.read_cases(out)
    assert content(convert(dataset, out, num_shards=1)) == content(whole)


# The command line.


@pytest.fixture
def command(tool, run_main, tmp_path):
    """A function that runs the command in this process and expects a refusal in one line."""

    def refused(*flags):
        code, out, err = run_main(tool.main, tool.ConvertConfig, "--workers=1", *flags)
        assert (code, out) == (2, "")
        assert err.startswith("error: ")
        assert err.count("\n") == 1
        assert not list(tmp_path.glob("out/*"))
        return err

    return refused


def to_text(path, text):
    path.write_text(text)


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda own: to_text(own / "dataset.json", "{'"), "own/dataset.json: expected JSON, found"),
        (lambda own: to_text(own / "dataset.json", "[]"), "expected `object`, found `array`; "),
        (
            lambda own: to_text(
                own / "dataset.json",
                json.dumps(
                    {"training": [{"image": "imagesTr/a.nii.gz", "label": "labelsTr/a.nii.gz"}] * 2}
                ),
            ),
            "expected every case once, found 'a' twice",
        ),
        (lambda own: (own / "dataset.json").unlink(), "own: expected dataset.json in it (Medical"),
        (
            lambda own: replace(own / "labelsTr/b.nii.gz", affine=np.diag([9.0, 9, 9, 1])),
            "own/labelsTr/b.nii.gz: expected the affine of",
        ),
        (lambda own: cut(own / "imagesTr/b.nii.gz"), "own/imagesTr/b.nii.gz: expected a whole gz"),
        (
            lambda own: replace(own / "imagesTr/b.nii.gz", np.full((8, 6, 5), np.nan, np.float32)),
            "own/imagesTr/b.nii.gz: expected finite voxels, found NaN",
        ),
        (lambda own: (own / "imagesTr/b.nii.gz").unlink(), "own/imagesTr/b.nii.gz: expected a fil"),
        (
            lambda own: nibabel.save(
                nibabel.Nifti1Image(np.zeros((8, 6, 5, 2), np.int16), np.eye(4)),
                own / "imagesTr/b.nii.gz",
            ),
            "more than one time point or channel",
        ),
    ],
)
def test_bad_data_set_is_told_in_one_line_and_nothing_is_written(
    own, tmp_path, command, spoil, sentence
):
    spoil(own)
    assert sentence in command(
        f"--dataset={own}", f"--output_dir={tmp_path}/out", "--modality=CT", "--num_folds=2"
    )


@pytest.mark.parametrize(
    ("flag", "sentence"),
    [
        ("--num_shards=-1", "--num_shards: expected at least 1, found -1"),
        ("--num_shards=0", "--num_shards: expected at least 1, found 0"),
        ("--workers=0", "--workers: expected at least 1, found 0"),
        ("--num_folds=1", "--num_folds: expected at least 2, found 1"),
        ("--fold=5", "--fold: expected 0 to 4 of 5 folds, found 5"),
        ("--fold=-1", "--fold: expected at least 0, found -1"),
        ("--array_axis=3", "--array_axis: expected at most 2, found 3"),
        ("--plane=frontal", "--plane: expected one of coronal, axial, sagittal, found 'frontal'"),
        ("--modality=PET", "--modality: expected one of"),
        ("--num_shard=3", "Unknown command line flag 'num_shard'"),
        ("--output_dir=", "--output_dir: expected a folder for the records. Found nothing."),
        (
            "--dataset=nowhere",
            "nowhere: expected a data set's folder or a .csv, found nothing ther",
        ),
        ("--splits=nowhere", "nowhere: expected a JSON file, found: No such file"),
        ("stray", "found 'stray'"),
    ],
)
def test_bad_flag_is_told_in_one_line(dataset, tmp_path, command, flag, sentence):
    assert sentence in command(f"--dataset={dataset}", f"--output_dir={tmp_path}/out", flag)


def test_output_dir_that_is_a_file_is_refused(dataset, tmp_path, command):
    (tmp_path / "file").touch()
    told = command(f"--dataset={dataset}", f"--output_dir={tmp_path}/file")
    assert f"{tmp_path}/file: expected a folder to write to, found: " in told


@pytest.mark.slow
def test_the_program_itself(own, tmp_path, convert, run_python):
    program = "tools/make_tfrecords.py"
    flags = (f"--dataset={own}", f"--output_dir={tmp_path}/out", "--workers=1")
    done = run_python(program, *flags)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith("30 coronal slices, 4 cases for train, 1 cases for validation\n")
    # The same bytes from another process.
    assert content(tmp_path / "out") == content(convert(own, tmp_path / "here", num_folds=5))
    replace(own / "labelsTr/b.nii.gz", np.ones((8, 6, 4), np.uint8))
    refused = run_python(program, *flags)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith(f"error: {own}/labelsTr/b.nii.gz: expected shape ")
    assert refused.stderr.count("\n") == 1


def test_strict_writes_nothing_where_a_case_is_doubtful(make_dataset, tmp_path, convert):
    """In make_volume's own RAS volume, i from 5 on is the patient's right half."""
    folder = make_dataset(tmp_path / "set", "ab")
    label = np.zeros((8, 6, 5), np.uint8)
    label[5:7, 1:4, 1:3] = 1
    replace(folder / "labelsTr/b.nii.gz", label)
    with pytest.raises(InputError, match=r"--strict: .* found 1 with: b: the spleen lies in the r"):
        convert(folder, tmp_path / "out", strict=True)
    assert not (tmp_path / "out").exists()
    with pytest.warns(InputWarning, match="b: the spleen lies in the right half"):
        convert(folder, tmp_path / "out")


def test_an_image_in_both_splits_is_rejected_without_strict_too(
    make_dataset, make_volume, tmp_path, convert
):
    folder = make_dataset(tmp_path / "set", {name: make_volume() for name in "ab"})
    with pytest.raises(InputError, match=r"expected another image to validate with than to train"):
        convert(folder, tmp_path / "out", num_folds=2)
    assert not (tmp_path / "out").exists()
