"""What all rows share: inputs, a folder for what they write, and how often they measure."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
import tempfile
from collections.abc import Callable

from spleen_tf.benchmark import networks
from spleen_tf.benchmark.inputs import Inputs
from spleen_tf.benchmark.rows import Measurement
from spleen_tf.core.files import InputError
from spleen_tf.inference import model_files, released
from spleen_tf.training.config import TrainConfig


@dataclasses.dataclass(frozen=True)
class Bench:
    """How rows are measured.

    Attributes:
        inputs: the volumes.
        folder: receives what is written; emptied by whoever made it.
        repeats: turns that count.
        steps: training steps per turn.
        peer_python: an interpreter that has PyTorch; None: there is none.
    """

    inputs: Inputs
    folder: pathlib.Path
    repeats: int = 5
    steps: int = 4
    peer_python: str | None = None

    @functools.cached_property
    def family(self) -> pathlib.Path:
        """The released family that a CT gets."""
        return released.best_for("CT")

    @functools.cached_property
    def recipe(self) -> TrainConfig:
        """That of the family's first model."""
        return networks.recipe(model_files.folders(self.family)[0]).settled()

    @functools.cached_property
    def recipe_path(self) -> pathlib.Path:
        """The flag file of the recipe."""
        return model_files.folders(self.family)[0].parent / networks.RECIPE

    def new_folder(self, name: str) -> pathlib.Path:
        """An empty folder."""
        return pathlib.Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.folder))


# Measures one row of the table.
Measure = Callable[[Bench], Measurement]


def check_peer(peer_python: str | None) -> None:
    """Raises InputError if the interpreter is not there."""
    if peer_python and not pathlib.Path(peer_python).is_file():
        raise InputError(
            f"--peer_python: expected a Python interpreter, found no file {peer_python}; make an "
            "environment from requirements-peers.txt."
        )
