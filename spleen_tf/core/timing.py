"""What a run costs: seconds by stage, and memory."""

from __future__ import annotations

import resource
import sys
import time


class Clock:
    """Seconds by stage, from when it is made."""

    def __init__(self):
        self._start = self._mark = time.monotonic()
        self._laps: dict[str, float] = {}

    def lap(self, stage: str) -> None:
        """Counts the time since the last lap to a stage."""
        now = time.monotonic()
        self._laps[stage] = round(self._laps.get(stage, 0.0) + now - self._mark, 3)
        self._mark = now

    def seconds(self) -> dict[str, float]:
        """Seconds by stage, and their total up to the last lap."""
        return {**self._laps, "total": round(self._mark - self._start, 3)}


def peak_rss_mb() -> float:
    """The most memory that this process has had, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)
