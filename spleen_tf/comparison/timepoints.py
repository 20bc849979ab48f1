"""Masks and JSON files of two examinations: which belong together, and what each measures."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import warnings
from typing import NamedTuple

import numpy as np

from spleen_tf.core import files
from spleen_tf.core.files import InputError, InputWarning
from spleen_tf.evaluation import pairing
from spleen_tf.imaging import masks
from spleen_tf.imaging.volume import Volume
from spleen_tf.inference import prediction
from spleen_tf.inference.prediction import PredictionRecord
from spleen_tf.io import nifti

_JSON = ".json"
# An image in place of a mask has as much; no spleen has.
_MOST_ML = 10_000


@dataclasses.dataclass(frozen=True, eq=False)
class TimePoint:
    """The spleen at one examination.

    Attributes:
        source: the file that it was read from.
        volume_ml: of the mask on its own grid; of a JSON alone, what that says.
        complete: False where the mask touches the edge of its volume; None for an empty mask.
        record: what predict wrote beside the mask, if it is still of this mask.
        is_edited: whether such a JSON exists and tells another volume than the mask has.
        mask: bool voxels; None for a JSON alone.
    """

    source: str
    volume_ml: float
    complete: bool | None
    record: PredictionRecord | None = None
    is_edited: bool = False
    mask: Volume | None = None

    @property
    def model(self) -> str | None:
        """The models that made it, where that is known."""
        return self.record.model if self.record else None


class Pair(NamedTuple):
    """The earlier and the later file of one case."""

    case: str
    before: pathlib.Path
    after: pathlib.Path


def pair(before: str | os.PathLike[str], after: str | os.PathLike[str]) -> list[Pair]:
    """Cases with their earlier and their later file: two files as they are, folders by name.

    In a folder a mask goes before the JSON beside it. Warns of cases that only one folder has.

    Returns:
        At least one Pair, sorted by case. Two files go by the name of the later one.

    Raises:
        InputError: if a path does not exist, one is a file and the other a folder, or no case is
            in both.
    """
    before, after = pathlib.Path(before), pathlib.Path(after)
    for path in (before, after):
        if not path.exists():
            raise InputError(
                f"{path}: expected a mask, a JSON of predict or a folder of them, found nothing."
            )
    if before.is_file() and after.is_file():
        return [Pair(_case(after), before, after)]
    if before.is_file() or after.is_file():
        file, folder = (before, after) if before.is_file() else (after, before)
        raise InputError(
            f"{file}: expected a folder as {folder} is, found a file; give two files or two "
            "folders."
        )
    earlier, later = _files(before), _files(after)
    both = sorted(earlier.keys() & later.keys())
    if not both:
        sought, found = files.listed(sorted(earlier), 5), files.listed(sorted(later), 5)
        raise InputError(
            f"{after}: expected files named like those of {before}, found none of {sought} among "
            f"{found}; rename one, or give two files."
        )
    if left_out := sorted(earlier.keys() ^ later.keys()):
        warnings.warn(
            f"{before}, {after}: left out, since they have one examination only: "
            f"{files.listed(left_out, 5)}",
            InputWarning,
            stacklevel=2,
        )
    return [Pair(case, earlier[case], later[case]) for case in both]


def read(path: str | os.PathLike[str], label_value: int = 0) -> TimePoint:
    """Reads a mask, with the JSON beside it if predict wrote one, or such a JSON alone.

    Args:
        path: CASE.nii.gz or CASE.json.
        label_value: the value of the organ in a mask; 0: any above 0.

    Raises:
        InputError: if the file cannot be read, or is no mask and no JSON of predict.
    """
    path = pathlib.Path(path)
    if not nifti.is_nifti(path):
        return _of_json(path)
    point = of_mask(pairing.read_mask(path, label_value))
    if point.volume_ml > _MOST_ML:
        raise InputError(
            f"{path}: expected the mask of a spleen, found {point.volume_ml:,.0f} mL, as an image "
            "or a map of several organs has; name the mask, or the spleen's --label_value."
        )
    record = _record(nifti.sidecar(path))
    if record is None:
        return point
    voxel_ml = point.mask.voxel_mm3 / 1000 if point.mask else 0.0
    is_edited = abs(record.volume_ml - point.volume_ml) > voxel_ml / 2
    return dataclasses.replace(point, record=None if is_edited else record, is_edited=is_edited)


def of_mask(mask: Volume) -> TimePoint:
    """What a bool mask measures."""
    volume_ml = int(np.count_nonzero(mask.array_ijk)) * mask.voxel_mm3 / 1000
    return TimePoint(mask.source, volume_ml, _is_complete(mask), mask=mask)


def _of_json(path: pathlib.Path) -> TimePoint:
    record = prediction.read(path) if path.suffix.lower() == _JSON else None
    if record is None:
        raise InputError(
            f"{path}: expected a mask (.nii.gz, .nii) or a JSON that predict wrote, found another "
            "file."
        )
    if not 0 <= record.volume_ml <= _MOST_ML:
        raise InputError(
            f"{path}: expected a volume_ml from 0 to {_MOST_ML:,.0f}, found {record.volume_ml:g}."
        )
    return TimePoint(str(path), record.volume_ml, record.complete, record)


def _record(path: pathlib.Path) -> PredictionRecord | None:
    """What predict wrote; any program may have left another file of that name, or none."""
    try:
        return prediction.read(path) if path.is_file() else None
    except InputError:
        return None


def _is_complete(mask: Volume) -> bool | None:
    box = masks.bounding_box(mask.array_ijk)
    if box is None:
        return None
    return all(
        side.start > 0 and side.stop < size for side, size in zip(box, mask.shape, strict=True)
    )


def _case(path: pathlib.Path) -> str:
    return nifti.case(path) if nifti.is_nifti(path) else nifti.case(path.with_suffix(""))


def _files(folder: pathlib.Path) -> dict[str, pathlib.Path]:
    """Case to mask, or to a JSON of predict where there is no mask."""
    names = [path for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    has_masks = any(nifti.is_nifti(path) for path in names)
    chosen = pairing.volumes_at(folder) if has_masks else {}
    for path in names:
        is_json = path.suffix.lower() == _JSON and path.is_file()
        if is_json and _case(path) not in chosen and _record(path):
            chosen[_case(path)] = path
    if not chosen:
        raise InputError(f"{folder}: expected masks (CASE.nii.gz) or JSON of predict, found none.")
    return chosen
