"""`python -m spleen_tf.compare` on masks by hand, and on a phantom that was moved."""

import csv
import json
import sys
import types

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from spleen_tf import compare
from spleen_tf.comparison import rescans
from spleen_tf.imaging import registration
from spleen_tf.imaging.volume import Volume
from spleen_tf.io import nifti
from spleen_tf.phantom import generate

AFFINE = np.diag([5.0, 5.0, 4.0, 1.0])  # A voxel has 0.1 mL.


def save_mask(path, voxels, affine=AFFINE):
    array_ijk = np.zeros((voxels + 2, 3, 3), np.uint8)
    array_ijk[1:-1, 1, 1] = 1
    nifti.write(path, Volume(array_ijk, affine, str(path)))
    return path


@pytest.fixture
def run(run_main, tmp_path):
    """Runs the command with the output folder tmp_path/out."""

    def run_with(**flags):
        named = {"output_dir": tmp_path / "out", **flags}
        texts = [f"--{name}={value}" for name, value in named.items()]
        return run_main(compare.main, compare.CompareConfig, *texts)

    return run_with


@pytest.fixture
def masks(tmp_path):
    """10 mL, and 15 mL on another grid."""
    coarse = np.diag([5.0, 5.0, 8.0, 1.0])
    return {
        "before": save_mask(tmp_path / "before.nii.gz", voxels=100),
        "after": save_mask(tmp_path / "after.nii.gz", voxels=75, affine=coarse),
    }


def test_two_masks_on_different_grids_are_compared(run, masks, tmp_path):
    """With 10% of error, limits are -24.2% and +31.9%; the change is +50%."""
    code, out, err = run(**masks, error_percent=10)
    assert (code, err) == (0, "")
    assert out == (
        "after: 10.0 to 15.0 mL, +5.0 mL (+50.0%); beyond the limits of agreement, -24.2% to "
        "+31.9% (a stated error of 10%)\n"
    )
    (change,) = json.loads((tmp_path / "out" / "compare.json").read_text())["changes"]
    assert change["change_ml"] == pytest.approx(5.0)
    assert change["beyond_limits"] is True


def test_masks_of_unknown_origin_are_measured_and_not_judged(run, masks, tmp_path):
    code, out, _ = run(**masks)
    assert code == 0
    assert "not judged: no measurement error is known for a mask without JSON" in out
    (row,) = csv.DictReader((tmp_path / "out" / "compare.csv").read_text().splitlines())
    assert (row["beyond_limits"], row["limits_ml_low"]) == ("", "")


def test_a_named_family_gives_the_limits_of_its_cross_validation(run, masks):
    code, out, _ = run(**masks, model="spleen_mr_t2")
    assert code == 0
    assert "14 held-out cases of spleen_mr_t2, error " in out


def test_folders_give_a_table_and_counts(run, tmp_path, save_json):
    for case, after_ml in (("a", 105.0), ("b", 150.0), ("c", 0.0)):
        save_json(tmp_path / "before" / f"{case}.json", 100.0)
        save_json(tmp_path / "after" / f"{case}.json", after_ml)
    code, out, _ = run(before=tmp_path / "before", after=tmp_path / "after", error_percent=10)
    assert code == 0
    assert out.splitlines()[-1] == "3 cases: 1 beyond the limits of agreement, 1 not judged"
    rows = list(csv.DictReader((tmp_path / "out" / "compare.csv").read_text().splitlines()))
    assert [row["beyond_limits"] for row in rows] == ["False", "True", ""]


def test_a_bad_case_of_many_is_named_and_the_others_are_compared(run, tmp_path):
    for name in ("before/a", "before/b", "after/a", "after/b"):
        save_mask(tmp_path / f"{name}.nii.gz", voxels=10)
    (tmp_path / "after" / "b.nii.gz").write_bytes(b"no NIfTI")
    code, out, err = run(before=tmp_path / "before", after=tmp_path / "after")
    assert code == 1
    assert out.startswith("a: 1.0 to 1.0 mL")
    assert "b.nii.gz: expected" in err
    assert err.endswith("1 of 2 cases failed: b\n")


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ({"error_percent": 0}, "--error_percent: expected above 0 and below 100, found 0."),
        ({"error_percent": 5, "model": "spleen_mr_t2"}, "--error_percent: expected it or --model"),
        ({"before_image": "a.nii"}, "--before_image: expected together with --after_image"),
        ({"after_image": "a.nii"}, "--after_image: expected together with --before_image"),
        ({"transform": "a.tfm"}, "--transform: expected together with --before_image"),
        ({"model": "nowhere"}, "nowhere: expected a SavedModel folder"),
        ({"before": "nowhere"}, "nowhere: expected a mask, a JSON of predict or a folder"),
    ],
)
def test_wrong_flags_cost_one_line(run, masks, tmp_path, flags, message):
    code, out, err = run(**masks | flags)
    assert (code, out) == (2, "")
    assert err.startswith("error: ")
    assert message in err
    assert err.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_an_image_must_be_on_the_grid_of_its_mask(run, masks, tmp_path):
    images = {"before_image": masks["before"], "after_image": masks["before"]}
    code, _, err = run(**masks, **images)
    assert code == 2
    assert "after.nii.gz: expected shape (102, 3, 3) as in" in err


def test_folders_take_no_images(run, tmp_path):
    for folder in ("before", "after"):
        save_mask(tmp_path / folder / "a.nii.gz", voxels=10)
    image = tmp_path / "before" / "a.nii.gz"
    folders = {"before": tmp_path / "before", "after": tmp_path / "after"}
    code, _, err = run(**folders, before_image=image, after_image=image)
    assert code == 2
    assert "expected one mask where images are given, found a folder" in err


@pytest.fixture(scope="module")
def examinations(tmp_path_factory):
    """A phantom and its simulated rescan: images and masks as files, and the movement."""
    folder = tmp_path_factory.mktemp("patient_x")
    phantom = generate.make(2, "MR", 48)
    rescan = rescans.simulate(phantom.image, np.random.default_rng(0))
    label = registration.resampled_mask(phantom.label, rescan.image.grid, rescan.movement)
    volumes = {
        "before_image": phantom.image,
        "before": phantom.label,
        "after_image": rescan.image,
        "after": Volume(label.astype(np.uint8), rescan.image.affine, ""),
    }
    for name, volume in volumes.items():
        nifti.write(folder / f"{name}.nii", volume)
    paths = {name: folder / f"{name}.nii" for name in volumes}
    return types.SimpleNamespace(paths=paths, rescan=rescan, label=label)


def test_images_are_registered_and_both_outlines_drawn(run, examinations, tmp_path):
    tfm = tmp_path / "out" / "moved.tfm"
    code, _, err = run(**examinations.paths, transform=tfm, error_percent=10)
    assert (code, err) == (0, "")
    moved = nibabel.load(tmp_path / "out" / "before_on_after.nii.gz")
    np.testing.assert_allclose(moved.affine, examinations.rescan.image.affine, atol=1e-4)
    inside = np.asarray(moved.dataobj) > 0
    both = np.count_nonzero(inside & examinations.label)
    assert 2 * both / (inside.sum() + examinations.label.sum()) > 0.9
    (change,) = json.loads((tmp_path / "out" / "compare.json").read_text())["changes"]
    native_ml = nifti.read(examinations.paths["before"])
    assert change["before_ml"] == pytest.approx(
        np.count_nonzero(native_ml.array_ijk) * native_ml.voxel_mm3 / 1000
    )
    assert change["registration"]["dice"] > 0.9
    # ITK's transform takes a place in the later image, LPS, to the earlier one.
    place = np.array([10.0, -20.0, 30.0, 1.0])
    there = examinations.rescan.movement.matrix @ place
    by_itk = sitk.ReadTransform(str(tfm)).TransformPoint((-10.0, 20.0, 30.0))
    np.testing.assert_allclose([-by_itk[0], -by_itk[1], by_itk[2]], there[:3], atol=1.5)
    page = (tmp_path / "out" / "compare.html").read_text()
    assert "within the error of measurement" in page
    assert page.count("data:image/jpeg;base64,") == 3
    assert "patient_x" not in page
    assert "http" not in page


def test_without_simpleitk_the_extra_is_named(run, examinations, monkeypatch):
    monkeypatch.setitem(sys.modules, "SimpleITK", None)
    code, _, err = run(**examinations.paths)
    assert code == 2
    assert "install it with pip install 'spleen_tf[registration]'" in err
