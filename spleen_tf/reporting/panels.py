"""The page of a preview: a panel per plane at one scale, with outlines, letters and labels."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from spleen_tf.imaging import planes
from spleen_tf.imaging.volume import Volume
from spleen_tf.reporting.plots import DPI, TEXT

PLANES = ("axial", "coronal", "sagittal")  # The order in which radiologists lay them out.

# Amber and sky blue differ for the colour-blind, too, and both from grey.
PREDICTION_RGB = (255, 176, 0)
TRUTH_RGB = (40, 190, 255)

# Colours and widths in points. The truth is wider, so that both are seen where they coincide.
PENS = {
    "prediction": (PREDICTION_RGB, 1.44),
    "reference": (TRUTH_RGB, 3.2),
    "earlier": (TRUTH_RGB, 3.2),
    "later": (PREDICTION_RGB, 1.44),
}

_WIDTH_PX, _MAX_PANEL_PX, _STRIP_PX, _GAP_PX = 1500, 1000, 46, 12
_FIELD_MM = 500.0  # Of a longer patient, this much is shown around the centre.
_MIN_FIELD_SHARE = 0.4  # A thin slab gets black borders up to this share of the longest side.
_HAIR_GAP = 0.04  # Of a panel's height, on each side of the voxel.
_OBLIQUE = math.sin(math.radians(20))  # From this tilt on, a border has two letters.
_TITLE_CHARACTERS = 80
_SHADE = {"facecolor": "black", "alpha": 0.6, "linewidth": 0, "pad": 2}
_ON_IMAGE = TEXT | {"color": "white", "bbox": _SHADE}


def layout(image: Volume, center_ijk: tuple[int, ...]) -> tuple[Figure, dict[str, Axes]]:
    """A black figure and, by plane, axes in mm from the upper left corner of its slices.

    All have one scale. A side longer than 500 mm is cut to what is around center_ijk.
    """
    extents_mm, fields_mm, centers_mm = {}, {}, {}
    for plane in PLANES:
        extents_mm[plane], centers_mm[plane] = _extent_and_center_mm(image, plane, center_ijk)
    largest_mm = min(_FIELD_MM, max(extent.max() for extent in extents_mm.values()))
    for plane, extent in extents_mm.items():
        fields_mm[plane] = np.clip(extent, _MIN_FIELD_SHARE * largest_mm, largest_mm)
    figure, panels = _empty_panels(fields_mm)
    for plane, axes in panels.items():
        rows, columns = map(_shown, extents_mm[plane], centers_mm[plane], fields_mm[plane])
        axes.set(xlim=columns, ylim=rows[::-1], autoscale_on=False)
    return figure, panels


def draw_slice(axes: Axes, grey_hw: npt.NDArray[Any], pixel_mm: npt.NDArray[Any]) -> None:
    """Draws a slice, (H, W) uint8, whose pixels measure pixel_mm (row, column)."""
    height_mm, width_mm = grey_hw.shape * pixel_mm
    axes.imshow(
        grey_hw,
        cmap="gray",
        vmin=0,
        vmax=255,
        extent=(0, width_mm, height_mm, 0),
        aspect="auto",  # The panel's shape is that of its field in mm.
        interpolation="bilinear",
    )


def draw_outline(
    axes: Axes, mask_hw: npt.NDArray[Any], pixel_mm: npt.NDArray[Any], pen: str
) -> None:
    """Draws the voxel edges of a mask, (H, W) bool, with one of PENS."""
    rgb, points = PENS[pen]
    segments_xy = (voxel_edges(mask_hw) * pixel_mm)[..., ::-1]
    lines = LineCollection(segments_xy, linewidths=points, colors=[_color(rgb)])
    lines.set_capstyle("projecting")  # Closes the corners.
    axes.add_collection(lines, autolim=False)


def voxel_edges(mask_hw: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """The border of a mask as line segments between corners of pixels.

    Args:
        mask_hw: (H, W) bool. Beyond the array is outside.

    Returns:
        (S, 2, 2) int: S segments of length 1, their start and end as row, column. Pixel (r, c)
        has its corners at (r, c) and (r + 1, c + 1).
    """
    padded = np.pad(mask_hw, 1)
    above = np.argwhere(padded[1:, 1:-1] != padded[:-1, 1:-1])
    left = np.argwhere(padded[1:-1, 1:] != padded[1:-1, :-1])
    rightwards = np.stack([above, above + np.array([0, 1])], axis=1)
    downwards = np.stack([left, left + np.array([1, 0])], axis=1)
    return np.concatenate([rightwards, downwards])


def border_letters(affine: npt.NDArray[Any], plane: str) -> tuple[str, str, str, str]:
    """Where the top, bottom, left and right border of a plane's slices lie in the patient.

    Returns:
        One of R, L, A, P, S, I each; two or three, the strongest first, where the plane is
        tilted by more than 20 degrees.
    """
    view = planes.layout_of(affine, plane)
    down, right = (
        affine[:3, axis] * (-1 if flip else 1)
        for axis, flip in zip(view.axes[1:], view.flips[1:], strict=True)
    )
    return _letters(-down), _letters(down), _letters(-right), _letters(right)


def draw_cross_hairs(panels: dict[str, Axes], image: Volume, center_ijk: tuple[int, ...]) -> None:
    """Draws a thin horizontal and vertical line through a voxel, which they leave free."""
    for plane, axes in panels.items():
        _, (row_mm, column_mm) = _extent_and_center_mm(image, plane, center_ijk)
        (left, right), (bottom, top) = axes.get_xlim(), axes.get_ylim()
        gap_mm = _HAIR_GAP * (bottom - top)
        for x, y in (
            *(
                ((left, column_mm - gap_mm), [row_mm] * 2),
                ((column_mm + gap_mm, right), [row_mm] * 2),
            ),
            *(
                ([column_mm] * 2, (top, row_mm - gap_mm)),
                ([column_mm] * 2, (row_mm + gap_mm, bottom)),
            ),
        ):
            # A dark rim, so that it is seen on bone, too.
            axes.plot(x, y, color="black", alpha=0.5, linewidth=2.2)
            axes.plot(x, y, color="white", linewidth=0.8)


def label_panels(panels: dict[str, Axes], image: Volume, center_ijk: tuple[int, ...]) -> None:
    """Plane and position, letters on the borders, and a scale bar, the same in all panels."""
    narrowest_mm = min(np.ptp(axes.get_xlim()) for axes in panels.values())
    for plane, axes in panels.items():
        style = {"transform": axes.transAxes, **_ON_IMAGE}
        # A letter I with serifs: without them it reads as a mere stroke.
        letter = style | {"fontfamily": "DejaVu Sans Mono", "fontsize": 18}
        top, bottom, left, right = border_letters(image.affine, plane)
        axes.text(0.5, 0.985, top, ha="center", va="top", **letter)
        axes.text(0.5, 0.015, bottom, ha="center", va="bottom", **letter)
        axes.text(0.015, 0.5, left, ha="left", va="center", **letter)
        axes.text(0.985, 0.5, right, ha="right", va="center", **letter)
        name = f"{plane}\n{_position(plane, image, center_ijk)}"
        axes.text(0.02, 0.985, name, ha="left", va="top", fontsize=13, **style)
        _draw_scale_bar(axes, _round_length_mm(narrowest_mm / 4))


def label_page(figure: Figure, title: str, verdict: str, pens: list[str], notes: str) -> None:
    """Title and verdict above the panels, a legend of pens and notes below."""
    margin, strip = 1.5 * _GAP_PX / _WIDTH_PX, _STRIP_PX / (figure.get_figheight() * DPI)
    top, bottom = 1 - strip / 2, strip / 2
    style = {"va": "center_baseline", "color": "white", **TEXT}
    title = " ".join(title.split())
    if len(title) > _TITLE_CHARACTERS:
        title = title[: _TITLE_CHARACTERS - 1] + "…"
    figure.text(margin, top, title, fontsize=16, **style)
    alert = style | {"color": _color(PREDICTION_RGB)}
    figure.text(1 - margin, top, verdict, ha="right", fontsize=18, **alert)
    figure.text(1 - margin, bottom, notes, ha="right", fontsize=15, **style)
    for place, pen in enumerate(pens):
        left = margin + place * 0.14
        rgb, points = PENS[pen]
        ends = [left, left + 0.025], [bottom, bottom]
        figure.add_artist(Line2D(*ends, color=_color(rgb), linewidth=points))
        figure.text(left + 0.032, bottom, pen, fontsize=15, **style)


def _extent_and_center_mm(
    image: Volume, plane: str, center_ijk: tuple[int, ...]
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Of a plane's slices: (height, width), and (row, column) of a voxel's centre, in mm."""
    view = planes.layout_of(image.affine, plane)
    axes_hw, flips = list(view.axes[1:]), view.flips[1:]
    shape, center = np.take(image.shape, axes_hw), np.take(center_ijk, axes_hw)
    pixel_mm = planes.pixel_mm(image.affine, plane)
    return shape * pixel_mm, (np.where(flips, shape - 1 - center, center) + 0.5) * pixel_mm


def _empty_panels(fields_mm: dict[str, npt.NDArray[Any]]) -> tuple[Figure, dict[str, Axes]]:
    """A figure with axes side by side, in the proportions of (height, width) fields."""
    tallest_mm = max(height for height, _ in fields_mm.values())
    all_wide_mm = sum(width for _, width in fields_mm.values())
    room_px = _WIDTH_PX - _GAP_PX * (len(fields_mm) + 1)
    px_per_mm = min(room_px / all_wide_mm, _MAX_PANEL_PX / tallest_mm)
    height_px = round(tallest_mm * px_per_mm) + 2 * _STRIP_PX
    figure = Figure((_WIDTH_PX / DPI, height_px / DPI), dpi=DPI, facecolor="black")
    panels = {}
    left = (_WIDTH_PX - all_wide_mm * px_per_mm - _GAP_PX * (len(fields_mm) - 1)) / 2
    for plane, field_mm in fields_mm.items():
        height, width = field_mm * px_per_mm
        bottom = (height_px - height) / 2
        box = (left / _WIDTH_PX, bottom / height_px, width / _WIDTH_PX, height / height_px)
        panels[plane] = figure.add_axes(box)
        panels[plane].set_axis_off()
        left += width + _GAP_PX
    return figure, panels


def _shown(extent_mm: float, center_mm: float, field_mm: float) -> tuple[float, float]:
    """The part of a side that a panel shows: all, in its middle, or what is around the centre."""
    if extent_mm <= field_mm:
        start = (extent_mm - field_mm) / 2
    else:
        start = min(max(center_mm - field_mm / 2, 0), extent_mm - field_mm)
    return start, start + field_mm


def _position(plane: str, image: Volume, center_ijk: tuple[int, ...]) -> str:
    """Where a plane cuts: the RAS coordinate of its centre, as viewers show it."""
    world_axis = {"sagittal": 0, "coronal": 1, "axial": 2}[plane]
    at_mm = (image.affine @ (*center_ijk, 1))[world_axis]
    return f"{('RAS' if at_mm >= 0 else 'LPI')[world_axis]} {abs(at_mm):.0f} mm"


def _letters(direction: npt.NDArray[Any]) -> str:
    cosines = direction / np.linalg.norm(direction)
    strongest_first = np.argsort(-np.abs(cosines))
    return "".join(
        ("RAS" if cosines[axis] > 0 else "LPI")[axis]
        for axis in strongest_first
        if abs(cosines[axis]) > _OBLIQUE
    )


def _round_length_mm(limit_mm: float) -> float:
    """The longest of …, 0.5, 1, 2, 5, 10, 20, … mm within a limit."""
    decade = 10.0 ** math.floor(math.log10(limit_mm))
    return max(n * decade for n in (1, 2, 5) if n * decade <= limit_mm)


def _draw_scale_bar(axes: Axes, length_mm: float) -> None:
    (left, right), (bottom, _) = axes.get_xlim(), axes.get_ylim()
    width_mm = right - left
    end, level = right - 0.03 * width_mm, bottom - 0.035 * width_mm
    axes.plot([end - length_mm, end], [level] * 2, "k", linewidth=5)
    axes.plot([end - length_mm, end], [level] * 2, "w", linewidth=2.5)
    middle, above = end - length_mm / 2, level - 0.015 * width_mm
    style = {"ha": "center", "va": "bottom", "fontsize": 13, **_ON_IMAGE}
    axes.text(middle, above, f"{length_mm:g} mm", **style)


def _color(rgb: tuple[int, int, int]) -> tuple[float, float, float]:
    return rgb[0] / 255, rgb[1] / 255, rgb[2] / 255
