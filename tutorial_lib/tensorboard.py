"""What TensorBoard shows of a training: graph, curves, and how the predictions come about."""

from __future__ import annotations

from pathlib import Path

import keras
import numpy as np

from tutorial_lib import plotting
from tutorial_lib.training import fresh_log_folder


def callbacks(name: str, images: np.ndarray, labels: np.ndarray) -> list[keras.callbacks.Callback]:
    """Return callbacks that log a training afresh: graph, scalars, triples after each epoch.

    Args:
        name: Of the run.
        images, labels: What the triples show; see `Triples`.
    """
    folder = fresh_log_folder(name)
    return [keras.callbacks.TensorBoard(folder), Triples(Path(folder) / "triples", images, labels)]


class Triples(keras.callbacks.Callback):
    """Logs input, mask and prediction side by side after each epoch.

    Attributes:
        frames: What was logged, one uint8 (n, h, 3 w, 3) for each epoch.
    """

    def __init__(self, folder: Path, images: np.ndarray, labels: np.ndarray):
        """Make the callback.

        Args:
            folder: For the log.
            images: float32 (n, height, width, 3), -1 to 1.
            labels: uint8 (n, out_height, out_width): 0, 1, 255 void; for the middle of the images.
        """
        super().__init__()
        self.folder, self.images, self.labels = folder, np.asarray(images), np.asarray(labels)
        self.writer = None
        self.frames: list[np.ndarray] = []

    def on_epoch_end(self, epoch: int, logs=None) -> None:
        import tensorflow as tf

        if self.writer is None:
            self.writer = tf.summary.create_file_writer(str(self.folder))
        logits = np.asarray(self.model(self.images, training=False))[..., 0]
        self.frames.append(triples(self.images, self.labels, logits))
        with self.writer.as_default(step=epoch):
            tf.summary.image("input, mask, prediction", self.frames[-1])
        self.writer.flush()

    def on_train_end(self, logs=None) -> None:
        if self.writer is not None:
            self.writer.close()
            self.writer = None


def triples(images: np.ndarray, labels: np.ndarray, logits: np.ndarray) -> np.ndarray:
    """Put the middle of each input, its mask and the prediction side by side.

    Args:
        images: float32 (n, height, width, 3), -1 to 1.
        labels: uint8 (n, h, w): 0, 1, 255 void.
        logits: float32 (n, h, w).

    Returns:
        uint8 (n, h, 3 w, 3): the picture; the mask, tinted; the prediction, tinted.
    """
    top, left = ((images.shape[a] - labels.shape[a]) // 2 for a in (1, 2))
    rows = []
    for image, label, logit in zip(images, labels, logits, strict=True):
        middle = image[top : top + label.shape[0], left : left + label.shape[1]]
        middle = np.uint8(np.rint((middle + 1) * 127.5))
        truth = plotting.overlay(middle, label == 1)
        truth = plotting.overlay(truth, label == 255, plotting.PALETTE["void"])
        found = plotting.overlay(middle, logit > 0, plotting.PALETTE["input"])
        rows.append(np.concatenate([middle, truth, found], axis=1))
    return np.stack(rows)
