"""The configuration of a training: what the flags of `python -m spleen_tf.train` fill."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

from spleen_tf.core.flags import ConfigError, flag
from spleen_tf.network.spec import NORMS, PRECISIONS, NetworkSpec

LOSSES = ("dice_ce", "dice_focal", "tversky")
OPTIMIZERS = ("adamw", "ranger", "swa")
DISTRIBUTIONS = ("none", "mirrored", "multi_worker")

# What `settled` fills in. An empty pixel_mm or window is settled by the records.
_DEFAULTS: dict[str, Any] = {
    "image_size": (512.0,),
    "pixel_mm": (),
    "window": (),
    "depth": 4,
    "batch_size": 8,
}


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """Everything that a training depends on."""

    records: str = flag("", "A folder that tools/make_tfrecords.py wrote.", required=True)
    model_dir: str = flag("", "A folder for checkpoints, log.csv and TensorBoard.", required=True)
    splits: str = flag(
        "",
        "A splits.json in place of the one of the records; nnU-Net's splits_final.json will do, "
        "with --fold.",
    )
    fold: int = flag(0, "Of --splits with several folds, the one that validates.", minimum=0)
    init_from: str = flag(
        "", "Starts from the weights of an earlier model: a --model_dir or a SavedModel folder."
    )
    fingerprint: str = flag(
        "",
        "A fingerprint.json of spleen_tf.explore: gives those of image_size, pixel_mm, window, "
        "depth and batch_size that are not set.",
    )
    image_size: tuple[float, ...] = flag(
        (),
        "Pixels of a training image: one number, or rows and columns. Empty: 512. On a CPU, 112 of "
        "2.5 mm learn far more in the same time.",
        minimum=8,
    )
    pixel_mm: tuple[float, ...] = flag(
        (), "The network's pixel size: one number, or row and column. Empty: the records' median."
    )
    window: tuple[float, ...] = flag(
        (),
        "Intensities that become 0 and 1: Hounsfield units for CT (empty: -160,240), percentiles "
        "of the volume for MR (empty: 0.5,99.5; also 5, 50 and 95).",
    )
    in_channels: int = flag(
        1, "Neighbouring slices that the network sees at once; odd.", minimum=1, maximum=15
    )
    base_filters: int = flag(32, "Filters at full resolution.", minimum=1, maximum=512)
    max_filters: int = flag(
        512, "Filters of the coarsest levels, at most.", minimum=1, maximum=2048
    )
    depth: int = flag(
        0, "How often the network halves the resolution; 0: 4 times.", minimum=0, maximum=8
    )
    norm: str = flag("batch", "Normalization.", choices=NORMS)
    dropout: float = flag(0.0, "Dropout at the deepest level.", minimum=0, maximum=0.9)
    batch_size: int = flag(0, "Slices a step, over all devices; 0: 8.", minimum=0)
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
    warmup: float = flag(0.05, "Share of the budget to reach the peak in.", minimum=0, maximum=0.9)
    ema: float = flag(0.99, "Decay of the averaged weights; 0: none.", minimum=0, maximum=0.99999)
    epochs: int = flag(0, "Stops after so many epochs; 0: no such bound.", minimum=0)
    steps: int = flag(0, "Stops after so many steps; 0: no such bound.", minimum=0)
    minutes: float = flag(
        0.0,
        "Stops after so many minutes of training, over all resumes; 0: no such bound.",
        minimum=0,
    )
    steps_per_epoch: int = flag(
        0, "Steps between validations; 0: as many as show every slice once.", minimum=0
    )
    seed: int = flag(0, "Seed of weights, order and augmentation.", minimum=0, maximum=2**31 - 2)
    precision: str = flag(
        "auto",
        "auto takes float16 on GPUs with tensor cores, bfloat16 on CPUs that have it.",
        choices=PRECISIONS,
    )
    augment_rotation_degrees: float = flag(15.0, "Rotation, up to this.", minimum=0, maximum=180)
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
        "Share of slices in which the spleen itself is made darker or brighter, as iron or "
        "contrast medium does.",
        minimum=0,
        maximum=1,
    )
    augment_mass: float = flag(
        0.0,
        "Share of slices into which a round body of even brightness is laid, as a cyst or a full "
        "stomach, that is not the spleen; a third as bright as the window goes, as fluid in T2.",
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
    distribution: str = flag("none", "Devices and machines.", choices=DISTRIBUTIONS)

    def __post_init__(self):
        """Raises ConfigError where fields contradict one another."""
        self._check_image_size()
        if len(self.pixel_mm) > 2 or any(not 0.01 <= n <= 100 for n in self.pixel_mm):
            raise ConfigError(
                f"--pixel_mm: expected one or two sizes of 0.01 to 100 mm, found {self.pixel_mm}."
            )
        low_high = self.window or (0.0, 1.0)
        if len(low_high) != 2 or not -math.inf < low_high[0] < low_high[1] < math.inf:
            raise ConfigError(f"--window: expected low,high with low < high, found {self.window}.")
        if self.in_channels % 2 == 0:
            raise ConfigError(f"--in_channels: expected an odd number, found {self.in_channels}.")
        if not (self.epochs or self.steps or self.minutes):
            raise ConfigError("--epochs, --steps or --minutes: expected at least one, found none.")
        self._check_optimizer()

    def _check_image_size(self):
        if not self.image_size:
            return
        if len(self.image_size) not in (1, 2) or not all(
            float(n).is_integer() for n in self.image_size
        ):
            raise ConfigError(
                f"--image_size: expected one or two integers, found {self.image_size}."
            )
        # A depth that a fingerprint is to give is not known yet.
        multiple = 2 ** (self.depth or (1 if self.fingerprint else _DEFAULTS["depth"]))
        if any(n % multiple for n in self.image_size):
            nearest = ",".join(f"{max(1, round(n / multiple)) * multiple}" for n in self.image_size)
            raise ConfigError(
                f"--image_size: expected a multiple of {multiple} (2^depth), found "
                f"{','.join(f'{n:g}' for n in self.image_size)}; {nearest} would do."
            )

    def _check_optimizer(self):
        if self.optimizer != "adamw" and self.distribution != "none":
            raise ConfigError(
                f"--optimizer: expected adamw with --distribution={self.distribution}, found "
                f"{self.optimizer}, which works on one device only."
            )
        if self.optimizer == "swa" and not (self.steps or self.epochs):
            raise ConfigError(
                "--optimizer=swa: expected --steps or --epochs, since averaging starts at a step; "
                "found --minutes only."
            )
        if self.distribution == "multi_worker" and self.minutes:
            raise ConfigError(
                "--minutes: expected --steps or --epochs with --distribution=multi_worker, whose "
                "workers have to stop at the same step; found --minutes."
            )

    def settled(self, proposed: Mapping[str, Any]) -> TrainConfig:
        """The same with nothing left open: what is not set comes from proposals, else defaults.

        Args:
            proposed: what a fingerprint proposes, by the names of fields; may be empty.

        Raises:
            ConfigError: if what is set and what is proposed contradict one another.
        """
        changes: dict[str, Any] = {}
        for name, default in _DEFAULTS.items():
            if not getattr(self, name):
                changes[name] = proposed.get(name, default)
        return dataclasses.replace(self, fingerprint="", **changes)

    @property
    def augmentation(self) -> dict[str, float]:
        """The keyword arguments of augment.augment."""
        prefix = "augment_"
        fields = dataclasses.asdict(self).items()
        return {key.removeprefix(prefix): v for key, v in fields if key.startswith(prefix)}

    @property
    def network(self) -> NetworkSpec:
        """What unet.build builds."""
        names = [field.name for field in dataclasses.fields(NetworkSpec)]
        return NetworkSpec(**{name: getattr(self, name) for name in names})

    @property
    def multiple(self) -> int:
        """What height and width of the network's images are multiples of."""
        return 2**self.depth

    @property
    def image_hw(self) -> tuple[int, int]:
        """Rows and columns of a training image."""
        return int(self.image_size[0]), int(self.image_size[-1])
