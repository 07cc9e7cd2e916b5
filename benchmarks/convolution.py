"""How fast is the NumPy reference convolution? Ratios against TensorFlow and against loops.

    python benchmarks/convolution.py

All contestants run in turn, several times; the best time of each counts.
"""

from __future__ import annotations

import time

import numpy as np

from tutorial_lib import convolution, notebook

IMAGE, INPUTS, OUTPUTS, KERNEL = 64, 16, 32, 3
ROUNDS = 15


def loops(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Convolve window by window, as notebook 01 does first."""
    k, size = len(w), x.shape[1] - len(w) + 1
    y = np.empty((1, size, size, w.shape[3]))
    for row, column in np.ndindex(size, size):
        window = x[0, row : row + k, column : column + k]
        y[0, row, column] = np.tensordot(window, w, axes=3)
    return y


def best_times(contestants: dict) -> dict[str, float]:
    """Return the best of several times of each contestant in seconds, run in turn."""
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(ROUNDS):
        for name, run in contestants.items():
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    return {name: min(measured) for name, measured in times.items()}


def main() -> None:
    notebook.start("quick")
    import tensorflow as tf

    rng = np.random.default_rng(0)
    x = rng.normal(size=(1, IMAGE, IMAGE, INPUTS))
    w = rng.normal(size=(KERNEL, KERNEL, INPUTS, OUTPUTS))
    tx, tw = tf.constant(x), tf.constant(w)
    np.testing.assert_allclose(convolution.conv2d(x, w), tf.nn.conv2d(tx, tw, 1, "VALID"))
    upstream = convolution.conv2d(x, w)

    def by_tensorflow_with_gradients():
        with tf.GradientTape() as tape:
            tape.watch([tx, tw])
            y = tf.nn.conv2d(tx, tw, 1, "VALID")
        tape.gradient(y, [tx, tw])

    times = best_times(
        {
            "reference": lambda: convolution.conv2d(x, w),
            "loops": lambda: loops(x, w),
            "TensorFlow": lambda: tf.nn.conv2d(tx, tw, 1, "VALID"),
            "reference, gradients": lambda: convolution.conv2d_grad(x, w, upstream),
            "TensorFlow, forward and gradients": by_tensorflow_with_gradients,
        }
    )
    print(f"{IMAGE}×{IMAGE}×{INPUTS} -> {OUTPUTS} channels, {KERNEL}×{KERNEL}, float64")
    for name, seconds in times.items():
        ratio = seconds / times["reference"]
        print(f"{name:34} {seconds * 1e3:8.2f} ms  {ratio:7.1f} times the reference")


if __name__ == "__main__":
    main()
