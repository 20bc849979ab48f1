"""Exported models, alone or fused, applied to one volume: a probability for each voxel."""

from __future__ import annotations

import functools
import os
import pathlib
import statistics
import weakref
from collections.abc import Iterable
from typing import Any

import numpy as np
import tensorflow as tf
import tqdm

from spleen_tf.core.files import InputError
from spleen_tf.imaging import intensity, planes
from spleen_tf.imaging.volume import Volume
from spleen_tf.inference import model_files
from spleen_tf.inference import tta as views
from spleen_tf.inference.tta import View
from spleen_tf.network.device import setup as setup
from spleen_tf.network.serving import loading as loading

# A CPU is as fast with one slice as with four, which take four times the memory; a GPU is not.
_PIXELS_A_BATCH = {"CPU": 1 << 18, "GPU": 1 << 21}

# For each direction the planes that show it, and whether along rows (0) or columns (1).
_SHOWN = {
    "right": {"axial": 1, "coronal": 1},
    "anterior": {"axial": 0, "sagittal": 1},
    "superior": {"coronal": 0, "sagittal": 0},
}
_SAMPLED_SLICES = 12


class Member:
    """One SavedModel.

    Attributes:
        info: its model.json.
    """

    def __init__(self, folder: pathlib.Path):
        """Loads a SavedModel.

        Raises:
            InputError: if the folder does not hold one that spleen_tf.export wrote.
        """
        self.info: dict[str, Any] = model_files.describe(folder)
        # Percentiles of a whole volume take a while. A weak reference keeps no volume in memory.
        self._last_window: tuple[weakref.ref[Volume], tuple[float, float]] | None = None
        with loading(folder):
            self._loaded = tf.saved_model.load(str(folder))
            self._windowed = self._loaded.signatures["windowed"]
            # Models of other makers have the signatures alone.
            self._inner = getattr(self._loaded, "inner", None)

    def add_probability(
        self,
        total_ijk: np.ndarray,
        vote: Vote | None,
        image: Volume,
        weight: float,
        view: View,
        bar: tqdm.tqdm,
    ) -> None:
        """Adds weight · probability of spleen to an array, a batch of slices at a time.

        Args:
            total_ijk: (I, J, K) floating point, changed in place.
            vote: gets this view's own mask; None: not asked for.
            image: the volume.
            weight: this view's share.
            view: how the body is shown.
            bar: advanced by each slice.

        Raises:
            InputError: if the network finds NaN.
        """
        plane = self.info["plane"]
        slices_nhw = planes.split(image.array_ijk, image.affine, plane)
        total_nhw = planes.split(total_ijk, image.affine, plane)
        native_mm = planes.pixel_mm(image.affine, plane)
        pixel_mm = tf.constant(native_mm * view.scale, tf.float32)
        window = tf.constant(self.window(image), tf.float32)
        count = len(slices_nhw)
        device = "GPU" if tf.config.get_visible_devices("GPU") else "CPU"
        batch = max(1, _PIXELS_A_BATCH[device] // (slices_nhw.shape[1] * slices_nhw.shape[2]))
        reach = self.info["in_channels"] // 2
        for start in range(0, count, batch):
            stop = min(start + batch, count)
            first, last = max(0, start - reach), min(count, stop + reach)
            shown = view.show(np.ascontiguousarray(slices_nhw[first:last], np.float32), native_mm)
            margins = (start - first, last - stop)
            found = self._run(image, shown, pixel_mm, window, margins)
            found = view.undo(found, native_mm)
            if not np.isfinite(found.sum()):
                raise InputError(
                    f"{self.info['name']}: expected probabilities, found NaN; use "
                    "--precision=float32, or another model if that does not help."
                )
            total_nhw[start:stop] = total_nhw[start:stop] + weight * found
            if vote is not None:
                vote.add(start, found >= self.threshold)
            bar.update(stop - start)

    def sampled_ml(self, image: Volume, mirror_axis: int | None = None) -> float:
        """Volume of spleen, from the probability in a few slices spread over the volume.

        Args:
            image: the volume.
            mirror_axis: 0 turns each slice upside down, 1 exchanges its sides.
        """
        plane = self.info["plane"]
        slices_nhw = planes.split(image.array_ijk, image.affine, plane)
        if mirror_axis is not None:
            slices_nhw = np.flip(slices_nhw, 1 + mirror_axis)
        count, reach = len(slices_nhw), self.info["in_channels"] // 2
        chosen = np.unique(np.linspace(0, count - 1, _SAMPLED_SLICES + 2).round().astype(int)[1:-1])
        pixel_mm = tf.constant(planes.pixel_mm(image.affine, plane), tf.float32)
        window = tf.constant(self.window(image), tf.float32)
        total = 0.0
        for index in chosen:
            first, last = max(0, index - reach), min(count, index + 1 + reach)
            shown = np.ascontiguousarray(slices_nhw[first:last], np.float32)
            margins = (index - first, last - index - 1)
            probability = self._run(image, shown, pixel_mm, window, margins)
            total += float(probability[probability >= self.threshold].sum())
        return total * image.voxel_mm3 / 1000 * count / len(chosen)

    def _run(
        self, image: Volume, slices_nhw, pixel_mm, window, margins: tuple[int, int]
    ) -> np.ndarray:
        """float32 probabilities of slices, less the margins, which are there as neighbours."""
        try:
            images = tf.constant(slices_nhw)
            if any(margins) and self._inner is not None:
                found = self._inner(images, pixel_mm, window, tf.constant(margins))
                return found["probability"].numpy()
            found = self._windowed(slices=images, pixel_mm=pixel_mm, window=window)
            return found["probability"].numpy()[margins[0] : len(slices_nhw) - margins[1]]
        except tf.errors.ResourceExhaustedError:
            height, width = slices_nhw.shape[1:] * pixel_mm.numpy()
            raise InputError(
                f"{image.source}: expected slices that fit into memory, found {height:.0f} by "
                f"{width:.0f} mm in pixels of {self.info['pixel_mm']} mm; crop it, use "
                "--device=cpu, or a machine with more memory."
            ) from None

    @property
    def threshold(self) -> float:
        """The probability from which a voxel is spleen; a half where the model does not say."""
        return self.info.get("threshold", 0.5)

    def modality(self, image: Volume) -> str:
        """'CT' or 'MR': the model's own, or the volume's for a model of any modality."""
        if self.info["modality"] != "any":
            return self.info["modality"]
        return image.modality or ("CT" if intensity.is_hounsfield(image.array_ijk) else "MR")

    def window(self, image: Volume) -> tuple[float, float]:
        """The intensities that become 0 and 1 for a volume; found once for one that is the last."""
        if self._last_window is None or self._last_window[0]() is not image:
            self._last_window = weakref.ref(image), self._find_window(image)
        return self._last_window[1]

    def _find_window(self, image: Volume) -> tuple[float, float]:
        if self.modality(image) == "MR":
            low, high = intensity.percentiles(image.array_ijk, self.info["window"])
        else:
            low, high = self.info["window"] if self.info["modality"] == "CT" else intensity.CT_HU
        return float(low), float(high)


def load(paths: Iterable[str | os.PathLike]) -> list[Member]:
    """The members that --model names.

    Args:
        paths: SavedModel folders, or folders with several of them below.

    Raises:
        InputError: if one holds none or does not load, or members of CT and MR are mixed.
    """
    return [Member(folder) for folder in model_files.find(paths)]


def foreign(members: list[Member], image: Volume) -> str:
    """In words, that members are for another modality than a volume's; '' if they are not.

    Where nothing says the volume's, it is seen only that one in Hounsfield units is no MR.
    """
    wanted = {member.info["modality"] for member in members} - {"any"}
    if image.modality and wanted - {image.modality}:
        return f"the model is for {wanted.pop()}, and the header says {image.modality}"
    if not image.modality and "MR" in wanted and intensity.is_hounsfield(image.array_ijk):
        return "the model is for MR, and the volume looks like CT in Hounsfield units"
    return ""


def threshold(members: list[Member]) -> float:
    """The mean of the members' thresholds, as fusion takes the mean of their probabilities."""
    return sum(member.threshold for member in members) / len(members)


def mirrored_ml(members: list[Member], image: Volume) -> dict[str, tuple[float, float]]:
    """How much spleen is found in a few slices as they are, and in their mirror images.

    A header that takes right for left shows itself by anatomy that is found in the mirror.

    Args:
        members: one or more; each direction is looked at in all planes that show it.
        image: the volume.

    Returns:
        By direction ('right', 'anterior', 'superior'; without those that no member's plane shows,
        and without 'right' where members know no contrast): mL as it is, mL in the mirror, each the
        mean over members, extrapolated from a sample of slices.
    """
    as_is = functools.cache(lambda member: member.sampled_ml(image))
    found = {}
    for direction, shown in _SHOWN.items():
        able = [m for m in members if m.info["plane"] in shown]
        if direction == "right":
            # By shape and place alone, a liver in the mirror passes for a large spleen.
            able = [m for m in able if m.info["modality"] != "any"]
        if able:
            # One plane alone is taken in by a mass; others seldom are by the same.
            mirror = [m.sampled_ml(image, shown[m.info["plane"]]) for m in able]
            found[direction] = (statistics.fmean(map(as_is, able)), statistics.fmean(mirror))
    return found


class Vote:
    """The mask that one view of one member gives by itself, a bit a voxel."""

    def __init__(self, image: Volume, plane: str):
        self._image, self._plane = image, plane
        self._packed: dict[int, np.ndarray] = {}

    def add(self, start: int, mask_nhw: np.ndarray) -> None:
        """Takes the slices from `start` on, (N, H, W) bool."""
        for index, mask_hw in enumerate(mask_nhw, start):
            if mask_hw.any():
                self._packed[index] = np.packbits(mask_hw)

    def mask_ijk(self) -> np.ndarray:
        """(I, J, K) bool; slices without spleen are never written to and take no memory."""
        mask_ijk = np.zeros(self._image.shape, bool, order="F")
        mask_nhw = planes.split(mask_ijk, self._image.affine, self._plane)
        size = mask_nhw[0].size
        for index, packed in self._packed.items():
            bits = np.unpackbits(packed, count=size).view(bool)
            mask_nhw[index] = bits.reshape(mask_nhw.shape[1:])
        return mask_ijk


def probability(
    members: list[Member], image: Volume, tta: bool = False, votes: list[Vote] | None = None
) -> np.ndarray:
    """The mean of the members' probabilities.

    Args:
        members: one or more, of any planes.
        image: the volume.
        tta: the mean is over views.AUGMENTED.
        votes: receives one of each view of each member. A member by itself has no other to agree
            with: it votes on views.VOTING, whether or not they count in the mean.

    Returns:
        (I, J, K) float16: its steps near a half are 0.0005, and it takes half of the memory.
    """
    counted = views.AUGMENTED if tta else (views.AS_IS,)
    shown = views.VOTING if votes is not None and len(members) == 1 else counted
    total_ijk = np.zeros(image.shape, np.float16, order="F")
    counts = [len(planes.split(total_ijk, image.affine, m.info["plane"])) for m in members]
    with tqdm.tqdm(total=sum(counts) * len(shown), unit="slice", leave=False, disable=None) as bar:
        for member in members:
            for view in shown:
                vote = Vote(image, member.info["plane"]) if votes is not None else None
                weight = 1.0 / (len(members) * len(counted)) if view in counted else 0.0
                member.add_probability(total_ijk, vote, image, weight, view, bar)
                if votes is not None and vote is not None:
                    votes.append(vote)
    return total_ijk
