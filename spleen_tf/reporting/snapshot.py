"""The picture of a prediction for viewers that show no segmentation: planes, figures, a warning."""

from __future__ import annotations

import io
import textwrap
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from spleen_tf.imaging.volume import Volume
from spleen_tf.inference.prediction import Prediction, PredictionRecord
from spleen_tf.reporting import panels, preview
from spleen_tf.reporting.plots import DPI, TEXT

NOTICE = "RESEARCH ONLY: found automatically, not for diagnosis"

_LINE_PX, _MARGIN_PX, _BANNER_PX = 30, 18, 44
_LINE_CHARACTERS = 130
_AMBER = "#{:02x}{:02x}{:02x}".format(*panels.PREDICTION_RGB)


def draw(
    image: Volume,
    prediction: Prediction,
    *,
    window: tuple[float, float] | None,
    modality: str,
) -> npt.NDArray[np.uint8]:
    """Draws three planes through the spleen with its outline, above its figures.

    Args:
        image: the volume.
        prediction: of the volume.
        window, modality: as in `preview.draw`.

    Returns:
        (H, W, 3) uint8, RGB. Nothing of image.source is in it.
    """
    planes = preview.draw(image, prediction.mask_ijk, window=window, modality=modality)
    planes_hwc = _pixels(planes)
    width_px = planes_hwc.shape[1]
    banner = _strip([NOTICE], width_px, _BANNER_PX, background=_AMBER, color="black", weight="bold")
    record = prediction.record
    figures = _strip(figure_lines(record, prediction.family), width_px)
    parts = [banner, planes_hwc, figures]
    if record.reasons:
        parts.append(
            _strip(_wrapped(f"REVIEW: {'; '.join(record.reasons)}"), width_px, color=_AMBER)
        )
    return np.concatenate(parts)


def figure_lines(record: PredictionRecord, family: str) -> list[str]:
    """What stands below the planes: measures, models, versions."""
    volume = f"Spleen: {record.volume_ml:.1f} mL" if record.voxels else "Spleen: none found"
    if interval_ml := record.volume_ml_interval:
        volume += f" (90% interval {interval_ml[0]:.1f} to {interval_ml[1]:.1f} mL)"
    if record.complete is False:
        volume += ", at least: cut off by the edge of the volume"
    lines = [volume]
    if record.length_mm is not None:
        lines.append(
            f"length {record.length_mm:.0f} mm, width {record.width_mm:.0f} mm, thickness "
            f"{record.thickness_mm:.0f} mm, splenic index {record.splenic_index_ml:.0f} mL"
        )
    return [*lines, *_wrapped(f"{family} {record.version}, {record.software}")]


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, _LINE_CHARACTERS)


def _strip(
    lines: Sequence[str],
    width_px: int,
    line_px: int = _LINE_PX,
    *,
    background: str = "black",
    color: str = "white",
    weight: str = "normal",
) -> npt.NDArray[np.uint8]:
    """Lines of text, (H, width_px, 3) uint8."""
    height_px = line_px * len(lines)
    figure = Figure((width_px / DPI, height_px / DPI), dpi=DPI, facecolor=background)
    for row, line in enumerate(lines):
        figure.text(
            _MARGIN_PX / width_px,
            1 - (row + 0.5) * line_px / height_px,
            line,
            va="center_baseline",
            color=color,
            fontsize=15,
            fontweight=weight,
            **TEXT,
        )
    return _pixels(figure)


def _pixels(figure: Figure) -> npt.NDArray[np.uint8]:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="rgba", dpi=DPI)
    width_px, height_px = figure.canvas.get_width_height()
    rgba_hwc = np.frombuffer(buffer.getvalue(), np.uint8).reshape(height_px, width_px, 4)
    return rgba_hwc[..., :3].copy()
