"""The released families: which is best for a modality, and where it lies."""

from __future__ import annotations

import os
import pathlib
from collections.abc import Iterator

import spleen_tf
from spleen_tf.core.files import InputError
from spleen_tf.imaging.intensity import Modality

# The best first.
FAMILIES: dict[Modality, tuple[str, ...]] = {
    "CT": ("spleen_ct", "spleen_any"),
    "MR": ("spleen_mr_t2", "spleen_any"),
}
NAMES = {name for names in FAMILIES.values() for name in names}


def best_for(modality: Modality) -> pathlib.Path:
    """The folder of the released family that is best for a modality.

    Raises:
        InputError: if none is there.
    """
    for name in FAMILIES[modality]:
        if folder := find(name):
            return folder
    raise InputError(
        f"--model: expected a released family for {modality} "
        f"({' or '.join(FAMILIES[modality])}) in models/, found none; name a model by --model."
    )


def find(name: str) -> pathlib.Path | None:
    """The folder of a released family; None if it is not there."""
    for root in _roots():
        if any(next((root / name).rglob(file), None) for file in ("saved_model.pb", "model.onnx")):
            return root / name
    return None


def place(path: str | os.PathLike[str]) -> str | os.PathLike[str]:
    """A path as it is; the folder of a released family where only its name is given."""
    if not os.path.exists(path) and str(path) in NAMES:
        return find(str(path)) or path
    return path


def _roots() -> Iterator[pathlib.Path]:
    """models/ of a checkout, then the data of an installed package."""
    package = pathlib.Path(spleen_tf.__file__).parent
    yield package.parent / "models"
    yield package / "_models"
