"""What the two interpreters tell each other: what to train, the volumes, and what came of it."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Network = Literal["2d", "3d"]
# Channels of the first level and peak learning rate, where the user names none.
BASE_FILTERS: dict[Network, int] = {"2d": 32, "3d": 16}
LEARNING_RATE: dict[Network, float] = {"2d": 1e-3, "3d": 1e-4}
# The 3D network takes this many crops from a volume at a time.
CROPS_PER_VOLUME = 4


@dataclasses.dataclass(frozen=True)
class Settings:
    """A training.

    Attributes:
        network: '2d' of axial slices, or '3d' of crops.
        modality: 'CT' or 'MR', of all cases.
        train, held_out: names of cases.
        minutes: of training, once the network is compiled.
        batch_size: slices or crops per step.
        base_filters: channels of the first level.
        learning_rate: the largest.
        compile: whether the network is compiled.
        seed: of the weights and of what is drawn.
    """

    network: Network
    modality: str
    train: tuple[str, ...]
    held_out: tuple[str, ...]
    minutes: float
    batch_size: int
    base_filters: int
    learning_rate: float
    compile: bool
    seed: int


@dataclasses.dataclass(frozen=True)
class Outcome:
    """What came of it.

    Attributes:
        parameters: weights of the network.
        steps: of training, those before the time starts included.
        images: slices or crops that these saw.
        minutes: that the training took, once compiled.
        seconds: by held-out case, from its voxels to a mask of as many.
    """

    parameters: int
    steps: int
    images: int
    minutes: float
    seconds: dict[str, float]


@dataclasses.dataclass(frozen=True)
class Scan:
    """A case's voxels, from left to right, back to front, feet to head.

    Attributes:
        image_ras: (I, J, K), in physical units.
        label_ras: (I, J, K) uint8, 1 inside.
        zooms_mm: (3,) float64.
    """

    image_ras: NDArray[Any]
    label_ras: NDArray[np.uint8]
    zooms_mm: NDArray[np.float64]

    def save(self, folder: pathlib.Path, name: str) -> None:
        """Writes the scan of a case."""
        np.savez(folder / f"{name}.npz", **vars(self))

    @classmethod
    def load(cls, folder: pathlib.Path, name: str) -> Scan:
        """Reads what `save` wrote."""
        with np.load(folder / f"{name}.npz") as arrays:
            return cls(**arrays)


def mask_path(folder: pathlib.Path, name: str) -> pathlib.Path:
    """Where the mask of a case is written: (I, J, K) bool in the order of its scan."""
    return folder / f"{name}.npy"


def outcome_path(folder: pathlib.Path) -> pathlib.Path:
    """Where the `Outcome` is written, as JSON."""
    return folder / "outcome.json"
