"""The weights that a training starts from, where --init_from names an earlier model."""

from __future__ import annotations

import pathlib

import keras

from spleen_tf.core.files import InputError
from spleen_tf.network import serving
from spleen_tf.training.checkpoints import BEST_WEIGHTS


def load_into(model: keras.Model, init_from: str) -> None:
    """Fills a model with the weights of an earlier one.

    Args:
        model: as unet.build made it.
        init_from: a folder that train or export wrote.

    Raises:
        InputError: if there are no weights, or they are of another architecture.
    """
    folder = pathlib.Path(init_from)
    weights = folder / BEST_WEIGHTS
    if weights.is_file():
        try:
            model.load_weights(weights)
        except (ValueError, OSError) as error:
            raise _other_architecture(folder, error) from None
    elif (folder / "saved_model.pb").is_file():
        _load_saved_model(model, folder)
    else:
        raise InputError(
            f"{folder}: expected {BEST_WEIGHTS} (a --model_dir) or saved_model.pb (an exported "
            "model), found neither."
        )


def _load_saved_model(model: keras.Model, folder: pathlib.Path) -> None:
    loaded = serving.load_variables(folder)
    expected_shapes = {variable.name: tuple(variable.shape) for variable in model.variables}
    loaded_shapes = {name: tuple(variable.shape) for name, variable in loaded.items()}
    for name in sorted(expected_shapes.keys() | loaded_shapes.keys()):
        expected, shape = expected_shapes.get(name), loaded_shapes.get(name)
        if expected != shape:
            detail = f"{name}: expected the shape {expected}, found {shape}"
            raise _other_architecture(folder, detail)
    for variable in model.variables:
        variable.assign(loaded[variable.name])


def _other_architecture(folder: pathlib.Path, detail: object) -> InputError:
    return InputError(
        f"{folder}: expected weights of the architecture that the flags describe, found others "
        f"({detail}); give the flags of that model."
    )
