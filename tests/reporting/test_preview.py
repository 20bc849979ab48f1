"""Previews are read back as pixels: a picture is right when a reader of it is not misled."""

import struct
import tracemalloc

import numpy as np
import pytest
from matplotlib import image as png

from spleen_tf.core.files import InputError
from spleen_tf.imaging import intensity
from spleen_tf.imaging.volume import Volume, VolumeError
from spleen_tf.reporting import preview
from spleen_tf.reporting.panels import PREDICTION_RGB, TRUTH_RGB

STRIP_PX = 46  # Above and below the panels.


def picture(path):
    """(H, W, 3) uint8."""
    return np.rint(255 * png.imread(path)[..., :3]).astype(np.uint8)


def panels_of(picture_hwc):
    """(top, bottom, left, right) of each panel of a volume that is white throughout.

    Labels are white on a shade that lets 40% of the white through, so that nothing of a panel
    is darker than 102.
    """
    white = picture_hwc[STRIP_PX:-STRIP_PX].min(axis=2) > 90
    columns = np.concatenate([[0], white.mean(axis=0) > 0.3, [0]]).astype(int)
    starts, stops = np.flatnonzero(np.diff(columns) == 1), np.flatnonzero(np.diff(columns) == -1)
    boxes = []
    for left, right in zip(starts, stops, strict=True):
        rows = np.flatnonzero(white[:, left:right].mean(axis=1) > 0.5) + STRIP_PX
        boxes.append((rows[0], rows[-1] + 1, left, right))
    return boxes


def pixels_of(picture_hwc, rgb):
    """(H, W) bool: exactly this colour."""
    return (picture_hwc == np.array(rgb, np.uint8)).all(axis=2)


def bounds(mask_hw):
    """First and last row and column that hold some of a mask."""
    rows, columns = np.flatnonzero(mask_hw.any(axis=1)), np.flatnonzero(mask_hw.any(axis=0))
    return rows[0], rows[-1], columns[0], columns[-1]


def white_volume(shape=(100, 100, 20), zooms_mm=(1, 1, 5)):
    return Volume(np.ones(shape, np.int16), np.diag([*zooms_mm, 1.0]), "white.nii")


def block(shape, i, j, k):
    mask = np.zeros(shape, bool)
    mask[slice(*i), slice(*j), slice(*k)] = True
    return mask


def test_a_cube_of_flat_voxels_is_square_in_all_three_planes(tmp_path):
    """100 × 100 × 20 voxels of 1 × 1 × 5 mm are a cube; voxel for voxel it would be 5:1."""
    image = white_volume()
    mask = block(image.shape, (40, 60), (40, 60), (8, 12))
    preview.preview(tmp_path / "a.png", image, mask, modality="CT", window=(-1, 1))
    boxes = panels_of(picture(tmp_path / "a.png"))
    assert len(boxes) == 3
    for top, bottom, left, right in boxes:
        assert abs((bottom - top) - (right - left)) <= 2
        # 1500 px hold three panels and four gaps of 12 px: (1500 − 48) / 3 = 484 px each.
        assert right - left == pytest.approx(484, abs=1)


def test_outlines_lie_on_the_edges_of_the_voxels_in_the_radiologists_view(tmp_path):
    """Stored RAS, so i = 10…29 mm from the right edge of a view whose left is the right side."""
    image = white_volume()
    mask = block(image.shape, (10, 30), (50, 90), (3, 7))
    preview.preview(tmp_path / "a.png", image, mask, modality="CT", window=(-1, 1))
    pixels = picture(tmp_path / "a.png")
    # Each plane's rows and columns of the outline, in mm from the upper left corner:
    # x runs 100 − i, y runs 100 − j (both flipped), z runs 100 − 5 k.
    expected_mm = {
        "axial": (10, 50, 70, 90),
        "coronal": (65, 85, 70, 90),
        "sagittal": (65, 85, 10, 50),
    }
    for (top, bottom, left, right), edges_mm in zip(
        panels_of(pixels), expected_mm.values(), strict=True
    ):
        found_px = bounds(pixels_of(pixels[top:bottom, left:right], PREDICTION_RGB))
        assert found_px == pytest.approx([4.84 * mm for mm in edges_mm], abs=2)


def test_an_outline_is_not_filled(tmp_path):
    image = white_volume()
    mask = block(image.shape, (10, 30), (50, 90), (3, 7))
    preview.preview(tmp_path / "a.png", image, mask, modality="CT", window=(-1, 1))
    amber = pixels_of(picture(tmp_path / "a.png"), PREDICTION_RGB).sum()
    # Perimeters: 2 (20 + 40) + 2 (20 + 20) + 2 (40 + 20) = 320 mm of 4.84 px each, 2 px wide.
    # Filled, it would be (800 + 400 + 800) · 4.84² = 46,850 px.
    assert 0.7 * 320 * 4.84 * 2 < amber < 1.1 * 320 * 4.84 * 2


@pytest.mark.parametrize("codes", ["LPS", "PSR"])
def test_the_same_anatomy_gives_the_same_picture_however_it_is_stored(tmp_path, codes):
    rng = np.random.default_rng(1)
    shape = (30, 24, 8)
    ras = Volume(
        rng.integers(-200, 300, shape).astype(np.int16), np.diag([2.0, 2, 6, 1]), "ras.nii"
    )
    mask = block(shape, (4, 11), (3, 10), (4, 7))
    other, other_mask = stored_as(ras, mask, codes)
    assert other.orientation == codes
    preview.preview(tmp_path / "ras.png", ras, mask, modality="CT")
    preview.preview(tmp_path / "other.png", other, other_mask, modality="CT")
    assert (tmp_path / "ras.png").read_bytes() == (tmp_path / "other.png").read_bytes()


def stored_as(ras, mask, codes):
    """A volume stored RAS and its mask, in another order of voxels but at the same place."""
    order = [next(a for a, pair in enumerate(("RL", "AP", "SI")) if c in pair) for c in codes]
    step, start = np.zeros((3, 3)), np.zeros(3)
    for new_axis, (axis, code) in enumerate(zip(order, codes, strict=True)):
        step[axis, new_axis] = 1 if code in "RAS" else -1
        start[axis] = 0 if code in "RAS" else ras.shape[axis] - 1
    to_ras_ijk = np.eye(4)
    to_ras_ijk[:3, :3], to_ras_ijk[:3, 3] = step, start
    flipped = [axis for axis, code in enumerate(codes) if code not in "RAS"]
    arrays = [np.flip(a.transpose(order), flipped) for a in (ras.array_ijk, mask)]
    return Volume(arrays[0], ras.affine @ to_ras_ijk, f"{codes}.nii"), arrays[1]


def test_where_truth_and_prediction_agree_both_colours_are_seen(tmp_path):
    image = white_volume()
    mask = block(image.shape, (10, 30), (50, 90), (3, 7))
    preview.preview(tmp_path / "a.png", image, mask, modality="CT", window=(-1, 1), truth_ijk=mask)
    pixels = picture(tmp_path / "a.png")[STRIP_PX:-STRIP_PX]
    assert pixels_of(pixels, PREDICTION_RGB).sum() > 1000
    assert pixels_of(pixels, TRUTH_RGB).sum() > 1000


def test_a_legend_tells_prediction_from_truth_only_where_both_are_drawn(tmp_path):
    image = white_volume()
    mask = block(image.shape, (10, 30), (50, 90), (3, 7))
    preview.preview(tmp_path / "one.png", image, mask, modality="CT")
    preview.preview(tmp_path / "two.png", image, mask, modality="CT", truth_ijk=mask)
    foot_of_one = picture(tmp_path / "one.png")[-STRIP_PX:]
    foot_of_two = picture(tmp_path / "two.png")[-STRIP_PX:]
    for rgb in (PREDICTION_RGB, TRUTH_RGB):
        assert not pixels_of(foot_of_one, rgb).any()
        assert pixels_of(foot_of_two, rgb).any()


def test_an_empty_mask_is_told_in_words_over_the_middle_of_the_volume(tmp_path):
    dark = np.zeros((40, 40, 11), np.int16)
    dark[:, :, 5] = 100
    image = Volume(dark, np.diag([1.0, 1, 4, 1]), "a.nii")
    mask = np.zeros(image.shape, np.uint8)
    preview.preview(tmp_path / "none.png", image, mask, modality="CT", window=(0, 100))
    pixels = picture(tmp_path / "none.png")
    amber = pixels_of(pixels, PREDICTION_RGB)
    assert amber[:STRIP_PX].any()
    assert not amber[STRIP_PX:].any()
    # The axial panel, a third of the picture, shows slice 5 of 0…10.
    assert np.median(pixels[pixels.shape[0] // 2, 60:440]) == 255

    mask[20, 20, 5] = 1
    preview.preview(tmp_path / "one.png", image, mask, modality="CT", window=(0, 100))
    assert not pixels_of(picture(tmp_path / "one.png")[:STRIP_PX], PREDICTION_RGB).any()


def test_a_spleen_that_was_missed_is_shown(tmp_path):
    image = white_volume()
    truth = block(image.shape, (10, 30), (50, 90), (1, 3))
    mask = np.zeros_like(truth)
    preview.preview(tmp_path / "a.png", image, mask, modality="CT", window=(-1, 1), truth_ijk=truth)
    pixels = picture(tmp_path / "a.png")
    for top, bottom, left, right in panels_of(pixels):
        assert pixels_of(pixels[top:bottom, left:right], TRUTH_RGB).any()


def test_the_window_maps_its_ends_to_black_and_white():
    values = np.array([[-161, -160, 40, 240, 241]], np.int16)
    # (40 + 160) / 400 of 255 is 127.5, which rounds to the even 128.
    assert preview.to_grey(values, *intensity.CT_HU).tolist() == [[0, 0, 128, 255, 255]]


def test_a_constant_mr_volume_is_drawn(tmp_path):
    image = white_volume((8, 6, 5))
    preview.preview(tmp_path / "a.png", image, np.ones(image.shape, bool), modality="MR")
    assert picture(tmp_path / "a.png").shape[1] == 1500


def test_a_whole_body_is_cut_to_what_is_around_the_spleen(tmp_path):
    """400 slices of 5 mm are 2 m; the picture stays readable, and the outline is in it."""
    image = white_volume((80, 80, 400), (5, 5, 5))
    mask = block(image.shape, (10, 30), (20, 40), (370, 390))
    preview.preview(tmp_path / "a.png", image, mask, modality="CT", window=(-1, 1))
    pixels = picture(tmp_path / "a.png")
    # 400 mm wide and 500 mm high: (1500 − 48) / 1200 = 1.21 px a mm, so 605 px and two strips.
    assert pixels.shape[0] == 605 + 2 * STRIP_PX
    for top, bottom, left, right in panels_of(pixels):
        assert pixels_of(pixels[top:bottom, left:right], PREDICTION_RGB).any()


def test_nothing_but_pixels_is_in_the_file(tmp_path):
    """No text chunk, no time, no path: only size, resolution and data."""
    image = white_volume((8, 6, 5))
    named = Volume(image.array_ijk, image.affine, "/ward/DOE^JANE_1970-01-01.nii")
    mask = np.ones(image.shape, bool)
    preview.preview(tmp_path / "a.png", image, mask, modality="CT")
    preview.preview(tmp_path / "b.png", named, mask, modality="CT")
    content = (tmp_path / "a.png").read_bytes()
    assert set(chunk_names(content)) == {b"IHDR", b"pHYs", b"IDAT", b"IEND"}
    assert content == (tmp_path / "b.png").read_bytes()


def chunk_names(content):
    position = 8
    while position < len(content):
        length, name = struct.unpack_from(">I4s", content, position)
        yield name
        position += 12 + length


def test_a_large_volume_is_not_copied(tmp_path):
    """They take no memory here; a copy of the image would take 200 MB, one of a mask 100 MB."""
    shape = (512, 512, 400)
    image = Volume(np.broadcast_to(np.int16(7), shape), np.eye(4), "large.nii")
    spleen = np.broadcast_to(np.arange(400) > 390, shape)
    tracemalloc.start()
    try:
        preview.preview(tmp_path / "a.png", image, spleen, modality="MR", truth_ijk=spleen)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 60e6


def test_a_mask_of_another_shape_is_refused(tmp_path):
    image = white_volume((8, 6, 5))
    with pytest.raises(VolumeError, match=r"^white.nii: expected a reference of its shape \(8"):
        preview.preview(
            tmp_path / "a.png",
            image,
            np.zeros((8, 6, 5)),
            modality="CT",
            truth_ijk=np.zeros((5, 6, 8)),
        )


def test_a_window_upside_down_is_refused(tmp_path):
    image = white_volume((8, 6, 5))
    with pytest.raises(InputError, match="expected a window with low < high, found 240 and -160"):
        preview.preview(
            tmp_path / "a.png", image, image.array_ijk, modality="CT", window=(240, -160)
        )


def test_the_planes_cross_in_the_voxel_that_was_asked_for():
    values = np.arange(4 * 5 * 6).reshape(4, 5, 6)
    cuts = preview.multi_planar(values, np.diag([1.0, 1, 2, 1]), (3, 1, 2))
    # Stored RAS: axial rows run along −j and columns along −i; coronal −k, −i; sagittal −k, −j.
    assert np.array_equal(cuts["axial"], values[::-1, ::-1, 2].T)
    assert np.array_equal(cuts["coronal"], values[::-1, 1, ::-1].T)
    assert np.array_equal(cuts["sagittal"], values[3, ::-1, ::-1].T)
    assert all(np.shares_memory(cut, values) for cut in cuts.values())


def test_cross_hairs_meet_in_the_voxel_that_was_asked_for_and_leave_it_free(tmp_path):
    """One bright voxel in 100 × 100 × 20 dark ones of 1 × 1 × 5 mm, stored RAS, at 4.84 px a mm."""
    dark = white_volume()
    dark.array_ijk[:] = 0
    dark.array_ijk[10, 20, 3] = 1
    mask = block(dark.shape, (60, 70), (60, 70), (10, 12))
    options = {"modality": "CT", "window": (0, 1), "center_ijk": (10, 20, 3)}
    preview.preview(tmp_path / "a.png", dark, mask, **options)
    white = (picture(tmp_path / "a.png") > 200).all(axis=2)  # Interpolated.
    # Row and column in mm: x = 100 − 10.5, y = 100 − 20.5, z = 100 − 5 · 3.5.
    crossings_mm = ((79.5, 89.5), (82.5, 89.5), (82.5, 79.5))
    for number, (row_mm, column_mm) in enumerate(crossings_mm):
        left = 12 + number * (484 + 12)
        panel = white[STRIP_PX : STRIP_PX + 484, left : left + 484]
        row, column = np.argmax(panel.sum(axis=1)), np.argmax(panel.sum(axis=0))
        assert (row, column) == pytest.approx((4.84 * row_mm, 4.84 * column_mm), abs=1.5)
        assert panel[row].mean() > 0.8
        assert panel[:, column].mean() > 0.8
        around = panel[row - 15 : row + 16, column - 15 : column + 16]
        assert around[15, 15]  # The voxel itself, and no line near it.
        assert not around[:, [0, -1]].any()
        assert not around[[0, -1]].any()


def test_the_voxel_that_was_asked_for_is_written_below_the_planes(tmp_path):
    image, mask = white_volume(), block((100, 100, 20), (40, 60), (40, 60), (8, 12))
    for name, center_ijk in (("middle", None), ("same", (49, 49, 9)), ("other", (49, 49, 1))):
        preview.preview(tmp_path / f"{name}.png", image, mask, modality="CT", center_ijk=center_ijk)
    inks = [
        np.flatnonzero(picture(tmp_path / f"{name}.png")[-STRIP_PX:].any(axis=(0, 2)))
        for name in ("middle", "same", "other")
    ]
    # "voxel 49,49,9" stands left of what is always there; another digit changes only its shape.
    assert inks[0][0] - inks[1][0] > 100
    assert inks[1][0] == pytest.approx(inks[2][0], abs=2)


def test_without_a_voxel_no_cross_hairs_are_drawn(tmp_path):
    dark = white_volume()
    dark.array_ijk[:] = 0
    mask = block(dark.shape, (60, 70), (60, 70), (10, 12))
    preview.preview(tmp_path / "a.png", dark, mask, modality="CT", window=(0, 1))
    white = (picture(tmp_path / "a.png") == 255).all(axis=2)
    assert white.mean(axis=0).max() < 0.5
    assert white.mean(axis=1).max() < 0.5


@pytest.mark.parametrize(
    ("voxel", "axis", "last"), [((8, 0, 0), "i", 7), ((0, -1, 0), "j", 5), ((0, 0, 5), "k", 4)]
)
def test_a_voxel_outside_of_the_volume_is_refused(voxel, axis, last):
    image = white_volume((8, 6, 5))
    sentence = f"white.nii: expected a voxel with {axis} from 0 to {last}, found {voxel[0]},"
    with pytest.raises(VolumeError, match=sentence):
        preview.draw(image, np.ones(image.shape), modality="CT", center_ijk=voxel)


def test_the_middle_of_one_block_is_its_centroid():
    assert preview.middle_ijk(block((10, 12, 14), (2, 5), (4, 9), (0, 14))) == (3, 6, 6)


@pytest.mark.parametrize("order", ["C", "F"])
def test_the_middle_of_two_blocks_is_a_slice_that_holds_some_of_either(order):
    """Centroid i = (3 · 1 + 1 · 9) / 4 = 3, where there is nothing: 1 is nearer than 9."""
    mask = np.zeros((10, 4, 4), bool, order=order)
    mask[1, 0:3, 2] = mask[9, 1, 2] = True
    assert preview.middle_ijk(mask) == (1, 1, 2)


def test_an_empty_mask_has_no_middle():
    assert preview.middle_ijk(np.zeros((3, 4, 5))) is None


def test_importing_it_chooses_no_backend_and_loads_no_pyplot(run_python):
    finished = run_python(
        "-c", "import sys, spleen_tf.reporting.preview; print('matplotlib.pyplot' in sys.modules)"
    )
    assert finished.stdout.strip() == "False", finished.stderr
