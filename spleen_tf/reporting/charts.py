"""Interactive plots for pages."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from plotly import graph_objects as go

from spleen_tf.evaluation.agreement import BlandAltman
from spleen_tf.io.mesh import Mesh

_BLUE, _AMBER, _RED, _GREY = "#1f5fa8", "#e09a00", "#c0392b", "#8a94a0"

_BINS = 100


def surface(mesh: Mesh) -> go.Figure:
    """A surface that can be turned, seen from in front of the patient."""
    x, y, z = np.round(mesh.vertices_ras_mm.T.astype(float), 1)
    i, j, k = mesh.faces.T
    shape = go.Mesh3d(
        x=x.tolist(),
        y=y.tolist(),
        z=z.tolist(),
        i=i.tolist(),
        j=j.tolist(),
        k=k.tolist(),
        color="#a8433a",
        flatshading=False,
        hoverinfo="skip",
        lighting={"ambient": 0.45, "diffuse": 0.8, "specular": 0.15, "roughness": 0.7},
        lightposition={"x": 500, "y": 1500, "z": 800},
    )
    names = {"xaxis": "left – right", "yaxis": "posterior – anterior", "zaxis": "foot – head"}
    low_mm, high_mm = mesh.vertices_ras_mm.min(axis=0), mesh.vertices_ras_mm.max(axis=0)
    # The longest side is 1: "data" would make the product 1, and a long organ leave the frame.
    sides = (high_mm - low_mm) / (high_mm - low_mm).max()
    figure = go.Figure(shape)
    figure.update_layout(
        margin={"l": 0, "r": 0, "t": 0, "b": 0},
        scene={
            "aspectmode": "manual",
            "aspectratio": dict(zip("xyz", sides.tolist(), strict=True)),
            "camera": {"eye": {"x": -0.6, "y": 2.1, "z": 0.45}, "center": {"z": -0.1}},
            **{
                axis: {"title": {"text": f"{name} (mm)"}, "range": [float(low), float(high)]}
                for (axis, name), low, high in zip(names.items(), low_mm, high_mm, strict=True)
            },
        },
    )
    return figure


def bland_altman(agreement: BlandAltman, cases: Sequence[str]) -> go.Figure:
    """Difference against mean of two measurements of volume, with bias and 95% limits."""
    figure = go.Figure(
        go.Scatter(
            x=agreement.mean_ml.tolist(),
            y=agreement.difference_ml.tolist(),
            text=list(cases),
            mode="markers",
            marker={"size": 10, "color": _BLUE},
            hovertemplate="%{text}: mean %{x:.1f} mL, difference %{y:+.1f} mL<extra></extra>",
        )
    )
    lower, upper = agreement.limits_ml
    lines = {"bias": agreement.bias_ml, "−1.96 SD": lower, "+1.96 SD": upper}
    for name, level_ml in lines.items():
        if not math.isnan(level_ml):
            figure.add_hline(
                level_ml,
                line={"color": _RED, "dash": "solid" if name == "bias" else "dash"},
                annotation_text=f"{name} {level_ml:+.1f} mL",
            )
    return _laid_out(figure, "mean of reference and prediction (mL)", "prediction − reference (mL)")


def scores(cases: Sequence[str], by_measure: Mapping[str, Sequence[float]]) -> go.Figure:
    """A line of dots per case, one of each measure between 0 and 1, in the order given.

    Args:
        cases: (N,) names; the first is drawn on top.
        by_measure: by the name of a measure, (N,) values; NaN is left out.
    """
    figure = go.Figure()
    for (name, values), color in zip(by_measure.items(), (_BLUE, _AMBER, _GREY), strict=False):
        figure.add_scatter(
            x=[None if math.isnan(value) else value for value in values],
            y=list(cases),
            mode="markers",
            name=name,
            marker={"size": 10, "color": color},
            hovertemplate=f"%{{y}}: {name} %{{x:.3f}}<extra></extra>",
        )
    figure.update_yaxes(autorange="reversed", type="category", automargin=True)
    figure.update_xaxes(range=[-0.02, 1.02])
    figure.update_layout(height=max(320, 80 + 22 * len(cases)))
    return _laid_out(figure, "overlap with the reference", "")


def histogram(values: Mapping[str, npt.NDArray[Any]], title: str) -> go.Figure:
    """Shares of voxels by intensity, an outline for each name, on common bins.

    Args:
        values: by name, (n,) intensities; empty ones are left out. Peaks of the first may leave
            the frame.
        title: of the axis of intensities.
    """
    filled = {name: array for name, array in values.items() if len(array)}
    every = np.concatenate(list(filled.values())) if filled else np.zeros(1)
    low, high = np.percentile(every, (0.1, 99.9))
    edges = np.linspace(low, high if high > low else low + 1, _BINS + 1)
    figure = go.Figure()
    highest = 0.0
    for (name, array), color in zip(filled.items(), (_GREY, _AMBER, _BLUE), strict=False):
        counts, _ = np.histogram(np.clip(array, edges[0], edges[-1]), edges)
        percent = 100 * counts / counts.sum()
        # Air and padding, in a bin or two, would flatten all that is of interest.
        is_background = name == next(iter(filled)) and len(filled) > 1
        top = np.percentile(percent, 100 - 200 / _BINS) if is_background else percent.max()
        highest = max(highest, float(top))
        figure.add_scatter(
            x=((edges[1:] + edges[:-1]) / 2).round(4).tolist(),
            y=percent.round(4).tolist(),
            name=name,
            mode="lines",
            line={"shape": "hvh", "color": color},
            fill="tozeroy",
            hovertemplate="%{x:.4g}: %{y:.2f}%<extra>" + name + "</extra>",
        )
    figure.update_yaxes(range=[0, 1.2 * highest or 1])
    return _laid_out(figure, title, "voxels (%)")


def volumes(
    cases: Sequence[str], volumes_ml: Sequence[float], outlier: Sequence[bool]
) -> go.Figure:
    """A bar per case, the smallest first; outliers in red."""
    order = np.argsort(volumes_ml, kind="stable")
    figure = go.Figure(
        go.Bar(
            x=[cases[index] for index in order],
            y=[volumes_ml[index] for index in order],
            marker={"color": [_RED if outlier[index] else _BLUE for index in order]},
            hovertemplate="%{x}: %{y:.1f} mL<extra></extra>",
        )
    )
    if len(volumes_ml):
        median = float(np.median(volumes_ml))
        figure.add_hline(
            median,
            line={"color": _GREY, "dash": "dash"},
            annotation_text="median",
            annotation_position="top left",
        )
    figure.update_xaxes(type="category")
    return _laid_out(figure, "", "spleen (mL)")


def _laid_out(figure: go.Figure, x_title: str, y_title: str) -> go.Figure:
    figure.update_layout(
        template="plotly_white",
        margin={"l": 60, "r": 20, "t": 20, "b": 60},
        legend={"orientation": "h", "y": 1.08},
        font={"size": 13},
    )
    figure.update_xaxes(title_text=x_title)
    figure.update_yaxes(title_text=y_title)
    return figure
