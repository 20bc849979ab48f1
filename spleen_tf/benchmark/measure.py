"""How things are measured: work and reference in turn, and processes with their peak memory."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable

import spleen_tf
from spleen_tf.benchmark.rows import Measurement
from spleen_tf.core.process import CommandFailed

_ROOT = pathlib.Path(spleen_tf.__file__).parents[1]


class Skipped(Exception):
    """A row that cannot be measured here; the message says why."""


@dataclasses.dataclass(frozen=True)
class Cost:
    """What a process took: seconds from start to exit, and its peak memory in GB (10^9 bytes)."""

    seconds: float
    peak_gb: float


def alternating(
    work: Callable[[], float],
    reference: Callable[[], float] | None = None,
    repeats: int = 3,
    note: str = "",
) -> Measurement:
    """Measures work and reference in turn, so that what else the machine does meets both.

    The first turn of each fills caches and does not count.

    Args:
        work, reference: each measures once, and returns the number.
        repeats: turns that count.
        note: for the row.
    """
    values, references = [], []
    for _ in range(repeats + 1):
        values.append(work())
        if reference:
            references.append(reference())
    return Measurement(tuple(values[1:]), tuple(references[1:]), note)


def seconds(work: Callable[[], object]) -> float:
    """What a call takes."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def python(*arguments: str) -> Cost:
    """Runs `python ARGUMENTS…` to its end, where `-m spleen_tf.…` finds this package.

    Raises:
        CommandFailed: if it fails; with the last line that it wrote.
    """
    with tempfile.TemporaryFile() as output:
        start = time.perf_counter()
        process = subprocess.Popen(
            [sys.executable, *arguments], stdout=output, stderr=subprocess.STDOUT, cwd=_ROOT
        )
        _, status, usage = os.wait4(process.pid, 0)
        elapsed = time.perf_counter() - start
        # Popen must not wait for a process that has been waited for.
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            output.seek(0)
            lines = output.read().decode(errors="replace").strip().splitlines()
            raise CommandFailed(
                f"python {' '.join(arguments)}: expected to end well, found the exit code "
                f"{process.returncode}: {lines[-1] if lines else 'no output'}"
            )
    kilobytes = usage.ru_maxrss / (1024 if sys.platform == "darwin" else 1)
    return Cost(elapsed, kilobytes * 1024 / 1e9)
