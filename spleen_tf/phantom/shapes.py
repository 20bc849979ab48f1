"""Distance functions of smooth shapes, and a canvas that paints them with partial volume.

A distance is in mm, negative inside, exact near the surface only, which is where it is used. A
point set is a tuple (x, y, z) of float32 arrays that broadcast together: mm towards right,
anterior, superior.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Points = tuple[NDArray[Any], NDArray[Any], NDArray[Any]]
Box = tuple[slice, slice, slice]
Numbers = Sequence[float] | NDArray[Any]

EVERYWHERE: Box = (slice(None), slice(None), slice(None))


def ellipsoid(
    p: Points, center: Numbers, radii: Numbers, axes: NDArray[Any] | None = None
) -> NDArray[Any]:
    """Distance to an ellipsoid, to first order; `axes` holds its unit axes as rows."""
    q = [a - float(c) for a, c in zip(p, center, strict=True)]
    if axes is not None:
        q = [float(r[0]) * q[0] + float(r[1]) * q[1] + float(r[2]) * q[2] for r in axes]
    q = [a * float(1 / r) for a, r in zip(q, radii, strict=True)]
    norm = np.sqrt(q[0] * q[0] + q[1] * q[1] + q[2] * q[2])
    slope = [a * float(1 / r) for a, r in zip(q, radii, strict=True)]
    steep = np.sqrt(slope[0] * slope[0] + slope[1] * slope[1] + slope[2] * slope[2]) + 1e-6
    distance: NDArray[Any] = norm * (norm - 1) / steep
    return distance


def oval(u: NDArray[Any], v: NDArray[Any], radius_u: float, radius_v: float) -> NDArray[Any]:
    """Distance to an ellipse, that is to an elliptic cylinder, by two of its coordinates."""
    return (np.hypot(u / radius_u, v / radius_v) - 1) * min(radius_u, radius_v)


def capsule(p: Points, start: NDArray[Any], end: NDArray[Any]) -> NDArray[Any]:
    """Distance to a straight tube; `start` and `end` are x, y, z and the radius there."""
    along = (end - start)[:3]
    q = [a - float(c) for a, c in zip(p, start[:3], strict=True)]
    dot = q[0] * float(along[0]) + q[1] * float(along[1]) + q[2] * float(along[2])
    t = np.clip(dot * float(1 / max(along @ along, 1e-6)), 0, 1)
    q = [a - t * float(step) for a, step in zip(q, along, strict=True)]
    radius = float(start[3]) + t * float(end[3] - start[3])
    distance: NDArray[Any] = np.sqrt(q[0] * q[0] + q[1] * q[1] + q[2] * q[2]) - radius
    return distance


def curve(knots: ArrayLike, pieces: int = 4) -> NDArray[Any]:
    """A smooth path through knots (n, 4) of x, y, z, radius: a Catmull-Rom spline's points."""
    given = np.asarray(knots, float)
    padded = np.vstack([2 * given[0] - given[1], given, 2 * given[-1] - given[-2]])
    t = (np.arange(pieces) / pieces)[:, None]
    path = [
        b
        + t * (c - a) / 2
        + t**2 * (a - 2.5 * b + 2 * c - d / 2)
        + t**3 * (3 * b - a - 3 * c + d) / 2
        for a, b, c, d in zip(padded, padded[1:], padded[2:], padded[3:], strict=False)
    ]
    return np.vstack([*path, given[-1:]])


def tube(p: Points, path: NDArray[Any], blend_mm: float = 4.0) -> NDArray[Any]:
    """Distance to the smooth union of the capsules along a path."""
    distance = capsule(p, path[0], path[1])
    for start, end in itertools.pairwise(path[1:]):
        distance = smooth_min(distance, capsule(p, start, end), blend_mm)
    return distance


def smooth_max(a: NDArray[Any], b: NDArray[Any], blend_mm: float) -> NDArray[Any]:
    """The distance to an intersection whose edge is rounded."""
    h = np.clip(0.5 + (a - b) * (0.5 / blend_mm), 0, 1)
    distance: NDArray[Any] = b + (a - b) * h + blend_mm * h * (1 - h)
    return distance


def smooth_min(a: NDArray[Any], b: NDArray[Any], blend_mm: float) -> NDArray[Any]:
    """The distance to a union whose seam is filled."""
    h = np.clip(0.5 + (b - a) * (0.5 / blend_mm), 0, 1)
    distance: NDArray[Any] = b + (a - b) * h - blend_mm * h * (1 - h)
    return distance


class Waves:
    """A smooth random function of place, of mean 0 and variance 1: a sum of plane waves."""

    def __init__(self, rng: np.random.Generator, wavelength_mm: float, count: int = 5) -> None:
        directions = rng.normal(size=(count, 3))
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
        lengths = wavelength_mm * rng.uniform(0.75, 1.35, (count, 1))
        self._vectors = 2 * np.pi * directions / lengths
        self._phases = rng.uniform(0, 2 * np.pi, count)

    def __call__(self, p: Points) -> NDArray[Any]:
        """Its values, float32, at points."""
        total = np.zeros(np.broadcast_shapes(*(a.shape for a in p)), np.float32)
        for (kx, ky, kz), phase in zip(self._vectors.tolist(), self._phases.tolist(), strict=True):
            angle = p[0] * kx + p[1] * ky + (p[2] * kz + phase)
            total += np.sin(angle, out=angle)
        total *= float(np.sqrt(2 / len(self._phases)))
        return total


def spline_noise(
    rng: np.random.Generator, shape: Sequence[int], spacing_voxels: Numbers
) -> NDArray[Any]:
    """Smooth noise of mean 0 and variance about 1 on a grid: cubic B-splines on random knots.

    No BLAS in it: its sums would depend on the number of threads, and files would differ.

    Args:
        rng: where the knots are drawn from.
        shape: of the grid.
        spacing_voxels: knots are this far apart, for each axis.

    Returns:
        float32 of that shape.
    """
    knots = [int(np.ceil(n / step)) + 4 for n, step in zip(shape, spacing_voxels, strict=True)]
    field = rng.standard_normal(knots, dtype=np.float32)
    for axis in (2, 1, 0):  # The longest expansion comes last, along rows in memory.
        position = np.arange(shape[axis]) / spacing_voxels[axis]
        first, t = position.astype(int), (position % 1).astype(np.float32)
        weights = np.stack(
            [(1 - t) ** 3, 4 - 6 * t**2 + 3 * t**3, 1 + 3 * t + 3 * t**2 - 3 * t**3, t**3]
        )
        weights /= np.sqrt((weights**2).sum(axis=0))
        column = [1, 1, 1]
        column[axis] = -1
        taps = np.take(field, first, axis)
        taps *= weights[0].reshape(column)
        for tap in (1, 2, 3):
            taps += np.take(field, first + tap, axis) * weights[tap].reshape(column)
        field = taps
    return field


class Canvas:
    """A grid on which shapes are painted one over the other, with soft edges.

    Attributes:
        points: mm of every voxel in the anatomy's frame, where shapes are defined.
        image: (K, J, I) float32, what is painted so far.
    """

    def __init__(
        self,
        shape: tuple[int, ...],
        to_frame: NDArray[Any],
        bend: Callable[[Points], Points],
        edge_mm: float,
    ) -> None:
        """A grid of `shape`, empty.

        Args:
            shape: (K, J, I).
            to_frame: (4, 4), from indices k, j, i to mm.
            bend: a function from points to points that deforms them by less than 11 mm.
            edge_mm: the width of the ramp by which an edge is painted.
        """
        k, j, i = (
            np.arange(n, dtype=np.float32).reshape([-1 if a == axis else 1 for a in range(3)])
            for axis, n in enumerate(shape)
        )
        m = to_frame.astype(np.float32)
        x, y, z = ((m[r, 0] * k + m[r, 3]) + m[r, 1] * j + m[r, 2] * i for r in range(3))
        self.points: Points = bend((x, y, z))
        self.image = np.zeros(shape, np.float32)
        self._from_frame = np.linalg.inv(to_frame)
        self._edge_mm = edge_mm

    def box(self, low: ArrayLike, high: ArrayLike, margin_mm: float = 12.0) -> Box:
        """The part of the grid that holds everything between two corners, in mm."""
        low, high = np.asarray(low, float), np.asarray(high, float)
        linear = self._from_frame[:3, :3]
        center = linear @ ((low + high) / 2) + self._from_frame[:3, 3]
        reach = np.abs(linear) @ ((high - low) / 2 + margin_mm)
        first = np.maximum(np.floor(center - reach), 0)
        last = np.maximum(np.ceil(center + reach) + 1, 0)
        k, j, i = (slice(int(a), int(b)) for a, b in zip(first, last, strict=True))
        return k, j, i

    def at(self, box: Box) -> Points:
        """The points of a part."""
        x, y, z = self.points
        return x[box], y[box], z[box]

    def paint(
        self, distance: NDArray[Any], value: float | NDArray[Any], box: Box = EVERYWHERE
    ) -> NDArray[Any]:
        """Paints a shape by its distance in a part, and returns how much it fills each voxel."""
        share = distance * np.float32(-1 / self._edge_mm)
        share += np.float32(0.5)
        np.clip(share, 0, 1, out=share)
        part = self.image[box]
        change = value - part
        change *= share
        part += change
        return share

    def paint_path(self, path: NDArray[Any], value: float) -> None:
        """Paints a thin tube, piece by piece."""
        for start, end in itertools.pairwise(path):
            reach = max(start[3], end[3])
            box = self.box(np.minimum(start, end)[:3] - reach, np.maximum(start, end)[:3] + reach)
            if self.image[box].size:  # Most pieces lie outside a slab.
                self.paint(capsule(self.at(box), start, end), value, box)
