"""Volumes of held-out cases, true and predicted: what the interval of a volume is learnt from."""

from __future__ import annotations

import math
import os
import pathlib
from collections.abc import Callable

from spleen_tf.core.files import InputError
from spleen_tf.evaluation import results
from spleen_tf.evaluation.protocol import FUSED
from spleen_tf.imaging.intensity import Modality
from spleen_tf.inference import prediction
from spleen_tf.inference.prediction import PredictionRecord
from spleen_tf.quality.volume_interval import Doubt, HeldOutVolume

# Where a cross-validation links to the masks that were evaluated, by plane, and to their JSON.
MASKS = "evaluated_masks"


def read(
    folder: str | os.PathLike[str], modality_of: Callable[[str], Modality | None]
) -> list[HeldOutVolume]:
    """The volumes that a cross-validation left, of the planes fused where there are several.

    Args:
        folder: with cases.csv and, if they are still there, the JSON files beside the masks; the
            folder of a released family has the first alone.
        modality_of: of the case with this name; None: its JSON says it.

    Returns:
        One per case, in the order of cases.csv; none of several planes that were not fused. Without
        its JSON a prediction shows no doubt.

    Raises:
        InputError: if cases.csv is missing or lacks a column, or a case's modality is not known.
    """
    folder = pathlib.Path(folder)
    path = folder / results.CASES_NAME
    rows = _rows(path)
    planes = {row["plane"] for row in rows}
    plane = planes.pop() if len(planes) == 1 else FUSED
    volumes = []
    for row in rows:
        if row["plane"] == plane and not math.isnan(float(row["pred_mm3"])):
            json = folder / MASKS / plane / f"{row['case']}.json"
            record = prediction.read(json) if json.is_file() else None
            modality = modality_of(row["case"]) or (record.modality if record else None)
            if not modality:
                raise InputError(
                    f"{path}: expected cases whose modality is known, found {row['case']!r}, of "
                    f"which {json} does not say it."
                )
            volumes.append(_volume(row, modality, record))
    return volumes


def _rows(path: pathlib.Path) -> list[dict[str, str]]:
    if not path.is_file():
        raise InputError(
            f"{path}: expected what tools/cross_validate.py wrote, found no such file."
        )
    rows = results.read_rows(path)
    try:
        for row in rows:
            _ = row["plane"], row["case"], float(row["truth_mm3"]), float(row["pred_mm3"])
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(
            f"{path}: expected the columns plane, case, truth_mm3 and pred_mm3 (numbers), found "
            f"others ({error}); run tools/cross_validate.py again."
        ) from None
    return rows


def _volume(
    row: dict[str, str], modality: Modality, record: PredictionRecord | None
) -> HeldOutVolume:
    doubt = Doubt(None, None)
    if record:
        agreement = record.evidence.agreement if record.evidence else None
        doubt = Doubt(record.volume_ml_nested, agreement)
    truth_ml, volume_ml = float(row["truth_mm3"]) / 1000, float(row["pred_mm3"]) / 1000
    return HeldOutVolume(row["case"], modality, truth_ml, volume_ml, doubt)
