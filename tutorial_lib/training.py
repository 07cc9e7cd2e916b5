"""Losses, and the small loop pieces that both segmentation notebooks share."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
from keras import ops

from tutorial_lib.data import data_home
from tutorial_lib.data.images import VOID
from tutorial_lib.errors import InputError


def binary_cross_entropy(labels, logits):
    """Return the cross-entropy of one class against the background, void pixels left out.

    Args:
        labels: (batch, height, width): 0, 1, or 255 for void.
        logits: float (batch, height, width, 1).

    Returns:
        The mean over all pixels of the batch that are not void; 0 if all are.
    """
    weights, labels = _weights_and_classes(labels)
    # Keras may have dropped the last axis of the logits already.
    logits = ops.reshape(ops.cast(logits, "float32"), ops.shape(labels))
    targets = ops.cast(labels, "float32")
    # log(1 + e^-|x|) cannot overflow, unlike log(sigmoid(x)).
    losses = ops.relu(logits) - logits * targets + ops.log1p(ops.exp(-ops.abs(logits)))
    return ops.sum(losses * weights) / ops.maximum(ops.sum(weights), 1.0)


def pixel_cross_entropy(labels, logits):
    """Return the softmax cross-entropy over classes, void pixels left out.

    Args:
        labels: (batch, height, width): class numbers, or 255 for void.
        logits: float (batch, height, width, classes).

    Returns:
        The mean over all pixels of the batch that are not void; 0 if all are.
    """
    weights, labels = _weights_and_classes(labels)
    # One-hot targets take more memory than class numbers, but half the time: with op determinism
    # TensorFlow looks the numbers up one by one.
    targets = ops.one_hot(labels, ops.shape(logits)[-1])
    losses = ops.categorical_crossentropy(targets, ops.cast(logits, "float32"), from_logits=True)
    return ops.sum(losses * weights) / ops.maximum(ops.sum(weights), 1.0)


def _weights_and_classes(labels):
    """Return weight 0 for void and 1 for all else, and labels with void replaced by class 0."""
    labels = ops.cast(labels, "int32")
    seen = ops.not_equal(labels, VOID)
    return ops.cast(seen, "float32"), ops.where(seen, labels, 0)


def fit_resumable(
    model: keras.Model,
    batches_of: Callable,
    epochs: int,
    folder: Path | None = None,
    echo: Callable[[str], None] | None = None,
) -> dict[str, list[float]]:
    """Train a compiled model epoch by epoch, and go on where an interrupted run stopped.

    Because each epoch's batches depend on its number alone, a run that was interrupted after any
    epoch and taken up again ends with the same weights as one that was not.

    Args:
        model: Compiled; its optimizer's state is kept too.
        batches_of: Called with the number of the epoch, from 0, for its data.
        epochs: Number of epochs in all.
        folder: Where the state is kept after each epoch; None keeps none.
        echo: Told of each epoch, if given.

    Returns:
        The history, as of `keras.Model.fit`: a list of one number an epoch for each quantity.

    Raises:
        InputError: if the state in the folder belongs to another model.
    """
    history: dict[str, list[float]] = {}
    if folder is not None and (folder / "state.npz").is_file():
        history = _restore(model, folder)
    done = len(next(iter(history.values()), []))
    for epoch in range(done, epochs):
        report = model.fit(batches_of(epoch), verbose=0, shuffle=False).history
        for name, values in report.items():
            history.setdefault(name, []).extend(float(value) for value in values)
        if folder is not None:
            _keep(model, history, folder)
        if echo:
            text = ", ".join(f"{name} {values[-1]:.3f}" for name, values in history.items())
            echo(f"epoch {epoch + 1}/{epochs}: {text}")
    return history


def _keep(model: keras.Model, history: dict, folder: Path) -> None:
    """Write weights, the optimizer's variables and the history; whole, or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    variables = [*model.variables, *model.optimizer.variables]
    partial = folder / "state.part.npz"
    np.savez(
        partial,
        history=json.dumps(history),
        **{str(i): ops.convert_to_numpy(v) for i, v in enumerate(variables)},
    )
    partial.replace(folder / "state.npz")


def _restore(model: keras.Model, folder: Path) -> dict[str, list[float]]:
    """Load what `_keep` wrote; return the history."""
    model.optimizer.build(model.trainable_variables)
    variables = [*model.variables, *model.optimizer.variables]
    with np.load(folder / "state.npz", allow_pickle=False) as state:
        values = [state[str(i)] for i in range(len(state.files) - 1)]
        history = json.loads(str(state["history"]))
    if [v.shape for v in variables] != [v.shape for v in values]:
        raise InputError(f"{folder} holds the state of another model; delete it to start anew")
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)
    return history


def fresh_log_folder(name: str) -> str:
    """Return an empty folder below the caches for TensorBoard's log of one training run."""
    folder = data_home() / "cache" / "tensorboard" / name
    shutil.rmtree(folder, ignore_errors=True)
    return str(folder)
