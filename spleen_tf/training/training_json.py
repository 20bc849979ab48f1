"""training.json: what a training is of, by which it is resumed and exported."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from spleen_tf.core import files
from spleen_tf.core.files import InputError
from spleen_tf.training.config import TrainConfig

if TYPE_CHECKING:
    from spleen_tf.training.run import Selection

FILE_NAME = "training.json"

_TYPES = {
    "config": dict,
    "plane": str,
    "modality": str,
    "pixel_mm": list,
    "window": list,
    "train": dict,
    "validation": dict,
}
# What makes two trainings the same one; the others may differ between a run and its resumption,
# but for precision: float16 goes on from float16 alone, whose loss scale it needs.
_IDENTITY = (
    *("image_size", "pixel_mm", "window", "in_channels", "base_filters", "max_filters"),
    *("depth", "norm", "optimizer", "ema", "batch_size"),
)


def describe(config: TrainConfig, data: Selection) -> dict[str, Any]:
    """The content for a training: its flags, what they were settled to, and its cases.

    Returns:
        config: the fields of TrainConfig; plane; modality; pixel_mm; window; train and validation:
        the SHA-256 of each case's image, by its name.
    """

    def hashes(names: Iterable[str]) -> dict[str, str]:
        return {name: data.cases[name].source_sha256 for name in names}

    return _plain(
        {
            "config": dataclasses.asdict(config),
            "plane": data.plane,
            "modality": data.modality,
            "pixel_mm": data.pixel_mm,
            "window": data.window,
            "train": hashes(data.train),
            "validation": hashes(data.validation),
        }
    )


def read(path: str | os.PathLike) -> dict[str, Any]:
    """What `describe` returned, maybe that of another version, whose flags were others.

    Raises:
        InputError: if the file holds something else.
    """
    content = files.read_json(path)
    for key, kind in _TYPES.items():
        if not isinstance(content, dict) or not isinstance(content.get(key), kind):
            raise InputError(
                f"{path}: expected {key!r} as spleen_tf.train writes it, found another content; "
                "restore the file, or train in another --model_dir."
            )
    return content


def check_resumes(model_dir: str | os.PathLike, description: Mapping[str, Any]) -> None:
    """Raises InputError if a training in the folder is another than what `describe` returned."""
    path = pathlib.Path(model_dir) / FILE_NAME
    if not path.is_file():
        return
    earlier = read(path)
    for key in _IDENTITY:
        # A training from before there was such a flag went by its default.
        before = earlier["config"].get(key, getattr(TrainConfig, key))
        if before != description["config"][key]:
            raise InputError(
                f"{path}: expected --{key}={before} to resume, found "
                f"{description['config'][key]}; use another --model_dir for another model."
            )
    for key in ("plane", "modality", "train", "validation"):
        if earlier[key] != description[key]:
            raise InputError(
                f"{path}: expected records with the same {key} as before to resume, found "
                "others; use another --model_dir for another model."
            )


def _plain(content: Any) -> Any:
    """Tuples as lists, as JSON gives them back."""
    if isinstance(content, dict):
        return {key: _plain(value) for key, value in content.items()}
    return [_plain(value) for value in content] if isinstance(content, (list, tuple)) else content
