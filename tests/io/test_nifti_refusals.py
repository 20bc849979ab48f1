"""NIfTI files that are broken or unfit: each is refused in a sentence that says what and where."""

import gzip
import itertools
import re
import struct
import tracemalloc
import warnings

import nibabel as nib
import numpy as np
import pytest

from spleen_tf.imaging.volume import VolumeError
from spleen_tf.io import nifti


@pytest.fixture
def refused(tmp_path):
    """A function that writes bytes and returns the sentence with which they are refused."""

    def sentence(content, name="a.nii", reader=nifti.read):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(VolumeError) as caught:
            reader(path)
        message = str(caught.value)
        assert message.startswith(f"{path}: expected ")
        assert "found" in message
        assert "\n" not in message
        return message.removeprefix(f"{path}: ")

    return sentence


# A change of the tiny file's header, and the sentence that names it.
BAD_HEADERS = {
    "1D": ({"dim": (1, 240, 1, 1, 1, 1, 1, 1)}, "expected a 3D volume, found 1D, shape (240,)"),
    "2D": ({"dim": (2, 40, 6, 1, 1, 1, 1, 1)}, "expected a 3D volume, found 2D, shape (40, 6)"),
    "4D": (
        {"dim": (4, 8, 6, 1, 5, 1, 1, 1)},
        "expected one 3D volume, found shape (8, 6, 1, 5) by dim: more than one time point",
    ),
    "5D, channels": (
        {"dim": (5, 8, 3, 2, 1, 5, 1, 1)},
        "expected one 3D volume, found shape (8, 3, 2, 1, 5) by dim: more than one time point",
    ),
    "one slice": (
        {"dim": (3, 8, 30, 1, 1, 1, 1, 1)},
        "expected at least 2 voxels per axis, found shape (8, 30, 1)",
    ),
    "no dimension": ({"dim": (0, 8, 6, 5, 1, 1, 1, 1)}, "expected dimensions of at least 1, found"),
    "8 dimensions": ({"dim": (8, 8, 6, 5, 1, 1, 1, 1)}, "expected dimensions of at least 1, found"),
    "empty axis": ({"dim": (3, 8, 0, 5, 1, 1, 1, 1)}, "expected dimensions of at least 1, found"),
    "negative axis": ({"dim": (3, 8, -6, 5, 1, 1, 1, 1)}, "expected dimensions of at least 1, f"),
    "zero voxel size": (
        {"pixdim": (-1, 0.8, 0, 5, 1, 1, 1, 1), "sform_code": 0},
        "expected positive voxel sizes, found [0.8",
    ),
    "nothing but a voxel size of NaN": (
        {"pixdim": (-1, np.nan, 0.7, 5, 1, 1, 1, 1), "sform_code": 0},
        "expected a finite pixdim, found NaN or infinite entries",
    ),
    "nothing but an infinite voxel size": (
        {"pixdim": (-1, np.inf, 0.7, 5, 1, 1, 1, 1), "sform_code": 0},
        "expected a finite pixdim, found NaN or infinite entries",
    ),
    "sform of zeros": (
        {"srow": (0,) * 12, "qform_code": 0},
        "expected an invertible sform (srow_x, srow_y, srow_z), found a singular one",
    ),
    "flat sform": (
        {"srow": (1, 1, 0, 0, 1, 1, 0, 0, 0, 0, 5, 0), "qform_code": 0},
        "expected an invertible sform (srow_x, srow_y, srow_z), found a singular one",
    ),
    "NaN in the sform": (
        {"srow": (np.nan,) * 12, "qform_code": 0},
        "expected a finite sform (srow_x, srow_y, srow_z), found NaN or infinite entries",
    ),
    "NaN in the qform": (
        {"sform_code": 0, "qoffset": (np.nan, 0, 0)},
        "expected a finite qoffset, found [nan, 0.0, 0.0]; set it, or a sform",
    ),
    "metres for millimetres": (
        {"xyzt_units": 1},
        "expected voxels of 0.01 to 100 mm, found 800×700×5000 mm by its sform (srow_x, srow_y, "
        "srow_z) in meter (xyzt_units); correct",
    ),
    "micrometres for millimetres": (
        {"xyzt_units": 3},
        "expected voxels of 0.01 to 100 mm, found 0.0008×0.0007×0.005 mm by its sform ",
    ),
    "complex": ({"datatype": 32}, "expected one real number of at most 64 bits per voxel, found"),
    "RGB": ({"datatype": 128}, "expected one real number of at most 64 bits per voxel, found"),
    "RGBA": ({"datatype": 2304}, "expected one real number of at most 64 bits per voxel, found"),
    "float128": (
        {"datatype": 1536},
        "expected one real number of at most 64 bits per voxel, found",
    ),
    "bits": ({"datatype": 1}, "expected one real number of at most 64 bits per voxel, found"),
    "unknown type": (
        {"datatype": 77},
        "expected a data type that NIfTI defines, found datatype 77",
    ),
    "pair": ({"magic": b"ni1\0"}, "expected header and voxels in one .nii file, found half of a"),
    "Analyze": ({"magic": b"\0\0\0\0"}, "expected the magic of a NIfTI header, n+1"),
    "voxels in the header": (
        {"vox_offset": 340},
        "expected voxels from byte 352 on, found vox_o",
    ),
    "voxels nowhere": ({"vox_offset": 0}, "expected voxels from byte 352 on, found vox_offset 0"),
    "voxels at NaN": (
        {"vox_offset": np.nan},
        "expected voxels from byte 352 on, found vox_o",
    ),
    "voxels beyond the end": (
        {"vox_offset": 1e13},
        "expected 480 bytes of voxels as its header says (shape (8, 6, 5)), found a file that can "
        "hold at most 0",
    ),
}


@pytest.mark.parametrize("reader", [nifti.read, nifti.read_geometry])
@pytest.mark.parametrize("case", BAD_HEADERS)
def test_a_bad_header_is_refused_before_any_voxel_is_read(refused, sound, patched, case, reader):
    change, sentence = BAD_HEADERS[case]
    assert refused(patched(sound, **change), reader=reader).startswith(sentence)


def test_an_intercept_that_is_not_a_number_is_refused(refused, sound, patched):
    sentence = refused(patched(sound, scaling=(2, np.nan)))
    assert sentence.startswith("expected a finite scl_inter beside a scl_slope, found nan")


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    with pytest.raises(VolumeError, match=r"none\.nii: expected a NIfTI file, found no such file"):
        nifti.read(tmp_path / "none.nii")
    with pytest.raises(VolumeError, match="expected a NIfTI file, found a folder"):
        nifti.read(tmp_path)
    with pytest.raises(VolumeError, match="expected a readable file, found: File name too long"):
        nifti.read(tmp_path / ("n" * 300))


@pytest.mark.parametrize(  # mtime=0: each process of pytest-xdist must make the same ids.
    "content",
    [
        b"",
        b"\x5c\x01",
        b"CASE,IMAGE,LABEL\n" * 40,
        b"<html><body>404 Not Found</body></html>" * 20,
        gzip.compress(b"CASE,IMAGE,LABEL\n" * 40, mtime=0),
        gzip.compress(b"", mtime=0),
        bytes(1000),
    ],
)
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_other_content_under_the_name_of_a_nifti_file_is_refused(refused, content, name):
    assert refused(content, name).startswith(
        "expected a NIfTI header, whose first field (sizeof_hdr) is 348 or 540, found "
    )


@pytest.mark.parametrize("kept", [4, 100, 347])
def test_a_file_that_ends_within_its_header_is_refused(refused, sound, kept):
    assert refused(sound[:kept]).startswith(
        f"expected a NIfTI header of 348 bytes, found {kept}; it is cut short"
    )


@pytest.mark.parametrize("kept", [348, 352, 353, 831])
def test_a_file_with_fewer_voxels_than_its_header_says_is_refused(refused, sound, kept):
    room = max(0, kept - 352)
    assert refused(sound[:kept]).startswith(
        "expected 480 bytes of voxels as its header says (shape (8, 6, 5)), "
        f"found a file that can hold at most {room}; it is cut short"
    )


@pytest.mark.parametrize("kept", [352, 500, 831])
def test_a_whole_gzip_stream_of_a_file_that_was_cut_before_is_refused(refused, sound, kept):
    sentence = refused(gzip.compress(sound[:kept]), "a.nii.gz")
    assert sentence == (
        f"expected 480 bytes of voxels, found {kept - 352}; it is cut short, or its dim or "
        "datatype is wrong."
    )


def test_a_gzip_stream_that_is_cut_anywhere_is_refused(refused, sound):
    stream = gzip.compress(sound)
    # Everywhere in its header and in its checksum, and at places between.
    for kept in {*range(2, 20), *range(20, len(stream), 9), *range(len(stream) - 9, len(stream))}:
        assert refused(stream[:kept], "a.nii.gz") == (
            "expected a whole gzip stream, found one that is cut short; copy it again."
        )


@pytest.mark.parametrize("position", [-8, -4])
def test_a_gzip_stream_whose_checksum_or_length_is_wrong_is_refused(refused, sound, position):
    stream = bytearray(gzip.compress(sound))
    stream[position] ^= 1
    sentence = refused(bytes(stream), "a.nii.gz")
    assert sentence.startswith("expected an intact gzip stream, found damage (")
    assert sentence.endswith("copy it again.")


def test_the_checksum_is_looked_at_where_nibabel_would_not_reach_it(tmp_path, refused, sound):
    # Behind more bytes than the voxels take, where reading would stop before the end.
    stream = bytearray(gzip.compress(sound + bytes(3 << 20)))
    stream[-8] ^= 1
    assert refused(bytes(stream), "a.nii.gz").startswith("expected an intact gzip stream, found d")
    assert nib.load(tmp_path / "a.nii.gz").get_fdata().shape == (8, 6, 5)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "an empty file; copy it again."),
        (b"<!DOCTYPE html>", "a web page or XML; download the file again."),
        (b"version https://git-lfs.github.com/spec/v1", "a Git LFS pointer; fetch the file with"),
        (b"PK\3\4", "a zip archive; unpack it."),
        (bytes(128) + b"DICM", "a DICOM file; give the folder of its series, or name it .dcm."),
        (
            gzip.compress(gzip.compress(b"a", mtime=0), mtime=0),
            "a gzip stream within a gzip stream; unpack it once.",
        ),
    ],
)
def test_what_is_no_nifti_is_named(refused, content, words):
    assert f"(sizeof_hdr) is 348 or 540, found {words}" in refused(content)


@pytest.mark.filterwarnings("ignore::spleen_tf.core.files.InputWarning")
def test_no_damaged_byte_of_a_gzip_stream_changes_what_is_read(tmp_path, tiny_nifti, sound):
    expected = nifti.read(tiny_nifti)
    stream = gzip.compress(sound)
    path = tmp_path / "a.nii.gz"
    refusals = 0
    for position in range(len(stream)):
        damaged = bytearray(stream)
        damaged[position] ^= 1 << (position % 8)
        path.write_bytes(damaged)
        try:
            image = nifti.read(path)
        except VolumeError:
            refusals += 1
        else:  # The stream's time, flags and system do not touch its content.
            assert position < 10
            np.testing.assert_array_equal(image.array_ijk, expected.array_ijk)
            np.testing.assert_array_equal(image.affine, expected.affine)
    assert refusals >= len(stream) - 10


@pytest.mark.filterwarnings("ignore::spleen_tf.core.files.InputWarning", "ignore::RuntimeWarning")
def test_no_byte_of_a_header_makes_the_reader_fail_in_another_way(tmp_path, sound):
    path = tmp_path / "a.nii"
    refusals = 0
    numbers = [*range(4), *range(40, 124), *range(252, 328), *range(344, 352)]  # No free text.
    for position, value in itertools.product(numbers, (0x00, 0x7F, 0xFF)):
        changed = bytearray(sound)
        changed[position] = value
        path.write_bytes(changed)
        try:
            image = nifti.read(path)
        except VolumeError:
            refusals += 1
        else:
            assert np.isfinite(image.affine).all()
            assert image.array_ijk.dtype in (np.int16, np.float32)
    assert refusals > 20


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("others", [1.0, 0.5])  # Read as int16, but for the bad one; as float32.
@pytest.mark.parametrize("where", [(0, 0, 0), (2, 1, 3)])
def test_voxels_that_are_not_finite_are_refused(refused, bad, dtype, others, where):
    array = np.full((3, 2, 4), others, dtype)
    array[where] = bad
    sentence = refused(nib.Nifti1Image(array, np.eye(4)).to_bytes())
    assert sentence.startswith("expected finite voxels, found NaN")
    assert sentence.endswith("replace them first.")


@pytest.mark.filterwarnings("error::RuntimeWarning")
@pytest.mark.parametrize("value", [1e39, -1e300])
def test_voxels_beyond_float32_are_refused(refused, value):
    array = np.zeros((3, 2, 4))
    array[1, 1, 1] = value
    sentence = refused(nib.Nifti1Image(array, np.eye(4)).to_bytes())
    assert sentence.startswith("expected finite voxels, found NaN, infinity or values beyond float")


@pytest.mark.parametrize("reader", [nifti.read, nifti.read_geometry])
@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("side", [1000, 32767])
def test_a_header_that_claims_a_huge_volume_is_refused_and_nothing_huge_is_allocated(
    refused, sound, patched, side, name, reader
):
    content = patched(sound, dim=(3, side, side, side, 1, 1, 1, 1))
    tracemalloc.start()
    try:
        sentence = refused(
            gzip.compress(content) if name.endswith(".gz") else content, name, reader
        )
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    claimed = f"{2 * side**3:,} bytes of voxels as its header says (shape ({side}, {side}, {side}))"
    assert sentence.startswith(f"expected {claimed}, found a file that can hold at most ")
    assert peak_bytes < 2e6


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
def test_voxels_said_to_lie_far_behind_the_end_allocate_nothing_huge(refused, sound, patched, name):
    content = patched(sound, vox_offset=3e8)
    tracemalloc.start()
    try:
        refused(gzip.compress(content) if name.endswith(".gz") else content, name)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < 2e6


@pytest.mark.parametrize("reader", [nifti.read, nifti.read_geometry])
def test_dimensions_of_nifti_2_that_no_array_can_have_are_refused(refused, reader):
    content = bytearray(nib.Nifti2Image(np.zeros((3, 3, 3), np.int16), np.eye(4)).to_bytes())
    struct.pack_into("<4q", content, 16, 3, 2**40, 2**40, 2**40)
    sentence = refused(bytes(content), reader=reader)
    assert re.match(r"expected 2,658,455,[\d,]+ bytes of voxels as its header says", sentence)


def test_a_nifti_2_file_that_was_transferred_as_text_is_refused(refused):
    content = nib.Nifti2Image(np.zeros((3, 3, 3), np.int16), np.eye(4)).to_bytes()
    sentence = refused(content.replace(b"\r\n", b"\n\n"))
    assert sentence.startswith("expected an eol_check of [13, 10, 26, 10], found [10, 10, 26, 10]:")


def test_read_geometry_does_not_see_damage_to_the_voxels_of_a_gzip_stream(tmp_path, sound):
    # What its docstring says: it stops behind the header.
    stream = gzip.compress(sound)
    (tmp_path / "a.nii.gz").write_bytes(stream[:-20])
    assert nifti.read_geometry(tmp_path / "a.nii.gz").shape == (8, 6, 5)


def test_a_refusal_comes_without_a_warning_beside_it(refused, sound, patched):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        refused(patched(sound, srow=(0,) * 12, qform_code=0))
