"""Which models are believed, with models that find what the test says; and README's example."""

import dataclasses
import math
import pathlib
import re
import shutil
import types

import msgspec
import numpy as np
import pytest
from fixtures.records import of_model

import spleen_tf
from spleen_tf import predict
from spleen_tf.core.files import InputError, InputWarning
from spleen_tf.imaging import planes
from spleen_tf.imaging.demographics import Demographics
from spleen_tf.imaging.volume import Volume
from spleen_tf.inference import engine, loading, runtimes
from spleen_tf.inference import prediction as records
from spleen_tf.inference.family import Family
from spleen_tf.inference.prediction import Options
from spleen_tf.io import nifti
from spleen_tf.network import spec
from spleen_tf.phantom import generate
from spleen_tf.predict import PredictConfig
from spleen_tf.quality.calibration import Calibration
from spleen_tf.quality.volume_interval import VolumeInterval

ROOT = pathlib.Path(__file__).parents[2]
SHAPE = (40, 40, 20)
# On the patient's left of a volume stored RAS; 12 · 12 · 10 voxels of 27 mm³ are 39 mL.
SPLEEN = np.s_[4:16, 10:22, 5:15]
ELSEWHERE = np.s_[24:36, 20:32, 5:15]
NOTHING = np.s_[:0, :0, :0]


class Finder:
    """A member that finds one block, whatever it is shown."""

    def __init__(self, block_ijk, modality="MR"):
        self.block_ijk = block_ijk
        self.info = of_model(name="finder", modality=modality)
        self.runtime = types.SimpleNamespace(name="tensorflow")
        self.sha256 = "00"

    def slices(self, image):
        return planes.split(image.array_ijk, image.affine, "axial")

    def stride(self, image, skip_below_mm):
        return 1

    def batches(self, image, window, view, skip_below_mm=0.0, span=None):
        found_ijk = np.zeros(image.shape, np.float32)
        found_ijk[self.block_ijk] = 1
        first, last = span or (0, None)
        yield first, planes.split(found_ijk, image.affine, "axial")[first:last]

    def probability(self, image, slices_nhw, span, window, view=None):
        if view is None:
            return np.zeros((1, 1, 1), np.float32)  # Of the sampled slices: nothing in the mirror.
        ((_, found_nhw),) = self.batches(image, window, view)
        return found_nhw[slice(*span)]


class Unused(Finder):
    """A member that must not be asked."""

    def batches(self, image, window, view, skip_below_mm=0.0, span=None):
        raise AssertionError("nobody was to ask it")


@pytest.fixture
def image(make_affine):
    many_values = np.linspace(0, 1, math.prod(SHAPE), dtype=np.float32).reshape(SHAPE)
    return Volume(many_values, make_affine("RAS", (3.0, 3.0, 3.0)), "a.nii")


def of(*blocks, **parts):
    return Family("finders", tuple(map(Finder, blocks)), **parts)


UNUSED = Family("unused", (Unused(NOTHING),))
SURE = Options(with_probability=True)


def test_members_that_agree_are_believed_without_a_second_opinion(image):
    found = of(SPLEEN, SPLEEN, second_opinion=UNUSED).segment(image)
    assert found.mask_ijk[SPLEEN].all()
    assert found.record.voxels == 1440
    assert not found.is_second_opinion
    assert found.reasons == ()


@pytest.mark.parametrize("blocks", [(SPLEEN, ELSEWHERE), (NOTHING, NOTHING), (SPLEEN, NOTHING)])
def test_a_second_opinion_is_asked_where_members_disagree_and_says_so(image, blocks):
    second = Family("fallback", of(SPLEEN, SPLEEN, SPLEEN).members)
    found = of(*blocks, second_opinion=second).segment(image, SURE)
    assert found.is_second_opinion
    assert found.family == "fallback"
    assert found.record.voxels == 1440
    assert found.record.evidence.agreement == 1
    assert "the primary models disagreed; this is the fallback models' result" in found.reasons
    # The probability is that of which the mask was made.
    assert np.array_equal(found.probability_ijk >= 0.5, found.mask_ijk)


def test_the_probability_is_held_only_where_it_was_asked_for(image):
    assert of(SPLEEN).segment(image).probability_ijk is None
    assert of(SPLEEN).segment(image, SURE).probability_ijk[SPLEEN].min() == 1


# It expects a Dice of 0.9 of whatever it is shown.
CALIBRATION = Calibration(2, (0.5, 0.1), ("certainty",), (0.0,), 0.9, 0.5, 0.8)


def test_a_calibration_of_the_first_models_says_nothing_of_a_second_opinion(image):
    parts = {"calibration": CALIBRATION, "second_opinion": of(SPLEEN, SPLEEN)}
    assert of(SPLEEN, SPLEEN, **parts).segment(image).record.predicted_dice == 0.9
    found = of(SPLEEN, ELSEWHERE, **parts).segment(image)
    assert found.is_second_opinion
    assert found.record.predicted_dice is None
    assert found.record.predicted_dice_interval is None


def test_the_volume_s_interval_is_scaled_by_what_members_show(image):
    """Sure members that agree: nothing but 2% of 38.88 mL as the unit, of which it reaches 5."""
    intervals = {"MR": VolumeInterval(14, 13, ("nested", "agreement"), 5.0)}
    calibration = msgspec.structs.replace(CALIBRATION, volume_intervals=intervals, patients=14)
    record = of(SPLEEN, SPLEEN, calibration=calibration).segment(image).record
    assert record.volume_ml == pytest.approx(38.88)
    assert record.volume_ml_nested == pytest.approx((38.88, 38.88))
    assert record.volume_ml_interval == pytest.approx((0.9 * 38.88, 1.1 * 38.88))
    assert of(SPLEEN, SPLEEN, calibration=CALIBRATION).segment(image).record.calibrated_on
    # Without a calibration, or with one for other volumes, there is none.
    assert of(SPLEEN, SPLEEN).segment(image).record.volume_ml_interval is None
    elsewhere = msgspec.structs.replace(calibration, volume_intervals={"CT": intervals["MR"]})
    found = of(SPLEEN, SPLEEN, calibration=elsewhere).segment(image).record
    assert found.volume_ml_interval is None


def test_the_volume_is_compared_by_what_the_header_and_the_user_say_of_the_patient(image):
    """A man of 180 cm by the header; 165 cm by the user."""
    man = dataclasses.replace(image, demographics=Demographics(sex="M", height_cm=180.0))
    assert "men of 180 cm" in of(SPLEEN).segment(man).record.volume_reference.population
    options = Options(demographics=Demographics(height_cm=165.0))
    assert "men of 165 cm" in of(SPLEEN).segment(man, options).record.volume_reference.population
    assert of(SPLEEN).segment(image).record.volume_reference.place == "below"
    assert of(NOTHING).segment(image).record.volume_reference is None


@pytest.mark.parametrize("changes", [{"threshold": 0.4}, {"tta": True}, {"fill_holes": False}])
def test_a_calibration_is_valid_for_the_way_that_it_was_made_in(image, changes):
    found = of(SPLEEN, SPLEEN, calibration=CALIBRATION).segment(image, Options(**changes))
    assert found.record.predicted_dice is None


def test_that_a_second_opinion_could_be_asked_hides_no_reason(image):
    """Blocks of 7 and 5 slices: 58% are in one piece, and no calibration weighs that."""
    parted = np.s_[4:16, 10:22, [*range(2, 9), *range(12, 17)]]
    alone = of(parted).segment(image)
    assert "several pieces: the largest holds 58% of what was found" in "".join(alone.reasons)
    assert of(parted, second_opinion=UNUSED).segment(image).reasons == alone.reasons


def test_a_second_opinion_that_does_not_agree_with_itself_is_not_believed(image):
    found = of(SPLEEN, ELSEWHERE, second_opinion=of(SPLEEN, ELSEWHERE)).segment(image)
    assert not found.is_second_opinion
    assert not [reason for reason in found.reasons if "fallback" in reason]


def test_models_that_disagree_ask_for_a_review_whatever_else_is_known(image):
    """Two find the same and a third something else: what is above the threshold is in one piece."""
    why = "the models disagree: a mean Dice of 0.33 between two of them"
    for calibration, options in ((None, Options(with_evidence=True)), (CALIBRATION, Options())):
        disputed = of(SPLEEN, SPLEEN, ELSEWHERE, calibration=calibration)
        (reason,) = disputed.segment(image, options).reasons
        assert reason.startswith(why)


def test_no_second_opinion_is_asked_on_a_volume_that_is_not_for_these_models(make_affine):
    affine = make_affine("RAS", (3.0, 3.0, 3.0))
    image = Volume(np.ones(SHAPE, np.float32), affine, "a.nii", modality="CT")
    found = of(NOTHING, second_opinion=UNUSED).segment(image)
    assert "modality: the model is for MR, but the header says CT" in found.reasons


def test_a_family_is_resolved_member_by_member_with_the_name_that_model_json_says(model_copy):
    for plane in ("coronal", "axial"):
        place = model_copy(
            "MR", f"mine/{plane}/saved_model", name=f"m-{plane}", plane=plane, family="My models"
        )
    resolved = loading.resolve([place.parents[1]])
    assert [info.name for info in resolved.infos] == ["m-axial", "m-coronal"]
    assert resolved.name == "My models"
    assert (resolved.calibration, resolved.second_opinion) == (None, None)


def test_a_second_opinion_that_needs_tensorflow_is_left_out_where_that_is_not_installed(
    model_copy, monkeypatch
):
    model_copy("MR", "mine/axial/saved_model", name="m", family="mine")
    place = model_copy("MR", "mine/second_opinion/axial/saved_model", name="s", family="mine")
    spec.onnx_path(place).unlink(missing_ok=True)
    monkeypatch.setattr(engine.importlib.util, "find_spec", lambda name: None)
    message = "mine_second_opinion: expected TensorFlow, .* found it not installed"
    with pytest.warns(InputWarning, match=message):
        assert loading.resolve([place.parents[2]]).second_opinion is None


def test_a_second_opinion_of_onnx_files_alone_is_asked_with_any_runtime(exported, model_copy):
    """As in a released family, which has its fallback models without SavedModels."""
    first = model_copy("MR", "mine/axial/saved_model", name="m", family="mine")
    place = model_copy("MR", "mine/second_opinion/axial/saved_model", name="s", family="mine")
    shutil.copy(spec.onnx_path(exported["MR"]), spec.onnx_path(place))
    (place / "saved_model.pb").unlink()
    resolved = loading.resolve([first.parents[1]], engine.Engine(runtime="tensorflow"))
    assert resolved.runtime == "tensorflow"
    assert resolved.second_opinion.runtime == "onnx"


def test_a_released_family_is_known_by_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert loading.resolve(["spleen_mr_t2"]).name == "spleen_mr_t2"
    with pytest.raises(InputError, match=r"^spleen_us: expected a SavedModel folder"):
        loading.resolve(["spleen_us"])


@pytest.fixture
def _float32_in_the_end():
    yield
    runtimes.setup("auto", "float32")


@pytest.mark.slow
@pytest.mark.usefixtures("_float32_in_the_end")
def test_the_example_of_readme_gives_what_the_command_gives(tmp_path, monkeypatch):
    """Mask, numbers and reasons, of a volume that ends close to the spleen."""
    example = re.search(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[1]
    case = generate.make(7, "MR", 96)
    cut = Volume(case.image.array_ijk[:, 40:], case.image.affine, "scan")
    nifti.write(tmp_path / "scan.nii.gz", cut)
    (tmp_path / "models").symlink_to(ROOT / "models")
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(compile(example, "README.md", "exec"), names)
    prediction = names["prediction"]
    config = PredictConfig(
        model=("models/spleen_any",), input="scan.nii.gz", output="out.nii.gz", table="out.csv"
    )
    assert predict.main(config) == 0
    mask = spleen_tf.read("out.nii.gz")
    assert np.array_equal(mask.array_ijk > 0, prediction.mask_ijk)
    written = records.read("out.json")
    assert written.with_cost({}, 0.0) == prediction.record.with_cost({}, 0.0)
    assert prediction.review
    assert mask.shape == cut.shape
