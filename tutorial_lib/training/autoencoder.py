"""How the autoencoders that come with notebook 03 are trained."""

from __future__ import annotations

import math
from types import SimpleNamespace

import keras

from tutorial_lib.training import loop


def train_autoencoder(
    network: keras.Model, train, validation, settings: SimpleNamespace
) -> dict[str, list[float]]:
    """Train a network to reproduce its input: Adam with cosine decay.

    Args:
        network: Maps images to images of the same shape.
        train, validation: float32 (n, 28, 28, 1) in [0, 1].
        settings: epochs, batch_size, learning_rate, and loss, the name of a Keras loss.

    Returns:
        Keras's history: "loss" and "val_loss" of each epoch.
    """
    updates = settings.epochs * math.ceil(len(train) / settings.batch_size)
    schedule = keras.optimizers.schedules.CosineDecay(settings.learning_rate, updates)
    network.compile(keras.optimizers.Adam(schedule), loss=settings.loss)
    options = {"epochs": settings.epochs, "batch_size": settings.batch_size, "verbose": 0}
    options["callbacks"] = [loop.Progress(0, updates)]
    return network.fit(train, train, validation_data=(validation, validation), **options).history
