"""Values of the flags of train that are not in order, or contradict one another.

Bounds of single numbers are declared with the flags.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from spleen_tf.core.flags import ConfigError

_PIXEL_MM = (0.01, 100.0)


def image_size(sizes: Sequence[int], multiple: int) -> None:
    """Raises ConfigError unless there are one or two sizes, each a multiple of a number."""
    if len(sizes) > 2:
        raise ConfigError(f"--image_size: expected one or two integers, found {sizes}.")
    if any(n % multiple for n in sizes):
        nearest = ",".join(f"{max(1, round(n / multiple)) * multiple}" for n in sizes)
        raise ConfigError(
            f"--image_size: expected a multiple of {multiple} (2^depth), found "
            f"{','.join(map(str, sizes))}; {nearest} would do."
        )


def pixel_mm(sizes_mm: Sequence[float]) -> None:
    """Raises ConfigError unless there are at most two sizes, as pixels of scans have them."""
    least_mm, most_mm = _PIXEL_MM
    if len(sizes_mm) > 2 or any(not least_mm <= mm <= most_mm for mm in sizes_mm):
        raise ConfigError(
            f"--pixel_mm: expected one or two sizes of {least_mm:g} to {most_mm:g} mm, found "
            f"{sizes_mm}."
        )


def window(low_high: Sequence[float]) -> None:
    """Raises ConfigError unless there are a lower and a higher number."""
    if len(low_high) != 2 or not -math.inf < low_high[0] < low_high[1] < math.inf:
        raise ConfigError(f"--window: expected low,high with low < high, found {low_high}.")


def in_channels(number: int) -> None:
    """Raises ConfigError unless a slice has as many neighbours on either side."""
    if number % 2 == 0:
        raise ConfigError(f"--in_channels: expected an odd number, found {number}.")


def budget(has_steps: bool, has_minutes: bool, is_deterministic: bool) -> None:
    """Raises ConfigError for a training without an end, or whose end is not determined.

    Args:
        has_steps: it ends after steps or epochs.
        has_minutes: it ends after some minutes.
        is_deterministic: the same flags are to give the same weights.
    """
    if not (has_steps or has_minutes):
        raise ConfigError("--epochs, --steps or --minutes: expected at least one, found none.")
    if is_deterministic and has_minutes:
        raise ConfigError(
            "--deterministic: expected --steps or --epochs, since no two trainings come "
            "equally far in some minutes; found --minutes."
        )


def optimizer(name: str, distribution: str, has_steps: bool) -> None:
    """Raises ConfigError for an optimizer that lacks what it needs: one device, a last step."""
    if name != "adamw" and distribution != "none":
        raise ConfigError(
            f"--optimizer: expected adamw with --distribution={distribution}, found {name}, which "
            "works on one device only."
        )
    if name == "swa" and not has_steps:
        raise ConfigError(
            "--optimizer=swa: expected --steps or --epochs, since averaging starts at a step; "
            "found --minutes only."
        )


def distribution(name: str, has_minutes: bool) -> None:
    """Raises ConfigError where workers, each by its own clock, would stop at different steps."""
    if name == "multi_worker" and has_minutes:
        raise ConfigError(
            "--minutes: expected --steps or --epochs with --distribution=multi_worker, whose "
            "workers have to stop at the same step; found --minutes."
        )
