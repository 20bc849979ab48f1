"""JPEG streams before their scan: whole segments, an image's header and a Huffman table."""

import pytest

from spleen_tf.io.dicom import jpeg

HEADER = bytes.fromhex("ffc3 000b 10 0024 0030 01 01 11 00")  # Lossless, 16 bits, 36 rows.
TABLE = bytes.fromhex("ffc4 0014 00") + bytes(17)
SCAN = bytes.fromhex("ffda 0008 01 01 00 01 00 00")
START = b"\xff\xd8"


def test_a_stream_with_all_that_its_scan_needs():
    jpeg.check(START + HEADER + TABLE + SCAN + b"\x12\x34")


def test_bytes_that_fill_up_before_a_marker():
    jpeg.check(START + b"\xff\xff" + HEADER + TABLE + SCAN)


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        (HEADER + TABLE + SCAN, "no start of an image"),
        (START + HEADER + SCAN, "no Huffman table"),
        (START + TABLE + SCAN, "no header of the image"),
        (START + HEADER + b"\xfd" + TABLE[1:] + SCAN, "no marker at byte 15"),
        (START + HEADER + TABLE, "no marker at byte 37"),
        (START + HEADER + TABLE[:-1], "cut short at byte 15"),
        (START + b"\xff\xff\xff", "cut short at byte 4"),
        (START + b"\xff\xc3\x00\x01" + HEADER, "cut short at byte 2"),
    ],
)
def test_a_stream_that_gdcm_must_not_see(stream, message):
    with pytest.raises(ValueError, match=message):
        jpeg.check(stream)
