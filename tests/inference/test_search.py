"""Where members look: what the first look says, and what happens where it is wrong."""

import types

import numpy as np
import pytest
from fixtures import records

from spleen_tf.imaging import planes
from spleen_tf.imaging.volume import Volume
from spleen_tf.inference import first_look
from spleen_tf.inference import search as searches
from spleen_tf.inference.member import interpolated
from spleen_tf.inference.search import Plan

AFFINE = np.diag([2.0, 2.0, 2.5, 1.0])
SHAPE = (120, 120, 80)
ORGAN = np.s_[60:80, 50:70, 30:50]  # 40, 40 and 50 mm.


class Bright:
    """A member that takes all that is brighter than a threshold for spleen, in what it is shown."""

    def __init__(self, threshold):
        self.threshold, self.shown = threshold, []
        self.info = records.of_model(name="bright", modality="CT", window=(-100, 300))
        self.runtime = types.SimpleNamespace(name="onnx")

    def slices(self, image):
        return planes.split(image.array_ijk, image.affine, "axial")

    def batches(self, image, window, view, skip_below_mm=0.0, span=None):
        self.shown.append((image.shape, skip_below_mm))
        yield 0, (self.slices(image) > self.threshold).astype(np.float32)

    def probability(self, image, slices_nhw, span, window):
        return np.zeros((1, *slices_nhw.shape[1:]), np.float32)


def volume(block_ijk=ORGAN, value=100):
    array_ijk = np.zeros(SHAPE, np.int16)
    array_ijk[block_ijk] = value
    return Volume(array_ijk, AFFINE, "volume")


def mask_of(found, image):
    return found.in_volume(found.probability_ijk >= 0.5, image.shape)


def test_members_see_the_organ_60_mm_around_it_and_25_mm_of_slices_above_and_below():
    image, member, first = volume(), Bright(50), Bright(50)
    found = searches.search(image, Plan([member], [first], "CT"))
    # Of slices 2.5 mm apart the first look sees every second; its box may begin a slice early.
    assert first.shown == [((120, 120, 40), 0.0)]
    assert member.shown == [((80, 80, 41), 1.5)]
    np.testing.assert_array_equal(mask_of(found, image), image.array_ijk > 50)
    assert found.doubt is None


def test_the_first_look_skips_what_lies_nearer_than_half_of_its_pixels_and_5_mm_of_slices():
    """Half of 2 mm is two voxels of 0.5 mm; of slices 1.5 mm apart it sees every third."""
    array_ijk = np.zeros((40, 60, 30), np.int16)
    shown = first_look.overview([Bright(50)], Volume(array_ijk, np.diag([0.5, 0.5, 1.5, 1]), "a"))
    assert shown.shape == (20, 30, 10)
    np.testing.assert_allclose(shown.zooms_mm, [1, 1, 4.5])


def test_full_looks_at_every_slice():
    image, member, first = volume(), Bright(50), Bright(50)
    searches.search(image, Plan([member], [first], "CT", full=True))
    assert first.shown == [(SHAPE, 0.0)]
    assert member.shown == [((80, 80, 40), 0.0)]


def test_where_the_first_look_sees_nothing_the_whole_volume_is_searched():
    image, member = volume(), Bright(50)
    found = searches.search(image, Plan([member], [Bright(1000)], "CT"))
    assert found.doubt == searches.NOTHING_SEEN
    assert member.shown == [(SHAPE, 1.5)]
    np.testing.assert_array_equal(mask_of(found, image), image.array_ijk > 50)


def test_what_the_first_look_cuts_off_is_found_by_a_second_region():
    image = volume(np.s_[10:110, 50:70, 30:50])  # 200 mm along i.
    image.array_ijk[60:80, 50:70, 30:50] = 200  # All that the first look sees.
    member = Bright(50)
    found = searches.search(image, Plan([member], [Bright(150)], "CT"))
    assert len(member.shown) > 1
    np.testing.assert_array_equal(mask_of(found, image), image.array_ijk > 50)


def test_where_the_members_find_nothing_the_next_candidate_is_looked_at():
    image = volume(ORGAN, 120)
    image.array_ijk[5:30, 5:40, 40:70] = 80  # Larger, and too dark for the members.
    member = Bright(100)
    found = searches.search(image, Plan([member], [Bright(50)], "CT"))
    assert len(member.shown) == 2
    np.testing.assert_array_equal(mask_of(found, image), image.array_ijk > 100)
    assert found.doubt is None


def test_where_no_candidate_holds_spleen_the_whole_volume_is_searched():
    image = volume(np.s_[5:40, 5:40, 40:70], 80)
    image.array_ijk[100:104, 100:104, 5:10] = 120  # Too small a share for a candidate.
    found = searches.search(image, Plan([Bright(100)], [Bright(50)], "CT"))
    assert found.doubt == searches.NOT_CONFIRMED
    np.testing.assert_array_equal(mask_of(found, image), image.array_ijk > 100)


def test_without_a_first_look_members_see_the_whole_volume_and_skip_nothing():
    image, member = volume(), Bright(50)
    found = searches.search(image, Plan([member], [], "CT"))
    assert set(member.shown) == {(SHAPE, 0.0)}
    assert found.crop is image
    assert len(found.views) == 1


@pytest.mark.parametrize("batch", [1, 2, 4])
@pytest.mark.parametrize("count", [7, 8, 9, 10])
def test_slices_between_two_are_interpolated_and_those_after_the_last_repeat_it(batch, count):
    heights = np.array([0.0, 0.9, 0.3, 0.6], np.float32)[: -(-count // 3)]
    seen = heights[:, np.newaxis, np.newaxis]
    batches = [(start, seen[start : start + batch]) for start in range(0, len(seen), batch)]
    places, values = [], []
    for start, probability_nhw in interpolated(batches, 3, count):
        places += range(start, start + len(probability_nhw))
        values += probability_nhw[:, 0, 0].tolist()
    assert places == list(range(count))
    np.testing.assert_allclose(
        values, np.interp(places, range(0, 3 * len(seen), 3), heights), atol=1e-6
    )
