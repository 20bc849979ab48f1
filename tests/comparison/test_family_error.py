"""The error of a family, from what its cross-validation left."""

import json
import shutil

import pytest

from spleen_tf.comparison import family_error
from spleen_tf.core.files import InputError
from spleen_tf.inference import model_files, released

FAMILY = released.find("spleen_mr_t2")
INFOS = list(model_files.find([FAMILY]).values())
MEMBERS = " + ".join(info.name for info in INFOS)
VERSION = INFOS[0].version


@pytest.fixture
def family(tmp_path):
    """A copy of a released family's models, without what was measured of them."""
    for folder in model_files.folders(FAMILY):
        info = "assets.extra/model.json"
        copy = tmp_path / folder.relative_to(FAMILY)
        (copy / info).parent.mkdir(parents=True)
        shutil.copy(folder / info, copy / info)
        (copy.parent / "model.onnx").touch()
    return tmp_path


def write_cv(family, plane="fused", cases=14, mean=2.0, sd=8.0):
    measure = dict.fromkeys(("median", "minimum", "maximum"), 0.0)
    measure |= {"mean": mean, "sd": sd, "ci95": [0, 0], "undefined": 0}
    results = {plane: {"cases": cases, "volume_error_percent": measure}}
    (family / "cv.json").write_text(json.dumps({"num_folds": 5, "results": results}))


def test_the_error_is_that_of_the_fused_members(family):
    write_cv(family)
    measured = family_error.of_family(family)
    assert (measured.error.bias_percent, measured.error.sd_percent) == (2.0, 8.0)
    assert measured.source.startswith("14 held-out cases of ")
    assert measured.source.endswith("error +2.0 ± 8.0%")


@pytest.mark.parametrize(
    "left", [None, {"plane": "axial"}, {"cases": 3}, {"sd": None}, {"mean": None}]
)
def test_a_family_without_enough_measured_cases_is_rejected(family, left):
    if left:
        write_cv(family, **left)
    with pytest.raises(InputError, match=r"expected a family with the cv\.json of its cross-vali"):
        family_error.of_family(family)


def test_a_released_family_is_found_by_the_members_that_a_json_names():
    measured = family_error.of_model(MEMBERS, VERSION, "MR")
    assert measured.source.startswith("14 held-out cases of spleen_mr_t2, error ")
    assert measured == family_error.of_family("spleen_mr_t2")


def test_an_error_that_was_measured_on_mr_is_not_that_on_ct():
    assert family_error.of_model(MEMBERS, VERSION, "CT") is None
    assert family_error.of_model(MEMBERS, VERSION, None) == family_error.of_model(
        MEMBERS, VERSION, "MR"
    )


def test_models_that_were_not_released_have_no_known_error():
    assert family_error.of_model("mine", VERSION, "MR") is None


def test_the_error_of_an_earlier_version_is_not_known():
    assert family_error.of_model(MEMBERS, "1.0.0", "MR") is None


def test_a_stated_error_has_no_bias():
    error = family_error.stated(5.0).error
    assert (error.bias_percent, error.sd_percent) == (0.0, 5.0)
