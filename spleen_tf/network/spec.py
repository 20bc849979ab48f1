"""What a network is and where it stands: plain values, for which nothing imports TensorFlow."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Literal

from spleen_tf.core import files
from spleen_tf.imaging.intensity import ModelModality

Norm = Literal["batch", "group", "instance"]

Precision = Literal["auto", "float32", "bfloat16", "float16"]

RuntimeChoice = Literal["auto", "onnx", "openvino", "tensorflow"]

ONNX_NAME = "model.onnx"
ONNX_WEIGHTS_KEY = "saved_model_weights_sha256"  # In the file's metadata.
# An input that may be left out; files of earlier releases have none.
MARGINS_INPUT = "margins"
# Names of two values within the file, between which the network lies: what it sees, and the
# probability on its grid.
IMAGES_VALUE, ON_GRID_VALUE = "images", "on_grid"


@dataclasses.dataclass(frozen=True)
class NetworkSpec:
    """What a network is built from.

    Attributes:
        in_channels: neighbouring slices that are its channels.
        base_filters: filters at full resolution; each level down has twice as many.
        max_filters: filters of the coarsest levels, at most.
        depth: how often the resolution is halved.
        norm: 'batch', 'group' (8 channels per group) or 'instance'.
        dropout: share of the deepest level's channels that training drops.
    """

    in_channels: int = 1
    base_filters: int = 32
    max_filters: int = 512
    depth: int = 4
    norm: Norm = "batch"
    dropout: float = 0.0

    @property
    def multiple(self) -> int:
        """What the height and width of the network's images are multiples of."""
        return 1 << self.depth

    def filters(self, level: int) -> int:
        """Filters of a level; 0 is the finest, `depth` the coarsest."""
        return min(self.max_filters, self.base_filters << level)


@dataclasses.dataclass(frozen=True)
class ServingSpec:
    """What the functions around a network need beside its weights.

    Attributes:
        modality: of the volumes that it is for.
        grid_mm: row and column spacing of the network's grid.
        window: Hounsfield units for CT, else percentiles of the volume.
        in_channels: neighbouring slices that are the network's channels.
        multiple: what the height and width of the network's images are multiples of.
    """

    modality: ModelModality
    grid_mm: tuple[float, float]
    window: tuple[float, float]
    in_channels: int
    multiple: int


def onnx_path(saved_model: pathlib.Path) -> pathlib.Path:
    """Where the ONNX file of a SavedModel's folder lies."""
    return saved_model.parent / ONNX_NAME


def has_saved_model(folder: pathlib.Path) -> bool:
    """Whether a SavedModel's folder holds it: in a wheel, only its ONNX file is there."""
    return (folder / "saved_model.pb").is_file()


def weights_sha256(saved_model: pathlib.Path) -> str:
    """The SHA-256 of a SavedModel's weights, which its ONNX file has under ONNX_WEIGHTS_KEY.

    So an ONNX file that was left behind by another model is not taken for this one's.
    """
    return files.sha256(saved_model / "variables" / "variables.data-00000-of-00001")
