"""Exported models on disk: where they lie, and what their model.json says."""

from __future__ import annotations

import collections
import itertools
import math
import os
import pathlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from spleen_tf.core import files
from spleen_tf.core.files import InputError
from spleen_tf.imaging import planes


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _are_two_numbers(value: Any) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(map(_is_number, value))


# What a model.json has to tell, and what may stand there.
_KEYS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "name": ("a text", _is_text),
    "version": ("a text", _is_text),
    "plane": (f"one of {', '.join(planes.PLANES)}", lambda value: value in planes.PLANES),
    "modality": ("CT, MR or any", lambda value: value in ("CT", "MR", "any")),
    "pixel_mm": ("two numbers above 0", lambda value: _are_two_numbers(value) and min(value) > 0),
    "window": ("two numbers", _are_two_numbers),
    "image_size": (
        "an integer or two",
        lambda value: all(type(n) is int for n in (value if isinstance(value, list) else [value])),
    ),
    "learning_rate": ("a number", _is_number),
    "in_channels": (
        "an odd integer above 0",
        lambda value: type(value) is int and value > 0 and value % 2 == 1,
    ),
}
# What it may lack, and may stand there if it does not.
_OPTIONAL_KEYS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "threshold": ("a number of 0 to 1", lambda value: _is_number(value) and 0 <= value <= 1),
}

# FAMILY/PLANE/saved_model: no member of a family lies deeper.
_FAMILY_DEPTH = 2
# FAMILY/second_opinion/PLANE/saved_model: members that are asked where the others do not agree.
SECOND_OPINION = "second_opinion"


def find(paths: Iterable[str | os.PathLike]) -> dict[pathlib.Path, dict[str, Any]]:
    """The models that --model names: the content of model.json by SavedModel folder.

    Args:
        paths: SavedModel folders, or folders with several of them below.

    Raises:
        InputError: if one holds none, or one that spleen_tf.export did not write, if one is named
            twice, or if models of CT and of MR are mixed.
    """
    named = [folder for path in paths for folder in folders(path)]
    # A link is a second name that someone chose to give.
    counts = collections.Counter(map(os.path.abspath, named))
    for folder in named:
        if counts[os.path.abspath(folder)] > 1:
            raise InputError(f"--model: expected each model once, found {folder} more than once.")
    found = {folder: describe(folder) for folder in named}
    modalities = {info["modality"] for info in found.values()}
    if {"CT", "MR"} <= modalities:
        raise InputError("--model: expected models of one modality, found CT and MR.")
    return found


def second_opinion(paths: Sequence[str | os.PathLike]) -> list[pathlib.Path]:
    """The SavedModel folders of the second opinion that a family brings along; [] without one.

    Args:
        paths: what --model names. Several are fused as they are: nobody's second opinion is theirs.

    Raises:
        InputError: as `find` does; also if it is for another modality than the family.
    """
    if len(paths) != 1:
        return []
    folder = pathlib.Path(paths[0]) / SECOND_OPINION
    if not folder.is_dir():
        return []
    others = folders(folder)
    find([*folders(paths[0]), *others])
    return others


def folders(path: str | os.PathLike) -> list[pathlib.Path]:
    """The SavedModel folders at a path or below it, sorted.

    Hidden ones and those of a second opinion are left out.

    Raises:
        InputError: if there is none, or one lies so deep that the path holds several families.
    """
    path = pathlib.Path(path)
    if (path / "saved_model.pb").is_file():
        return [path]
    found = sorted(pb.parent for pb in path.rglob("saved_model.pb"))
    found = [
        folder
        for folder in found
        if not any(
            part.startswith(".") or part == SECOND_OPINION
            for part in folder.relative_to(path).parts
        )
    ]
    if not found:
        state = "none in it or below" if path.is_dir() else "no such folder"
        raise InputError(
            f"{path}: expected a SavedModel folder (with saved_model.pb), found {state}; "
            "spleen_tf.export writes one."
        )
    depths = [len(folder.relative_to(path).parts) for folder in found]
    if max(depths) > _FAMILY_DEPTH:
        names = sorted({folder.relative_to(path).parts[0] for folder in found})
        raise InputError(
            f"{path}: expected a model or a family of them, found {len(names)} folders of models "
            f"({', '.join(names)}); name one, or repeat --model to fuse several."
        )
    return found


def describe(folder: pathlib.Path) -> dict[str, Any]:
    """The content of a SavedModel's model.json.

    Raises:
        InputError: if there is none, or one that says too little or what cannot be.
    """
    path = folder / "assets.extra" / "model.json"
    if not path.is_file():
        raise InputError(
            f"{folder}: expected a SavedModel that spleen_tf.export wrote, found one without "
            "assets.extra/model.json."
        )
    info = files.read_json(path)
    missing = [key for key in _KEYS if not isinstance(info, dict) or key not in info]
    if missing:
        raise InputError(f"{path}: expected the key {missing[0]!r}, found none.")
    for key, (expected, is_right) in (_KEYS | _OPTIONAL_KEYS).items():
        if key in info and not is_right(info[key]):
            raise InputError(f"{path}: expected {expected} as the {key}, found {info[key]!r}.")
    return info


def in_common(infos: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What a prediction's JSON says of its members: model, image_size, learning_rate, version.

    Args:
        infos: the content of each member's model.json. Where they differ, all are joined by ' + '.
    """
    keys = {"model": "name"} | {k: k for k in ("image_size", "learning_rate", "version")}
    return {told: _joined([info[key] for info in infos]) for told, key in keys.items()}


def family_name(infos: Sequence[Mapping[str, Any]]) -> str:
    """A name for all members: what theirs begin with, else all of them joined."""
    names = [str(info["name"]) for info in infos]
    shared = itertools.takewhile(lambda letters: len(set(letters)) == 1, zip(*names, strict=False))
    return "".join(letters[0] for letters in shared).rstrip("_- ") or str(_joined(names))


def _joined(values: list[Any]) -> Any:
    if all(value == values[0] for value in values):
        return values[0]
    return " + ".join(str(value) for value in values)
