"""The page of a comparison: the change, and both outlines side by side and over each other."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping

import msgspec
import numpy as np
import numpy.typing as npt
from markupsafe import Markup
from matplotlib.figure import Figure

from spleen_tf.comparison import change as changes
from spleen_tf.comparison import timepoints
from spleen_tf.comparison.aligned import Aligned, align
from spleen_tf.comparison.change import Change
from spleen_tf.imaging import intensity, planes, registration
from spleen_tf.imaging.registration import Rigid
from spleen_tf.imaging.volume import Grid, Volume
from spleen_tf.inference.prediction import PredictionRecord
from spleen_tf.io import readers
from spleen_tf.reporting import page, panels, plots, preview
from spleen_tf.reporting.page import KeyFigure, Notice

_PICTURE_PX = 1000
_Outlines = Mapping[str, npt.NDArray[np.bool_]]


def page_of(change: Change, aligned: Aligned) -> str:
    """The page of one case. Nothing of its name or its files is in it."""
    return page.render("comparison.html", change=_section(change, pictures(aligned)))


def earlier(
    before: str | os.PathLike[str],
    before_image: str | os.PathLike[str] | None,
    after_image: Volume,
    after_mask_ijk: npt.NDArray[np.bool_],
    record: PredictionRecord,
) -> Markup:
    """The part of a prediction's page that compares it with an earlier examination.

    Args:
        before: the earlier mask, or its JSON.
        before_image: its image; None: nothing is registered and drawn.
        after_image, after_mask_ijk, record: of the prediction.

    Raises:
        InputError: if a file cannot be read, or the images cannot be registered.
    """
    earlier_point = timepoints.read(before)
    after_mask = dataclasses.replace(after_image, array_ijk=after_mask_ijk)
    later_point = dataclasses.replace(timepoints.of_mask(after_mask), record=record)
    change = changes.compare("", earlier_point, later_point)
    if before_image is None or earlier_point.mask is None:
        return _section(change, [])
    found = align(readers.read(before_image), earlier_point.mask, after_image, after_mask)
    change = msgspec.structs.replace(change, registration=found.record)
    return _section(change, pictures(found))


def pictures(aligned: Aligned) -> list[tuple[bytes, str]]:
    """JPEG with a caption each: the earlier examination, the later one, and both outlines."""
    before, after = aligned.before, aligned.after
    outlines = {"earlier": aligned.before_mask, "later": aligned.after_mask}
    middle = preview.middle_ijk(aligned.before_mask | aligned.after_mask)
    center_ijk = middle or tuple(n // 2 for n in after.shape)
    moved = _on_planes(before, after.grid, aligned.rigid, center_ijk)
    before_window, after_window = _window(before), _window(after)
    shown = {
        "Earlier, moved onto the later": (moved, ["earlier"], before_window),
        "Later": (after, ["later"], after_window),
        "Both outlines, on the later image": (after, ["earlier", "later"], after_window),
    }
    return [
        (
            plots.jpeg(
                _figure(image, {pen: outlines[pen] for pen in pens}, center_ijk, window),
                _PICTURE_PX,
            ),
            caption,
        )
        for caption, (image, pens, window) in shown.items()
    ]


def _section(change: Change, drawn: list[tuple[bytes, str]]) -> Markup:
    return page.render(
        "change.html", verdict=_verdict(change), figures=_figures(change), pictures=drawn
    )


def _on_planes(moving: Volume, grid: Grid, rigid: Rigid, center_ijk: tuple[int, ...]) -> Volume:
    """The moving volume on a grid, but only in the three slices through a voxel; 0 elsewhere."""
    array_ijk = np.zeros(grid.shape, np.float32)  # Takes memory where it is written to.
    air = float(moving.array_ijk.min())
    for axis, index in enumerate(center_ijk):
        start = np.eye(4)
        start[axis, 3] = index
        shape = tuple(1 if a == axis else n for a, n in enumerate(grid.shape))
        slice_grid = Grid(shape, grid.affine @ start)
        place = tuple(slice(index, index + 1) if a == axis else slice(None) for a in range(3))
        array_ijk[place] = registration.resampled(moving, slice_grid, rigid, air)
    return Volume(array_ijk, grid.affine, moving.source)


def _window(image: Volume) -> tuple[float, float]:
    modality = image.modality or intensity.guessed_modality(image.array_ijk)
    return intensity.default_window(image.array_ijk, modality)


def _figure(
    image: Volume, outlines: _Outlines, center_ijk: tuple[int, ...], window: tuple[float, float]
) -> Figure:
    """Three planes through a voxel, with the outlines of masks by the name of their pen."""
    figure, axes_of = panels.layout(image, center_ijk)
    cuts = preview.multi_planar(image.array_ijk, image.affine, center_ijk)
    for plane, axes in axes_of.items():
        pixel_mm = planes.pixel_mm(image.affine, plane)
        panels.draw_slice(axes, preview.to_grey(cuts[plane], *window), pixel_mm)
        for pen, mask_ijk in outlines.items():
            mask_hw = preview.multi_planar(mask_ijk, image.affine, center_ijk)[plane]
            panels.draw_outline(axes, mask_hw, pixel_mm, pen)
    panels.label_panels(axes_of, image, center_ijk)
    panels.label_page(figure, "", "", list(outlines), "")
    return figure


def _verdict(change: Change) -> Notice:
    verdict = changes.verdict(change)
    lines = (verdict[0].upper() + verdict[1:], *changes.further_notes(change))
    if change.beyond_limits is None:
        return Notice("The change cannot be judged", lines)
    place = "beyond" if change.beyond_limits else "within"
    heading = f"The change is {place} the error of measurement"
    if change.notes:  # The error is that of masks in which nothing is odd.
        return Notice(f"{heading}, if both masks are right", lines, "alert")
    return Notice(heading, lines, "alert" if change.beyond_limits else "calm")


def _figures(change: Change) -> list[KeyFigure]:
    percent = "" if change.change_percent is None else f"{change.change_percent:+.1f}%"
    shown = [
        KeyFigure("Earlier", f"{change.before_ml:.1f} mL", change.before_model or ""),
        KeyFigure("Later", f"{change.after_ml:.1f} mL", change.after_model or ""),
        KeyFigure("Change", f"{change.change_ml:+.1f} mL", percent),
    ]
    if change.limits_ml:
        low, high = change.limits_ml
        shown.append(
            KeyFigure("Limits of agreement", f"{low:+.1f} to {high:+.1f} mL", change.limits_from)
        )
    if moved := change.registration:
        dice = "–" if moved.dice is None else f"{moved.dice:.2f}"
        turn = f"{moved.shift_mm:.1f} mm, {moved.rotation_degrees:.1f}°"
        shown += [
            KeyFigure("Moved by", turn, "the patient between the two images"),
            KeyFigure("Overlap", dice, "Dice of both masks after the registration"),
        ]
    return shown
