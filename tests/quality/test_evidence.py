"""Evidence of a prediction's quality, computed by hand."""

import numpy as np
import pytest
from fixtures.blocks import SHAPE, ZOOMS_MM, block

from spleen_tf.imaging.volume import Volume
from spleen_tf.quality import evidence
from spleen_tf.quality.evidence import Evidence


def votes_of(*blocks):
    return [block(*sides) for sides in blocks]


def collected(probability_ijk, mask_ijk, views_ijk, voxels_above):
    """Of an image whose voxel i, j, k holds i, seen through the window 0 to 100."""
    array = np.broadcast_to(np.arange(SHAPE[0], dtype=np.int16)[:, None, None], SHAPE)
    image = Volume(array, np.diag([*ZOOMS_MM, 1.0]), "a.nii")
    agreement = evidence.agreement_around(mask_ijk, views_ijk)
    return evidence.collect(image, (0.0, 100.0), probability_ijk, mask_ijk, agreement, voxels_above)


def test_members_that_agree_and_are_sure_show_no_trouble():
    mask = block((30, 40), (10, 30), (5, 15))
    found = collected(mask.astype(np.float16), mask, [mask, mask], 2000)
    # The mask begins and ends at its full area; the mean of 30 to 39 is 34.5.
    assert found.brightness == pytest.approx(0.345)
    assert found == Evidence(
        certainty=1.0,
        agreement=1.0,
        weakest=1.0,
        main_share=1.0,
        smoothness=0.0,
        brightness=found.brightness,
    )


def test_an_area_that_grows_evenly_is_smooth():
    """Slices follow one another along k, 5 mm apart; 100, 200 and 100 voxels in three of them."""
    mask = block((30, 40), (10, 20), (5, 8)) | block((30, 40), (20, 30), (6, 7))
    assert collected(mask.astype(np.float16), mask, [], 400).smoothness == 0.5


def test_evidence_by_hand():
    """2000 voxels at 0.75, and 500 of 0.25 beside them that did not reach the threshold."""
    mask = block((30, 40), (10, 30), (5, 15))
    p = 0.75 * mask + 0.25 * block((40, 45), (10, 30), (5, 10))
    half, all_of_it = votes_of(((30, 35), (10, 30), (5, 15)), ((30, 40), (10, 30), (5, 15)))
    found = collected(p, mask, [half, all_of_it, all_of_it], 2000)
    # 2 · 1500 / (1500 + 125 + 2000); Dice of the half with the whole 2 · 1000 / 3000.
    assert found.certainty == pytest.approx(3000 / 3625)
    assert found.agreement == pytest.approx((2 / 3 + 2 / 3 + 1) / 3)
    assert found.weakest == pytest.approx(2 / 3)


def test_what_lies_far_off_does_not_count_as_disagreement_but_as_a_lesser_share():
    mask = block((30, 40), (10, 30), (5, 15))
    stray = block((0, 4), (0, 25), (0, 5))  # 500 voxels.
    found = collected((mask | stray).astype(np.float16), mask, [mask, mask | stray], 2500)
    assert found.agreement == 1.0
    assert found.main_share == pytest.approx(2000 / 2500)


def test_a_single_view_cannot_disagree():
    mask = block((30, 40), (10, 30), (5, 15))
    found = collected(mask.astype(np.float16), mask, [], 2000)
    assert (found.agreement, found.weakest) == (1.0, 1.0)


def test_an_empty_mask_gives_no_evidence():
    image = Volume(np.zeros(SHAPE, np.int16), np.diag([*ZOOMS_MM, 1.0]), "a.nii")
    nothing = np.zeros(SHAPE, bool)
    agreement = evidence.agreement(nothing, [])
    assert evidence.collect(image, (0.0, 1.0), nothing, nothing, agreement, 0) is None


def test_nested_volumes_by_hand():
    """2000 voxels of 30 mm³ are found: of them 1500 at 0.8; 400 beside them have 0.3, and 50 0.2.

    Half way from 0.5 to 1 and to 0 is 0.75 and 0.25. 100 voxels at 0.3 that touch nothing, and what
    lies beyond the surroundings, do not count.
    """
    mask = block((30, 40), (10, 30), (5, 15))
    p = 0.6 * mask
    p[block((30, 40), (10, 25), (5, 15))] = 0.8
    p[block((40, 42), (10, 30), (5, 15))] = 0.3
    p[block((42, 43), (10, 15), (5, 15))] = 0.2
    p[block((26, 28), (10, 20), (10, 15))] = 0.3
    p[block((0, 20), (0, 10), (0, 5))] = 0.9
    image = Volume(np.zeros(SHAPE, np.int16), np.diag([*ZOOMS_MM, 1.0]), "a.nii")
    inner_ml, outer_ml = evidence.nested_ml(image, p.astype(np.float16), mask, 0.5)
    assert inner_ml == pytest.approx(1500 * 0.03)
    assert outer_ml == pytest.approx(2400 * 0.03)


def test_an_empty_mask_has_no_nested_volumes(image):
    nothing = np.zeros(SHAPE, bool)
    assert evidence.nested_ml(image, nothing.astype(np.float16), nothing, 0.5) is None
