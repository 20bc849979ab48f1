"""The 3D U-Net of MONAI's tutorial on segmenting the spleen, with its settings.

https://github.com/Project-MONAI/tutorials, 3d_segmentation/spleen_segmentation_3d.ipynb: UNet with
16 to 256 channels and two residual units per level, batch normalization, voxels of 1.5×1.5×2 mm,
-57 to 164 HU, four crops of 96³ per volume (half of them around spleen), Dice loss, Adam at a
constant 1e-4, no augmentation, and inference in windows of 160³. What differs: crops are drawn from
volumes that stay resampled in memory, the time is bounded, and no held-out case chooses weights.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from monai import inferers, losses, transforms
from monai.data import MetaTensor
from monai.networks import nets
from numpy.typing import NDArray

from spleen_tf.benchmark.peers import schedule
from spleen_tf.benchmark.peers.exchange import CROPS_PER_VOLUME, Scan, Settings
from spleen_tf.benchmark.peers.recipe import Recipe, bfloat16, scaled

WINDOW_HU = (-57.0, 164.0)
ZOOMS_MM = (1.5, 1.5, 2.0)
CROP = (96, 96, 96)
INFERENCE_WINDOW = (160, 160, 160)
_LEVELS = 5
_INFERENCE_BATCH = 4


def recipe(settings: Settings, scans: Sequence[Scan]) -> Recipe:
    """The network and its training on these scans."""
    channels = [settings.base_filters * 2**level for level in range(_LEVELS)]
    network = nets.UNet(3, 1, 2, channels, (2,) * (_LEVELS - 1), num_res_units=2, norm="batch")
    return Recipe(
        network=network,
        loss=losses.DiceLoss(to_onehot_y=True, softmax=True),
        optimizer=torch.optim.Adam(network.parameters(), settings.learning_rate),
        rate_factor=schedule.constant,
        batches=_batches(scans, settings),
        segment=lambda scan: _segmented(network, scan, settings.modality),
    )


def _resampling(*keys: str) -> transforms.Compose:
    """Cuts the air around the body off, and resamples."""
    modes = ["nearest" if key == "label" else "bilinear" for key in keys]
    return transforms.Compose(
        [
            transforms.CropForegroundd(keys, source_key="image", allow_smaller=True),
            transforms.Spacingd(keys, ZOOMS_MM, mode=modes),
        ]
    )


def _tensors(scan: Scan, modality: str) -> dict[str, MetaTensor]:
    """Image in 0..1 and label, each (1, I, J, K) float32 with the scan's voxel sizes."""
    affine = np.diag([*scan.zooms_mm, 1.0])
    arrays = {"image": scaled(scan, modality, WINDOW_HU), "label": scan.label_ras}
    return {
        key: MetaTensor(np.ascontiguousarray(array, np.float32)[np.newaxis], affine=affine)
        for key, array in arrays.items()
    }


def _batches(
    scans: Sequence[Scan], settings: Settings
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Crops and labels, each (N, 1, 96, 96, 96) float32, four from each volume."""
    volumes = [_Volume(scan, settings.modality) for scan in scans]
    crop = transforms.RandCropByPosNegLabel(CROP, num_samples=CROPS_PER_VOLUME)
    crop.set_random_state(settings.seed)
    generator = np.random.default_rng(settings.seed)
    order: list[int] = []
    while True:
        images: list[torch.Tensor] = []
        labels: list[torch.Tensor] = []
        while len(images) < settings.batch_size:
            order = order or generator.permutation(len(volumes)).tolist()
            volume = volumes[order.pop()]
            crop.randomize(volume.label, volume.inside, volume.outside)
            images += crop(volume.image, randomize=False)
            labels += crop(volume.label, randomize=False)
        yield _stacked(images), _stacked(labels)


def _stacked(crops: Sequence[torch.Tensor]) -> torch.Tensor:
    return torch.stack([crop.as_tensor() for crop in crops])


class _Volume:
    """A resampled scan, at least as large as a crop.

    Attributes:
        image, label: (1, I, J, K) float32.
        inside, outside: flat indices of spleen, and of anything else that is not black.
    """

    def __init__(self, scan: Scan, modality: str):
        pad = transforms.SpatialPad(CROP)
        resampled = _resampling("image", "label")(_tensors(scan, modality))
        self.image, self.label = (pad(resampled[key]).as_tensor() for key in ("image", "label"))
        self.inside = torch.nonzero(self.label.flatten() > 0).flatten().int()
        is_outside = (self.image.flatten() > 0) & (self.label.flatten() == 0)
        self.outside = torch.nonzero(is_outside).flatten().int()


def _segmented(network: torch.nn.Module, scan: Scan, modality: str) -> NDArray[np.bool_]:
    """(I, J, K) bool on the scan's own grid."""
    resampling = _resampling("image")
    item = resampling({"image": _tensors(scan, modality)["image"]})
    image = item["image"].as_tensor()[np.newaxis]
    with bfloat16():
        logits = inferers.sliding_window_inference(
            image, INFERENCE_WINDOW, _INFERENCE_BATCH, network
        )
    item["spleen"] = MetaTensor(torch.softmax(logits.float(), 1)[0, 1:])
    back = transforms.Invertd("spleen", resampling, orig_keys="image", nearest_interp=False)
    mask: NDArray[np.bool_] = back(item)["spleen"][0].numpy() > 0.5
    return mask
