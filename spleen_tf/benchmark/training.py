"""The rows of training: its step, its pipeline, and the command."""

from __future__ import annotations

import csv
import dataclasses
import functools
import pathlib
from collections.abc import Iterator
from typing import Literal

import keras
import tensorflow as tf

from spleen_tf.benchmark import conversion, convolutions, measure, networks, pytorch
from spleen_tf.benchmark.bench import Bench, Measure
from spleen_tf.benchmark.measure import Skipped
from spleen_tf.benchmark.rows import Measurement
from spleen_tf.network import device, unet
from spleen_tf.training import losses, optimizers, pipeline, run
from spleen_tf.training.config import TrainConfig

# The network that others publish times of: 7.8 M parameters.
_LARGE = TrainConfig("-", "-", base_filters=32, image_size=(256,), batch_size=8, steps=1).settled()
_POLICIES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}
_EPOCHS = 3
# Of memory: so few cases fill the buffer that slices are shuffled in.
_FEW_CASES, _MANY_CASES = 12, 36

StepPrecision = Literal["float32", "bfloat16"]


class Step:
    """The training step of a configuration on a batch that is there already."""

    def __init__(self, config: TrainConfig, precision: StepPrecision):
        self.precision, self.batch_size = precision, config.batch_size or 1
        before = keras.mixed_precision.global_policy()
        keras.mixed_precision.set_global_policy(_POLICIES[precision])
        try:
            self._model = unet.build(config.network)
            self._model.compile(optimizers.build(config, None), losses.build(config.loss))
        finally:
            keras.mixed_precision.set_global_policy(before)
        shape = (self.batch_size, *config.image_hw)
        images = tf.random.stateless_uniform([*shape, config.in_channels], [0, 0])
        labels = tf.cast(tf.random.stateless_uniform([*shape, 1], [0, 1]) > 0.9, tf.float32)
        self._batches = iter(tf.data.Dataset.from_tensors((images, labels)).repeat())
        self._step = self._model.make_train_function()

    @property
    def parameters(self) -> int:
        """Weights that are trained."""
        return sum(weights.shape.num_elements() for weights in self._model.trainable_weights)

    def ms_per_image(self, steps: int) -> float:
        """What an image takes."""
        return 1e3 * measure.seconds(lambda: self._run(steps)) / steps / self.batch_size

    def _run(self, steps: int) -> None:
        for _ in range(steps):
            float(self._step(self._batches)["loss"])


def train_step(bench: Bench) -> Measurement:
    """The network that others publish times of."""
    return _beside_peer(bench, _LARGE)


def train_step_released(bench: Bench) -> Measurement:
    """The network of the released recipe."""
    return _beside_peer(bench, bench.recipe)


def input_pipeline(bench: Bench) -> Measurement:
    """Batches alone, beside the step alone, in images per second."""
    config = dataclasses.replace(
        bench.recipe,
        records=str(conversion.records(bench, conversion.FEW_CASES)),
        splits=None,
        init_from=None,
    )
    step = best_step(config, bench.steps)
    batches = iter(pipeline.for_training(run.settle(config)))

    def images_per_s() -> float:
        _draw(batches, 4)  # Those that were made while the step was measured.
        count = 4 * bench.steps
        return count * step.batch_size / measure.seconds(lambda: _draw(batches, count))

    return measure.alternating(
        images_per_s, lambda: 1e3 / step.ms_per_image(bench.steps), bench.repeats
    )


def fit(bench: Bench) -> Measurement:
    """The command: what an image takes in its last epoch, by its own log."""
    records = conversion.records(bench, conversion.FEW_CASES)
    step = best_step(bench.recipe, bench.steps)
    steps_per_epoch = 8 * bench.steps

    def ms_per_image() -> float:
        model_dir = bench.new_folder("model")
        arguments = _train_arguments(bench, records, model_dir, steps_per_epoch)
        measure.python(*arguments, f"--precision={step.precision}")
        with open(model_dir / "log.csv", newline="") as stream:
            *_, last = csv.DictReader(stream)
        return 1e3 / float(last["images_per_s"])

    return measure.alternating(
        ms_per_image, lambda: step.ms_per_image(steps_per_epoch), max(1, bench.repeats // 2)
    )


def rss_growth_training(bench: Bench) -> Measurement:
    """Memory of the process that trains from disk, with four times the cases."""

    def peak_gb(count: int) -> float:
        records, model_dir = conversion.records(bench, count), bench.new_folder("model")
        arguments = _train_arguments(bench, records, model_dir, 2 * bench.steps)
        return measure.python(*arguments, "--nocache").peak_gb

    return Measurement((peak_gb(_MANY_CASES),), (peak_gb(_FEW_CASES),))


def roofline_training(bench: Bench) -> Measurement:
    """The rate of a step's convolutions: forward, and twice that backward."""
    config = bench.recipe
    flop = 3 * networks.flop_per_image(config.network, *config.image_hw)
    step = best_step(config, bench.steps)
    return measure.alternating(
        lambda: flop / 1e6 / step.ms_per_image(bench.steps),
        lambda: convolutions.best_gflops(step.precision),
        bench.repeats,
        f"in {step.precision}",
    )


def best_step(config: TrainConfig, steps: int) -> Step:
    """The step in the faster of two precisions, warm."""
    # An earlier row may have had graphs rewritten; a training's precision is in its layers.
    device.rewrite_graphs("float32")
    candidates = [Step(config, precision) for precision in ("float32", "bfloat16")]
    for step in candidates:
        step.ms_per_image(2)
    times = {step: min(step.ms_per_image(steps) for _ in range(2)) for step in candidates}
    return min(times, key=lambda step: times[step])


def _beside_peer(bench: Bench, config: TrainConfig) -> Measurement:
    step = best_step(config, bench.steps)
    about = f"{step.parameters / 1e6:.2f} M parameters, in {step.precision}"
    if bench.peer_python is None:
        values = [step.ms_per_image(bench.steps) for _ in range(bench.repeats)]
        return Measurement(tuple(values), note=f"{about}; no --peer_python to compare with")
    measurements = []
    for precision in ("float32", "bfloat16"):
        shape = (config.network, config.image_hw, step.batch_size, precision)
        with pytorch.started(bench.peer_python, *shape) as torch:
            if torch.parameters != step.parameters:
                raise Skipped(f"PyTorch's network has {torch.parameters} parameters")
            measurement = measure.alternating(
                functools.partial(step.ms_per_image, bench.steps),
                functools.partial(torch.ms_per_image, bench.steps),
                bench.repeats,
                f"{about}; PyTorch in {precision}",
            )
            measurements.append(measurement)
    return min(measurements, key=lambda m: min(m.references) / min(m.values))


def _train_arguments(
    bench: Bench, records: pathlib.Path, model_dir: pathlib.Path, steps_per_epoch: int
) -> tuple[str, ...]:
    """`python …` for a training of three epochs by the released recipe, from random weights."""
    return (
        *("-m", "spleen_tf.train", f"--flagfile={bench.recipe_path}", "--init_from="),
        *(f"--records={records}", f"--model_dir={model_dir}", "--splits="),
        *("--epochs=", "--minutes=", f"--steps_per_epoch={steps_per_epoch}"),
        f"--steps={_EPOCHS * steps_per_epoch}",
    )


def _draw(batches: Iterator[object], count: int) -> None:
    for _ in range(count):
        next(batches)


# By the names of their goals.
ROWS: dict[str, Measure] = {
    "train_step": train_step,
    "train_step_released": train_step_released,
    "pipeline": input_pipeline,
    "fit": fit,
    "rss_growth_training": rss_growth_training,
    "roofline_training": roofline_training,
}
