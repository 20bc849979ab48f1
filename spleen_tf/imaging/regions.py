"""The surroundings of an organ: what the finer networks of a family see, in training and after."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from spleen_tf.imaging import planes
from spleen_tf.imaging.planes import Plane
from spleen_tf.imaging.volume import Grid, Volume

# Around the organ, as it is shown: what tells where it ends, and room for a box that is not exact.
MARGIN_MM = 60.0
# Across the slices, where all are of one plane: what lies further off tells nothing of them.
ACROSS_MARGIN_MM = 25.0
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


def margins_mm(affine: npt.NDArray[Any], seen_in: Iterable[Plane]) -> npt.NDArray[np.float64]:
    """(3,) along i, j, k: MARGIN_MM, or ACROSS_MARGIN_MM across slices if all are of one plane.

    Args:
        affine: (4, 4), of the volume.
        seen_in: the planes in which networks see the organ.
    """
    margins = np.full(3, MARGIN_MM)
    if len(names := set(seen_in)) == 1:
        margins[planes.layout_of(affine, names.pop()).axes[0]] = ACROSS_MARGIN_MM
    return margins


def around(box: Box, grid: Grid, margin_mm: float | npt.NDArray[np.float64] = MARGIN_MM) -> Region:
    """The region around an organ that fills a box of voxels of a grid.

    Args:
        box: of the organ.
        grid: of the volume.
        margin_mm: on each side, of the organ as it is shown; (3,) along i, j, k where they differ.
    """
    zooms_mm = grid.zooms_mm
    lengths_mm = np.array([side.stop - side.start for side in box]) * zooms_mm
    shrink = min(1.0, LONGEST_MM / float(lengths_mm.max()))
    margins = np.ceil(np.broadcast_to(margin_mm, 3) / shrink / zooms_mm).astype(int).tolist()
    sides = zip(box, margins, grid.shape, strict=True)
    return Region(
        tuple(
            slice(max(0, s.start - margin), min(size, s.stop + margin)) for s, margin, size in sides
        ),
        shrink,
    )
