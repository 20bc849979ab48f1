"""DICOM files as streams: opened, recognized, and parsed as far as the pixels."""

from __future__ import annotations

import contextlib
import io
import os
import zlib
from collections.abc import Iterator, Sequence
from typing import BinaryIO

import pydicom
from pydicom import uid
from pydicom.dataset import Dataset

from spleen_tf.imaging.volume import VolumeError
from spleen_tf.io.dicom import elements

# The file meta information, which names the transfer syntax, is shorter.
_META_BYTES = 4096
_LONG = (b"OB", b"OW", b"UN", b"UT", b"SQ")
# Of a file that was deflated as a whole; a thousand frames of 512 × 512 pixels fit.
_MOST_INFLATED, _INFLATED_AT_ONCE = 1 << 29, 1 << 20


def is_dicom(path: str | os.PathLike[str]) -> bool:
    """Whether a file's first bytes are DICOM's, be it with or without its preamble (PS3.10 7.1).

    Raises:
        VolumeError: if it is there and cannot be read: it may be a slice.
    """
    if not os.path.isfile(path):
        return False
    with readable(path) as stream:
        start = stream.read(132)
    # Old files start at once with group 0002 or 0008, little endian, and an even element below 256.
    bare = start[:2] in (b"\x02\x00", b"\x08\x00") and start[3:4] == b"\x00"
    return start[128:] == b"DICM" or bare


@contextlib.contextmanager
def readable(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """A file's stream.

    Raises:
        VolumeError: if the system does not let it be opened or read.
    """
    try:
        with _Bounded(io.FileIO(path)) as stream:
            yield stream
    except OSError as error:
        raise VolumeError(
            f"{path}: expected a readable file, found: {error.strerror or error}."
        ) from error


def parsed(stream: BinaryIO, path: str, keywords: Sequence[str] | None = None) -> Dataset:
    """The elements before the pixels; the stream is left where these begin.

    Args:
        stream: at the file's start.
        path: the file, for messages.
        keywords: of the elements that are needed; None: all.

    Raises:
        VolumeError: if it is damaged, or inflates to more than this reads.
    """
    tags = None if keywords is None else list(keywords)
    try:
        if _inflated_bytes(stream) <= _MOST_INFLATED:
            return pydicom.dcmread(stream, stop_before_pixels=True, force=True, specific_tags=tags)
    except elements.PYDICOM_ERRORS as error:
        raise _damaged(path) from error
    raise elements.refusal(
        path,
        f"at most {_MOST_INFLATED:,} bytes in a deflated file",
        "more",
        "store it without compression",
    )


class _Bounded(io.BufferedReader):
    """Reads to the file's end at most: pydicom asks for as much as a length says, right or wrong,
    and memory would be taken for it."""

    def read(self, size: int | None = -1, /) -> bytes:
        """As that of other streams."""
        if size is not None and size > io.DEFAULT_BUFFER_SIZE:
            size = min(size, max(0, os.fstat(self.fileno()).st_size - self.tell()))
        return super().read(size)


def _damaged(path: str) -> VolumeError:
    """What to raise where pydicom cannot parse a file. It does not repeat pydicom's message, which
    may quote the file."""
    return VolumeError(
        f"{path}: expected a whole DICOM file, found one that is damaged or cut short; copy it "
        "again."
    )


def _inflated_bytes(stream: BinaryIO) -> int:
    """The size of what a file deflated as a whole holds, as far as _MOST_INFLATED and some more; 0
    for another file."""
    start = stream.read(_META_BYTES)
    stream.seek(0)
    if uid.DeflatedExplicitVRLittleEndian.encode() not in start:
        return 0
    stream.seek(_end_of_meta(start))
    inflated, decompressor = 0, zlib.decompressobj(-zlib.MAX_WBITS)
    while (block := stream.read(_INFLATED_AT_ONCE)) and inflated <= _MOST_INFLATED:
        while block and inflated <= _MOST_INFLATED:
            inflated += len(decompressor.decompress(block, _INFLATED_AT_ONCE))
            block = decompressor.unconsumed_tail
    stream.seek(0)
    return inflated


def _end_of_meta(start: bytes) -> int:
    """Where the file meta information ends: its elements are of group 2, in explicit little endian,
    whose lengths have 2 bytes, or 4 behind two that are reserved (PS3.5 7.1.2)."""
    at = len(b"DICM") + 128
    while start[at : at + 2] == b"\x02\x00":
        is_long = start[at + 4 : at + 6] in _LONG
        length = start[at + 8 : at + 12] if is_long else start[at + 6 : at + 8]
        at += (12 if is_long else 8) + int.from_bytes(length, "little")
    return at
