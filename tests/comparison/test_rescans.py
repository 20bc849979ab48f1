"""Simulated rescans: what differs from the original, and the figures of a study of them."""

import numpy as np
import pytest

from spleen_tf.comparison import rescans
from spleen_tf.comparison.family_error import FamilyError
from spleen_tf.comparison.rescans import Alignment, Examination, Measured
from spleen_tf.evaluation.agreement import MeasurementError
from spleen_tf.imaging import registration
from spleen_tf.imaging.volume import Volume
from spleen_tf.phantom import generate

TEN_PERCENT = FamilyError(MeasurementError(0.0, 10.0), "")  # Limits of -24.2% and +31.9%.


def measured(*volumes_ml, case="a", complete=True):
    return Measured(case=case, examinations=tuple(Examination(v, complete) for v in volumes_ml))


@pytest.fixture(scope="module")
def phantom():
    return generate.make(1, "MR", 48)


@pytest.fixture(scope="module")
def rescan(phantom):
    return rescans.simulate(phantom.image, np.random.default_rng(3))


def test_a_rescan_holds_the_same_organ_on_another_grid(phantom, rescan):
    assert rescan.image.voxel_mm3 != pytest.approx(phantom.image.voxel_mm3, rel=0.01)
    mask = registration.resampled_mask(phantom.label, rescan.image.grid, rescan.movement)
    later = Volume(mask, rescan.image.affine, "")
    label = Volume(phantom.label.array_ijk > 0, phantom.label.affine, "")
    there_mm, here_mm = map(registration.centroid_ras_mm, (later, label))
    back_mm = (rescan.movement.matrix @ [*there_mm, 1.0])[:3]
    assert np.linalg.norm(there_mm - here_mm) > 20
    np.testing.assert_allclose(back_mm, here_mm, atol=1.0)
    bright, dark = (np.median(rescan.image.array_ijk[part]) for part in (mask, ~mask))
    assert bright > dark


def test_the_same_seed_gives_the_same_rescan(phantom, rescan):
    again = rescans.simulate(phantom.image, np.random.default_rng(3))
    np.testing.assert_array_equal(again.image.array_ijk, rescan.image.array_ijk)


def test_mr_stays_without_negative_values(rescan):
    assert rescan.image.array_ijk.min() >= 0


def test_the_noise_of_ct_is_some_hounsfield_units():
    """Air is constant in the original: what it varies by is noise of 8 to 20 HU."""
    array_ijk = np.full((30, 30, 30), -1000, np.int16)
    rescan = rescans.simulate(Volume(array_ijk, np.eye(4), ""), np.random.default_rng(0))
    assert 8 <= rescan.image.array_ijk.std() <= 20


def test_every_two_examinations_are_a_pair():
    pairs = rescans.pairs(measured(100.0, 105.0, 140.0), TEN_PERCENT)
    assert [(pair.before, pair.after) for pair in pairs] == [(0, 1), (0, 2), (1, 2)]
    assert [pair.change_percent for pair in pairs] == pytest.approx([5.0, 40.0, 100 / 3])
    assert [pair.beyond_limits for pair in pairs] == [False, True, True]


def test_figures_count_wrong_calls_among_the_pairs_that_were_judged():
    compared = [
        *rescans.pairs(measured(100.0, 105.0, 140.0), TEN_PERCENT),
        *rescans.pairs(measured(100.0, 900.0, case="b", complete=False), TEN_PERCENT),
    ]
    alignments = [Alignment(rescan=n, mean_mm=mm, max_mm=mm) for n, mm in ((1, 0.1), (2, 0.5))]
    figures = rescans.figures(compared, alignments, (-24.2, 31.9))
    assert (figures.cases, figures.pairs, figures.not_judged) == (2, 4, 1)
    assert figures.beyond_limits == 2
    assert figures.beyond_percent == pytest.approx(200 / 3)
    assert figures.largest_percent == pytest.approx(40.0)
    assert (figures.alignment_mean_mm, figures.alignment_worst_mm) == (0.3, 0.5)


def test_repeatability_is_twice_the_spread_of_pairs():
    """One pair of +10%: exp(1.96 ln 1.1) = 1.2054."""
    figures = rescans.figures(rescans.pairs(measured(100.0, 110.0), TEN_PERCENT), [], (0.0, 0.0))
    assert figures.repeatability_percent == pytest.approx(20.54, abs=0.01)


def test_alignment_is_the_distance_over_the_body():
    """A shift of 3 mm is 3 mm everywhere."""
    array_ijk = np.zeros((30, 30, 30), np.int16)
    array_ijk[5:25, 5:25, 5:25] = 100
    image = Volume(array_ijk, np.diag([4.0, 4, 4, 1]), "")
    center_mm, still = np.zeros(3), np.zeros(3)
    made = registration.Rigid.about(center_mm, still, np.array([0.0, 0.0, 3.0]))
    found = registration.Rigid.about(center_mm, still, still)
    apart = rescans.alignment(1, found, rescans.Rescan(image, made))
    assert (apart.mean_mm, apart.max_mm) == pytest.approx((3.0, 3.0))
