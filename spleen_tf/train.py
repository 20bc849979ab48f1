"""Trains a 2D U-Net on records of slices. The same command again resumes where it stopped.

Example:
    python -m spleen_tf.train --flagfile=models/spleen_mr_t2/axial/train.flags \\
        --records=data/records/axial --model_dir=models/my_model
"""

from __future__ import annotations

import contextlib
import math
import pathlib
from typing import TYPE_CHECKING

from spleen_tf.core import files, flags
from spleen_tf.core.files import InputError
from spleen_tf.datasets import fingerprint, metadata, shards
from spleen_tf.datasets.splits import read_splits
from spleen_tf.training import training_json
from spleen_tf.training.config import TrainConfig

if TYPE_CHECKING:
    import keras
    import tensorflow as tf

    from spleen_tf.training import callbacks
    from spleen_tf.training.run import Selection

_WILDCARDS = "*?[]"


def main(config: TrainConfig) -> None:
    """Trains until the budget is spent."""
    config = _settled(config)
    # TensorFlow takes seconds to import, which a wrong flag should not cost.
    import keras

    from spleen_tf.network import device, unet
    from spleen_tf.training import callbacks, losses, optimizers, run

    data = run.select(config)
    description = training_json.describe(config, data)
    training_json.check_resumes(config.model_dir, description)
    model_dir = files.make_folder(config.model_dir)
    keras.utils.set_random_seed(config.seed)
    policy, reason = device.precision_policy(config.precision)
    keras.mixed_precision.set_global_policy(policy)
    print(f"{data.plane}, {data.modality}, {data.pixel_mm} mm; {policy}: {reason}", flush=True)

    steps_per_epoch = config.steps_per_epoch or math.ceil(
        data.num_slices(data.train) / config.batch_size
    )
    strategy = _strategy(config.distribution)
    with strategy.scope():
        model = unet.build(config.network)
        total_steps = config.steps or config.epochs * steps_per_epoch
        model.compile(optimizers.build(config, total_steps), losses.build(config.loss))
        averages = optimizers.averages(config, model)
    state = callbacks.State(averages)  # Outside of the scope: each process counts for itself.
    own_folder = _own_folder(strategy, model_dir)
    manager = callbacks.checkpoint_manager(model, state, own_folder)
    if callbacks.restore(manager, model_dir):
        print(f"resumes after {int(state.steps)} steps", flush=True)
    elif config.init_from:
        initialize(model, config.init_from)
    if state.progress(config, steps_per_epoch) >= 1.0:
        print(f"{model_dir}: trained to the end already ({int(state.steps)} steps)")
        return
    files.write_json(model_dir / training_json.FILE_NAME, description)
    fitting = callbacks.build(config, data, state, manager, own_folder)
    with contextlib.closing(callbacks.Budget(config, state, steps_per_epoch)) as budget:
        _fit(model, config, data, state, [budget, *fitting], steps_per_epoch)
    best = float(state.best_dice)
    found = f"best val_dice {best:.4f}" if best >= 0 else "not validated"
    print(f"{model_dir}: {int(state.steps)} steps, {found}")


def _fit(
    model: keras.Model,
    config: TrainConfig,
    data: Selection,
    state: callbacks.State,
    fitting: list[keras.callbacks.Callback],
    steps_per_epoch: int,
) -> None:
    import tensorflow as tf

    from spleen_tf.training import pipeline

    try:
        model.fit(
            pipeline.for_training(config, data, start=int(state.steps) * config.batch_size),
            steps_per_epoch=steps_per_epoch,
            initial_epoch=int(state.epochs),
            epochs=2**31,  # The budget ends it.
            callbacks=fitting,
            verbose=0,
        )
    except tf.errors.DataLossError:
        raise _unfit_records(config, "expected intact records, found damage") from None
    except (tf.errors.PermissionDeniedError, tf.errors.NotFoundError):
        raise _unfit_records(config, "expected records, found some gone or not readable") from None


def _unfit_records(config: TrainConfig, told: str) -> InputError:
    remedy = "tools/verify_tfrecords.py --records says in which file"
    return InputError(f"{config.records}: {told}; {remedy}.")


def _settled(config: TrainConfig) -> TrainConfig:
    """The configuration with nothing left open.

    Raises:
        InputError: for what can be seen without TensorFlow.
    """
    if set(_WILDCARDS) & set(config.model_dir):
        raise InputError(
            f"--model_dir: expected a path without {' '.join(_WILDCARDS)}, which TensorFlow takes "
            f"for wildcards when it looks for checkpoints, found {config.model_dir!r}."
        )
    cases_json = pathlib.Path(config.records, "cases.json")
    if not cases_json.is_file():
        raise InputError(
            f"{config.records}: expected a folder that tools/make_tfrecords.py wrote, found no "
            "cases.json in it."
        )
    shards.check(config.records)
    if not config.fingerprint:
        return config.settled({})
    proposed = fingerprint.read(config.fingerprint)
    listed = metadata.read_cases(config.records)
    splits = read_splits(config.splits or f"{config.records}/splits.json", config.fold)
    used = [listed[name] for name in (*splits.train, *splits.validation) if name in listed]
    for key in ("plane", "modality"):
        found = {getattr(case, key) for case in used}
        kind = found.pop() if len(found) == 1 else "any"
        if proposed.get(key, kind) != kind:
            raise InputError(
                f"{config.fingerprint}: expected a plan for the {key} {kind}, as in "
                f"{config.records}, found one for {proposed[key]}; make one with spleen_tf.explore"
                f"{f' --plane={kind}' if key == 'plane' else ' of this data'}."
            )
    settled = config.settled(proposed)
    flags.check(settled)
    return settled


def _strategy(distribution: str):
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
    return (
        model_dir
        if (kind, number) in ((first, 0), (None, None))
        else model_dir / f"{kind}-{number}"
    )


def initialize(model: keras.Model, init_from: str) -> None:
    """Fills a model with the weights of an earlier one.

    Args:
        model: as unet.build made it.
        init_from: a folder that train or export wrote.

    Raises:
        InputError: if there are no weights, or they are of another architecture.
    """
    from spleen_tf.network import serving
    from spleen_tf.training import callbacks

    folder = pathlib.Path(init_from)
    weights = folder / callbacks.BEST_WEIGHTS
    if weights.is_file():
        try:
            model.load_weights(weights)
        except (ValueError, OSError) as error:
            raise _other_architecture(folder, error) from None
        return
    if not (folder / "saved_model.pb").is_file():
        raise InputError(
            f"{folder}: expected {callbacks.BEST_WEIGHTS} (a --model_dir) or saved_model.pb (an "
            "exported model), found neither."
        )
    loaded = serving.load_variables(folder)
    wanted = {variable.name: tuple(variable.shape) for variable in model.variables}
    there = {name: tuple(variable.shape) for name, variable in loaded.items()}
    for name in sorted(wanted.keys() | there.keys()):
        if wanted.get(name) != there.get(name):
            detail = f"{name} of shape {wanted.get(name)} wanted, of shape {there.get(name)} there"
            raise _other_architecture(folder, detail)
    for variable in model.variables:
        variable.assign(loaded[variable.name])


def _other_architecture(folder: pathlib.Path, detail: object) -> InputError:
    return InputError(
        f"{folder}: expected weights of the architecture that the flags describe, found others "
        f"({detail}); give the flags of that model."
    )


if __name__ == "__main__":
    flags.run(main, TrainConfig)
