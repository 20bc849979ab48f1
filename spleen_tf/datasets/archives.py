"""Archives of public data sets: downloaded with resumption, verified, and unpacked safely.

Needs only the standard library and tqdm, so that data can be fetched where nothing else is
installed.
"""

from __future__ import annotations

import dataclasses
import hashlib
import http.client
import os
import pathlib
import re
import shutil
import sys
import tarfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

from tqdm import tqdm

_CHUNK_BYTES = 1 << 20
_TIMEOUT_S = 60.0


class ArchiveError(ValueError):
    """What the user gave, or what the server sent, is at fault. The message is one line."""


class ConnectionCutError(Exception):
    """The server or the network failed in a way that may pass: worth another attempt."""


@dataclasses.dataclass(frozen=True)
class Source:
    """Where an archive comes from, and how it is asked for.

    Attributes:
        name: the one folder in the archive; the archive is NAME.tar.
        url, md5: its address, and the checksum of its bytes in hexadecimal.
        attempts: how many may fail in a row.
        backoff_s: seconds before the second attempt, twice as many before each next.
    """

    name: str
    url: str
    md5: str
    attempts: int = 5
    backoff_s: float = 1.0


def get(source: Source, folder: pathlib.Path) -> pathlib.Path:
    """The archive in a folder, downloaded if it is not there, with the right checksum.

    A download that was cut is resumed. An archive that somebody put there is never removed.

    Raises:
        ArchiveError: if the checksum is wrong, the server has no such file, or the disk no room.
        ConnectionCutError: if source.attempts in a row brought nothing new.
    """
    archive = folder / f"{source.name}.tar"
    if archive.exists():
        _check_given(archive, source.md5)
        return archive
    partial = archive.with_name(f"{archive.name}.partial")
    _fetch(source, partial)
    _check_fetched(partial, source)
    os.replace(partial, archive)
    return archive


def _check_given(archive: pathlib.Path, expected: str) -> None:
    actual = _md5(archive)
    if actual != expected:
        raise ArchiveError(
            f"{archive}: expected MD5 {expected}, found {actual}; it was left as it is: move it "
            "away to download it anew."
        )


def _check_fetched(partial: pathlib.Path, source: Source) -> None:
    actual = _md5(partial)
    if actual != source.md5:
        partial.unlink()
        raise ArchiveError(
            f"{source.url}: expected MD5 {source.md5}, found {actual}; the download was removed: "
            "run this again, or name another --url."
        )


def _md5(path: pathlib.Path) -> str:
    digest = hashlib.md5(usedforsecurity=False)
    with open(path, "rb") as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def _fetch(source: Source, partial: pathlib.Path) -> None:
    """Downloads into `partial`, going on from what it holds.

    Raises:
        ConnectionCutError: if source.attempts in a row brought nothing new.
        ArchiveError: if the server has no such file, or the disk no room for it.
    """
    failures, most_bytes = 0, _size(partial)
    while True:
        try:
            return _fetch_rest(source, partial)
        except ConnectionCutError as error:
            failures = 1 if _size(partial) > most_bytes else failures + 1
            most_bytes = max(most_bytes, _size(partial))
            if failures >= source.attempts:
                raise
            wait_s = source.backoff_s * 2 ** (failures - 1)
            print(f"{error}; trying again in {wait_s:g} s.", file=sys.stderr)
            time.sleep(wait_s)


def _fetch_rest(source: Source, partial: pathlib.Path) -> None:
    """One request: the bytes that `partial` lacks, or all where the server cannot skip."""
    start = _size(partial)
    response = _ask(source, start)
    if response is None:  # the server has no byte after `start`: complete, or another file
        return
    with response:
        first, total = _byte_range(response)
        if first not in (0, start):
            raise ConnectionCutError(f"{source.url}: asked for byte {start}, got byte {first}")
        if total is not None:
            _check_space(partial.parent, 2 * total - first)
        with (
            open(partial, "ab" if first else "wb") as stream,
            _progress(source.name, total, first) as bar,
        ):
            for chunk in _chunks(response, source.url):
                stream.write(chunk)
                bar.update(len(chunk))
    if total is not None and _size(partial) < total:
        raise ConnectionCutError(f"{source.url}: cut after {_size(partial)} of {total} bytes")


def _ask(source: Source, start: int) -> http.client.HTTPResponse | None:
    """The server's answer to a request for the bytes from `start` on; None if it has none."""
    request = urllib.request.Request(source.url)
    if start:
        request.add_header("Range", f"bytes={start}-")
    try:
        response: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=_TIMEOUT_S)
        return response
    except urllib.error.HTTPError as error:
        if start and error.code == 416:
            return None
        fault = f"{source.url}: expected the archive, found HTTP {error.code} {error.reason}"
        if error.code in (408, 429) or error.code >= 500:
            raise ConnectionCutError(fault) from None
        raise ArchiveError(f"{fault}; --url names another address.") from None
    except (OSError, http.client.HTTPException) as error:
        raise ConnectionCutError(f"{source.url}: expected an answer, found: {error}") from None


def _byte_range(response: http.client.HTTPResponse) -> tuple[int, int | None]:
    """The first byte that an answer holds, and the size of the whole file if the server says it."""
    if response.status == 206:
        match = re.match(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
        if match:
            return int(match[1]), None if match[2] == "*" else int(match[2])
    return 0, response.length


def _chunks(response: http.client.HTTPResponse, url: str) -> Iterator[bytes]:
    try:
        while chunk := response.read(_CHUNK_BYTES):
            yield chunk
    except (OSError, http.client.HTTPException) as error:
        raise ConnectionCutError(f"{url}: cut: {error}") from None


def _size(path: pathlib.Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _check_space(folder: pathlib.Path, needed_bytes: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed_bytes:
        raise ArchiveError(
            f"{folder}: expected {needed_bytes / 1e9:.1f} GB free for the archive and what is in "
            f"it, found {free / 1e9:.1f} GB; --output_dir names another folder."
        )


def unpack(archive: pathlib.Path, name: str, folder: pathlib.Path) -> pathlib.Path:
    """Unpacks an archive's one folder, with a dataset.json in it; returns the folder.

    It is unpacked beside its place, then renamed: the folder is whole or absent.

    Raises:
        ArchiveError: if the archive is damaged, or holds anything but files below NAME/.
    """
    partial = folder / f".partial-{name}"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        with tarfile.open(archive) as tar:
            members = [member for member in tar if _is_wanted(member, archive, name)]
            total = sum(member.size for member in members)
            _check_space(folder, total)
            with _progress("unpacking", total) as bar:
                for member in members:
                    _extract(tar, member, partial)
                    bar.update(member.size)
        if not (partial / name / "dataset.json").is_file():
            raise ArchiveError(f"{archive}: expected {name}/dataset.json in it, found none.")
        os.replace(partial / name, folder / name)
        return folder / name
    except (tarfile.TarError, EOFError) as error:
        raise ArchiveError(f"{archive}: expected a tar archive, found: {error}.") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _is_wanted(member: tarfile.TarInfo, archive: pathlib.Path, name: str) -> bool:
    """Whether to unpack a member: a file, but not the ._ shadow that macOS packs beside each.

    Links, devices and names that lead elsewhere are rejected here, since Python's own filters came
    with 3.11.4.
    """
    path = pathlib.PurePosixPath(member.name)
    if path.name.startswith("._"):
        return False
    if path.is_absolute() or ".." in path.parts or path.parts[:1] not in ((name,), ()):
        raise ArchiveError(f"{archive}: expected files below {name}/, found {member.name!r}.")
    if not (member.isfile() or member.isdir()):
        raise ArchiveError(f"{archive}: expected files and folders, found a link {member.name!r}.")
    return member.isfile()


def _extract(tar: tarfile.TarFile, member: tarfile.TarInfo, folder: pathlib.Path) -> None:
    """Writes a member's bytes, with this user's usual permissions instead of those packed."""
    target = folder / member.name
    target.parent.mkdir(parents=True, exist_ok=True)
    content = tar.extractfile(member)
    assert content is not None  # It is a file.
    with content, open(target, "wb") as stream:
        shutil.copyfileobj(content, stream, _CHUNK_BYTES)


def _progress(what: str, total: int | None, initial: int = 0) -> tqdm[Any]:
    return tqdm(desc=what, total=total, initial=initial, unit="B", unit_scale=True, disable=None)
