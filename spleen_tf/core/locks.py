"""Places that one run at a time writes to, free again when that run ends, be it by a kill."""

from __future__ import annotations

import contextlib
import errno
import os
import pathlib
import sys
from collections.abc import Iterator

from spleen_tf.core.files import InputError

if sys.platform == "win32":
    import msvcrt
else:
    import fcntl

_HELD = (errno.EAGAIN, errno.EACCES, errno.EDEADLK)
# Some network file systems know no locks: there, a second run is not noticed.
_NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL, errno.EBADF)


@contextlib.contextmanager
def folder(place: str | os.PathLike[str]) -> Iterator[None]:
    """Keeps other runs from writing to a folder, by a hidden file in it that goes in the end.

    Raises:
        InputError: if another run holds it, or it cannot be written to.
    """
    with _held(pathlib.Path(place), pathlib.Path(place, ".lock")):
        yield


@contextlib.contextmanager
def output(place: str | os.PathLike[str]) -> Iterator[None]:
    """As `folder`, for one file (or a folder that is replaced as a whole), by a file beside it."""
    place = pathlib.Path(place)
    with _held(place, place.with_name(f".{place.name}.lock")):
        yield


@contextlib.contextmanager
def _held(place: pathlib.Path, lock: pathlib.Path) -> Iterator[None]:
    try:
        descriptor = _acquired(lock)
    except OSError as error:
        raise InputError(
            f"{place}: expected a place to write to, found: {error.strerror}."
        ) from None
    if descriptor is None:
        raise InputError(
            f"{place}: expected no other run that writes to it, found {_holder(lock)}; wait until "
            "it ends, or choose another place."
        )
    try:
        os.truncate(descriptor, 0)
        with contextlib.suppress(OSError):  # A full disk: the number is only for the message.
            os.write(descriptor, str(os.getpid()).encode())
        yield
    finally:
        if sys.platform != "win32":  # Where a file in use cannot be removed.
            lock.unlink(missing_ok=True)
        os.close(descriptor)
        if sys.platform == "win32":
            with contextlib.suppress(OSError):  # The next run has it already.
                lock.unlink()


def _acquired(lock: pathlib.Path) -> int | None:
    """An open descriptor of a file that this process alone holds; None if another one does."""
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            is_ours = _try(descriptor)
            # The run that held it may have removed it after it was opened here.
            is_there = lock.exists() and os.path.samestat(os.fstat(descriptor), os.stat(lock))
        except BaseException:
            os.close(descriptor)
            raise
        if is_ours and is_there:
            return descriptor
        os.close(descriptor)
        if not is_ours:
            return None


def _try(descriptor: int) -> bool:
    """Whether an open file could be locked."""
    try:
        if sys.platform == "win32":
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _HELD:
            return False
        if error.errno not in _NO_LOCKS:
            raise
    return True


def _holder(lock: pathlib.Path) -> str:
    """Who holds a lock, as far as its file says."""
    with contextlib.suppress(OSError):
        if (number := lock.read_text(errors="replace").strip()).isdigit():
            return f"one at work (process {number})"
    return "one at work"
