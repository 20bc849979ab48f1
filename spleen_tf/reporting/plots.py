"""Plots of measurements: how far predicted volumes agree with true ones."""

from __future__ import annotations

import io
import math
import os
import pathlib
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from spleen_tf.core import files
from spleen_tf.core.files import InputError
from spleen_tf.evaluation.agreement import BlandAltman, limits_of_agreement

DPI = 100
TEXT: dict[str, Any] = {"fontfamily": "DejaVu Sans", "parse_math": False}  # A $ stays a $.

_MAX_NAMED = 10


def bland_altman(
    path: str | os.PathLike[str],
    truth_ml: Sequence[float],
    pred_ml: Sequence[float],
    cases: Sequence[str],
) -> None:
    """Plots the difference against the mean of true and predicted volumes, as PNG.

    Lines are the bias and the 95% limits of agreement (see limits_of_agreement). Cases outside
    of them are named, at most the ten farthest. One case has no limits, and is named; without
    cases the plot says so.

    Args:
        path: ends in .png.
        truth_ml: (N,) volumes in mL; N may be 0.
        pred_ml: (N,) volumes of the same cases.
        cases: (N,) their names.

    Raises:
        InputError: if the path does not end in .png or cannot be written.
    """
    agreement = limits_of_agreement(truth_ml, pred_ml)
    number, outside = len(agreement.mean_ml), agreement.outside
    figure = Figure((10, 6.5), dpi=DPI, facecolor="white", layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=12)
    axes.set_xlabel("mean of reference and prediction (mL)", fontsize=14, **TEXT)
    axes.set_ylabel("prediction − reference (mL)", fontsize=14, **TEXT)
    if number == 0:
        axes.set(xticks=[], yticks=[])
        axes.text(0.5, 0.5, "no cases", transform=axes.transAxes, ha="center", fontsize=18, **TEXT)
    else:
        heading = f"{number} cases, {len(outside)} outside the limits of agreement"
        heading = "1 case: no limits of agreement" if number == 1 else heading
        axes.set_title(heading, loc="left", fontsize=13, **TEXT)
        axes.scatter(agreement.mean_ml, agreement.difference_ml, s=40, color="#1f5fa8", zorder=3)
        _draw_limits(axes, agreement)
        named = [0] if number == 1 else outside[:_MAX_NAMED]
        for case in named:
            _name_point(axes, agreement.mean_ml[case], agreement.difference_ml[case], cases[case])
    write_png(path, figure)


def write_png(path: str | os.PathLike[str], figure: Figure) -> None:
    """Writes a figure as PNG, whole or not at all, without date, path or program in it.

    Raises:
        InputError: if the path does not end in .png or cannot be written.
    """
    if pathlib.Path(path).suffix.lower() != ".png":
        raise InputError(f"{path}: expected an output name that ends in .png.")
    with files.replacing(path) as partial:
        # Matplotlib would sign with its version.
        figure.savefig(partial, format="png", metadata={"Software": None})


def jpeg(figure: Figure, width_px: int) -> bytes:
    """A figure as the bytes of a JPEG file: a tenth of a PNG's, for pages with many of them.

    Colours have the resolution of greys, without which thin outlines turn grey.
    """
    figure.set_dpi(width_px / figure.get_figwidth())
    stream = io.BytesIO()
    figure.savefig(stream, format="jpg", pil_kwargs={"quality": 80, "subsampling": 0})
    return stream.getvalue()


def _draw_limits(axes: Axes, agreement: BlandAltman) -> None:
    lower, upper = agreement.limits_ml
    axes.axhline(0, color="0.75", linewidth=1, zorder=0)
    lines = [
        (lower, "−1.96 SD", "--", -1),
        (agreement.bias_ml, "bias", "-", 0),
        (upper, "+1.96 SD", "--", 1),
    ]
    lines = [line for line in lines if not math.isnan(line[0])]
    for level, _, style, _ in lines:
        axes.axhline(level, color="#c0392b", linewidth=1.5, linestyle=style, zorder=1)
    axes.margins(y=0.08)
    bottom, top = axes.get_ylim()
    if top - bottom < 2:  # Differences of microlitres should look like none.
        bottom, top = (bottom + top) / 2 - 1, (bottom + top) / 2 + 1
        axes.set_ylim(bottom, top)
    crowded = upper - lower < 0.15 * (top - bottom)
    for level, name, _, side in lines:
        axes.annotate(
            f"{name}\n{level:+.1f} mL".replace("-", "−"),
            (1, level),
            (8, side * 32 if crowded else 0),
            xycoords=axes.get_yaxis_transform(),
            textcoords="offset points",
            va="center",
            fontsize=12,
            **TEXT,
        )


def _name_point(axes: Axes, mean_ml: float, difference_ml: float, name: str) -> None:
    """Writes a name beside its point, towards the middle of the plot, where there is room."""
    is_left = mean_ml < sum(axes.get_xlim()) / 2
    axes.annotate(
        name,
        (mean_ml, difference_ml),
        (8 if is_left else -8, 0),
        textcoords="offset points",
        ha="left" if is_left else "right",
        va="center",
        fontsize=11,
        **TEXT,
    )
