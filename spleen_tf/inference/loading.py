"""Families by the paths of their models, or by the names of released ones."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence

from spleen_tf.core.files import InputWarning
from spleen_tf.inference import engine as engines
from spleen_tf.inference import model_files, released
from spleen_tf.inference.engine import DEFAULT_ENGINE, Engine, RuntimeChoice
from spleen_tf.inference.family import Family
from spleen_tf.inference.member import Member
from spleen_tf.inference.model_files import Models
from spleen_tf.network import spec
from spleen_tf.quality import calibration as calibrations


def load(
    path: str | os.PathLike[str],
    *others: str | os.PathLike[str],
    runtime: RuntimeChoice = "auto",
    device: str = "auto",
    precision: str = "auto",
) -> Family:
    """Loads a family, for use as `python -m spleen_tf.predict` uses it.

    Args:
        path, *others: as in `resolve`.
        runtime, device, precision: as in `engine.Engine`. With TensorFlow, device and precision
            are those of all models of this process.

    Raises:
        InputError: as `resolve` does; or if a model does not load, or there is no such device.
    """
    engine = Engine(runtime, device, precision)
    family = resolve([path, *others], engine)
    family.start(engine)
    return family


def resolve(
    paths: Sequence[str | os.PathLike[str]],
    engine: Engine = DEFAULT_ENGINE,
    with_second_opinion: bool = True,
    with_calibration: bool = True,
) -> Family:
    """The family that paths name, without loading it: TensorFlow is not imported.

    Args:
        paths: SavedModel folders, folders with several of them below, or names of released
            families. Several are fused.
        engine: what is to run them.
        with_second_opinion: the family's second opinion, if it has one, belongs to it.
        with_calibration: its calibration, if it has one, is read.

    Raises:
        InputError: if a path holds no model, a model.json or quality.json is wrong, or models of CT
            and MR are mixed.
    """
    places = [released.place(path) for path in paths]
    models = model_files.find(places)
    name = model_files.family_name(places, models)
    second = None
    others = model_files.find_second_opinion(places) if with_second_opinion else {}
    if others:
        model_files.check_one_modality([*models.values(), *others.values()])
        asked = members(others, _engine_of_second_opinion(others, engine))
        second = _second_opinion(f"{name}_{model_files.SECOND_OPINION}", asked)
    calibration = None
    if with_calibration and (path := model_files.find_calibration(places, models)):
        calibration = calibrations.read(path)
        if calibration.members != len(models):
            calibration = None
    looks = members(model_files.find_first_look(models), engine)
    return Family(name, members(models, engine), calibration, second, looks)


def members(models: Models, engine: Engine = DEFAULT_ENGINE) -> tuple[Member, ...]:
    """Members for model_files.find's models. None is loaded yet."""
    chosen = engines.choose(list(models), engine)
    return tuple(map(Member, models.values(), chosen, models))


def _engine_of_second_opinion(models: Models, engine: Engine) -> Engine:
    """What is to run fallback models: those that a family has as model.onnx alone run by that."""
    is_onnx_alone = not all(map(spec.has_saved_model, models))
    return DEFAULT_ENGINE if is_onnx_alone and engine.runtime != "openvino" else engine


def _second_opinion(name: str, others: tuple[Member, ...]) -> Family | None:
    """The models that are asked where the others disagree; None where nothing here runs them."""
    if engines.is_installed([member.runtime for member in others]):
        return Family(name, others)
    warnings.warn(
        f"{name}: expected TensorFlow, which these models need, found it not installed; where "
        "the others disagree, their mask is marked for review.",
        InputWarning,
        stacklevel=2,
    )
    return None
