"""What a training keeps: its last checkpoint, by which it resumes, and its best weights."""

from __future__ import annotations

import math
import os
import pathlib
import shutil
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from spleen_tf.core import files
from spleen_tf.core.files import InputError
from spleen_tf.training import optimizers
from spleen_tf.training.run import Training

BEST_WEIGHTS = "best.weights.h5"
LOG = "log.csv"

# Weights, their average, two moments of the optimizer, all once more while old files still lie
# there, and the best weights.
_COPIES_SAVED = 9


class State(tf.Module):  # type: ignore[misc]
    """How far a training has come, in variables that its checkpoints hold."""

    def __init__(
        self,
        averages: optimizers.Averages | None = None,
        generators: Sequence[tf.random.Generator] = (),
    ):
        super().__init__()
        self.averages = averages
        if generators:  # Checkpoints of other trainings know none.
            self.generators = list(generators)
        self.steps = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.epochs = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.seconds = tf.Variable(0.0, dtype=tf.float64, trainable=False)
        self.best_dice = tf.Variable(-1.0, dtype=tf.float64, trainable=False)

    def progress(self, training: Training) -> float:
        """The share of the budget that is used, 0..1, by whichever bound is nearest."""
        config, steps = training.config, int(self.steps)
        shares = [
            steps / config.steps if config.steps else 0.0,
            steps / (config.epochs * training.steps_per_epoch) if config.epochs else 0.0,
            float(self.seconds) / (60.0 * config.minutes) if config.minutes else 0.0,
        ]
        return min(1.0, max(shares))


class Checkpoints(keras.callbacks.Callback):  # type: ignore[misc]
    """Saves the whole training each epoch, and the averaged weights when they are the best yet.

    Without validation cases, the latest are the best.
    """

    def __init__(self, model_dir: pathlib.Path, manager: tf.train.CheckpointManager, state: State):
        super().__init__()
        self._model_dir, self._manager, self._state = model_dir, manager, state

    def on_epoch_end(self, epoch: int, logs: dict[str, float] | None = None) -> None:
        """Saves.

        Raises:
            InputError: if the disk has no room for it; the libraries that save do not say so.
        """
        _check_room(self._model_dir, self.model)
        try:
            self._save((logs or {}).get("val_dice", math.inf))
        except (OSError, RuntimeError, tf.errors.OpError) as error:
            # Something else has filled the disk since; h5py and TensorFlow say it in their texts.
            reasons = [os.strerror(number) for number in files.NO_ROOM]
            if not (reason := next((one for one in reasons if one in str(error)), None)):
                raise
            raise InputError(
                f"{self._model_dir}: expected room on the disk for a checkpoint, found: {reason}; "
                "make room, and run the same command again to resume."
            ) from error

    def _save(self, dice: float) -> None:
        if dice >= float(self._state.best_dice):
            self._state.best_dice.assign(dice if math.isfinite(dice) else -1.0)
            partial = self._model_dir / f".partial.{BEST_WEIGHTS}"
            with optimizers.averaged(self.model, self._state.averages):
                self.model.save_weights(partial)
            partial.replace(self._model_dir / BEST_WEIGHTS)
        self._manager.save()


def manager_of(
    model: keras.Model, state: State, model_dir: pathlib.Path
) -> tf.train.CheckpointManager:
    """Keeps the last checkpoint of model, optimizer and state below model_dir."""
    checkpoint = tf.train.Checkpoint(model=model, optimizer=model.optimizer, state=state)
    folder = model_dir / "checkpoints"
    index = folder / "checkpoint"
    if index.is_file() and not index.stat().st_size:
        index.unlink()  # The manager would fail for a file that names nothing.
    return tf.train.CheckpointManager(checkpoint, folder, max_to_keep=1)


def restore(manager: tf.train.CheckpointManager, model_dir: pathlib.Path) -> bool:
    """Restores the last checkpoint below model_dir; False if there is none.

    Raises:
        InputError: if it does not fit the model or cannot be read, or is gone.
    """
    latest = _latest_checkpoint(model_dir)
    if latest is None:
        log = model_dir / LOG
        # An epoch is logged after its checkpoint is saved.
        if log.is_file() and log.stat().st_size:
            raise InputError(
                f"{model_dir}: expected a checkpoint to resume from, since {LOG} has epochs in it, "
                "found none; use another --model_dir to start anew, with --init_from="
                f"{model_dir} from these weights."
            )
        return False
    try:
        status = manager.checkpoint.restore(latest)
    except (tf.errors.OpError, ValueError, IndexError):  # Damaged, or of other shapes.
        raise _unfit(manager, latest) from None
    try:
        status.assert_existing_objects_matched()
    except AssertionError:  # TensorFlow's way to say that variables are missing from it.
        raise _unfit(manager, latest) from None
    # A training that is over never asks for the optimizer's slots, of which TensorFlow warns.
    status.expect_partial()
    return True


def generators(model: keras.Model) -> list[tf.random.Generator]:
    """What a model's layers draw random numbers from, where it is kept in variables.

    Keras leaves these out of checkpoints.
    """
    of_layers = (getattr(layer, "_random_generator", None) for layer in model.layers)
    stateful = (getattr(generator, "_generator", None) for generator in of_layers)
    return [generator for generator in stateful if generator is not None]


def best_dice(model_dir: pathlib.Path) -> float | None:
    """The validation Dice of the best weights; None if nothing validated them.

    Raises:
        InputError: if the file that names the checkpoint is damaged or gone.
    """
    latest = _latest_checkpoint(model_dir)
    if latest is None:
        return None
    dice = float(tf.train.load_variable(latest, "state/best_dice/.ATTRIBUTES/VARIABLE_VALUE"))
    return dice if dice >= 0 else None


def _unfit(manager: tf.train.CheckpointManager, path: str) -> InputError:
    if _lacks_loss_scale(manager.checkpoint.optimizer, path):
        return InputError(
            f"{path}: expected a training that began in float16, found one of another "
            "precision, without a loss scale; go on with --precision=bfloat16 or float32."
        )
    return InputError(
        f"{path}: expected a checkpoint of this model, found a damaged or another one; use "
        "another --model_dir to start anew."
    )


def _lacks_loss_scale(optimizer: Any, path: str) -> bool:
    if not isinstance(optimizer, keras.mixed_precision.LossScaleOptimizer):
        return False
    try:
        names = [name for name, _ in tf.train.list_variables(path)]
    except (tf.errors.OpError, ValueError):  # It is damaged.
        return False
    return not any("loss_scale" in name for name in names)


def _latest_checkpoint(model_dir: pathlib.Path) -> str | None:
    """The path of the last checkpoint below model_dir; None if there is none.

    Raises:
        InputError: if there is one, but not the file that names it.
    """
    folder = model_dir / "checkpoints"
    try:
        index = tf.train.get_checkpoint_state(str(folder))
    except ValueError:  # The file that names it is empty.
        index = None
    if index and os.path.isfile(f"{index.model_checkpoint_path}.index"):
        return str(index.model_checkpoint_path)
    # A checkpoint's index is written last.
    if indices := sorted(folder.glob("ckpt-*.index"), key=os.path.getmtime):
        raise InputError(
            f"{folder / 'checkpoint'}: expected the name of the last checkpoint, found a damaged "
            f'file, or none; write into it: model_checkpoint_path: "{indices[-1].stem}".'
        )
    return None


def _check_room(model_dir: pathlib.Path, model: keras.Model) -> None:
    parameters = sum(int(np.prod(variable.shape)) for variable in model.variables)
    needed_mb = _COPIES_SAVED * 4 * parameters / 1e6
    free_mb = shutil.disk_usage(model_dir).free / 1e6
    if free_mb < needed_mb:
        raise InputError(
            f"{model_dir}: expected {needed_mb:.0f} MB of room on the disk for a checkpoint, found "
            f"{free_mb:.0f} MB; make room, and run the same command again to resume."
        )
