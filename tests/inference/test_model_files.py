"""Exported models are found, and judged by their model.json, without TensorFlow."""

import json

import msgspec
import pytest

from spleen_tf.core.files import InputError
from spleen_tf.inference import loading, model_files

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


MODEL = msgspec.convert(INFO, model_files.ModelInfo)


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
    assert model_files.find([place]) == {place: MODEL}
    assert model_files.find([str(place)]) == {place: MODEL}


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


def test_a_model_is_also_found_by_its_onnx_file_alone(make_model, tmp_path):
    place = make_model("family/axial/saved_model")
    (place / "saved_model.pb").unlink()
    with pytest.raises(InputError, match="found none in it or below"):
        model_files.find([tmp_path / "family"])
    (place.parent / "model.onnx").touch()
    assert model_files.find([tmp_path / "family"]) == {place: MODEL}
    assert model_files.find([place]) == {place: MODEL}


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
    [
        ("{", "expected JSON"),
        ("[]", "expected `object`, found `array`"),
        ("7", "expected `object`"),
    ],
)
def test_a_description_of_another_form_is_refused(make_model, content, message):
    place = make_model("my_model")
    (place / "assets.extra" / "model.json").write_text(content)
    with pytest.raises(InputError, match=message):
        model_files.describe(place)


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("name", None, r"expected `str` at \$\.name, found `null`"),
        ("version", 2, r"expected `str` at \$\.version"),
        ("plane", "frontal", r"expected one of the known values at \$\.plane, found 'frontal'"),
        ("modality", "US", r"expected one of the known values at \$\.modality, found 'US'"),
        ("pixel_mm", 1.5, r"expected `array` at \$\.pixel_mm"),
        ("pixel_mm", [1.5], r"expected `array` of length 2 at \$\.pixel_mm, found"),
        ("pixel_mm", [0, 1.5], r"expected `float` > 0(\.0)? at \$\.pixel_mm"),
        ("window", ["low", "high"], r"expected `float` at \$\.window"),
        ("image_size", "256", r"expected `int \| array` at \$\.image_size"),
        ("learning_rate", "fast", r"expected `float` at \$\.learning_rate"),
        ("in_channels", "a", r"expected `int` at \$\.in_channels"),
        ("in_channels", 2, "expected an odd number of in_channels, found 2"),
        ("in_channels", -1, r"expected `int` >= 1 at \$\.in_channels"),
        ("in_channels", True, r"expected `int` at \$\.in_channels"),
        ("threshold", "high", r"expected `float` at \$\.threshold"),
        ("threshold", 7, r"expected `float` <= 1(\.0)? at \$\.threshold"),
    ],
)
def test_a_description_that_says_what_cannot_be_is_refused(make_model, key, value, message):
    place = make_model("my_model", **{key: value})
    with pytest.raises(InputError, match=rf"model\.json: {message}.*; export the model again\.$"):
        model_files.describe(place)


def test_what_may_be_missing_has_defaults_and_other_keys_do_no_harm(make_model):
    info = model_files.describe(make_model("a", image_size=[64, 112], license="CC0-1.0"))
    assert (info.image_size, info.threshold, info.family) == ((64, 112), 0.5, None)
    assert model_files.describe(make_model("b", threshold=0.4)).threshold == 0.4


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
    folder = tmp_path / "family"
    assert model_files.folders(folder) == [axial]
    assert model_files.find_second_opinion([folder]) == {other: MODEL}
    # By itself it is a family as any other.
    assert model_files.folders(folder / "second_opinion") == [other]


def test_no_second_opinion_is_asked_of_whom_it_does_not_belong_to(make_model, tmp_path):
    axial = make_model("family/axial/saved_model")
    make_model("family/second_opinion/axial/saved_model")
    other = make_model("other/saved_model")
    assert model_files.find_second_opinion([axial]) == {}
    assert model_files.find_second_opinion([other.parent]) == {}
    assert model_files.find_second_opinion([tmp_path / "family", other]) == {}


def test_a_second_opinion_for_another_modality_or_without_models_is_refused(make_model, tmp_path):
    make_model("family/axial/saved_model", modality="CT")
    make_model("family/second_opinion/axial/saved_model", modality="MR")
    with pytest.raises(InputError, match="expected models of one modality, found CT and MR"):
        loading.resolve([tmp_path / "family"])
    make_model("bare/axial/saved_model")
    (tmp_path / "bare" / "second_opinion").mkdir()
    with pytest.raises(InputError, match=r"second_opinion: expected a SavedModel folder"):
        loading.resolve([tmp_path / "bare"])
    assert len(loading.resolve([tmp_path / "bare"], with_second_opinion=False).members) == 1


def test_a_calibration_lies_in_the_family_s_folder_or_above_a_model_s(make_model, tmp_path):
    axial = make_model("family/axial/saved_model")
    models = model_files.find([axial])
    quality = tmp_path / "family" / "axial" / "quality.json"
    assert model_files.find_calibration([axial], models) is None
    quality.touch()
    assert model_files.find_calibration([axial], models) == quality
    assert model_files.find_calibration([axial.parent], models) == quality
    assert model_files.find_calibration([tmp_path / "family"], models) is None
    assert model_files.find_calibration([axial, axial.parent], models) is None


def name_of(*paths):
    return model_files.family_name(paths, model_files.find(paths))


def test_a_family_has_the_name_that_its_models_say(make_model, tmp_path):
    axial = make_model("a/axial", name="mine-axial", family="mine")
    coronal = make_model("b/coronal", name="minor-coronal", family="mine")
    assert name_of(axial, coronal) == "mine"
    other = make_model("c/coronal", name="other", family="other")
    assert name_of(axial, other) == "mine-axial + other"


def test_a_family_whose_models_do_not_say_its_name_has_that_of_its_folder(make_model, tmp_path):
    """Letters that names happen to share are no name: of these it would be 'min'."""
    axial = make_model("minerals/axial/saved_model", name="mine-axial")
    coronal = make_model("minerals/coronal/saved_model", name="minor-coronal")
    assert name_of(tmp_path / "minerals") == "minerals"
    assert name_of(axial, coronal) == "mine-axial + minor-coronal"
    assert name_of(axial) == "mine-axial"
    make_model("minerals/second_opinion/axial/saved_model")
    make_model("minerals/second_opinion/coronal/saved_model")
    assert name_of(tmp_path / "minerals" / "second_opinion") == "minerals_second_opinion"
