"""What stands before the scan of a JPEG stream (ISO/IEC 10918-1, annex B).

GDCM ends the whole process on a stream without a Huffman table; so it is looked at before.
"""

from __future__ import annotations

_START = b"\xff\xd8"
_FILL = 0xFF
_TABLES, _SCAN = 0xC4, 0xDA  # DHT and SOS.
# SOF0 to SOF15, of which three codes mean something else.
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}


def check(stream: bytes) -> None:
    """Looks at the segments up to the first scan.

    Args:
        stream: of one image.

    Raises:
        ValueError: if they are not whole, or lack the image's header or a Huffman table.
    """
    if not stream.startswith(_START):
        raise ValueError("no start of an image")
    markers: set[int] = set()
    at = len(_START)
    while _SCAN not in markers:
        if stream[at : at + 1] != b"\xff":
            raise ValueError(f"no marker at byte {at}")
        while stream[at + 1 : at + 2] == bytes([_FILL]):
            at += 1
        markers.update(stream[at + 1 : at + 2])
        length = int.from_bytes(stream[at + 2 : at + 4], "big")
        if length < 2 or at + 2 + length > len(stream):
            raise ValueError(f"a segment that is cut short at byte {at}")
        at += 2 + length
    if _TABLES not in markers or not markers & _FRAMES:
        raise ValueError("no header of the image, or no Huffman table")
