"""Losses, and the small loop pieces that both segmentation notebooks share."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

import keras

from tutorial_lib.data import data_home


def rise_and_fall(rate: float, steps: int) -> keras.optimizers.schedules.LearningRateSchedule:
    """Return a learning rate that rises to `rate` in a tenth of the steps, then sinks to zero.

    It sinks along half a cosine wave (Loshchilov & Hutter, "SGDR", ICLR 2017, equation 5).
    """
    warm = steps // 10
    return keras.optimizers.schedules.CosineDecay(
        1e-4, max(steps - warm, 1), warmup_target=rate, warmup_steps=warm
    )


def fresh_log_folder(name: str) -> str:
    """Return an empty folder below the caches for TensorBoard's log of one training run."""
    folder = data_home() / "cache" / "tensorboard" / name
    shutil.rmtree(folder, ignore_errors=True)
    return str(folder)


def train(
    model: keras.Model,
    stream: Callable,
    *,
    epochs: int,
    steps: int,
    validation=None,
    checkpoint: Path | None = None,
    patience: int = 0,
    callbacks: Iterable[keras.callbacks.Callback] = (),
    strategy=None,
) -> dict[str, list[float]]:
    """Train a compiled model; go on where an earlier call with the same checkpoint ended.

    Interrupted at any moment and called again, it ends with the same bits as without the
    interruption. On one device Keras does the training; on several, here or on other machines, the
    loop of `distributed`.

    Args:
        model: Compiled, within the strategy's scope if there is one.
        stream: Called with (first, end), returns the batches of these epochs one after the other;
            see `pipeline.segmentation_batches`.
        epochs: How many in all.
        steps: Batches an epoch.
        validation: Batches to score after each epoch.
        checkpoint: Where to save after each epoch, `*.npz`.
        patience: Stop after so many epochs without a lower loss, and take the best weights.
        callbacks: More Keras callbacks.
        strategy: As from `distributed.strategy`; None for one device.

    Returns:
        The losses by epoch, those before an interruption too.

    Raises:
        InputError: if the checkpoint is damaged or of another net.
    """
    from tutorial_lib.training.resuming import Progress

    progress = Progress(checkpoint, patience)
    first = progress.restore(model)
    if first < epochs and not progress.exhausted:
        data, calls = stream(first, epochs), [*callbacks, progress]
        if strategy is not None and strategy.num_replicas_in_sync > 1:
            _fit_on_several(model, data, strategy, epochs, steps, first, validation, calls)
        else:
            model.fit(
                data,
                initial_epoch=first,
                epochs=epochs,
                steps_per_epoch=steps,
                validation_data=validation,
                callbacks=calls,
                shuffle=False,
                verbose=0,
            )
    elif first:
        model.optimizer.finalize_variable_values(model.trainable_variables)
    progress.finish(model)
    return progress.history


def _fit_on_several(model, data, strategy, epochs, steps, first, validation, calls) -> None:
    from tutorial_lib.training import distributed

    def validate() -> dict[str, float]:
        losses = [float(model.loss(y, model(x, training=False))) for x, y in validation]
        return {"loss": sum(losses) / len(losses)}

    distributed.fit(
        model,
        data,
        strategy,
        epochs=epochs,
        steps=steps,
        first=first,
        callbacks=calls,
        validate=validate if validation is not None else None,
    )
