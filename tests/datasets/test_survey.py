"""What a look at cases finds odd: every number derived by hand."""

import dataclasses

import numpy as np
import pytest

from spleen_tf.datasets import survey
from spleen_tf.datasets.layouts import Case
from spleen_tf.datasets.survey import CaseSurvey, Measured
from spleen_tf.imaging.volume import Volume
from spleen_tf.io import nifti


def measured(spleen_mm3):
    return Measured(
        modality="CT",
        shape="8x6x5",
        zooms_mm="1x1x1",
        orientation="RAS",
        bits_per_voxel=16,
        stored_as="int16",
        space_unit="mm",
        time_unit="unknown",
        lowest=0.0,
        highest=1.0,
        spleen_mm3=spleen_mm3,
        spleen_slices=1,
        touches_edge=False,
    )


def marked(**sizes_mm3):
    surveys = [CaseSurvey(name, measured(mm3), None, ()) for name, mm3 in sizes_mm3.items()]
    return {one.case: one.row() for one in survey.mark_outliers(surveys)}


def test_a_spleen_of_another_order_of_size_is_an_outlier():
    # Logarithms of 100, 110, 121, 1331 in units of log 1.1, from 100: 0, 1, 2, 27.2. Median 1.5,
    # deviations 1.5, 0.5, 0.5, 25.7: MAD 1. Score of the last: 0.6745 * 25.7 = 17.3.
    row_of = marked(a=100.0, b=110.0, c=121.0, d=1331.0)
    assert [row_of[name]["outlier"] for name in "abcd"] == [False, False, False, True]
    assert row_of["d"]["why"] == "outlier: 1,331 mm3 is unusually large, modified z-score 17.3"


def test_equal_spleens_have_no_outliers():
    assert not any(row["outlier"] for row in marked(a=5.0, b=5.0, c=5.0).values())


def test_cases_without_spleen_do_not_count():
    row_of = marked(a=0.0, b=100.0, c=110.0, d=121.0)
    assert not any(row["outlier"] for row in row_of.values())


@pytest.fixture
def saved_volume(tmp_path):
    """A function that writes voxels and reads them back, as if the header said a modality."""

    def save(array_ijk, modality):
        path = tmp_path / "image.nii"
        nifti.write(path, Volume(array_ijk.astype(np.int16), np.diag([2.0, 2, 3, 1]), ""))
        return dataclasses.replace(nifti.read(path), modality=modality)

    return save


@pytest.mark.parametrize(
    ("said", "header", "darkest", "sentence"),
    [
        ("CT", None, -1000, None),
        ("MR", None, 0, None),
        ("MR", "MR", 0, None),
        (
            "CT",
            None,
            0,
            "says CT, but the image has no air: its darkest voxels are at 0",
        ),
        (
            "MR",
            None,
            -1024,
            "says MR, but the image's darkest voxels are at -1024, like",
        ),
        ("MR", "CT", 0, "modality: the data set says MR, its header CT"),
    ],
)
def test_a_modality_that_header_or_intensities_speak_against_is_odd(
    saved_volume, said, header, darkest, sentence
):
    image = saved_volume(np.where(np.indices((8, 6, 5))[2] == 0, darkest, 50), header)
    label = np.zeros((8, 6, 5), np.uint8)
    label[3:5, 2:4, 2:4] = 1
    found = survey.survey(
        Case("a", image.source, "label", said), image, Volume(label, image.affine, ""), "axial"
    )
    of_modality = [oddity for oddity in found.oddities if "modality" in oddity]
    assert bool(of_modality) == bool(sentence)
    if sentence:
        assert sentence in of_modality[0]
