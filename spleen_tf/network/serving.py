"""The SavedModel: a network and its preprocessing as functions that plain TensorFlow serves."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import pathlib
from collections.abc import Callable, Iterator

import keras
import tensorflow as tf

from spleen_tf.core.files import InputError
from spleen_tf.imaging import intensity
from spleen_tf.network import preprocess
from spleen_tf.network.spec import MARGINS_INPUT, ServingSpec

# Of `inner`; `windowed` has the first three, and serving_default the first two.
INPUTS = (
    tf.TensorSpec([None, None, None], tf.float32, "slices"),
    tf.TensorSpec([2], tf.float32, "pixel_mm"),
    tf.TensorSpec([2], tf.float32, "window"),
    tf.TensorSpec([2], tf.int32, MARGINS_INPUT),
)


@dataclasses.dataclass(frozen=True)
class Stages:
    """What `windowed` does, one step after the other.

    Attributes:
        network: float32 images on the grid, [N, h, w, C], to logits, [N, h, w, 1].
        spec: of the same network.
    """

    network: Callable[[tf.Tensor], tf.Tensor]
    spec: ServingSpec

    def images(
        self, slices: tf.Tensor, pixel_mm: tf.Tensor, window: tf.Tensor, margins: tf.Tensor
    ) -> tf.Tensor:
        """[N - margins, h, w, C] in 0..1: what the network sees; see `inner` in `servable`."""
        # Channels share their slices: each is resampled once, not once per channel.
        on_grid = preprocess.normalized_grid(slices, window, pixel_mm, self.spec.grid_mm)
        images = preprocess.neighbours(on_grid, self.spec.in_channels)
        return images[margins[0] : tf.shape(images)[0] - margins[1]]

    def on_grid(self, images: tf.Tensor) -> tf.Tensor:
        """[N, h, w]: the probability of spleen in such images."""
        return preprocess.probability_on_grid(self.network, images, self.spec.multiple)

    def native(self, on_grid: tf.Tensor, pixel_mm: tf.Tensor, slices: tf.Tensor) -> tf.Tensor:
        """[N, H, W]: that probability in the pixels of the slices."""
        return preprocess.from_grid(on_grid, pixel_mm, self.spec.grid_mm, tf.shape(slices)[1:])


def servable(network: keras.Model, spec: ServingSpec) -> tf.Module:
    """The functions that are served, as a module that holds the network's variables.

    Args:
        network: float32 images on the grid, [N, h, w, C], to logits, [N, h, w, 1].
        spec: of the same network.
    """
    images_spec = tf.TensorSpec([None, None, None, spec.in_channels], tf.float32, "images")
    stages = Stages(functools.partial(network, training=False), spec)

    def inner(
        slices: tf.Tensor, pixel_mm: tf.Tensor, window: tf.Tensor, margins: tf.Tensor
    ) -> dict[str, tf.Tensor]:
        """As windowed, without the first and last slices, which were sent as neighbours."""
        images = stages.images(slices, pixel_mm, window, margins)
        return {"probability": stages.native(stages.on_grid(images), pixel_mm, slices)}

    def windowed(slices: tf.Tensor, pixel_mm: tf.Tensor, window: tf.Tensor) -> dict[str, tf.Tensor]:
        return inner(slices, pixel_mm, window, (0, 0))

    def serving_default(slices: tf.Tensor, pixel_mm: tf.Tensor) -> dict[str, tf.Tensor]:
        return windowed(slices, pixel_mm, _default_window(slices, spec))

    def on_grid(images: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"probability": stages.on_grid(images)[..., tf.newaxis]}

    # No Python branches on tensors, which AutoGraph takes seconds to find out.
    function = functools.partial(tf.function, autograph=False)
    module = tf.Module()
    # The variables alone: a Keras model would bring Keras' own objects into the file.
    module.variables_of_network = network.variables
    module.serving_default = function(serving_default, INPUTS[:2])
    module.windowed = function(windowed, INPUTS[:3])
    module.on_grid = function(on_grid, [images_spec])
    # No signature: for streaming, which does not need the neighbours' own probabilities.
    module.inner = function(inner, INPUTS)
    return module


def save(module: tf.Module, folder: pathlib.Path, place: pathlib.Path) -> None:
    """Writes a SavedModel with the signatures serving_default, windowed and network.

    Args:
        module: what `servable` returned.
        folder: where to write it.
        place: where the caller will move it to; errors name this one.

    Raises:
        InputError: if the disk does not take it.
    """
    signatures = {
        "serving_default": module.serving_default,
        "windowed": module.windowed,
        "network": module.on_grid,
    }
    try:
        tf.saved_model.save(module, str(folder), signatures=signatures)
    except (OSError, tf.errors.OpError) as error:
        raise InputError(
            f"{place}: expected a place to write to, found: {str(error).splitlines()[0]}."
        ) from None


def load_variables(folder: pathlib.Path) -> dict[str, tf.Variable]:
    """The variables of a SavedModel's network by their names in `unet.build`; {} if it has none.

    Raises:
        InputError: if the folder holds no SavedModel that loads.
    """
    with loading(folder):
        loaded = tf.saved_model.load(str(folder))
    # Models of other makers have the signatures alone.
    return {variable.name: variable for variable in getattr(loaded, "variables_of_network", ())}


@contextlib.contextmanager
def loading(folder: pathlib.Path) -> Iterator[None]:
    """Raises InputError, which names the SavedModel's folder, where loading it fails."""
    try:
        yield
    except (OSError, LookupError, ValueError, RuntimeError, tf.errors.OpError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(
            f"{folder}: expected a SavedModel that spleen_tf.export wrote, found one that does "
            f"not load ({reason})."
        ) from None


def _default_window(slices: tf.Tensor, spec: ServingSpec) -> tf.Tensor:
    """float32 [2]: the window that a model takes for slices of which nothing else is known."""
    if spec.modality == "CT":
        return tf.constant(spec.window, tf.float32)
    window = preprocess.percentile_window(slices, spec.window)
    if spec.modality == "MR":
        return window
    ends = (intensity.LOWEST_PERCENTILE, 100.0)
    lowest = preprocess.percentile_window(slices, ends)[0]
    return preprocess.window_for_any(lowest, window)
