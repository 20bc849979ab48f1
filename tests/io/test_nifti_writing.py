"""Masks and volumes as NIfTI files: geometry to the bit, nothing else of the source, or no file."""

import dataclasses
import gzip
import warnings

import nibabel as nib
import numpy as np
import pytest

from spleen_tf.core.files import InputError
from spleen_tf.imaging.volume import VolumeError
from spleen_tf.io import nifti

TEXT_FIELDS = ("descrip", "aux_file", "db_name", "intent_name")
GEOMETRY_FIELDS = ("qform_code", "sform_code", "quatern", "qoffset", "srow")
MASK = np.arange(8 * 6 * 5).reshape(8, 6, 5) % 7 == 0


def written(path):
    content = path.read_bytes()
    return gzip.decompress(content) if path.name.endswith(".gz") else content


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_mask_is_uint8_in_the_geometry_of_its_source_to_the_bit(
    tmp_path, tiny_nifti, field_of, suffix
):
    out = tmp_path / ("mask" + suffix)
    nifti.write_mask(out, MASK, nifti.read(tiny_nifti))
    source, mask = tiny_nifti.read_bytes(), written(out)
    for field in GEOMETRY_FIELDS:
        assert field_of(mask, field) == field_of(source, field)
    assert field_of(mask, "pixdim")[:4] == field_of(source, "pixdim")[:4]
    assert field_of(mask, "dim") == (3, 8, 6, 5, 1, 1, 1, 1)
    assert (field_of(mask, "datatype"), field_of(mask, "bitpix")) == (2, 8)
    assert field_of(mask, "scaling") == (1.0, 0.0)
    assert field_of(mask, "xyzt_units") == 2  # Millimetres; the unit of time is not the mask's.
    assert mask[352:] == MASK.astype(np.uint8).tobytes(order="F")


def test_a_mask_comes_back_as_it_went(tmp_path, tiny_nifti):
    image = nifti.read(tiny_nifti)
    nifti.write_mask(tmp_path / "mask.nii.gz", MASK, image)
    mask = nifti.read(tmp_path / "mask.nii.gz")
    np.testing.assert_array_equal(mask.array_ijk, MASK)
    np.testing.assert_array_equal(mask.affine, image.affine)
    np.testing.assert_array_equal(nib.load(tmp_path / "mask.nii.gz").get_fdata(), MASK)


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int32, np.float32])
def test_whatever_is_not_zero_is_inside_the_mask(tmp_path, tiny_nifti, dtype):
    labels = np.zeros((8, 6, 5), dtype)
    labels[1, 2, 3] = 1
    labels[4, 5, 0] = 200
    nifti.write_mask(tmp_path / "mask.nii", labels, nifti.read(tiny_nifti))
    mask = nifti.read(tmp_path / "mask.nii").array_ijk
    assert sorted(zip(*np.nonzero(mask), strict=True)) == [(1, 2, 3), (4, 5, 0)]
    assert mask.max() == 1


def test_free_text_of_the_source_does_not_reach_the_mask(tmp_path, tiny_nifti, field_of):
    nifti.write_mask(tmp_path / "mask.nii", MASK, nifti.read(tiny_nifti))
    mask = (tmp_path / "mask.nii").read_bytes()
    for field in TEXT_FIELDS:
        assert field_of(tiny_nifti.read_bytes(), field).strip(b"\0")
        assert not field_of(mask, field).strip(b"\0")
    for text in (b"free", b"aux", b"data base", b"intent"):
        assert text not in mask


def test_scaling_type_and_unit_of_the_source_do_not_change_the_mask(
    tmp_path, write_bytes, sound, patched, field_of
):
    in_micrometres = {"pixdim": (-1, 800, 700, 5000, 1, 1, 1, 1), "sform_code": 0}
    source = nifti.read(
        write_bytes(patched(sound, scaling=(0.25, -1024), xyzt_units=3 + 8, **in_micrometres))
    )
    nifti.write_mask(tmp_path / "mask.nii", MASK, source)
    mask = nifti.read(tmp_path / "mask.nii")
    np.testing.assert_array_equal(mask.array_ijk, MASK)
    assert field_of((tmp_path / "mask.nii").read_bytes(), "scaling") == (1.0, 0.0)
    assert field_of((tmp_path / "mask.nii").read_bytes(), "xyzt_units") == 3  # Micrometres still.
    np.testing.assert_array_equal(mask.affine, source.affine)


@pytest.mark.parametrize(("qform_code", "sform_code"), [(1, 0), (0, 3), (2, 4)])
def test_the_codes_of_the_source_stay(
    tmp_path, write_bytes, sound, patched, field_of, qform_code, sform_code
):
    path = write_bytes(patched(sound, qform_code=qform_code, sform_code=sform_code))
    nifti.write_mask(tmp_path / "mask.nii", MASK, nifti.read(path))
    mask = (tmp_path / "mask.nii").read_bytes()
    assert field_of(mask, "qform_code") == qform_code
    assert field_of(mask, "sform_code") == sform_code


@pytest.mark.parametrize("kind", [nib.Nifti1Image, nib.Nifti2Image])
@pytest.mark.parametrize("order", ["<", ">"])
def test_a_mask_of_any_kind_of_source_lies_on_the_same_grid(tmp_path, make_volume, kind, order):
    volume = make_volume("PIR")
    header = kind.header_class(endianness=order)
    nib.save(kind(volume.array_ijk, volume.affine, header), tmp_path / "source.nii")
    nifti.write_mask(tmp_path / "mask.nii.gz", MASK, nifti.read(tmp_path / "source.nii"))
    mask, source = nib.load(tmp_path / "mask.nii.gz"), nib.load(tmp_path / "source.nii")
    assert source.header.endianness == order
    np.testing.assert_array_equal(mask.affine, source.affine)
    np.testing.assert_array_equal(mask.get_fdata(), MASK)
    assert mask.get_data_dtype() == np.uint8


def test_a_mask_of_a_4d_source_with_one_time_point_is_3d(
    tmp_path, write_bytes, sound, patched, field_of
):
    source = nifti.read(write_bytes(patched(sound, dim=(4, 8, 6, 5, 1, 1, 1, 1))))
    nifti.write_mask(tmp_path / "mask.nii", MASK, source)
    assert field_of((tmp_path / "mask.nii").read_bytes(), "dim") == (3, 8, 6, 5, 1, 1, 1, 1)


def test_a_mask_of_a_volume_without_header_takes_its_affine(tmp_path, make_volume):
    nifti.write_mask(tmp_path / "mask.nii.gz", MASK, make_volume("LPS"))
    mask = nifti.read(tmp_path / "mask.nii.gz")
    np.testing.assert_array_equal(mask.array_ijk, MASK)
    np.testing.assert_array_equal(mask.affine, make_volume("LPS").affine)


def test_the_same_mask_gives_the_same_bytes_under_any_name(tmp_path, tiny_nifti):
    image = nifti.read(tiny_nifti)
    for name in ("a.nii.gz", "b.nii.gz"):
        nifti.write_mask(tmp_path / name, MASK, image)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_a_mask_of_another_shape_is_refused_and_the_earlier_file_stays(tmp_path, tiny_nifti):
    out = tmp_path / "mask.nii"
    out.write_bytes(b"earlier")
    with pytest.raises(VolumeError, match=r"expected a mask of shape \(8, 6, 5\), found \(5, 6, 8"):
        nifti.write_mask(out, MASK.T, nifti.read(tiny_nifti))
    assert out.read_bytes() == b"earlier"


@pytest.mark.parametrize("name", ["mask.nii", "mask.nii.gz"])
def test_a_full_disk_leaves_the_earlier_mask_and_no_partial_one(
    tmp_path, tiny_nifti, no_room, name
):
    image = nifti.read(tiny_nifti)
    out = tmp_path / name
    out.write_bytes(b"earlier")
    with no_room(), pytest.raises(InputError, match=r"mask\.nii.*: expected a place to write to"):
        nifti.write_mask(out, MASK, image)
    assert out.read_bytes() == b"earlier"
    assert [entry.name for entry in tmp_path.iterdir()] == [name]


def test_a_place_where_no_file_can_be_is_refused(tmp_path, tiny_nifti):
    image = nifti.read(tiny_nifti)
    (tmp_path / "folder.nii").mkdir()
    with pytest.raises(InputError, match=r"folder\.nii: expected a file to write, found a folder"):
        nifti.write_mask(tmp_path / "folder.nii", MASK, image)
    (tmp_path / "file").write_text("precious")
    with pytest.raises(InputError, match="file: expected a folder to write to, found: File exists"):
        nifti.write_mask(tmp_path / "file" / "mask.nii", MASK, image)
    assert (tmp_path / "file").read_text() == "precious"


def test_an_output_name_that_is_not_nifti_is_refused(tmp_path, tiny_nifti):
    with pytest.raises(VolumeError, match=r"mask\.png: expected an output name that ends in \.nii"):
        nifti.write_mask(tmp_path / "mask.png", MASK, nifti.read(tiny_nifti))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("factor", [np.int16(3), np.float32(0.1)])
def test_a_written_volume_comes_back_bit_for_bit(tmp_path, make_volume, factor):
    image = make_volume("PIR")
    image = dataclasses.replace(image, array_ijk=image.array_ijk * factor)
    nifti.write(tmp_path / "a.nii.gz", image)
    back = nifti.read(tmp_path / "a.nii.gz")
    assert back.array_ijk.dtype == image.array_ijk.dtype == factor.dtype
    np.testing.assert_array_equal(back.array_ijk, image.array_ijk)
    np.testing.assert_array_equal(back.affine, image.affine)


@pytest.mark.parametrize(
    ("zoom_mm", "size_of_header"),
    [(0.75, 348), (0.7, 540)],  # 0.75 is a float32; 0.7 is not.
)
def test_an_affine_that_float32_would_round_is_written_as_nifti_2(
    tmp_path, make_volume, zoom_mm, size_of_header
):
    image = make_volume("LAS", zooms_mm=(zoom_mm, zoom_mm, 5.0))
    nifti.write(tmp_path / "a.nii", image)
    content = (tmp_path / "a.nii").read_bytes()
    assert int.from_bytes(content[:4], "little") == size_of_header
    np.testing.assert_array_equal(nifti.read(tmp_path / "a.nii").affine, image.affine)


@pytest.mark.parametrize("shear", [0.0, 0.5])
def test_a_written_volume_is_read_without_a_warning_sheared_or_not(tmp_path, make_volume, shear):
    image = make_volume("RAS", zooms_mm=(1.0, 1.0, 4.0))
    image.affine[0, 1] = shear
    nifti.write(tmp_path / "a.nii", image)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        back = nifti.read(tmp_path / "a.nii")
    np.testing.assert_array_equal(back.affine, image.affine)
    # A qform holds rotations only, so a sheared volume must not claim one.
    assert nib.load(tmp_path / "a.nii").header["qform_code"] == (0 if shear else 1)


def test_a_real_label_comes_back_as_it_went(real_data, tmp_path):
    label = nifti.read(real_data / "mr_t2" / "labelsTr" / "chaos_t2_36.nii.gz")
    nifti.write_mask(tmp_path / "mask.nii.gz", label.array_ijk, label)
    mask = nifti.read(tmp_path / "mask.nii.gz")
    np.testing.assert_array_equal(mask.array_ijk, label.array_ijk > 0)
    np.testing.assert_array_equal(mask.affine, label.affine)
