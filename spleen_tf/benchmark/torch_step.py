"""The training step of the same network in PyTorch, compiled, for `training` to compare with.

Run by an interpreter that has PyTorch, and knows nothing of this package. The argument is a JSON
with in_channels, filters (by level, the finest first), height, width, batch_size and precision.
It prints the number of parameters when it is ready; then, for each line with a number of steps on
stdin, the seconds that these take.
"""

import json
import sys
import time

import torch
from torch import nn


def main() -> None:
    """Builds, compiles, warms up, and measures until stdin ends."""
    settings = json.loads(sys.argv[1])
    torch.manual_seed(0)
    network = UNet(settings["in_channels"], settings["filters"]).to(
        memory_format=torch.channels_last
    )
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3, weight_decay=1e-4)
    size = (settings["height"], settings["width"])
    images = torch.rand(settings["batch_size"], settings["in_channels"], *size)
    images = images.to(memory_format=torch.channels_last)
    labels = (torch.rand(settings["batch_size"], 1, *size) > 0.9).float()
    is_mixed = settings["precision"] == "bfloat16"

    @torch.compile  # type: ignore[untyped-decorator]
    def loss_of(images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=is_mixed):
            logits = network(images)
        return dice_and_cross_entropy(logits.float(), labels)

    def step() -> None:
        optimizer.zero_grad()
        loss_of(images, labels).backward()
        optimizer.step()

    for _ in range(3):
        step()
    print(sum(parameter.numel() for parameter in network.parameters()), flush=True)
    for line in sys.stdin:
        start = time.perf_counter()
        for _ in range(int(line)):
            step()
        print(time.perf_counter() - start, flush=True)


class UNet(nn.Module):  # type: ignore[misc]
    """As spleen_tf.network.unet, with batch normalization and without dropout."""

    def __init__(self, in_channels: int, filters: list[int]):
        super().__init__()
        before = [in_channels, *filters]
        self.encoders = nn.ModuleList(block(before[n], filters[n]) for n in range(len(filters)))
        self.ups = nn.ModuleList(
            nn.ConvTranspose2d(filters[n + 1], filters[n], 2, 2) for n in range(len(filters) - 1)
        )
        self.decoders = nn.ModuleList(
            block(2 * filters[n], filters[n]) for n in range(len(filters) - 1)
        )
        self.logits = nn.Conv2d(filters[0], 1, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[N, C, H, W] to logits [N, 1, H, W]."""
        skips = []
        for encoder in self.encoders[:-1]:
            x = encoder(x)
            skips.append(x)
            x = nn.functional.max_pool2d(x, 2)
        x = self.encoders[-1](x)
        for level in reversed(range(len(skips))):
            x = torch.cat([skips[level], self.ups[level](x)], 1)
            x = self.decoders[level](x)
        return self.logits(x)


def block(in_channels: int, filters: int) -> nn.Sequential:
    """Two convolutions with batch normalization and ReLU."""
    parts: list[nn.Module] = []
    for channels in (in_channels, filters):
        parts += [
            nn.Conv2d(channels, filters, 3, padding=1, bias=False),
            nn.BatchNorm2d(filters, momentum=0.1),
            nn.ReLU(),
        ]
    return nn.Sequential(*parts)


def dice_and_cross_entropy(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """As spleen_tf.training.losses."""
    probability = torch.sigmoid(logits)
    both, either = (labels * probability).sum(), (labels + probability).sum()
    cross_entropy = nn.functional.binary_cross_entropy_with_logits(logits, labels)
    return 1 - (2 * both + 2) / (either + 2) + cross_entropy


if __name__ == "__main__":
    main()
