"""A conversion's folder: names of shards, and the metadata beside them."""

import json

import pytest

from spleen_tf.datasets import shards
from spleen_tf.datasets.records import RecordError


@pytest.fixture
def folder(tmp_path):
    """A conversion's folder with two shards of train and none of validation, all empty."""
    about = dict.fromkeys(shards.CASE_KEYS, "")
    shards.write_metadata(tmp_path, {"a": about}, {"train": [(6, 100), (4, 60)], "validation": []})
    for index in range(2):
        (tmp_path / shards.shard_name("train", index, 2)).touch()
    return tmp_path


def test_shards_are_named_as_tensorflow_datasets_names_them(folder):
    assert shards.shard_paths(folder, "train") == [
        f"{folder}/spleen-train.tfrecord-00000-of-00002",
        f"{folder}/spleen-train.tfrecord-00001-of-00002",
    ]
    assert shards.shard_paths(folder, "validation") == []


def test_shards_of_two_conversions_or_of_half_a_one_are_refused(folder):
    stray = folder / shards.shard_name("train", 1, 4)
    stray.touch()
    with pytest.raises(RecordError, match="00001-of-00004: expected the 2 shards of one conv"):
        shards.shard_paths(folder, "train")
    stray.unlink()
    (folder / shards.shard_name("train", 0, 2)).unlink()
    with pytest.raises(RecordError, match=r"00000-of-00002: expected the 2 shards .* found 1; run"):
        shards.shard_paths(folder, "train")


def test_metadata_come_back(folder):
    assert list(shards.read_cases(folder)) == ["a"]
    assert shards.read_shard_lengths(folder) == {"train": [6, 4]}
    shards.check_features(folder)


@pytest.mark.parametrize("name", ["cases.json", "dataset_info.json"])
def test_half_a_conversion_is_refused(folder, name):
    (folder / name).unlink()
    with pytest.raises(RecordError, match=r"expected a folder of records .* found none or half of"):
        shards.read_cases(folder)


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("cases.json", {}, "expected an object 'cases', found something else"),
        ("cases.json", [], "expected an object 'cases', found something else"),
        ("cases.json", {"cases": {"a": 3}}, "expected 'split' of case 'a', found nothing"),
        (
            "cases.json",
            {"cases": {"a": dict.fromkeys(shards.CASE_KEYS[:-1])}},
            "expected 'label_voxels_sha256' of case 'a', found nothing",
        ),
        ("dataset_info.json", {}, "expected splits with shardLengths"),
        ("dataset_info.json", [], "expected splits with shardLengths"),
        ("dataset_info.json", {"splits": [{"name": "train"}]}, "expected splits with shardLen"),
        (
            "dataset_info.json",
            {"splits": [{"name": "train", "shardLengths": ["many"]}]},
            "expected splits with shardLengths",
        ),
        ("features.json", {}, "expected the fields of this release, found another schema"),
    ],
)
def test_metadata_of_another_form_are_refused_by_their_name(folder, name, content, sentence):
    (folder / name).write_text(json.dumps(content))
    read = {
        "cases.json": shards.read_cases,
        "dataset_info.json": shards.read_shard_lengths,
        "features.json": shards.check_features,
    }
    with pytest.raises(RecordError, match=rf"/{name}: {sentence}"):
        read[name](folder)
