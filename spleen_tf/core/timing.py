"""What a run costs: seconds by stage, and memory."""

from __future__ import annotations

import contextvars
import resource
import sys
import time

_running: contextvars.ContextVar[Clock | None] = contextvars.ContextVar("clock", default=None)


class Clock:
    """Seconds by stage, from when it is made. In a `with` block, `lap` below counts to it."""

    def __init__(self) -> None:
        self._start = self._mark = time.monotonic()
        self._laps: dict[str, float] = {}

    def __enter__(self) -> Clock:
        self._token = _running.set(self)
        return self

    def __exit__(self, *_: object) -> None:
        _running.reset(self._token)

    def lap(self, stage: str) -> None:
        """Counts the time since the last lap to a stage."""
        now = time.monotonic()
        self._laps[stage] = round(self._laps.get(stage, 0.0) + now - self._mark, 3)
        self._mark = now

    def seconds(self) -> dict[str, float]:
        """Seconds by stage, and their total up to the last lap."""
        return {**self._laps, "total": round(self._mark - self._start, 3)}


def lap(stage: str) -> None:
    """Ends a stage for the clock of the surrounding `with` block; without one, does nothing."""
    if clock := _running.get():
        clock.lap(stage)


def peak_rss_mb() -> float:
    """The most memory that this process has had, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)
