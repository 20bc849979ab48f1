"""The configuration of a training: what the flags of `python -m spleen_tf.train` fill."""

from __future__ import annotations

import dataclasses
from typing import Literal

from spleen_tf.core.flags import flag
from spleen_tf.datasets.fingerprint import Plan
from spleen_tf.network.spec import NetworkSpec, Norm, Precision
from spleen_tf.training import checks
from spleen_tf.training.augment_config import AugmentConfig

LOSSES = ("dice_ce", "dice_focal", "tversky")
OPTIMIZERS = ("adamw", "ranger", "swa")

# What `settled` fills in. A pixel_mm or window that is not set is settled by the records.
_IMAGE_SIZE = (512,)
_DEPTH = 4
_BATCH_SIZE = 8

# Earlier flag files and training.json have 0, an empty text or an empty list where nothing is set.
_MAY_BE_UNSET = (
    *("splits", "init_from", "fingerprint", "image_size", "pixel_mm", "window", "depth"),
    *("batch_size", "epochs", "steps", "minutes", "steps_per_epoch"),
)


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Everything that a training depends on."""

    records: str = flag("", "A folder that tools/make_tfrecords.py wrote.", required=True)
    model_dir: str = flag("", "A folder for checkpoints, log.csv and TensorBoard.", required=True)
    splits: str | None = flag(
        None,
        "A splits.json in place of that of the records; nnU-Net's splits_final.json works, too, "
        "with --fold.",
    )
    fold: int = flag(0, "Of --splits with several folds, the one that validates.", minimum=0)
    init_from: str | None = flag(
        None, "Starts from the weights of an earlier model: a --model_dir or a SavedModel folder."
    )
    fingerprint: str | None = flag(
        None,
        "A fingerprint.json that spleen_tf.explore wrote. It sets image_size, pixel_mm, window, "
        "depth and batch_size where they are not set.",
    )
    image_size: tuple[int, ...] | None = flag(
        None,
        "Pixels of a training image: one number, or rows and columns. Not set: 512. On a "
        "CPU, 112 pixels of 2.5 mm learn far more in the same time.",
        minimum=8,
    )
    pixel_mm: tuple[float, ...] | None = flag(
        None,
        "The network's pixel size: one number, or row and column. Not set: the records' median.",
    )
    window: tuple[float, ...] | None = flag(
        None,
        "Intensities that become 0 and 1: Hounsfield units for CT (not set: -160,240), percentiles "
        "of the volume for MR (not set: 0.5,99.5; also 5, 50 and 95).",
    )
    in_channels: int = flag(
        1, "Neighbouring slices that the network sees at once; odd.", minimum=1, maximum=15
    )
    base_filters: int = flag(32, "Filters at full resolution.", minimum=1, maximum=512)
    max_filters: int = flag(
        512, "Filters of the coarsest levels, at most.", minimum=1, maximum=2048
    )
    depth: int | None = flag(
        None, "How often the network halves the resolution. Not set: 4.", minimum=0, maximum=8
    )
    norm: Norm = flag("batch", "Normalization.")
    dropout: float = flag(0.0, "Dropout at the deepest level.", minimum=0, maximum=0.9)
    batch_size: int | None = flag(None, "Slices per step, over all devices. Not set: 8.", minimum=0)
    foreground_fraction: float = flag(
        0.5, "Share of slices that show spleen.", minimum=0, maximum=1
    )
    cache: bool = flag(False, "Keeps resampled slices in memory: faster for small data sets.")
    loss: str = flag("dice_ce", "Loss; experimental: dice_focal, tversky.", choices=LOSSES)
    optimizer: str = flag(
        "adamw",
        "AdamW with averaged weights (EMA); experimental: Ranger (RectifiedAdam with Lookahead) "
        "and SWA.",
        choices=OPTIMIZERS,
    )
    learning_rate: float = flag(1e-3, "Peak learning rate.", minimum=1e-9, maximum=10)
    weight_decay: float = flag(1e-4, "Decoupled weight decay.", minimum=0)
    warmup: float = flag(0.05, "Share of the budget before the peak.", minimum=0, maximum=0.9)
    ema: float = flag(0.99, "Decay of the averaged weights; 0: none.", minimum=0, maximum=0.99999)
    epochs: int | None = flag(None, "Stops after this many epochs.", minimum=0)
    steps: int | None = flag(None, "Stops after this many steps.", minimum=0)
    minutes: float | None = flag(
        None,
        "Stops after this many minutes of training, added up over all resumes.",
        minimum=0,
    )
    steps_per_epoch: int | None = flag(
        None,
        "Steps between validations. Not set: as many as show every slice once.",
        minimum=0,
    )
    seed: int = flag(0, "Seed of weights, order and augmentation.", minimum=0, maximum=2**31 - 2)
    precision: Precision = flag(
        "auto",
        "auto takes float16 on GPUs with tensor cores, bfloat16 on CPUs that have it (without AMX: "
        "with 16 filters or more), else float32.",
    )
    deterministic: bool = flag(
        False,
        "The same weights from the same command on the same machine, also where the training was "
        "interrupted: slower, and not with --minutes.",
    )
    augment_rotation_degrees: float = flag(
        15.0, "Rotation to either side, up to this.", minimum=0, maximum=180
    )
    augment_scale: float = flag(0.2, "Zoom, up to this share in or out.", minimum=0, maximum=0.9)
    augment_shift: float = flag(0.05, "Shift, up to this share of the side.", minimum=0, maximum=1)
    augment_elastic_pixels: float = flag(
        3.0, "Elastic warp: standard deviation of its control points' shifts.", minimum=0
    )
    augment_gain: float = flag(
        0.2, "Brightness and contrast, up to this share.", minimum=0, maximum=1
    )
    augment_gamma: float = flag(0.4, "Gamma from exp(-this) to exp(this).", minimum=0, maximum=2)
    augment_bias_field: float = flag(
        0.2, "Smooth shading: standard deviation of its logarithm.", minimum=0, maximum=2
    )
    augment_organ: float = flag(
        0.3,
        "Share of slices in which the spleen itself is darker or brighter, as with iron or "
        "contrast medium.",
        minimum=0,
        maximum=1,
    )
    augment_mottle: float = flag(
        0.0,
        "Share of slices in which the spleen has bright and dark bands, as in the arterial phase.",
        minimum=0,
        maximum=1,
    )
    augment_mass: float = flag(
        0.0,
        "Share of slices with a round body of even brightness that is not spleen, as a cyst or a "
        "full stomach. A third of the bodies are as bright as the window goes, as fluid on T2.",
        minimum=0,
        maximum=1,
    )
    augment_mass_darkest: float = flag(
        0.0,
        "Brightness of the darkest such body, from 0 (black) to 1 (the window's upper end, as of "
        "bowel with contrast medium).",
        minimum=0,
        maximum=1,
    )
    augment_invert: float = flag(
        0.0, "Share of slices with light and dark exchanged.", minimum=0, maximum=1
    )
    augment_curve: float = flag(
        0.0,
        "Share of slices whose intensities go through a random curve, as if of another sequence "
        "or modality.",
        minimum=0,
        maximum=1,
    )
    augment_texture: float = flag(
        0.0, "Share of slices mixed with a random shallow convolution.", minimum=0, maximum=1
    )
    augment_coarse: float = flag(
        0.0,
        "Share of slices seen through up to four times coarser rows and columns.",
        minimum=0,
        maximum=1,
    )
    augment_cut: float = flag(
        0.0, "Share of slices whose field of view is cut on every side.", minimum=0, maximum=1
    )
    augment_noise: float = flag(
        0.05, "Gaussian noise: standard deviation up to this.", minimum=0, maximum=1
    )
    augment_blur_pixels: float = flag(
        1.0, "Gaussian blur in every other slice: sigma up to this.", minimum=0, maximum=8
    )
    distribution: Literal["none", "mirrored", "multi_worker"] = flag(
        "none", "Devices and machines to train on."
    )

    def __post_init__(self) -> None:
        """Raises ConfigError where fields contradict one another."""
        for name in _MAY_BE_UNSET:
            if getattr(self, name) in (0, "", ()):
                object.__setattr__(self, name, None)
        # The depth of a fingerprint is not known yet; any one halves the image at least once.
        depth_is_open = self.depth is None and self.fingerprint is not None
        checks.image_size(self.image_size or (), 2 if depth_is_open else self.network.multiple)
        checks.pixel_mm(self.pixel_mm or ())
        if self.window is not None:
            checks.window(self.window)
        checks.in_channels(self.in_channels)
        has_steps, has_minutes = bool(self.epochs or self.steps), bool(self.minutes)
        checks.budget(has_steps, has_minutes, self.deterministic)
        checks.optimizer(self.optimizer, self.distribution, has_steps)
        checks.distribution(self.distribution, has_minutes)

    def settled(self, plan: Plan | None = None) -> TrainConfig:
        """The same with nothing left open: what is not set comes from a plan, else defaults.

        Args:
            plan: what a fingerprint proposes.

        Raises:
            ConfigError: if what is set and what is proposed contradict one another.
        """
        changes = {
            name: getattr(plan, name)
            for name in ("image_size", "pixel_mm", "window", "depth", "batch_size")
            if getattr(self, name) is None and getattr(plan, name, None)
        }
        # By the proposed depth, a size of the flags may turn out to be no multiple.
        settled = dataclasses.replace(self, fingerprint=None, **changes)
        return dataclasses.replace(
            settled,
            image_size=settled.image_size or _IMAGE_SIZE,
            depth=settled.network.depth,
            batch_size=settled.batch_size or _BATCH_SIZE,
        )

    @property
    def augmentation(self) -> AugmentConfig:
        """The strengths of the fields augment_*."""
        names = [field.name for field in dataclasses.fields(AugmentConfig)]
        return AugmentConfig(**{name: getattr(self, f"augment_{name}") for name in names})

    @property
    def network(self) -> NetworkSpec:
        """What unet.build builds."""
        return NetworkSpec(
            self.in_channels,
            self.base_filters,
            self.max_filters,
            self.depth or _DEPTH,
            self.norm,
            self.dropout,
        )

    @property
    def image_hw(self) -> tuple[int, int]:
        """Rows and columns of a training image."""
        size = self.image_size or _IMAGE_SIZE
        return size[0], size[-1]
