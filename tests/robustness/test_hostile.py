"""Inputs made to take all memory or all time, or to reach other files, are refused soon."""

import gzip
import io
import json
import pathlib
import struct
import zlib

import dicom_files
import fuzzing
import nibabel as nib
import numpy as np
import pydicom
import pytest
from pydicom import uid

from spleen_tf.core import files, flags, process
from spleen_tf.core.files import InputError
from spleen_tf.datasets import cases
from spleen_tf.datasets.splits import read_splits
from spleen_tf.io import nifti, readers
from spleen_tf.jobs import places
from spleen_tf.training.config import TrainConfig


def header(shape, dtype=np.uint8, **fields):
    """A NIfTI-1 header, and the four bytes that say there are no extensions."""
    made = nib.Nifti1Header()
    made.set_data_dtype(dtype)
    made.set_data_shape(shape)
    made.set_sform(np.eye(4), 1)
    made["magic"], made["vox_offset"] = b"n+1", 352
    for name, value in fields.items():
        made[name] = value
    return made.binaryblock + bytes(4)


def write_zipped(path, start, num_zeros):
    """A gzip stream of some bytes and many zeros: a thousandth of their size."""
    with gzip.open(path, "wb", compresslevel=9) as out:
        out.write(start)
        for _ in range(num_zeros >> 20):
            out.write(bytes(1 << 20))
    return path


def refused(read, *arguments, match):
    with fuzzing.limits(), pytest.raises(InputError, match=match) as error:
        read(*arguments)
    assert "\n" not in str(error.value)


def test_a_gzip_stream_that_claims_more_than_any_scan_packs_into_it(tmp_path):
    # 2 MB may unpack to 2 GB; a scan of so many voxels takes 20 MB at least.
    path = tmp_path / "bomb.nii.gz"
    path.write_bytes(gzip.compress(header((1024, 1024, 2000))) + bytes(2 << 20))
    refused(nifti.read, path, match="expected 2,097,152,000 bytes of voxels as its header says")


def test_a_gzip_stream_that_goes_on_behind_its_voxels(tmp_path):
    path = write_zipped(tmp_path / "bomb.nii.gz", header((8, 6, 5)), 128 << 20)
    refused(nifti.read, path, match="expected a gzip stream that ends with its voxels, found over")


def test_voxels_behind_an_endless_header(tmp_path):
    path = tmp_path / "a.nii.gz"
    path.write_bytes(gzip.compress(header((8, 6, 5), vox_offset=1e9)) + bytes(2 << 20))
    refused(nifti.read, path, match=r"of up to 67,108,864 bytes, found vox_offset 1e\+09")


def test_a_large_mask_of_zeros_is_read(tmp_path):
    path = write_zipped(tmp_path / "mask.nii.gz", header((256, 256, 128)), 8 << 20)
    assert path.stat().st_size < 10_000
    assert nifti.read(path).shape == (256, 256, 128)


def deflated(dataset, padding):
    """A deflated DICOM file, with so many zeros in an element of its own."""
    meta = dataset.file_meta
    meta.TransferSyntaxUID = uid.DeflatedExplicitVRLittleEndian
    out = io.BytesIO()
    dataset.save_as(out, implicit_vr=False, little_endian=True)
    whole = out.getvalue()
    start = whole.rindex(uid.DeflatedExplicitVRLittleEndian.encode())
    end = start + len(uid.DeflatedExplicitVRLittleEndian)
    while whole[end : end + 2] == b"\2\0":  # The rest of group 2: short elements.
        end += 8 + int.from_bytes(whole[end + 6 : end + 8], "little")
    inflated = zlib.decompress(whole[end:], -zlib.MAX_WBITS)
    element = struct.pack("<HH2sHI", 0x0009, 0x1010, b"OB", 0, padding)
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    pieces = [packer.compress(element)]
    pieces += [packer.compress(bytes(1 << 20)) for _ in range(padding >> 20)]
    pieces += [packer.compress(inflated), packer.flush()]
    return whole[:end] + b"".join(pieces)


@pytest.fixture(scope="module")
def slice_of_ct(tmp_path_factory):
    paths = dicom_files.write_series(tmp_path_factory.mktemp("ct"), dicom_files.ramp())
    return paths[0]


@pytest.mark.slow
def test_a_deflated_file_that_inflates_to_more_than_a_series(tmp_path, slice_of_ct):
    (tmp_path / "a.dcm").write_bytes(deflated(pydicom.dcmread(slice_of_ct), 600 << 20))
    expected = "expected at most 536,870,912 bytes in a deflated file, found more"
    refused(readers.read, tmp_path, match=expected)


def test_a_deflated_file_that_is_padded_a_little_is_measured_to_its_end(tmp_path):
    for number, path in enumerate(dicom_files.write_series(tmp_path, dicom_files.ramp())):
        content = deflated(pydicom.dcmread(path), (number + 1) << 20)
        assert len(content) < 20_000
        path.write_bytes(content)
    np.testing.assert_array_equal(readers.read(tmp_path).array_ijk, dicom_files.ramp())


def test_compressed_frames_of_more_pixels_than_any_slice(tmp_path):
    def vast(k, dataset):
        dicom_files.ENCODINGS["RLE"](dataset)
        dataset.Rows = dataset.Columns = 65535

    dicom_files.write_series(tmp_path, dicom_files.ramp(), change=vast)
    refused(readers.read, tmp_path, match="compressed pixels in a frame, found Rows .* 65535")


@pytest.mark.parametrize("depth", [50, 2000, 100_000])
def test_sequences_within_sequences(tmp_path, slice_of_ct, depth):
    content = slice_of_ct.read_bytes()
    at = content.index(b"\x08\x00\x60\x00CS")  # Modality.
    # ReferencedImageSequence (0008,1140) of undefined length, and an item of the same.
    opening = b"\x08\x00\x40\x11SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    (tmp_path / "a.dcm").write_bytes(content[:at] + opening * depth + content[at:])
    refused(readers.read, tmp_path, match="expected")


@pytest.mark.parametrize("depth", [5000, 1_000_000])
@pytest.mark.parametrize("brackets", ["[]", '{"train": }'])
def test_json_within_json(tmp_path, depth, brackets):
    path = tmp_path / "splits.json"
    path.write_text(brackets[:-1] * depth + brackets[-1] * depth)
    refused(read_splits, path, match="expected")


ENDLESS = pathlib.Path("/dev/zero")


@pytest.mark.skipif(not ENDLESS.exists(), reason="no /dev/zero here")
@pytest.mark.parametrize(
    "read",
    [
        read_splits,
        files.read_json,
        lambda path: cases.load(path.parent / "cases.csv"),
        lambda path: flags.parse(["train", f"--flagfile={path}"], TrainConfig),
    ],
    ids=["record", "JSON", "table", "flag file"],
)
def test_a_file_without_end(tmp_path, read):
    for name in ("a.json", "cases.csv"):
        (tmp_path / name).symlink_to(ENDLESS)
    refused(read, tmp_path / "a.json", match="expected .*, found")


@pytest.mark.parametrize(
    "name", ["../a", "a/b", "a\\b", ".a", "a\x1b[2Jb", "a\x7f", "a\rb", "a\x9bb"]
)
@pytest.mark.parametrize("kind", ["table", "dataset.json"])
def test_case_names_that_reach_elsewhere_or_write_to_the_screen(tmp_path, name, kind):
    if kind == "table":
        place = tmp_path / "cases.csv"
        place.write_text(f'case,image,label\n"{name}",a.nii,b.nii\n', newline="")
    else:
        place = tmp_path
        case = {name: {"images": ["a_0000.nii.gz"], "label": "a.nii.gz"}}
        description = {"channel_names": {"0": "CT"}, "dataset": case}
        (tmp_path / "dataset.json").write_text(json.dumps(description))
    refused(cases.load, place, match="expected case names that can name files, found '")


def test_a_name_that_no_file_can_have(tmp_path):
    pair = {"image": "é" * 300, "label": "a.nii"}
    description = {"modality": {"0": "CT"}, "training": [pair]}
    (tmp_path / "dataset.json").write_text(json.dumps(description))
    refused(cases.load, tmp_path, match="expected the name of a file, found 300 letters, 'é")


@pytest.mark.parametrize("image", ["a\0.nii", "b\0\\a.nii.gz"])
def test_a_name_with_a_zero_byte(tmp_path, image):
    (tmp_path / "cases.csv").write_text(f"case,image,label\na,{image},b.nii\n")
    refused(cases.load, tmp_path / "cases.csv", match="expected the name of a file, found '[ab]")


@pytest.mark.parametrize("letter", ["\x1b", "\n", "\x7f", "\x9b"])
def test_outputs_with_control_characters_in_their_names(tmp_path, letter):
    expected = "expected an output name without control characters, found '"
    refused(places.check_place, tmp_path / f"a{letter}.nii.gz", (".nii.gz",), match=expected)


def test_messages_do_not_write_control_characters_to_the_screen(capsys):
    def command():
        raise InputError("a\x1b[2J\x07b\x9bc.nii: expected, found \u00e9.")

    with pytest.raises(SystemExit):
        process.run(command)
    assert capsys.readouterr().err == "error: a\\x1b[2J\\x07b\\x9bc.nii: expected, found \u00e9.\n"


def test_a_flag_of_a_very_long_name():
    refused(flags.parse, ["train", f"--{'a' * 100_000}"], TrainConfig, match="of a very long name")
