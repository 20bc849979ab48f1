"""A patient in front of a canvas, and the patterns of what is painted there."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spleen_tf.phantom import shapes
from spleen_tf.phantom.patient import Patient
from spleen_tf.phantom.shapes import EVERYWHERE, Box, Canvas, Numbers, spline_noise


@dataclasses.dataclass(frozen=True)
class Materials:
    """What fills a patient, on the grid that is painted.

    Attributes:
        signals: the value of each tissue.
        texture: the standard deviation of a parenchyma's own pattern.
        grain, mottle: (K, J, I) smooth noise, fine and coarse.
        vessels, loops: (K, J, I), 0 on curves through space, growing with distance from them:
            where two smooth fields are both zero. Courses of vessels and of bowel.
    """

    signals: Mapping[str, float]
    texture: float
    grain: NDArray[Any]
    mottle: NDArray[Any]
    vessels: NDArray[Any]
    loops: NDArray[Any]

    @classmethod
    def draw(
        cls,
        rng: np.random.Generator,
        signals: Mapping[str, float],
        texture: float,
        shape: Sequence[int],
        zooms_mm: NDArray[Any],
    ) -> Materials:
        """Random materials for a grid of that shape and voxel size in the patient's frame."""

        def noise(spacing_mm: float) -> NDArray[Any]:
            return spline_noise(rng, shape, spacing_mm / zooms_mm)

        vessels, loops = (np.hypot(noise(mm), noise(mm)) for mm in (20, 30))
        return cls(signals, texture, noise(2.6), noise(14), vessels, loops)

    def slab(self, planes: slice) -> Materials:
        """The materials of some planes."""
        fields = (self.grain, self.mottle, self.vessels, self.loops)
        return Materials(self.signals, self.texture, *(field[planes] for field in fields))


class Scene:
    """A patient in front of a canvas, on which `trunk` and `organs` paint.

    Attributes:
        patient, canvas: who and where.
        signals, texture, grain, mottle, vessels, loops: see Materials.
        wall, radius, dome, room: (K, J, I) of the canvas; see Patient.
        stomach: (K, J, I) distance to the stomach, large until it is painted.
        spleen: (K, J, I) float32, the share of each voxel that is spleen.
    """

    def __init__(self, patient: Patient, canvas: Canvas, materials: Materials) -> None:
        """A canvas that holds nothing of the patient yet."""
        self.patient, self.canvas = patient, canvas
        self.signals, self.texture = materials.signals, materials.texture
        self.grain, self.mottle = materials.grain, materials.mottle
        self.vessels, self.loops = materials.vessels, materials.loops
        self.wall, self.radius = patient.cavity(canvas.points)
        self.dome = patient.dome(canvas.points, self.radius)
        self.room = patient.room(self.wall, self.dome)
        self.stomach = np.full(canvas.image.shape, np.float32(1e3))
        self.spleen = np.zeros(canvas.image.shape, np.float32)

    def value(
        self, tissue: str, box: Box = EVERYWHERE, grain: float = 1.0, mottle: float = 0.5
    ) -> NDArray[Any]:
        """A tissue's value with its pattern, fine and coarse in these shares, in a part."""
        pattern = grain * self.grain[box] + mottle * self.mottle[box]
        return self.signals[tissue] + self.texture * pattern

    def box(self, x: Numbers, y: Numbers, z: Numbers) -> Box:
        """The part of the canvas between two planes along each axis, in mm."""
        return self.canvas.box((x[0], y[0], z[0]), (x[1], y[1], z[1]))

    def paint_path(self, tissue: str, knots: ArrayLike, pieces: int = 4) -> None:
        """Paints a smooth thin tube through knots (n, 4) of x, y, z, radius."""
        self.canvas.paint_path(shapes.curve(knots, pieces), self.signals[tissue])
