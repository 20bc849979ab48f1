"""What is wrong with the flags of train, as far as they show it without the records."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from spleen_tf.core.flags import ConfigError

if TYPE_CHECKING:
    from spleen_tf.training.config import TrainConfig

_PIXEL_MM = (0.01, 100.0)


def check_flags(config: TrainConfig) -> None:
    """Raises ConfigError for flags that contradict one another, or whose values are not in order.

    Bounds of single numbers are those of `flags.check`.
    """
    _check_image_size(config)
    _check_intensities_and_pixels(config)
    _check_budget(config)
    _check_optimizer(config)


def _check_image_size(config: TrainConfig) -> None:
    if not config.image_size:
        return
    if len(config.image_size) > 2:
        raise ConfigError(f"--image_size: expected one or two integers, found {config.image_size}.")
    # A depth that the fingerprint proposes is not known yet; any halves the image at least once.
    depth_is_open = config.depth is None and config.fingerprint is not None
    multiple = 2 if depth_is_open else config.network.multiple
    if any(n % multiple for n in config.image_size):
        nearest = ",".join(f"{max(1, round(n / multiple)) * multiple}" for n in config.image_size)
        raise ConfigError(
            f"--image_size: expected a multiple of {multiple} (2^depth), found "
            f"{','.join(map(str, config.image_size))}; {nearest} would do."
        )


def _check_intensities_and_pixels(config: TrainConfig) -> None:
    pixel_mm, (least_mm, most_mm) = config.pixel_mm or (), _PIXEL_MM
    if len(pixel_mm) > 2 or any(not least_mm <= mm <= most_mm for mm in pixel_mm):
        raise ConfigError(
            f"--pixel_mm: expected one or two sizes of {least_mm:g} to {most_mm:g} mm, found "
            f"{pixel_mm}."
        )
    low_high = config.window or (0.0, 1.0)
    if len(low_high) != 2 or not -math.inf < low_high[0] < low_high[1] < math.inf:
        raise ConfigError(f"--window: expected low,high with low < high, found {config.window}.")
    if config.in_channels % 2 == 0:
        raise ConfigError(f"--in_channels: expected an odd number, found {config.in_channels}.")


def _check_budget(config: TrainConfig) -> None:
    if not (config.epochs or config.steps or config.minutes):
        raise ConfigError("--epochs, --steps or --minutes: expected at least one, found none.")
    if config.deterministic and config.minutes:
        raise ConfigError(
            "--deterministic: expected --steps or --epochs, since no two trainings come "
            "equally far in some minutes; found --minutes."
        )


def _check_optimizer(config: TrainConfig) -> None:
    if config.optimizer != "adamw" and config.distribution != "none":
        raise ConfigError(
            f"--optimizer: expected adamw with --distribution={config.distribution}, found "
            f"{config.optimizer}, which works on one device only."
        )
    if config.optimizer == "swa" and not (config.steps or config.epochs):
        raise ConfigError(
            "--optimizer=swa: expected --steps or --epochs, since averaging starts at a step; "
            "found --minutes only."
        )
    if config.distribution == "multi_worker" and config.minutes:
        raise ConfigError(
            "--minutes: expected --steps or --epochs with --distribution=multi_worker, whose "
            "workers have to stop at the same step; found --minutes."
        )
