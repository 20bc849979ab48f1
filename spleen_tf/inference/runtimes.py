"""What runs an exported model: ONNX Runtime or TensorFlow, imported when they are needed."""

from __future__ import annotations

import functools
import os
import pathlib
from collections.abc import Sequence
from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt

from spleen_tf.core import cores
from spleen_tf.core.files import InputError
from spleen_tf.network import spec

# A CPU is as fast with one slice as with four, which take four times the memory; a GPU is not.
PIXELS_PER_BATCH = {"CPU": 1 << 18, "GPU": 1 << 21}


_INPUTS = {"slices", "pixel_mm", "window"}
_ONNX_REMEDY = "write it again with spleen_tf.export, or use --runtime=tensorflow"

RuntimeName = Literal["onnx", "openvino", "tensorflow"]


class Runtime(Protocol):
    """One exported model, ready to run."""

    @property
    def name(self) -> RuntimeName:
        """What runs it."""

    def load(self) -> None:
        """Loads the model now, and not when it is first run.

        Raises:
            InputError: if it cannot be loaded.
        """

    @property
    def pixels_per_batch(self) -> int:
        """How many pixels it takes at once at most, unless a single slice has more."""

    def probability(
        self,
        slices_nhw: npt.NDArray[Any],
        pixel_mm: Sequence[float] | npt.NDArray[Any],
        window: tuple[float, float],
        margins: tuple[int, int] = (0, 0),
    ) -> npt.NDArray[Any]:
        """The probability of spleen.

        Args:
            slices_nhw: (N, H, W) float32, consecutive slices in the volume's units.
            pixel_mm: row and column spacing.
            window: the intensities that become 0 and 1.
            margins: so many first and last slices are there as neighbours only.

        Returns:
            (N - margins, H, W) float32.

        Raises:
            MemoryError: if the slices are too large for the machine.
        """


class SavedModel:
    """A Runtime: TensorFlow with a SavedModel's folder, on a device and in a precision."""

    name: RuntimeName = "tensorflow"

    def __init__(self, folder: pathlib.Path, device: str = "auto", precision: str = "auto"):
        self._folder, self._device, self._precision = folder, device, precision

    def load(self) -> None:
        """Loads the SavedModel; see Runtime.load."""
        _ = self._functions

    @functools.cached_property
    def _functions(self) -> tuple[Any, Any]:
        """The signature `windowed` and, where there is one, the function that takes margins."""
        tf = tensorflow()
        from spleen_tf.network import serving

        # A second opinion is first loaded when it is asked.
        setup(self._device, self._precision)
        with serving.loading(self._folder):
            # An attribute, since a SavedModel is dropped with the last reference to it.
            self._loaded = tf.saved_model.load(str(self._folder))
            windowed = self._loaded.signatures["windowed"]
            if (
                windowed.structured_input_signature[1].keys() != _INPUTS
                or "probability" not in windowed.structured_outputs
            ):
                raise ValueError("its signature windowed has other inputs or outputs")
            # Models of other makers have the signatures alone.
            return windowed, getattr(self._loaded, "inner", None)

    @property
    def pixels_per_batch(self) -> int:
        """More on a GPU; see Runtime.pixels_per_batch."""
        has_gpu = bool(tensorflow().config.get_visible_devices("GPU"))
        return PIXELS_PER_BATCH["GPU" if has_gpu else "CPU"]

    def probability(
        self,
        slices_nhw: npt.NDArray[Any],
        pixel_mm: Sequence[float] | npt.NDArray[Any],
        window: tuple[float, float],
        margins: tuple[int, int] = (0, 0),
    ) -> npt.NDArray[Any]:
        """The probability of spleen; see Runtime.probability."""
        tf = tensorflow()
        windowed, inner = self._functions
        slices = tf.constant(slices_nhw)
        spacing, ends = tf.constant(pixel_mm, tf.float32), tf.constant(window, tf.float32)
        first, last = margins
        try:
            if any(margins) and inner is not None:
                outputs = inner(slices, spacing, ends, tf.constant(margins))
                first, last = 0, 0
            else:
                outputs = windowed(slices=slices, pixel_mm=spacing, window=ends)
        except tf.errors.ResourceExhaustedError as error:
            raise MemoryError(str(error)) from None
        except tf.errors.OpError as error:
            reason = error.message.partition("\n")[0]
            raise self._unfit(f"does not run ({reason})") from error
        probability_nhw = np.asarray(outputs["probability"].numpy())
        probability_nhw = probability_nhw[first : len(probability_nhw) - last]
        if not _is_of(probability_nhw, slices_nhw, margins):
            raise self._unfit("gives other values than probabilities")
        return probability_nhw

    def _unfit(self, found: str) -> InputError:
        return InputError(
            f"{self._folder}: expected a SavedModel that spleen_tf.export wrote, found one that "
            f"{found}."
        )


class OnnxModel:
    """A Runtime: ONNX Runtime, on the CPU in float32, with the model.onnx beside a SavedModel."""

    name: RuntimeName = "onnx"
    # As fast with one slice as with many, but for neighbours, which are resampled again.
    pixels_per_batch = 1 << 19

    def __init__(self, folder: pathlib.Path):
        self._folder, self._path = folder, spec.onnx_path(folder)

    def load(self) -> None:
        """Loads model.onnx; see Runtime.load."""
        _ = self._session

    @functools.cached_property
    def _session(self) -> Any:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 4  # Failures are raised.
        # By itself it takes all cores of the machine, and waits for those that others keep busy.
        if cores.are_restricted():
            options.intra_op_num_threads = cores.available()
        if _has_shared_memory():
            options.add_session_config_entry("session.use_env_allocators", "1")
        try:
            session = onnxruntime.InferenceSession(
                str(self._path), options, providers=["CPUExecutionProvider"], enable_fallback=False
            )
            inputs = {value.name for value in session.get_inputs()}
            outputs = {value.name for value in session.get_outputs()}
            metadata = session.get_modelmeta().custom_metadata_map
        except _onnx_errors() as error:
            raise self._unfit("does not load") from error
        if not inputs >= _INPUTS or "probability" not in outputs:
            raise self._unfit("has other inputs or outputs")
        if spec.has_saved_model(self._folder) and (
            metadata.get(spec.ONNX_WEIGHTS_KEY) != spec.weights_sha256(self._folder)
        ):
            raise InputError(
                f"{self._path}: expected the weights of the SavedModel beside it, found others; "
                f"{_ONNX_REMEDY}."
            )
        return session

    def _unfit(self, found: str) -> InputError:
        return InputError(
            f"{self._path}: expected an ONNX model that spleen_tf.export wrote, found one that "
            f"{found}; {_ONNX_REMEDY}."
        )

    def probability(
        self,
        slices_nhw: npt.NDArray[Any],
        pixel_mm: Sequence[float] | npt.NDArray[Any],
        window: tuple[float, float],
        margins: tuple[int, int] = (0, 0),
    ) -> npt.NDArray[Any]:
        """The probability of spleen; see Runtime.probability."""
        inputs = {
            "slices": slices_nhw,
            "pixel_mm": np.asarray(pixel_mm, np.float32),
            "window": np.asarray(window, np.float32),
        }
        first, last = margins
        # Files of earlier releases compute neighbours, too; they are cut off below.
        leaves_margins_out = bool(self._session.get_overridable_initializers())
        if leaves_margins_out:
            inputs[spec.MARGINS_INPUT] = np.array(margins, np.int32)
            first, last = 0, 0
        try:
            (probability_nhw,) = self._session.run(["probability"], inputs)
        except _onnx_errors() as error:
            if "alloc" in str(error).lower():
                raise MemoryError(str(error)) from None
            raise self._unfit("does not run") from error
        probability_nhw = np.asarray(probability_nhw[first : len(probability_nhw) - last])
        if not _is_of(probability_nhw, slices_nhw, margins):
            raise self._unfit("gives other values than probabilities")
        return probability_nhw


def _is_of(
    probability_nhw: npt.NDArray[Any], slices_nhw: npt.NDArray[Any], margins: tuple[int, int]
) -> bool:
    """Whether these may be the probabilities of the slices but for so many first and last ones."""
    expected_shape = (len(slices_nhw) - sum(margins), *slices_nhw.shape[1:])
    return probability_nhw.shape == expected_shape and probability_nhw.dtype == np.float32


@functools.cache
def _has_shared_memory() -> bool:
    """Whether all models take their memory from one place, no more than they need.

    By itself each would keep some of its own, and twice as much from time to time.
    """
    import onnxruntime

    kind = onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR
    place = onnxruntime.OrtMemoryInfo("Cpu", kind, 0, onnxruntime.OrtMemType.DEFAULT)
    # No bound, and what is asked for: ONNX Runtime has numbers for its own defaults.
    no_bound, as_requested, default = 0, 1, -1
    growth = onnxruntime.OrtArenaCfg(no_bound, as_requested, default, default)
    try:
        onnxruntime.create_and_register_allocator(place, growth)
    except _onnx_errors():  # Another part of this process has done so, in its own way.
        return False
    return True


def _onnx_errors() -> tuple[type[Exception], ...]:
    """What ONNX Runtime raises about a model: exceptions that have nothing else in common."""
    from onnxruntime.capi import onnxruntime_pybind11_state as errors

    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    # Of messages that quote a damaged name, Python makes the last one.
    return (*(kind for kind in kinds if issubclass(kind, Exception)), UnicodeDecodeError)


def tensorflow() -> Any:
    """TensorFlow, imported with the settings that the commands use."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # TensorFlow leaves oneDNN off on CPUs without VNNI, BF16 or AMX; they, too, are faster with it.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    try:
        import tensorflow as tf
    except ModuleNotFoundError as error:
        if error.name != "tensorflow":
            raise
        raise InputError(
            "--runtime: expected TensorFlow, which these models need, found it not installed; "
            "install it, or write model.onnx beside them with spleen_tf.export."
        ) from None
    return tf


def setup(device: str = "auto", precision: str = "auto") -> str:
    """Chooses device and precision for all models that this process runs.

    Args:
        device: 'auto', 'cpu', 'gpu' or 'gpu:N'.
        precision: 'auto', 'float32', 'bfloat16' or 'float16'.

    Returns:
        The precision that was chosen, and why.

    Raises:
        InputError: if the device does not exist here.
    """
    tensorflow()
    from spleen_tf.network import device as network_device

    return network_device.setup(device, precision)
