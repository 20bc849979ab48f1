"""Trains a network and segments volumes with it, in the interpreter that has PyTorch and MONAI.

The arguments are a folder with scans, which receives masks and `Outcome`, and `Settings` as JSON.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
import sys
import time

import monai
import numpy as np
import torch

from spleen_tf.benchmark.peers import axial_2d, exchange, tutorial_3d
from spleen_tf.benchmark.peers.exchange import Outcome, Scan, Settings
from spleen_tf.benchmark.peers.recipe import Recipe, bfloat16

# The graph is compiled in these, before the time starts.
_WARM_UP_STEPS = 3
_PRINT_EVERY = 50


def main(folder: pathlib.Path, settings: Settings) -> None:
    """Trains, and segments the cases held out."""
    monai.utils.set_determinism(settings.seed)
    scans = [Scan.load(folder, name) for name in settings.train]
    recipe = (axial_2d if settings.network == "2d" else tutorial_3d).recipe(settings, scans)
    steps, minutes = _trained(recipe, settings)
    recipe.network.eval()
    seconds = {}
    for name in settings.held_out:
        scan = Scan.load(folder, name)
        start = time.monotonic()
        with torch.no_grad():
            mask_ras = recipe.segment(scan)
        seconds[name] = time.monotonic() - start
        np.save(exchange.mask_path(folder, name), mask_ras)
        print(f"{name}: {seconds[name]:.1f} s", flush=True)
    outcome = Outcome(
        parameters=sum(weights.numel() for weights in recipe.network.parameters()),
        steps=steps,
        images=steps * settings.batch_size,
        minutes=minutes,
        seconds=seconds,
    )
    exchange.outcome_path(folder).write_text(json.dumps(dataclasses.asdict(outcome)))


def _trained(recipe: Recipe, settings: Settings) -> tuple[int, float]:
    """Trains until the time is over; returns the steps, and the minutes that count.

    No held-out case chooses weights: the last ones stay.
    """
    network = torch.compile(recipe.network) if settings.compile else recipe.network
    start, step, minutes = time.monotonic(), 0, 0.0
    while minutes < settings.minutes:
        share = minutes / settings.minutes
        for group in recipe.optimizer.param_groups:
            group["lr"] = settings.learning_rate * recipe.rate_factor(share)
        images, labels = next(recipe.batches)
        with bfloat16():
            logits = network(images)
        loss = recipe.loss(logits.float(), labels)
        recipe.optimizer.zero_grad()
        loss.backward()
        recipe.optimizer.step()
        step += 1
        if step == _WARM_UP_STEPS:
            start = time.monotonic()
        if step > _WARM_UP_STEPS:
            minutes = (time.monotonic() - start) / 60
        if step % _PRINT_EVERY == 0:
            print(f"step {step}, {share:.0%}, loss {loss.item():.3f}", flush=True)
    return step, minutes


if __name__ == "__main__":
    main(pathlib.Path(sys.argv[1]), Settings(**json.loads(sys.argv[2])))
