"""What a page gets of a volume: codes that lose little, the mask, and where things lie."""

import base64
import io
import json
import re

import numpy as np
import pytest
from PIL import Image

from spleen_tf.imaging.volume import Volume
from spleen_tf.reporting import viewer

WINDOW = (-160.0, 240.0)


def content_of(image, mask_ijk, window=WINDOW, modality="CT"):
    _, script = viewer.viewer(image, mask_ijk, window, modality)
    return json.loads(re.search(r'getElementById\("viewer"\), (.*)\);$', script, re.DOTALL)[1])


def pixels(png_base64):
    return np.array(Image.open(io.BytesIO(base64.b64decode(png_base64))))


def ct(shape=(8, 6, 5), zooms_mm=(2, 3, 4)):
    """From -1000 to 1000 HU, different in every voxel; i to the right, j to anterior, k up."""
    values = np.linspace(-1000, 1000, np.prod(shape)).reshape(shape)
    return Volume(values.astype(np.float32), np.diag([*zooms_mm, 1.0]), "ct.nii")


def test_axial_slices_come_from_foot_to_head_in_the_radiologists_view():
    image = ct()
    mask = np.zeros(image.shape, bool)
    mask[1, 5, 3] = True  # Towards the patient's left, most anterior, second from the top.
    content = content_of(image, mask)
    assert content["shape"] == [5, 6, 8]
    assert content["mm"] == [4, 3, 2]
    assert [png is not None for png in content["masks"]] == [False, False, False, True, False]
    assert np.argwhere(pixels(content["masks"][3])).tolist() == [[0, 6]]
    assert content["center"] == [3, 0, 6]
    assert content["letters"]["axial"] == ["A", "P", "R", "L"]
    assert content["letters"]["sagittal"] == ["S", "I", "A", "P"]


def test_values_in_the_window_come_back_within_a_hundredth_of_it():
    image = ct()
    content = content_of(image, np.zeros(image.shape, bool))
    values = np.array(content["values"])
    shown = values[np.stack([pixels(png) for png in content["images"]])]
    true = image.array_ijk[::-1, ::-1].transpose(2, 1, 0)
    inside = (true > WINDOW[0]) & (true < WINDOW[1])
    assert inside.sum() > 40
    assert np.abs(shown - true)[inside].max() < 4.0
    # Beyond it codes are few: air and bone are told apart, and that is all.
    assert np.abs(shown - true).max() < 40


@pytest.mark.parametrize("value", [-1000.0, 0.0, 5000.0])
def test_a_constant_volume_has_its_value(value):
    image = Volume(np.full((4, 4, 4), value), np.eye(4), "constant.nii")
    content = content_of(image, np.zeros(image.shape, bool))
    values = np.array(content["values"])
    assert len(values) == 256
    assert (np.diff(values) > 0).all()
    assert abs(values[pixels(content["images"][0])[0, 0]] - value) < 4


def test_a_volume_is_shown_at_its_own_resolution():
    image = ct((600, 500, 3))
    html, _ = viewer.viewer(image, np.zeros(image.shape, bool), WINDOW, "CT")
    content = content_of(image, np.zeros(image.shape, bool))
    assert content["shape"] == [3, 500, 600]
    assert content["stored"]["factors"] == [1, 1, 1]
    assert "the mean of" not in html


def test_what_is_wider_than_1024_pixels_is_averaged():
    array = np.zeros((1100, 4, 3), np.float32)
    array[0::2] = 100  # Every other column: 50 on the mean.
    image = Volume(array, np.eye(4), "wide.nii")
    mask = np.zeros(array.shape, bool)
    mask[:550] = True
    html, _ = viewer.viewer(image, mask, WINDOW, "CT")
    content = content_of(image, mask)
    assert "the mean of 2×2×1 voxels" in html
    assert content["shape"] == [3, 2, 550]
    assert content["mm"] == [1, 2, 2]
    means = np.array(content["values"])[pixels(content["images"][0])]
    assert np.abs(means - 50).max() < 2
    assert (pixels(content["masks"][0]) > 0).sum() == 2 * 275


def test_slices_of_more_voxels_than_a_page_can_hold_are_averaged(monkeypatch):
    """Five slices of 48 pixels, of which a page may hold 100: three in one, and two are left."""
    monkeypatch.setattr(viewer, "_MOST_VOXELS", 100)
    image = ct()
    content = content_of(image, np.zeros(image.shape, bool))
    assert (content["shape"], content["mm"]) == ([2, 6, 8], [12, 3, 2])


def test_sliders_reach_every_slice_and_level_and_width_begin_at_the_window():
    image = ct()
    html, _ = viewer.viewer(image, np.zeros(image.shape, bool), WINDOW, "CT")
    assert re.findall(r'min="0" max="(\d+)"', html) == ["4", "5", "7"]
    assert re.search(r'name="level".*?value="40"', html)
    assert re.search(r'name="width".*?value="400"', html)
    assert "lung" in html


def test_mr_has_no_hounsfield_units():
    image = ct()
    html, _ = viewer.viewer(image, np.zeros(image.shape, bool), None, "MR")
    assert "HU" not in html
    assert "lung" not in html


def test_nothing_of_the_source_is_told():
    image = ct()
    secret = Volume(image.array_ijk, image.affine, "DOE_JANE.nii")
    assert "DOE" not in "".join(viewer.viewer(secret, image.array_ijk > 0, WINDOW, "CT"))
