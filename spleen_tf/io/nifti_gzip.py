"""Gzip streams, by ISA-L: read to their checksums, a piece at a time, and written."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, BinaryIO

from isal import igzip, igzip_lib, isal_zlib

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

MAGIC = b"\x1f\x8b"
# What reading raises where the stream is damaged, or its checksum is wrong.
DamagedError: type[Exception] = isal_zlib.error  # type: ignore[assignment]

_INPUT_BYTES = 1 << 17
# ISA-L's default, of 0 to 3: four times as fast as zlib at its fastest, and as small.
_LEVEL = 2


class Reader(io.RawIOBase):
    """The content of a gzip stream of one or several members; zeros behind it are padding.

    Attributes:
        has_other_bytes: whether, at the end, other bytes than padding stand behind the stream.
    """

    def __init__(self, raw: BinaryIO) -> None:
        self._raw = raw
        self._input = b""
        self._member: igzip_lib.IgzipDecompressor | None = None
        self.has_other_bytes = False

    def readable(self) -> bool:
        """As every stream that can be read."""
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        """Fills a buffer, or a part of it; 0 at the end.

        Raises:
            DamagedError: if the stream is damaged, or the checksum of a member that ends is wrong.
            EOFError: if it is cut short.
        """
        view = memoryview(buffer).cast("B")
        while self._member or self._begin():
            assert self._member  # For mypy.
            content = self._member.decompress(self._take(), len(view))
            if self._member.eof:
                self._input = self._member.unused_data
                self._member = None
            if content:
                view[: len(content)] = content
                return len(content)
        return 0

    def _begin(self) -> bool:
        """Begins the next member; False if there is none."""
        if self.has_other_bytes:
            return False
        while not (start := self._input.lstrip(b"\0")):
            self._input = self._raw.read(_INPUT_BYTES)
            if not self._input:
                return False
        self._input = start + (self._raw.read(1) if len(start) == 1 else b"")
        if self._input[:2] != MAGIC:
            self.has_other_bytes = True
            return False
        self._member = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_GZIP)
        return True

    def _take(self) -> bytes:
        """The input that the member needs next."""
        assert self._member  # For mypy.
        if not self._member.needs_input:
            return b""
        taken, self._input = self._input or self._raw.read(_INPUT_BYTES), b""
        if not taken:
            raise EOFError
        return taken


def reader(raw: BinaryIO) -> io.BufferedReader:
    """What a gzip stream holds, as a stream; its `raw` is a Reader."""
    unzipped: io.BufferedReader = io.BufferedReader(Reader(raw))
    return unzipped


def writer(raw: BinaryIO) -> igzip.IGzipFile:
    """A gzip stream to write to; without a name and a time, the same voxels give the same bytes."""
    return igzip.IGzipFile("", "wb", _LEVEL, raw, mtime=0)
