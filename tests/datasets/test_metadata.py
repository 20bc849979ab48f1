"""cases.json, features.json and dataset_info.json."""

import json
import re

import pytest

from spleen_tf.core.files import InputError
from spleen_tf.datasets import metadata
from spleen_tf.datasets.metadata import CaseRecord
from spleen_tf.datasets.schema import RecordError

CASE = CaseRecord(
    split="train",
    modality="CT",
    plane="coronal",
    num_slices=10,
    spleen_slices=3,
    pixel_mm=(5.0, 0.8),
    slice_mm=0.7,
    shape=(8, 10, 5),
    source_sha256="5a",
    label_sha256="1b",
    voxels_sha256="2c",
    label_voxels_sha256="3d",
)


@pytest.fixture
def folder(tmp_path):
    """Metadata of one case in two shards of train and none of validation."""
    metadata.write(tmp_path, {"a": CASE}, {"train": [(6, 100), (4, 60)], "validation": []})
    return tmp_path


def test_metadata_come_back(folder):
    assert metadata.read_cases(folder) == {"a": CASE}
    (train,) = metadata.read_info(folder).splits
    assert (train.name, train.slices_per_shard, train.num_bytes) == ("train", (6, 4), "160")
    metadata.check_features(folder)


def test_dataset_info_has_the_keys_of_tensorflow_datasets(folder):
    assert json.loads((folder / "dataset_info.json").read_text()) == {
        "name": "spleen",
        "version": "1.0.0",
        "description": "Slices of abdominal volumes with spleen labels.",
        "fileFormat": "tfrecord",
        "splits": [
            {
                "name": "train",
                "filepathTemplate": "{DATASET}-{SPLIT}.{FILEFORMAT}-{SHARD_X_OF_Y}",
                "shardLengths": ["6", "4"],
                "numBytes": "160",
            }
        ],
    }


@pytest.mark.parametrize("name", ["cases.json", "dataset_info.json"])
def test_half_a_conversion_is_refused(folder, name):
    (folder / name).unlink()
    with pytest.raises(RecordError, match=r"expected a folder of records .* found none or half of"):
        metadata.read_cases(folder)


def with_change(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("name", "change", "sentence"),
    [
        ("cases.json", lambda c: c.clear(), "expected the key 'cases', found none; run make_tf"),
        ("cases.json", lambda c: c["cases"].update(a=3), "expected `object`"),
        ("cases.json", lambda c: c["cases"]["a"].pop("label_voxels_sha256"), "expected the key 'l"),
        (
            "cases.json",
            lambda c: c["cases"]["a"].update(plane="oblique"),
            "expected one of the known values",
        ),
        ("dataset_info.json", lambda c: c.clear(), "expected the key 'splits', found none"),
        ("dataset_info.json", lambda c: c["splits"][0].pop("shardLengths"), "'shardLengths'"),
        ("dataset_info.json", lambda c: c["splits"][0].update(numBytes="many"), "numBytes"),
        ("features.json", lambda c: c.clear(), "expected the fields of this release, found anoth"),
    ],
)
def test_metadata_of_another_form_are_refused_by_their_name(folder, name, change, sentence):
    with_change(folder / name, change)
    read = {
        "cases.json": metadata.read_cases,
        "dataset_info.json": metadata.read_info,
        "features.json": metadata.check_features,
    }
    with pytest.raises(InputError, match=rf"/{name}: .*{re.escape(sentence)}"):
        read[name](folder)
