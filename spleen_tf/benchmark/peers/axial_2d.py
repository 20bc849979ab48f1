"""A 2D U-Net of MONAI's on axial slices, at the volume's own resolution.

On CT: MONAI's BasicUNet with five levels (7.8 M parameters), the window of the abdomen, and mild
augmentation. On MR: its UNet with residual units (6.5 M), percentiles, and stronger augmentation.
Both train on crops of 256×256, half of them around spleen and half from slices without, with Dice
and cross-entropy, AdamW and a one-cycle schedule, without dropout and without mirrors.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from monai import data, inferers, losses, transforms
from monai.networks import nets
from numpy.typing import NDArray

from spleen_tf.benchmark.peers import schedule
from spleen_tf.benchmark.peers.exchange import Scan, Settings
from spleen_tf.benchmark.peers.recipe import Recipe, bfloat16, scaled

WINDOW_HU = (-125.0, 275.0)
SIDE = 256
# The network halves a slice four times.
_DIVISOR = 16
_LEVELS = 5
_INFERENCE_BATCH = 8
_WEIGHT_DECAY = 1e-2


def recipe(settings: Settings, scans: Sequence[Scan]) -> Recipe:
    """The network and its training on these scans."""
    network = _network(settings)
    return Recipe(
        network=network,
        loss=losses.DiceCELoss(sigmoid=True),
        optimizer=torch.optim.AdamW(
            network.parameters(), settings.learning_rate, weight_decay=_WEIGHT_DECAY
        ),
        rate_factor=schedule.one_cycle,
        batches=_batches(scans, settings),
        segment=lambda scan: _segmented(network, _slices(scan, settings.modality)),
    )


def _network(settings: Settings) -> torch.nn.Module:
    channels = [settings.base_filters * 2**level for level in range(_LEVELS)]
    if settings.modality == "CT":
        features = (*channels, settings.base_filters)
        network = nets.BasicUNet(2, 1, 1, features=features, norm="batch")
        for module in network.modules():
            if isinstance(module, nets.basic_unet.UpCat):
                # SIDE halves evenly: nothing is to be padded, and PyTorch's compiler fails on a
                # padding of nothing in bfloat16.
                module.is_pad = False
        return network
    return nets.UNet(2, 1, 1, channels, (2,) * (_LEVELS - 1), num_res_units=2, norm="batch")


def _slices(scan: Scan, modality: str) -> NDArray[np.float32]:
    """(K, 1, I, J) float32: axial slices in 0..1."""
    return np.moveaxis(scaled(scan, modality, WINDOW_HU), 2, 0)[:, np.newaxis]


def _batches(
    scans: Sequence[Scan], settings: Settings
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Augmented slices and labels, each (N, 1, 256, 256) float32; half of them show spleen."""
    examples = []
    for scan in scans:
        labels = np.moveaxis(scan.label_ras, 2, 0)[:, np.newaxis]
        pairs = zip(_slices(scan, settings.modality), labels, strict=True)
        examples += [
            {"image": np.ascontiguousarray(image), "label": np.ascontiguousarray(label)}
            for image, label in pairs
        ]
    shows = np.array([example["label"].any() for example in examples])
    weights = np.where(shows, 1 / max(1, shows.sum()), 1 / max(1, (~shows).sum()))
    sampler = torch.utils.data.WeightedRandomSampler(
        weights.tolist(), 10**7, generator=torch.Generator().manual_seed(settings.seed)
    )
    # A thread, since a process that is forked beside PyTorch's own threads may hang.
    loader = data.ThreadDataLoader(
        data.Dataset(examples, _transform(settings)),
        buffer_size=2,
        num_workers=0,
        batch_size=settings.batch_size,
        sampler=sampler,
    )
    for batch in loader:
        yield batch["image"].as_tensor(), batch["label"].as_tensor().float()


def _transform(settings: Settings) -> transforms.Compose:
    """Cuts a crop out, around spleen if the slice shows any, and augments it."""
    both = ("image", "label")
    crop = [
        transforms.SpatialPadd(both, (SIDE, SIDE)),
        # Around any other pixel of a slice without spleen.
        transforms.RandCropByPosNegLabeld(both, "label", (SIDE, SIDE), pos=1, neg=0),
    ]
    augment = _mild() if settings.modality == "CT" else _strong()
    return transforms.Compose([*crop, *augment]).set_random_state(settings.seed)


def _mild() -> list[transforms.Transform]:
    return [
        _affine(probability=0.5, degrees=10, scale=0.1, pixels=8),
        transforms.RandGaussianNoised("image", prob=0.15, std=0.02),
        transforms.RandScaleIntensityd("image", factors=0.1, prob=0.3),
        transforms.RandShiftIntensityd("image", offsets=0.05, prob=0.3),
    ]


def _strong() -> list[transforms.Transform]:
    return [
        _affine(probability=0.8, degrees=15, scale=0.2, pixels=12),
        transforms.RandGaussianNoised("image", prob=0.3, std=0.05),
        transforms.RandGaussianSmoothd("image", prob=0.2, sigma_x=(0.5, 1), sigma_y=(0.5, 1)),
        transforms.RandScaleIntensityd("image", factors=0.2, prob=0.5),
        transforms.RandShiftIntensityd("image", offsets=0.1, prob=0.5),
        transforms.RandAdjustContrastd("image", prob=0.5, gamma=(0.7, 1.5)),
    ]


def _affine(probability: float, degrees: float, scale: float, pixels: int) -> transforms.Transform:
    return transforms.RandAffined(
        ("image", "label"),
        prob=probability,
        rotate_range=math.radians(degrees),
        scale_range=scale,
        translate_range=pixels,
        mode=("bilinear", "nearest"),
        padding_mode="zeros",
    )


def _segmented(network: torch.nn.Module, slices: NDArray[np.float32]) -> NDArray[np.bool_]:
    """(I, J, K) bool from (K, 1, I, J): whole slices, padded to what the network can halve."""
    padded = [max(SIDE, math.ceil(side / _DIVISOR) * _DIVISOR) for side in slices.shape[2:]]
    masks = np.empty((slices.shape[0], *slices.shape[2:]), bool)
    for start in range(0, len(slices), _INFERENCE_BATCH):
        part = slice(start, start + _INFERENCE_BATCH)
        images = torch.from_numpy(np.ascontiguousarray(slices[part]))
        with bfloat16():
            logits = inferers.sliding_window_inference(images, padded, _INFERENCE_BATCH, network)
        masks[part] = (logits[:, 0].float() > 0).numpy()
    return np.ascontiguousarray(np.moveaxis(masks, 0, 2))
