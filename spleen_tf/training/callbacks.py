"""What happens around the steps of a training: budget, validation, checkpoints, logs, pictures."""

from __future__ import annotations

import math
import os
import pathlib
import shutil
import time

import keras
import numpy as np
import tensorflow as tf
import tqdm

from spleen_tf.core.files import InputError
from spleen_tf.core.flags import CommandFailed
from spleen_tf.network import preprocess
from spleen_tf.training import optimizers, pipeline
from spleen_tf.training.config import TrainConfig
from spleen_tf.training.run import Selection

BEST_WEIGHTS = "best.weights.h5"
LOG = "log.csv"

_PICTURED_CASES = 4
# Weights, their average, two moments of the optimizer, all once more while old files still lie
# there, and the best weights.
_COPIES_SAVED = 9


class State(tf.Module):
    """How far a training has come, in variables that its checkpoints hold."""

    def __init__(self, averages: optimizers.Averages | None = None):
        super().__init__()
        self.averages = averages
        self.steps = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.epochs = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.seconds = tf.Variable(0.0, dtype=tf.float64, trainable=False)
        self.best_dice = tf.Variable(-1.0, dtype=tf.float64, trainable=False)

    def progress(self, config: TrainConfig, steps_per_epoch: int) -> float:
        """The share of the budget that is used, 0..1, by whichever bound is nearest."""
        steps = int(self.steps)
        shares = [
            steps / config.steps if config.steps else 0.0,
            steps / (config.epochs * steps_per_epoch) if config.epochs else 0.0,
            float(self.seconds) / (60.0 * config.minutes) if config.minutes else 0.0,
        ]
        return min(1.0, max(shares))


class Budget(keras.callbacks.Callback):
    """Counts steps and time, sets the learning rate, shows progress, and ends the training.

    Raises CommandFailed when the loss is no longer finite. To be closed, however training ends.
    """

    def __init__(self, config: TrainConfig, state: State, steps_per_epoch: int):
        super().__init__()
        self._config, self._state, self._steps_per_epoch = config, state, steps_per_epoch
        self._mark = 0.0
        self._bar = tqdm.tqdm(disable=True)

    def on_train_begin(self, logs=None):
        """Starts the clock."""
        self._mark = time.monotonic()

    def on_epoch_begin(self, epoch, logs=None):
        """Opens the epoch's progress bar, in images."""
        self._bar = tqdm.tqdm(
            total=self._steps_per_epoch * self._config.batch_size,
            desc=f"epoch {epoch + 1}",
            unit="img",
            mininterval=1.0,
        )

    def on_train_batch_begin(self, batch, logs=None):
        """Sets the learning rate."""
        progress = self._state.progress(self._config, self._steps_per_epoch)
        rate = optimizers.learning_rate(progress, self._config.learning_rate, self._config.warmup)
        keras.backend.set_value(self.model.optimizer.learning_rate, rate)

    def on_train_batch_end(self, batch, logs=None):
        """Counts, and stops where the budget is spent or the loss has left the numbers."""
        now = time.monotonic()
        self._state.steps.assign_add(1)
        self._state.seconds.assign_add(now - self._mark)
        self._mark = now
        loss = float(logs["loss"])
        if not math.isfinite(loss):
            raise CommandFailed(
                f"{self._config.model_dir}: the loss became {loss} at step "
                f"{int(self._state.steps)}; lower --learning_rate, or use --precision=float32. "
                "The last checkpoint is from before."
            )
        self._bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
        self._bar.update(self._config.batch_size)
        if self._state.progress(self._config, self._steps_per_epoch) >= 1.0:
            self.model.stop_training = True

    def close(self):
        """Ends the line of the progress bar."""
        self._bar.close()

    def on_epoch_end(self, epoch, logs=None):
        """Adds to the log what the bar has shown."""
        rate = self._bar.format_dict["rate"] or self._bar.n / max(
            1e-9, self._bar.format_dict["elapsed"]
        )
        self._bar.close()
        self._state.epochs.assign(epoch + 1)
        logs["images_per_s"] = float(rate)
        logs["learning_rate"] = float(keras.backend.get_value(self.model.optimizer.learning_rate))
        logs["steps"] = int(self._state.steps)


class Averaging(keras.callbacks.Callback):
    """Averages the weights after each step."""

    def __init__(self, averages: optimizers.Averages):
        super().__init__()
        self._averages = averages

    def on_train_batch_end(self, batch, logs=None):
        """Takes the step's weights."""
        self._averages.update(self.model)


class Validation(keras.callbacks.Callback):
    """Volumetric Dice of the validation cases with the averaged weights, and pictures of them.

    The Dice is over the whole native volume of a case, at a threshold of a half and without
    postprocessing; val_dice is its mean over the cases.
    """

    def __init__(
        self, config: TrainConfig, data: Selection, state: State, writer: tf.summary.SummaryWriter
    ):
        super().__init__()
        self._data, self._state, self._writer = data, state, writer
        self._batches = pipeline.for_validation(config, data) if data.validation else ()
        self._multiple = config.multiple
        self._segment = tf.function(self._probability, reduce_retracing=True)

    def on_epoch_end(self, epoch, logs=None):
        """Adds val_dice to the log."""
        if not self._data.validation:
            return
        with optimizers.averaged(self.model, self._state.averages):
            dices, pictures = self._evaluate()
        logs["val_dice"] = float(np.mean(dices))
        with self._writer.as_default(step=epoch + 1):
            tf.summary.scalar("val_dice", logs["val_dice"])
            for name, picture in pictures.items():
                tf.summary.image(f"validation/{name}", picture[np.newaxis])
        shown = " ".join(f"{dice:.3f}" for dice in dices)
        print(f"epoch {epoch + 1}: val_dice {logs['val_dice']:.4f} ({shown})", flush=True)

    def _probability(self, batch):
        return preprocess.segment(
            lambda images: self.model(images, training=False),
            batch["images"],
            batch["pixel_mm"],
            batch["window"],
            self._data.pixel_mm,
            self._multiple,
        )

    def _evaluate(self) -> tuple[list[float], dict[str, np.ndarray]]:
        names = self._data.validation
        both, either = np.zeros(len(names), np.int64), np.zeros(len(names), np.int64)
        largest = dict.fromkeys(range(min(_PICTURED_CASES, len(names))), 0)
        pictures = {}
        for batch in self._batches:
            pred = self._segment(batch).numpy() > 0.5
            truth = batch["labels"].numpy() > 0
            case = int(batch["case"])
            both[case] += np.count_nonzero(pred & truth)
            either[case] += np.count_nonzero(pred) + np.count_nonzero(truth)
            n = int(truth.sum(axis=(1, 2)).argmax())
            if case in largest and truth[n].sum() > largest[case]:
                largest[case] = truth[n].sum()
                pictures[names[case]] = _picture(batch, n, pred[n], truth[n])
        # A case without spleen, and none found, is right.
        dices = np.where(either > 0, 2 * both / np.maximum(either, 1), 1.0)
        return dices.tolist(), pictures


class Checkpoints(keras.callbacks.Callback):
    """Saves the whole training each epoch, and the averaged weights when they are the best yet.

    Without validation cases, the latest are the best.
    """

    def __init__(self, model_dir: pathlib.Path, manager: tf.train.CheckpointManager, state: State):
        super().__init__()
        self._model_dir, self._manager, self._state = model_dir, manager, state

    def on_epoch_end(self, epoch, logs=None):
        """Saves.

        Raises:
            InputError: if the disk has no room for it; the libraries that save do not say so.
        """
        _check_room(self._model_dir, self.model)
        dice = (logs or {}).get("val_dice", math.inf)
        if dice >= float(self._state.best_dice):
            self._state.best_dice.assign(dice if math.isfinite(dice) else -1.0)
            partial = self._model_dir / f".partial.{BEST_WEIGHTS}"
            with optimizers.averaged(self.model, self._state.averages):
                self.model.save_weights(partial)
            partial.replace(self._model_dir / BEST_WEIGHTS)
        self._manager.save()


def _check_room(model_dir: pathlib.Path, model: keras.Model) -> None:
    parameters = sum(int(np.prod(variable.shape)) for variable in model.variables)
    needed_mb = _COPIES_SAVED * 4 * parameters / 1e6
    free_mb = shutil.disk_usage(model_dir).free / 1e6
    if free_mb < needed_mb:
        raise InputError(
            f"{model_dir}: expected {needed_mb:.0f} MB of room on the disk for a checkpoint, found "
            f"{free_mb:.0f} MB; make room, and run the same command again to resume."
        )


def _picture(batch, n, pred_hw, truth_hw) -> np.ndarray:
    """uint8 [H, W, 3]: the slice in grey, the truth in its green and the prediction in its red."""
    image = batch["images"][n].numpy()
    window = batch["window"].numpy()
    grey = np.clip((image[..., image.shape[-1] // 2] - window[0]) / max(np.ptp(window), 1e-6), 0, 1)
    rgb = np.repeat(grey[..., np.newaxis], 3, axis=-1)
    for mask, channel in ((pred_hw, 0), (truth_hw, 1)):
        rgb[..., channel] = np.where(mask, 0.6 * rgb[..., channel] + 0.4, rgb[..., channel])
    return np.round(255 * rgb).astype(np.uint8)


def checkpoint_manager(
    model: keras.Model, state: State, model_dir: pathlib.Path
) -> tf.train.CheckpointManager:
    """Keeps the last checkpoint of model, optimizer and state below model_dir."""
    checkpoint = tf.train.Checkpoint(model=model, optimizer=model.optimizer, state=state)
    folder = model_dir / "checkpoints"
    named = folder / "checkpoint"
    if named.is_file() and not named.stat().st_size:
        named.unlink()  # The manager would fail for a file that names nothing.
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
        status.assert_existing_objects_matched()
        # A training that is over never asks for the optimizer's slots, of which TensorFlow warns.
        status.expect_partial()
    except (tf.errors.OpError, AssertionError, ValueError, IndexError):
        if _lacks_loss_scale(manager.checkpoint.optimizer, latest):
            raise InputError(
                f"{latest}: expected a training that began in float16, found one of another "
                "precision, without a loss scale; go on with --precision=bfloat16 or float32."
            ) from None
        raise InputError(
            f"{latest}: expected a checkpoint of this model, found a damaged or another one; use "
            "another --model_dir to start anew."
        ) from None
    return True


def _latest_checkpoint(model_dir: pathlib.Path) -> str | None:
    """The path of the last checkpoint below model_dir; None if there is none.

    Raises:
        InputError: if there is one, but not the file that names it.
    """
    folder = model_dir / "checkpoints"
    try:
        named = tf.train.get_checkpoint_state(str(folder))
    except ValueError:  # The file that names it is empty.
        named = None
    if named and os.path.isfile(f"{named.model_checkpoint_path}.index"):
        return named.model_checkpoint_path
    # A checkpoint's index is written last.
    if indices := sorted(folder.glob("ckpt-*.index"), key=os.path.getmtime):
        raise InputError(
            f"{folder / 'checkpoint'}: expected the name of the last checkpoint, found a damaged "
            f'file, or none; write into it: model_checkpoint_path: "{indices[-1].stem}".'
        )
    return None


def _lacks_loss_scale(optimizer: keras.optimizers.Optimizer, path: str) -> bool:
    if not isinstance(optimizer, keras.mixed_precision.LossScaleOptimizer):
        return False
    try:
        names = [name for name, _ in tf.train.list_variables(path)]
    except (tf.errors.OpError, ValueError):  # It is damaged.
        return False
    return not any("loss_scale" in name for name in names)


def build(
    config: TrainConfig,
    data: Selection,
    state: State,
    manager: tf.train.CheckpointManager,
    model_dir: pathlib.Path,
) -> list[keras.callbacks.Callback]:
    """What follows Budget, in the order in which they add to the log and use it.

    model_dir gets all that they write.
    """
    writer = tf.summary.create_file_writer(str(model_dir / "tensorboard" / "validation"))
    return [
        *([Averaging(state.averages)] if state.averages else []),
        Validation(config, data, state, writer),
        Checkpoints(model_dir, manager, state),
        keras.callbacks.CSVLogger(str(model_dir / LOG), append=True),
        keras.callbacks.TensorBoard(str(model_dir / "tensorboard"), write_graph=False),
    ]


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
