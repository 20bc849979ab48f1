"""Gzip streams hold what they held, whichever library wrote them and however they are read."""

import gzip
import io
import zlib

import numpy as np
import pytest

from spleen_tf.io import nifti_gzip

CONTENT = np.random.default_rng(0).integers(0, 7, 300_000, np.uint8).tobytes()
NAMED = b"\x1f\x8b\x08\x08" + bytes(5) + b"\xffscan.nii\0"  # A header with a file's name in it.


def opened(stream):
    return nifti_gzip.reader(io.BytesIO(stream))


def raw_deflate(content):
    compressor = zlib.compressobj(6, zlib.DEFLATED, -15)
    return compressor.compress(content) + compressor.flush()


def trailer(content):
    return zlib.crc32(content).to_bytes(4, "little") + len(content).to_bytes(4, "little")


@pytest.mark.parametrize("level", [0, 1, 9])
def test_a_stream_that_zlib_wrote_is_read(level):
    assert opened(gzip.compress(CONTENT, level)).read() == CONTENT


def test_a_stream_with_a_name_in_its_header_is_read():
    assert opened(NAMED + raw_deflate(CONTENT) + trailer(CONTENT)).read() == CONTENT


@pytest.mark.parametrize("step", [1, 7, 1 << 20])
def test_members_and_padding_are_read_in_steps_of_any_size(step):
    members = gzip.compress(b"ab") + gzip.compress(b"") + bytes(3) + gzip.compress(b"cde")
    stream = opened(members + bytes(513))
    pieces = iter(lambda: stream.read(step), b"")
    assert b"".join(pieces) == b"abcde"
    assert not stream.raw.has_other_bytes


def test_what_stands_behind_the_stream_is_said_after_its_content():
    stream = opened(gzip.compress(CONTENT) + b"<html>")
    assert stream.read() == CONTENT
    assert stream.raw.has_other_bytes
    assert stream.read() == b""


def test_content_that_fits_is_given_before_damage_behind_it_is_found():
    cut = gzip.compress(CONTENT)[:-9]
    stream = opened(cut)
    assert stream.read(1000) == CONTENT[:1000]
    with pytest.raises(EOFError):
        stream.read()


@pytest.mark.parametrize("position", [-1, -8])
def test_a_wrong_length_and_a_wrong_checksum_are_found(position):
    damaged = bytearray(gzip.compress(CONTENT))
    damaged[position] ^= 1
    with pytest.raises(nifti_gzip.DamagedError):
        opened(bytes(damaged)).read()


def test_what_is_written_is_a_gzip_stream_of_the_same_bytes_each_time():
    streams = [io.BytesIO(), io.BytesIO()]
    for stream in streams:
        with nifti_gzip.writer(stream) as writer:
            writer.write(CONTENT)
    first, second = (stream.getvalue() for stream in streams)
    assert gzip.decompress(first) == CONTENT
    assert first == second
    # No time (bytes 4 to 7) and no name (bit 3 of the flags).
    assert first[3:8] == bytes(5)
