"""Exported models on disk: where they lie, and what their model.json says.

A model is known by its SavedModel's folder. In a wheel, that folder holds model.json alone, and
model.onnx lies beside it.
"""

from __future__ import annotations

import collections
import os
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated

import msgspec
from msgspec import Meta

from spleen_tf.core import files
from spleen_tf.core.files import InputError
from spleen_tf.imaging.intensity import ModelModality
from spleen_tf.imaging.planes import Plane
from spleen_tf.network import spec
from spleen_tf.quality import calibration

# FAMILY/PLANE/saved_model: no member of a family lies deeper.
_FAMILY_DEPTH = 2
# FAMILY/second_opinion/PLANE/saved_model: members that are asked where the others disagree.
SECOND_OPINION = "second_opinion"
# FAMILY/first_look/PLANE/saved_model: members that say where the others look.
FIRST_LOOK = "first_look"
_PARTS = (SECOND_OPINION, FIRST_LOOK)
_INFO = "assets.extra/model.json"

_Millimetres = Annotated[float, Meta(gt=0)]
_StrPath = str | os.PathLike[str]


class TrainedCase(msgspec.Struct, frozen=True):
    """A case that a model was trained on: its name, and the SHA-256 of its image."""

    name: str
    sha256: str


class TrainedOn(msgspec.Struct, frozen=True):
    """The cases that a model was trained on."""

    cases: tuple[TrainedCase, ...] = ()


class Validation(msgspec.Struct, frozen=True):
    """A model's Dice, None where it was not measured, and how it was measured."""

    dice: float | None = None
    how: str = ""


class ModelInfo(msgspec.Struct, frozen=True, kw_only=True):
    """The content of model.json.

    Attributes:
        name, version: of the model.
        plane: of the slices that it sees.
        modality: of the volumes that it is for.
        pixel_mm: row and column spacing of the network's grid.
        window: intensities that become 0 and 1: HU of a CT model, percentiles of any other.
        image_size: pixels a side, or height and width, of the images that it was trained on.
        learning_rate: of its training.
        in_channels: consecutive slices that it sees at once, an odd number.
        threshold: the probability from which a voxel is spleen.
        labels: what the values of a mask mean.
        family: the name of the family that it belongs to; None: not said.
        license: of the weights, as an SPDX identifier; None: not said.
        training: the cases that it was trained on.
        validation: its Dice, and how it was measured.
        versions: of what made it, by package.
    """

    name: str
    version: str
    plane: Plane
    modality: ModelModality
    pixel_mm: tuple[_Millimetres, _Millimetres]
    window: tuple[float, float]
    image_size: int | tuple[int, ...]
    learning_rate: float
    in_channels: Annotated[int, Meta(ge=1)]
    threshold: Annotated[float, Meta(ge=0, le=1)] = 0.5
    labels: dict[str, str] = msgspec.field(
        default_factory=lambda: {"0": "background", "1": "spleen"}
    )
    family: str | None = None
    license: str | None = None
    training: TrainedOn = TrainedOn()
    validation: Validation = Validation()
    versions: dict[str, str] = {}

    def __post_init__(self) -> None:
        if self.in_channels % 2 == 0:
            raise ValueError(f"Expected an odd number of in_channels, got {self.in_channels}")


Models = Mapping[pathlib.Path, ModelInfo]


def find(paths: Iterable[_StrPath]) -> Models:
    """The models that --model names, by SavedModel folder.

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
    models = {folder: describe(folder) for folder in named}
    check_one_modality(models.values())
    return models


def check_one_modality(infos: Iterable[ModelInfo]) -> None:
    """Raises InputError if models of CT and of MR are mixed."""
    if {"CT", "MR"} <= {info.modality for info in infos}:
        raise InputError("--model: expected models of one modality, found CT and MR.")


def find_second_opinion(paths: Sequence[_StrPath]) -> Models:
    """The models of the second opinion that a family brings along; {} without one.

    Args:
        paths: what --model names. Several are fused as they are, and have no second opinion.

    Raises:
        InputError: as `find` does.
    """
    if len(paths) != 1:
        return {}
    folder = pathlib.Path(paths[0]) / SECOND_OPINION
    return find([folder]) if folder.is_dir() else {}


def find_first_look(models: Models) -> Models:
    """The models of the first look that belong to all of some members; {} without any.

    Members of a family that has one have learnt the surroundings of the organ alone. So it belongs
    to a single one of them, too.

    Raises:
        InputError: as `find` does.
    """
    places = {folder.resolve().parents[1] / FIRST_LOOK for folder in models}
    if len(places) != 1 or not (place := places.pop()).is_dir():
        return {}
    return find([place])


def find_calibration(paths: Sequence[_StrPath], models: Models) -> pathlib.Path | None:
    """The quality.json of a family; None without one, and where several paths are fused.

    It lies beside the model's card: in the folder that --model names or, where that is a SavedModel
    itself, in the one above.
    """
    if len(paths) != 1:
        return None
    folder = pathlib.Path(paths[0])
    path = (folder.parent if folder in models else folder) / calibration.FILE_NAME
    return path if path.is_file() else None


def folders(path: _StrPath) -> list[pathlib.Path]:
    """The SavedModel folders at a path or below it, sorted.

    Hidden ones, and those of a first look or a second opinion, are left out.

    Raises:
        InputError: if there is none, or one lies so deep that the path holds several families.
    """
    path = pathlib.Path(path)
    if _is_model(path):
        return [path]
    places = {pb.parent for pb in path.rglob("saved_model.pb")}
    places |= {info.parent.parent for info in path.rglob(_INFO)}
    members = [
        folder
        for folder in sorted(places)
        if _is_model(folder)
        and not any(
            part.startswith(".") or part in _PARTS for part in folder.relative_to(path).parts
        )
    ]
    if not members:
        state = "none in it or below" if path.is_dir() else "no such folder"
        raise InputError(
            f"{path}: expected a SavedModel folder (with saved_model.pb), found {state}; "
            "spleen_tf.export writes one."
        )
    depths = [len(folder.relative_to(path).parts) for folder in members]
    if max(depths) > _FAMILY_DEPTH:
        names = sorted({folder.relative_to(path).parts[0] for folder in members})
        raise InputError(
            f"{path}: expected a model or a family of them, found {len(names)} folders of models "
            f"({', '.join(names)}); name one, or repeat --model to fuse several."
        )
    return members


def _is_model(folder: pathlib.Path) -> bool:
    """Whether a folder is a SavedModel's, or what a wheel has of one."""
    has_onnx_alone = (folder / _INFO).is_file() and spec.onnx_path(folder).is_file()
    return spec.has_saved_model(folder) or has_onnx_alone


def describe(folder: pathlib.Path) -> ModelInfo:
    """Reads a SavedModel's model.json.

    Raises:
        InputError: if there is none, or a key is missing or holds what cannot be.
    """
    path = folder / _INFO
    if not path.is_file():
        raise InputError(
            f"{folder}: expected a SavedModel that spleen_tf.export wrote, found one without "
            f"{_INFO}."
        )
    return files.read_record(path, ModelInfo, "export the model again")


def sha256(folder: pathlib.Path) -> str:
    """The SHA-256 of the file that a model's weights are in: model.onnx or, without one, the
    SavedModel's.

    Raises:
        InputError: if it cannot be read.
    """
    onnx = spec.onnx_path(folder)
    return files.sha256(onnx) if onnx.is_file() else spec.weights_sha256(folder)


def family_name(paths: Sequence[_StrPath], models: Models) -> str:
    """The name for all members together.

    It is the family that every model.json names. Where they do not, each path counts: a single
    model has its own name, several below one folder have the folder's.
    """
    named = {info.family for info in models.values()}
    if len(named) == 1 and (family := named.pop()):
        return family
    names = []
    for path in paths:
        infos = [models[folder] for folder in folders(path)]
        names.append(infos[0].name if len(infos) == 1 else _folder_name(pathlib.Path(path)))
    return " + ".join(dict.fromkeys(names))


def _folder_name(path: pathlib.Path) -> str:
    path = path.resolve()
    return f"{path.parent.name}_{path.name}" if path.name in _PARTS else path.name
