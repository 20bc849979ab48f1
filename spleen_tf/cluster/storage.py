"""Files that are local, or in an object store: gs://, s3://, memory://, or another of fsspec's.

A place is a path, or such a URL. A worker that needs a remote file as a local one fetches it, and
sends back what it wrote; local files are used where they are.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import pathlib
import posixpath
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from typing import Any

import fsspec
from fsspec.core import url_to_fs

from spleen_tf.core import files
from spleen_tf.core.files import InputError
from spleen_tf.core.runners import is_url

# What describes a data set is fetched; of volumes, a folder's outline has empty files.
_DESCRIPTIONS = (".json", ".csv")
_PACKAGES = {"gs": "gcsfs", "gcs": "gcsfs", "s3": "s3fs", "s3a": "s3fs"}


def joined(place: str, *names: str) -> str:
    """A place below a place."""
    if is_url(place):
        return posixpath.join(place.rstrip("/"), *names)
    return os.path.join(place, *names)


def sizes(folder: str) -> dict[str, int]:
    """The files in a folder and below, by their path in it, each with its size in bytes.

    A folder that is not there is empty.

    Raises:
        InputError: if the store does not answer, or its package is not installed.
    """
    with _store(folder) as (store, root):
        store.invalidate_cache()
        found = store.find(root, detail=True)
        start = len(root.rstrip("/")) + 1
        return {path[start:]: info["size"] for path, info in found.items() if path != root}


def fingerprint(place: str) -> str:
    """A text that changes when a file, or a file in a folder, is replaced.

    Raises:
        InputError: if there is none.
    """
    with _store(place) as (store, root):
        infos = store.find(root, detail=True)
        if not infos:
            raise InputError(f"{place}: expected a file or folder, found none.")
        marks = [f"{path} {_mark(info)}" for path, info in sorted(infos.items())]
        return hashlib.sha256("\n".join(marks).encode()).hexdigest()


def _mark(info: Mapping[str, Any]) -> str:
    """What a store says of a file's content: its hash or, where it has none, size and time."""
    content = info.get("ETag") or info.get("etag") or info.get("mtime") or info.get("created")
    return f"{info['size']} {content}"


def fetch(place: str, path: pathlib.Path) -> None:
    """Copies a file, or a folder with what is in it, to a local path."""
    with _store(place) as (store, root):
        if store.isdir(root):
            path.mkdir(parents=True, exist_ok=True)
            store.get(root.rstrip("/") + "/", f"{path}/", recursive=True)
        else:
            path.parent.mkdir(parents=True, exist_ok=True)
            store.get_file(root, str(path))


def send(path: pathlib.Path, place: str) -> None:
    """Copies a local file to a place, whole or not at all."""
    if not is_url(place):
        with files.replacing(place) as partial:
            shutil.copyfile(path, partial)
        return
    with _store(place) as (store, root):
        store.makedirs(store._parent(root), exist_ok=True)
        store.put_file(str(path), root)


def move(source: str, target: str) -> None:
    """Moves a file within a store; what was at the target is replaced."""
    if not is_url(source):
        os.replace(source, target)
        return
    with _store(source) as (store, root):
        store.mv(root, url_to_fs(target)[1])


def remove(place: str) -> None:
    """Removes a file, or a folder with what is in it, if it is there."""
    with _store(place) as (store, root), contextlib.suppress(FileNotFoundError):
        store.rm(root, recursive=True)


@contextlib.contextmanager
def scratch() -> Iterator[pathlib.Path]:
    """Yields an empty local folder that is removed in the end."""
    with tempfile.TemporaryDirectory(prefix="spleen_tf-", ignore_cleanup_errors=True) as folder:
        yield pathlib.Path(folder)


@dataclasses.dataclass(frozen=True)
class Outline:
    """Local stand-ins of remote places, with which the planning of a local run works.

    Attributes:
        root: a local folder.
    """

    root: pathlib.Path

    def of(self, place: str, *, is_input: bool) -> str:
        """The stand-in of a place; a local place stands for itself.

        That of an input has its files' names, without the content of volumes.

        Raises:
            InputError: if an input is not there.
        """
        if not is_url(place):
            return place
        folder, _, name = place.rstrip("/").rpartition("/")
        is_table = name.lower().endswith(".csv")
        listed = folder if is_table else place.rstrip("/")
        local = self._local(listed)
        local.parent.mkdir(parents=True, exist_ok=True)
        if is_input:
            self._list(listed, local)
        return str(local / name) if is_table else str(local)

    def place_of(self, path: str | os.PathLike[str]) -> str:
        """The inverse of `of`, also for what is below a stand-in."""
        path = pathlib.Path(path)
        if not path.is_relative_to(self.root):
            return str(path)
        scheme, *parts = path.relative_to(self.root).parts
        return f"{scheme}://{'/'.join(parts)}"

    def _local(self, place: str) -> pathlib.Path:
        scheme, _, rest = place.partition("://")
        return self.root / scheme / rest.strip("/")

    def _list(self, place: str, local: pathlib.Path) -> None:
        names = sizes(place)
        if not names:
            raise InputError(f"{place}: expected a folder with files, found none.")
        for name in names:
            path = local / name
            if path.suffix.lower() in _DESCRIPTIONS:
                fetch(joined(place, name), path)
            else:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()


@contextlib.contextmanager
def _store(place: str) -> Iterator[tuple[fsspec.AbstractFileSystem, str]]:
    """The file system of a place, and the path in it; its errors become an InputError."""
    try:
        yield url_to_fs(place)
    except ImportError as error:
        package = _PACKAGES.get(place.partition("://")[0])
        remedy = f"; pip install {package}" if package else ""
        raise InputError(f"{place}: expected a file system that is installed{remedy}.") from error
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{place}: expected a file or folder, found none.") from None
    except ValueError as error:
        raise InputError(f"{place}: expected gs://, s3:// or a local path: {error}.") from error
    except OSError as error:
        reason = error.strerror or str(error) or type(error).__name__
        raise InputError(
            f"{place}: expected a place that can be read and written, found: {reason}."
        ) from error
