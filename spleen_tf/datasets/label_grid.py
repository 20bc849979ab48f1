"""A label on the grid of its image: axes turned back, and rounded headers put up with."""

from __future__ import annotations

import warnings

import numpy as np
from nibabel import orientations
from numpy.typing import NDArray

from spleen_tf.core.files import InputWarning
from spleen_tf.imaging import volume
from spleen_tf.imaging.volume import Placed, VolumeError

# Within this, nearest neighbours on one grid are the same voxels on the other.
_MOST_OFF_VOXELS = 0.5


def on_grid_of(image: Placed, label: Placed) -> Placed:
    """The label with its axes in the image's order and directions.

    Converters turn the axes of a volume over, each in its own way; to a label that was drawn on
    what they made, the same is done backwards. A label that lies off the grid by the rounding of
    its header is taken with an InputWarning.

    Args:
        image, label: two volumes, or the headers of two.

    Raises:
        VolumeError: if the label is on another grid.
    """
    turned = volume.in_order_of(label, image.grid)
    try:
        volume.check_same_grid(image, turned)
    except VolumeError:
        if not _is_same_but_for_rounding(image, label):
            volume.check_same_grid(image, label)  # Its message tells of the file as it is.
            return label
        warnings.warn(
            f"{label.source}: lies off the grid of {image.source} by less than half a voxel or by "
            "rounded voxel sizes; taken voxel by voxel",
            InputWarning,
            stacklevel=4,
        )
    return turned


def _is_same_but_for_rounding(image: Placed, label: Placed) -> bool:
    """Whether a label's voxels are the image's, one by one, in a header with less digits."""
    turned = volume.in_order_of(label, image.grid)
    if turned.shape != image.shape:
        return False
    zooms_mm, coarse_mm = image.grid.zooms_mm, turned.grid.zooms_mm
    sized = turned.affine.copy()
    if any(np.allclose(coarse_mm, np.round(zooms_mm, n), atol=1e-5, rtol=0) for n in (1, 2, 3)):
        sized[:3, :3] *= zooms_mm / coarse_mm
    # Rounded sizes move the far corner; the corner at which a file starts is where it was.
    corner = np.array([*np.where(_is_turned(label, image), np.array(image.shape) - 1, 0), 1.0])
    sized[:3, 3] += (turned.affine @ corner - sized @ corner)[:3]
    return volume.corner_distance_voxels(image.grid, sized) <= _MOST_OFF_VOXELS


def _is_turned(label: Placed, image: Placed) -> NDArray[np.bool_]:
    """(3,) of the image's axes, those along which a label is stored in the other direction."""
    transform = orientations.ornt_transform(
        orientations.io_orientation(label.affine), orientations.io_orientation(image.affine)
    )
    flipped = np.zeros(3, bool)
    flipped[transform[:, 0].astype(int)] = transform[:, 1] < 0
    return flipped
