"""Two examinations on one grid: the earlier image and its mask, moved onto the later image."""

from __future__ import annotations

import dataclasses
import math
import os

import numpy as np
import numpy.typing as npt

from spleen_tf.comparison.change import Registration
from spleen_tf.core.files import InputError
from spleen_tf.evaluation import metrics
from spleen_tf.imaging import registration, volume
from spleen_tf.imaging.registration import Rigid
from spleen_tf.imaging.volume import Volume
from spleen_tf.io import nifti, readers


@dataclasses.dataclass(frozen=True, eq=False)
class Aligned:
    """Two examinations of one patient.

    Attributes:
        before, after: the images, each on its own grid.
        before_mask, after_mask: (I, J, K) bool, both on the grid of the later image.
        rigid: from the later to the earlier image.
    """

    before: Volume
    after: Volume
    before_mask: npt.NDArray[np.bool_]
    after_mask: npt.NDArray[np.bool_]
    rigid: Rigid

    @property
    def record(self) -> Registration:
        """What a comparison says of it."""
        dice = metrics.dice(self.after_mask, self.before_mask)
        return Registration(
            rotation_degrees=self.rigid.rotation_degrees,
            shift_mm=self.rigid.shift_mm,
            dice=None if math.isnan(dice) else dice,
        )


def align(before: Volume, before_mask: Volume, after: Volume, after_mask: Volume) -> Aligned:
    """Registers two images, from the centroids of their masks on.

    Args:
        before, after: the images.
        before_mask, after_mask: bool, each on the grid of its image; axes may run otherwise.

    Raises:
        InputError: if a mask is not on the grid of its image, or the images cannot be registered.
    """
    before_mask = on_grid_of(before, before_mask)
    after_mask = on_grid_of(after, after_mask)
    after_mm, before_mm = map(registration.centroid_ras_mm, (after_mask, before_mask))
    rigid = registration.register(after, before, after_mm, before_mm)
    moved = registration.resampled_mask(before_mask, after.grid, rigid)
    return Aligned(before, after, moved, after_mask.array_ijk, rigid)


def check_files(mask: str | os.PathLike[str], image: str | os.PathLike[str]) -> None:
    """Raises InputError where a mask and its image, by their headers, cannot be aligned."""
    registration.check_installed()
    if not nifti.is_nifti(mask):
        raise InputError(
            f"{mask}: expected a mask (.nii.gz, .nii) where its image is given, found another file."
        )
    geometry = readers.read_geometry(image)
    volume.check_same_grid(geometry, volume.in_order_of(nifti.read_geometry(mask), geometry.grid))


def on_grid_of(image: Volume, mask: Volume) -> Volume:
    """The mask with its axes as those of its image; raises VolumeError if the grids differ."""
    mask = volume.in_order_of(mask, image.grid)
    volume.check_same_grid(image, mask)
    return mask
