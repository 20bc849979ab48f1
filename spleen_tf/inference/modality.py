"""Which modality a volume is taken for, why, and what speaks against it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

from spleen_tf.imaging import intensity
from spleen_tf.imaging.intensity import Modality, ModelModality
from spleen_tf.imaging.volume import Volume
from spleen_tf.inference.model_files import ModelInfo
from spleen_tf.quality import checks


@dataclasses.dataclass(frozen=True)
class VolumeModality:
    """The modality of a volume.

    Attributes:
        modality: CT or MR.
        source: what says so: the user (or the data set), the header, or the voxels.
    """

    modality: Modality
    source: Literal["user", "header", "voxels"]

    @property
    def reason(self) -> str:
        """Why the volume is taken for this modality."""
        if self.source == "user":
            return "given by --modality or the data set"
        if self.source == "header":
            return f"the header says {self.modality}"
        is_ct = self.modality == "CT"
        return f"its voxels {'look' if is_ct else 'do not look'} like Hounsfield units"


@dataclasses.dataclass(frozen=True)
class TakenModality:
    """What a family takes a volume for.

    Attributes:
        modality: by which intensities are windowed.
        reason: why.
        doubt: why this may be wrong, as a reason for a review; None: nothing speaks against it.
        is_mismatch: the family is for another modality than the volume's.
    """

    modality: Modality
    reason: str
    doubt: str | None = None
    is_mismatch: bool = False


def of_volume(image: Volume, given: Modality | None = None) -> VolumeModality:
    """The modality of a volume: the one that is given, else the header's, else by the voxels."""
    if given:
        return VolumeModality(given, "user")
    if image.modality:
        return VolumeModality(image.modality, "header")
    return VolumeModality("CT" if intensity.is_hounsfield(image.array_ijk) else "MR", "voxels")


def of_models(infos: Sequence[ModelInfo]) -> ModelModality:
    """What the members of a family are for; any only where all are."""
    return next((info.modality for info in infos if info.modality != "any"), "any")


def taken(image: Volume, models: ModelModality, given: Modality | None = None) -> TakenModality:
    """What models take a volume for.

    Args:
        image: the volume.
        models: what they are for.
        given: the volume's modality, where the user or a data set says it.
    """
    volume_modality = of_volume(image, given)
    if models == "any":
        doubt = None
        if volume_modality.modality == "CT" and checks.lacks_soft_tissue(image):
            low_hu, high_hu = checks.SOFT_TISSUE_HU
            doubt = (
                f"taken for CT, but almost no voxel has the {low_hu:.0f} to {high_hu:.0f} HU of "
                "soft tissue; if it is MR, use --modality=MR"
            )
        return TakenModality(volume_modality.modality, volume_modality.reason, doubt)
    doubt = _mismatch(models, volume_modality)
    return TakenModality(models, f"the model is for {models}", doubt, bool(doubt))


def _mismatch(models: Modality, volume_modality: VolumeModality) -> str | None:
    modality = volume_modality.modality
    if modality == models:
        return None
    if volume_modality.source == "user":
        return f"the model is for {models}, but the volume is said to be {modality}"
    if volume_modality.source == "header":
        return f"the model is for {models}, but the header says {modality}"
    # That a volume has no air in Hounsfield units does not show that it is no CT.
    if models == "MR":
        return "the model is for MR, but the volume looks like CT in Hounsfield units"
    return None


def windows(
    image: Volume, modality: Modality, infos: Sequence[ModelInfo]
) -> list[tuple[float, float]]:
    """Of each model, the intensities of a volume that become 0 and 1.

    Args:
        image: the volume.
        modality: what it is taken for.
        infos: of the models.
    """
    by_percentiles: dict[tuple[float, float], tuple[float, float]] = {}
    windows_of_models = []
    for info in infos:
        if modality == "CT":
            windows_of_models.append(info.window if info.modality == "CT" else intensity.CT_HU)
            continue
        if info.window not in by_percentiles:  # They take a while, and members share them.
            low, high = intensity.percentiles(image.array_ijk, info.window)
            by_percentiles[info.window] = (float(low), float(high))
        windows_of_models.append(by_percentiles[info.window])
    return windows_of_models
