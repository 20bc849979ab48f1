"""Frames in the order in which they lie in the patient, as one regular grid, or why not."""

from __future__ import annotations

import collections
import dataclasses
import os
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from spleen_tf.imaging import volume
from spleen_tf.imaging.volume import VolumeError
from spleen_tf.io.dicom import elements
from spleen_tf.io.dicom.frames import Frame

# Cosines and spacings of one series agree but for rounding: 1/1000 moves the far end of a row of
# 400 mm by half a pixel.
_ROUNDING = 1e-3
_SAME_PLACE_MM = 0.01
_UNEVEN = 0.01
# In a distance of so many usual ones, a slice is missing.
_GAP = 1.5
# Scanners and anonymizers round positions to one decimal at the coarsest.
_POSITION_ROUNDING_MM = 0.05
_POSITION = elements.name("ImagePositionPatient")
_ORIENTATION = elements.name("ImageOrientationPatient")
_DRIFT_PIXELS = 0.5
_LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])


FloatArray = npt.NDArray[np.float64]


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
    affine: FloatArray

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

    highdicom's get_volume_from_series is not used: it needs elements that clinics strip, refuses
    positions that are rounded, and does not say which slice is missing.

    Args:
        frames: of one series, in any order.
        source: what messages name.

    Raises:
        VolumeError: unless there are two or more, alike in size, spacing and orientation, each at a
            place of its own, along their normal, at even distances (within 1%, or but for the
            rounding of positions).
    """
    if len(frames) < 2 or min(frames[0].shape) < 2:
        found = f"{len(frames)} of {frames[0].shape[0]} rows and {frames[0].shape[1]} columns"
        raise VolumeError(
            f"{source}: expected 2 or more slices of 2 or more rows and columns, found {found}; "
            "where each slice is a file, name their folder."
        )
    _check_alike(frames, source)
    row, column, normal = _orthonormal(frames[0].directions)
    along_mm = np.array([frame.position_mm for frame in frames]) @ normal
    order = np.argsort(along_mm, kind="stable")
    ordered = tuple(frames[i] for i in order)
    places_mm = np.array([frame.position_mm for frame in ordered])
    _check_one_each(along_mm[order], source)
    _check_along(normal, places_mm, ordered[0].pixel_mm, source)
    # Each coordinate is rounded for itself, and oblique slices add up what that is off.
    _check_even(along_mm[order], _POSITION_ROUNDING_MM * float(np.abs(normal).sum()), source)
    affine = np.eye(4)
    affine[:3, 0] = row * ordered[0].pixel_mm[1]
    affine[:3, 1] = column * ordered[0].pixel_mm[0]
    affine[:3, 2] = (places_mm[-1] - places_mm[0]) / (len(ordered) - 1)
    affine[:3, 3] = places_mm[0]
    affine = (_LPS_TO_RAS @ affine).astype(np.float32).astype(np.float64)
    volume.check_affine(affine, source)
    return Stack(ordered, affine)


def _orthonormal(directions: Sequence[float]) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Of a row, of a column, and the slices' normal; rounded cosines are no longer of length 1."""
    row, column = np.reshape(directions, (2, 3)).astype(float)
    row /= np.linalg.norm(row)
    normal = np.cross(row, column)
    normal /= np.linalg.norm(normal)
    return row, np.cross(normal, row), normal


def _check_alike(frames: Sequence[Frame], source: str) -> None:
    sizes = collections.Counter(frame.shape for frame in frames)
    if len(sizes) > 1:
        raise VolumeError(
            f"{source}: expected images of one size by {elements.name('Rows')} and "
            f"{elements.name('Columns')}, found {_listed(sizes)}; keep those of one."
        )
    for element, attribute in (
        (_ORIENTATION, "directions"),
        (elements.name("PixelSpacing"), "pixel_mm"),
    ):
        numbers = np.array([getattr(frame, attribute) for frame in frames])
        close = np.isclose(numbers, numbers[0], rtol=_ROUNDING, atol=_ROUNDING).all(axis=1)
        if not close.all():
            fewer = ~close if 2 * np.count_nonzero(close) >= len(frames) else close
            example = os.path.basename(frames[int(fewer.argmax())].path)
            raise VolumeError(
                f"{source}: expected images of one {element}, found {np.count_nonzero(fewer)} of "
                f"{len(frames)} that differ from the others, such as {example}; keep those of one."
            )
    row, column = np.reshape(frames[0].directions, (2, 3))
    lengths = np.array([row @ row, column @ column, 1 + row @ column])
    if not np.allclose(lengths, 1, atol=2 * _ROUNDING):
        angle = np.degrees(np.arccos(np.clip(row @ column, -1, 1)))
        raise VolumeError(
            f"{source}: expected {_ORIENTATION} of two perpendicular directions of length 1, found "
            f"lengths {np.sqrt(row @ row):.4g} and {np.sqrt(column @ column):.4g} at {angle:.4g} "
            "degrees; correct the element."
        )


def _listed(sizes: collections.Counter[tuple[int, int]]) -> str:
    return ", ".join(f"{count} of {rows}x{columns}" for (rows, columns), count in sizes.items())


def _check_one_each(along_mm: FloatArray, source: str) -> None:
    repeated = np.flatnonzero(np.diff(along_mm) < _SAME_PLACE_MM)
    if len(repeated):
        here_mm = along_mm[repeated[0]]
        count = np.count_nonzero(np.abs(along_mm - here_mm) < _SAME_PLACE_MM)
        positions = 1 + np.count_nonzero(np.diff(along_mm) >= _SAME_PLACE_MM)
        raise VolumeError(
            f"{source}: expected one image at each position, found {count} at {here_mm:.2f} mm "
            f"along the normal, {len(along_mm)} at {positions} positions in all by {_POSITION}: "
            "echoes, time points, or copies that differ; keep those of one in a folder of its own."
        )


def _check_along(
    normal: FloatArray, places_mm: FloatArray, pixel_mm: tuple[float, ...], source: str
) -> None:
    """Refuses slices that drift sideways: a gantry tilt, whose grid is not rectangular."""
    from_first = places_mm - places_mm[0]
    sideways = from_first - np.outer(from_first @ normal, normal)
    drift_mm = np.linalg.norm(sideways, axis=1)
    if drift_mm.max() > _DRIFT_PIXELS * min(pixel_mm):
        far = int(drift_mm.argmax())
        degrees = np.degrees(np.arctan2(drift_mm[far], from_first[far] @ normal))
        raise VolumeError(
            f"{source}: expected slices that follow one another along their normal, found a drift "
            f"of {drift_mm[far]:.1f} mm, {degrees:.1f} degrees off: a gantry tilt, or a slice out "
            f"of place, by {_POSITION}; resample it to a rectangular grid first, for example "
            "with dcm2niix."
        )


def _check_even(along_mm: FloatArray, rounding_mm: float, source: str) -> None:
    """Refuses gaps and uneven distances; rounding_mm is how far rounding moves a slice."""
    gaps_mm = np.diff(along_mm)
    usual_mm = float(np.percentile(gaps_mm, 50, method="lower"))
    is_odd = np.abs(gaps_mm - usual_mm) > _UNEVEN * usual_mm
    if not is_odd.any() or _is_even_but_for_rounding(along_mm, rounding_mm):
        return
    # Rounding makes gaps uneven, too; the one that is furthest off is to blame.
    worst = int(np.argmax(np.abs(gaps_mm - usual_mm)))
    gap_mm, before_mm = gaps_mm[worst], along_mm[worst]
    missing = round(gap_mm / usual_mm) - 1
    tolerance_mm = max(_UNEVEN * usual_mm, 2.1 * rounding_mm) * (missing + 1)
    if missing > 0 and abs(gap_mm - (missing + 1) * usual_mm) < tolerance_mm:
        others = np.count_nonzero(gaps_mm > _GAP * usual_mm) - 1
        more = f", and {others} more gap{'s' if others > 1 else ''}" if others else ""
        raise VolumeError(
            f"{source}: expected a slice every {usual_mm:.3g} mm, found {missing} missing at "
            f"{before_mm + usual_mm:.2f} mm along the normal{more} by {_POSITION}; copy the series "
            "again, whole."
        )
    raise VolumeError(
        f"{source}: expected slices at even distances, found {gap_mm:.3f} mm after the one "
        f"at {before_mm:.2f} mm along the normal where others are {usual_mm:.3f} mm apart by "
        f"{_POSITION}; resample them first."
    )


def _is_even_but_for_rounding(along_mm: FloatArray, rounding_mm: float) -> bool:
    """Whether positions are off an even grid by no more than scanners round them."""
    steps = np.arange(len(along_mm))
    step_mm, _ = np.polyfit(steps, along_mm, 1)
    off_mm = along_mm - step_mm * steps
    # A grid of least squares is near the best one, hence the tenth more. A gap in which half a
    # slice more would fit is no rounding, however small.
    return bool(np.ptp(off_mm) / 2 <= 1.1 * rounding_mm) and bool(
        np.diff(along_mm).max() < _GAP * step_mm
    )
