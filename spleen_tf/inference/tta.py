"""How else a model may be shown a body: scaled, turned, moved a little; and the way back.

What a model finds should not depend on it. Where it does, the model is not sure.
"""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import numpy as np
import numpy.typing as npt


@dataclasses.dataclass(frozen=True)
class View:
    """A body as it is shown, in the plane of its slices.

    Attributes:
        scale: the factor by which it appears larger. This is what a wrong pixel size does to it,
            and costs no resampling beyond the one there is.
        rotation_degrees: about the slice's middle, columns towards rows.
        shift_mm: down its rows and along its columns.
    """

    scale: float = 1.0
    rotation_degrees: float = 0.0
    shift_mm: tuple[float, float] = (0.0, 0.0)

    def show(self, slices_nhw: npt.NDArray[Any], pixel_mm: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Slices turned and moved, not scaled; what comes into view repeats the edge.

        Args:
            slices_nhw: (N, H, W) float32.
            pixel_mm: row and column spacing.
        """
        return self._moved(slices_nhw, pixel_mm, backwards=False, mode="nearest")

    def undo(
        self, probability_nhw: npt.NDArray[Any], pixel_mm: npt.NDArray[Any]
    ) -> npt.NDArray[Any]:
        """What was found in such slices, where it belongs; 0 where they showed nothing."""
        return self._moved(probability_nhw, pixel_mm, backwards=True, mode="constant")

    def _moved(
        self, slices_nhw: npt.NDArray[Any], pixel_mm: npt.NDArray[Any], backwards: bool, mode: str
    ) -> npt.NDArray[Any]:
        if not self.rotation_degrees and not any(self.shift_mm):
            return slices_nhw
        from scipy import ndimage  # Takes a while to import, and few volumes need it.

        angle = math.radians(self.rotation_degrees)
        cos, sin = math.cos(angle), math.sin(angle)
        turn = np.array([[cos, -sin], [sin, cos]])
        # scipy asks where each pixel comes from: in mm from the middle, turn (x - shift) or back.
        shift = np.array(self.shift_mm)
        matrix, offset = (turn.T, shift) if backwards else (turn, -turn @ shift)
        zooms = np.asarray(pixel_mm, float)
        matrix = matrix * zooms / zooms[:, np.newaxis]
        middle = (np.array(slices_nhw.shape[1:]) - 1) / 2
        offset = offset / zooms + middle - matrix @ middle
        moved = np.empty_like(slices_nhw)
        for slice_hw, out_hw in zip(slices_nhw, moved, strict=True):
            ndimage.affine_transform(slice_hw, matrix, offset, output=out_hw, order=1, mode=mode)
        return moved


AS_IS = View()
# Test-time augmentation: these average without blurring, since nothing is resampled once more.
AUGMENTED = (AS_IS, View(scale=0.92), View(scale=1.08))
# A single member has no other to agree with: the masks that it makes of these are compared with its
# result. The shift is a quarter of the 40 mm between two pixels of the deepest level, at 2.5 mm and
# a depth of 4: the levels in between cut the body elsewhere.
OF_SINGLE_MEMBER = (
    View(scale=0.92),
    View(scale=1.08),
    View(rotation_degrees=6.0, shift_mm=(10.0, 10.0)),
)
