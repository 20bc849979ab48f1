"""One synthetic patient: where each organ is, as distance functions.

The frame is an adult's: mm towards right, anterior, superior, from the middle of the abdomen at
the level of the first lumbar vertebra. Sizes and places are those of adult anatomy atlases,
rounded, and drawn anew for each patient.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.spatial.transform import Rotation

from spleen_tf.phantom import shapes
from spleen_tf.phantom.shapes import Points, Waves, smooth_max, smooth_min

# The grid on which the spleen's size is found.
CELL_MM = 3.0

# From the left kidney to the fat behind it and beside the spine, where no spleen reaches.
_BEHIND_MM = np.array([15.0, -11.0, 0.0])
_PANCREAS_MM = np.array([-20.0, 14.0, 6.0])


class Patient:
    """The shape of one patient.

    Attributes:
        scale: mm in the world per mm of this frame; children are small adults.
        half_width_mm, half_depth_mm: of the trunk inside its wall.
        fat_mm, wall_mm: thickness of the fat under the skin, and of the wall's muscles.
        dome_left_mm, dome_right_mm: height of the diaphragm's domes.
        dome_fall_mm: how much lower the diaphragm is at the wall, at either side.
        kidneys: center, radii and axes (rows) by side, -1 for the left.
        left_lobe_mm, liver_tip_mm: reach of the left lobe; height of the right one's tip.
        spleen_ml: the volume of the spleen in the world.
        hilum_mm, spleen_box_mm: where vessels reach the spleen; its lowest and highest x, y, z,
            both after grow_spleen.
    """

    hilum_mm: NDArray[Any]
    spleen_box_mm: NDArray[Any]

    def __init__(self, rng: np.random.Generator) -> None:
        child = rng.random() < 0.15
        self.scale = rng.uniform(0.66, 0.85) if child else rng.normal(1.0, 0.05)
        self._draw_trunk(rng)
        self._draw_organs(rng)
        largest = rng.choice([599.0, 380.0], p=[0.3, 0.7]) * min(self.scale, 1.0) ** 3
        self.spleen_ml = float(
            np.clip(np.exp(rng.normal(np.log(215), 0.5)) * self.scale**3, 61, largest)
        )
        self._draw_spleen(rng)

    def _draw_trunk(self, rng: np.random.Generator) -> None:
        self.half_width_mm, self.half_depth_mm = rng.uniform(118, 138), rng.uniform(80, 97)
        self.fat_mm = rng.uniform(4, 14) if rng.random() < 0.4 else rng.uniform(10, 32)
        self.wall_mm = rng.uniform(13, 19)
        self.dome_right_mm = rng.uniform(96, 120)
        self.dome_left_mm = self.dome_right_mm - rng.uniform(4, 24)
        # Deep breaths and emphysema flatten the domes.
        self.dome_fall_mm = rng.uniform(45, 105)
        self.rib_offset_mm, self.vertebra_offset_mm = rng.uniform(0, 27), rng.uniform(0, 34)
        self.kyphosis, self.scoliosis = rng.uniform(2e-4, 9e-4), rng.uniform(-4, 4)
        self.bend_waves = [Waves(rng, 150, 3) for _ in range(3)]
        self.bend_mm = rng.uniform(1.5, 4.0)
        self.ripple = Waves(rng, 40)

    def _draw_organs(self, rng: np.random.Generator) -> None:
        self.kidneys: dict[int, tuple[NDArray[Any], NDArray[Any], NDArray[Any]]] = {}
        for side, center in ((-1, (-60, -42, -16)), (1, (60, -42, -30))):
            tilt = rng.uniform(0.1, 0.3)
            self.kidneys[side] = (
                np.array(center) + rng.normal(0, 4, 3),
                np.array((26, 24, 53)) * rng.uniform(0.88, 1.14),
                _rotation(rng.uniform(0.0, 0.15), side * tilt, side * rng.uniform(0.3, 0.8)),
            )
        fill = rng.uniform(0.6, 1.15)
        push = rng.uniform(0, 12)
        top = self.dome_left_mm - 10 - 33 * fill
        knots = np.array(
            [
                (-46 + push, 2, top, 33 * fill),
                (-54 + push, 22, top - 26, 31 * fill),
                (-50 + push / 2, 32, 14, 26 * fill),
                (-18, 46, -10, 19 * fill),
                (18, 42, -14, 15),
                (38, 26, -8, 11),
            ]
        )
        knots[:, :3] += rng.normal(0, 4, (6, 3))
        self.stomach_path = shapes.curve(knots, 2)
        self.left_lobe_mm = rng.uniform(25, 105)
        self.liver_tip_mm = rng.uniform(-105, -45)

    def _draw_spleen(self, rng: np.random.Generator) -> None:
        """Shape and place; its size is found by `grow_spleen`."""
        radius = (self.spleen_ml * 1000 / self.scale**3 * 3 / (4 * np.pi)) ** (1 / 3)
        length, width = rng.uniform(1.2, 1.7), rng.uniform(0.95, 1.25)
        self._spleen_radii = radius * np.array([length, width, 1.25 / (length * width)])
        # From upright to lying across, below the dome.
        angle, lean = rng.uniform(0.55, 1.1), rng.uniform(0.2, 1.45)
        outward = np.array([-np.cos(angle), -np.sin(angle), 0.2])
        backward = np.array([np.sin(angle), -np.cos(angle), 0.0])
        long_axis = np.cos(lean) * np.array([0, 0, 1.0]) + np.sin(lean) * backward
        axes = _orthonormal(outward + rng.normal(0, 0.12, 3), long_axis)
        self._spleen_axes = axes
        depth = self._spleen_radii[2] * rng.uniform(0.25, 0.7) + 4
        self._spleen_center = np.array(
            [
                -np.cos(angle) * (self.half_width_mm - depth),
                5 - np.sin(angle) * (self.half_depth_mm - depth),
                self.dome_left_mm
                - rng.uniform(40, 62)
                - 0.3 * self._spleen_radii[0] * np.cos(lean),
            ]
        )
        self._lobes = Waves(rng, rng.uniform(35, 60))
        self._lobe_mm = rng.uniform(0.8, 3.2)
        # A hilum: a furrow along the visceral side. Notches: clefts in the anterior border.
        self._hilum = rng.uniform(-8, 12), rng.uniform(8, 17)
        self._notches = [
            (rng.uniform(-0.6, 0.6), rng.uniform(0.7, 1.0), rng.uniform(1.5, 3.5))
            for _ in range(rng.integers(0, 4))
        ]
        self._gaps_mm = rng.uniform(0.0, 4.0, 3)
        self._medial_mm = rng.uniform(26, 52)
        self._anterior_mm = rng.uniform(-25, 10)
        self._spleen_level = 0.0

    def bend(self, p: Points) -> Points:
        """The deformation between this patient and the atlas, at most about 10 mm."""
        x, y, z = (a + self.bend_mm * wave(p) for a, wave in zip(p, self.bend_waves, strict=True))
        return x, y, z

    # The trunk ------------------------------------------------------------------------------

    def cavity(self, p: Points) -> tuple[NDArray[Any], NDArray[Any]]:
        """Distance to the inside of the trunk's wall, and the relative radius (1 at the wall)."""
        x, y, z = p
        narrowing = 1 - 0.09 * ((z - 10) / 120) ** 2 / (1 + ((z - 10) / 220) ** 2)
        u, v = x / (self.half_width_mm * narrowing), (y - 5) / (self.half_depth_mm * narrowing)
        radius = (np.abs(u) ** 2.4 + np.abs(v) ** 2.4) ** (1 / 2.4)
        steep = np.hypot(u / self.half_width_mm, v / self.half_depth_mm) + 1e-4
        return (radius - 1) * radius / np.maximum(steep, radius / self.half_width_mm), radius

    def dome(self, p: Points, radius: NDArray[Any]) -> NDArray[Any]:
        """Distance to the diaphragm, positive in the chest."""
        x, y, z = p
        right = 1 / (1 + np.exp(-x / 16))
        top = self.dome_left_mm + (self.dome_right_mm - self.dome_left_mm) * right
        top = top - 14 * np.exp(-((x / 30) ** 2))
        depth = self.dome_fall_mm * (1 - 0.4 * np.clip((y - 5) / self.half_depth_mm, -1.1, 1.1))
        surface = top - depth * radius**3.2
        distance: NDArray[Any] = (z - surface) / np.sqrt(1 + (0.027 * depth * radius**2.2) ** 2)
        return distance

    def room(self, wall: NDArray[Any], dome: NDArray[Any]) -> NDArray[Any]:
        """Distance to the abdominal cavity, inside the wall and below the diaphragm."""
        return np.maximum(wall + 2.0, dome + 3.0)

    def spine_line(self, z: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
        """x and y of the vertebral bodies' centres."""
        return self.scoliosis * np.sin(z / 60), -40 - self.kyphosis * (z + 30) ** 2

    # Organs ---------------------------------------------------------------------------------

    def kidney(self, p: Points, side: int) -> NDArray[Any]:
        """Distance to a kidney, -1 for the left one."""
        center, radii, axes = self.kidneys[side]
        distance: NDArray[Any] = shapes.ellipsoid(p, center, radii, axes) + 0.8 * self.ripple(p)
        return distance

    def stomach(self, p: Points, room: NDArray[Any]) -> NDArray[Any]:
        """Distance to the outside of the stomach."""
        return smooth_max(shapes.tube(p, self.stomach_path, 8), room + 1, 3)

    def spleen(self, p: Points, room: NDArray[Any], stomach: NDArray[Any]) -> NDArray[Any]:
        """Distance to the spleen: a lobed bean that its neighbours press into shape."""
        bounds = self._spleen_bounds(p, room, stomach)
        return smooth_max(self._spleen_blob(p) - self._spleen_level, bounds, 3.5)

    def _spleen_blob(self, p: Points) -> NDArray[Any]:
        radii, axes = self._spleen_radii, self._spleen_axes
        blob = shapes.ellipsoid(p, self._spleen_center, radii, axes)
        blob = blob + self._lobe_mm * self._lobes(p)
        shift, size = self._hilum
        inward = self._spleen_center - axes[2] * (radii[2] + size * 0.55) + axes[0] * shift
        furrow = shapes.ellipsoid(p, inward, (radii[0] * 0.7, size * 0.9, size), axes)
        blob = smooth_max(blob, -furrow, 8)
        for along, across, width in self._notches:
            place = self._spleen_center + axes[0] * along * radii[0] + axes[1] * across * radii[1]
            cleft = shapes.ellipsoid(p, place, (width, 13, 16), axes)
            blob = smooth_max(blob, -cleft, 1.5)
        # A small spleen stays behind; a large one advances.
        return smooth_max(blob, p[1] - self._anterior_mm, 10)

    def _spleen_bounds(self, p: Points, room: NDArray[Any], stomach: NDArray[Any]) -> NDArray[Any]:
        x, y, _ = p
        to_stomach, to_kidney, to_wall = (float(gap) for gap in self._gaps_mm)
        wavy = 1.5 * self.ripple(p)
        center, radii, axes = self.kidneys[-1]
        behind = shapes.ellipsoid(p, center + _BEHIND_MM, radii * (1.4, 1.25, 0.95), axes)
        kidney = smooth_min(self.kidney(p, -1), behind, 6)
        bounds = smooth_max(room + 0.4 * to_wall, to_stomach - 1 + wavy - stomach, 7)
        bounds = smooth_max(bounds, to_kidney + 0.5 + wavy - kidney, 7)
        return smooth_max(bounds, x + self._medial_mm - 0.15 * y, 8)

    def grow_spleen(self, p: Points, cell_ml: float) -> None:
        """Sets the size of the spleen to spleen_ml, by bisection on a regular grid.

        Args:
            p: points of the grid in this frame, bent.
            cell_ml: the volume of a cell of the grid in the world.
        """
        wall, radius = self.cavity(p)
        room = self.room(wall, self.dome(p, radius))
        blob, bounds = self._spleen_blob(p), self._spleen_bounds(p, room, self.stomach(p, room))
        low, high = -30.0, 90.0
        for _ in range(18):
            level = self._spleen_level = (low + high) / 2
            distance = smooth_max(blob - level, bounds, 3.5)
            # A ramp as wide as a cell counts the cells that the surface cuts by their share.
            ml = np.clip(0.5 - distance / CELL_MM, 0, 1).sum(dtype=np.float64) * cell_ml
            low, high = (level, high) if ml < self.spleen_ml else (low, level)
        self.spleen_ml = float(ml)  # Less than was asked for, if the neighbours leave less room.
        inside = distance < 0
        x, y, z = (np.broadcast_to(a, inside.shape)[inside] for a in p)
        # The vessels reach the spleen where it is nearest to the pancreas.
        apart = (a - float(b) for a, b in zip((x, y, z), _PANCREAS_MM, strict=True))
        nearest = np.argmin(sum(a * a for a in apart))
        self.hilum_mm = np.array([x[nearest], y[nearest], z[nearest]], float)
        self.spleen_box_mm = np.array([[a.min(), a.max()] for a in (x, y, z)], float).T

    def towards_hilum(self, share: float) -> NDArray[Any]:
        """A point between the body of the pancreas (0) and the hilum of the spleen (1)."""
        point_mm: NDArray[Any] = _PANCREAS_MM + share * (self.hilum_mm - _PANCREAS_MM)
        return point_mm


def _rotation(about_x: float, about_y: float, about_z: float) -> NDArray[Any]:
    matrix: NDArray[Any] = Rotation.from_euler("xyz", (about_x, about_y, about_z)).as_matrix()
    return matrix


def _orthonormal(outward: NDArray[Any], along: NDArray[Any]) -> NDArray[Any]:
    """Rows: along (made perpendicular), across, outward."""
    outward = outward / np.linalg.norm(outward)
    along = along - (along @ outward) * outward
    along = along / np.linalg.norm(along)
    return np.array([along, np.cross(outward, along), outward])
