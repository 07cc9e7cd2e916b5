"""One training step of the paper's U-Net: seconds and memory, in Keras and in PyTorch.

    python benchmarks/unet_step.py keras [--size 572] [--batch 1] [--steps 3]
    pip install torch==2.13.0 && python benchmarks/unet_step.py torch

Each framework runs in a process of its own, for the memory that is counted is the process's peak.
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
    from tutorial_lib.training import losses

    notebook.start("full")
    import keras

    from tutorial_lib.models import unet

    net = unet.build_unet(size)
    net.compile(keras.optimizers.Adam(1e-4), loss=losses.binary_cross_entropy)
    output = net.output_shape[1]
    images = np.random.default_rng(0).uniform(-1, 1, (batch, size, size, 3)).astype("float32")
    labels = np.zeros((batch, output, output), "uint8")
    return lambda: net.train_on_batch(images, labels), net.count_params()


def torch_step(size: int, batch: int):
    """The same net, loss and optimizer in PyTorch."""
    import torch
    from torch import nn

    def double(before: int, after: int) -> nn.Sequential:
        first, second = nn.Conv2d(before, after, 3), nn.Conv2d(after, after, 3)
        return nn.Sequential(first, nn.ReLU(), second, nn.ReLU())

    class UNet(nn.Module):
        def __init__(self, filters=(64, 128, 256, 512, 1024)):
            super().__init__()
            pairs = list(zip((3, *filters), filters, strict=False))
            self.down = nn.ModuleList(double(*pair) for pair in pairs)
            self.up = nn.ModuleList(
                nn.ConvTranspose2d(2 * n, n, 2, stride=2) for n in reversed(filters[:-1])
            )
            self.join = nn.ModuleList(double(2 * n, n) for n in reversed(filters[:-1]))
            self.score = nn.Conv2d(filters[0], 1, 1)

        def forward(self, x):
            skips = []
            for level, block in enumerate(self.down):
                x = block(x if level == 0 else nn.functional.max_pool2d(x, 2))
                skips.append(x)
            for up, join, skip in zip(self.up, self.join, skips[-2::-1], strict=True):
                x = up(x)
                side = (skip.shape[-1] - x.shape[-1]) // 2
                skip = skip[..., side : side + x.shape[-1], side : side + x.shape[-1]]
                x = join(torch.cat([skip, x], dim=1))
            return self.score(x)

    net = UNet()
    optimizer = torch.optim.Adam(net.parameters(), 1e-4)
    images = torch.rand(batch, 3, size, size) * 2 - 1

    def step():
        optimizer.zero_grad(set_to_none=True)
        logits = net(images)
        loss = nn.functional.binary_cross_entropy_with_logits(logits, torch.zeros_like(logits))
        loss.backward()
        optimizer.step()

    return step, sum(p.numel() for p in net.parameters())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("framework", choices=["keras", "torch"])
    parser.add_argument("--size", type=int, default=572)
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--steps", type=int, default=3)
    options = parser.parse_args()
    build = {"keras": keras_step, "torch": torch_step}[options.framework]
    step, parameters = build(options.size, options.batch)
    step()  # traces, allocates
    times = []
    for _ in range(options.steps):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux kilobytes
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    print(
        f"{options.framework}: {parameters:,} parameters, batch {options.batch}, "
        f"{options.size}×{options.size} pixels, "
        f"{statistics.median(times):.2f} s a step, peak memory {peak / 2**30:.2f} GiB"
    )


if __name__ == "__main__":
    main()
