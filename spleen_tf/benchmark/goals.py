"""The rows of the table of speed and memory: what is measured, beside what, and the target."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Goal:
    """A row before it is measured.

    Attributes:
        name: of the row.
        work: what is measured.
        reference: what it is measured beside; empty: nothing.
        unit: of both.
        target: what the ratio, or the value where there is no reference, has to reach; None: the
            row informs.
        is_minimum: the target is to be reached from above.
        is_quick: the row takes seconds, and --quick measures it.
    """

    name: str
    work: str
    reference: str
    unit: str
    target: float | None
    is_minimum: bool = False
    is_quick: bool = False

    @property
    def target_text(self) -> str:
        """As a reader of the table has it: '≤ 1.1'."""
        if self.target is None:
            return "–"
        return f"{'≥' if self.is_minimum else '≤'} {self.target:g}"


# The contract: names and targets stay.
GOALS = (
    Goal(
        "predict_process",
        "process `predict` of a 512×512×133 CT, default family, from start to exit",
        "its networks alone on all slices, ONNX Runtime, float32",
        "s",
        1.0,
        is_quick=True,
    ),
    Goal(
        "predict_before",
        "the same process",
        "the same with `--runtime=tensorflow --full`",
        "s",
        0.3,
    ),
    Goal("predict_small", "process `predict` of a 256×256×36 MR", "", "s", 2.0, is_quick=True),
    Goal("help", "`predict --help`", '`python -c "import numpy"`', "s", 3.0, is_quick=True),
    Goal("predict_rss", "peak memory of `predict` on 512×512×1000 int16", "", "GB", 1.2),
    Goal("predict_folder", "20 CTs in a folder, per case", "predict_process", "s", 0.6),
    Goal(
        "runtime_openvino",
        "networks alone, OpenVINO in its best precision",
        "ONNX Runtime, float32",
        "s",
        None,
        is_quick=True,
    ),
    Goal(
        "runtime_tensorflow",
        "networks alone, TensorFlow in its best precision",
        "ONNX Runtime, float32",
        "s",
        None,
        is_quick=True,
    ),
    Goal(
        "train_step",
        "training step, 256×256, 7.8 M parameters, best precision, per image",
        "PyTorch, compiled, best precision",
        "ms",
        0.8,
    ),
    Goal(
        "train_step_released",
        "training step of the released CT recipe, per image",
        "PyTorch, compiled, best precision",
        "ms",
        0.8,
        is_quick=True,
    ),
    Goal(
        "pipeline",
        "input pipeline alone with augmentation, released CT recipe",
        "the training step on a resident batch",
        "images/s",
        3.0,
        is_minimum=True,
        is_quick=True,
    ),
    Goal(
        "fit",
        "process `train` between two epochs, per image",
        "the training step on a resident batch",
        "ms",
        1.1,
    ),
    Goal(
        "convert",
        "conversion of a 512×512×133 CT, one worker",
        "decompressing and reading it with nibabel",
        "s",
        1.5,
        is_quick=True,
    ),
    Goal("rss_growth", "peak memory of conversion, 12 cases", "3 cases", "GB", 1.1),
    Goal("rss_growth_training", "peak memory of training, 36 cases", "12 cases", "GB", 1.1),
    Goal(
        "roofline",
        "convolutions of prediction's networks, ONNX Runtime, float32",
        "the best convolution rate measured here, float32",
        "GFLOP/s",
        0.6,
        is_minimum=True,
        is_quick=True,
    ),
    Goal(
        "roofline_training",
        "convolutions of the training step of the released CT recipe",
        "the best convolution rate measured here, same precision",
        "GFLOP/s",
        None,
        is_quick=True,
    ),
)
