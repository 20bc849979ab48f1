"""Which predictions and labels belong together, by the names of their files."""

import numpy as np
import pytest

from spleen_tf.core.files import InputError, InputWarning
from spleen_tf.evaluation import pairing
from spleen_tf.imaging.volume import Volume
from spleen_tf.io import nifti

SPLEEN = np.zeros((6, 5, 4), np.int16)
SPLEEN[1:3, 1:3, 1:3] = 1
HALF = SPLEEN * (np.arange(6) == 1)[:, np.newaxis, np.newaxis]


def save(path, array_ijk):
    path.parent.mkdir(parents=True, exist_ok=True)
    nifti.write(path, Volume(array_ijk, np.eye(4), str(path)))
    return path


@pytest.fixture
def two_cases(tmp_path):
    """Predictions of cases a and b, and a data set that holds both."""
    for case in "ab":
        save(tmp_path / f"predictions/{case}.nii.gz", HALF)
        save(tmp_path / f"data_set/labelsTr/{case}.nii.gz", SPLEEN)
    return tmp_path


def test_labels_without_prediction_are_left_out_and_told(two_cases):
    save(two_cases / "data_set/labelsTr/c.nii.gz", SPLEEN)
    with pytest.warns(InputWarning, match=r"labelsTr: 1 of 3 labels have no .* left out: c$"):
        pairs = pairing.find_pairs(two_cases / "predictions", two_cases / "data_set")
    assert [pair.case for pair in pairs] == ["a", "b"]


def test_many_labels_without_prediction_are_counted_and_not_all_named(two_cases):
    for n in range(7):
        save(two_cases / f"data_set/labelsTr/c{n}.nii.gz", SPLEEN)
    with pytest.warns(InputWarning, match=r"7 of 9 labels .*: c0, c1, c2, c3, c4, …$"):
        pairing.find_pairs(two_cases / "predictions", two_cases / "data_set")


def test_two_files_are_a_pair_whatever_their_names(tmp_path):
    pred, label = save(tmp_path / "out.nii.gz", HALF), save(tmp_path / "spleen_2.nii", SPLEEN)
    assert pairing.find_pairs(pred, label) == [("spleen_2", pred, label)]


def test_one_prediction_finds_its_label_in_a_folder(two_cases):
    pred = two_cases / "predictions/b.nii.gz"
    with pytest.warns(InputWarning, match="1 of 2 labels"):
        (pair,) = pairing.find_pairs(pred, two_cases / "data_set")
    assert pair.label == two_cases / "data_set/labelsTr/b.nii.gz"


def test_folders_pair_by_name_without_suffix_and_past_other_files(tmp_path):
    save(tmp_path / "predictions/a.nii", HALF)
    (tmp_path / "predictions/._a.nii.gz").write_bytes(b"resource fork")
    (tmp_path / "predictions/a.json").write_text("{}")
    save(tmp_path / "labels/a.nii.gz", SPLEEN)
    (pair,) = pairing.find_pairs(tmp_path / "predictions", tmp_path / "labels")
    assert pair == ("a", tmp_path / "predictions/a.nii", tmp_path / "labels/a.nii.gz")


def test_predictions_named_like_inputs_of_nnunet_find_their_labels(two_cases):
    folder = two_cases / "predictions"
    (folder / "b.nii.gz").rename(folder / "b_0000.nii.gz")
    pairs = pairing.find_pairs(two_cases / "predictions", two_cases / "data_set")
    assert [pair.case for pair in pairs] == ["a", "b"]
    assert pairs[1].prediction.name == "b_0000.nii.gz"
    assert pairs[1].label.name == "b.nii.gz"


def test_a_prediction_of_the_labels_own_name_comes_before_one_with_a_channel(two_cases):
    save(two_cases / "predictions/b_0000.nii.gz", HALF)
    with pytest.raises(InputError, match=r"b_0000\.nii\.gz: expected a label of the same name"):
        pairing.find_pairs(two_cases / "predictions", two_cases / "data_set")


def test_a_label_with_a_channel_in_its_name_pairs_with_its_namesake(two_cases):
    save(two_cases / "predictions/b_0000.nii.gz", HALF)
    save(two_cases / "data_set/labelsTr/b_0000.nii.gz", SPLEEN)
    pairs = pairing.find_pairs(two_cases / "predictions", two_cases / "data_set")
    assert [(pair.case, pair.label.name) for pair in pairs] == [
        *(("a", "a.nii.gz"), ("b", "b.nii.gz"), ("b_0000", "b_0000.nii.gz"))
    ]


def test_two_files_of_one_case_are_refused(two_cases):
    save(two_cases / "predictions/a.nii", SPLEEN)
    with pytest.raises(InputError, match=r"a.nii.gz: expected one file per case, found a.nii "):
        pairing.find_pairs(two_cases / "predictions", two_cases / "data_set")


@pytest.mark.parametrize(
    ("path", "sentence"),
    [("nowhere", "found no such path"), ("empty", "expected masks .* found none")],
)
def test_a_path_without_masks_is_named(two_cases, path, sentence):
    (two_cases / "empty").mkdir()
    with pytest.raises(InputError, match=rf"{path}: .*{sentence}"):
        pairing.find_pairs(two_cases / path, two_cases / "data_set")
    with pytest.raises(InputError, match=rf"{path}: .*{sentence}"):
        pairing.find_pairs(two_cases / "predictions", two_cases / path)
