"""Optimizers, the learning rate's course, and weights averaged over a training."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator

import keras
import tensorflow as tf
import tensorflow_addons as tfa

from spleen_tf.training.config import TrainConfig

_SWA_START = 0.5
_SWA_PERIOD = 10
_SWA_STATISTICS_DECAY = 0.99


def build(config: TrainConfig, total_steps: int | None) -> keras.optimizers.Optimizer:
    """The optimizer; float16 policies get loss scaling from Keras when the model is compiled.

    Args:
        config: optimizer, learning_rate, weight_decay.
        total_steps: of the whole training, None if only time bounds it; SWA averages its second
            half.
    """
    if config.optimizer == "adamw":
        return keras.optimizers.AdamW(config.learning_rate, weight_decay=config.weight_decay)
    if config.optimizer == "ranger":
        return tfa.optimizers.Lookahead(
            tfa.optimizers.RectifiedAdam(config.learning_rate, weight_decay=config.weight_decay)
        )
    return tfa.optimizers.SWA(
        tfa.optimizers.AdamW(
            weight_decay=config.weight_decay * config.learning_rate,
            learning_rate=config.learning_rate,
        ),
        start_averaging=int(_SWA_START * (total_steps or 0)),
        average_period=_SWA_PERIOD,
    )


def learning_rate(progress: float, peak: float, warmup: float) -> float:
    """Linear warm-up, then half a cosine down to a hundredth of the peak.

    Args:
        progress: share of the budget that is used, 0..1.
        peak: highest learning rate.
        warmup: share of the budget to reach it in.
    """
    if progress < warmup:
        return peak * max(progress / warmup, 0.01)
    fall = min(1.0, (progress - warmup) / (1.0 - warmup))
    return peak * (0.01 + 0.99 * 0.5 * (1.0 + math.cos(math.pi * fall)))


class Averages(tf.Module):  # type: ignore[misc]
    """An exponential moving average (EMA) of a network's variables over the steps of a training.

    BatchNorm's statistics are averaged with the weights, since those of the present weights do not
    fit averaged ones. The decay grows with the steps t that there are to average over,
    min(decay, t / (t + 9)), so that the random weights of the start are soon forgotten.
    """

    def __init__(self, model: keras.Model, decay: float):
        super().__init__()
        self._decay = decay
        self.steps = tf.Variable(0, dtype=tf.int64, trainable=False)
        self.values = [tf.Variable(v, trainable=False) for v in self.averaged_of(model)]

    def averaged_of(self, model: keras.Model) -> list[tf.Variable]:
        """The variables of the network that are averaged, in the order of `values`."""
        return list(model.variables)

    @tf.function  # type: ignore[untyped-decorator]
    def update(self, model: keras.Model) -> None:
        """Takes the variables as they are after one more step."""
        steps = tf.cast(self.steps, tf.float32)
        decay = tf.minimum(self._decay, steps / (steps + 9.0))
        for average, variable in zip(self.values, self.averaged_of(model), strict=True):
            # Written so that a decay of 0, the first step's, gives the variable itself.
            average.assign(variable + decay * (average - variable))
        self.steps.assign_add(1)


class StatisticsOfSwa(Averages):
    """What SWA, which averages weights, leaves out: BatchNorm's statistics, over recent steps."""

    def __init__(self, model: keras.Model):
        super().__init__(model, _SWA_STATISTICS_DECAY)

    def averaged_of(self, model: keras.Model) -> list[tf.Variable]:
        """The variables that no gradient moves."""
        return list(model.non_trainable_variables)


def averages(config: TrainConfig, model: keras.Model) -> Averages | None:
    """What is averaged beside the optimizer; None if nothing is."""
    if config.optimizer == "swa":
        return StatisticsOfSwa(model)
    return Averages(model, config.ema) if config.optimizer == "adamw" and config.ema else None


@contextlib.contextmanager
def averaged(model: keras.Model, ema: Averages | None) -> Iterator[None]:
    """Puts the averaged variables (EMA or SWA) in the model's place while the context lasts.

    Changes nothing where there are no averages, or none yet.
    """
    pairs = _averages(model, ema)
    present = [variable.numpy() for variable, _ in pairs]
    for variable, average in pairs:
        variable.assign(average)
    try:
        yield
    finally:
        for (variable, _), value in zip(pairs, present, strict=True):
            variable.assign(value)


def _averages(model: keras.Model, ema: Averages | None) -> list[tuple[tf.Variable, tf.Tensor]]:
    if ema is None:
        return []
    pairs = zip(ema.averaged_of(model), ema.values, strict=True)
    averages = [(v, average.value()) for v, average in pairs] if ema.steps.numpy() else []
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)  # Of loss scaling.
    if not isinstance(optimizer, tfa.optimizers.SWA):
        return averages
    if int(optimizer.iterations) <= int(optimizer._get_hyper("start_averaging")) + _SWA_PERIOD:
        return []
    weights = model.trainable_variables
    return [*averages, *((v, optimizer.get_slot(v, "average").value()) for v in weights)]
