"""The training loop of the U-Net, and its learning-rate schedule."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import keras

from tutorial_lib.training.checkpoints import EpochCheckpoint


def warmup_cosine(rate: float, steps: int) -> keras.optimizers.schedules.LearningRateSchedule:
    """Return a learning rate that rises to `rate` in a tenth of the steps, then falls to zero.

    It falls along half a cosine wave (Loshchilov & Hutter, "SGDR", ICLR 2017, equation 5).
    """
    warmup = steps // 10
    return keras.optimizers.schedules.CosineDecay(
        1e-4, max(steps - warmup, 1), warmup_target=rate, warmup_steps=warmup
    )


class Progress(keras.callbacks.Callback):
    """Shows the steps of one or more fits and the time left, in a terminal or in JupyterLab.

    Notebooks that a command executes have neither, so their stored outputs stay as they are. The
    first step is prepared here as well: Keras would create the optimizer's variables in it, and
    would then have to trace the step a second time.
    """

    def __init__(self, done: int, total: int):
        from tqdm import tqdm

        super().__init__()
        watched = sys.stderr.isatty() or "JPY_SESSION_NAME" in os.environ
        self.bar = tqdm(
            initial=done, total=total, desc="training", unit=" steps", disable=not watched
        )

    def on_train_begin(self, logs=None):
        self.model.optimizer.build(self.model.trainable_variables)

    def on_train_batch_end(self, batch, logs=None):
        self.bar.update()

    def on_train_end(self, logs=None):
        if self.bar.n >= self.bar.total:
            self.bar.close()


def train(
    model: keras.Model,
    stream: Callable,
    *,
    epochs: int,
    steps: int,
    validation=None,
    checkpoint: Path | None = None,
    callbacks: Iterable[keras.callbacks.Callback] = (),
) -> dict[str, list[float]]:
    """Train a compiled model, from where an earlier call with the same checkpoint ended.

    Interrupted at any moment and called again, it ends with the same bits as without the
    interruption.

    Args:
        model: Compiled, within `distributed.strategy().scope()` to use several GPUs.
        stream: Called with (first, end), returns the batches of these epochs one after the other.
        validation: Batches whose loss is measured after each epoch.
        checkpoint: File to save after each epoch, `*.keras`.

    Returns:
        The losses by epoch, including those before an interruption.

    Raises:
        InputError: if the loss is not a number, or the checkpoint is damaged, is that of another
            network, or cannot be written.
    """
    saved = EpochCheckpoint(checkpoint)
    first = saved.restore(model)
    if first < epochs:
        model.fit(
            stream(first, epochs),
            initial_epoch=first,
            epochs=epochs,
            steps_per_epoch=steps,
            validation_data=validation,
            callbacks=[*callbacks, saved, Progress(first * steps, epochs * steps)],
            shuffle=False,
            verbose=0,
        )
    elif first:  # as `fit` does at its end: averaged weights, if the optimizer keeps them
        model.optimizer.finalize_variable_values(model.trainable_variables)
    return saved.history
