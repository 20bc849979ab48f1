"""What a training reads, settled from its flags and the records, and what is refused."""

import json
import pathlib
import shutil

import numpy as np
import pytest

from spleen_tf.core.files import InputError
from spleen_tf.datasets.layouts import DatasetError
from spleen_tf.datasets.schema import RecordError
from spleen_tf.training import run
from spleen_tf.training.config import TrainConfig


def case(split, count, with_spleen, modality="CT"):
    """`count` black slices, of which those named in `with_spleen` show one."""
    labels_nhw = np.zeros((count, 8, 10), np.uint8)
    labels_nhw[list(with_spleen), 2:5, 3:7] = 1
    return split, modality, np.zeros((count, 8, 10), np.int16), labels_nhw


@pytest.fixture(scope="module")
def ct(make_records):
    """Two shards a split, of pixels of 2 by 1.5 mm."""
    return make_records(
        {
            "a": case("train", 6, (2, 3)),
            "b": case("train", 4, (1,)),
            "c": case("train", 5, (3, 4)),
            "d": case("train", 3, ()),
            "v": case("validation", 11, (4, 5, 6)),
            "w": case("validation", 3, (0,)),
        }
    )


@pytest.fixture
def ct_copy(ct, tmp_path):
    """A copy to damage."""
    return pathlib.Path(shutil.copytree(ct, tmp_path / "records"))


def settings(records, **changes):
    plain = {"image_size": (16,), "depth": 1, "steps": 1, "model_dir": "model"}
    return TrainConfig(records=str(records), **{**plain, **changes})


def write_splits(path, train, validation):
    path.write_text(json.dumps({"train": train, "validation": validation}))
    return str(path)


def test_ct_is_seen_through_the_soft_tissue_window_unless_told_otherwise(ct):
    data = run.settle(settings(ct, window=()))
    assert (data.modality, data.window) == ("CT", (-160.0, 240.0))
    assert run.settle(settings(ct, window=(-100.0, 300.0))).window == (-100.0, 300.0)


def test_hounsfield_units_are_refused_where_mr_is_among_the_records(make_records):
    mixed = make_records(
        {"ct": case("train", 3, (1,)), "mr": case("validation", 3, (1,), modality="MR")}
    )
    with pytest.raises(RecordError, match=r"--window: expected two of the percentiles .* found"):
        run.settle(settings(mixed, window=(-160.0, 240.0)))


def test_the_grid_is_the_flags_or_the_median_of_the_training_cases(ct):
    assert run.settle(settings(ct)).pixel_mm == (2.0, 1.5)
    assert run.settle(settings(ct, pixel_mm=(1.25,))).pixel_mm == (1.25, 1.25)
    assert run.settle(settings(ct, pixel_mm=(3.0, 1.0))).pixel_mm == (3.0, 1.0)


def test_the_median_spacing_is_of_training_cases_alone(ct_copy):
    content = json.loads((ct_copy / "cases.json").read_text())
    for name, row_mm in {"a": 1.0, "b": 3.0, "c": 4.0, "d": 9.0, "v": 0.5, "w": 0.5}.items():
        content["cases"][name]["pixel_mm"] = [row_mm, 1.0]
    (ct_copy / "cases.json").write_text(json.dumps(content))
    assert run.settle(settings(ct_copy)).pixel_mm == (3.5, 1.0)


def test_slices_are_counted_by_their_case(ct):
    data = run.settle(settings(ct))
    assert (data.num_slices(data.train), data.spleen_slices(data.train)) == (18, 5)
    assert (data.num_slices(data.validation), data.spleen_slices(data.validation)) == (14, 4)


# Refusals


def test_a_folder_without_records_is_refused(tmp_path):
    with pytest.raises(RecordError, match=r"expected a folder of records .* run make_tfrecords"):
        run.settle(settings(tmp_path / "nothing"))


def test_half_a_conversion_is_refused(ct_copy):
    (ct_copy / "dataset_info.json").unlink()
    with pytest.raises(RecordError, match=r"found none or half of one; run make_tfrecords"):
        run.settle(settings(ct_copy))


def test_a_missing_shard_is_refused_before_anything_is_read(ct_copy):
    (ct_copy / "spleen-train.tfrecord-00001-of-00002").unlink()
    with pytest.raises(RecordError, match="00001-of-00002: expected this shard, of 2 of train"):
        run.settle(settings(ct_copy))


def test_a_split_whose_shards_are_all_missing_is_refused(ct_copy):
    for path in ct_copy.glob("spleen-validation.*"):
        path.unlink()
    with pytest.raises(RecordError, match="expected this shard, of 2 of validation "):
        run.settle(settings(ct_copy))


def test_shards_of_two_conversions_are_refused(ct_copy):
    shard = ct_copy / "spleen-train.tfrecord-00001-of-00002"
    shutil.copy(shard, ct_copy / "spleen-train.tfrecord-00002-of-00003")
    with pytest.raises(RecordError, match="00002-of-00003: expected no shard that dataset_info"):
        run.settle(settings(ct_copy))


def test_a_case_that_the_records_lack_is_refused(ct, tmp_path):
    splits = write_splits(tmp_path / "splits.json", ["a", "zebra"], ["v"])
    with pytest.raises(RecordError, match=r"splits.json: expected cases of .*, found 'zebra'"):
        run.settle(settings(ct, splits=splits))


def test_a_case_that_trains_and_validates_is_refused(ct, tmp_path):
    splits = write_splits(tmp_path / "splits.json", ["a", "b"], ["b"])
    with pytest.raises(DatasetError, match="expected each case in one split, found 'b' in both"):
        run.settle(settings(ct, splits=splits))


def test_a_split_that_trains_nothing_is_refused(ct, tmp_path):
    splits = write_splits(tmp_path / "splits.json", [], ["v"])
    with pytest.raises(RecordError, match=r"splits.json: expected cases to train on, found none"):
        run.settle(settings(ct, splits=splits))


def test_a_split_file_that_is_not_there_is_refused(ct, tmp_path):
    with pytest.raises(InputError, match=r"none.json: expected a JSON file, found: No such file"):
        run.settle(settings(ct, splits=str(tmp_path / "none.json")))


def test_slices_of_several_planes_are_refused(ct_copy):
    content = json.loads((ct_copy / "cases.json").read_text())
    content["cases"]["c"]["plane"] = "sagittal"
    (ct_copy / "cases.json").write_text(json.dumps(content))
    with pytest.raises(RecordError, match="slices of one plane, found axial, sagittal; convert"):
        run.settle(settings(ct_copy))
