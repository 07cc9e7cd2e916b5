"""Checkpoints from which training goes on as if nothing had happened, to the bit.

Everything that the next step depends on is saved at the end of an epoch, in one file that appears
under its name when it is whole: weights, the optimizer's memory, the losses so far. What an epoch
shows the net depends on its number alone (`pipeline.segmentation_batches`), so that needs no saving.
"""

from __future__ import annotations

import io
import json
import tempfile
from pathlib import Path

import keras
import numpy as np
from keras import ops

from tutorial_lib.errors import InputError, write_atomically


class Progress(keras.callbacks.Callback):
    """Saves a checkpoint after each epoch, and stops when nothing gets better any more.

    Whether to stop follows from the losses so far alone, so an interrupted training stops where
    an uninterrupted one does.

    Attributes:
        history: Name → one number for each epoch since the very first.
    """

    def __init__(self, path: Path | None = None, patience: int = 0, monitor: str = ""):
        """Make the callback.

        Args:
            path: The checkpoint, `*.npz`; None saves nothing.
            patience: Epochs without a lower loss after which training stops, and the best weights
                are put back; 0 trains to the end.
            monitor: The loss to go by; empty: "val_loss" if there is one, else "loss".
        """
        super().__init__()
        self.path, self.patience, self.monitor = path, patience, monitor
        self.history: dict[str, list[float]] = {}
        self.best: list[np.ndarray] = []

    @property
    def epochs(self) -> int:
        """Return how many epochs are done."""
        return len(next(iter(self.history.values()), []))

    @property
    def exhausted(self) -> bool:
        """Say whether the patience is at its end."""
        if not self.patience or not self.epochs:
            return False
        losses = self._monitored()
        return len(losses) - 1 - int(np.argmin(losses)) >= self.patience

    def restore(self, model: keras.Model) -> int:
        """Put a compiled model into the state of the checkpoint; return the epochs behind it.

        Raises:
            InputError: if the checkpoint is damaged, or that of another net or optimizer.
        """
        if self.path is None or not self.path.is_file():
            return 0
        if not model.optimizer.built:
            model.optimizer.build(model.trainable_variables)
        try:
            with np.load(self.path, allow_pickle=False) as file:
                arrays = {name: file[name] for name in file.files}
            self.history = json.loads(str(arrays["history"]))
            count = int(arrays["best"])
            self.best = [arrays[f"best{n}"] for n in range(count)]
            states = [arrays[f"state{n}"] for n in range(int(arrays["states"]))]
        except Exception:  # what NumPy and the ZIP's reader raise at damage is of every kind
            raise InputError(f"{self.path} is damaged; delete it and train anew") from None
        variables = _variables(model)
        if [v.shape for v in variables] != [s.shape for s in states]:
            raise InputError(
                f"{self.path} belongs to another net or optimizer; delete it, or build the same net"
            )
        for variable, state in zip(variables, states, strict=True):
            variable.assign(state)
        return self.epochs

    def on_train_begin(self, logs=None) -> None:
        """Raise InputError if the checkpoint cannot be written, before an epoch is spent on it."""
        if self.path is None:
            return
        if self.path.is_dir():
            raise InputError(f"{self.path} is a folder; choose another checkpoint")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self.path.parent):
                pass
        except OSError as error:
            reason = f"cannot write {self.path} ({error.strerror})"
            raise InputError(f"{reason}; choose another checkpoint") from None

    def on_epoch_end(self, epoch: int, logs=None) -> None:
        for name, value in (logs or {}).items():
            self.history.setdefault(name, []).append(float(value))
        losses = self._monitored()
        if losses[-1] == min(losses):
            # Without patience nobody asks for the best, but those of an earlier call are outdated.
            kept = self.model.variables if self.patience else []
            self.best = [ops.convert_to_numpy(v) for v in kept]
        if self.path is not None:
            self._save()
        if self.exhausted:
            self.model.stop_training = True

    def finish(self, model: keras.Model) -> None:
        """Put the best weights back, if there is patience to find out which they are."""
        if not self.patience:
            return
        for variable, value in zip(model.variables, self.best, strict=False):
            variable.assign(value)

    def _monitored(self) -> list[float]:
        name = self.monitor or ("val_loss" if "val_loss" in self.history else "loss")
        return self.history[name]

    def _save(self) -> None:
        states = [ops.convert_to_numpy(variable) for variable in _variables(self.model)]
        arrays = {f"state{n}": state for n, state in enumerate(states)}
        arrays |= {f"best{n}": state for n, state in enumerate(self.best)}
        buffer = io.BytesIO()
        np.savez(
            buffer,
            history=json.dumps(self.history),
            states=len(states),
            best=len(self.best),
            **arrays,
        )
        write_atomically(self.path, buffer.getvalue())


def _variables(model: keras.Model) -> list:
    """Return all that training changes: weights, statistics, the optimizer's memory."""
    return [*model.variables, *model.optimizer.variables]
