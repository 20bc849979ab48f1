"""Trains a 2D U-Net on records of slices. The same command again resumes where it stopped.

Example:
    python -m spleen_tf.train --flagfile=models/spleen_mr_t2/axial/train.flags \\
        --records=data/records/axial --model_dir=models/my_model
"""

from __future__ import annotations

import contextlib
import pathlib
from typing import TYPE_CHECKING

from spleen_tf.core import files, flags
from spleen_tf.core.files import InputError
from spleen_tf.training import run
from spleen_tf.training.config import TrainConfig
from spleen_tf.training.run import Training

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from spleen_tf.training.checkpoints import State


def main(config: TrainConfig) -> None:
    """Trains until the budget is spent."""
    training = run.settle(config)
    run.check_resumes(training)
    # TensorFlow takes seconds to import, which a wrong flag should not cost.
    import keras

    from spleen_tf.network import device
    from spleen_tf.training import callbacks, checkpoints, optimizers

    model_dir = files.make_folder(config.model_dir)
    keras.utils.set_random_seed(config.seed)
    policy, reason = device.precision_policy(config.precision)
    keras.mixed_precision.set_global_policy(policy)
    print(
        f"{training.plane}, {training.modality}, {training.pixel_mm} mm; {policy}: {reason}",
        flush=True,
    )
    strategy = _strategy(config.distribution)
    with strategy.scope():
        model = _compiled(training)
        averages = optimizers.averages(config, model)
    state = checkpoints.State(averages)  # Outside of the scope: each process counts for itself.
    own_folder = _own_folder(strategy, model_dir)
    manager = checkpoints.manager_of(model, state, own_folder)
    if checkpoints.restore(manager, model_dir):
        print(f"resumes after {int(state.steps)} steps", flush=True)
    elif config.init_from:
        checkpoints.initialize(model, config.init_from)
    if state.progress(training) >= 1.0:
        print(f"{model_dir}: trained to the end already ({int(state.steps)} steps)")
        return
    files.write_json(model_dir / run.FILE_NAME, training.record)
    others = callbacks.build(training, state, manager, own_folder)
    with contextlib.closing(callbacks.Budget(training, state)) as budget:
        _fit(model, training, state, [budget, *others])
    best = float(state.best_dice)
    result = f"best val_dice {best:.4f}" if best >= 0 else "not validated"
    print(f"{model_dir}: {int(state.steps)} steps, {result}")


def _compiled(training: Training) -> keras.Model:
    """The network with its loss and optimizer."""
    from spleen_tf.network import unet
    from spleen_tf.training import losses, optimizers

    model = unet.build(training.network)
    optimizer = optimizers.build(training.config, training.total_steps)
    model.compile(optimizer, losses.build(training.config.loss))
    return model


def _fit(
    model: keras.Model, training: Training, state: State, callbacks: list[keras.callbacks.Callback]
) -> None:
    import tensorflow as tf

    from spleen_tf.training import pipeline

    try:
        model.fit(
            pipeline.for_training(training, start=int(state.steps) * training.batch_size),
            steps_per_epoch=training.steps_per_epoch,
            initial_epoch=int(state.epochs),
            epochs=2**31,  # The budget ends it.
            callbacks=callbacks,
            verbose=0,
        )
    except tf.errors.DataLossError:
        raise _unfit_records(training, "expected intact records, found damage") from None
    except (tf.errors.PermissionDeniedError, tf.errors.NotFoundError):
        raise _unfit_records(
            training, "expected records, found some gone or not readable"
        ) from None


def _unfit_records(training: Training, fault: str) -> InputError:
    remedy = "tools/verify_tfrecords.py --records says in which file"
    return InputError(f"{training.config.records}: {fault}; {remedy}.")


def _strategy(distribution: str) -> tf.distribute.Strategy:
    import tensorflow as tf

    if distribution == "mirrored":
        return tf.distribute.MirroredStrategy()
    if distribution == "multi_worker":
        return tf.distribute.MultiWorkerMirroredStrategy()
    return tf.distribute.get_strategy()


def _own_folder(strategy: tf.distribute.Strategy, model_dir: pathlib.Path) -> pathlib.Path:
    """Where this process writes: model_dir, or a folder below it for all workers but the first.

    Every worker has to save when the first one does, but not over its files.
    """
    resolver = strategy.cluster_resolver
    if resolver is None:
        return model_dir
    kind, number = resolver.task_type, resolver.task_id
    first = "chief" if "chief" in resolver.cluster_spec().jobs else "worker"
    is_first = (kind, number) in ((first, 0), (None, None))
    return model_dir if is_first else model_dir / f"{kind}-{number}"


if __name__ == "__main__":
    flags.run(main, TrainConfig)
