"""Training on few photographs, with weights that many photographs have taught already."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import keras

from tutorial_lib.data import pipeline, records
from tutorial_lib.models import backbones
from tutorial_lib.training import loop, losses


class FineTuning(keras.optimizers.AdamW):
    """AdamW that takes smaller steps for the weights that something else has learned before.

    What a few pictures can teach is little beside what ImageNet taught, and is not to overwrite it
    (Howard & Ruder, "Universal language model fine-tuning for text classification", ACL 2018,
    section 3.2, "discriminative fine-tuning").
    """

    def __init__(self, learning_rate, slow: Iterable, factor: float = 0.1, **options):
        """Make the optimizer.

        Args:
            learning_rate: For all other weights: a number or a schedule.
            slow: The variables that learn more slowly.
            factor: By how much.
            options: As for AdamW.
        """
        super().__init__(learning_rate, **options)
        self._slow, self._factor = {id(variable) for variable in slow}, factor

    def build(self, variables) -> None:
        super().build(variables)
        self._slow_places = {n for n, v in enumerate(variables) if id(v) in self._slow}

    def update_step(self, gradient, variable, learning_rate) -> None:
        if self._get_variable_index(variable) in self._slow_places:
            learning_rate = learning_rate * self._factor
        super().update_step(gradient, variable, learning_rate)


def borrowed_unet(size: int, weights: str | Path) -> tuple[keras.Model, list]:
    """Return a U-Net whose way down is MobileNet, and the variables that ImageNet taught.

    Args:
        size: Side of input and output in pixels, a multiple of 32.
        weights: As for `backbones.mobilenet`.

    Raises:
        InputError: if the weights are missing or others, or the size does not fit.
    """
    encoder = backbones.mobilenet(size, weights)
    net = backbones.build_pretrained_unet(encoder, dropout=0.3, finest=2)
    return net, encoder.trainable_variables


def fine_tune(
    net: keras.Model,
    learned: Iterable,
    folder: Path,
    *,
    epochs: int,
    seed: int,
    batch_size: int = 8,
    rate: float = 2e-3,
    callbacks: Iterable[keras.callbacks.Callback] = (),
) -> dict[str, list[float]]:
    """Train a net that finds one thing, and return the losses by epoch.

    Pictures are scaled by 0.7 to 1.8, shifted, mirrored and recolored by chance. What was learned
    before moves ten times more slowly.

    Args:
        net: From pictures to logits for one class.
        learned: The variables that were learned before; none for a net that starts from chance.
        folder: Records.
        epochs, batch_size: Passes over the records, and pictures a step.
        seed: For the order of the pictures and what is done to them.
        rate: The highest learning rate.
        callbacks: More Keras callbacks.
    """
    steps = -(-records.count(folder) // batch_size)
    schedule = loop.rise_and_fall(rate, epochs * steps)
    optimizer = FineTuning(schedule, learned, weight_decay=1e-2)
    net.compile(optimizer, loss=losses.cross_entropy_and_dice)
    sides = net.input_shape[1], net.output_shape[1]

    def stream(first: int, end: int):
        return pipeline.segmentation_batches(
            folder, *sides, batch_size, seed, scales=(0.7, 1.8), epochs=(first, end)
        )

    return loop.train(net, stream, epochs=epochs, steps=steps, callbacks=callbacks)
