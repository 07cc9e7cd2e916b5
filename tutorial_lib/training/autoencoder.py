"""How the autoencoders of notebook 03 are trained."""

from __future__ import annotations

import math
from types import SimpleNamespace

import keras
import numpy as np


def fit(net: keras.Model, train, test, settings: SimpleNamespace) -> dict[str, list[float]]:
    """Teach a net to reproduce its input: Adam, mean squared error, a learning rate that sinks.

    Args:
        net: Maps pictures to pictures of the same shape.
        train, test: float32 (n, 28, 28, 1) in [0, 1]. The test digits are only measured.
        settings: epochs, batch_size, learning_rate.

    Returns:
        The record of `ErrorRecord`.
    """
    steps = settings.epochs * math.ceil(len(train) / settings.batch_size)
    rate = keras.optimizers.schedules.CosineDecay(settings.learning_rate, steps)
    net.compile(keras.optimizers.Adam(rate), loss="mse")
    record = ErrorRecord(train, test, every=max(1, settings.epochs // 16))
    net.fit(
        train,
        train,
        batch_size=settings.batch_size,
        epochs=settings.epochs,
        callbacks=[record],
        verbose=0,
    )
    return record.history


class ErrorRecord(keras.callbacks.Callback):
    """Measures the error on training and test digits at the same moments, with the same weights.

    The loss that Keras reports for an epoch is a mean over it, while the net still changes; its
    validation loss is measured at the end. The two cannot be compared.

    Attributes:
        history: "epoch", "train" and "test": one number a measurement.
    """

    def __init__(self, train, test, every: int = 1, limit: int = 500) -> None:
        """Measure after each `every`-th epoch; of the training digits, about `limit`."""
        super().__init__()
        self.train, self.test, self.every = train[:: max(1, len(train) // limit)], test, every
        self.history = {"epoch": [], "train": [], "test": []}

    def on_epoch_end(self, epoch: int, logs=None) -> None:
        if (epoch + 1) % self.every == 0:
            self.history["epoch"].append(epoch + 1)
            self.history["train"].append(float(np.mean(errors(self.model, self.train))))
            self.history["test"].append(float(np.mean(errors(self.model, self.test))))


def errors(net, images: np.ndarray, targets: np.ndarray | None = None) -> np.ndarray:
    """Return the mean squared error of each picture's reconstruction, float (n,).

    Args:
        net: A model, or any function from pictures to pictures.
        images: (n, 28, 28, 1).
        targets: What should come out; by default what goes in.
    """
    difference = run(net, images) - (images if targets is None else targets)
    return np.mean(difference**2, axis=(1, 2, 3))


def run(net, inputs: np.ndarray, batch: int = 500) -> np.ndarray:
    """Return what a model, or any function, makes of its inputs, a batch at a time."""
    starts = range(0, len(inputs), batch)
    parts = [keras.ops.convert_to_numpy(net(inputs[i : i + batch])) for i in starts]
    return np.concatenate(parts)
