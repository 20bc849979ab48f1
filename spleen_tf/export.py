"""Exports a trained model as a SavedModel that plain TensorFlow loads, and model.onnx beside it.

Example:
    python -m spleen_tf.export --model_dir=models/my_model --export_dir=models/my_model/saved_model

With --saved_model, it writes model.onnx beside a SavedModel that is already there:
    python -m spleen_tf.export --saved_model=models/my_model/saved_model
"""

from __future__ import annotations

import dataclasses
import glob
import pathlib
import secrets
import shutil
from typing import TYPE_CHECKING

import spleen_tf
from spleen_tf.core import files, flags, locks
from spleen_tf.core.files import InputError
from spleen_tf.core.flags import ConfigError, flag
from spleen_tf.imaging import planes
from spleen_tf.inference import model_files
from spleen_tf.inference.model_files import ModelInfo, TrainedCase, TrainedOn, Validation
from spleen_tf.network.spec import ServingSpec, onnx_path
from spleen_tf.training import run
from spleen_tf.training.run import TrainingRecord

if TYPE_CHECKING:
    import keras


@dataclasses.dataclass(frozen=True)
class ExportConfig:
    """What to export, and where to."""

    model_dir: str | None = flag(None, "A folder that spleen_tf.train wrote.")
    export_dir: str | None = flag(
        None, "The folder for the SavedModel; an earlier SavedModel there is replaced."
    )
    saved_model: str | None = flag(
        None, "In place of these two: a SavedModel's folder, beside which to write model.onnx."
    )
    name: str | None = flag(None, "The model's name. Not set: from the export folder's path.")
    family: str | None = flag(
        None, "The family's name. Not set: the name, less the plane at its end."
    )
    model_version: str = flag("1.0.0", "The model's version.")
    license: str | None = flag(None, "The licence of the weights: an SPDX identifier.")
    dice: float | None = flag(
        None,
        "The Dice of this recipe on cases that it did not train on, as cross-validation measures "
        "it. Not set: that of the training's own validation cases.",
        minimum=0,
        maximum=1,
    )
    dice_how: str | None = flag(None, "How --dice was measured: cases, folds, planes, command.")
    threshold: float = flag(
        0.5,
        "Probability from which a voxel is spleen, where predict gets no --threshold.",
        minimum=0,
        maximum=1,
    )

    def __post_init__(self) -> None:
        """Raises ConfigError where flags are missing or exclude one another."""
        if self.saved_model:
            if self.model_dir or self.export_dir:
                raise ConfigError(
                    "--saved_model: expected neither --model_dir nor --export_dir with it, found "
                    "both kinds."
                )
            return
        if not self.model_dir:
            raise ConfigError(
                "--model_dir: expected a folder that spleen_tf.train wrote. Found nothing."
            )
        if not self.export_dir:
            raise ConfigError("--export_dir: expected the SavedModel's folder. Found nothing.")
        if (self.dice is None) != (self.dice_how is None):
            raise ConfigError("--dice: expected together with --dice_how, found one of them alone.")


def main(config: ExportConfig) -> None:
    """Writes the SavedModel, its assets.extra/model.json and model.onnx."""
    if config.model_dir and config.export_dir:
        _export(config, pathlib.Path(config.model_dir), pathlib.Path(config.export_dir))
    elif config.saved_model:
        _write_onnx(pathlib.Path(config.saved_model))


def _export(config: ExportConfig, model_dir: pathlib.Path, export_dir: pathlib.Path) -> None:
    training = _read_training(model_dir)
    if _is_occupied(export_dir):
        raise InputError(
            f"{export_dir}: expected a SavedModel to replace, or nothing, found something else."
        )
    files.make_folder(export_dir.parent)
    with locks.output(export_dir):
        _replace(config, model_dir, training, export_dir)


def _replace(
    config: ExportConfig,
    model_dir: pathlib.Path,
    training: TrainingRecord,
    export_dir: pathlib.Path,
) -> None:
    from spleen_tf.network import onnx, serving

    for left in export_dir.parent.glob(_partial(glob.escape(export_dir.name), "*")):
        shutil.rmtree(left, ignore_errors=True)  # Of a run that was killed.
    network = _load_network(model_dir, training)
    info = describe(training, config, export_dir, _validation(config, model_dir, training))
    partial = export_dir.with_name(_partial(export_dir.name, secrets.token_hex(4)))
    try:
        module = serving.servable(network, training.serving)
        serving.save(module, partial, export_dir)
        files.write_json(partial / "assets.extra" / "model.json", info)
        onnx_model, difference = onnx.convert(network, training.serving, partial)
        with files.replacing(onnx_path(export_dir)) as partial_onnx:
            partial_onnx.write_bytes(onnx_model)
            _replace_folder(partial, export_dir)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    print(f"{export_dir}: {info.name} {info.version}, {info.plane}, {info.modality}")
    _report(onnx_path(export_dir), difference)


def _write_onnx(saved_model: pathlib.Path) -> None:
    info = model_files.describe(saved_model)
    from spleen_tf.network import onnx

    spec = ServingSpec(info.modality, info.pixel_mm, info.window, info.in_channels, multiple=1)
    _report(onnx_path(saved_model), onnx.write_from_saved_model(saved_model, spec))


def _report(path: pathlib.Path, difference: float) -> None:
    print(f"{path}: probabilities differ from the SavedModel's by at most {difference:.1g}")


def describe(
    training: TrainingRecord,
    config: ExportConfig,
    export_dir: pathlib.Path,
    validation: Validation,
) -> ModelInfo:
    """The content of model.json."""
    import keras
    import tensorflow as tf

    rows, columns = training.config.image_hw
    name = config.name or _name(export_dir.resolve())
    return ModelInfo(
        name=name,
        family=config.family or name.removesuffix(f"-{training.plane}"),
        version=config.model_version,
        license=config.license,
        plane=training.plane,
        modality=training.modality,
        pixel_mm=training.pixel_mm,
        window=training.window,
        image_size=rows if rows == columns else (rows, columns),
        learning_rate=training.config.learning_rate,
        in_channels=training.config.in_channels,
        threshold=config.threshold,
        training=TrainedOn(tuple(TrainedCase(*case) for case in training.train.items())),
        validation=validation,
        versions={
            "spleen_tf": spleen_tf.__version__,
            "tensorflow": tf.__version__,
            "keras": keras.__version__,
        },
    )


def _validation(
    config: ExportConfig, model_dir: pathlib.Path, training: TrainingRecord
) -> Validation:
    """The Dice that was given, else the one that the exported weights reached in training."""
    from spleen_tf.training import checkpoints

    if config.dice is not None and config.dice_how is not None:
        return Validation(config.dice, config.dice_how)
    count = len(training.validation)
    if not count:
        return Validation(None, "not measured: every case was trained on")
    dice = checkpoints.best_dice(model_dir)
    if dice is None:
        return Validation(None, "not measured: training was not validated")
    return Validation(
        dice,
        f"mean over {count} validation cases of the Dice over the whole native volume, threshold "
        "0.5, no postprocessing; the weights were chosen by it",
    )


def _read_training(model_dir: pathlib.Path) -> TrainingRecord:
    for name in (run.FILE_NAME, "best.weights.h5"):
        if not (model_dir / name).is_file():
            raise InputError(
                f"{model_dir}: expected a folder that spleen_tf.train wrote, found no {name} in it."
            )
    return run.read(model_dir / run.FILE_NAME)


def _load_network(model_dir: pathlib.Path, training: TrainingRecord) -> keras.Model:
    """The network in float32, whatever precision it was trained in."""
    from spleen_tf.network import unet
    from spleen_tf.training import checkpoints

    network = unet.build_float32(training.config.network)
    weights = model_dir / checkpoints.BEST_WEIGHTS
    try:
        network.load_weights(weights)
    except (OSError, ValueError, KeyError) as error:
        raise InputError(
            f"{weights}: expected the weights of the network that {run.FILE_NAME} describes, found "
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


def _partial(name: str, token: str) -> str:
    """The name of a folder in the making."""
    return f".{name}.partial-{token}"


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
