"""What a data set has in common, and the plan that follows: every number derived by hand."""

import numpy as np
import pytest

from spleen_tf.core import files
from spleen_tf.core.files import InputError
from spleen_tf.datasets import fingerprint
from spleen_tf.datasets.fingerprint import CaseProfile
from spleen_tf.imaging.volume import Volume


def profile(shape, zooms_mm, modality="MR", values=(), spleen_mm3=0.0, axes=(0, 1, 2)):
    affine = np.zeros((4, 4))
    affine[3, 3] = 1
    for stored, world in enumerate(axes):
        affine[world, stored] = zooms_mm[stored]
    return CaseProfile(modality, affine, shape, np.array(values, float), spleen_mm3)


def test_a_profile_holds_what_lies_inside_the_spleen():
    array = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
    inside = array >= 56
    image = Volume(array, np.diag([2.0, 2.0, 3.0, 1.0]), "image")
    found = CaseProfile.of(image, inside, "CT")
    assert found.spleen_values.tolist() == [56, 57, 58, 59]
    assert found.spleen_mm3 == 4 * 12
    assert found.shape == (3, 4, 5)


def test_medians_are_anatomical_whatever_the_order_of_the_axes():
    one = profile((10, 20, 30), (1.0, 2.0, 5.0))
    permuted = profile((30, 10, 20), (5.0, 1.0, 2.0), axes=(2, 0, 1))
    proposed = fingerprint.propose([one, permuted], "axial")
    assert proposed.median_shape == (10, 20, 30)
    assert proposed.median_zooms_mm == (1, 2, 5)


def test_thick_slices_from_the_side_get_coarser_rows_and_a_smaller_image():
    # 320 mm across 128 columns: 2.5 mm. Rows of 7.7 mm: at most 1.6 times 2.5 mm. 36 slices of
    # 7.7 mm are 69.3 rows of 4 mm: nine tenths are 62, 4 times 16. 128 columns: 115, 7 times 16.
    # Four halvings leave 4 rows; 112,000 / (64 * 112) = 15.6.
    proposed = fingerprint.propose([profile((256, 256, 36), (1.25, 1.25, 7.7))], "coronal")
    assert proposed.pixel_mm == (4.0, 2.5)
    assert (proposed.image_size, proposed.depth) == ((64, 112), 4)
    assert proposed.batch_size == 16


def test_pixels_are_never_finer_than_the_slices():
    proposed = fingerprint.propose([profile((40, 48, 30), (3.0, 3.0, 5.0))], "axial")
    assert proposed.pixel_mm == (3.0, 3.0)


def test_the_window_of_ct_is_its_spleens_range_and_half_of_it_on_both_sides():
    # 0.5th and 99.5th percentile of 0, 1, ..., 200: 1 and 199. 1 - 99 and 199 + 99, to tens.
    case = profile((64, 64, 64), (2.0, 2.0, 2.0), "CT", np.arange(201), 1000.0)
    proposed = fingerprint.propose([case], "axial")
    assert proposed.window == (-100, 300)
    assert proposed.spleen_intensity["50"] == 100


def test_mr_and_mixed_data_are_windowed_by_percentiles():
    mr = profile((64, 64, 64), (2.0, 2.0, 2.0), "MR", [7], 1.0)
    ct = profile((64, 64, 64), (2.0, 2.0, 2.0), "CT", [7], 1.0)
    assert fingerprint.propose([mr], "axial").window == (0.5, 99.5)
    mixed = fingerprint.propose([mr, ct], "axial")
    assert (mixed.modality, mixed.window) == ("any", (0.5, 99.5))


def test_cases_without_spleen_leave_nothing_to_say_of_it():
    proposed = fingerprint.propose([profile((64, 64, 64), (2.0, 2.0, 2.0))], "axial")
    assert (proposed.spleen_intensity, proposed.spleen_volume_ml) == ({}, {})


def test_volumes_are_in_ml_and_leave_out_absent_spleens():
    sizes = [profile((8, 8, 8), (1, 1, 1), spleen_mm3=mm3) for mm3 in (0, 1e5, 2e5, 6e5)]
    found = fingerprint.propose(sizes, "axial").spleen_volume_ml
    assert found == {"minimum": 100, "median": 200, "maximum": 600}


def test_what_is_written_is_read_back(tmp_path):
    proposed = fingerprint.propose([profile((64, 64, 64), (2.0, 2.0, 2.0))], "sagittal")
    files.write_json(tmp_path / "fingerprint.json", proposed)
    read = fingerprint.read(tmp_path / "fingerprint.json")
    for key in ("pixel_mm", "window", "image_size"):
        assert getattr(read, key) == getattr(proposed, key)
    for key in ("depth", "batch_size", "plane", "modality"):
        assert getattr(read, key) == getattr(proposed, key)


def test_one_number_stands_for_rows_and_columns(tmp_path):
    path = tmp_path / "fingerprint.json"
    path.write_text('{"pixel_mm": 2.5, "window": [0, 1], "image_size": 64}')
    assert fingerprint.read(path).pixel_mm == (2.5,)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("[]", "expected `object`, found `array`; make one with spleen_tf.explore"),
        ('{"pixel_mm": [1, 1], "window": [0, 1]}', "expected the key 'image_size', found none"),
        (
            '{"pixel_mm": ["1"], "window": [0, 1], "image_size": [64]}',
            r"expected `float` at \$\.pixel_mm\[0\], found `str`",
        ),
        (
            '{"pixel_mm": [1], "window": [0, 1], "image_size": [64], "depth": 2.5}',
            r"expected `int \| null` at \$\.depth, found `float`",
        ),
        ("{", "expected JSON"),
    ],
)
def test_other_files_are_refused(tmp_path, content, sentence):
    path = tmp_path / "fingerprint.json"
    path.write_text(content)
    with pytest.raises(InputError, match=sentence):
        fingerprint.read(path)
