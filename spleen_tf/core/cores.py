"""The cores that this process may use, which need not be all of the machine."""

from __future__ import annotations

import os


def available() -> int:
    """How many there are: on a cluster, those of the job and not of the machine."""
    return len(numbers()) or os.cpu_count() or 1


def are_restricted() -> bool:
    """Whether the machine has others, too."""
    return available() < (os.cpu_count() or 1)


def numbers() -> list[int]:
    """Their numbers; none outside of Linux, where the system deals them."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


def keep_to(cores: list[int]) -> None:
    """Binds the calling thread, and processes that it starts, to these cores."""
    if cores:
        os.sched_setaffinity(0, cores)
