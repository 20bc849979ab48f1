"""How the process of a command ends: exit codes, one line on stderr, signals, closed pipes."""

from __future__ import annotations

import contextlib
import errno
import io
import logging
import os
import signal
import sys
import threading
import types
import typing
from collections.abc import Callable, Iterator

from spleen_tf.core import children, files, log
from spleen_tf.core.files import InputError

EXIT_DONE, EXIT_FAILED, EXIT_INPUT = 0, 1, 2
# A process that a signal ends has 128 and the signal's number as its exit code, as in a shell.
EXIT_SIGNAL = 128

_STOPS = tuple(
    getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)
)
# What the system says of files and folders that someone named, as they are or where they lie.
_UNFIT_PLACES = (
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP),
    *(errno.EISDIR, errno.ENOTDIR),
)

# What is not installed where only predictions are made, by the name that is imported.
_FOR_TRAINING = {
    "tensorflow": "TensorFlow",
    "keras": "Keras",
    "tensorflow_addons": "TensorFlow Addons",
    "onnx": "onnx",
    "tf2onnx": "tf2onnx",
}


class CommandFailed(RuntimeError):
    """Work that failed although its inputs are in order: one line, exit code 1."""


class Stopped(KeyboardInterrupt):
    """A signal asked the process to stop; what is half done is cleaned up on the way out."""

    def __init__(self, signum: int) -> None:
        super().__init__(signum)
        self.signum = signum


def run(command: Callable[[], int]) -> typing.NoReturn:
    """Calls a command and ends the process with its exit code.

    0: done. 2: the command line or an input is at fault (every InputError, or a file or folder that
    the system does not let the command use), or a library for training is not installed; one line
    on stderr says what. 1: any other failure (CommandFailed in one line). 128 + n: signal n stopped
    it, one line. Files are what the commands are for: a reader that closes the pipe behind stdout
    or stderr changes nothing.
    """
    children.end_with_parent()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # TensorFlow leaves oneDNN off on CPUs without VNNI, BF16 or AMX; they, too, are faster with it.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    logging.getLogger("tensorflow").setLevel(logging.ERROR)
    with _streams(), log.lines(), _stopping():
        code = _exit_code(command)
    sys.exit(code)


def _exit_code(command: Callable[[], int]) -> int:
    try:
        code = _returned(command)
        if sys.stdout is not None:  # It is None where the caller has closed it.
            sys.stdout.flush()
        return code
    except InputError as error:
        log.say(f"error: {error}")
        log.cause(error)
        return EXIT_INPUT
    except OSError as error:
        if (sentence := _about(error)) is None:
            raise
        log.say(f"error: {sentence}")
        return EXIT_INPUT
    except ModuleNotFoundError as error:
        if error.name not in _FOR_TRAINING:
            raise
        log.say(
            f"error: expected {_FOR_TRAINING[error.name]}, which this command needs, found it not "
            "installed; install spleen_tf with its dependencies on CPython 3.11 on Linux (x86-64)."
        )
        return EXIT_INPUT
    except CommandFailed as error:
        log.say(f"error: {error}")
        log.cause(error)
        return EXIT_FAILED
    except KeyboardInterrupt as error:
        signum = error.signum if isinstance(error, Stopped) else signal.SIGINT
        log.say(f"error: stopped by {signal.Signals(signum).name}")
        return EXIT_SIGNAL + signum


def _returned(command: Callable[[], int]) -> int:
    try:
        return command()
    except SystemExit as ended:
        if isinstance(ended.code, str):
            raise
        return ended.code or EXIT_DONE


def _about(error: OSError) -> str | None:
    """What to do about files and folders that the system does not let the command use."""
    if error.errno in files.NO_ROOM:
        place = f"{error.filename}: " if error.filename is not None else ""
        return f"{place}expected room on the disk, found: {error.strerror}; free some, run again."
    if error.filename is None or error.errno not in _UNFIT_PLACES:
        return None
    remedy = "use another"
    if isinstance(error, PermissionError):
        remedy = "change its permissions, or use another"
    return (
        f"{error.filename}: expected a file or folder that can be read and written, "
        f"found: {error.strerror}; {remedy}."
    )


@contextlib.contextmanager
def _streams() -> Iterator[None]:
    """Stdout and stderr that take whatever is written, also if nobody reads it."""
    before = sys.stdout, sys.stderr
    sys.stdout = _patient(sys.stdout)
    sys.stderr = _patient(sys.stderr)
    try:
        yield
    finally:
        for stream in filter(None, (sys.stdout, sys.stderr)):
            with contextlib.suppress(CommandFailed):
                stream.flush()
        sys.stdout, sys.stderr = before


def _patient(stream: typing.TextIO) -> typing.TextIO:
    if not isinstance(stream, io.TextIOWrapper):  # None, or of a test.
        return stream
    # What a terminal cannot show, or the name of a file that is no text, ends no command.
    stream.reconfigure(errors="backslashreplace")
    try:
        descriptor = stream.fileno()
    except io.UnsupportedOperation:  # It is held in memory.
        return stream
    if stream.isatty():
        return stream
    stream.flush()
    raw = _Output(descriptor, "wb", closefd=False)
    return io.TextIOWrapper(
        raw if stream.write_through else io.BufferedWriter(raw),
        encoding=stream.encoding,
        errors=stream.errors,
        line_buffering=stream.line_buffering,
        write_through=stream.write_through,
    )


class _Output(io.FileIO):
    """A file or pipe that is written to nowhere once nobody reads it, or it cannot be written."""

    def write(self, data: typing.Any) -> int:
        try:
            return super().write(data)
        except BrokenPipeError:
            self._discard()
            return len(data)
        except OSError as error:
            self._discard()
            raise CommandFailed(
                f"standard output: expected to be written, found: {error.strerror}."
            ) from None

    def _discard(self) -> None:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.fileno())
        os.close(nowhere)


@contextlib.contextmanager
def _stopping() -> Iterator[None]:
    """Raises Stopped in the main thread on a signal, unless the caller had the signal ignored."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    process_id = os.getpid()

    def stop(signum: int, frame: types.FrameType | None) -> None:
        if os.getpid() != process_id:  # A worker, which has inherited this: its parent speaks.
            signal.signal(signum, signal.SIG_DFL)
            os.kill(os.getpid(), signum)
        raise Stopped(signum)

    before = {signum: signal.getsignal(signum) for signum in _STOPS}
    heeded = [signum for signum in _STOPS if before[signum] not in (signal.SIG_IGN, None)]
    for signum in heeded:
        signal.signal(signum, stop)
    try:
        yield
    finally:
        for signum in heeded:
            signal.signal(signum, before[signum])
