"""The surroundings of an organ: what the finer networks of a family see, in training and after."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from spleen_tf.imaging.volume import Grid, Volume

# Around the organ, as it is shown: what tells where it ends, and room for a box that is not exact.
MARGIN_MM = 60.0
# Networks learn on more, of which training takes crops: a box need not be exact.
TRAINING_MARGIN_MM = 75.0
# A longer organ is shown smaller, so that networks that learnt usual ones know it.
LONGEST_MM = 160.0

Box = tuple[slice, ...]  # First voxel and the one after the last, along i, j, k.


@dataclasses.dataclass(frozen=True)
class Region:
    """A box of voxels around an organ.

    Attributes:
        box: of the volume.
        shrink: by which the organ is shown smaller, above 0 and at most 1; lengths in the crop are
            those of the body times this.
    """

    box: Box
    shrink: float = 1.0

    def crop(self, image: Volume) -> Volume:
        """The part of a volume in the box, a view of its array; it has no header of its own."""
        starts = [side.start for side in self.box]
        affine = image.affine.copy()
        affine[:3, 3] = (image.affine @ [*starts, 1.0])[:3]
        affine[:3, :3] *= self.shrink
        return dataclasses.replace(
            image, array_ijk=image.array_ijk[self.box], affine=affine, header=None
        )

    def is_cut_by(self, box: Box, shape: tuple[int, ...]) -> bool:
        """Whether something that fills `box`, counted within the region, may go on beyond it.

        Args:
            box: of what was found in the crop.
            shape: of the whole volume, beyond whose edge there is nothing.
        """
        return any(
            (inner.start == 0 and outer.start > 0)
            or (inner.stop == outer.stop - outer.start and outer.stop < size)
            for inner, outer, size in zip(box, self.box, shape, strict=True)
        )

    def to_volume(self, box: Box) -> Box:
        """A box within the region as one of the whole volume."""
        return tuple(
            slice(outer.start + inner.start, outer.start + inner.stop)
            for inner, outer in zip(box, self.box, strict=True)
        )


def around(box: Box, grid: Grid, margin_mm: float = MARGIN_MM) -> Region:
    """The region around an organ that fills a box of voxels of a grid."""
    zooms_mm = grid.zooms_mm
    lengths_mm = np.array([side.stop - side.start for side in box]) * zooms_mm
    shrink = min(1.0, LONGEST_MM / float(lengths_mm.max()))
    margins = [math.ceil(margin_mm / shrink / zoom_mm) for zoom_mm in zooms_mm]
    sides = zip(box, margins, grid.shape, strict=True)
    return Region(
        tuple(
            slice(max(0, s.start - margin), min(size, s.stop + margin)) for s, margin, size in sides
        ),
        shrink,
    )
