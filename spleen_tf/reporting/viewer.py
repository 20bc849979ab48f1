"""A volume and its mask in three planes, as a part of a page: sliders, overlay, window."""

from __future__ import annotations

import base64
import dataclasses
import io
import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from markupsafe import Markup
from PIL import Image

from spleen_tf.imaging import intensity, planes
from spleen_tf.imaging.volume import Volume
from spleen_tf.reporting import page, panels, preview

# A plane with a longer side is shown at a half, a third, … of its resolution. So are slices, where
# there are more voxels: the page would have more than about 30 MB, and a browser no room.
_MOST_PIXELS_PER_SIDE = 1024
_MOST_VOXELS = 512 * 512 * 256
_CODES = 256
# Of the codes for grey values, those within twice the window; the others stand for what is beyond.
_CODES_AROUND_WINDOW = 208
# Level and width as radiologists know them.
_PRESETS_HU = {
    "soft tissue": (40.0, 400.0),
    "liver and spleen": (100.0, 200.0),
    "lung": (-600.0, 1500.0),
}


@dataclasses.dataclass(frozen=True)
class _Stack:
    """Axial slices at the resolution that is shown: codes, what they stand for, and the mask."""

    codes_nhw: npt.NDArray[Any]
    values: npt.NDArray[Any]
    mask_nhw: npt.NDArray[Any]
    mm: tuple[float, float, float]
    factors: tuple[int, int, int]


class _Slider(NamedTuple):
    """A control of the window, in the volume's units."""

    name: str
    low: float
    high: float
    step: float
    value: float


def viewer(
    image: Volume,
    mask_ijk: npt.NDArray[Any],
    window: tuple[float, float] | None,
    modality: str,
) -> tuple[Markup, Markup]:
    """The part of a page, and the script that runs it; `scripts` has what that calls.

    Args:
        image: the volume.
        mask_ijk: (I, J, K) bool.
        window: the grey scale's ends to begin with, in the volume's units; None: as `preview.draw`
            has them.
        modality: 'CT' or 'MR'.

    Returns:
        HTML, and JavaScript to be run after it and after `scripts`.
    """
    window = window or intensity.default_window(image.array_ijk, modality)
    center_ijk = preview.middle_ijk(mask_ijk) or tuple(size // 2 for size in image.shape)
    stack = _stack(image, mask_ijk, window)
    ends = float(stack.values[0]), float(stack.values[-1])
    content = {
        "shape": list(stack.codes_nhw.shape),
        "mm": list(stack.mm),
        "values": [round(float(value), 3) for value in stack.values],
        "images": [_png(codes_hw) for codes_hw in stack.codes_nhw],
        "masks": [_png(255 * m.astype(np.uint8)) if m.any() else None for m in stack.mask_nhw],
        "center": _place(image, center_ijk, stack),
        "stored": _stored(image, stack),
        "letters": {plane: panels.border_letters(image.affine, plane) for plane in panels.PLANES},
    }
    count, height, width = stack.codes_nhw.shape
    element = page.render(
        "viewer.html",
        lengths={"axial": count, "coronal": height, "sagittal": width},
        unit=" (HU)" if modality == "CT" else "",
        sliders=_sliders(window, ends, modality),
        presets={
            "as it was": ((window[0] + window[1]) / 2, window[1] - window[0]),
            **(_PRESETS_HU if modality == "CT" else {}),
        },
        factors=stack.factors,
    )
    opening = Markup('openViewer(document.getElementById("viewer"), {});')
    return element, opening.format(page.script_json(content))


def scripts() -> Markup:
    """The JavaScript of all viewers on a page."""
    names = ("viewer_volume.js", "viewer_plane.js", "viewer.js")
    return Markup("\n").join(page.asset(name) for name in names)


def _stack(image: Volume, mask_ijk: npt.NDArray[Any], window: tuple[float, float]) -> _Stack:
    slices_nhw = planes.split(image.array_ijk, image.affine, "axial")
    mask_nhw = planes.split(mask_ijk, image.affine, "axial")
    count, height, width = slices_nhw.shape
    f = math.ceil(max(height, width) / _MOST_PIXELS_PER_SIDE)  # Pixels keep their shape.
    n = math.ceil(count * height * width / f**2 / _MOST_VOXELS)
    factors = (n, f, f)
    values = _values(float(image.array_ijk.min()), float(image.array_ijk.max()), window)
    borders = (values[1:] + values[:-1]) / 2
    codes, inside = [], []
    for first in range(0, len(slices_nhw), n):
        slab = slice(first, first + n)
        means_hw = _block_means(slices_nhw[slab], factors)
        codes.append(np.searchsorted(borders, means_hw).astype(np.uint8))
        inside.append(_block_means(mask_nhw[slab], factors) >= 0.5)
    row_mm, column_mm = planes.pixel_mm(image.affine, "axial")
    slice_mm = planes.slice_mm(image.affine, "axial")
    mm = (slice_mm * factors[0], float(row_mm) * factors[1], float(column_mm) * factors[2])
    return _Stack(np.stack(codes), values, np.stack(inside), mm, factors)


def _block_means(slab_nhw: npt.NDArray[Any], factors: tuple[int, int, int]) -> npt.NDArray[Any]:
    """(N, H, W) to (ceil(H/f), ceil(W/f)): means over all slices and f×f pixels; edges repeat."""
    _, rows, columns = factors
    mean_hw = slab_nhw.mean(axis=0, dtype=np.float32)
    height, width = mean_hw.shape
    padded = np.pad(mean_hw, ((0, -height % rows), (0, -width % columns)), "edge")
    blocks = padded.reshape(padded.shape[0] // rows, rows, padded.shape[1] // columns, columns)
    means_hw: npt.NDArray[np.float32] = blocks.mean(axis=(1, 3))
    return means_hw


def _values(lowest: float, highest: float, window: tuple[float, float]) -> npt.NDArray[Any]:
    """(256,) float64, ascending: what each code stands for; most lie in and around the window."""
    low, high = window
    margin = (high - low) / 2
    near = np.linspace(low - margin, high + margin, _CODES_AROUND_WINDOW)
    below = max(0.0, near[0] - lowest)
    above = max(0.0, highest - near[-1])
    rest = _CODES - _CODES_AROUND_WINDOW
    few = round(rest * below / (below + above)) if below + above else rest // 2
    step = near[1] - near[0]
    down = near[0] - max(below, step) * np.linspace(1, 0, few, endpoint=False)
    up = near[-1] + max(above, step) * np.linspace(1, 0, rest - few, endpoint=False)[::-1]
    return np.concatenate([down, near, up])


def _place(image: Volume, center_ijk: tuple[int, ...], stack: _Stack) -> list[int]:
    """The pixel of the stack, as slice, row, column, that holds a voxel."""
    view = planes.layout_of(image.affine, "axial")
    place = []
    for axis, flip, factor in zip(view.axes, view.flips, stack.factors, strict=True):
        index = center_ijk[axis]
        place.append((image.shape[axis] - 1 - index if flip else index) // factor)
    return place


def _stored(image: Volume, stack: _Stack) -> dict[str, list[object]]:
    """What leads from a place in the stack to the voxel in the file, and on to the patient."""
    view = planes.layout_of(image.affine, "axial")
    return {
        "axes": list(view.axes),
        "flips": list(view.flips),
        "factors": list(stack.factors),
        "shape": list(image.shape),
        "affine": image.affine[:3].round(6).tolist(),
    }


def _png(grey_hw: npt.NDArray[Any]) -> str:
    """A PNG in base64."""
    stream = io.BytesIO()
    Image.fromarray(grey_hw).save(stream, "PNG")
    return base64.b64encode(stream.getvalue()).decode()


def _sliders(
    window: tuple[float, float], ends: tuple[float, float], modality: str
) -> list[_Slider]:
    """Level and width, at the window, reaching over all values."""
    level, width = (window[0] + window[1]) / 2, window[1] - window[0]
    span = ends[1] - ends[0]
    # Hounsfield units are whole; those of MR may be of any size.
    step = 1.0 if modality == "CT" else 10.0 ** math.floor(math.log10(max(span, 1e-6)) - 2)
    low, high = math.floor(ends[0] / step) * step, math.ceil(ends[1] / step) * step
    return [
        _Slider("level", low, high, step, level),
        _Slider("width", step, span, step, width),
    ]
