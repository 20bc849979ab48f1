"""What is said of a mask, computed by hand, in the patient's millimetres."""

import numpy as np
import pytest

from spleen_tf.imaging.volume import Volume
from spleen_tf.quality import evidence

# 60 × 40 × 20 voxels of 2 × 3 × 5 mm: 30 mm³ each.
SHAPE = (60, 40, 20)
ZOOMS_MM = (2.0, 3.0, 5.0)


@pytest.fixture
def image(make_affine):
    """Stored LPS; the voxel (i, j, k) holds i + 100 k; the origin is at (50, 60, -30) mm."""
    i, _, k = np.indices(SHAPE)
    affine = make_affine("LPS", ZOOMS_MM, (50.0, 60.0, -30.0))
    return Volume((i + 100 * k).astype(np.int16), affine, "a.nii")


def many_values(shape):
    """As an image has; their places do not matter."""
    return (np.arange(np.prod(shape)) % 1000).astype(np.int16).reshape(shape)


def block(i, j, k, shape=SHAPE):
    mask = np.zeros(shape, bool)
    mask[slice(*i), slice(*j), slice(*k)] = True
    return mask


def test_a_block_is_measured(image):
    measured = evidence.measure(image, block((30, 40), (10, 30), (5, 15)))
    # 10 · 20 · 10 voxels of 30 mm³. The middle is i = 34.5, j = 19.5, k = 9.5; stored LPS, so
    # that x = 50 − 2 i, y = 60 − 3 j, z = −30 + 5 k. The mean of i + 100 k is 34.5 + 950.
    assert measured == {
        "voxels": 2000,
        "volume_mm3": pytest.approx(60_000),
        "volume_ml": pytest.approx(60),
        "bounding_box_ijk": [[30, 39], [10, 29], [5, 14]],
        "centroid_ras_mm": pytest.approx([-19.0, 1.5, 17.5]),
        "complete": True,
        "mean_intensity": pytest.approx(984.5),
    }


@pytest.mark.parametrize("codes", ["RAS", "LAS", "LPI", "RPS"])
def test_the_centroid_follows_flips_of_the_affine(make_affine, codes):
    """One voxel at (1, 2, 3): steps of 2, 3 and 5 mm, each with its axis' sign."""
    affine = make_affine(codes, ZOOMS_MM, (10.0, 20.0, 30.0))
    image = Volume(np.zeros((4, 5, 6), np.int16), affine, "a.nii")
    measured = evidence.measure(image, block((1, 2), (2, 3), (3, 4), (4, 5, 6)))
    signs = [1 if letter in "RAS" else -1 for letter in codes]
    expected = [10 + 2 * signs[0], 20 + 6 * signs[1], 30 + 15 * signs[2]]
    assert measured["centroid_ras_mm"] == pytest.approx(expected)


def test_the_centroid_follows_permuted_axes(make_affine):
    """Stored SLP: i runs upwards by 2 mm, j to the left by 3 mm, k backwards by 5 mm."""
    image = Volume(np.zeros((4, 5, 6), np.int16), make_affine("SLP", ZOOMS_MM, (0, 0, 0)), "a.nii")
    measured = evidence.measure(image, block((1, 2), (2, 3), (3, 4), (4, 5, 6)))
    assert measured["centroid_ras_mm"] == pytest.approx([-6, -15, 2])


def test_voxels_of_a_sheared_volume_keep_their_volume():
    """A shear of 3 mm a voxel lengthens the column to √(4 + 9) but not the volume of 2·3·5."""
    affine = np.array([[2, 0, 0, 0], [3, 3, 0, 0], [0, 0, 5, 0], [0, 0, 0, 1.0]])
    image = Volume(np.zeros(SHAPE, np.int16), affine, "a.nii")
    measured = evidence.measure(image, block((30, 31), (10, 12), (5, 6)))
    assert measured["volume_mm3"] == pytest.approx(60)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("end", ["first", "last"])
def test_a_mask_at_any_of_the_six_sides_is_incomplete(image, axis, end):
    ranges = [[30, 40], [10, 30], [5, 15]]
    ranges[axis] = [0, ranges[axis][1]] if end == "first" else [ranges[axis][0], SHAPE[axis]]
    assert evidence.measure(image, block(*ranges))["complete"] is False
    ranges[axis] = [1, SHAPE[axis] - 1]
    assert evidence.measure(image, block(*ranges))["complete"] is True


def test_a_mean_of_many_large_values_does_not_overflow(make_affine):
    image = Volume(np.full((40, 40, 40), 30_000, np.int16), make_affine("RAS"), "a.nii")
    mask = np.ones(image.shape, bool)
    assert evidence.measure(image, mask)["mean_intensity"] == 30_000


def test_an_empty_mask_measures_zero_and_nothing_more(image):
    assert evidence.measure(image, np.zeros(SHAPE, bool)) == {
        "voxels": 0,
        "volume_mm3": 0.0,
        "volume_ml": 0.0,
        "bounding_box_ijk": None,
        "centroid_ras_mm": None,
        "complete": None,
        "mean_intensity": None,
    }


def reasons(image, mask):
    return evidence.reasons_for_review(image, evidence.measure(image, mask))


def test_a_plausible_spleen_needs_no_review(image):
    # 60 mL at x = −19 mm; the volume's middle is at x = 50 − 2 · 29.5 = −9 mm.
    assert reasons(image, block((30, 40), (10, 30), (5, 15))) == []


def test_an_empty_result_is_a_reason_and_not_zero_ml_without_a_word(image):
    (reason,) = reasons(image, np.zeros(SHAPE, bool))
    assert reason.startswith("no spleen was found")


def test_a_clipped_spleen_is_a_lower_bound(image):
    (reason,) = reasons(image, block((30, 40), (10, 30), (0, 10)))
    assert reason == "the spleen touches the volume's edge: its volume is a lower bound"


@pytest.mark.parametrize(
    ("side_voxels", "odd"), [((9, 10, 11), True), ((7, 11, 13), False), ((40, 38, 18), False)]
)
def test_what_is_smaller_than_30_ml_is_odd(image, side_voxels, odd):
    """990 voxels of 30 mm³ are 29.7 mL, 1001 are 30.03 mL, 27360 are 821 mL."""
    spans = [(size - 1 - n, size - 1) for size, n in zip(SHAPE, side_voxels, strict=True)]
    found = reasons(image, block(*spans))
    assert any("29.7 mL is outside 30 to 3000 mL" in reason for reason in found) == odd
    assert len(found) == int(odd)


def test_what_is_larger_than_3_litres_is_odd(make_affine):
    # 20³ voxels of 8³ mm³ are 4096 mL, in the left half.
    image = Volume(many_values((60, 22, 22)), make_affine("LAS", (8, 8, 8)), "a.nii")
    (reason,) = reasons(image, block((39, 59), (1, 21), (1, 21), image.shape))
    assert reason.startswith("4096.0 mL is outside")


def test_most_of_what_was_found_should_be_one_piece_where_no_calibration_knows_better(make_affine):
    image = Volume(many_values(SHAPE), make_affine("LPS", ZOOMS_MM), "a.nii")
    measured = evidence.measure(image, block((40, 50), (10, 30), (5, 15)))
    (reason,) = evidence.reasons_for_review(image, measured, main_share=0.6)
    assert reason == "only 60% of what was found lies in one piece, and the rest was dropped"
    assert evidence.reasons_for_review(image, measured, main_share=0.7) == []
    assert evidence.reasons_for_review(image, measured, 0.9, 0.8, main_share=0.6) == []


@pytest.mark.parametrize(("codes", "odd"), [("LPS", False), ("RPS", True), ("LAI", False)])
def test_a_spleen_on_the_right_is_odd(make_affine, codes, odd):
    """The block lies at high i: towards the left where i runs left, else towards the right."""
    image = Volume(many_values(SHAPE), make_affine(codes, ZOOMS_MM), "a.nii")
    found = reasons(image, block((40, 50), (10, 30), (5, 15)))
    assert found == (
        ["orientation: it lies in the right half of the volume; is the header right?"]
        if odd
        else []
    )


def test_the_right_half_is_that_of_the_volume_not_of_the_scanner(make_affine):
    """The whole volume lies at x > 0, as when the table was moved; the organ is in its left."""
    affine = make_affine("LPS", ZOOMS_MM, (900.0, 0, 0))
    image = Volume(many_values(SHAPE), affine, "a.nii")
    assert reasons(image, block((40, 50), (10, 30), (5, 15))) == []


def test_every_reason_is_given(make_affine):
    image = Volume(many_values(SHAPE), make_affine("RPS", ZOOMS_MM), "a.nii")
    found = reasons(image, block((55, 60), (10, 12), (5, 6)))
    assert len(found) == 3


def votes_of(*blocks):
    return [block(*sides) for sides in blocks]


def signs_of(*found):
    """Of an image whose voxel i, j, k holds i, seen through the window 0 to 100."""
    array = np.broadcast_to(np.arange(SHAPE[0], dtype=np.int16)[:, None, None], SHAPE)
    image = Volume(array, np.diag([*ZOOMS_MM, 1.0]), "a.nii")
    return evidence.signs(image, (0.0, 100.0), *found)


def test_members_that_agree_and_are_sure_show_no_trouble():
    mask = block((30, 40), (10, 30), (5, 15))
    found = signs_of(mask.astype(np.float16), mask, [mask, mask], 2000)
    shares = {"certainty": 1.0, "agreement": 1.0, "weakest": 1.0, "main_share": 1.0}
    # The mask begins and ends at its full area; the mean of 30 to 39 is 34.5.
    assert found == {**shares, "smoothness": 0.0, "brightness": pytest.approx(0.345)}


def test_an_area_that_grows_evenly_is_smooth():
    """Slices follow one another along k, 5 mm apart; 100, 200 and 100 voxels in three of them."""
    mask = block((30, 40), (10, 20), (5, 8)) | block((30, 40), (20, 30), (6, 7))
    assert signs_of(mask.astype(np.float16), mask, [], 400)["smoothness"] == 0.5


def test_signs_by_hand():
    """2000 voxels at 0.75, and 500 of 0.25 beside them that did not reach the threshold."""
    mask = block((30, 40), (10, 30), (5, 15))
    p = 0.75 * mask + 0.25 * block((40, 45), (10, 30), (5, 10))
    half, all_of_it = votes_of(((30, 35), (10, 30), (5, 15)), ((30, 40), (10, 30), (5, 15)))
    found = signs_of(p, mask, [half, all_of_it, all_of_it], 2000)
    # 2 · 1500 / (1500 + 125 + 2000); Dice of the half with the whole 2 · 1000 / 3000.
    assert found["certainty"] == pytest.approx(3000 / 3625)
    assert found["agreement"] == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)
    assert found["weakest"] == pytest.approx(2 / 3)


def test_what_lies_far_off_does_not_count_as_disagreement_but_as_a_lesser_share():
    mask = block((30, 40), (10, 30), (5, 15))
    stray = block((0, 4), (0, 25), (0, 5))  # 500 voxels.
    found = signs_of((mask | stray).astype(np.float16), mask, [mask, mask | stray], 2500)
    assert found["agreement"] == 1.0
    assert found["main_share"] == pytest.approx(2000 / 2500)


def test_a_single_view_cannot_disagree():
    mask = block((30, 40), (10, 30), (5, 15))
    found = signs_of(mask.astype(np.float16), mask, [], 2000)
    assert (found["agreement"], found["weakest"]) == (1.0, 1.0)


def test_an_empty_mask_shows_no_signs():
    assert signs_of(np.zeros(SHAPE, np.float16), np.zeros(SHAPE, bool), [], 0) is None


@pytest.mark.parametrize(
    ("as_is", "mirror", "doubted"),
    [
        (200, 100, []),
        (200, 290, []),
        (200, 310, ["right"]),
        (10, 300, ["right"]),
        (0, 20, []),
        (0, 40, ["right"]),
    ],
)
def test_orientation_is_doubted_where_the_mirror_shows_half_as_much_again(as_is, mirror, doubted):
    assert evidence.orientation_doubts({"right": (as_is, mirror)}) == doubted


def test_ct_given_to_a_model_of_mr_asks_for_a_review(image):
    measured = evidence.measure(image, block((30, 40), (10, 30), (5, 15)))
    why = "the model is for MR, and the header says CT"
    assert evidence.reasons_for_review(image, measured, foreign=why) == [why]


@pytest.mark.parametrize(("values", "odd"), [(2, True), (14, True), (33, False)])
def test_a_mask_in_place_of_an_image_asks_for_a_review(make_affine, values, odd):
    i, j, k = np.indices((90, 80, 70))
    image = Volume(((i + j + k) % values).astype(np.uint8), make_affine("LPS", ZOOMS_MM), "a.nii")
    found = reasons(image, block((60, 70), (20, 40), (5, 15), image.shape))
    expected = "the volume has no more different values than a mask: is it an image?"
    assert found == ([expected] if odd else [])


def test_a_low_predicted_dice_and_doubts_ask_for_a_review(image):
    measured = evidence.measure(image, block((30, 40), (10, 30), (5, 15)))
    assert evidence.reasons_for_review(image, measured, 0.9, 0.85) == []
    reasons = evidence.reasons_for_review(image, measured, 0.8, 0.85, ["superior"])
    assert reasons == [
        "orientation: more spleen is found with superior and its opposite exchanged; is the "
        "header right?",
        "a Dice of 0.80 is expected, and results below 0.85 are to be looked at",
    ]
