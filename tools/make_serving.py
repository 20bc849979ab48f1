"""Lays out models for a server: TensorFlow Serving, or one that speaks the v2 protocol.

Writes, below --output_dir:
    tf_serving/models.config                 for --model_config_file
    tf_serving/NAME/VERSION/                 whole volumes, with warm-up requests
    tf_serving/NAME_network/VERSION/         images on the model's grid, batched by the server
    v2/NAME/VERSION/model.onnx               for Triton, and for MLServer by
    v2/NAME/model-settings.json, onnx_model.py

Example:
    python tools/make_serving.py --model=models/spleen_any --output_dir=data/serving
"""

from __future__ import annotations

import dataclasses
import pathlib
import shutil
import sys

# Lets the program run from a checkout in which the package is not installed.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from spleen_tf.core import files, flags
from spleen_tf.core.files import InputError
from spleen_tf.core.flags import flag
from spleen_tf.inference import model_files

_RUNTIME = pathlib.Path(__file__).with_name("serving") / "onnx_model.py"


@dataclasses.dataclass(frozen=True)
class ServingConfig:
    model: str = flag("", "A SavedModel folder, or a family with several.", required=True)
    output_dir: str = flag("", "A folder for the servers' models.", required=True)
    version: int = flag(1, "The version; each release needs a new one.", minimum=1)
    base_path: str = flag("/models", "The folder tf_serving/, as the server sees it.")


def main(config: ServingConfig) -> None:
    folders = {model_files.describe(path).name: path for path in model_files.folders(config.model)}
    output, version = files.make_folder(config.output_dir), str(config.version)
    for name in folders:
        for place in (output / "tf_serving" / name / version, output / "v2" / name / version):
            if place.exists():
                raise InputError(f"{place}: expected a new version, found one; raise --version.")
    # TensorFlow takes seconds to import, which a wrong flag should not cost.
    from spleen_tf.network import tf_serving

    served = []
    for name, saved_model in folders.items():
        for suffix, write in (
            ("", tf_serving.write_volumes),
            ("_network", tf_serving.write_images),
        ):
            model = f"{name}{suffix}"
            place = output / "tf_serving" / model / version
            with files.replacing(place) as partial:  # A server that watches sees whole versions.
                write(saved_model, partial, model)
            served.append(model)
        _write_v2(saved_model, output / "v2" / name, name, version)
    text = tf_serving.models_config(served, config.base_path)
    files.write_text(output / "tf_serving" / "models.config", text)
    print(f"{output}: {', '.join(served)}, version {version}")


def _write_v2(saved_model: pathlib.Path, folder: pathlib.Path, name: str, version: str) -> None:
    """The ONNX file in Triton's layout, and beside it what MLServer needs to run it."""
    with files.replacing(folder / version / "model.onnx") as partial:
        shutil.copyfile(saved_model.parent / "model.onnx", partial)
    with files.replacing(folder / _RUNTIME.name) as partial:
        shutil.copyfile(_RUNTIME, partial)
    settings = {
        "name": name,
        "implementation": "onnx_model.OnnxModel",
        "parameters": {"uri": f"./{version}/model.onnx", "version": version},
    }
    files.write_json(folder / "model-settings.json", settings)


if __name__ == "__main__":
    flags.run(main, ServingConfig)
