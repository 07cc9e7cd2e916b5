"""One training step of the paper's U-Net: seconds and memory, in Keras and in PyTorch.

    python benchmarks/unet_step.py keras [--size 572] [--batch 1] [--steps 3]
    pip install torch==2.13.0 && python benchmarks/unet_step.py torch

Each framework runs in a process of its own, because the memory is the peak of the process.
"""

from __future__ import annotations

import argparse
import resource
import statistics
import sys
import time

import numpy as np


def keras_step(size: int, batch: int):
    """Return a function that takes one step, and the number of parameters."""
    from tutorial_lib import notebook

    notebook.start("full")
    import keras

    from tutorial_lib.models import unet
    from tutorial_lib.training import losses

    network = unet.build_unet(size)
    network.compile(keras.optimizers.Adam(1e-4), loss=losses.binary_cross_entropy)
    output = network.output_shape[1]
    images = np.random.default_rng(0).uniform(-1, 1, (batch, size, size, 3)).astype("float32")
    labels = np.zeros((batch, output, output), "uint8")
    return lambda: network.train_on_batch(images, labels), network.count_params()


def torch_step(size: int, batch: int):
    """Return the same for the same network, loss and optimizer in PyTorch."""
    import torch
    from torch import nn

    def block(before: int, after: int) -> nn.Sequential:
        first, second = nn.Conv2d(before, after, 3), nn.Conv2d(after, after, 3)
        return nn.Sequential(first, nn.ReLU(), second, nn.ReLU())

    class UNet(nn.Module):
        def __init__(self, filters=(64, 128, 256, 512, 1024)):
            super().__init__()
            up = filters[-2::-1]
            self.encoder = nn.ModuleList(map(block, (3, *filters[:-1]), filters))
            self.upsample = nn.ModuleList(nn.ConvTranspose2d(2 * n, n, 2, stride=2) for n in up)
            self.decoder = nn.ModuleList(block(2 * n, n) for n in up)
            self.score = nn.Conv2d(filters[0], 1, 1)

        def forward(self, x):
            skips = []
            for level, convolutions in enumerate(self.encoder):
                x = convolutions(nn.functional.max_pool2d(x, 2) if level else x)
                skips.append(x)
            stages = zip(self.upsample, self.decoder, skips[-2::-1], strict=True)
            for upsample, convolutions, skip in stages:
                x = upsample(x)
                border = (skip.shape[-1] - x.shape[-1]) // 2
                window = slice(border, border + x.shape[-1])
                x = convolutions(torch.cat([skip[..., window, window], x], dim=1))
            return self.score(x)

    network = UNet()
    optimizer = torch.optim.Adam(network.parameters(), 1e-4)
    images = torch.rand(batch, 3, size, size) * 2 - 1

    def step():
        optimizer.zero_grad(set_to_none=True)
        logits = network(images)
        nn.functional.binary_cross_entropy_with_logits(logits, torch.zeros_like(logits)).backward()
        optimizer.step()

    return step, sum(p.numel() for p in network.parameters())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("framework", choices=["keras", "torch"])
    parser.add_argument("--size", type=int, default=572)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--steps", type=int, default=3)
    options = parser.parse_args()
    build = {"keras": keras_step, "torch": torch_step}[options.framework]
    step, parameters = build(options.size, options.batch)
    step()  # traces and allocates
    times = []
    for _ in range(options.steps):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux kilobytes
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30
    size = f"batch {options.batch}, side {options.size}"
    print(f"{options.framework}: {parameters:,} parameters, {size}")
    print(f"{statistics.median(times):.2f} s per step, peak memory {peak:.2f} GiB")


if __name__ == "__main__":
    main()
