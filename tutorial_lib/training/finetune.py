"""Fine-tuning on few photographs, from weights that were pretrained on ImageNet."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import keras

from tutorial_lib.data import pipeline, records
from tutorial_lib.models import backbones
from tutorial_lib.training import loop, losses


class FineTuningAdamW(keras.optimizers.AdamW):
    """AdamW with a lower learning rate for pretrained weights.

    A few images should not overwrite what ImageNet taught (Howard & Ruder, "Universal language
    model fine-tuning for text classification", ACL 2018, section 3.2, "discriminative
    fine-tuning").
    """

    def __init__(self, learning_rate, pretrained: Iterable, factor: float = 0.1, **options):
        """Make the optimizer.

        Args:
            learning_rate: For all other weights: a number or a schedule.
            pretrained: The variables with the lower learning rate.
            factor: The lower learning rate divided by the other.
            options: As for AdamW.
        """
        super().__init__(learning_rate, **options)
        self._pretrained = {id(variable) for variable in pretrained}
        self._factor = factor

    def build(self, variables) -> None:
        super().build(variables)
        self._slow = {n for n, v in enumerate(variables) if id(v) in self._pretrained}

    def update_step(self, gradient, variable, learning_rate) -> None:
        if self._get_variable_index(variable) in self._slow:
            learning_rate = learning_rate * self._factor
        super().update_step(gradient, variable, learning_rate)


def pretrained_unet(size: int, weights: str | Path) -> tuple[keras.Model, list]:
    """Return a U-Net whose encoder is MobileNet, and the variables that were pretrained.

    Args:
        size: Side of input and output in pixels, a multiple of 32.
        weights: As for `backbones.mobilenet`.

    Raises:
        InputError: if the weights are missing or others, or the size does not fit.
    """
    encoder = backbones.mobilenet(size, weights)
    network = backbones.build_pretrained_unet(encoder, dropout=0.3, finest=2)
    return network, encoder.trainable_variables


def fine_tune(
    network: keras.Model,
    pretrained: Iterable,
    folder: Path,
    *,
    epochs: int,
    seed: int,
    batch_size: int = 8,
    rate: float = 2e-3,
    callbacks: Iterable[keras.callbacks.Callback] = (),
) -> dict[str, list[float]]:
    """Train a network for one class on records, and return the losses by epoch.

    Images are randomly scaled by 0.7 to 1.8, shifted, flipped and recolored.

    Args:
        network: From images to logits for one class.
        pretrained: The variables to train with a tenth of the learning rate, possibly none.
        folder: Records.
        epochs: Number of epochs.
        seed: For the order of the images and their augmentation.
        batch_size: Images per step.
        rate: The highest learning rate.
        callbacks: More Keras callbacks.
    """
    steps = -(-records.count(folder) // batch_size)
    schedule = loop.warmup_cosine(rate, epochs * steps)
    optimizer = FineTuningAdamW(schedule, pretrained, weight_decay=1e-2)
    network.compile(optimizer, loss=losses.cross_entropy_and_dice)
    sides = network.input_shape[1], network.output_shape[1]

    def stream(first: int, end: int):
        return pipeline.segmentation_batches(
            folder, *sides, batch_size, seed, scales=(0.7, 1.8), epochs=(first, end)
        )

    return loop.train(network, stream, epochs=epochs, steps=steps, callbacks=callbacks)
