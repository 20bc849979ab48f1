"""What a command does, step by step, as lines of JSON for programs that watch it (--log_json).

Library code calls `emit`; nothing is written unless a command was given --log_json, or a program
adds a handler of its own to the logger "spleen_tf.events", whose records have the attribute
`event`.
"""

from __future__ import annotations

import contextlib
import datetime
import logging
import pathlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Literal

import msgspec

from spleen_tf.core import files
from spleen_tf.core.files import InputError

Outcome = Literal["done", "review", "skipped", "failed"]

STDERR = "stderr"
HELP = (
    "A file to which a line of JSON is added for each step (stage, case, seconds, outcome); "
    "stderr: there."
)

_log = logging.getLogger("spleen_tf.events")
_log.propagate = False  # They are no messages for people.
_log.setLevel(logging.INFO)
_log.addHandler(logging.NullHandler())


class Event(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A line of the log.

    Attributes:
        time: when the step ended, UTC, by ISO 8601.
        stage: what was done, such as 'read', 'case' or 'epoch'; 'command' is the last.
        outcome: review is done, and to be looked at by a person.
        case: of which case; absent where a step concerns all.
        seconds: that it took.
        message: why it failed, or what is to be looked at.
        values: what was measured, by name.
        command: such as 'predict'; absent until a command writes the line.
    """

    time: str
    stage: str
    outcome: Outcome
    case: str | None = None
    seconds: float | None = None
    message: str | None = None
    values: dict[str, float] | None = None
    command: str | None = None


def emit(
    stage: str,
    outcome: Outcome = "done",
    *,
    case: str | None = None,
    seconds: float | None = None,
    message: str | None = None,
    values: dict[str, float] | None = None,
) -> None:
    """Says that a step has ended; see Event."""
    event = Event(
        time=datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds"),
        stage=stage,
        outcome=outcome,
        case=case,
        seconds=None if seconds is None else round(seconds, 3),
        message=None if message is None else " ".join(message.split()),
        values=values,
    )
    _log.info("%s", stage, extra={"event": event})


def run(command: Callable[[], int], name: str, place: str | None) -> int:
    """Calls a command, whose events go to a place, and the last of which says how it ended.

    Args:
        command: returns its exit code.
        name: of the command.
        place: a file, to which lines are added; 'stderr'; or None for nowhere.

    Raises:
        InputError: if the file cannot be written to.
    """
    start = time.monotonic()
    with _written(name, place):
        try:
            code = command()
        except BaseException as error:
            stopped = isinstance(error, KeyboardInterrupt)
            message = "stopped by a signal" if stopped else str(error) or type(error).__name__
            emit("command", "failed", seconds=time.monotonic() - start, message=message)
            raise
        emit("command", "failed" if code else "done", seconds=time.monotonic() - start)
        return code


@contextlib.contextmanager
def _written(name: str, place: str | None) -> Iterator[None]:
    if place is None:
        yield
        return
    if place != STDERR:
        _check(place)
    lines = _Lines(name, place)
    _log.addHandler(lines)
    try:
        yield
    finally:
        _log.removeHandler(lines)


def _check(place: str) -> None:
    files.make_folder(pathlib.Path(place).parent)
    try:
        with open(place, "ab"):
            pass
    except OSError as error:
        raise InputError(f"{place}: expected a file to log to, found: {error.strerror}.") from None


class _Lines(logging.Handler):
    """Adds each event to a file as a line; a whole one, so that several processes may do so."""

    def __init__(self, command: str, place: str) -> None:
        super().__init__()
        self.command, self.place = command, place

    def emit(self, record: logging.LogRecord) -> None:
        event: Event = msgspec.structs.replace(record.event, command=self.command)  # type: ignore[attr-defined]
        line = msgspec.json.encode(event) + b"\n"
        with contextlib.suppress(OSError):  # A log that is full does not end the work.
            if self.place == STDERR:
                print(line.decode(), end="", file=sys.stderr, flush=True)
                return
            with open(self.place, "ab") as out:
                out.write(line)
