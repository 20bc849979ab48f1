"""Where the voxels of a NIfTI file lie: sform, qform and voxel sizes that agree, or do not."""

import re
import struct
import warnings

import nibabel as nib
import numpy as np
import pytest

from spleen_tf.core.files import InputWarning
from spleen_tf.io import nifti

NAN = float("nan")


@pytest.fixture
def read_quietly(write_bytes):
    """A function that reads bytes as a file, where any warning is a failure."""

    def read(content):
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return nifti.read(write_bytes(content))

    return read


@pytest.mark.parametrize(
    ("unit", "mm"), [(0, 1.0), (1, 1000.0), (2, 1.0), (3, 0.001), (1 + 8, 1000.0), (3 + 16, 0.001)]
)
def test_lengths_in_metres_and_micrometres_become_millimetres(
    write_bytes, sound, patched, unit, mm
):
    affine_mm = nib.Nifti1Image.from_bytes(sound).affine
    in_unit = nib.Nifti1Image(
        np.zeros((8, 6, 5), np.int16), np.diag([1 / mm] * 3 + [1]) @ affine_mm
    )
    image = nifti.read(write_bytes(patched(in_unit.to_bytes(), xyzt_units=unit)))
    np.testing.assert_allclose(image.zooms_mm, (0.8, 0.7, 5.0), rtol=1e-6)
    np.testing.assert_allclose(image.affine, affine_mm, rtol=1e-6)


# Rows of an sform: 2 mm voxels, RAS, first voxel at (1, 2, 3).
SFORM_2MM = (2.0, 0, 0, 1, 0, 2.0, 0, 2, 0, 0, 2.0, 3)


def test_the_sform_rules_where_both_are_set_and_disagreement_is_doubt(write_bytes, sound, patched):
    path = write_bytes(patched(sound, srow=SFORM_2MM))
    with pytest.warns(
        InputWarning, match=r"a\.nii: the sform disagrees with .* qform by .* voxels; "
    ):
        image = nifti.read(path)
    np.testing.assert_array_equal(image.affine[:3].ravel(), SFORM_2MM)


@pytest.mark.parametrize(("shift_mm", "doubted"), [(0.3, False), (0.4, True)])
def test_forms_may_disagree_by_half_a_voxel_and_no_more(
    write_bytes, sound, patched, field_of, shift_mm, doubted
):
    srow = list(field_of(sound, "srow"))
    srow[3] += shift_mm  # The smallest voxel edge is 0.7 mm.
    path = write_bytes(patched(sound, srow=tuple(srow)))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        image = nifti.read(path)
    assert (image.geometry_doubt is not None) == doubted
    assert [issubclass(w.category, InputWarning) for w in caught] == [True] * doubted


def test_forms_that_agree_are_read_without_a_warning(tiny_nifti):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        nifti.read(tiny_nifti)


def test_the_qform_rules_where_the_sform_is_not_set(write_bytes, sound, patched):
    image = nifti.read(write_bytes(patched(sound, sform_code=0, srow=SFORM_2MM)))
    assert image.orientation == "LAS"
    np.testing.assert_allclose(image.zooms_mm, (0.8, 0.7, 5.0), rtol=1e-6)
    # Tilted by 10° about x: a step along j climbs by sin 10°.
    assert image.affine[2, 1] == pytest.approx(0.7 * np.sin(np.radians(10)), rel=1e-5)


def test_a_quaternion_longer_than_1_counts_as_no_qform(write_bytes, sound, patched):
    path = write_bytes(patched(sound, sform_code=0, quatern=(1.0, 1.0, 1.0)))
    with pytest.warns(InputWarning, match="no usable qform"):
        assert nifti.read(path).shape == (8, 6, 5)
    path = write_bytes(patched(sound, quatern=(1.0, 1.0, 1.0)))
    assert nifti.read(path).orientation == "LAS"  # The sform is enough.


def test_a_quaternion_that_rounding_made_a_little_longer_than_1_is_a_rotation(
    read_quietly, sound, patched
):
    half_turn = patched(sound, sform_code=0, quatern=(0.0, 0.0, 1.0))
    rounded = patched(sound, sform_code=0, quatern=(0.0, 0.0, 1.0001))
    np.testing.assert_array_equal(read_quietly(rounded).affine, read_quietly(half_turn).affine)


@pytest.mark.parametrize("qfac", [0.0, 1.0, 2.0])
def test_a_qfac_that_is_not_minus_one_means_right_handed(write_bytes, sound, patched, qfac):
    pixdim = (qfac, 0.8, 0.7, 5, 1, 1, 1, 1)
    path = write_bytes(patched(sound, sform_code=0, quatern=(0.0, 0.0, 0.0), pixdim=pixdim))
    image = nifti.read(path)
    assert image.orientation == "RAS"  # The identity rotation.
    np.testing.assert_array_equal(image.affine, nib.load(path).affine)


def test_voxel_sizes_rule_where_neither_form_is_set_with_a_warning(write_bytes, sound, patched):
    path = write_bytes(patched(sound, sform_code=0, qform_code=0))
    with pytest.warns(InputWarning, match=r"a\.nii: no sform and no usable qform is set; orient"):
        image = nifti.read(path)
    np.testing.assert_array_equal(image.affine, nib.load(path).affine)
    np.testing.assert_allclose(image.zooms_mm, (0.8, 0.7, 5.0), rtol=1e-6)


def with_unit_columns(sound, axes):
    """The rows of the tiny file's sform, some columns of which are made 1 mm long."""
    affine = nib.Nifti1Image.from_bytes(sound).affine
    affine[:3, axes] /= np.linalg.norm(affine[:3, axes], axis=0)
    return tuple(affine[:3].ravel())


# The file is 8×6×5 voxels of 0.8×0.7×5 mm. Where a column of k is 1 mm and not 5 mm long, the last
# of 5 slices lies 4 · (5 − 1) = 16 mm from its place: 16 / 0.7 voxels, or 16 / 0.8 with j of 1 mm.
@pytest.mark.parametrize(("axes", "voxels"), [([2], "22.9"), ([1, 2], "20.1"), ([0], "2.0")])
def test_a_sform_without_the_voxel_sizes_is_a_reason_for_doubt(
    write_bytes, sound, patched, axes, voxels
):
    path = write_bytes(patched(sound, srow=with_unit_columns(sound, axes), qform_code=0))
    expected = (
        f"the sform disagrees with the voxel sizes (pixdim) by {voxels} voxels; the sform is used, "
        "check the header"
    )
    with pytest.warns(InputWarning, match=re.escape(f"a.nii: {expected}")):
        image = nifti.read(path)
    assert image.geometry_doubt == expected
    np.testing.assert_allclose(image.zooms_mm[axes], 1, rtol=1e-6)


@pytest.mark.parametrize("size_mm", [-0.8, NAN, np.inf])
def test_an_odd_voxel_size_beside_a_good_sform_is_passed_over(
    read_quietly, sound, patched, tmp_path, size_mm
):
    image = read_quietly(patched(sound, pixdim=(-1, size_mm, 0.7, 5, 1, 1, 1, 1)))
    np.testing.assert_array_equal(image.affine, nib.Nifti1Image.from_bytes(sound).affine)
    assert image.geometry_doubt is None
    nifti.write_mask(tmp_path / "mask.nii", image.array_ijk, like=image)
    mask = nib.load(tmp_path / "mask.nii")
    np.testing.assert_array_equal(mask.affine, image.affine)
    np.testing.assert_allclose(mask.header["pixdim"][1:4], (0.8, 0.7, 5), rtol=1e-6)


def test_a_negative_voxel_size_that_counts_is_taken_without_its_sign(write_bytes, sound, patched):
    for codes in ({"sform_code": 0}, {"sform_code": 0, "qform_code": 0}):
        path = write_bytes(patched(sound, pixdim=(-1, 0.8, -0.7, 5, 1, 1, 1, 1), **codes))
        with pytest.warns(InputWarning, match="pixdim has a negative voxel size; its absolute"):
            image = nifti.read(path)
        positive = patched(sound, pixdim=(-1, 0.8, 0.7, 5, 1, 1, 1, 1), **codes)
        np.testing.assert_array_equal(image.affine, nib.Nifti1Image.from_bytes(positive).affine)


@pytest.mark.parametrize(
    "change",
    [{"quatern": (NAN, NAN, NAN)}, {"quatern": (0, NAN, 0)}, {"qoffset": (NAN, 0, 0)}],
)
def test_a_qform_of_nan_beside_a_good_sform_counts_as_none(
    read_quietly, sound, patched, tmp_path, change
):
    image = read_quietly(patched(sound, **change))
    np.testing.assert_array_equal(image.affine, nib.Nifti1Image.from_bytes(sound).affine)
    assert image.geometry_doubt is None
    nifti.write_mask(tmp_path / "mask.nii", image.array_ijk, like=image)
    mask = nib.load(tmp_path / "mask.nii")
    assert (mask.header["qform_code"], mask.header["sform_code"]) == (0, image.header["sform_code"])
    np.testing.assert_array_equal(mask.affine, image.affine)


def test_a_quaternion_of_nan_alone_leaves_the_voxel_sizes(write_bytes, sound, patched):
    path = write_bytes(patched(sound, sform_code=0, quatern=(NAN, NAN, NAN)))
    with pytest.warns(InputWarning, match="no sform and no usable qform is set"):
        image = nifti.read(path)
    np.testing.assert_allclose(image.zooms_mm, (0.8, 0.7, 5.0), rtol=1e-6)


def test_nifti_2_is_placed_by_the_same_rules(read_quietly, make_affine):
    affine = make_affine("LPS")
    image = nib.Nifti2Image(np.zeros((8, 6, 5), np.int16), affine)
    image.set_sform(affine, 1)
    content = bytearray(image.to_bytes())
    struct.pack_into("<d", content, 112, -0.8)  # pixdim[1]
    read = read_quietly(bytes(content))
    np.testing.assert_array_equal(read.affine, affine)
    assert read.geometry_doubt is None


@pytest.mark.parametrize("row", [(0.0,) * 12, (np.nan,) * 12])
def test_an_unusable_sform_gives_way_to_the_qform(tmp_path, sound, patched, write_bytes, row):
    with_both = nib.Nifti1Image.from_bytes(sound)
    path = write_bytes(patched(sound, srow=row))
    with pytest.warns(InputWarning, match=r"the sform is unusable .*; the qform is used"):
        image = nifti.read(path)
    np.testing.assert_allclose(image.affine, with_both.get_qform(), atol=1e-4)
    assert image.geometry_doubt is not None
    nifti.write_mask(tmp_path / "mask.nii", image.array_ijk > 100, image)
    mask = nib.load(tmp_path / "mask.nii")
    assert mask.header["sform_code"] == 0
    np.testing.assert_allclose(mask.affine, image.affine, atol=1e-4)


def test_voxel_sizes_of_zero_beside_a_sform_are_not_set(sound, patched, write_bytes):
    path = write_bytes(patched(sound, pixdim=(-1, 0, 0, 0, 1, 1, 1, 1)))
    expected = nib.Nifti1Image.from_bytes(sound).get_sform()
    np.testing.assert_allclose(nifti.read(path).affine, expected, atol=1e-6)
