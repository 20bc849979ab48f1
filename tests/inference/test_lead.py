"""Where members of several planes look, with members that find blocks that the test draws."""

import types

import numpy as np
import pytest
from fixtures import records

from spleen_tf.imaging import planes
from spleen_tf.imaging.volume import Volume
from spleen_tf.inference import lead
from spleen_tf.inference.fusion import Fusion

# Voxels of 2 × 2 × 5 mm; i runs to the left, so that sagittal slices run against it.
SHAPE = (100, 90, 20)
ZOOMS_MM = (2.0, 2.0, 5.0)
ORGAN = np.s_[10:30, 40:60, 5:15]  # 4000 voxels of 20 mm³ are 80 mL.
NOTHING = np.s_[:0, :0, :0]


class Finder:
    """A member that finds blocks; `shown` are the spans of slices that it saw."""

    def __init__(self, plane, *blocks_ijk):
        self.blocks_ijk, self.shown = blocks_ijk, []
        self.info = records.of_model(name="finder", plane=plane)
        self.runtime = types.SimpleNamespace(name="onnx")

    def slices(self, image):
        return planes.split(image.array_ijk, image.affine, self.info.plane)

    def batches(self, image, window, view, skip_below_mm, span):
        found_ijk = np.zeros(image.shape, np.float32)
        for block_ijk in self.blocks_ijk:
            found_ijk[block_ijk] = 1
        found_nhw = planes.split(found_ijk, image.affine, self.info.plane)
        first, last = span or (0, len(found_nhw))
        self.shown.append((first, last))
        yield first, found_nhw[first:last]


@pytest.fixture
def image(make_affine):
    return Volume(np.zeros(SHAPE, np.int16), make_affine("LAS", ZOOMS_MM), "a.nii")


def look(image, axial, coronal, sagittal):
    """What the lead lets members see, checked to be what all see everywhere: spans, and whether."""

    def members():
        blocks = {"axial": axial, "coronal": coronal, "sagittal": sagittal}
        return [Finder(plane, *blocks_ijk) for plane, blocks_ijk in blocks.items()]

    windows = [(0.0, 1.0)] * 3
    led = Fusion(members(), image, windows)
    lead.look(led)
    everywhere = Fusion(members(), image, windows).look_everywhere()
    np.testing.assert_array_equal(led.probability_ijk >= 0.5, everywhere.probability_ijk >= 0.5)
    return [member.shown for member in led.members]


def test_the_others_look_at_30_mm_around_what_the_lead_sees(image):
    """15 voxels. Coronal slices are j = 25 to 75; sagittal ones count from the other end of i."""
    axial, coronal, sagittal = look(image, [ORGAN], [ORGAN], [ORGAN])
    assert axial == [(0, 20)]
    assert coronal == [(25, 75)]
    assert sagittal == [(100 - 45, 100)]


def test_they_look_at_half_of_its_length_around_a_long_organ(image):
    long = np.s_[10:30, 20:60, 5:15]
    _, coronal, _ = look(image, [long], [long], [long])
    assert coronal == [(0, 80)]


def test_they_look_everywhere_where_the_lead_sees_nothing(image):
    _, coronal, sagittal = look(image, [], [ORGAN], [ORGAN])
    assert (coronal, sagittal) == ([(0, 90)], [(0, 100)])


ELSEWHERE = np.s_[70:90, 65:85, 5:15]


@pytest.mark.parametrize("others", [[], [ELSEWHERE], [np.s_[10:16, 40:60, 5:15]]])
def test_they_look_everywhere_where_they_do_not_find_half_of_what_the_lead_sees(image, others):
    _, coronal, sagittal = look(image, [ORGAN], others, others)
    assert sorted(coronal) == [(0, 25), (25, 75), (75, 90)]
    assert sorted(sagittal) == [(0, 55), (55, 100)]


def test_they_look_everywhere_where_it_is_too_small_for_a_spleen(image):
    """1200 voxels are 24 mL."""
    speck = np.s_[10:20, 40:52, 5:15]
    _, coronal, _ = look(image, [speck], [speck], [speck])
    assert len(coronal) == 3


def test_they_look_again_where_the_organ_is_longer_than_what_the_lead_sees(image):
    """Of j = 40 to 84, as far as 75 is seen at first; with half of 35 on each side, all from 23."""
    longer = np.s_[10:30, 40:84, 5:15]
    _, coronal, _ = look(image, [ORGAN], [longer], [longer])
    assert coronal == [(25, 75), (23, 25), (75, 90), (18, 23)]
