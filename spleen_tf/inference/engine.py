"""Which runtime, device and precision models run with."""

from __future__ import annotations

import dataclasses
import importlib.util
import pathlib
from collections.abc import Sequence

from spleen_tf.core.files import InputError
from spleen_tf.inference import openvino_model
from spleen_tf.inference.openvino_model import OpenVinoModel
from spleen_tf.inference.runtimes import OnnxModel, Runtime, SavedModel, setup
from spleen_tf.network import spec
from spleen_tf.network.spec import RuntimeChoice as RuntimeChoice


@dataclasses.dataclass(frozen=True)
class Engine:
    """What is asked for of the machine that runs models.

    Attributes:
        runtime: 'auto' takes ONNX Runtime on a CPU where each SavedModel has a model.onnx beside
            it, unless another precision than float32 is asked for; else TensorFlow. It takes ONNX
            Runtime on a GPU, too, where a SavedModel is not there, as in a wheel. 'openvino' gives
            way to ONNX Runtime, with a warning, where OpenVINO is not installed or not right.
        device: 'auto', 'cpu', 'gpu' or 'gpu:N'.
        precision: 'auto', 'float32', 'bfloat16' or 'float16'.
    """

    runtime: RuntimeChoice = "auto"
    device: str = "auto"
    precision: str = "auto"


DEFAULT_ENGINE = Engine()


def choose(folders: Sequence[pathlib.Path], engine: Engine = DEFAULT_ENGINE) -> list[Runtime]:
    """What runs the models of some SavedModels' folders; they are not loaded yet.

    Raises:
        InputError: if ONNX Runtime is asked for, and a model.onnx is missing or device or precision
            are not ones that it runs with; if only TensorFlow does what is asked for, and a
            SavedModel is missing.
    """
    missing = [path for path in map(spec.onnx_path, folders) if not path.is_file()]
    onnx_alone = [folder for folder in folders if not spec.has_saved_model(folder)]
    is_on_gpu = engine.device.startswith("gpu")
    is_float32 = engine.precision in ("auto", "float32")
    if engine.runtime in ("onnx", "openvino"):
        _check_onnx(engine, missing)
        if engine.runtime == "openvino":
            return [OpenVinoModel(folder, engine.precision) for folder in folders]
        return [OnnxModel(folder) for folder in folders]
    needs_tensorflow = missing or engine.runtime == "tensorflow" or is_on_gpu or not is_float32
    if needs_tensorflow and onnx_alone:
        raise InputError(
            f"{onnx_alone[0]}: expected a SavedModel (saved_model.pb), without which TensorFlow "
            "cannot run it, found model.onnx alone; leave --runtime, --device and --precision out, "
            "or name the model's folder in a checkout."
        )
    may_use_gpu = engine.device == "auto" and _has_gpu() and not onnx_alone
    if needs_tensorflow or may_use_gpu:
        return [SavedModel(folder, engine.device, engine.precision) for folder in folders]
    return [OnnxModel(folder) for folder in folders]


def _check_onnx(engine: Engine, missing: Sequence[pathlib.Path]) -> None:
    """Raises InputError where what runs model.onnx cannot do what is asked for."""
    if missing:
        raise InputError(
            f"{missing[0]}: expected an ONNX model for --runtime={engine.runtime}, found none; "
            "spleen_tf.export --saved_model writes one."
        )
    able: tuple[str, ...] = ("auto", "float32")
    precisions = "float32"
    if engine.runtime == "openvino":
        able, precisions = (*able, "bfloat16"), "float32 or bfloat16"
    is_on_gpu = engine.device.startswith("gpu")
    if is_on_gpu or engine.precision not in able:
        found = f"--device={engine.device}" if is_on_gpu else f"--precision={engine.precision}"
        raise InputError(
            f"--runtime: expected tensorflow for {found}, found {engine.runtime}, which runs in "
            f"{precisions} on the CPU."
        )


def start(runtimes: Sequence[Runtime], engine: Engine = DEFAULT_ENGINE) -> str:
    """Chooses device and precision for models that this process runs; they are not loaded yet.

    Returns:
        What runs them, in which precision and why.

    Raises:
        InputError: if the device does not exist here.
    """
    if any(runtime.name == "tensorflow" for runtime in runtimes):
        return f"TensorFlow, {setup(engine.device, engine.precision)}"
    by_openvino = [runtime for runtime in runtimes if isinstance(runtime, OpenVinoModel)]
    if by_openvino:
        openvino_model.try_out(by_openvino)
        return openvino_model.note(by_openvino)
    return "ONNX Runtime, float32: the CPU runs model.onnx"


def is_installed(runtimes: Sequence[Runtime]) -> bool:
    """Whether what runs some models is installed: TensorFlow need not be."""
    needs_tensorflow = any(runtime.name == "tensorflow" for runtime in runtimes)
    return not needs_tensorflow or importlib.util.find_spec("tensorflow") is not None


def _has_gpu() -> bool:
    """Whether there is an NVIDIA driver; TensorFlow, which knows better, takes long to import."""
    return pathlib.Path("/dev/nvidiactl").exists()
