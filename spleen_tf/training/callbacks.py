"""What happens around the steps of a training: budget, validation, logs, pictures."""

from __future__ import annotations

import math
import pathlib
import time
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf
import tqdm

from spleen_tf.core import events
from spleen_tf.core.process import CommandFailed
from spleen_tf.network import preprocess
from spleen_tf.training import optimizers, pipeline
from spleen_tf.training.checkpoints import LOG, Checkpoints, State
from spleen_tf.training.run import Training

_PICTURED_CASES = 4

Logs = dict[str, float]


class Budget(keras.callbacks.Callback):  # type: ignore[misc]
    """Counts steps and time, sets the learning rate, shows progress, and ends the training.

    Raises CommandFailed when the loss is no longer finite. To be closed, however training ends.
    """

    def __init__(self, training: Training, state: State):
        super().__init__()
        self._training, self._state = training, state
        self._mark = 0.0
        self._bar = tqdm.tqdm(disable=True)

    def on_train_begin(self, logs: Logs | None = None) -> None:
        """Starts the clock."""
        self._mark = time.monotonic()

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Opens the epoch's progress bar, in images."""
        self._bar = tqdm.tqdm(
            total=self._training.steps_per_epoch * self._training.batch_size,
            desc=f"epoch {epoch + 1}",
            unit="img",
            mininterval=1.0,
        )

    def on_train_batch_begin(self, batch: int, logs: Logs | None = None) -> None:
        """Sets the learning rate."""
        progress, config = self._state.progress(self._training), self._training.config
        rate = optimizers.learning_rate(progress, config.learning_rate, config.warmup)
        keras.backend.set_value(self.model.optimizer.learning_rate, rate)

    def on_train_batch_end(self, batch: int, logs: Logs) -> None:
        """Counts, and stops where the budget is spent or the loss has left the numbers."""
        now = time.monotonic()
        self._state.steps.assign_add(1)
        self._state.seconds.assign_add(now - self._mark)
        self._mark = now
        loss = float(logs["loss"])
        if not math.isfinite(loss):
            raise CommandFailed(
                f"{self._training.config.model_dir}: the loss became {loss} at step "
                f"{int(self._state.steps)}; lower --learning_rate, or use --precision=float32. "
                "The last checkpoint is from before."
            )
        self._bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
        self._bar.update(self._training.batch_size)
        if self._state.progress(self._training) >= 1.0:
            self.model.stop_training = True

    def close(self) -> None:
        """Ends the line of the progress bar."""
        self._bar.close()

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Adds to the log what the bar has shown."""
        rate = self._bar.format_dict["rate"] or self._bar.n / max(
            1e-9, self._bar.format_dict["elapsed"]
        )
        self._bar.close()
        self._state.epochs.assign(epoch + 1)
        logs["images_per_s"] = float(rate)
        logs["learning_rate"] = float(keras.backend.get_value(self.model.optimizer.learning_rate))
        logs["steps"] = int(self._state.steps)


class Events(keras.callbacks.Callback):  # type: ignore[misc]
    """Says of each epoch how long it took, and what the log has of it."""

    def on_epoch_begin(self, epoch: int, logs: Logs | None = None) -> None:
        """Starts the clock."""
        self._start = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Emits the event."""
        values = {"epoch": epoch + 1.0, **{name: float(value) for name, value in logs.items()}}
        events.emit("epoch", seconds=time.monotonic() - self._start, values=values)


class Averaging(keras.callbacks.Callback):  # type: ignore[misc]
    """Averages the weights after each step."""

    def __init__(self, averages: optimizers.Averages):
        super().__init__()
        self._averages = averages

    def on_train_batch_end(self, batch: int, logs: Logs) -> None:
        """Takes the step's weights."""
        self._averages.update(self.model)


class Validation(keras.callbacks.Callback):  # type: ignore[misc]
    """Volumetric Dice of the validation cases with the averaged weights, and pictures of them.

    The Dice is over the whole native volume of a case, at a threshold of a half and without
    postprocessing; val_dice is its mean over the cases.
    """

    def __init__(self, training: Training, state: State, writer: tf.summary.SummaryWriter):
        super().__init__()
        self._training, self._state, self._writer = training, state, writer
        self._batches = pipeline.for_validation(training) if training.validation else ()
        self._segment = tf.function(self._probability, reduce_retracing=True)

    def on_epoch_end(self, epoch: int, logs: Logs) -> None:
        """Adds val_dice to the log."""
        if not self._training.validation:
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

    def _probability(self, batch: dict[str, tf.Tensor]) -> tf.Tensor:
        return preprocess.segment(
            lambda images: self.model(images, training=False),
            batch["images"],
            batch["pixel_mm"],
            batch["window"],
            self._training.pixel_mm,
            self._training.network.multiple,
        )

    def _evaluate(self) -> tuple[list[float], dict[str, npt.NDArray[Any]]]:
        names = self._training.validation
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


def build(
    training: Training,
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
        Validation(training, state, writer),
        Events(),
        Checkpoints(model_dir, manager, state),
        keras.callbacks.CSVLogger(str(model_dir / LOG), append=True),
        keras.callbacks.TensorBoard(str(model_dir / "tensorboard"), write_graph=False),
    ]


def _picture(
    batch: dict[str, tf.Tensor], n: int, pred_hw: npt.NDArray[Any], truth_hw: npt.NDArray[Any]
) -> npt.NDArray[Any]:
    """uint8 [H, W, 3]: the slice in grey, the truth in its green and the prediction in its red."""
    image = batch["images"][n].numpy()
    window = batch["window"].numpy()
    grey = np.clip((image[..., image.shape[-1] // 2] - window[0]) / max(np.ptp(window), 1e-6), 0, 1)
    rgb = np.repeat(grey[..., np.newaxis], 3, axis=-1)
    for mask, channel in ((pred_hw, 0), (truth_hw, 1)):
        rgb[..., channel] = np.where(mask, 0.6 * rgb[..., channel] + 0.4, rgb[..., channel])
    picture: npt.NDArray[Any] = np.round(255 * rgb).astype(np.uint8)
    return picture
