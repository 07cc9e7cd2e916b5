"""How fast is the NumPy reference convolution? Ratios against TensorFlow and against loops.

python benchmarks/convolution.py
"""

from __future__ import annotations

import numpy as np
from common import best_times

from tutorial_lib import convolution, notebook

SIZE, INPUTS, OUTPUTS, KERNEL, ROUNDS = 64, 16, 32, 3, 15


def loops(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """Convolve window by window, as notebook 01 does first."""
    k, size = len(w), x.shape[1] - len(w) + 1
    y = np.empty((1, size, size, w.shape[3]))
    for row, column in np.ndindex(size, size):
        y[0, row, column] = np.tensordot(x[0, row : row + k, column : column + k], w, axes=3)
    return y


def main() -> None:
    notebook.start("quick")
    import tensorflow as tf

    rng = np.random.default_rng(0)
    x = rng.normal(size=(1, SIZE, SIZE, INPUTS))
    w = rng.normal(size=(KERNEL, KERNEL, INPUTS, OUTPUTS))
    tx, tw = tf.constant(x), tf.constant(w)
    upstream = convolution.conv2d(x, w)
    np.testing.assert_allclose(upstream, tf.nn.conv2d(tx, tw, 1, "VALID"))
    np.testing.assert_allclose(upstream, loops(x, w))

    def tensorflow_with_gradients():
        with tf.GradientTape() as tape:
            tape.watch([tx, tw])
            y = tf.nn.conv2d(tx, tw, 1, "VALID")
        tape.gradient(y, [tx, tw])

    contestants = {
        "reference": lambda: convolution.conv2d(x, w),
        "loops": lambda: loops(x, w),
        "TensorFlow": lambda: tf.nn.conv2d(tx, tw, 1, "VALID"),
        "reference, gradients": lambda: convolution.conv2d_grad(x, w, upstream),
        "TensorFlow, forward and gradients": tensorflow_with_gradients,
    }
    times = best_times(contestants, ROUNDS)
    print(f"{SIZE}×{SIZE}×{INPUTS} -> {OUTPUTS} channels, {KERNEL}×{KERNEL}, float64")
    for name, seconds in times.items():
        ratio = seconds / times["reference"]
        print(f"{name:34} {seconds * 1e3:8.2f} ms  {ratio:7.1f} times the reference")


if __name__ == "__main__":
    main()
