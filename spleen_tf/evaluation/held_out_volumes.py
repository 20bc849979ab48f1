"""Volumes of held-out cases, true and predicted: what the interval of a volume is learnt from."""

from __future__ import annotations

import math
import os
import pathlib
from collections.abc import Callable

import msgspec

from spleen_tf.core.files import InputError
from spleen_tf.evaluation import results
from spleen_tf.evaluation.places import Places
from spleen_tf.evaluation.protocol import FUSED
from spleen_tf.imaging.intensity import Modality
from spleen_tf.inference import prediction
from spleen_tf.inference.prediction import PredictionRecord
from spleen_tf.quality.volume_interval import Doubt, HeldOutVolume

# Makes the tables that are read.
WRITER = "tools/cross_validate.py"


class _Row(msgspec.Struct, frozen=True):
    """Of a row of cases.csv, what is read."""

    plane: str
    case: str
    truth_mm3: float
    pred_mm3: float


def read(
    folder: str | os.PathLike[str], modality_of: Callable[[str], Modality | None]
) -> list[HeldOutVolume]:
    """The volumes that a cross-validation left, of the planes fused where there are several.

    Args:
        folder: with cases.csv and, if they are still there, the JSON files beside the masks; the
            folder of a released family has only the first.
        modality_of: of the case with this name; None: its JSON says it.

    Returns:
        One per case, in the order of cases.csv; none of several planes that were not fused. Without
        its JSON a prediction shows no doubt.

    Raises:
        InputError: if cases.csv is missing or lacks a column, or a case's modality is not known.
    """
    folder = pathlib.Path(folder)
    path = folder / results.CASES_NAME
    rows = results.read_table(path, _Row, WRITER)
    planes = {row.plane for row in rows}
    plane = planes.pop() if len(planes) == 1 else FUSED
    volumes = []
    for row in rows:
        if row.plane == plane and not math.isnan(row.pred_mm3):
            json = Places(folder).evaluated_masks(plane) / f"{row.case}.json"
            record = prediction.read(json) if json.is_file() else None
            modality = modality_of(row.case) or (record.modality if record else None)
            if not modality:
                raise InputError(
                    f"{path}: expected cases whose modality is known, found {row.case!r}, of "
                    f"which {json} does not say it."
                )
            volumes.append(_volume(row, modality, record))
    return volumes


def _volume(row: _Row, modality: Modality, record: PredictionRecord | None) -> HeldOutVolume:
    doubt = Doubt(None, None)
    if record:
        agreement = record.evidence.agreement if record.evidence else None
        doubt = Doubt(record.volume_ml_nested, agreement)
    return HeldOutVolume(row.case, modality, row.truth_mm3 / 1000, row.pred_mm3 / 1000, doubt)
