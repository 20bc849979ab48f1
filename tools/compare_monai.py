"""Trains what a careful user of MONAI would, in the folds of a cross-validation, to compare with.

A 2D axial U-Net (MONAI's UNet with residual units) at the images' own resolution, Dice and cross-
entropy, AdamW with a one-cycle schedule, affine and intensity augmentation without mirrors,
bfloat16 and a compiled graph, half of the slices with spleen, the largest component kept. The time
that counts starts when the graph is compiled. Each held-out case's mask is written, for
spleen_tf.evaluate to measure like any other. No held-out case chooses weights.

PyTorch and MONAI are no part of this project's environment; BUILD.md says how to add them.

Example:
    python tools/compare_monai.py --dataset=data/mr_t2 --folds=0,1 --minutes=15 \\
        --output_dir=data/monai
    python -m spleen_tf.evaluate --predictions=data/monai --labels=data/mr_t2 \\
        --output_dir=data/monai_results
"""

from __future__ import annotations

import dataclasses
import pathlib
import sys
import time
from collections.abc import Sequence
from typing import Any

# Lets the program run from a checkout in which the package is not installed.
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import numpy as np

from spleen_tf.core import files, flags
from spleen_tf.core.flags import CommandFailed, flag
from spleen_tf.datasets import cases
from spleen_tf.datasets.cases import Case
from spleen_tf.evaluation import protocol
from spleen_tf.imaging import masks, planes
from spleen_tf.imaging.intensity import Modality
from spleen_tf.imaging.volume import Volume
from spleen_tf.io import nifti

_SIDE = 256
_PERCENTILES = (0.5, 99.5)
_WARM_UP_STEPS = 3
_INFERENCE_BATCH = 8


@dataclasses.dataclass(frozen=True)
class CompareConfig:
    dataset: str = flag(
        "", "A data set's folder or CSV, as make_tfrecords takes it.", required=True
    )
    output_dir: str = flag("", "A folder for the masks of the held-out cases.", required=True)
    num_folds: int = flag(5, "Folds that the cases are dealt into.", minimum=2)
    folds: str = flag("0", "The folds to run, separated by commas. Empty: all.")
    seed: int = flag(0, "Seed of the folds, as in cross_validate.", minimum=0)
    minutes: float = flag(15.0, "Minutes of training per fold.", minimum=0.01)
    batch_size: int = flag(8, "Slices per step.", minimum=1)
    base_filters: int = flag(32, "Channels of the first level.", minimum=1, maximum=256)
    learning_rate: float = flag(1e-3, "Peak learning rate.", minimum=1e-9, maximum=10)
    compile: bool = flag(True, "Compiles the network, which needs a C++ compiler.")
    label_value: int = flag(
        0, "The label's value that means spleen; 0: any value above 0.", minimum=0
    )
    modality: Modality | None = flag(None, "Needed where the data set does not say it.")


def main(config: CompareConfig) -> None:
    listed = cases.load(config.dataset, config.modality)
    folds = protocol.deal(listed, config.seed, config.num_folds, config.folds)
    try:
        import monai.networks.nets  # noqa: F401
    except ImportError as error:
        raise CommandFailed(
            f"expected PyTorch and MONAI to compare with, found: {error}; pip install torch monai"
        ) from None
    output = files.make_folder(config.output_dir)
    by_name = {case.name: case for case in listed}
    for fold, splits in folds.items():
        network = _trained([by_name[name] for name in splits.train], config, fold)
        for name in splits.validation:
            image, _ = cases.read(by_name[name], config.label_value)
            nifti.write_mask(output / f"{name}.nii.gz", _segmented(network, image), like=image)
            print(f"{output / name}.nii.gz: fold {fold}", flush=True)


def _scaled(image: Volume) -> np.ndarray:
    """(N, 1, H, W) float32: axial slices in 0..1 between two percentiles of the volume."""
    slices_nhw = planes.split(image.array_ijk, image.affine, "axial").astype(np.float32)
    low, high = np.percentile(slices_nhw, _PERCENTILES)
    return np.clip((slices_nhw - low) / max(high - low, 1e-6), 0, 1)[:, np.newaxis]


def _examples(train: Sequence[Case], label_value: int) -> list[dict[str, np.ndarray]]:
    """Every axial slice of these cases: image (1, H, W) float32 and label (1, H, W) uint8."""
    examples = []
    for case in train:
        image, label = cases.read(case, label_value)
        labels_nhw = planes.split(label.array_ijk, label.affine, "axial")[:, np.newaxis]
        pairs = zip(_scaled(image), labels_nhw, strict=True)
        examples += [{"image": a, "label": np.ascontiguousarray(b)} for a, b in pairs]
    return examples


def _batches(train: Sequence[Case], config: CompareConfig, seed: int) -> Any:
    """Endless augmented batches, half of whose slices show spleen."""
    import torch
    from monai import data, transforms

    examples = _examples(train, config.label_value)
    both = ("image", "label")
    augment = transforms.Compose(
        [
            transforms.ResizeWithPadOrCropd(both, (_SIDE, _SIDE)),
            transforms.RandAffined(
                both,
                prob=0.8,
                rotate_range=float(np.radians(15)),
                scale_range=0.2,
                translate_range=12,
                mode=("bilinear", "nearest"),
                padding_mode="zeros",
            ),
            transforms.RandGaussianNoised("image", prob=0.3, std=0.05),
            transforms.RandGaussianSmoothd("image", prob=0.2, sigma_x=(0.5, 1), sigma_y=(0.5, 1)),
            transforms.RandScaleIntensityd("image", factors=0.2, prob=0.5),
            transforms.RandShiftIntensityd("image", offsets=0.1, prob=0.5),
            transforms.RandAdjustContrastd("image", prob=0.5, gamma=(0.7, 1.5)),
        ]
    ).set_random_state(seed)
    shows = np.array([example["label"].any() for example in examples])
    weights = np.where(shows, 1 / max(1, shows.sum()), 1 / max(1, (~shows).sum()))
    sampler = torch.utils.data.WeightedRandomSampler(
        weights.tolist(), 10**7, generator=torch.Generator().manual_seed(seed)
    )
    # A thread, since a process that is forked beside PyTorch's own threads may hang.
    return data.ThreadDataLoader(
        data.Dataset(examples, augment),
        buffer_size=2,
        num_workers=0,
        batch_size=config.batch_size,
        sampler=sampler,
    )


def _trained(train: Sequence[Case], config: CompareConfig, fold: int) -> Any:
    """A network after the minutes that it has, in evaluation mode."""
    import monai
    import torch

    monai.utils.set_determinism(config.seed + fold)
    width = config.base_filters
    network = monai.networks.nets.UNet(
        spatial_dims=2,
        in_channels=1,
        out_channels=1,
        channels=[width * 2**n for n in range(5)],
        strides=(2, 2, 2, 2),
        num_res_units=2,
        norm="batch",
    )
    step_network = torch.compile(network) if config.compile else network
    lossy = monai.losses.DiceCELoss(sigmoid=True)
    optimizer = torch.optim.AdamW(network.parameters(), lr=config.learning_rate, weight_decay=1e-2)
    parameters = sum(p.numel() for p in network.parameters())
    start, step = time.monotonic(), 0
    for batch in _batches(train, config, config.seed + fold):
        if step == _WARM_UP_STEPS:
            start = time.monotonic()
        share = (time.monotonic() - start) / (60 * config.minutes) if step > _WARM_UP_STEPS else 0.0
        if share >= 1:
            break
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * _schedule(share)
        images = batch["image"].as_tensor()
        with torch.autocast("cpu", dtype=torch.bfloat16):
            logits = step_network(images)
        loss = lossy(logits.float(), batch["label"].as_tensor().float())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        step += 1
        if step % 50 == 0:
            print(f"fold {fold}: step {step}, {share:.0%}, loss {loss.item():.3f}", flush=True)
    rate = config.batch_size * (step - _WARM_UP_STEPS) / (60 * config.minutes)
    print(f"fold {fold}: {parameters / 1e6:.1f} M parameters, {step} steps, {rate:.1f} images/s")
    return network.eval()


def _schedule(share: float) -> float:
    """Up over the first twentieth, then down as a cosine."""
    return min(share / 0.05 + 0.01, 0.5 * (1 + np.cos(np.pi * min(1.0, share))), 1.0)


def _segmented(network: Any, image: Volume) -> np.ndarray:
    """(I, J, K) bool: the largest component of what the network finds."""
    import torch
    from monai.inferers import sliding_window_inference

    with torch.no_grad(), torch.autocast("cpu", dtype=torch.bfloat16):
        logits = sliding_window_inference(
            torch.from_numpy(_scaled(image)), (_SIDE, _SIDE), _INFERENCE_BATCH, network, 0.25
        )
    found_nhw = (logits[:, 0].float() > 0).numpy()
    mask = np.ascontiguousarray(planes.stack(found_nhw, image.affine, "axial"))
    return masks.largest_component(mask)


if __name__ == "__main__":
    flags.run(main, CompareConfig)
