"""How far a family's volumes lie from the true ones, as its cross-validation measured."""

from __future__ import annotations

import dataclasses
import functools
import os
import pathlib

import msgspec

from spleen_tf.core import files
from spleen_tf.core.files import InputError
from spleen_tf.evaluation import held_out
from spleen_tf.evaluation.agreement import MeasurementError
from spleen_tf.evaluation.protocol import FUSED
from spleen_tf.evaluation.summary import Content, Statistics
from spleen_tf.imaging.intensity import Modality
from spleen_tf.inference import model_files, released
from spleen_tf.inference.prediction import PredictionRecord, joined
from spleen_tf.quality import calibration

_MEASURE = "volume_error_percent"
# With fewer, a standard deviation says little.
_LEAST_CASES = 4


@dataclasses.dataclass(frozen=True)
class FamilyError:
    """The error of volumes, and how it was measured.

    Attributes:
        error: in percent of the true volume.
        source: for a reader.
        modalities: of the cases that it was measured on; empty: not known.
    """

    error: MeasurementError
    source: str
    modalities: tuple[Modality, ...] = ()

    def is_valid_for(self, modality: Modality | None) -> bool:
        """Whether it was measured on cases of a modality; where either is not known, it may be."""
        return not self.modalities or modality in (None, *self.modalities)


class _CrossValidated(msgspec.Struct, frozen=True):
    """Of cv.json, what this module reads."""

    results: dict[str, Content] = {}


def stated(sd_percent: float) -> FamilyError:
    """An error that the user states, for masks that no model made."""
    return FamilyError(MeasurementError(0.0, sd_percent), f"a stated error of {sd_percent:g}%")


def of_family(path: str | os.PathLike[str]) -> FamilyError:
    """The error of a family.

    Args:
        path: its folder, or the name of a released one.

    Raises:
        InputError: if there is no such family, or it was not cross-validated.
    """
    folder = pathlib.Path(released.place(path))
    models = model_files.find([folder])
    measured = _measured(folder, models)
    if measured is None:
        raise InputError(
            f"{path}: expected a family with the {held_out.FILE_NAME} of its cross-validation, "
            "found none; state the error by --error_percent."
        )
    return measured


def of_record(
    record: PredictionRecord | None, given: FamilyError | None = None
) -> FamilyError | None:
    """The error of a measurement.

    Args:
        record: what predict wrote of it; None: nothing is known of it.
        given: what the user says; None: the record's models are looked for.

    Returns:
        None where it is not known, or was measured on another modality.
    """
    if given is None:
        return of_model(record.model, record.version, record.modality) if record else None
    return given if record is None or given.is_valid_for(record.modality) else None


def of_model(model: str, version: str, modality: Modality | None) -> FamilyError | None:
    """The error of the released family that a JSON of predict names.

    Args:
        model, version: of its members, as `PredictionRecord` has them.
        modality: of the volume; None: not known.

    Returns:
        None where no released family has these members, or it was not cross-validated on volumes of
        this modality. Of an earlier version, the error is not known.
    """
    measured = _of_released().get((model, version))
    return measured if measured and measured.is_valid_for(modality) else None


@functools.cache
def _of_released() -> dict[tuple[str, str], FamilyError]:
    """The errors of the released families that were cross-validated, by members and version."""
    errors = {}
    for name in sorted(released.NAMES):
        if folder := released.find(name):
            models = model_files.find([folder])
            if measured := _measured(folder, models):
                members = joined([info.name for info in models.values()])
                errors[members, joined([info.version for info in models.values()])] = measured
    return errors


def _measured(folder: pathlib.Path, models: model_files.Models) -> FamilyError | None:
    """What cv.json says of a family's members together; None without it."""
    path = folder / held_out.FILE_NAME
    if not path.is_file():
        return None
    results = files.read_record(path, _CrossValidated, "run tools/cross_validate.py again").results
    planes = [info.plane for info in models.values()]
    content = results.get(FUSED if len(planes) > 1 else planes[0], {})
    statistics, cases = content.get(_MEASURE), content.get("cases")
    if not isinstance(statistics, Statistics) or not isinstance(cases, int):
        return None
    if statistics.mean is None or statistics.sd is None or cases < _LEAST_CASES:
        return None
    if statistics.mean <= -100:  # Nothing was found in any case.
        return None
    error = MeasurementError(statistics.mean, statistics.sd)
    name = model_files.family_name([folder], models)
    source = (
        f"{cases} held-out cases of {name}, error {statistics.mean:+.1f} ± {statistics.sd:.1f}%"
    )
    return FamilyError(error, source, _modalities(folder))


def _modalities(folder: pathlib.Path) -> tuple[Modality, ...]:
    """The modalities of the cases that the family was calibrated on; () where that is not known."""
    path = folder / calibration.FILE_NAME
    if not path.is_file():
        return ()
    calibrated = calibration.read(path)
    if calibrated.patients_by_modality:
        return tuple(calibrated.patients_by_modality)
    return (calibrated.modality,) if calibrated.modality else ()
