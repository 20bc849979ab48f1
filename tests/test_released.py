"""The released models: ONNX Runtime, OpenVINO and TensorFlow give the same masks."""

import importlib.util
import pathlib

import numpy as np
import pytest

from spleen_tf.imaging import planes
from spleen_tf.inference import modality, model_files
from spleen_tf.inference.openvino_model import OpenVinoModel
from spleen_tf.inference.runtimes import OnnxModel, SavedModel
from spleen_tf.phantom import generate

ROOT = pathlib.Path(__file__).resolve().parents[1]
SAVED_MODELS = sorted(
    onnx.with_name("saved_model") for onnx in ROOT.glob("models/spleen_*/*/model.onnx")
)


@pytest.fixture(scope="module")
def patients():
    """A synthetic patient per modality, as CT in portal venous phase and as T2 MR."""
    protocols = {"CT": "portal venous", "MR": "T2 fat-suppressed"}
    return {
        kind: generate.make(4, kind, max_size=96, protocol=protocol).image
        for kind, protocol in protocols.items()
    }


def test_every_released_family_has_models_for_onnx_runtime():
    assert {path.parents[1].name for path in SAVED_MODELS} == {
        "spleen_ct",
        "spleen_any",
        "spleen_mr_t2",
    }


def masks_agree(first, second, threshold):
    masks = [probability >= threshold for probability in (first, second)]
    both = np.count_nonzero(masks[0] & masks[1])
    return 2 * both >= 0.999 * sum(map(np.count_nonzero, masks))


def seen_by(folder, patients):
    """What a model takes, for each modality that it is for."""
    info = model_files.describe(folder)
    for kind in ("CT", "MR") if info.modality == "any" else (info.modality,):
        image = patients[kind]
        (window,) = modality.windows(image, kind, [info])
        slices_nhw = planes.split(image.array_ijk, image.affine, info.plane).astype(np.float32)
        yield info.threshold, (slices_nhw, planes.pixel_mm(image.affine, info.plane), window)


@pytest.mark.slow
@pytest.mark.parametrize("folder", SAVED_MODELS, ids=lambda path: path.parent.as_posix()[-20:])
def test_both_runtimes_give_the_same_mask(folder, patients):
    for threshold, inputs in seen_by(folder, patients):
        by_onnx = OnnxModel(folder).probability(*inputs)
        by_tensorflow = SavedModel(folder, precision="float32").probability(*inputs)
        # A model that finds nothing would agree with anything that finds nothing.
        assert by_tensorflow.max() > 0.5
        assert np.abs(by_onnx - by_tensorflow).max() < 1e-3
        assert masks_agree(by_onnx, by_tensorflow, threshold)


@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec("openvino") is None, reason="OpenVINO (an extra) is not installed"
)
@pytest.mark.parametrize("folder", SAVED_MODELS, ids=lambda path: path.parent.as_posix()[-20:])
def test_openvino_gives_the_same_mask(folder, patients):
    by_openvino = OpenVinoModel(folder)
    by_openvino.load()
    assert by_openvino.name == "openvino"
    for threshold, inputs in seen_by(folder, patients):
        expected = OnnxModel(folder).probability(*inputs)
        assert masks_agree(by_openvino.probability(*inputs), expected, threshold)
