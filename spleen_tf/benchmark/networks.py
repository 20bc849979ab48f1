"""The networks of a family alone, and how many operations they are."""

from __future__ import annotations

import dataclasses
import math
import pathlib

import numpy as np

from spleen_tf.benchmark.measure import Skipped
from spleen_tf.core import flags
from spleen_tf.imaging import planes
from spleen_tf.inference import engine, model_files
from spleen_tf.inference.engine import Engine
from spleen_tf.inference.runtimes import Runtime
from spleen_tf.io import nifti
from spleen_tf.network.spec import NetworkSpec
from spleen_tf.training.config import TrainConfig

RECIPE = "train.flags"


@dataclasses.dataclass(frozen=True)
class Slices:
    """What one network of a family sees of a volume.

    Attributes:
        folder: its SavedModel's.
        shape_nhw: of all slices, on the network's grid.
        pixel_mm: of the grid.
    """

    folder: pathlib.Path
    shape_nhw: tuple[int, int, int]
    pixel_mm: tuple[float, float]

    @property
    def flop(self) -> float:
        """Operations of the convolutions on all slices.

        Raises:
            Skipped: if the recipe does not lie beside the model.
        """
        count, height, width = self.shape_nhw
        network = recipe(self.folder).network
        sides = (math.ceil(n / network.multiple) * network.multiple for n in (height, width))
        return count * flop_per_image(network, *sides)


def seen_by(family: pathlib.Path, image: pathlib.Path) -> list[Slices]:
    """What all networks of a family, those of a first look included, see of a volume's file."""
    grid = nifti.read_geometry(image).grid
    models = model_files.find([family])
    seen = []
    for folder, info in {**models, **model_files.find_first_look(models)}.items():
        height_mm, width_mm = planes.pixel_mm(grid.affine, info.plane)
        # Of an array without memory, for its shape.
        empty = np.broadcast_to(np.uint8(0), grid.shape)
        count, height, width = planes.split(empty, grid.affine, info.plane).shape
        rows = math.ceil(height * height_mm / info.pixel_mm[0])
        columns = math.ceil(width * width_mm / info.pixel_mm[1])
        seen.append(Slices(folder, (count, rows, columns), info.pixel_mm))
    return seen


def started(seen: list[Slices], chosen: Engine) -> list[Runtime]:
    """What runs the networks, loaded."""
    runtimes = engine.choose([slices.folder for slices in seen], chosen)
    engine.start(runtimes, chosen)
    for runtime in runtimes:
        runtime.load()
    return runtimes


def run(runtimes: list[Runtime], seen: list[Slices]) -> None:
    """Runs each network on all of its slices, which lie on its grid already."""
    for runtime, slices in zip(runtimes, seen, strict=True):
        count, height, width = slices.shape_nhw
        batch = max(1, runtime.pixels_per_batch // (height * width))
        images = np.random.default_rng(0).random((min(batch, count), height, width), np.float32)
        for start in range(0, count, batch):
            runtime.probability(images[: count - start], slices.pixel_mm, (0.0, 1.0))


def recipe(folder: pathlib.Path) -> TrainConfig:
    """The configuration that a released model was trained with.

    Raises:
        Skipped: if it does not lie beside the model.
    """
    path = folder.parent / RECIPE
    if not path.is_file():
        raise Skipped(f"no {RECIPE} beside {folder.parent.name}")
    given = ["train", f"--flagfile={path}", "--records=-", "--model_dir=-"]
    return flags.parse(given, TrainConfig)


def flop_per_image(network: NetworkSpec, height: int, width: int) -> float:
    """Operations of a network's convolutions on one image: two per product that is added.

    Args:
        network: a U-Net.
        height, width: multiples of network.multiple.
    """
    channels = [network.filters(level) for level in range(network.depth + 1)]
    products = 0
    for level, filters in enumerate(channels):
        pixels = (height >> level) * (width >> level)
        before = channels[level - 1] if level else network.in_channels
        products += pixels * 9 * (before * filters + filters * filters)
        if level < network.depth:
            # Each pixel of an upsampled image has one weight of the 2×2 for each channel below.
            products += pixels * channels[level + 1] * filters
            products += pixels * 9 * (2 * filters * filters + filters * filters)
    return 2.0 * (products + height * width * channels[0])
