"""What is read from NIfTI files that are sound; refusals are in test_nifti_refusals.py."""

import gzip

import nibabel as nib
import numpy as np
import pytest

from spleen_tf.core.files import InputWarning
from spleen_tf.io import nifti


def image_of(array, affine, kind=nib.Nifti1Image, order="<", scaling=(1, 0)):
    """A file's bytes; the scaling is stamped on voxels that are stored as they are."""
    header = kind.header_class(endianness=order)
    header.set_data_dtype(array.dtype.newbyteorder(order))
    header.set_xyzt_units("mm")
    image = kind(array, affine, header)
    image.set_qform(affine, code=1)
    image.set_sform(affine, code=1)
    content = bytearray(image.to_bytes())
    offset, layout = (112, "f4") if kind is nib.Nifti1Image else (176, "f8")
    stamp = np.array(scaling, order + layout).tobytes()
    content[offset : offset + len(stamp)] = stamp
    return bytes(content)


def ramp(dtype, start=0, step=1):
    """8×6×5, start + step · (100 i + 10 j + k), modulo what the type holds."""
    i, j, k = np.indices((8, 6, 5))
    return (start + step * (100 * i + 10 * j + k)).astype(dtype)


# name: the file's voxels and how they are stored; the dtype to expect.
STORED = {
    "int8": (ramp(np.int8), {}, np.int16),
    "uint8": (ramp(np.uint8), {}, np.int16),
    "int16": (ramp(np.int16, -300), {}, np.int16),
    "int16 from -32768 on": (ramp(np.int16, -32768), {}, np.int16),
    "uint16 up to 32767": (ramp(np.uint16, 32767 - 754), {}, np.int16),
    "uint16 above 32767": (ramp(np.uint16, 32768 - 754), {}, np.float32),
    "int32 in range": (ramp(np.int32, -1000), {}, np.int16),
    "int32 beyond int16": (ramp(np.int32, -1000, 100), {}, np.float32),
    "int64": (ramp(np.int64), {}, np.int16),
    "uint64": (ramp(np.uint64), {}, np.int16),
    "float32 of whole numbers": (ramp(np.float32, -1024), {}, np.int16),
    "float32 of halves": (ramp(np.float32, 0, 0.5), {}, np.float32),
    "float64 of quarters": (ramp(np.float64, 0, 0.25), {}, np.float32),
    "scaled to whole numbers": (ramp(np.int16), {"scaling": (2, -1024)}, np.int16),
    "scaled by an intercept alone": (ramp(np.uint8), {"scaling": (1, -1024)}, np.int16),
    "scaled to halves": (ramp(np.int16), {"scaling": (0.5, 3)}, np.float32),
    "scaled beyond int16": (ramp(np.int16), {"scaling": (100, 0)}, np.float32),
    "scaled down to -32768": (ramp(np.int16), {"scaling": (1, -32768)}, np.int16),
    "scaled down to -32769": (ramp(np.int16), {"scaling": (1, -32769)}, np.float32),
    "scaled up to 32767": (ramp(np.int16), {"scaling": (1, 32767 - 754)}, np.int16),
    "scaled up to 32768": (ramp(np.int16), {"scaling": (1, 32768 - 754)}, np.float32),
    "scaled back into int16": (ramp(np.int32, 40000), {"scaling": (1, -40000)}, np.int16),
    "slope 0: not scaled": (ramp(np.int16), {"scaling": (0, 7)}, np.int16),
    "slope NaN: not scaled": (ramp(np.int16), {"scaling": (np.nan, np.nan)}, np.int16),
    "big-endian int16": (ramp(np.int16, -300), {"order": ">"}, np.int16),
    "big-endian halves": (ramp(np.float32, 0, 0.5), {"order": ">"}, np.float32),
    "NIfTI-2": (ramp(np.int16), {"kind": nib.Nifti2Image}, np.int16),
    "NIfTI-2, scaled": (
        ramp(np.int16),
        {"kind": nib.Nifti2Image, "scaling": (0.1, 0)},
        np.float32,
    ),
    "NIfTI-2, big-endian": (ramp(np.int16), {"kind": nib.Nifti2Image, "order": ">"}, np.int16),
}


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("stored", STORED)
def test_voxels_and_affine_are_those_that_nibabel_reads(write_bytes, make_affine, stored, suffix):
    array, layout, dtype = STORED[stored]
    path = write_bytes(image_of(array, make_affine("LPS"), **layout), "a" + suffix)
    image, reference = nifti.read(path), nib.load(path)
    assert image.array_ijk.dtype == dtype
    assert image.array_ijk.dtype.isnative
    np.testing.assert_array_equal(image.array_ijk, reference.get_fdata().astype(dtype))
    np.testing.assert_array_equal(image.affine, reference.affine)
    assert image.affine.dtype == np.float64
    assert image.source == str(path)


def test_voxels_of_the_tiny_file_are_where_its_readme_says(tiny_nifti):
    image = nifti.read(tiny_nifti)
    assert image.shape == (8, 6, 5)
    assert image.array_ijk.dtype == np.int16
    assert image.array_ijk[7, 0, 0] == 700
    assert image.array_ijk[0, 5, 0] == 50
    assert image.array_ijk[0, 0, 4] == 4
    assert image.array_ijk[3, 2, 1] == 321
    assert image.orientation == "LAS"
    np.testing.assert_allclose(image.zooms_mm, (0.8, 0.7, 5.0), rtol=1e-6)
    np.testing.assert_allclose(image.affine[:3, 3], (90, -40, 700))


def test_scaled_voxels_are_slope_times_stored_plus_intercept(write_bytes, make_affine):
    path = write_bytes(image_of(ramp(np.int16), make_affine("RAS"), scaling=(0.5, -10)))
    assert nifti.read(path).array_ijk[3, 2, 1] == 150.5  # 0.5 · 321 - 10


@pytest.mark.parametrize("rank", [4, 5, 7])
@pytest.mark.parametrize("length", [1, 0])  # Some writers leave 0 where there is nothing.
def test_trailing_dimensions_of_1_are_dropped(write_bytes, sound, patched, rank, length):
    image = nifti.read(write_bytes(patched(sound, dim=(rank, 8, 6, 5, *[length] * 4))))
    np.testing.assert_array_equal(image.array_ijk, ramp(np.int16))


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_voxels_are_found_behind_header_extensions(tmp_path, suffix):
    image = nib.Nifti1Image(ramp(np.int16), np.eye(4))
    image.header.extensions.append(nib.nifti1.Nifti1Extension("comment", b"x" * 100))
    nib.save(image, tmp_path / ("a" + suffix))
    np.testing.assert_array_equal(nifti.read(tmp_path / ("a" + suffix)).array_ijk, ramp(np.int16))


def test_content_rules_where_the_name_is_wrong_about_compression(tmp_path, sound):
    (tmp_path / "zipped.nii").write_bytes(gzip.compress(sound))
    (tmp_path / "plain.nii.gz").write_bytes(sound)
    for name in ("zipped.nii", "plain.nii.gz"):
        np.testing.assert_array_equal(nifti.read(tmp_path / name).array_ijk, ramp(np.int16))


@pytest.mark.parametrize("name", ["SCAN.NII", "SCAN.NII.GZ", "Scan.Nii.gz"])
def test_a_name_in_capitals_is_written_and_read(tmp_path, make_volume, name):
    nifti.write(tmp_path / name, make_volume())
    np.testing.assert_array_equal(nifti.read(tmp_path / name).array_ijk, ramp(np.int16))
    zipped = (tmp_path / name).read_bytes()[:2] == b"\x1f\x8b"
    assert zipped is name.lower().endswith(".gz")


def test_a_gzip_stream_in_several_members_or_padded_with_zeros_is_read(tmp_path, sound):
    members = gzip.compress(sound[:400]) + gzip.compress(sound[400:]) + bytes(512)
    (tmp_path / "a.nii.gz").write_bytes(members)
    np.testing.assert_array_equal(nifti.read(tmp_path / "a.nii.gz").array_ijk, ramp(np.int16))


def test_read_geometry_gives_shape_affine_and_header_without_voxels(tiny_nifti):
    geometry, whole = nifti.read_geometry(tiny_nifti), nifti.read(tiny_nifti)
    assert geometry.shape == (8, 6, 5)
    np.testing.assert_array_equal(geometry.affine, whole.affine)
    assert geometry.header == whole.header


@pytest.mark.parametrize(
    ("name", "suffix", "stem"),
    [
        ("cases.nii/spleen_2.nii.gz", ".nii.gz", "spleen_2"),
        ("spleen_2.nii", ".nii", "spleen_2"),
        ("v1.5.nii.gz", ".nii.gz", "v1.5"),
        ("SCAN.NII.GZ", ".nii.gz", "SCAN"),
        ("Scan.Nii", ".nii", "Scan"),
        ("spleen_2.gz", "", "spleen_2"),
        ("spleen_2.nii.txt", "", "spleen_2.nii.txt"),
    ],
)
def test_names_of_nifti_files(name, suffix, stem):
    assert nifti.suffix(name) == suffix
    assert nifti.is_nifti(name) is bool(suffix)
    assert nifti.stem(name) == stem


def test_a_real_volume_is_read_as_nibabel_reads_it(real_data):
    path = real_data / "mr_t2" / "imagesTr" / "chaos_t2_36.nii.gz"
    image, reference = nifti.read(path), nib.load(path)
    np.testing.assert_array_equal(image.array_ijk, reference.get_fdata())
    np.testing.assert_array_equal(image.affine, reference.affine)


def test_bytes_behind_a_gzip_stream_are_left_out_with_a_warning(tmp_path, tiny_nifti, sound):
    path = tmp_path / "a.nii.gz"
    path.write_bytes(gzip.compress(sound) + b"<html>502 Bad Gateway</html>")
    with pytest.warns(InputWarning, match="bytes stand behind the end of the gzip stream"):
        image = nifti.read(path)
    np.testing.assert_array_equal(image.array_ijk, nifti.read(tiny_nifti).array_ijk)


def test_a_json_beside_a_volume_has_its_stem(tmp_path):
    assert nifti.sidecar(tmp_path / "a.b.NII.gz") == tmp_path / "a.b.json"
