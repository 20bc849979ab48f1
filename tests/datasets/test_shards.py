"""Records that are not what they claim to be are refused before anything reads them."""

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf

from spleen_tf.core.files import InputError
from spleen_tf.datasets import framing, records, shards
from spleen_tf.datasets.schema import RecordError

TRAIN_0 = "spleen-train.tfrecord-00000-of-00002"
TRAIN_1 = "spleen-train.tfrecord-00001-of-00002"
VALIDATION = "spleen-validation.tfrecord-00000-of-00001"


@pytest.fixture(scope="session")
def sound(make_records):
    """Records of cases a and b, which train, in a shard each, and of c; 3 slices each."""

    def case(split, first):
        images_nhw = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
        return split, "CT", images_nhw + np.int16(first), (images_nhw % 7 == 3).astype(np.uint8)

    return make_records({"a": case("train", 0), "b": case("train", 1), "c": case("validation", 2)})


@pytest.fixture
def folder(sound, tmp_path):
    """A copy to damage."""
    return shutil.copytree(sound, tmp_path / "records")


def write(path, serialized_records):
    with records.writer(path) as writer:
        for serialized in serialized_records:
            writer.write(serialized)


def cut(path):
    path.write_bytes(path.read_bytes()[:-1])


def zeros_at_end(path):
    """As a copy leaves a file that was interrupted after its place was taken on the disk."""
    content = path.read_bytes()
    path.write_bytes(content[:-30] + bytes(30))


def without_label(path):
    message = tf.train.Example.FromString(framing.first_record(path))
    del message.features.feature["label"]
    write(path, [message.SerializeToString()] * 3)


def rename_case(folder):
    text = (folder / "cases.json").read_text()
    (folder / "cases.json").write_text(text.replace('"a": {', '"z": {'))


def edit(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def lose_last_record(path):
    *others, _ = tf.data.TFRecordDataset(str(path)).as_numpy_iterator()
    write(path, others)


def test_sound_records_pass_and_give_their_shards(sound):
    assert shards.check(sound) == tuple(f"{sound}/{n}" for n in (TRAIN_0, TRAIN_1, VALIDATION))


@pytest.mark.parametrize(
    ("damage", "name", "sentence"),
    [
        (lambda f: (f / TRAIN_1).write_bytes(b""), TRAIN_1, "found an empty file"),
        (lambda f: (f / TRAIN_1).write_text("no records " * 99), TRAIN_1, "found damage"),
        (lambda f: cut(f / VALIDATION), VALIDATION, "found damage .cut short"),
        (lambda f: zeros_at_end(f / TRAIN_1), TRAIN_1, "found damage .cut short, or a checksum"),
        (lambda f: lose_last_record(f / TRAIN_0), TRAIN_0, "expected 3 records, .* found 2; run"),
        (lambda f: without_label(f / TRAIN_0), TRAIN_0, "the field 'label' .* another schema"),
        (lambda f: write(f / TRAIN_0, [b"\xff"] * 3), TRAIN_0, "expected tf.train.Example records"),
        (lambda f: (f / TRAIN_0).unlink(), TRAIN_0, "expected this shard, of 2 of train"),
        (
            lambda f: shutil.copy(f / TRAIN_0, f / f"{TRAIN_0[:-1]}9"),
            f"{TRAIN_0[:-1]}9",
            "no shard",
        ),
        (lambda f: shutil.copy(f / VALIDATION, f / TRAIN_0), TRAIN_0, "found those of 'c'"),
        (rename_case, TRAIN_0, "expected slices of the cases of train .* found those of 'a'"),
        (
            lambda f: edit(f / "cases.json", lambda c: c["cases"]["b"].update(plane="coronal")),
            TRAIN_1,
            "expected 'b' with plane coronal, as cases.json says, found axial",
        ),
        (
            lambda f: edit(f / "cases.json", lambda c: c["cases"]["b"].update(num_slices=9)),
            "dataset_info.json",
            "expected 12 slices of train, as cases.json says, found 6",
        ),
        (
            lambda f: edit(f / "dataset_info.json", lambda c: c["splits"].pop()),
            "dataset_info.json",
            "expected 3 slices of validation, as cases.json says, found 0",
        ),
        (
            lambda f: edit(f / "dataset_info.json", lambda c: c["splits"][0].update(numBytes="7")),
            "dataset_info.json",
            "expected shards of train of 7 bytes, found",
        ),
    ],
)
def test_records_that_are_not_what_they_claim_are_named(folder, damage, name, sentence):
    damage(folder)
    with pytest.raises(RecordError, match=rf"{folder}/{name}: .*{sentence}"):
        shards.check(folder)


@pytest.mark.parametrize("name", ["cases.json", "dataset_info.json", "features.json"])
def test_a_folder_without_its_description_is_refused(folder, name):
    (folder / name).unlink()
    with pytest.raises(InputError, match=r"records.*: expected .*found"):
        shards.check(folder)


def test_the_check_needs_no_tensorflow(sound, run_python):
    code = "import sys; from spleen_tf.datasets import shards; shards.check(sys.argv[1])"
    done = run_python("-c", f"{code}; print('tensorflow' in sys.modules)", sound)
    assert (done.stdout, done.stderr) == ("False\n", "")
