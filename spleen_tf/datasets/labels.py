"""Label maps: whole numbers, of which one or all above 0 mean spleen."""

from __future__ import annotations

import dataclasses
import warnings
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spleen_tf.core import files
from spleen_tf.core.files import InputWarning
from spleen_tf.imaging.volume import Volume, VolumeError

# Programs that save labels as scaled integers give them back a little off.
_ROUNDING = 0.01
# Maps of all organs have about a hundred labels; an image has more.
_MOST_LABELS = 200


def mask(label: Volume, value: int = 0, *, warn_of_several: bool = False) -> Volume:
    """Where a label map has a value.

    Voxels within 0.01 of a whole number count as it.

    Args:
        label: any dtype.
        value: the value that counts; 0 for any above 0.
        warn_of_several: warns where value is 0 and the map has several values above 0.

    Returns:
        The label with a bool array.

    Raises:
        VolumeError: if the map holds other fractions, as probabilities do, or more values than
            labels have, as an image does.
    """
    whole_ijk = _whole_numbers(label)
    above_ijk = whole_ijk > 0
    # Voxel by voxel as they lie in memory: another order takes five times as long.
    values = np.unique(whole_ijk.ravel(order="K")[above_ijk.ravel(order="K")])
    if len(values) > _MOST_LABELS:
        raise VolumeError(
            f"{label.source}: expected a label, found {len(values)} different values above 0, as "
            "in an image; are image and label exchanged?"
        )
    if warn_of_several and len(values) > 1 and not value:
        _warn_of_several_values(label.source, values)
    return dataclasses.replace(label, array_ijk=whole_ijk == value if value else above_ijk)


def _whole_numbers(label: Volume) -> NDArray[Any]:
    """The label's array, rounded."""
    array_ijk = label.array_ijk
    if array_ijk.dtype.kind != "f":
        return array_ijk
    rounded_ijk: NDArray[Any] = np.rint(array_ijk)
    fractional = np.abs(array_ijk - rounded_ijk) > _ROUNDING
    if fractional.any():
        example = array_ijk[fractional][0]
        raise VolumeError(
            f"{label.source}: expected whole numbers as labels, found {example:g} and other "
            f"fractions in {np.count_nonzero(fractional)} voxels; cut a map of probabilities or a "
            "smoothed label at 0.5, and resample labels with nearest neighbours."
        )
    return rounded_ijk


def _warn_of_several_values(source: str, values: NDArray[Any]) -> None:
    named = files.listed([f"{value:g}" for value in values], 6)
    warnings.warn(
        f"{source}: the values {named} all count as spleen; --label_value picks one",
        InputWarning,
        stacklevel=4,
    )
