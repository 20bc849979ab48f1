"""How things are measured: work and reference in turn, and processes with their peak memory."""

from __future__ import annotations

import dataclasses
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

# A process begins with the peak memory of the one that started it, so a small one starts it here.
# Both streams of the process go to the launcher's stderr.
_LAUNCHER = """
import os, sys, time
start = time.perf_counter()
streams = [(os.POSIX_SPAWN_DUP2, 2, 1)]
process = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=streams)
_, status, usage = os.wait4(process, 0)
print(os.waitstatus_to_exitcode(status), time.perf_counter() - start, usage.ru_maxrss)
"""


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
        launched = subprocess.run(
            [sys.executable, "-S", "-c", _LAUNCHER, sys.executable, *arguments],
            stdout=subprocess.PIPE,
            stderr=output,
            cwd=_ROOT,
            check=True,
        )
        code, elapsed, peak_rss = launched.stdout.split()
        if int(code):
            output.seek(0)
            lines = output.read().decode(errors="replace").strip().splitlines()
            raise CommandFailed(
                f"python {' '.join(arguments)}: expected to end well, found the exit code "
                f"{int(code)}: {lines[-1] if lines else 'no output'}"
            )
    kilobytes = int(peak_rss) / (1024 if sys.platform == "darwin" else 1)
    return Cost(float(elapsed), kilobytes * 1024 / 1e9)
