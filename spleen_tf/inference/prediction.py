"""How a volume is segmented, and what that gives: a mask, and the record that CASE.json holds."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import UNSET, UnsetType

from spleen_tf.core import files
from spleen_tf.imaging.demographics import NOTHING_KNOWN, Demographics
from spleen_tf.imaging.intensity import Modality
from spleen_tf.quality.checks import Direction
from spleen_tf.quality.evidence import Evidence
from spleen_tf.quality.measurements import Measurements
from spleen_tf.quality.reference import Reference

Size = int | tuple[int, ...]


@dataclasses.dataclass(frozen=True)
class Options:
    """How a family is used.

    Attributes:
        threshold: the probability from which a voxel is spleen; None: what the models say.
        largest_component: only the largest connected component is kept.
        fill_holes: cavities become part of the mask.
        tta: members also see the body a little larger and smaller.
        full: every member sees every slice.
        modality: of the volume; None: the header's or, without one, what the voxels look like.
        demographics: of the patient; what is not given is the header's.
        with_evidence: the evidence is collected without a calibration, too.
        with_probability: the prediction holds the probability of each voxel.
    """

    threshold: float | None = None
    largest_component: bool = True
    fill_holes: bool = True
    tta: bool = False
    full: bool = False
    modality: Modality | None = None
    demographics: Demographics = NOTHING_KNOWN
    with_evidence: bool = False
    with_probability: bool = False

    @property
    def is_as_calibrated(self) -> bool:
        """Whether a calibration, which was learnt with the defaults, is valid."""
        is_whole = self.largest_component and self.fill_holes
        return self.threshold is None and is_whole and not self.tta


DEFAULTS = Options()


class PredictionRecord(Measurements, frozen=True, kw_only=True):
    """The content of CASE.json. Its first keys are those of Measurements.

    Attributes:
        volume_ml_interval: the 90% interval of the true volume, by conformal prediction from the
            family's cross-validation; None without one for this modality, for a second opinion,
            where members disagree, and where nothing is found.
        volume_ml_nested: the volume at a stricter and at a looser threshold, by which the interval
            is scaled; None where no evidence was collected.
        volume_reference: where the volume lies among published ones; None for an empty mask.
        components: connected components before any was dropped.
        modality: what the volume was taken for; None in files of version 0.1.
        modality_reason: why.
        predicted_dice, predicted_dice_interval: what a calibration expects, with its 90% interval;
            None without one, for a second opinion, and where nothing is found.
        predicted_dice_note: why the interval may not be valid.
        calibrated_on: the cases that the calibration was learnt from, such as '14 MR cases'; None
            without one.
        evidence: of quality; None where it was not collected, or nothing is found; `signs` in the
            file.
        review: whether a person should look at the result.
        reasons: why.
        model, image_size, learning_rate, version: of the members, joined by ' + ' where they
            differ.
        model_sha256: of the files that hold the members' weights, likewise; None in files of
            earlier versions.
        runtime: what ran the models: 'onnx' or 'tensorflow'; None in files of version 0.1.
        software: that made it.
        seconds: by stage; absent until all outputs are written.
        peak_rss_mb: of the process, in MiB; likewise.
    """

    volume_ml_interval: tuple[float, float] | None = None
    volume_ml_nested: tuple[float, float] | None = None
    volume_reference: Reference | None = None
    components: int
    modality: Modality | None = None
    modality_reason: str | None = None
    predicted_dice: float | None
    predicted_dice_interval: tuple[float, float] | None
    predicted_dice_note: str | None
    calibrated_on: str | None = None
    evidence: Evidence | None = msgspec.field(default=None, name="signs")
    review: bool
    reasons: tuple[str, ...]
    model: str
    model_sha256: str | None = None
    image_size: Size | str
    learning_rate: float | str
    version: str
    runtime: str | None = None
    software: str
    seconds: dict[str, float] | UnsetType = UNSET
    peak_rss_mb: float | UnsetType = UNSET

    def with_cost(self, seconds: Mapping[str, float], peak_rss_mb: float) -> PredictionRecord:
        """The whole record, once all outputs are written."""
        return msgspec.structs.replace(self, seconds=dict(seconds), peak_rss_mb=peak_rss_mb)


@dataclasses.dataclass(frozen=True, eq=False)
class Prediction:
    """A mask, and what is to be said of it.

    Attributes:
        mask_ijk: (I, J, K) bool, on the volume's grid.
        record: the content of CASE.json, but for time and memory.
        family: the name of the models together.
        window: the intensities that the first model sees as 0 and 1.
        mirrored_ml: by direction, mL found in slices as they are, and in their mirror images.
        is_second_opinion: the models that were asked first disagreed; this is the others' result.
        probability_ijk: (I, J, K) float16, where it was asked for.
        seconds: that segmenting took, by stage.
    """

    mask_ijk: npt.NDArray[np.bool_]
    record: PredictionRecord
    family: str
    window: tuple[float, float]
    mirrored_ml: Mapping[Direction, tuple[float, float]]
    is_second_opinion: bool = False
    probability_ijk: npt.NDArray[Any] | None = None
    seconds: Mapping[str, float] = dataclasses.field(default_factory=dict)

    @property
    def volume_ml(self) -> float:
        """The volume of the mask."""
        return self.record.volume_ml

    @property
    def review(self) -> bool:
        """Whether a person should look at the result before it is used."""
        return self.record.review

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why."""
        return self.record.reasons


def write(path: str | os.PathLike[str], record: PredictionRecord) -> None:
    """Writes a CASE.json, whole or not at all.

    Raises:
        InputError: if the file cannot be written.
    """
    files.write_json(path, record)


def read(path: str | os.PathLike[str]) -> PredictionRecord | None:
    """Reads a CASE.json, also one of an earlier version.

    Returns:
        None for one that tells less than it should: a run that was cut short wrote it, or a version
        that did not know all keys.

    Raises:
        InputError: if the file is no JSON.
    """
    content = files.read_json(path)
    try:
        record = msgspec.convert(content, PredictionRecord)
    except msgspec.ValidationError:
        return None
    return None if record.seconds is UNSET else record


def joined(values: Iterable[str]) -> str:
    """What a record has of its members: the one value that all share, or each of theirs."""
    listed = list(values)
    return listed[0] if len(set(listed)) == 1 else " + ".join(listed)
