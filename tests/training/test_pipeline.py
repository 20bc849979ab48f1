"""Records to batches: which slices, in what order and shares, with which neighbours and window.

Every pixel of slice n of case number c holds 100 c + n, so that a slice tells where it is from.
"""

import dataclasses
import json
import warnings

import numpy as np
import pytest
import tensorflow as tf

from spleen_tf.core.files import InputWarning
from spleen_tf.training import pipeline, run
from spleen_tf.training.augment_config import AugmentConfig
from spleen_tf.training.config import TrainConfig

# Name: split, number, slices, those with spleen, rows and columns.
CASES = {
    "a": ("train", 1, 6, (2, 3), (8, 10)),
    "b": ("train", 2, 4, (1,), (8, 10)),
    "c": ("train", 3, 5, (3, 4), (6, 8)),
    "d": ("train", 4, 3, (), (8, 10)),
    "v": ("validation", 7, 11, (4, 5, 6), (8, 10)),
    "w": ("validation", 8, 3, (0,), (5, 12)),
}
TRAIN_IDS = {100 * c + n for split, c, n_max, *_ in CASES.values() for n in range(n_max) if c < 7}
SPLEEN_IDS = {102, 103, 201, 303, 304}


def case(split, number, count, with_spleen, shape_hw, modality="CT"):
    images_nhw = np.zeros((count, *shape_hw), np.int16)
    images_nhw += (100 * number + np.arange(count, dtype=np.int16))[:, np.newaxis, np.newaxis]
    labels_nhw = np.zeros((count, *shape_hw), np.uint8)
    labels_nhw[list(with_spleen), 2:5, 3:7] = 1
    return split, modality, images_nhw, labels_nhw


@pytest.fixture(scope="module")
def ct(make_records):
    """Two shards a split, so that cases a and c, and b and d, follow one another in one."""
    return make_records({name: case(*about) for name, about in CASES.items()})


def settings(records, **changes):
    """A training on native pixels, without augmentation, whose window maps 0..1000 to 0..1."""
    plain = {"image_size": (12,), "depth": 1, "window": (0.0, 1000.0), "steps": 1}
    plain |= {f"augment_{field.name}": 0.0 for field in dataclasses.fields(AugmentConfig)}
    return settled({"records": str(records), "model_dir": "model", **plain, **changes})


def settled(flags):
    return run.settle(TrainConfig(**flags))


def training_batches(training, count, start=0):
    batches = pipeline.for_training(training, start).take(count)
    return [(images.numpy(), labels.numpy()) for images, labels in batches]


def drawn(training, count, start=0):
    """Images [N, H, W, C], labels [N, H, W, 1] and ids (N,) of about `count` training slices."""
    batches = training_batches(training, -(-count // training.batch_size), start)
    images, labels = (np.concatenate(part) for part in zip(*batches, strict=True))
    middle = images[..., images.shape[-1] // 2]
    return images, labels, np.round(1000 * middle.max(axis=(1, 2))).astype(int)


def validation_batches(training):
    return list(pipeline.for_validation(training).as_numpy_iterator())


def write_splits(path, train, validation):
    path.write_text(json.dumps({"train": train, "validation": validation}))
    return str(path)


# Training batches


def test_batches_have_the_size_of_the_flags_and_binary_labels(ct):
    training = settings(ct, image_size=(8, 16), batch_size=5, in_channels=3)
    (images, labels), _ = training_batches(training, 2)
    assert (images.shape, images.dtype) == ((5, 8, 16, 3), np.float32)
    assert (labels.shape, labels.dtype) == ((5, 8, 16, 1), np.float32)
    assert set(np.unique(labels)) <= {0, 1}


@pytest.mark.parametrize("batches_of", [pipeline.for_training, pipeline.for_validation])
def test_no_autotuner_is_left_asleep_when_reading_ends(ct, batches_of):
    # Now and then it would hold up the end by as long as reading took, for up to a minute.
    training = settings(ct)
    assert batches_of(training).options().autotune.enabled is False


def test_every_training_slice_is_drawn_and_no_other(ct):
    _, _, ids = drawn(settings(ct), 400)
    assert set(ids) == TRAIN_IDS


@pytest.mark.slow
def test_the_same_seed_gives_the_same_batches_and_another_seed_others(ct):
    training = settled(
        {"records": ct, "model_dir": "m", "image_size": (16,), "steps": 1, "seed": 3}
    )
    first, again = training_batches(training, 3), training_batches(training, 3)
    for (images, labels), (images_again, labels_again) in zip(first, again, strict=True):
        np.testing.assert_array_equal(images, images_again)
        np.testing.assert_array_equal(labels, labels_again)
    other = settings(ct, seed=4)
    assert (drawn(other, 16)[2] != drawn(settings(ct, seed=3), 16)[2]).any()


@pytest.mark.parametrize("cache", [False, True])
def test_a_resumed_training_sees_another_order_that_is_its_own(ct, cache):
    training = settings(ct, cache=cache)
    from_start, resumed = drawn(training, 16)[2], drawn(training, 16, start=32)[2]
    assert (from_start != resumed).any()
    np.testing.assert_array_equal(resumed, drawn(training, 16, start=32)[2])


@pytest.mark.parametrize("cache", [False, True])
def test_each_pass_over_the_slices_has_another_order(ct, cache):
    ids = drawn(settings(ct, cache=cache, foreground_fraction=0.0, batch_size=13), 39)[2]
    without_spleen = sorted(TRAIN_IDS - SPLEEN_IDS)
    passes = ids.reshape(3, 13)
    assert [sorted(p) for p in passes] == [without_spleen] * 3
    assert len({tuple(p) for p in passes}) == 3


def test_a_cache_changes_no_slice(ct):
    images, labels, ids = drawn(settings(ct, image_size=(6,), pixel_mm=(3.0,)), 400)
    cached, cached_labels, cached_ids = drawn(
        settings(ct, image_size=(6,), pixel_mm=(3.0,), cache=True), 400
    )
    assert set(ids) == set(cached_ids) == TRAIN_IDS
    for number in TRAIN_IDS - {300, 301, 302, 303, 304}:  # Those are padded, at random places.
        n, m = list(ids).index(number), list(cached_ids).index(number)
        np.testing.assert_array_equal(images[n], cached[m])
        np.testing.assert_array_equal(labels[n], cached_labels[m])


def test_the_share_of_slices_with_spleen_is_the_one_asked_for(ct):
    _, labels, ids = drawn(settings(ct, foreground_fraction=0.8), 400)
    shows_spleen = labels.any(axis=(1, 2, 3))
    np.testing.assert_array_equal(shows_spleen, np.isin(ids, list(SPLEEN_IDS)))
    # 400 draws with a chance of 0.8: a standard deviation of 0.02, and four of them.
    assert abs(shows_spleen.mean() - 0.8) < 0.08


@pytest.mark.parametrize(("fraction", "expected"), [(1.0, {1}), (0.0, {0})])
def test_all_slices_or_none_may_show_spleen(ct, fraction, expected):
    _, labels, _ = drawn(settings(ct, foreground_fraction=fraction), 40)
    assert set(labels.max(axis=(1, 2, 3))) == expected


def test_records_without_any_spleen_warn_and_train(ct, tmp_path):
    splits = write_splits(tmp_path / "splits.json", ["d"], ["v"])
    with pytest.warns(InputWarning, match="no training slice shows spleen"):
        _, labels, ids = drawn(settings(ct, splits=splits), 16)
    assert set(ids) == {400, 401, 402}
    assert labels.max() == 0


def test_records_in_which_every_slice_shows_spleen_train_on_these(ct, tmp_path, make_records):
    records = make_records({"a": case("train", 1, 3, (0, 1, 2), (8, 10))})
    with warnings.catch_warnings():
        warnings.simplefilter("error", InputWarning)
        _, labels, _ = drawn(settings(records, foreground_fraction=0.1), 16)
    assert labels.any(axis=(1, 2, 3)).all()


def test_a_batch_holds_several_patients(ct):
    for images, _ in training_batches(settings(ct, batch_size=8), 6):
        numbers = np.round(1000 * images.max(axis=(1, 2, 3))) // 100
        assert len(set(numbers)) >= 2


def test_a_crop_lies_at_changing_places_and_takes_the_label_along(make_records):
    images_nhw = np.stack([np.arange(1, 65, dtype=np.int16).reshape(8, 8)] * 2)
    labels_nhw = (images_nhw >= 33).astype(np.uint8)
    records = make_records({"a": ("train", "CT", images_nhw, labels_nhw)})
    training = settings(records, image_size=(4,), foreground_fraction=1.0)
    images, labels, _ = drawn(training, 40)
    values = np.round(1000 * images[..., 0])
    assert len(set(values[:, 0, 0])) > 10
    np.testing.assert_array_equal(labels[..., 0], values >= 33)
    np.testing.assert_array_equal(np.diff(values, axis=2), np.ones((40, 4, 3)))


def test_image_and_label_go_to_the_grid_together(make_records):
    labels_nhw = np.zeros((2, 12, 16), np.uint8)
    labels_nhw[:, 3:9, 4:11] = 1
    records = make_records({"a": ("train", "CT", labels_nhw.astype(np.int16), labels_nhw)})
    # 2 mm rows and 1.5 mm columns become 1.3 mm: 19 × 19 pixels, in 20 × 20.
    training = settings(records, window=(0.0, 1.0), pixel_mm=(1.3,), image_size=(20,))
    images, labels, _ = drawn(training, 8)
    np.testing.assert_array_equal(labels, images > 0.5)
    # 12 × 10.5 mm of spleen.
    assert abs(labels[0].sum() * 1.3**2 - 126) < 15


def test_augmentation_changes_from_draw_to_draw_and_goes_on_where_a_training_resumes(ct):
    training = settings(ct, augment_gamma=0.5, foreground_fraction=1.0, cache=True)
    images, _, _ = drawn(training, 48)
    assert len({float(image.max()) for image in images}) > 44
    resumed = drawn(training, 48, start=48)[0]
    assert not {float(i.max()) for i in images} & {float(i.max()) for i in resumed}


def test_the_largest_seed_is_as_good_as_any(ct):
    images, _, _ = drawn(settings(ct, seed=2**31 - 2, augment_noise=0.1), 8)
    assert np.isfinite(images).all()


# Neighbours


def clipped_neighbours(number, n, in_channels):
    last = next(count for _, c, count, *_ in CASES.values() if c == number) - 1
    reach = in_channels // 2
    return [100 * number + min(max(n + k, 0), last) for k in range(-reach, reach + 1)]


@pytest.mark.parametrize("in_channels", [3, 5])
def test_a_training_slice_comes_with_its_own_patients_neighbours(ct, in_channels):
    images, labels, ids = drawn(settings(ct, in_channels=in_channels), 300)
    assert set(ids) == TRAIN_IDS
    found = np.round(1000 * images.max(axis=(1, 2))).astype(int)
    for number, channels, label in zip(ids, found, labels, strict=True):
        assert list(channels) == clipped_neighbours(number // 100, number % 100, in_channels)
        assert label.any() == (number in SPLEEN_IDS)


def test_a_validation_slice_comes_with_its_own_patients_neighbours(ct):
    for batch in validation_batches(settings(ct, in_channels=3)):
        for n, image in zip(batch["slice_index"], batch["images"], strict=True):
            expected = clipped_neighbours((7, 8)[batch["case"]], n, 3)
            assert image[0, 0].tolist() == expected
            assert (image == image[0, 0]).all()


def test_neighbours_stop_where_the_patient_changes():
    names = ["p", "p", "p", "q", "r", "r"]
    examples = tf.data.Dataset.from_tensor_slices(
        {"case": names, "image": list("abcdef"), "label": list("ABCDEF")}
    )
    found = list(pipeline.with_neighbours(examples, 3).as_numpy_iterator())
    images, labels = (
        [b"".join(example[name]).decode() for example in found] for name in ("image", "label")
    )
    assert images == ["aab", "abc", "bcc", "ddd", "eef", "eff"]
    assert labels == ["AAB", "ABC", "BCC", "DDD", "EEF", "EFF"]


# Validation


def test_validation_yields_each_native_slice_once_with_all_that_belongs_to_it(ct):
    found = {}
    for batch in validation_batches(settings(ct)):
        name = ("v", "w")[batch["case"]]
        _, number, _, with_spleen, shape_hw = CASES[name]
        assert len(batch["images"]) <= 8
        assert batch["images"].shape[1:] == (*shape_hw, 1)
        assert batch["labels"].dtype == np.uint8
        np.testing.assert_allclose(batch["pixel_mm"], [2.0, 1.5])
        np.testing.assert_array_equal(batch["window"], [0, 1000])
        for n, image, label in zip(
            batch["slice_index"], batch["images"], batch["labels"], strict=True
        ):
            assert (name, n) not in found
            assert (image == 100 * number + n).all()
            assert label.sum() == (12 if n in with_spleen else 0)
            found[name, n] = True
    assert set(found) == {("v", n) for n in range(11)} | {("w", n) for n in range(3)}


def test_a_split_file_deals_the_cases_anew(ct, tmp_path):
    splits = write_splits(tmp_path / "splits.json", ["v", "b"], ["c", "a"])
    training = settings(ct, splits=splits)
    assert (training.train, training.validation) == (("v", "b"), ("c", "a"))
    assert set(drawn(training, 200)[2] // 100) == {7, 2}
    batches = validation_batches(training)
    seen = {(int(b["case"]), int(image.max())) for b in batches for image in b["images"]}
    assert seen == {(0, 300 + n) for n in range(5)} | {(1, 100 + n) for n in range(6)}


def test_a_training_may_do_without_validation(ct, tmp_path):
    training = settings(ct, splits=write_splits(tmp_path / "splits.json", ["a"], []))
    assert training.validation == ()
    assert set(drawn(training, 100)[2]) == {100 + n for n in range(6)}


# Windows


def ramp_case(split, modality, low, high, count=3):
    images_nhw = np.linspace(low, high, count * 64).astype(np.int16).reshape(count, 8, 8)
    labels_nhw = np.zeros((count, 8, 8), np.uint8)
    labels_nhw[1, 2:4, 2:4] = 1
    return split, modality, images_nhw, labels_nhw


@pytest.fixture(scope="module")
def mixed(make_records):
    """A CT that trains, MR volumes of other scales that validate."""
    return make_records(
        {
            "ct": ramp_case("train", "CT", -1000, 1000),
            "mr": ramp_case("validation", "MR", 0, 500),
            "mr_bright": ramp_case("validation", "MR", 100, 30000),
        }
    )


@pytest.mark.parametrize("percentiles", [(0.5, 99.5), (5.0, 95.0)])
def test_mr_is_seen_between_percentiles_of_its_own_volume(mixed, tmp_path, percentiles):
    splits = write_splits(tmp_path / "splits.json", ["mr"], ["mr_bright"])
    window = () if percentiles == (0.5, 99.5) else percentiles
    training = settings(mixed, splits=splits, window=window, foreground_fraction=0.0)
    assert (training.modality, training.window) == ("MR", percentiles)
    (batch,) = validation_batches(training)
    volume = ramp_case("", "MR", 100, 30000)[2]
    np.testing.assert_allclose(batch["window"], np.percentile(volume, percentiles), rtol=1e-5)
    images, _, _ = drawn(training, 8)
    assert images.min() == 0
    assert images.max() == 1


def test_mr_beside_ct_is_seen_between_percentiles(mixed):
    training = settings(mixed, window=())
    assert (training.modality, training.window) == ("any", (0.5, 99.5))
    windows = {int(b["case"]): b["window"] for b in validation_batches(training)}
    for index, (low, high) in enumerate([(0, 500), (100, 30000)]):
        volume = ramp_case("", "MR", low, high)[2]
        np.testing.assert_allclose(windows[index], np.percentile(volume, (0.5, 99.5)), rtol=1e-5)


@pytest.mark.parametrize("lowest_hu", [-1000, -125])
def test_ct_beside_mr_is_seen_in_hounsfield_units(make_records, lowest_hu):
    """Also where it was clipped to a window, so that its values do not show that it is CT."""
    cases = {
        "mr": ramp_case("train", "MR", 0, 500),
        "ct": ramp_case("validation", "CT", lowest_hu, 275),
    }
    (batch,) = validation_batches(settings(make_records(cases), window=()))
    assert batch["window"].tolist() == [-160, 240]


def test_each_modality_gives_half_of_the_slices_however_few_its_cases(make_records):
    many = {f"mr_{n}": ramp_case("train", "MR", 2000, 3000, count=9) for n in range(4)}
    records = make_records({"ct": ramp_case("train", "CT", -1000, -1000), **many})
    images, labels, _ = drawn(settings(records, window=(), foreground_fraction=0.5), 400)
    is_ct = images.max(axis=(1, 2, 3)) == 0  # -1000 HU are black.
    # 400 draws with a chance of a half: a standard deviation of 0.025, and four of them.
    assert abs(is_ct.mean() - 0.5) < 0.1
    assert abs(labels[is_ct].any(axis=(1, 2, 3)).mean() - 0.5) < 0.15
