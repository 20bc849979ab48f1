"""One exported model applied to slices of one volume, a batch at a time."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from spleen_tf.core.files import InputError
from spleen_tf.imaging import planes
from spleen_tf.imaging.volume import Volume
from spleen_tf.inference import model_files
from spleen_tf.inference.model_files import ModelInfo
from spleen_tf.inference.runtimes import Runtime
from spleen_tf.inference.tta import AS_IS, View

# In a batch: more take memory, and no less time.
_MOST_SLICES = 16


@dataclasses.dataclass(frozen=True, eq=False)
class Member:
    """One model of a family.

    Attributes:
        info: its model.json.
        runtime: what runs it.
        folder: its SavedModel's.
    """

    info: ModelInfo
    runtime: Runtime
    folder: pathlib.Path

    @functools.cached_property
    def sha256(self) -> str:
        """The SHA-256 of the file that its weights are in."""
        return model_files.sha256(self.folder)

    def slices(self, image: Volume) -> npt.NDArray[Any]:
        """(N, H, W): a volume's slices in the model's plane, a view of its array."""
        return planes.split(image.array_ijk, image.affine, self.info.plane)

    def stride(self, image: Volume, skip_below_mm: float) -> int:
        """Every how manieth slice is run if those left may lie so far apart."""
        return max(1, int(skip_below_mm / planes.slice_mm(image.affine, self.info.plane)))

    def batches(
        self,
        image: Volume,
        window: tuple[float, float],
        view: View = AS_IS,
        skip_below_mm: float = 0.0,
        span: tuple[int, int] | None = None,
    ) -> Iterator[tuple[int, npt.NDArray[Any]]]:
        """Runs the model on all slices, or on some, between which it interpolates.

        Args:
            image: the volume.
            window: the intensities that become 0 and 1.
            view: how the body is shown.
            skip_below_mm: slices may be skipped as long as those left lie no further apart.
            span: the first slice to run on, and the one after the last; None: all. Then none may be
                skipped.

        Yields:
            The first slice of a batch, and (n, H, W) float32 probabilities of its slices.

        Raises:
            InputError: if the network finds NaN, or the slices do not fit into memory.
        """
        stride = self.stride(image, skip_below_mm)
        slices_nhw = self.slices(image)[::stride]
        first, last = span or (0, len(slices_nhw))
        pixels = slices_nhw.shape[1] * slices_nhw.shape[2]
        step = min(_MOST_SLICES, max(1, self.runtime.pixels_per_batch // pixels))
        spans = [(start, min(start + step, last)) for start in range(first, last, step)]
        batches = ((s[0], self.probability(image, slices_nhw, s, window, view)) for s in spans)
        return batches if stride == 1 else interpolated(batches, stride, len(self.slices(image)))

    def probability(
        self,
        image: Volume,
        slices_nhw: npt.NDArray[Any],
        span: tuple[int, int],
        window: tuple[float, float],
        view: View = AS_IS,
    ) -> npt.NDArray[Any]:
        """Runs the model on some slices; their neighbours go along where it sees several at once.

        Args:
            image: the volume.
            slices_nhw: all of its slices in the model's plane, as they are or mirrored.
            span: the first slice to run on, and the one after the last.
            window, view: as in `batches`.

        Returns:
            (n, H, W) float32.

        Raises:
            InputError: as `batches` does.
        """
        start, stop = span
        reach = self.info.in_channels // 2
        first, last = max(0, start - reach), min(len(slices_nhw), stop + reach)
        native_mm = planes.pixel_mm(image.affine, self.info.plane)
        shown = view.show(np.ascontiguousarray(slices_nhw[first:last], np.float32), native_mm)
        try:
            probability_nhw = self.runtime.probability(
                shown, native_mm * view.scale, window, (start - first, last - stop)
            )
        except MemoryError:
            height_mm, width_mm = slices_nhw.shape[1:] * native_mm
            raise InputError(
                f"{image.source}: expected slices that fit into memory, found {height_mm:.0f} by "
                f"{width_mm:.0f} mm in pixels of {list(self.info.pixel_mm)} mm; crop it, use "
                "--device=cpu, or a machine with more memory."
            ) from None
        probability_nhw = view.undo(probability_nhw, native_mm)
        if not np.isfinite(probability_nhw.sum()):
            raise InputError(
                f"{self.info.name}: expected probabilities, found NaN; use --precision=float32, or "
                "another model if that does not help."
            )
        return probability_nhw


def interpolated(
    batches: Iterable[tuple[int, npt.NDArray[Any]]], stride: int, count: int
) -> Iterator[tuple[int, npt.NDArray[Any]]]:
    """Batches of all of `count` slices from batches of every `stride`-th, by linear interpolation.

    Slices after the last of these are as that one.
    """
    before: npt.NDArray[Any] | None = None
    position = 0
    for start, probability_nhw in batches:
        if before is not None:
            start, probability_nhw = start - 1, np.concatenate([before, probability_nhw])
        stop = start + len(probability_nhw)
        last = count if stop * stride >= count else (stop - 1) * stride + 1
        place = np.arange(position, last) / stride - start
        below = np.minimum(place.astype(int), len(probability_nhw) - 1)
        above = np.minimum(below + 1, len(probability_nhw) - 1)
        share = (place - below).astype(np.float32)[:, np.newaxis, np.newaxis]
        lower_nhw = probability_nhw[below]
        yield position, lower_nhw + share * (probability_nhw[above] - lower_nhw)
        position, before = last, probability_nhw[-1:]
