"""Frames in the order in which they lie in the patient, as one regular grid, or why not."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Sequence

import numpy as np

from spleen_tf.imaging import volume
from spleen_tf.imaging.volume import VolumeError
from spleen_tf.io.dicom.frames import Frame

# Cosines and spacings of one series agree but for rounding: 1/1000 moves the far end of a row of
# 400 mm by half a pixel.
_ROUNDING = 1e-3
_SAME_PLACE_MM = 0.01
_UNEVEN = 0.01
_DRIFT_PIXELS = 0.5
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclasses.dataclass(frozen=True)
class Stack:
    """The slices of a volume.

    Attributes:
        frames: along k. The order is that of positions along the slices' normal, the cross product
            of a row's and a column's direction; no name or number of an image counts.
        affine: (4, 4) float64, from voxel indices (column, row, slice) to RAS+ millimetres; rounded
            to float32, so that NIfTI-1 holds it exactly.
    """

    frames: tuple[Frame, ...]
    affine: np.ndarray

    @property
    def shape(self) -> tuple[int, int, int]:
        """Columns, rows, slices."""
        rows, columns = self.frames[0].shape
        return columns, rows, len(self.frames)

    @property
    def paths(self) -> list[str]:
        """The files, each once, in the order of the slices."""
        return list(dict.fromkeys(frame.path for frame in self.frames))


def stack(frames: Sequence[Frame], source: str) -> Stack:
    """Puts frames in order and finds the grid that they lie on (PS3.3 C.7.6.2.1.1).

    Args:
        frames: of one series, in any order.
        source: what messages name.

    Raises:
        VolumeError: unless there are two or more, alike in size, spacing and orientation, each at a
            place of its own, along their normal, at even distances (within 1%).
    """
    if len(frames) < 2 or min(frames[0].shape) < 2:
        found = f"{len(frames)} of {frames[0].shape[0]} rows and {frames[0].shape[1]} columns"
        raise VolumeError(
            f"{source}: expected 2 or more slices of 2 or more rows and columns, found {found}; "
            "where each slice is a file, name their folder."
        )
    _check_alike(frames, source)
    row, column = np.reshape(frames[0].directions, (2, 3))
    normal = np.cross(row, column)
    normal /= np.linalg.norm(normal)
    along_mm = np.array([frame.position_mm for frame in frames]) @ normal
    order = np.argsort(along_mm, kind="stable")
    ordered = tuple(frames[i] for i in order)
    places_mm = np.array([frame.position_mm for frame in ordered])
    _check_one_each(along_mm[order], source)
    _check_along(normal, places_mm, ordered[0], source)
    _check_even(along_mm[order], source)
    affine = np.eye(4)
    affine[:3, 0] = row * ordered[0].pixel_mm[1]
    affine[:3, 1] = column * ordered[0].pixel_mm[0]
    affine[:3, 2] = (places_mm[-1] - places_mm[0]) / (len(ordered) - 1)
    affine[:3, 3] = places_mm[0]
    affine = (_LPS_TO_RAS @ affine).astype(np.float32).astype(np.float64)
    volume.check_affine(affine, source)
    return Stack(ordered, affine)


def _check_alike(frames: Sequence[Frame], source: str) -> None:
    sizes = collections.Counter(frame.shape for frame in frames)
    if len(sizes) > 1:
        raise VolumeError(
            f"{source}: expected images of one size, found {_listed(sizes)} rows and columns; "
            "keep those of one."
        )
    for name, attribute in (("orientation", "directions"), ("pixel spacing", "pixel_mm")):
        numbers = np.array([getattr(frame, attribute) for frame in frames])
        close = np.isclose(numbers, numbers[0], rtol=_ROUNDING, atol=_ROUNDING).all(axis=1)
        if not close.all():
            raise VolumeError(
                f"{source}: expected images of one {name}, found {np.count_nonzero(~close)} of "
                f"{len(frames)} that differ from the first; keep those of one."
            )
    row, column = np.reshape(frames[0].directions, (2, 3))
    lengths = np.array([row @ row, column @ column, 1 + row @ column])
    if not np.allclose(lengths, 1, atol=2 * _ROUNDING):
        raise VolumeError(
            f"{source}: expected ImageOrientationPatient of two perpendicular directions of length "
            "1, found others."
        )


def _listed(sizes: collections.Counter) -> str:
    return ", ".join(f"{count} of {rows}x{columns}" for (rows, columns), count in sizes.items())


def _check_one_each(along_mm: np.ndarray, source: str) -> None:
    repeated = np.flatnonzero(np.diff(along_mm) < _SAME_PLACE_MM)
    if len(repeated):
        here_mm = along_mm[repeated[0]]
        count = np.count_nonzero(np.abs(along_mm - here_mm) < _SAME_PLACE_MM)
        positions = 1 + np.count_nonzero(np.diff(along_mm) >= _SAME_PLACE_MM)
        raise VolumeError(
            f"{source}: expected one image at each position, found {count} at {here_mm:.2f} mm "
            f"along the normal, {len(along_mm)} at {positions} positions in all: echoes, time "
            "points, or copies; keep those of one in a folder of its own."
        )


def _check_along(normal, places_mm, first: Frame, source: str) -> None:
    """Refuses slices that drift sideways: a gantry tilt, whose grid is not rectangular."""
    from_first = places_mm - places_mm[0]
    sideways = from_first - np.outer(from_first @ normal, normal)
    drift_mm = np.linalg.norm(sideways, axis=1)
    if drift_mm.max() > _DRIFT_PIXELS * min(first.pixel_mm):
        far = int(drift_mm.argmax())
        degrees = np.degrees(np.arctan2(drift_mm[far], from_first[far] @ normal))
        raise VolumeError(
            f"{source}: expected slices that follow one another along their normal, found a drift "
            f"of {drift_mm[far]:.1f} mm, {degrees:.1f} degrees off: a gantry tilt; resample it to "
            "a rectangular grid before, with dcm2niix for one."
        )


def _check_even(along_mm: np.ndarray, source: str) -> None:
    gaps_mm = np.diff(along_mm)
    usual_mm = float(np.percentile(gaps_mm, 50, method="lower"))
    odd = np.flatnonzero(np.abs(gaps_mm - usual_mm) > _UNEVEN * usual_mm)
    if not len(odd):
        return
    gap_mm, before_mm = gaps_mm[odd[0]], along_mm[odd[0]]
    missing = round(gap_mm / usual_mm) - 1
    if missing > 0 and abs(gap_mm / usual_mm - missing - 1) < _UNEVEN * (missing + 1):
        more = f", and {len(odd) - 1} more gaps" if len(odd) > 1 else ""
        raise VolumeError(
            f"{source}: expected a slice every {usual_mm:.3g} mm, found {missing} missing at "
            f"{before_mm + usual_mm:.2f} mm along the normal{more}; copy the series again, whole."
        )
    raise VolumeError(
        f"{source}: expected slices at even distances, found {gap_mm:.3f} mm behind the one at "
        f"{before_mm:.2f} mm along the normal where others are {usual_mm:.3f} mm apart; resample "
        "them before."
    )
