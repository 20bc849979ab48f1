"""Exported models are found, and judged by their model.json, without TensorFlow."""

import json
import math

import pytest

from spleen_tf.core.files import InputError
from spleen_tf.inference import model_files

INFO = {
    "name": "my_model",
    "version": "1.0.0",
    "plane": "axial",
    "modality": "MR",
    "pixel_mm": [1.5, 1.5],
    "window": [0.5, 99.5],
    "image_size": 256,
    "learning_rate": 0.001,
    "in_channels": 1,
}


@pytest.fixture
def make_model(tmp_path):
    """A function that makes what is seen of a SavedModel from outside, with a model.json."""

    def make(folder, **entries):
        place = tmp_path / folder
        (place / "assets.extra").mkdir(parents=True)
        (place / "saved_model.pb").touch()
        (place / "assets.extra" / "model.json").write_text(json.dumps({**INFO, **entries}))
        return place

    return make


def test_a_saved_model_is_found_at_its_path(make_model):
    place = make_model("my_model/saved_model")
    assert model_files.find([place]) == {place: INFO}
    assert model_files.find([str(place)]) == {place: INFO}


def test_a_family_is_found_below_its_folder_in_a_fixed_order(make_model, tmp_path):
    sagittal = make_model("family/sagittal/saved_model", plane="sagittal")
    axial = make_model("family/axial/saved_model")
    coronal = make_model("family/coronal/saved_model", plane="coronal")
    (tmp_path / "family" / "MODEL_CARD.md").write_text("# A family")
    assert model_files.folders(tmp_path / "family") == [axial, coronal, sagittal]


def test_several_paths_are_taken_together(make_model, tmp_path):
    one = make_model("one/saved_model")
    two = make_model("two/saved_model")
    other = make_model("other/saved_model")
    assert list(model_files.find([other, tmp_path / "one", two])) == [other, one, two]


def test_a_model_that_is_named_twice_is_refused(make_model, tmp_path):
    """It would count once, where its user may have meant twice."""
    place = make_model("family/axial")
    for twice in ([place, place], [tmp_path / "family", place / ".." / place.name]):
        with pytest.raises(
            InputError, match=r"--model: expected each model once, found .*axial more than once"
        ):
            model_files.find(twice)
    (tmp_path / "link").symlink_to(place)
    assert len(model_files.find([place, tmp_path / "link"])) == 2


def test_half_written_models_are_left_out(make_model, tmp_path):
    make_model("family/.partial-1234-saved_model")
    make_model("family/.hidden/axial/saved_model")
    place = make_model("family/axial/saved_model")
    assert model_files.folders(tmp_path / "family") == [place]


def test_a_hidden_folder_above_is_no_hindrance(make_model, tmp_path):
    place = make_model(".cache/family/axial/saved_model")
    assert model_files.folders(tmp_path / ".cache" / "family") == [place]


def test_a_folder_without_a_model_is_refused(tmp_path):
    with pytest.raises(
        InputError, match=r"found none in it or below; spleen_tf\.export writes one"
    ):
        model_files.find([tmp_path])
    with pytest.raises(InputError, match=r"absent: expected a SavedModel folder .* no such folder"):
        model_files.find([tmp_path / "absent"])


def test_a_saved_model_of_another_kind_is_refused(tmp_path):
    (tmp_path / "saved_model.pb").touch()
    with pytest.raises(InputError, match=r"found one without assets\.extra/model\.json"):
        model_files.find([tmp_path])


@pytest.mark.parametrize("key", INFO)
def test_a_description_that_says_too_little_is_refused(make_model, key):
    place = make_model("my_model")
    path = place / "assets.extra" / "model.json"
    path.write_text(json.dumps({k: v for k, v in INFO.items() if k != key}))
    with pytest.raises(InputError, match=rf"model\.json: expected the key '{key}', found none"):
        model_files.describe(place)


@pytest.mark.parametrize(
    ("content", "message"),
    [("{", "expected JSON"), ("[]", "expected the key 'name'"), ("7", "expected the key 'name'")],
)
def test_a_description_of_another_form_is_refused(make_model, content, message):
    place = make_model("my_model")
    (place / "assets.extra" / "model.json").write_text(content)
    with pytest.raises(InputError, match=message):
        model_files.describe(place)


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("name", None, "a text"),
        ("version", 2, "a text"),
        ("plane", "frontal", "one of coronal, axial, sagittal"),
        ("modality", "US", "CT, MR or any"),
        ("pixel_mm", 1.5, "two numbers above 0"),
        ("pixel_mm", [1.5], "two numbers above 0"),
        ("pixel_mm", [0, 1.5], "two numbers above 0"),
        ("pixel_mm", [math.nan, 1.5], "two numbers above 0"),
        ("window", ["low", "high"], "two numbers"),
        ("image_size", "256", "an integer or two"),
        ("image_size", 1.5, "an integer or two"),
        ("learning_rate", "fast", "a number"),
        ("in_channels", "a", "an odd integer above 0"),
        ("in_channels", 2, "an odd integer above 0"),
        ("in_channels", -1, "an odd integer above 0"),
        ("in_channels", True, "an odd integer above 0"),
        ("threshold", "high", "a number of 0 to 1"),
        ("threshold", True, "a number of 0 to 1"),
        ("threshold", 7, "a number of 0 to 1"),
    ],
)
def test_a_description_that_says_what_cannot_be_is_refused(make_model, key, value, expected):
    place = make_model("my_model", **{key: value})
    with pytest.raises(InputError, match=rf"model\.json: expected {expected} as the {key}, found"):
        model_files.describe(place)


def test_image_sizes_are_one_integer_or_two_and_a_threshold_is_one_number(make_model):
    for number, entries in enumerate(({"image_size": [64, 112]}, {"threshold": 0.5})):
        assert (
            model_files.describe(make_model(f"model_{number}", **entries)).items()
            >= entries.items()
        )


def test_models_of_ct_and_mr_are_not_fused_but_those_of_any_go_with_either(make_model):
    ct, mr, either = (make_model(name, modality=name) for name in ("CT", "MR", "any"))
    assert len(model_files.find([ct, either])) == 2
    assert len(model_files.find([either, mr])) == 2
    with pytest.raises(InputError, match="expected models of one modality, found CT and MR"):
        model_files.find([ct, either, mr])


def test_a_folder_of_several_families_is_refused(make_model, tmp_path):
    for place in ("any/saved_model", "mr/axial/saved_model", "mr/coronal/saved_model"):
        make_model(tmp_path / place)
    with pytest.raises(InputError, match=r"found 2 folders of models \(any, mr\); name one"):
        model_files.folders(tmp_path)
    assert len(model_files.folders(tmp_path / "mr")) == 2


def test_a_second_opinion_is_found_beside_its_family_and_is_no_member_of_it(make_model, tmp_path):
    axial = make_model("family/axial/saved_model")
    other = make_model("family/second_opinion/axial/saved_model")
    family = tmp_path / "family"
    assert model_files.folders(family) == [axial]
    assert model_files.second_opinion([family]) == [other]
    # By itself it is a family as any other.
    assert model_files.folders(family / "second_opinion") == [other]


def test_no_second_opinion_is_asked_of_whom_it_does_not_belong_to(make_model, tmp_path):
    axial = make_model("family/axial/saved_model")
    make_model("family/second_opinion/axial/saved_model")
    other = make_model("other/saved_model")
    assert model_files.second_opinion([axial]) == []
    assert model_files.second_opinion([other.parent]) == []
    assert model_files.second_opinion([tmp_path / "family", other]) == []


def test_a_second_opinion_for_another_modality_or_without_models_is_refused(make_model, tmp_path):
    make_model("family/axial/saved_model", modality="CT")
    make_model("family/second_opinion/axial/saved_model", modality="MR")
    with pytest.raises(InputError, match="expected models of one modality, found CT and MR"):
        model_files.second_opinion([tmp_path / "family"])
    make_model("bare/axial/saved_model")
    (tmp_path / "bare" / "second_opinion").mkdir()
    with pytest.raises(InputError, match=r"second_opinion: expected a SavedModel folder"):
        model_files.second_opinion([tmp_path / "bare"])


def test_what_members_have_in_common_is_told_once_and_the_rest_joined():
    axial = {**INFO, "name": "axial", "image_size": 112}
    coronal = {**INFO, "name": "coronal", "image_size": [64, 112]}
    assert model_files.in_common([axial, coronal]) == {
        "model": "axial + coronal",
        "image_size": "112 + [64, 112]",
        "learning_rate": 0.001,
        "version": "1.0.0",
    }
    assert model_files.in_common([axial])["image_size"] == 112


@pytest.mark.parametrize(
    ("names", "family"),
    [
        (["spleen_axial", "spleen_coronal"], "spleen"),
        (["spleen_any"], "spleen_any"),
        (["mine", "yours"], "mine + yours"),
    ],
)
def test_a_family_is_called_by_what_its_members_names_begin_with(names, family):
    assert model_files.family_name([{**INFO, "name": name} for name in names]) == family
