"""Splits by patient: how they are dealt, written and read."""

import dataclasses
import json

import hypothesis
import pytest
from hypothesis import strategies

from spleen_tf.core.files import InputError, InputWarning
from spleen_tf.datasets.layouts import Case, DatasetError
from spleen_tf.datasets.splits import Splits, make_splits, read_splits, write_splits


def named(*names, split=""):
    return [Case(name, "image", "label", "CT", split) for name in names]


def many(count):
    return named(*(f"case_{n:02d}" for n in range(count)))


@hypothesis.settings(max_examples=30)
@hypothesis.given(
    count=strategies.integers(2, 25),
    num_folds=strategies.integers(2, 8),
    seed=strategies.integers(0, 9),
)
def test_every_case_validates_in_exactly_one_fold_and_trains_in_the_others(count, num_folds, seed):
    listed = many(count)
    folds = [make_splits(listed, seed, fold, num_folds) for fold in range(min(num_folds, count))]
    for splits in folds:
        assert not set(splits.train) & set(splits.validation)
        assert sorted(splits.train + splits.validation) == [case.name for case in listed]
    assert sorted(name for splits in folds for name in splits.validation) == [
        case.name for case in listed
    ]
    sizes = [len(splits.validation) for splits in folds]
    assert min(sizes) >= 1
    assert max(sizes) - min(sizes) <= 1


def test_splits_depend_on_names_seed_and_fold_alone():
    listed = many(20)
    splits = make_splits(listed, 1, 2, 5)
    assert (splits.seed, splits.fold, splits.num_folds) == (1, 2, 5)
    assert len(splits.validation) == 4
    assert make_splits(listed[::-1], 1, 2, 5) == splits
    elsewhere = [dataclasses.replace(case, image="other", modality="MR") for case in listed]
    assert make_splits(elsewhere, 1, 2, 5) == splits
    assert make_splits(listed, 2, 2, 5).validation != splits.validation
    assert make_splits(listed, 1, 3, 5).validation != splits.validation


def test_single_case_trains_with_a_warning():
    with pytest.warns(InputWarning, match="one case only: it trains, and nothing validates"):
        splits = make_splits(named("a"), 0, 0, 5)
    assert splits == Splits(("a",), (), 0, 0, 5)


@pytest.mark.parametrize(
    ("fold", "num_folds", "sentence"),
    [
        (5, 5, "--fold: expected 0 to 4 of 5, found 5"),
        (-1, 5, "--fold: expected 0 to 4 of 5, found -1"),
        (3, 5, "--fold: expected a fold below 3, the number of cases, found 3"),
    ],
)
def test_fold_that_holds_no_case_is_refused(fold, num_folds, sentence):
    with pytest.raises(DatasetError, match=sentence):
        make_splits(named("a", "b", "c"), 0, fold, num_folds)


def test_splits_of_the_data_set_itself_are_taken():
    listed = named("a", "b", split="train") + named("c", split="validation")
    assert make_splits(listed, 7, 0, 5) == Splits(("a", "b"), ("c",))
    with pytest.raises(DatasetError, match="--fold: expected none with a table that has a column"):
        make_splits(listed, 7, 2, 5)


NAMES = strategies.lists(strategies.text(min_size=1, max_size=8), unique=True, max_size=6)


@hypothesis.settings(max_examples=15)
@hypothesis.given(
    names=NAMES, cut=strategies.integers(0, 6), fold=strategies.none() | strategies.integers(0, 4)
)
def test_splits_come_back_from_their_file(tmp_path_factory, names, cut, fold):
    path = tmp_path_factory.getbasetemp() / "splits.json"
    splits = Splits(tuple(names[:cut]), tuple(names[cut:]), fold, fold, fold)
    write_splits(path, splits)
    assert read_splits(path) == splits


def test_splits_file_has_the_keys_that_others_read(tmp_path):
    write_splits(tmp_path / "splits.json", Splits(("b", "c"), ("a",), 3, 1, 4))
    assert json.loads((tmp_path / "splits.json").read_text()) == {
        "train": ["b", "c"],
        "validation": ["a"],
        "seed": 3,
        "fold": 1,
        "num_folds": 4,
    }


def test_splits_by_hand_need_no_more_than_the_two_lists(tmp_path):
    path = tmp_path / "splits.json"
    path.write_text('{"train": ["a"], "validation": []}')
    assert read_splits(path) == Splits(("a",), ())


def test_a_fold_of_nnunets_list_is_read(tmp_path):
    path = tmp_path / "splits_final.json"
    path.write_text('[{"train": ["a", "b"], "val": ["c"]}, {"train": ["a", "c"], "val": ["b"]}]')
    assert read_splits(path) == Splits(("a", "b"), ("c",), fold=0, num_folds=2)
    assert read_splits(path, fold=1) == Splits(("a", "c"), ("b",), fold=1, num_folds=2)
    with pytest.raises(InputError, match=r"final\.json: expected --fold below 2, .* found 2\.$"):
        read_splits(path, fold=2)


def test_another_fold_than_that_of_a_single_one_is_refused(tmp_path):
    path = tmp_path / "splits.json"
    write_splits(path, Splits(("b", "c"), ("a",), 3, 1, 4))
    assert read_splits(path, fold=1).fold == 1
    with pytest.raises(InputError, match="expected a list of folds, of which --fold=2, found one"):
        read_splits(path, fold=2)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"train": ["a", "b"], "validation": ["c", "b"]}, "each case in one split, found 'b' in b"),
        ({"train": ["a", "b", "a"], "validation": []}, "each case once, found 'a' 2 times"),
        ({"train": ["a"]}, "expected the key 'validation', found none; write an object with"),
        ({"train": ["a"], "validation": "b"}, r"expected `array` at \$\.validation, found `str`"),
        ({"train": ["a"], "validation": [2]}, r"expected `str` at .*validation\[.*, found `int`"),
        (
            ["a"],
            "expected `object` .*, found `str`; .* or a list of folds, each with train and val",
        ),
        ([], "expected at least one fold, found an empty list"),
        ([{"train": ["a"], "validation": ["b"]}], "expected the key 'val' .*found none"),
        ([{"train": ["a"], "val": ["a"]}], "each case in one split, found 'a' in both"),
        ("train: a", "expected JSON, found text that does not parse"),
    ],
)
def test_splits_file_that_does_not_fit_is_refused_by_its_name(tmp_path, content, sentence):
    path = tmp_path / "splits.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    with pytest.raises(InputError, match=rf"splits\.json: .*{sentence}"):
        read_splits(path)


def test_splits_are_restricted_to_some_cases_and_keep_their_order():
    splits = Splits(("c", "a", "b"), ("e", "d"), 3, 1, 4)
    assert splits.restricted_to({"a", "c", "d"}) == Splits(("c", "a"), ("d",), 3, 1, 4)
    assert splits.of("train") == ("c", "a", "b")
    assert splits.of("validation") == ("e", "d")


def test_a_byte_order_mark_is_skipped(tmp_path):
    path = tmp_path / "splits.json"
    path.write_bytes(b'\xef\xbb\xbf{"train": ["a"], "validation": ["b"]}')
    assert read_splits(path) == Splits(("a",), ("b",))
