"""The rows of prediction: processes as a user starts them, and the networks alone."""

from __future__ import annotations

import functools
import pathlib

from spleen_tf.benchmark import convolutions, measure, networks
from spleen_tf.benchmark.bench import Bench, Measure
from spleen_tf.benchmark.measure import Skipped
from spleen_tf.benchmark.rows import Measurement
from spleen_tf.inference.engine import Engine
from spleen_tf.inference.runtimes import RuntimeName

_FOLDER_CASES = 20
_IN_FLOAT32 = Engine("onnx", "cpu")


def predict_process(bench: Bench) -> Measurement:
    """From start to exit, beside the networks alone."""
    seen = networks.seen_by(bench.family, bench.inputs.ct)
    runtimes = networks.started(seen, _IN_FLOAT32)
    return measure.alternating(
        lambda: _predict(bench, bench.inputs.ct),
        lambda: measure.seconds(lambda: networks.run(runtimes, seen)),
        bench.repeats,
        f"family {bench.family.name}, {len(seen)} networks",
    )


def predict_before(bench: Bench) -> Measurement:
    """Beside all short cuts off."""
    return measure.alternating(
        lambda: _predict(bench, bench.inputs.ct),
        lambda: _predict(bench, bench.inputs.ct, "--runtime=tensorflow", "--full"),
        bench.repeats,
    )


def predict_small(bench: Bench) -> Measurement:
    """A small MR."""
    return measure.alternating(lambda: _predict(bench, bench.inputs.mr), None, bench.repeats)


def help_text(bench: Bench) -> Measurement:
    """What a wrong flag costs."""
    return measure.alternating(
        lambda: measure.python("-m", "spleen_tf.predict", "--help").seconds,
        lambda: measure.python("-c", "import numpy").seconds,
        2 * bench.repeats,
    )


def predict_rss(bench: Bench) -> Measurement:
    """Memory on many slices; one run, since it hardly differs from run to run."""
    cost = measure.python(*_command(bench, bench.inputs.long_ct))
    return Measurement((cost.peak_gb,), note=f"{cost.seconds:.1f} s")


def predict_folder(bench: Bench) -> Measurement:
    """Many volumes in one process, beside one volume in one process."""
    folder = bench.new_folder("cases")
    for number in range(_FOLDER_CASES):
        (folder / f"case_{number:02d}.nii.gz").symlink_to(bench.inputs.ct.resolve())

    def per_case() -> float:
        masks = bench.new_folder("masks")
        arguments = (f"--input={folder}", f"--output={masks}")
        return measure.python("-m", "spleen_tf.predict", *arguments).seconds / _FOLDER_CASES

    # The first turn of a folder would fill the same caches as one volume does.
    values, references = [], []
    _predict(bench, bench.inputs.ct)
    for _ in range(max(1, bench.repeats // 2)):
        references.append(_predict(bench, bench.inputs.ct))
        values.append(per_case())
        references.append(_predict(bench, bench.inputs.ct))
    return Measurement(tuple(values), tuple(references))


def runtime_openvino(bench: Bench) -> Measurement:
    """OpenVINO beside ONNX Runtime."""
    return _runtime(bench, "openvino")


def runtime_tensorflow(bench: Bench) -> Measurement:
    """TensorFlow beside ONNX Runtime."""
    return _runtime(bench, "tensorflow")


def roofline(bench: Bench) -> Measurement:
    """The rate of the convolutions, beside the best that this machine shows."""
    seen = networks.seen_by(bench.family, bench.inputs.ct)
    flop = sum(slices.flop for slices in seen)
    runtimes = networks.started(seen, _IN_FLOAT32)
    return measure.alternating(
        lambda: flop / 1e9 / measure.seconds(lambda: networks.run(runtimes, seen)),
        convolutions.best_gflops,
        bench.repeats,
    )


def _runtime(bench: Bench, name: RuntimeName) -> Measurement:
    """The better of two precisions: each beside ONNX Runtime.

    Raises:
        Skipped: if another runtime takes its place in both.
    """
    seen = networks.seen_by(bench.family, bench.inputs.ct)
    reference = networks.started(seen, _IN_FLOAT32)
    measurements = []
    for precision in ("float32", "bfloat16"):
        runtimes = networks.started(seen, Engine(name, "cpu", precision))
        if any(runtime.name != name for runtime in runtimes):
            continue
        measurement = measure.alternating(
            functools.partial(measure.seconds, functools.partial(networks.run, runtimes, seen)),
            functools.partial(measure.seconds, functools.partial(networks.run, reference, seen)),
            bench.repeats,
            f"in {precision}",
        )
        measurements.append(measurement)
    if not measurements:
        raise Skipped(f"{name} does not run these networks here")
    return min(measurements, key=lambda m: min(m.values) / min(m.references))


def _predict(bench: Bench, image: pathlib.Path, *arguments: str) -> float:
    return measure.python(*_command(bench, image, *arguments)).seconds


def _command(bench: Bench, image: pathlib.Path, *arguments: str) -> tuple[str, ...]:
    output = f"--output={bench.folder / 'out.nii.gz'}"
    return ("-m", "spleen_tf.predict", f"--input={image}", output, *arguments)


# By the names of their goals.
ROWS: dict[str, Measure] = {
    "predict_process": predict_process,
    "predict_before": predict_before,
    "predict_small": predict_small,
    "help": help_text,
    "predict_rss": predict_rss,
    "predict_folder": predict_folder,
    "runtime_openvino": runtime_openvino,
    "runtime_tensorflow": runtime_tensorflow,
    "roofline": roofline,
}
