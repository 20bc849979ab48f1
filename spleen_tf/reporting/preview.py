"""Pictures of volumes: slices of three planes through a place, with outlines."""

from __future__ import annotations

import math
import os
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from spleen_tf.core.files import InputError
from spleen_tf.imaging import intensity, planes
from spleen_tf.imaging.volume import Geometry, Volume, VolumeError
from spleen_tf.reporting import panels
from spleen_tf.reporting.plots import write_png


def preview(
    path: str | os.PathLike[str], image: Volume, mask_ijk: npt.NDArray[Any], **options: Any
) -> None:
    """Writes what `draw` makes of the same arguments as PNG.

    Nothing of image.source, no date and no program's name gets into the file.

    Raises:
        InputError: likewise, or if the path does not end in .png or cannot be written.
    """
    write_png(path, draw(image, mask_ijk, **options))


def draw(
    image: Volume,
    mask_ijk: npt.NDArray[Any],
    *,
    window: tuple[float, float] | None = None,
    modality: str,
    title: str = "",
    truth_ijk: npt.NDArray[Any] | None = None,
    center_ijk: tuple[int, ...] | None = None,
) -> Figure:
    """The axial, coronal and sagittal slice through the middle of a mask, or through one voxel.

    The planes share one scale and are in the radiologist's view. Outlines follow the edges of
    voxels; where prediction and truth coincide, the truth shows as a rim on both sides.

    Args:
        image: the volume; its voxels are not copied.
        mask_ijk: (I, J, K), nonzero inside. If it is empty, the picture says so, and shows the
            middle of the truth or, without one, of the volume.
        window: the lowest and the highest value of the grey scale, in the volume's units. By
            default intensity.CT_HU for CT, else intensity.MR_PERCENTILES of the volume.
        modality: 'CT' or 'MR'; printed beside the window's level (L) and width (W).
        title: a line of text above the planes.
        truth_ijk: (I, J, K), nonzero inside: a second outline, and a legend.
        center_ijk: the voxel to show instead of the middle; cross-hairs meet in it, and its
            indices stand below the planes.

    Raises:
        InputError: if a mask has another shape than the image, if the window is not (low, high),
            or if there is no such voxel.
    """
    masks = {"prediction": mask_ijk} | ({} if truth_ijk is None else {"reference": truth_ijk})
    for name, array_ijk in masks.items():
        if array_ijk.shape != image.shape:
            raise VolumeError(
                f"{image.source}: expected a {name} of its shape {image.shape}, found "
                f"{array_ijk.shape}."
            )
    low, high = intensity.default_window(image.array_ijk, modality) if window is None else window
    if not low < high:
        raise InputError(
            f"{image.source}: expected a window with low < high, found {low:g} and {high:g}."
        )
    is_asked_for = center_ijk is not None
    middles = [middle_ijk(array_ijk) for array_ijk in masks.values()]
    if center_ijk is None:
        center_ijk = next((m for m in middles if m), tuple(n // 2 for n in image.shape))
    check_voxel(image, center_ijk)
    cuts = multi_planar(image.array_ijk, image.affine, center_ijk)
    outlines = {name: multi_planar(m, image.affine, center_ijk) for name, m in masks.items()}
    figure, axes_of = panels.layout(image, center_ijk)
    for plane, axes in axes_of.items():
        pixel_mm = planes.pixel_mm(image.affine, plane)
        panels.draw_slice(axes, to_grey(cuts[plane], low, high), pixel_mm)
        for name in reversed(outlines):  # The prediction above the truth.
            panels.draw_outline(axes, outlines[name][plane] != 0, pixel_mm, name)
    if is_asked_for:
        panels.draw_cross_hairs(axes_of, image, center_ijk)
    panels.label_panels(axes_of, image, center_ijk)
    voxel = f"voxel {','.join(map(str, center_ijk))}   " if is_asked_for else ""
    notes = f"{voxel}{modality}   {_level_width(low, high)}"
    verdict = "" if middles[0] else "no spleen found"
    legend = [] if truth_ijk is None else list(masks)
    panels.label_page(figure, title, verdict, legend, notes)
    return figure


def multi_planar(
    array_ijk: npt.NDArray[Any], affine: npt.NDArray[Any], center_ijk: tuple[int, ...]
) -> dict[str, npt.NDArray[Any]]:
    """The slices of all planes through one voxel, in the radiologist's view.

    Args:
        array_ijk: (I, J, K), any dtype.
        affine: (4, 4), ijk to RAS+ mm.
        center_ijk: the voxel.

    Returns:
        By plane, (H, W): views of the array, whose pixels measure planes.pixel_mm.
    """
    cuts = {}
    for plane in panels.PLANES:
        slices_nhw = planes.split(array_ijk, affine, plane)
        stored = center_ijk[planes.layout_of(affine, plane).axes[0]]
        cuts[plane] = slices_nhw[planes.stored_index(stored, len(slices_nhw), affine, plane)]
    return cuts


def check_voxel(image: Volume | Geometry, voxel_ijk: tuple[int, ...]) -> None:
    """Raises VolumeError unless a volume has a voxel of these indices, counted from 0."""
    inside = [0 <= index < n for index, n in zip(voxel_ijk, image.shape, strict=True)]
    if not all(inside):
        axis = inside.index(False)
        raise VolumeError(
            f"{image.source}: expected a voxel with {'ijk'[axis]} from 0 to "
            f"{image.shape[axis] - 1}, found {','.join(map(str, voxel_ijk))}."
        )


def middle_ijk(mask_ijk: npt.NDArray[Any]) -> tuple[int, ...] | None:
    """The indices nearest a mask's centroid whose slices hold some of the mask.

    Args:
        mask_ijk: (I, J, K), nonzero inside.

    Returns:
        (i, j, k), each chosen by itself: the voxel may be outside of a mask that is not convex,
        but none of the three slices through it is empty. None for an empty mask.
    """
    # Slab by slab along the slowest axis: no temporary of the volume's size.
    slowest = int(np.argmax(np.abs(mask_ijk.strides)))
    counts = [np.zeros(n, np.int64) for n in mask_ijk.shape]
    first, second = (counts[axis] for axis in range(3) if axis != slowest)
    for index, slab in enumerate(np.moveaxis(mask_ijk, slowest, 0)):
        if slab.any():
            inside = slab != 0
            counts[slowest][index] = inside.sum()
            first += inside.sum(axis=1)
            second += inside.sum(axis=0)
    if not counts[slowest].any():
        return None
    middle = []
    for count in counts:
        held = np.flatnonzero(count)
        centroid = (held * count[held]).sum() / count.sum()
        middle.append(int(held[np.abs(held - centroid).argmin()]))
    return tuple(middle)


def to_grey(image_hw: npt.NDArray[Any], low: float, high: float) -> npt.NDArray[np.uint8]:
    """(H, W) values to uint8: low and less become 0, high and more 255."""
    fraction = (image_hw.astype(np.float32) - low) / (high - low)
    grey: npt.NDArray[np.uint8] = np.rint(255 * np.clip(fraction, 0, 1)).astype(np.uint8)
    return grey


def _level_width(low: float, high: float) -> str:
    """A window as radiologists name it, with three significant digits of its width."""
    digits = max(0, 2 - math.floor(math.log10(high - low)))
    return f"L {(low + high) / 2:.{digits}f} W {high - low:.{digits}f}"
