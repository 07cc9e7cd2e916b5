"""One training step of the paper's U-Net: seconds, and the peak memory of the process.

python benchmarks/unet_step.py
"""

from __future__ import annotations

import resource
import statistics
import sys
import time

import numpy as np

from tutorial_lib import notebook

SIZE, STEPS = 572, 3


def main() -> None:
    notebook.start("full")
    import keras

    from tutorial_lib.models import unet
    from tutorial_lib.training import losses

    network = unet.build_unet(SIZE)
    network.compile(keras.optimizers.Adam(1e-4), loss=losses.binary_cross_entropy)
    output = network.output_shape[1]
    images = np.random.default_rng(0).uniform(-1, 1, (1, SIZE, SIZE, 3)).astype("float32")
    labels = np.zeros((1, output, output), "uint8")
    network.train_on_batch(images, labels)  # traces and allocates
    times = []
    for _ in range(STEPS):
        start = time.perf_counter()
        network.train_on_batch(images, labels)
        times.append(time.perf_counter() - start)
    unit = 1 if sys.platform == "darwin" else 1024  # macOS counts bytes, Linux kilobytes
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30
    print(f"{network.count_params():,} parameters, one image of {SIZE}×{SIZE}")
    print(f"{statistics.median(times):.2f} s per step, peak memory {peak:.2f} GiB")


if __name__ == "__main__":
    main()
