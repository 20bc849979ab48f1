"""Reasons for a review, each with a volume and a mask that give it and no other."""

import dataclasses

import numpy as np
import pytest
from fixtures.blocks import SHAPE, ZOOMS_MM, block

from spleen_tf.imaging.volume import Volume
from spleen_tf.quality import checks, measurements
from spleen_tf.quality.evidence import Evidence


def many_values(shape):
    """As an image has; their places do not matter."""
    return (np.arange(np.prod(shape)) % 1000).astype(np.int16).reshape(shape)


def reasons(image, mask, **concerns):
    return checks.reasons_for_review(image, measurements.measure(image, mask), **concerns)


def test_a_plausible_spleen_needs_no_review(image):
    # 60 mL at x = −19 mm; the volume's middle is at x = 50 − 2 · 29.5 = −9 mm.
    assert reasons(image, block((30, 40), (10, 30), (5, 15))) == []


def test_an_empty_result_is_a_reason_and_not_zero_ml_without_a_word(image):
    (reason,) = reasons(image, np.zeros(SHAPE, bool))
    assert reason.startswith("no spleen was found")


def test_a_clipped_spleen_is_a_lower_bound(image):
    (reason,) = reasons(image, block((30, 40), (10, 30), (0, 10)))
    assert reason == "the spleen touches the edge of the volume: its volume is a lower bound"


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
    assert reason.startswith("unusual size: 4096.0 mL is outside")


def test_most_of_what_was_found_should_be_one_piece_where_no_calibration_knows_better(make_affine):
    image = Volume(many_values(SHAPE), make_affine("LPS", ZOOMS_MM), "a.nii")
    mask = block((40, 50), (10, 30), (5, 15))
    (reason,) = reasons(image, mask, main_share=0.6)
    assert reason == (
        "several pieces: the largest holds 60% of what was found; the others were removed"
    )
    assert reasons(image, mask, main_share=0.7) == []
    assert reasons(image, mask, predicted_dice=0.9, review_below=0.8, main_share=0.6) == []


@pytest.mark.parametrize(("codes", "odd"), [("LPS", False), ("RPS", True), ("LAI", False)])
def test_a_spleen_on_the_right_is_odd(make_affine, codes, odd):
    """The block lies at high i: towards the left where i runs left, else towards the right."""
    image = Volume(many_values(SHAPE), make_affine(codes, ZOOMS_MM), "a.nii")
    found = reasons(image, block((40, 50), (10, 30), (5, 15)))
    assert found == (
        ["orientation: the spleen lies in the right half of the volume; check the header"]
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
    assert checks.flipped_directions({"right": (as_is, mirror)}) == doubted


def test_ct_given_to_a_model_of_mr_asks_for_a_review(image):
    why = "the model is for MR, but the header says CT"
    found = reasons(image, block((30, 40), (10, 30), (5, 15)), modality_doubt=why)
    assert found == [f"modality: {why}"]


def test_a_doubt_about_the_header_s_geometry_asks_for_a_review(image):
    why = "sform and qform disagree by 12 voxels"
    doubted = dataclasses.replace(image, geometry_doubt=why)
    assert reasons(doubted, block((30, 40), (10, 30), (5, 15))) == [f"geometry: {why}"]


@pytest.mark.parametrize(("values", "odd"), [(2, True), (14, True), (33, False)])
def test_a_mask_in_place_of_an_image_asks_for_a_review(make_affine, values, odd):
    i, j, k = np.indices((90, 80, 70))
    image = Volume(((i + j + k) % values).astype(np.uint8), make_affine("LPS", ZOOMS_MM), "a.nii")
    found = reasons(image, block((60, 70), (20, 40), (5, 15), image.shape))
    expected = "intensities: the volume has as few values as a mask; check the input file"
    assert found == ([expected] if odd else [])


def test_a_low_predicted_dice_and_a_flipped_image_ask_for_a_review(image):
    mask = block((30, 40), (10, 30), (5, 15))
    assert reasons(image, mask, predicted_dice=0.9, review_below=0.85) == []
    found = reasons(image, mask, predicted_dice=0.8, review_below=0.85, flipped=["anterior"])
    assert found == [
        "orientation: the model finds more spleen in the front-to-back flipped image; check the "
        "header",
        "low predicted Dice: 0.80, below 0.85",
    ]


def with_agreement(agreement):
    shares = dict.fromkeys(("certainty", "weakest", "main_share", "smoothness", "brightness"), 1.0)
    return Evidence(agreement=agreement, **shares)


def test_models_that_disagree_ask_for_a_review(image):
    mask = block((30, 40), (10, 30), (5, 15))
    assert reasons(image, mask, evidence=with_agreement(0.5)) == []
    (reason,) = reasons(image, mask, evidence=with_agreement(0.33))
    assert reason.startswith("the models disagree: a mean Dice of 0.33 between two of them")


def test_disputed_is_what_nobody_finds_or_each_finds_elsewhere():
    assert checks.is_disputed(None)
    assert checks.is_disputed(with_agreement(0.49))
    assert not checks.is_disputed(with_agreement(0.5))


@pytest.mark.parametrize(("shift", "odd"), [(0, False), (-2048, True), (300, True), (299, False)])
def test_a_ct_has_soft_tissue(make_affine, shift, odd):
    """Values 0 to 999; at 0.1% of the voxels each, one value within -200 to 300 HU is enough."""
    image = Volume(many_values((50, 40, 20)) + shift, make_affine("LPS", ZOOMS_MM), "a.nii")
    assert checks.lacks_soft_tissue(image) == odd
