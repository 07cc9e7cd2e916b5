"""How the autoencoders of notebook 03 are trained, and how they are measured."""

from __future__ import annotations

import math
from types import SimpleNamespace

import keras
import numpy as np


def train_autoencoder(
    network: keras.Model, train, test, settings: SimpleNamespace
) -> dict[str, list[float]]:
    """Train a network to reproduce its input: Adam, mean squared error, cosine decay.

    Args:
        network: Maps images to images of the same shape.
        train, test: float32 (n, 28, 28, 1) in [0, 1]. The test digits are only measured.
        settings: epochs, batch_size, learning_rate.

    Returns:
        "epoch", and the error on "train" and "test" digits after it, up to 16 times.
    """
    steps = settings.epochs * math.ceil(len(train) / settings.batch_size)
    schedule = keras.optimizers.schedules.CosineDecay(settings.learning_rate, steps)
    network.compile(keras.optimizers.Adam(schedule), loss="mse")
    every, some = max(1, settings.epochs // 16), train[:: max(1, len(train) // 500)]
    history = {"epoch": [], "train": [], "test": []}

    # Keras averages the training loss over an epoch, while the weights still change, but measures
    # the validation loss at its end. We measure both at the end, so that they can be compared.
    def measure(epoch, logs):
        if (epoch + 1) % every == 0:
            history["epoch"].append(epoch + 1)
            history["train"].append(float(np.mean(reconstruction_errors(network, some))))
            history["test"].append(float(np.mean(reconstruction_errors(network, test))))

    network.fit(
        train,
        train,
        batch_size=settings.batch_size,
        epochs=settings.epochs,
        callbacks=[keras.callbacks.LambdaCallback(on_epoch_end=measure)],
        verbose=0,
    )
    return history


def reconstruction_errors(network, images: np.ndarray, targets=None) -> np.ndarray:
    """Return the mean squared error of each image's reconstruction, float (n,).

    Args:
        network: A model, or any function from images to images.
        images: (n, 28, 28, 1).
        targets: What should come out; by default what goes in.
    """
    difference = apply(network, images) - (images if targets is None else targets)
    return np.mean(difference**2, axis=(1, 2, 3))


def apply(network, inputs: np.ndarray, batch_size: int = 500) -> np.ndarray:
    """Return the outputs of a model, or of any function, computed in batches."""
    starts = range(0, len(inputs), batch_size)
    parts = [keras.ops.convert_to_numpy(network(inputs[i : i + batch_size])) for i in starts]
    return np.concatenate(parts)
