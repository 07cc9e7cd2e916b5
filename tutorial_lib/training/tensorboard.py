"""What TensorBoard shows of a training: graph, curves, and how the predictions come about."""

from __future__ import annotations

import shutil
from pathlib import Path

import keras
import numpy as np

from tutorial_lib.data import data_home
from tutorial_lib.data.images import VOID, center_crop, to_uint8
from tutorial_lib.figures import plotting


def callbacks(name: str, images: np.ndarray, labels: np.ndarray) -> list[keras.callbacks.Callback]:
    """Return callbacks that log a training afresh: graph, scalars, `Triples` after each epoch."""
    folder = data_home() / "cache" / "tensorboard" / name
    shutil.rmtree(folder, ignore_errors=True)
    # The graph that Keras would log of a Keras 3 model is one that TensorBoard cannot draw.
    scalars = keras.callbacks.TensorBoard(str(folder), write_graph=False)
    return [scalars, Triples(folder / "triples", images, labels)]


class Triples(keras.callbacks.Callback):
    """Logs the graph once, and input, mask and prediction side by side after each epoch."""

    def __init__(self, folder: Path, images: np.ndarray, labels: np.ndarray):
        """Make the callback.

        Args:
            images: float32 (n, height, width, 3), -1 to 1.
            labels: uint8 (n, out_height, out_width): 0, 1, 255 void; for the middle of the images.
        """
        super().__init__()
        self.folder, self.images, self.labels = folder, np.asarray(images), np.asarray(labels)
        self.writer = None

    def on_epoch_end(self, epoch: int, logs=None) -> None:
        import tensorflow as tf

        if self.writer is None:
            self.writer = tf.summary.create_file_writer(str(self.folder))
            predict = tf.function(lambda images: self.model(images, training=False))
            with self.writer.as_default():
                tf.summary.graph(predict.get_concrete_function(self.images).graph)
        logits = np.asarray(self.model(self.images, training=False))[..., 0]
        shown = triples(self.images, self.labels, logits)
        with self.writer.as_default(step=epoch):
            tf.summary.image("input, mask, prediction", shown, max_outputs=len(shown))
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
        uint8 (n, h, 3 w, 3): the image; the mask, tinted; the prediction, tinted. The tints lie on
        gray images, because blue on orange fur would look gray.
    """
    rows = []
    for image, label, logit in zip(
        to_uint8(center_crop(images, labels.shape[1:])), labels, logits, strict=True
    ):
        faded = plotting.faded(image)
        truth = plotting.overlay(faded, label == 1)
        truth = plotting.overlay(truth, label == VOID, plotting.PALETTE["void"])
        found = plotting.overlay(faded, logit > 0, plotting.PALETTE["input"])
        rows.append(np.concatenate([image, truth, found], axis=1))
    return np.stack(rows)


def table(frames: list[np.ndarray], rows: int) -> list[np.ndarray]:
    """Return the images of a grid: by row an image, its mask, and what each frame predicts.

    Args:
        frames: As from `triples`, all of the same images: by epoch, or by network.
        rows: At most how many of the images.
    """
    parts = [
        [np.split(frame[n], 3, axis=1) for frame in frames]
        for n in range(min(rows, len(frames[0])))
    ]
    return [part for row in parts for part in (*row[0][:2], *(triple[2] for triple in row))]
