"""What is needed of a network to train it and to segment with it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from spleen_tf.benchmark.peers.exchange import Scan

_MR_PERCENTILES = (0.5, 99.5)


@dataclasses.dataclass(frozen=True)
class Recipe:
    """A network and how it is trained.

    Attributes:
        network: from float32 images in 0..1 to logits.
        loss: of float32 logits and labels.
        optimizer: of the network's weights.
        rate_factor: of the learning rate, by the share of the time that has passed.
        batches: images and labels without end.
        segment: from a scan to its mask, (I, J, K) bool.
    """

    network: torch.nn.Module
    loss: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    optimizer: torch.optim.Optimizer
    rate_factor: Callable[[float], float]
    batches: Iterator[tuple[torch.Tensor, torch.Tensor]]
    segment: Callable[[Scan], NDArray[np.bool_]]


def bfloat16() -> torch.autocast:
    """The precision in which networks run; resampling beside them does not bear it."""
    return torch.autocast("cpu", dtype=torch.bfloat16)


def scaled(scan: Scan, modality: str, window_hu: tuple[float, float]) -> NDArray[np.float32]:
    """(I, J, K) float32: a CT's window, or an MR's intensities between two percentiles, as 0..1."""
    image = scan.image_ras.astype(np.float32)
    low, high = window_hu if modality == "CT" else np.percentile(image, _MR_PERCENTILES)
    between: NDArray[np.float32] = np.clip((image - low) / max(high - low, 1e-6), 0, 1)
    return between
