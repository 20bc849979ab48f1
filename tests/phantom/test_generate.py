"""Synthetic abdomens, and the program that writes data sets of them.

Phantoms are made coarsely here, since a patient's shape does not depend on the pixels.
"""

import functools
import importlib.util
import json
import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest

from spleen_tf.core import files
from spleen_tf.core import flags as commands
from spleen_tf.core.files import InputError
from spleen_tf.datasets import cases
from spleen_tf.imaging.intensity import MODALITIES
from spleen_tf.io import nifti
from spleen_tf.phantom import generate
from spleen_tf.phantom.patient import Patient
from spleen_tf.phantom.tissues import draw_signals

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOOL = ROOT / "tools" / "make_phantom.py"
SEEDS = range(4)
EVERY_CASE = pytest.mark.parametrize(
    ("seed", "modality"), [(seed, modality) for modality in MODALITIES for seed in SEEDS]
)


@functools.cache
def made(seed, modality):
    return generate.make(seed, modality, max_size=64)


def center_ras_mm(mask_ijk, affine):
    return affine[:3, :3] @ np.argwhere(mask_ijk).mean(axis=0) + affine[:3, 3]


def body_ijk(case, modality):
    image = case.image.array_ijk
    return image > (-300 if modality == "CT" else 0.2 * np.percentile(image, 99))


def best_threshold_dice(image, mask):
    """The best Dice of all masks `image >= t` and `image <= t`, over every t."""
    order = np.argsort(image, axis=None)
    inside = mask.ravel()[order].cumsum(dtype=np.int64)
    total, count = inside[-1], np.arange(1, image.size + 1)
    darker = 2 * inside / (count + total)
    brighter = 2 * (total - inside[:-1]) / (image.size - count[:-1] + total)
    return max(darker.max(), brighter.max())


# What a phantom is -----------------------------------------------------------------------------


@pytest.mark.parametrize("modality", MODALITIES)
def test_a_case_is_the_same_bytes_whatever_was_made_before(modality):
    first = made(1, modality)
    generate.make(2, modality, max_size=32)
    again = generate.make(1, modality, max_size=64)
    assert again.image.array_ijk.tobytes() == first.image.array_ijk.tobytes()
    assert again.label.array_ijk.tobytes() == first.label.array_ijk.tobytes()
    assert again.image.affine.tobytes() == first.image.affine.tobytes()
    assert (again.spleen_ml, again.protocol) == (first.spleen_ml, first.protocol)


def test_seeds_and_modalities_are_different_patients():
    volumes = {made(seed, modality).spleen_ml for modality in MODALITIES for seed in SEEDS}
    assert len(volumes) == 2 * len(SEEDS)


def test_a_coarser_scan_shows_the_same_patient():
    coarse, finer = generate.make(0, "CT", max_size=32), made(0, "CT")
    assert coarse.spleen_ml == finer.spleen_ml
    assert max(coarse.image.shape) < max(finer.image.shape)
    apart_mm = center_ras_mm(coarse.label.array_ijk, coarse.label.affine) - center_ras_mm(
        finer.label.array_ijk, finer.label.affine
    )
    assert np.abs(apart_mm).max() < 3


@EVERY_CASE
def test_the_label_holds_the_volume_that_was_drawn(seed, modality):
    case = made(seed, modality)
    assert 60 <= case.spleen_ml <= 600
    assert set(np.unique(case.label.array_ijk)) == {0, 1}
    label_ml = np.count_nonzero(case.label.array_ijk) * case.label.voxel_mm3 / 1000
    assert label_ml == pytest.approx(case.spleen_ml, rel=0.06)


def from_body_center_mm(seed, modality):
    """Where the spleen is from the body's middle: mm towards right, anterior, superior."""
    case = made(seed, modality)
    spleen = center_ras_mm(case.label.array_ijk, case.label.affine)
    return spleen - center_ras_mm(body_ijk(case, modality), case.image.affine)


@EVERY_CASE
def test_the_spleen_is_on_the_left_in_the_world(seed, modality):
    right, anterior, _ = from_body_center_mm(seed, modality)
    assert -130 < right < -40
    assert anterior < 15


def test_spleens_lie_behind_the_middle_of_the_body():
    places = [from_body_center_mm(seed, m) for m in MODALITIES for seed in SEEDS]
    assert np.mean(places, axis=0)[1] < -8


def spleen_extents_mm(seed, dome_fall_mm):
    """Width, depth and height of a patient's spleen under another diaphragm."""
    patient = Patient(np.random.default_rng(seed))
    patient.dome_fall_mm = dome_fall_mm
    spans = ((-150, 5), (-105, 95), (-100, 125))
    x, y, z = (np.arange(low, high, 4, dtype=np.float32) for low, high in spans)
    points = patient.bend(tuple(np.meshgrid(x, y, z, indexing="ij", sparse=True)))
    patient.grow_spleen(points, (4 * patient.scale) ** 3 / 1000)
    return np.ptp(patient.spleen_box_mm, axis=0)


def test_below_a_flat_diaphragm_spleens_are_wider_for_their_height():
    flat, steep = (
        np.mean([spleen_extents_mm(seed, fall_mm) for seed in range(6)], axis=0)
        for fall_mm in (45, 105)
    )
    assert flat[0] / flat[2] > 1.05 * steep[0] / steep[2]


def test_contrast_brightens_tissues_together_and_fat_not():
    scans = [draw_signals(np.random.default_rng(seed), "CT", "arterial")[1] for seed in range(60)]
    artery, spleen, fat = ([scan[name] for scan in scans] for name in ("artery", "spleen", "fat"))
    assert np.corrcoef(artery, spleen)[0, 1] > 0.5
    assert np.percentile(spleen, 95) > 150
    assert np.std(fat) < 6


@EVERY_CASE
def test_the_spleen_lies_whole_within_the_field_of_view(seed, modality):
    mask = made(seed, modality).label.array_ijk
    sides = [mask.take(end, axis) for axis in range(3) for end in (0, -1)]
    assert not any(side.any() for side in sides)


@EVERY_CASE
def test_the_spleen_cannot_be_told_by_a_threshold(seed, modality):
    case = made(seed, modality)
    assert best_threshold_dice(case.image.array_ijk, case.label.array_ijk) < 0.5


def test_the_best_threshold_finds_a_mask_that_is_brightness_alone():
    image = np.array([3, 9, 1, 8, 2])
    assert best_threshold_dice(image, image > 7) == 1
    assert best_threshold_dice(image, image < 2) == 1
    # {9}, {9, 8} and so on against {9, 2}: the best is 2·1/(1+2).
    assert best_threshold_dice(image, np.isin(image, (9, 2))) == pytest.approx(2 / 3)


@pytest.mark.parametrize("seed", SEEDS)
def test_ct_is_in_hounsfield_units(seed):
    image = made(seed, "CT").image.array_ijk
    assert image.dtype == np.int16
    assert image.min() >= -1024
    assert np.percentile(image, 1) < -900  # Air.
    assert image.max() > 300  # Bone.


@pytest.mark.parametrize("seed", SEEDS)
def test_mr_has_no_negative_values_and_noise_in_air(seed):
    image = made(seed, "MR").image.array_ijk
    assert image.dtype == np.int16
    assert image.min() >= 0
    corner = image[tuple(slice(0, max(n // 16, 2)) for n in image.shape)]
    assert 0 < corner.std() < 0.1 * np.percentile(image, 99)


def test_scans_differ_in_orientation_spacing_and_protocol():
    found = [made(seed, modality) for modality in MODALITIES for seed in SEEDS]
    assert len({case.image.orientation for case in found}) >= 6
    assert len({tuple(case.image.zooms_mm) for case in found}) == len(found)
    oblique = [np.count_nonzero(np.abs(case.image.affine[:3, :3]) > 1e-6) > 3 for case in found]
    assert any(oblique)
    assert not all(oblique)
    assert len({case.protocol for case in found}) >= 4


def test_a_scan_of_full_size_has_fine_pixels_and_thick_slices():
    zooms_mm = np.sort(generate.make(1, "MR").image.zooms_mm)
    assert 0.7 <= zooms_mm[0] <= zooms_mm[1] <= 1.51
    assert 2 <= zooms_mm[2] <= 8


def test_a_nifti_1_header_holds_the_affine_exactly(tmp_path, field_of):
    case = made(1, "CT")
    nifti.write(tmp_path / "a.nii", case.image)
    assert field_of((tmp_path / "a.nii").read_bytes(), "sizeof_hdr") == 348
    back = nifti.read(tmp_path / "a.nii")
    assert np.array_equal(back.affine, case.image.affine)
    assert np.array_equal(back.array_ijk, case.image.array_ijk)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((0, "PET"), "modality: expected one of CT, MR, found 'PET'"),
        ((-1, "CT"), "seed: expected at least 0, found -1"),
        ((0, "CT", 8), "max_size: expected at least 32, found 8"),
    ],
)
def test_arguments_out_of_range_are_refused_in_words(arguments, sentence):
    with pytest.raises(files.InputError, match=sentence):
        generate.make(*arguments)


# The program -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("make_phantom", TOOL)
    module = importlib.util.module_from_spec(spec)
    sys.modules["make_phantom"] = module  # Dataclasses look their module up.
    spec.loader.exec_module(module)
    yield module
    del sys.modules["make_phantom"]


@pytest.fixture
def make(tool):
    """Runs the program in this process with small scans, on one worker."""

    def run(output_dir, *flags):
        arguments = (f"--output_dir={output_dir}", "--max_size=32", "--workers=1", *flags)
        tool.main(commands.parse(["make_phantom.py", *arguments], tool.PhantomConfig))

    return run


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.slow
def test_both_modalities_become_two_data_sets_and_workers_change_no_byte(make, tmp_path):
    make(tmp_path / "one", "--num_cases=3", "--modality=both", "--seed=7")
    # As a user would: from the checkout, with a package that need not be installed.
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    flags = ("--num_cases=3", "--modality=both", "--seed=7", "--max_size=32", "--workers=2")
    done = subprocess.run(
        [sys.executable, "tools/make_phantom.py", f"--output_dir={tmp_path / 'two'}", *flags],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    one = contents(tmp_path / "one")
    assert sorted(one) == [
        *("ct/dataset.json", "ct/imagesTr/phantom_ct_000.nii.gz"),
        *("ct/imagesTr/phantom_ct_001.nii.gz", "ct/labelsTr/phantom_ct_000.nii.gz"),
        *("ct/labelsTr/phantom_ct_001.nii.gz", "mr/dataset.json"),
        *("mr/imagesTr/phantom_mr_000.nii.gz", "mr/labelsTr/phantom_mr_000.nii.gz"),
    ]
    assert contents(tmp_path / "two") == one
    for modality, number in (("CT", 2), ("MR", 1)):
        loaded = cases.load(tmp_path / "one" / modality.lower())
        assert [case.modality for case in loaded] == [modality] * number
        for case in loaded:
            image, label = cases.read(case)
            assert image.shape == label.shape
            assert label.array_ijk.any()


def test_the_folder_itself_is_the_data_set_of_one_modality(make, tmp_path):
    make(tmp_path, "--num_cases=1", "--modality=MR")
    description = json.loads((tmp_path / "dataset.json").read_text())
    assert description["modality"] == {"0": "MRI"}
    assert description["labels"] == {"0": "background", "1": "spleen"}
    assert (description["numTraining"], description["test"]) == (1, [])
    (entry,) = description["training"]
    assert entry["image"] == "./imagesTr/phantom_mr_000.nii.gz"
    assert entry["label"] == "./labelsTr/phantom_mr_000.nii.gz"
    label = nifti.read(tmp_path / entry["label"])
    label_ml = np.count_nonzero(label.array_ijk) * label.voxel_mm3 / 1000
    assert label_ml == pytest.approx(entry["spleen_ml"], rel=0.1)


def test_a_shorter_run_replaces_a_longer_one_and_says_so(make, tmp_path, capsys):
    make(tmp_path, "--num_cases=2")
    longer = contents(tmp_path)
    assert "replaced" not in capsys.readouterr().out
    make(tmp_path, "--num_cases=1")
    assert "replaces the synthetic cases in it" in capsys.readouterr().out
    shorter = contents(tmp_path)
    first = ("imagesTr/phantom_ct_000.nii.gz", "labelsTr/phantom_ct_000.nii.gz")
    assert sorted(shorter) == ["dataset.json", *first]
    assert [shorter[name] for name in first] == [longer[name] for name in first]


def test_neighbouring_seeds_share_no_patient(tool, tmp_path):
    def seeds_of(seed):
        config = tool.PhantomConfig(output_dir=str(tmp_path), num_cases=50, seed=seed)
        return {task.seed for task in tool._tasks(config)}

    assert len(seeds_of(0) | seeds_of(1)) == 100


def test_a_data_set_of_others_is_not_overwritten(make, tmp_path):
    theirs = tmp_path / "dataset.json"
    theirs.write_text('{"name": "Spleen", "training": []}')
    with pytest.raises(files.InputError, match=r"expected none or one of .*, found 'Spleen'"):
        make(tmp_path, "--num_cases=1")
    assert contents(tmp_path) == {"dataset.json": b'{"name": "Spleen", "training": []}'}


def test_without_its_last_case_a_data_set_has_no_description(make, tool, tmp_path, monkeypatch):
    make(tmp_path, "--num_cases=1")

    def fail(*arguments):
        raise files.InputError("disk full")

    monkeypatch.setattr(tool.nifti, "write", fail)
    with pytest.raises(files.InputError, match="disk full"):
        make(tmp_path, "--num_cases=1")
    assert not (tmp_path / "dataset.json").exists()


@pytest.mark.parametrize(
    ("flag", "sentence"),
    [
        ("--num_cases=0", "--num_cases: expected at least 1, found 0"),
        ("--num_cases=-3", "--num_cases: expected at least 1, found -3"),
        ("--seed=-1", "--seed: expected at least 0, found -1"),
        ("--workers=0", "--workers: expected at least 1, found 0"),
        ("--max_size=8", "--max_size: expected at least 32, found 8"),
        ("--modality=PET", "--modality: expected one of CT, MR, both, found 'PET'"),
    ],
)
def test_flags_out_of_range_are_refused_in_words(make, tmp_path, flag, sentence):
    with pytest.raises(commands.ConfigError, match=sentence):
        make(tmp_path / "out", flag)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("modality", "protocol"), [("CT", "arterial"), ("MR", "T1 in phase")])
def test_a_protocol_may_be_asked_for_and_changes_no_patient(modality, protocol):
    drawn, asked = generate.make(3, modality, 64), generate.make(3, modality, 64, protocol)
    assert asked.protocol == protocol
    assert asked.spleen_ml == drawn.spleen_ml
    np.testing.assert_allclose(sorted(asked.image.zooms_mm), sorted(drawn.image.zooms_mm))


def test_a_protocol_of_the_other_modality_is_refused(run_python, tmp_path):
    with pytest.raises(InputError, match=r"protocol: expected one of .* for MR, found 'arterial'"):
        generate.make(3, "MR", 64, "arterial")
    done = run_python(
        *("tools/make_phantom.py", f"--output_dir={tmp_path}", "--modality=both"),
        "--protocol=arterial",
    )
    assert done.returncode == 2
    assert "--protocol: expected one of none with --modality=both" in done.stderr
