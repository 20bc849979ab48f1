"""Lines on stderr: errors, warnings and log records, each as one line."""

from __future__ import annotations

import contextlib
import logging
import re
import sys
from collections.abc import Iterator

from spleen_tf.core.files import InputWarning

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")

_log = logging.getLogger(__name__)


@contextlib.contextmanager
def lines() -> Iterator[None]:
    """Log records and warnings of the package as lines on stderr, those of others held back."""
    root, handler = logging.getLogger(), _Lines()
    root.addHandler(handler)
    logging.captureWarnings(True)
    set_verbosity(0)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        root.removeHandler(handler)


def set_verbosity(verbosity: int) -> None:
    """0: warnings of the package. 1: also the cause of a refusal, and other libraries' warnings."""
    level = logging.DEBUG if verbosity else logging.WARNING
    logging.getLogger("spleen_tf").setLevel(level)
    for handler in logging.getLogger().handlers:
        if isinstance(handler, _Lines):
            handler.verbosity = verbosity


def cause(error: BaseException) -> None:
    """Logs, with --verbosity=1, the exception of a library that an error was raised for."""
    raised_by = error.__cause__ or error.__context__
    if raised_by is not None:
        _log.debug("cause of the error", exc_info=raised_by)


def say(text: str) -> None:
    """One line on stderr, if anybody still reads it."""
    with contextlib.suppress(OSError):
        print(_shown(" ".join(text.split())), file=sys.stderr)


def _shown(text: str) -> str:
    """Text without control characters, by which a file's name could write all over a terminal."""
    return _CONTROL.sub(lambda letter: f"\\x{ord(letter[0]):02x}", text)


class _Lines(logging.Handler):
    """Writes a record as one line such as `warning: …` to what stderr is at that time."""

    verbosity = 0

    def emit(self, record: logging.LogRecord) -> None:
        text = record.getMessage()
        own = record.name.split(".")[0] == "spleen_tf"
        if record.name == "py.warnings" and (warning := _own_warning(text)) is not None:
            text, own = warning, True
        if own or self.verbosity or record.levelno >= logging.ERROR:
            say(f"{record.levelname.lower()}: {text}")
            if record.exc_info and self.verbosity:
                with contextlib.suppress(OSError):
                    print(logging.Formatter().formatException(record.exc_info), file=sys.stderr)


def _own_warning(formatted: str) -> str | None:
    """The message of an InputWarning from what logging makes of it; None for others.

    That is `FILE:LINE: CATEGORY: MESSAGE`, and a line of source behind it where there is one.
    """
    _, category, rest = formatted.partition(f": {InputWarning.__name__}: ")
    if not category:
        return None
    *lines, last = rest.rstrip("\n").split("\n")
    return "\n".join(lines if lines and last.startswith("  ") else [*lines, last])
