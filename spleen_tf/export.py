"""Exports a trained model as a SavedModel that plain TensorFlow loads.

Example:
    python -m spleen_tf.export --model_dir=models/my_model --export_dir=models/my_model/saved_model
"""

from __future__ import annotations

import dataclasses
import pathlib
import secrets
import shutil
from typing import TYPE_CHECKING, Any

import spleen_tf
from spleen_tf.core import files, flags
from spleen_tf.core.files import InputError
from spleen_tf.core.flags import flag
from spleen_tf.imaging import planes
from spleen_tf.network.spec import ServingSpec
from spleen_tf.training import training_json
from spleen_tf.training.config import TrainConfig

if TYPE_CHECKING:
    import keras


@dataclasses.dataclass(frozen=True)
class ExportConfig:
    """What to export, and where to."""

    model_dir: str = flag("", "A folder that spleen_tf.train wrote.", required=True)
    export_dir: str = flag("", "The SavedModel's folder; replaced if it is one.", required=True)
    name: str = flag("", "The model's name. Empty: from the export folder's path.")
    model_version: str = flag("1.0.0", "The model's version.")
    threshold: float = flag(
        0.5,
        "Probability from which predict takes a voxel for spleen, unless it is told otherwise.",
        minimum=0,
        maximum=1,
    )


def main(config: ExportConfig) -> None:
    """Writes the SavedModel and its assets.extra/model.json."""
    from spleen_tf.network import serving

    training = _read_training(config.model_dir)
    export_dir = pathlib.Path(config.export_dir)
    if _is_occupied(export_dir):
        raise InputError(
            f"{export_dir}: expected a SavedModel to replace, or nothing, found something else."
        )
    files.make_folder(export_dir.parent)
    network = _load_network(config.model_dir, training)
    description = describe(training, config, _validation(config.model_dir, training))
    partial = export_dir.with_name(f".partial-{secrets.token_hex(4)}-{export_dir.name}")
    try:
        module = serving.servable(network, _serving_spec(training))
        serving.save(module, partial, export_dir)
        files.write_json(partial / "assets.extra" / "model.json", description)
        _replace_folder(partial, export_dir)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    print(
        f"{export_dir}: {description['name']} {description['version']}, {description['plane']}, "
        f"{description['modality']}"
    )


def _serving_spec(training: dict[str, Any]) -> ServingSpec:
    network = TrainConfig(**training["config"]).network
    grid_mm, window = training["pixel_mm"], training["window"]
    return ServingSpec(
        training["modality"],
        (grid_mm[0], grid_mm[1]),
        (window[0], window[1]),
        network.in_channels,
        network.multiple,
    )


def describe(
    training: dict[str, Any], config: ExportConfig, validation: dict[str, Any]
) -> dict[str, Any]:
    """The content of model.json."""
    import keras
    import tensorflow as tf

    image_size = [int(n) for n in training["config"]["image_size"]]
    return {
        "name": config.name or _name(pathlib.Path(config.export_dir).resolve()),
        "version": config.model_version,
        "plane": training["plane"],
        "modality": training["modality"],
        "pixel_mm": training["pixel_mm"],
        "window": training["window"],
        "image_size": image_size[0] if len(set(image_size)) == 1 else image_size,
        "learning_rate": training["config"]["learning_rate"],
        "in_channels": training["config"]["in_channels"],
        "threshold": config.threshold,
        "labels": {"0": "background", "1": "spleen"},
        "training": {"cases": [{"name": n, "sha256": sha} for n, sha in training["train"].items()]},
        "validation": validation,
        "versions": {
            "spleen_tf": spleen_tf.__version__,
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
        },
    }


def _validation(model_dir: str, training: dict[str, Any]) -> dict[str, Any]:
    """The Dice that the exported weights reached in training."""
    from spleen_tf.training import callbacks

    count = len(training["validation"])
    if not count:
        return {"dice": None, "how": "not measured: every case was trained on"}
    dice = callbacks.best_dice(pathlib.Path(model_dir))
    if dice is None:
        return {"dice": None, "how": "not measured: training was not validated"}
    return {
        "dice": dice,
        "how": f"mean over {count} validation cases of the Dice over the whole native volume, "
        "threshold 0.5, no postprocessing; the weights were chosen by it",
    }


def _read_training(model_dir: str) -> dict[str, Any]:
    folder = pathlib.Path(model_dir)
    for name in (training_json.FILE_NAME, "best.weights.h5"):
        if not (folder / name).is_file():
            raise InputError(
                f"{folder}: expected a folder that spleen_tf.train wrote, found no {name} in it."
            )
    path = folder / training_json.FILE_NAME
    training = training_json.read(path)
    names = {field.name for field in dataclasses.fields(TrainConfig)}
    of_today = {key: value for key, value in training["config"].items() if key in names}
    training = {**training, "config": of_today}
    try:
        TrainConfig(**training["config"])
    except TypeError as error:
        raise InputError(
            f"{path}: expected the flags of a training by this version, found others: {error}."
        ) from None
    return training


def _load_network(model_dir: str, training: dict[str, Any]) -> keras.Model:
    """The network in float32, whatever precision it was trained in."""
    import keras

    from spleen_tf.network import unet
    from spleen_tf.training import callbacks

    policy = keras.mixed_precision.global_policy()
    keras.mixed_precision.set_global_policy("float32")
    try:
        network = unet.build(TrainConfig(**training["config"]).network)
    finally:
        keras.mixed_precision.set_global_policy(policy)
    weights = pathlib.Path(model_dir) / callbacks.BEST_WEIGHTS
    try:
        network.load_weights(weights)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{weights}: expected the weights of the network that training.json describes, found "
            f"a damaged or another file ({str(error).splitlines()[0]})."
        ) from None
    return network


def _is_occupied(place: pathlib.Path) -> bool:
    """Whether something lies there that is no SavedModel, and may be dear to someone."""
    if (place / "saved_model.pb").is_file():
        return False
    return place.exists() and not (place.is_dir() and not any(place.iterdir()))


def _name(export_dir: pathlib.Path) -> str:
    """models/NAME/saved_model is NAME; models/NAME/PLANE/saved_model is NAME-PLANE."""
    parts = [part for part in export_dir.parts if part != "saved_model"]
    return "-".join(parts[-2:]) if parts[-1] in planes.PLANES else parts[-1]


def _replace_folder(partial: pathlib.Path, place: pathlib.Path) -> None:
    """Renames a folder to a place; what was there comes back if that fails."""
    old = partial.with_name(f"{partial.name}-old")
    if place.exists():
        place.rename(old)
    try:
        partial.rename(place)
    except OSError:
        if old.exists():
            old.rename(place)
        raise
    shutil.rmtree(old, ignore_errors=True)


if __name__ == "__main__":
    flags.run(main, ExportConfig)
