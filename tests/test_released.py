"""The released models: ONNX Runtime and TensorFlow give the same masks."""

import pathlib

import numpy as np
import pytest

from spleen_tf.imaging import planes
from spleen_tf.inference import modality, model_files
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


@pytest.mark.slow
@pytest.mark.parametrize("folder", SAVED_MODELS, ids=lambda path: path.parent.as_posix()[-20:])
def test_both_runtimes_give_the_same_mask(folder, patients):
    info = model_files.describe(folder)
    for kind in ("CT", "MR") if info.modality == "any" else (info.modality,):
        image = patients[kind]
        (window,) = modality.windows(image, kind, [info])
        slices_nhw = planes.split(image.array_ijk, image.affine, info.plane).astype(np.float32)
        pixel_mm = planes.pixel_mm(image.affine, info.plane)
        by_onnx, by_tensorflow = (
            runtime.probability(slices_nhw, pixel_mm, window)
            for runtime in (OnnxModel(folder), SavedModel(folder, precision="float32"))
        )
        # A model that finds nothing would agree with anything that finds nothing.
        assert by_tensorflow.max() > 0.5
        assert np.abs(by_onnx - by_tensorflow).max() < 1e-3
        masks = [probability >= info.threshold for probability in (by_onnx, by_tensorflow)]
        assert 2 * np.count_nonzero(masks[0] & masks[1]) >= 0.999 * sum(
            map(np.count_nonzero, masks)
        )
