"""Trains a 2D U-Net on records of slices. The same command again resumes where it stopped.

Example:
    python -m spleen_tf.train --flagfile=models/spleen_mr_t2/axial/train.flags \\
        --records=data/records/axial --model_dir=models/my_model
"""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from spleen_tf.core import files, flags, locks
from spleen_tf.core.files import InputError
from spleen_tf.core.process import CommandFailed
from spleen_tf.training import run
from spleen_tf.training.config import TrainConfig
from spleen_tf.training.run import Training

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from spleen_tf.training.checkpoints import State


_BUDGET_ENDS_IT = 2**31


def main(config: TrainConfig) -> None:
    """Trains until the budget is spent."""
    training = run.settle(config)
    run.check_resumes(training)
    model_dir = files.make_folder(config.model_dir)
    # Workers of one job share the folder; their cluster's ports keep a second job away.
    is_shared = config.distribution == "multi_worker"
    with contextlib.nullcontext() if is_shared else locks.folder(model_dir):
        _train(training, model_dir)


def _train(training: Training, model_dir: pathlib.Path) -> None:
    # TensorFlow takes seconds to import, which a wrong flag should not cost.
    import keras
    import tensorflow as tf

    from spleen_tf.network import device
    from spleen_tf.training import callbacks, checkpoints, initial_weights, optimizers

    config = training.config
    keras.utils.set_random_seed(config.seed)
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()
        # Dropout's random state becomes a variable, which checkpoints hold.
        keras.backend.experimental.enable_tf_random_generator()
    policy, reason = device.precision_policy(config.precision, config.base_filters)
    keras.mixed_precision.set_global_policy(policy)
    print(
        f"{training.plane}, {training.modality}, {training.pixel_mm} mm; {policy}: {reason}",
        flush=True,
    )
    strategy = _strategy(config.distribution)
    with strategy.scope():
        model = _compiled(training)
        averages = optimizers.averages(config, model)
    # Outside of the scope: each process counts for itself.
    state = checkpoints.State(averages, checkpoints.generators(model))
    own_folder = _own_folder(strategy, model_dir)
    manager = checkpoints.manager_of(model, state, own_folder)
    if checkpoints.restore(manager, model_dir):
        print(f"resumes after {int(state.steps)} steps", flush=True)
    elif config.init_from:
        initial_weights.load_into(model, config.init_from)
    if state.progress(training) >= 1.0:
        print(f"{model_dir}: trained to the end already ({int(state.steps)} steps)")
        return
    files.write_json(model_dir / run.FILE_NAME, training.record)
    others = callbacks.build(training, state, manager, own_folder)
    with contextlib.closing(callbacks.Budget(training, state)) as budget:
        _fit(model, training, state, [budget, *others])
        # Each epoch begins as it would after an interruption: see _fit.
        while config.deterministic and state.progress(training) < 1.0:
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
    # Metrics are the same on all workers; Keras would add them up over those of several machines.
    model.distribute_reduction_method = "first"
    return model


def _fit(
    model: keras.Model, training: Training, state: State, callbacks: list[keras.callbacks.Callback]
) -> None:
    """Trains on, to the end of the budget; with --deterministic, for one epoch.

    The order of the slices is drawn from the seed and the steps before. So it is the same for every
    training that begins here, but another one than that of a training which came by.
    """
    from spleen_tf.training import pipeline

    with _explained(training):
        model.fit(
            pipeline.for_training(training, start=int(state.steps) * training.batch_size),
            steps_per_epoch=training.steps_per_epoch,
            initial_epoch=int(state.epochs),
            epochs=int(state.epochs) + 1 if training.config.deterministic else _BUDGET_ENDS_IT,
            callbacks=callbacks,
            verbose=0,
        )


@contextlib.contextmanager
def _explained(training: Training) -> Iterator[None]:
    """Says what is at fault where TensorFlow fails: records, or a worker that is lost."""
    import tensorflow as tf

    try:
        yield
    except (tf.errors.DataLossError, tf.errors.InvalidArgumentError) as error:
        raise _unfit_records(training, "expected intact records, found damage") from error
    except (tf.errors.PermissionDeniedError, tf.errors.NotFoundError):
        raise _unfit_records(
            training, "expected records, found some gone or not readable"
        ) from None
    except (
        *(tf.errors.UnavailableError, tf.errors.AbortedError, tf.errors.CancelledError),
        *(tf.errors.DeadlineExceededError, tf.errors.InternalError),
    ) as error:
        if training.config.distribution != "multi_worker":
            raise
        raise CommandFailed(
            f"{training.config.model_dir}: expected every worker of the cluster to go on, found "
            "one lost; start all of them again with the same command, which goes on from the last "
            "epoch."
        ) from error


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
