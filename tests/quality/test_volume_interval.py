"""The interval of a volume: what it is learnt from, and what share of other volumes it holds."""

import math

import numpy as np
import pytest

from spleen_tf.quality import volume_interval
from spleen_tf.quality.volume_interval import Doubt, HeldOutVolume, VolumeInterval

UNDOUBTED = Doubt(None, None)


def row(truth_ml, volume_ml=100.0, nested_ml=None, agreement=None, modality="CT", case="a"):
    return HeldOutVolume(case, modality, truth_ml, volume_ml, Doubt(nested_ml, agreement))


def drawn(rng, count, nested=True):
    """Volumes of 100 to 400 mL, and of those at two thresholds, each 5 to 30% away.

    The true volume lies between these two, anywhere with equal chance.
    """
    rows = []
    for _ in range(count):
        volume_ml = rng.uniform(100, 400)
        inner_ml = volume_ml * (1 - rng.uniform(0.05, 0.3))
        outer_ml = volume_ml * (1 + rng.uniform(0.05, 0.3))
        truth_ml = rng.uniform(inner_ml, outer_ml)
        rows.append(row(truth_ml, volume_ml, (inner_ml, outer_ml) if nested else None))
    return rows


def test_the_interval_by_hand():
    """Ten errors of 1 to 10 mL of 100 mL: the quantile's rank is ⌈11 · 0.9⌉ = 10, the largest."""
    fitted = volume_interval.fit([row(100 + error) for error in range(1, 11)])
    assert fitted.terms == ()
    assert fitted.predict(100, UNDOUBTED) == (pytest.approx(90), pytest.approx(110))
    # Of nine others the rank is 9: each case but the one of 10 mL lies within the largest other.
    assert (fitted.cases, fitted.covered) == (10, 9)


def test_a_unit_by_hand():
    """2% + (1 - 0.9) of 200 mL are 24 mL; down to 180 mL it is 20 more, up to 230 mL 30."""
    fitted = VolumeInterval(10, 9, ("nested", "agreement"), 0.5)
    doubt = Doubt((180.0, 230.0), 0.9)
    assert fitted.predict(200, doubt) == (pytest.approx(200 - 22), pytest.approx(200 + 27))


def test_no_interval_reaches_below_nothing():
    assert VolumeInterval(10, 9, (), 100.0).predict(50, UNDOUBTED)[0] == 0


def test_nine_of_ten_volumes_that_were_not_learnt_from_lie_in_their_interval():
    """The mean over many fits; of 40 cases the rank is 37, so that 37 of 41 are to be expected."""
    rng = np.random.default_rng(0)
    shares = []
    for _ in range(40):
        fitted = volume_interval.fit(drawn(rng, 40))
        new = drawn(rng, 100)
        held = [fitted.predict(r.volume_ml, r.doubt) for r in new]
        shares.append(
            np.mean([low <= r.truth_ml <= high for (low, high), r in zip(held, new, strict=True)])
        )
    assert np.mean(shares) == pytest.approx(37 / 41, abs=0.015)


def test_doubt_that_tells_the_error_makes_intervals_narrower_at_the_same_coverage():
    rows = drawn(np.random.default_rng(1), 200)
    with_doubt = volume_interval.fit(rows)
    without = volume_interval.fit([row(r.truth_ml, r.volume_ml) for r in rows])
    widths = [
        np.mean([np.ptp(fit.predict(r.volume_ml, r.doubt)) for r in rows])
        for fit in (with_doubt, without)
    ]
    assert widths[0] < 0.95 * widths[1]
    assert with_doubt.covered == pytest.approx(180, abs=1)


def test_left_out_cases_are_covered_as_the_ranks_say():
    """Of n cases, each is held against a rank of the n - 1 others: ⌈0.9 n⌉ of n are covered."""
    for count in (10, 14, 18, 40):
        fitted = volume_interval.fit(drawn(np.random.default_rng(count), count))
        assert fitted.covered == math.ceil(0.9 * count)


def test_a_miss_with_a_false_spleen_and_too_large_a_mask_count_downwards():
    """Of 100 mL, nothing is true: the interval has to reach down to 0, which is 50 units of 2%."""
    fitted = volume_interval.fit([row(0.0)] * 2 + [row(100.0)] * 10)
    assert fitted.scaled_error == pytest.approx(50)


def test_only_terms_that_all_cases_have_are_used():
    rows = [row(105, nested_ml=(95.0, 110.0), agreement=0.9) for _ in range(9)] + [
        row(105, agreement=0.9)
    ]
    fitted = volume_interval.fit(rows)
    assert fitted.terms == ("agreement",)
    assert fitted.predict(100, Doubt(None, 0.9)) is not None
    assert fitted.predict(100, UNDOUBTED) is None


def test_too_few_cases_and_empty_masks_give_none():
    rows = [row(105)] * 9
    assert volume_interval.fit(rows) is None
    assert volume_interval.fit([*rows, row(100, volume_ml=0.0)]) is None


def test_members_that_found_different_organs_neither_count_nor_get_an_interval():
    """Ten errors of 5 mL in 100 mL at an agreement of 0.9, and one of 300 mL at 0.4."""
    rows = [row(105, agreement=0.9)] * 10
    fitted = volume_interval.fit([*rows, row(400, agreement=0.4)])
    assert fitted == volume_interval.fit(rows)
    assert fitted.predict(100, Doubt(None, 0.9)) == (pytest.approx(95), pytest.approx(105))
    assert fitted.predict(100, Doubt(None, 0.4)) is None


def test_each_modality_has_its_own():
    rows = [row(110)] * 10 + [row(150, modality="MR")] * 12
    fitted = volume_interval.by_modality(rows)
    assert {name: interval.cases for name, interval in fitted.items()} == {"CT": 10, "MR": 12}
    assert fitted["CT"].predict(100, UNDOUBTED)[1] == pytest.approx(110)
    assert fitted["MR"].predict(100, UNDOUBTED)[1] == pytest.approx(150)
    assert list(volume_interval.by_modality(rows[:15])) == ["CT"]
