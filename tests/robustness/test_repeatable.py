"""The same volume, model and machine give the same mask; other instruction sets nearly the same.

tests/test_released.py compares the runtimes.
"""

import os
import pathlib
import shutil
import subprocess
import sys

import numpy as np
import pytest

import spleen_tf
from spleen_tf.imaging import planes
from spleen_tf.inference.prediction import Options
from spleen_tf.inference.runtimes import OnnxModel
from spleen_tf.phantom import generate

ROOT = pathlib.Path(__file__).resolve().parents[2]
FAMILY = ROOT / "models" / "spleen_ct"
OPTIONS = Options(modality="CT", with_probability=True, full=True)
# The probabilities of one model for a volume's slices, on the CPU that is there or is emulated.
PROBABILITIES = """
import pathlib, sys
import numpy as np
sys.path.insert(0, sys.argv[1])
from spleen_tf.inference.runtimes import OnnxModel, SavedModel
runtime, folder, slices, out = sys.argv[2:]
given = np.load(slices)
folder = pathlib.Path(folder)
model = OnnxModel(folder) if runtime == "onnx" else SavedModel(folder, precision="float32")
np.save(out, model.probability(given["slices_nhw"], given["pixel_mm"], (-160.0, 240.0)))
"""
needs_cores = pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity") or len(os.sched_getaffinity(0)) < 2,
    reason="needs two cores to choose from",
)


@pytest.fixture(scope="module")
def volumes():
    """Two synthetic patients as CT."""
    return [
        generate.make(seed, "CT", max_size=96, protocol="portal venous").image for seed in (4, 5)
    ]


def found(image):
    """Mask and probability by a family that is loaded anew."""
    prediction = spleen_tf.load(FAMILY, runtime="onnx").segment(image, OPTIONS)
    return prediction.mask_ijk, prediction.probability_ijk


@pytest.fixture(scope="module")
def expected(volumes):
    mask_ijk, probability_ijk = found(volumes[0])
    assert mask_ijk.any()
    return mask_ijk, probability_ijk


def assert_same(actual, expected):
    for one, other in zip(actual, expected, strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
@needs_cores
def test_the_number_of_threads_changes_nothing(volumes, expected):
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cores)})  # ONNX Runtime takes a thread per core.
    try:
        assert_same(found(volumes[0]), expected)
    finally:
        os.sched_setaffinity(0, cores)


@pytest.mark.slow
def test_the_batch_changes_nothing(volumes, expected, monkeypatch):
    monkeypatch.setattr(OnnxModel, "pixels_per_batch", 3 * 96 * 96)
    assert_same(found(volumes[0]), expected)


@pytest.mark.slow
def test_the_volumes_before_change_nothing(volumes, expected):
    family = spleen_tf.load(FAMILY, runtime="onnx")
    family.segment(volumes[1], OPTIONS)
    prediction = family.segment(volumes[0], OPTIONS)
    assert_same((prediction.mask_ijk, prediction.probability_ijk), expected)


@pytest.fixture(scope="module")
def patient():
    return generate.make(4, "CT", max_size=128, protocol="portal venous")


def save_slices(path, patient, reach):
    """Writes slices around the one with most spleen, for a model to be asked for them elsewhere."""
    affine = patient.image.affine
    slices_nhw, labels_nhw = (
        planes.split(volume.array_ijk, affine, "axial") for volume in (patient.image, patient.label)
    )
    middle = int(labels_nhw.sum(axis=(1, 2)).argmax())
    chosen = slices_nhw[max(0, middle - reach) : middle + reach + 1].astype(np.float32)
    np.savez(path, slices_nhw=chosen, pixel_mm=planes.pixel_mm(affine, "axial"))
    return path


def dice(first, second):
    masks = [probability >= 0.5 for probability in (first, second)]
    assert masks[0].any()
    return 2 * np.count_nonzero(masks[0] & masks[1]) / sum(map(np.count_nonzero, masks))


@pytest.mark.slow
@pytest.mark.parametrize("highest", ["SSE41", "AVX2"])
def test_tensorflow_gives_the_same_mask_with_other_instructions(
    patient, tmp_path, run_python, monkeypatch, highest
):
    slices = save_slices(tmp_path / "slices.npz", patient, reach=8)
    probabilities = []
    for isa in ("DEFAULT", highest):
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", isa)
        out = tmp_path / f"{isa}.npy"
        model = FAMILY / "axial" / "saved_model"
        done = run_python(
            "-c", PROBABILITIES, ROOT, "tensorflow", model, slices, out, timeout_s=900
        )
        assert done.returncode == 0, done.stderr
        probabilities.append(np.load(out))
    assert dice(*probabilities) >= 0.9999


@pytest.mark.stress
@pytest.mark.skipif(not shutil.which("qemu-x86_64"), reason="no qemu-x86_64 (Debian: qemu-user)")
@pytest.mark.parametrize("cpu", ["Nehalem", "max"])  # SSE 4.2; AVX2.
def test_onnx_runtime_gives_the_same_mask_on_emulated_cpus(patient, tmp_path, cpu):
    slices = save_slices(tmp_path / "slices.npz", patient, reach=1)
    probabilities = []
    for emulator in ((), ("qemu-x86_64", "-cpu", cpu)):
        out = tmp_path / f"{len(emulator)}.npy"
        arguments = (ROOT, "onnx", FAMILY / "axial" / "saved_model", slices, out)
        command = [*emulator, sys.executable, "-c", PROBABILITIES, *map(str, arguments)]
        subprocess.run(command, check=True, timeout=1800)
        probabilities.append(np.load(out))
    assert dice(*probabilities) >= 0.9999
