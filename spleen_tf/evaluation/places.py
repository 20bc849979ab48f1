"""Where things lie in the folder of a cross-validation, for what writes and what reads them."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence

from spleen_tf.imaging.planes import Plane
from spleen_tf.inference import model_files

FIRST_LOOK_PLANE: Plane = "axial"


@dataclasses.dataclass(frozen=True)
class Places:
    """The folder of a cross-validation.

    Attributes:
        folder: as --output_dir names it; cv.json, cases.csv and results.md lie in it.
    """

    folder: pathlib.Path

    @property
    def labels(self) -> pathlib.Path:
        """Links to the labels of all held-out cases, by the names of their cases."""
        return self.folder / "labels"

    def images(self, fold: int) -> pathlib.Path:
        """Links to the images that a fold holds out, likewise."""
        return self.folder / "images" / f"fold_{fold}"

    def splits(self, fold: int) -> pathlib.Path:
        """The splits.json of a fold's trainings."""
        return self.folder / "splits" / f"fold_{fold}.json"

    def records(self, plane: Plane) -> pathlib.Path:
        """The records of all cases in a plane."""
        return self.folder / "records" / plane

    @property
    def first_look_records(self) -> pathlib.Path:
        """The records that the first look is trained on."""
        return self.folder / "records" / model_files.FIRST_LOOK

    def model_dir(self, fold: int | str, plane: str) -> pathlib.Path:
        """Where the model of a fold and plane is trained."""
        return self.folder / "models" / f"fold_{fold}" / plane

    def first_look_dir(self, fold: int) -> pathlib.Path:
        """Where the first look of a fold is trained: predict finds it beside the fold's models."""
        return self.model_dir(fold, model_files.FIRST_LOOK) / FIRST_LOOK_PLANE

    def masks(self, planes: Sequence[str]) -> pathlib.Path:
        """What these planes find together, with its JSON: planes may be added to a run."""
        return self.folder / "predictions" / "_".join(planes)

    def evaluated_masks(self, name: str) -> pathlib.Path:
        """Links to the evaluated masks of a plane, or of all fused, and to their JSON."""
        return self.folder / "evaluated_masks" / name

    def evaluation(self, name: str) -> pathlib.Path:
        """What spleen_tf.evaluate wrote of them."""
        return self.folder / "evaluation" / name

    def log(self, step: str) -> pathlib.Path:
        """What the command of a step printed."""
        return self.folder / "logs" / f"{step}.txt"


def saved_model(model_dir: pathlib.Path) -> pathlib.Path:
    """Where a training's model is exported to."""
    return model_dir / "saved_model"
