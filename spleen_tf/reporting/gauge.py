"""A volume with its interval on the scale of a published population, as a picture (SVG)."""

from __future__ import annotations

import dataclasses
import math

from markupsafe import Markup

from spleen_tf.quality.reference import Reference
from spleen_tf.reporting import page

_WIDTH, _LEFT, _RIGHT = 720.0, 24.0, 24.0
_TICKS = 5


@dataclasses.dataclass(frozen=True)
class _Scale:
    """From mL to places of the picture."""

    most_ml: float

    def x(self, volume_ml: float) -> float:
        """The place of a volume, from the left."""
        share = volume_ml / self.most_ml
        return round(_LEFT + share * (_WIDTH - _LEFT - _RIGHT), 1)


def gauge(
    volume_ml: float, interval_ml: tuple[float, float] | None, reference: Reference
) -> Markup:
    """An SVG element: a band for the population, a dot for the volume, a bar for its interval.

    Args:
        volume_ml: what was measured.
        interval_ml: where the true volume is to be expected; None: it is not known.
        reference: the population.
    """
    shown = [volume_ml, *(interval_ml or ())]
    shown += [ml for ml in (reference.high_ml, reference.expected_ml) if ml is not None]
    step_ml = _round_up(1.08 * max(shown) / _TICKS)
    scale = _Scale(step_ml * math.ceil(1.08 * max(shown) / step_ml))
    band = None
    if reference.high_ml is not None:
        band = (scale.x(reference.low_ml or 0.0), scale.x(reference.high_ml))
    ticks_ml = [step_ml * n for n in range(round(scale.most_ml / step_ml) + 1)]
    expected_ml = reference.expected_ml
    return page.render(
        "gauge.html",
        width=_WIDTH,
        band=band,
        expected=None if expected_ml is None else scale.x(expected_ml),
        interval=interval_ml and tuple(map(scale.x, interval_ml)),
        volume=scale.x(volume_ml),
        ticks=[(scale.x(ml), f"{ml:g}") for ml in ticks_ml],
        text=_text(volume_ml, interval_ml, reference),
        population=reference.population,
    )


def range_text(reference: Reference) -> str:
    """The range of a population, or what is expected of it."""
    low_ml, high_ml = reference.low_ml, reference.high_ml
    if low_ml is not None and high_ml is not None:
        return f"{low_ml:.1f} to {high_ml:.1f} mL"
    if high_ml is not None:
        return f"up to {high_ml:.0f} mL"
    return f"{reference.expected_ml:.0f} mL expected"


def _text(volume_ml: float, interval_ml: tuple[float, float] | None, reference: Reference) -> str:
    """What the picture shows, for those who do not see it."""
    interval = ""
    if interval_ml:
        interval = f", 90% interval {interval_ml[0]:.0f} to {interval_ml[1]:.0f} mL"
    return f"{volume_ml:.1f} mL{interval}; {reference.population}: {range_text(reference)}"


def _round_up(value: float) -> float:
    """The next of 1, 2, 5, 10, 20, 50, …"""
    decade = 10.0 ** math.floor(math.log10(value))
    return next(n * decade for n in (1, 2, 5, 10) if n * decade >= value)
