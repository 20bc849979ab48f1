"""What a run costs: seconds by stage, and memory."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Mapping


class Clock:
    """Seconds by stage, from when it is made."""

    def __init__(self) -> None:
        self._start = self._mark = time.monotonic()
        self._laps: dict[str, float] = {}

    def lap(self, stage: str) -> None:
        """Counts the time since the last lap to a stage."""
        now = time.monotonic()
        self._add(stage, now - self._mark)
        self._mark = now

    def resume(self) -> None:
        """Leaves the time since the last lap out, also out of the total: others were served."""
        now = time.monotonic()
        self._start += now - self._mark
        self._mark = now

    def take_over(self, seconds: Mapping[str, float]) -> None:
        """Counts the time since the last lap to stages that another clock has measured in it."""
        for stage, duration in seconds.items():
            self._add(stage, duration)
        self._mark = time.monotonic()

    def stages(self) -> dict[str, float]:
        """Seconds by stage."""
        return dict(self._laps)

    def seconds(self) -> dict[str, float]:
        """Seconds by stage, and their total up to the last lap."""
        return {**self._laps, "total": round(self._mark - self._start, 3)}

    def _add(self, stage: str, duration: float) -> None:
        self._laps[stage] = round(self._laps.get(stage, 0.0) + duration, 3)


def peak_rss_mb() -> float:
    """The most memory that this process has had, in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)
