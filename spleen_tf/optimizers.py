"""Optimizers, the learning rate's course, and weights averaged over a training."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator

import keras
import tensorflow as tf
import tensorflow_addons as tfa

from spleen_tf.config import TrainConfig

_SWA_START = 0.5
_SWA_PERIOD = 10


def build(config: TrainConfig, total_steps: int) -> keras.optimizers.Optimizer:
    """The optimizer; float16 policies get loss scaling from Keras when the model is compiled.

    Args:
        config: optimizer, learning_rate, weight_decay, ema.
        total_steps: of the whole training, 0 if only time bounds it; SWA averages its second half.
    """
    if config.optimizer == "adamw":
        return keras.optimizers.AdamW(
            config.learning_rate,
            weight_decay=config.weight_decay,
            use_ema=config.ema > 0,
            ema_momentum=config.ema or None,
            ema_overwrite_frequency=None,
        )
    if config.optimizer == "ranger":
        return tfa.optimizers.Lookahead(
            tfa.optimizers.RectifiedAdam(config.learning_rate, weight_decay=config.weight_decay)
        )
    return tfa.optimizers.SWA(
        tfa.optimizers.AdamW(
            weight_decay=config.weight_decay * config.learning_rate,
            learning_rate=config.learning_rate,
        ),
        start_averaging=int(_SWA_START * total_steps),
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


@contextlib.contextmanager
def averaged(model: keras.Model) -> Iterator[None]:
    """Puts the averaged weights (EMA or SWA) in the model's place while the context lasts.

    Changes nothing with an optimizer that keeps no averages, or has none yet.
    """
    averages = _averages(model.optimizer, model.trainable_variables)
    present = [variable.numpy() for variable, _ in averages]
    for variable, average in averages:
        variable.assign(average)
    try:
        yield
    finally:
        for (variable, _), value in zip(averages, present, strict=True):
            variable.assign(value)


def _averages(optimizer, variables) -> list[tuple[tf.Variable, tf.Tensor]]:
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)  # Under loss scaling.
    if isinstance(optimizer, tfa.optimizers.SWA):
        start = int(optimizer._get_hyper("start_averaging"))
        if int(optimizer.iterations) <= start + _SWA_PERIOD:
            return []
        return [(v, optimizer.get_slot(v, "average").value()) for v in variables]
    if getattr(optimizer, "use_ema", False) and int(optimizer.iterations) > 0:
        pairs = zip(variables, optimizer._model_variables_moving_average, strict=True)
        return [(variable, average.value()) for variable, average in pairs]
    return []
