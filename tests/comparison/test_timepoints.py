"""Masks and JSON of two examinations: pairing, and what is read of each."""

import numpy as np
import pytest

from spleen_tf.comparison import timepoints
from spleen_tf.core.files import InputError, InputWarning
from spleen_tf.imaging.volume import Volume
from spleen_tf.io import nifti

AFFINE = np.diag([2.0, 5.0, 10.0, 1.0])  # A voxel has 0.1 mL.


def save_mask(path, voxels, value=1):
    """A mask of a row of voxels that leaves the array's edge free."""
    array_ijk = np.zeros((voxels + 2, 3, 3), np.uint8)
    array_ijk[1:-1, 1, 1] = value
    nifti.write(path, Volume(array_ijk, AFFINE, str(path)))
    return path


def test_the_volume_is_that_of_the_mask_on_its_own_grid(tmp_path):
    point = timepoints.read(save_mask(tmp_path / "a.nii.gz", voxels=7))
    assert point.volume_ml == pytest.approx(0.7)
    assert point.complete is True
    assert point.model is None


def test_a_mask_at_the_edge_is_a_lower_bound(tmp_path):
    array_ijk = np.ones((4, 3, 3), np.uint8)
    nifti.write(tmp_path / "a.nii", Volume(array_ijk, AFFINE, "a"))
    assert timepoints.read(tmp_path / "a.nii").complete is False


def test_one_value_of_a_map_of_organs_counts(tmp_path):
    path = save_mask(tmp_path / "a.nii.gz", voxels=7, value=3)
    assert timepoints.read(path, label_value=3).volume_ml == pytest.approx(0.7)
    assert timepoints.read(path, label_value=2).volume_ml == 0


def test_the_json_beside_a_mask_names_its_models(tmp_path, save_json):
    save_json(tmp_path / "a.json", 0.7, model="spleen_mr_t2_axial")
    point = timepoints.read(save_mask(tmp_path / "a.nii.gz", voxels=7))
    assert (point.model, point.is_edited) == ("spleen_mr_t2_axial", False)


def test_a_mask_that_was_edited_is_no_longer_that_of_the_json(tmp_path, save_json):
    save_json(tmp_path / "a.json", 0.7)
    point = timepoints.read(save_mask(tmp_path / "a.nii.gz", voxels=8))
    assert (point.model, point.is_edited) == (None, True)
    assert point.volume_ml == pytest.approx(0.8)


def test_another_json_beside_a_mask_is_left_alone(tmp_path):
    (tmp_path / "a.json").write_text('{"Modality": "MR"}')
    assert timepoints.read(save_mask(tmp_path / "a.nii.gz", voxels=7)).model is None


def test_a_json_alone_does(tmp_path, save_json):
    point = timepoints.read(save_json(tmp_path / "a.json", 150.0, complete=True))
    assert (point.volume_ml, point.complete, point.mask) == (150.0, True, None)


@pytest.mark.parametrize("volume_ml", [-1.0, 1e308])
def test_a_json_of_no_volume_that_a_body_has_is_rejected(tmp_path, save_json, volume_ml):
    path = save_json(tmp_path / "a.json", 1.0)
    path.write_text(path.read_text().replace('"volume_ml": 1.0', f'"volume_ml": {volume_ml}'))
    with pytest.raises(InputError, match="expected a volume_ml from 0 to 10,000, found "):
        timepoints.read(path)


def test_an_image_in_place_of_its_mask_is_rejected(tmp_path):
    """30 × 20 × 20 voxels of 1 mL, all of them above 0."""
    image = Volume(np.full((30, 20, 20), 40, np.int16), np.diag([10.0, 10.0, 10.0, 1.0]), "")
    nifti.write(tmp_path / "ct.nii.gz", image)
    with pytest.raises(
        InputError, match=r"ct\.nii\.gz: expected the mask of a spleen, found 12,000"
    ):
        timepoints.read(tmp_path / "ct.nii.gz")


@pytest.mark.parametrize("name", ["a.json", "a.png"])
def test_another_file_is_rejected(tmp_path, name):
    (tmp_path / name).write_text("{}")
    with pytest.raises(InputError, match=r"expected a mask \(\.nii\.gz, \.nii\) or a JSON"):
        timepoints.read(tmp_path / name)


def test_two_files_are_a_pair_by_the_name_of_the_later(tmp_path):
    before, after = (save_mask(tmp_path / f"{name}.nii.gz", voxels=1) for name in "ab")
    assert timepoints.pair(before, after) == [("b", before, after)]


def test_folders_pair_by_name_and_a_mask_goes_before_its_json(tmp_path, save_json):
    for folder in ("before", "after"):
        save_mask(tmp_path / folder / "a.nii.gz", voxels=1)
        save_json(tmp_path / folder / "a.json", 0.1)
        save_json(tmp_path / folder / "b.json", 0.1)
        (tmp_path / folder / "other.json").write_text("{}")
    pairs = timepoints.pair(tmp_path / "before", tmp_path / "after")
    assert [(one.case, one.before.name, one.after.name) for one in pairs] == [
        ("a", "a.nii.gz", "a.nii.gz"),
        ("b", "b.json", "b.json"),
    ]


def test_a_case_with_one_examination_is_left_out_with_a_warning(tmp_path):
    for name in ("before/a", "before/b", "after/a"):
        save_mask(tmp_path / f"{name}.nii.gz", voxels=1)
    with pytest.warns(InputWarning, match="left out, since they have one examination only: b"):
        pairs = timepoints.pair(tmp_path / "before", tmp_path / "after")
    assert [one.case for one in pairs] == ["a"]


def test_folders_without_a_common_name_are_rejected(tmp_path):
    save_mask(tmp_path / "before" / "a.nii.gz", voxels=1)
    save_mask(tmp_path / "after" / "b.nii.gz", voxels=1)
    with pytest.raises(InputError, match="found none of a among b; rename one, or give two files"):
        timepoints.pair(tmp_path / "before", tmp_path / "after")


def test_a_file_and_a_folder_are_no_pair(tmp_path):
    save_mask(tmp_path / "after" / "a.nii.gz", voxels=1)
    path = save_mask(tmp_path / "a.nii.gz", voxels=1)
    with pytest.raises(InputError, match=r"a\.nii\.gz: expected a folder as .*after is"):
        timepoints.pair(path, tmp_path / "after")
    with pytest.raises(InputError, match="missing: expected a mask, a JSON of predict"):
        timepoints.pair(path, tmp_path / "missing")


def test_a_folder_without_masks_is_rejected(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty: expected masks \(CASE\.nii\.gz\) or JSON"):
        timepoints.pair(tmp_path / "empty", tmp_path / "empty")
