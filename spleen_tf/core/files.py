"""Files of users: messages that say what is wrong with one; outputs that are whole or absent."""

from __future__ import annotations

import codecs
import contextlib
import csv
import errno
import glob
import hashlib
import io
import json
import os
import pathlib
import re
import secrets
import shutil
import stat
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeVar

import msgspec

if sys.platform != "win32":
    import fcntl

Record = TypeVar("Record")

# A failing write names no file; these errors come from nothing but writing.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_PARTIAL = ".partial-"
# JSON of any content becomes objects that take many times its size.
_MOST_JSON_BYTES = 1 << 24


class InputError(ValueError):
    """What the user gave is at fault. The message is one line: FILE: expected …, found …."""


class InputWarning(UserWarning):
    """What the user gave can be used, but may not mean what the user thinks."""


def listed(names: Sequence[object], most: int) -> str:
    """Names for a message: a few of them, and an ellipsis where there are more."""
    return ", ".join(map(str, names[:most])) + ", …" * (len(names) > most)


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[pathlib.Path]:
    """Yields a path to write to, near `path`, and moves it to `path` when all went well.

    A reader never sees half a file, and an earlier one stays until its successor is whole. The
    yielded path has the name of `path`, for writers that look at suffixes, in a hidden folder
    beside it: what a kill leaves behind is in no list of the files there, and the next run that
    writes `path` removes it.

    Raises:
        InputError: if the folder cannot be made or the file cannot be written there.
    """
    path = pathlib.Path(path)
    make_folder(path.parent)
    if os.path.isdir(path):
        raise InputError(f"{path}: expected a file to write, found a folder.")
    _remove_leftovers(path)
    hidden = path.with_name(f".{path.name}{_PARTIAL}{secrets.token_hex(4)}")
    partial = hidden / path.name
    mark = None
    try:
        hidden.mkdir()
        mark = _mark(hidden)
        yield partial
        os.replace(partial, path)
    except OSError as error:
        places = (partial, hidden, path)
        ours = error.filename is not None and pathlib.Path(error.filename) in places
        if not ours and error.errno not in NO_ROOM:
            raise
        raise InputError(
            f"{path}: expected a place to write to, found: {error.strerror}."
        ) from None
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
        if mark is not None:
            os.close(mark)


def _remove_leftovers(path: pathlib.Path) -> None:
    """Removes what runs that were killed left of a file."""
    for hidden in path.parent.glob(f".{glob.escape(path.name)}{_PARTIAL}*"):
        if (mark := _mark(hidden)) is not None:
            shutil.rmtree(hidden, ignore_errors=True)
            os.close(mark)


def _mark(folder: pathlib.Path) -> int | None:
    """Marks a folder as in use until this process ends, or closes the descriptor.

    None where it is in use, or the system cannot mark folders: what is left there stays.
    """
    if sys.platform == "win32":
        return None
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(descriptor)
        else:
            return descriptor
    return None


def make_folder(folder: str | os.PathLike[str]) -> pathlib.Path:
    """Makes a folder for outputs, with its parents.

    Raises:
        InputError: if that is not possible.
    """
    folder = pathlib.Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"{folder}: expected a folder to write to, found: {error.strerror}."
        ) from None
    if not os.access(folder, os.W_OK):
        raise InputError(f"{folder}: expected a folder to write to, found: permission denied.")
    return folder


def sha256(path: str | os.PathLike[str]) -> str:
    """The SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Writes a whole text file or none, in UTF-8; names of files that are no text are escaped."""
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_csv(path: str | os.PathLike[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes a whole table or none, as write_text; the columns are those of the row that has most.

    Args:
        path: the file.
        rows: at least one; what a row lacks stays empty.
    """
    fullest = max(rows, key=lambda row: len(row))
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, list(fullest), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, out.getvalue())


def write_json(path: str | os.PathLike[str], content: Any) -> None:
    """Writes JSON, whole or not at all.

    Args:
        path: the file.
        content: a record (a msgspec Struct or a dataclass), or what JSON holds. Numbers are finite:
            NaN must have become None before.

    Raises:
        InputError: if the file cannot be written.
    """
    plain = msgspec.to_builtins(content, str_keys=True)
    write_text(path, json.dumps(plain, indent=1, allow_nan=False) + "\n")


def check_text(path: str | os.PathLike[str], most_bytes: int = 1 << 27) -> None:
    """Looks at a text file's size, before memory is taken for it.

    Raises:
        InputError: if it is larger than any such file, or a device, which may have no end.
        OSError: if it is missing.
    """
    status = os.stat(path)
    if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode):
        raise InputError(f"{path}: expected a text file, found a device.")
    if status.st_size > most_bytes:
        raise InputError(
            f"{path}: expected a text file of at most {most_bytes:,} bytes, found "
            f"{status.st_size:,}."
        )


def read_json(path: str | os.PathLike[str]) -> Any:
    """Reads JSON of any content; a byte order mark is skipped.

    Raises:
        InputError: if the file is missing, is not JSON, or is larger than what this reads.
    """
    with contextlib.suppress(OSError):  # Reported below.
        check_text(path, _MOST_JSON_BYTES)
    return read_record(path, Any)


def read_record(
    path: str | os.PathLike[str], kind: type[Record], remedy: str = "", strict: bool = True
) -> Record:
    """Reads JSON into a typed record; a byte order mark is skipped.

    Args:
        path: the file.
        kind: a msgspec Struct, a dataclass, or another type that msgspec converts to.
        remedy: what the message tells the user to do about a file of other content.
        strict: False also takes 16.0 for an integer, as files of earlier releases have it.

    Raises:
        InputError: if the file is missing, is not JSON, or does not hold such a record; the message
            names the key at fault.
    """
    try:
        check_text(path)
        content = _utf8(pathlib.Path(path).read_bytes())
        return msgspec.json.decode(content, type=kind, strict=strict)
    except OSError as error:
        raise InputError(f"{path}: expected a JSON file, found: {error.strerror}.") from None
    except msgspec.ValidationError as error:
        fault = _expected_and_found(str(error))
        raise InputError(f"{path}: {fault}{f'; {remedy}' if remedy else ''}.") from None
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path}: expected JSON in UTF-8, found: {error}; save it as UTF-8."
        ) from None
    except msgspec.DecodeError as error:
        raise InputError(f"{path}: expected JSON, {_no_json(content, error)}.") from None
    except RecursionError:
        raise InputError(f"{path}: expected JSON, found values nested too deeply.") from None


def _utf8(content: bytes) -> bytes:
    """JSON without its byte order mark; what such a mark calls UTF-16 becomes UTF-8."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return content.decode("utf-16").encode()
    return content.removeprefix(codecs.BOM_UTF8)


def _no_json(content: bytes, error: Exception) -> str:
    """What stands where content is no JSON, and what to do about it."""
    if not content.strip():
        return "found an empty file"
    if content.startswith(b"version https://git-lfs"):
        return "found a Git LFS pointer; fetch the file with `git lfs pull`"
    if content[:400].count(0) > 100:
        return "found UTF-16 without a byte order mark, or no text; save it as UTF-8"
    place = re.search(r"\(byte (\d+)\)", str(error))
    offset = int(place[1]) if place else len(content)
    line = content[:offset].count(b"\n") + 1
    reason = str(error).removeprefix("JSON is malformed: ")
    if (
        re.match(rb"-?(NaN|nan|Inf)", content[offset:])
        or content[offset - 1 : offset + 3] == b"NaN"
    ):
        return f"found NaN or Infinity in line {line}, which JSON does not have; write null"
    return f"found text that does not parse in line {line}: {reason}"


def _expected_and_found(validation_message: str) -> str:
    """What msgspec says of a wrong value, as "expected …, found …"."""
    message, _, place = validation_message.partition(" - at ")
    where = f" at {place.strip('`')}" if place else ""
    if missing := re.fullmatch(r"Object missing required field `(.+)`", message):
        return f"expected the key {missing[1]!r}{where}, found none"
    if wrong := re.fullmatch(r"Invalid enum value (.+)", message):
        return f"expected one of the known values{where}, found {wrong[1]}"
    expected, _, found = message.partition(", got ")
    expected = expected[:1].lower() + expected[1:]
    return f"{expected}{where}, found {found or 'another value'}"
