"""TFRecord files without TensorFlow, beside TensorFlow as a judge."""

import pytest
import tensorflow as tf

from spleen_tf.datasets import framing
from spleen_tf.datasets.schema import RecordError


@pytest.fixture
def three(tmp_path):
    """A file of three records of 5, 0 and 7000 bytes."""
    path = tmp_path / "x"
    with tf.io.TFRecordWriter(str(path)) as writer:
        for content in (b"first", b"", bytes(range(250)) * 28):
            writer.write(content)
    return path


def unmasked(masked):
    rotated = (masked - 0xA282EAD8) & 0xFFFFFFFF
    return (rotated << 15 | rotated >> 17) & 0xFFFFFFFF


@pytest.mark.parametrize(
    ("content", "crc"),
    [
        # RFC 3720, B.4.
        (bytes(32), 0x8A9136AA),
        (b"\xff" * 32, 0x62A8AB43),
        (bytes(range(32)), 0x46DD794E),
        # The usual check of the polynomial.
        (b"123456789", 0xE3069283),
        (b"", 0),
    ],
)
def test_the_checksum_is_that_of_the_standard(content, crc):
    assert unmasked(framing.masked_crc32c(content)) == crc


@pytest.mark.parametrize("length", [2048, 2049, 2560, 2561, 10_007])
def test_many_bytes_have_the_checksum_that_tensorflow_writes(tmp_path, length):
    content = bytes((n * n + n // 251) % 256 for n in range(length))
    with tf.io.TFRecordWriter(str(tmp_path / "x")) as writer:
        writer.write(content)
    footer = (tmp_path / "x").read_bytes()[-4:]
    assert framing.masked_crc32c(content) == int.from_bytes(footer, "little")


def test_the_first_record_and_their_number(three):
    assert framing.first_record(three) == b"first"
    assert framing.count_records(three) == 3


def test_an_empty_file_has_no_first_record(tmp_path):
    (tmp_path / "x").touch()
    assert framing.count_records(tmp_path / "x") == 0
    with pytest.raises(RecordError, match="/x: expected records, found an empty file; run make_tf"):
        framing.first_record(tmp_path / "x")


@pytest.mark.parametrize("length", [1, 11, 12, 16, 20])
def test_a_first_record_that_is_cut_short_is_damage(three, length):
    three.write_bytes(three.read_bytes()[:length])
    with pytest.raises(RecordError, match="/x: expected an intact TFRecord file, found damage"):
        framing.first_record(three)
    with pytest.raises(RecordError, match="/x: expected an intact TFRecord file, found damage"):
        framing.count_records(three)


@pytest.mark.parametrize("place", [0, 8, 14, 17])  # The length, its checksum, a byte, its checksum.
def test_a_flipped_bit_is_damage(three, place):
    content = bytearray(three.read_bytes())
    content[place] ^= 1
    three.write_bytes(content)
    with pytest.raises(RecordError, match="found damage"):
        framing.first_record(three)


def test_a_last_record_that_is_cut_short_is_damage(three):
    three.write_bytes(three.read_bytes()[:-1])
    with pytest.raises(RecordError, match="found damage"):
        framing.count_records(three)


def test_a_missing_file_is_named(tmp_path):
    for read in (framing.first_record, framing.count_records):
        with pytest.raises(RecordError, match="/none: expected a TFRecord file, found none"):
            read(tmp_path / "none")
