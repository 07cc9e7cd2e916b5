"""Training an FCN in stages: 32s, then 16s, then 8s, each from where the last one ended.

Long, Shelhamer & Darrell, "Fully Convolutional Networks for Semantic Segmentation", CVPR 2015,
sections 4.2 and 4.3.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np

from tutorial_lib.data.images import VOID, normalize
from tutorial_lib.errors import check_choice
from tutorial_lib.inference import predict_any_size
from tutorial_lib.metrics import ConfusionMatrix, boundary_distance
from tutorial_lib.training.losses import pixel_cross_entropy

TRAINABLE = ("scores", "late", "all")
EARLY_BLOCKS = ("conv1_", "conv2_")  # edges and blobs, which every task needs alike


@dataclass(frozen=True)
class Stage:
    """How one network of the three is trained.

    Attributes:
        warmup: Epochs in which only the score layers are trained. They start at zero, and the
            backbone should not follow their gradients before they predict something sensible.
        epochs: Epochs after that, in which more layers are trained.
        rate: Learning rate of those.
        trainable: Which layers they train, one of `TRAINABLE`: "scores" keeps the backbone frozen,
            "late" freezes its first two blocks only, "all" trains everything.
        decay: Weight decay; 0 for none.
    """

    warmup: int
    epochs: int
    rate: float
    trainable: str = "late"
    decay: float = 0.0

    def shortened(self, epochs: int) -> Stage:
        """Return the same stage with another number of epochs, or itself for 0."""
        if not epochs:
            return self
        return replace(self, warmup=min(self.warmup, 1), epochs=epochs)


# The hyperparameters of notebook 05. Many scenes seen a few times teach more than a few seen often,
# and many small steps more than few large ones; images that are seen only a few times need little
# random scaling. benchmarks/RESULTS.md has the figures.
QUICK = {
    "scenes": 1200,
    "validation": 200,
    "stages": {32: Stage(1, 1, 5e-4), 16: Stage(1, 1, 1e-3), 8: Stage(1, 3, 1e-3)},
    "batch_size": 4,
    "crop": 160,
    "scales": (0.9, 1.1),
}
FULL = QUICK | {
    "scenes": 8000,
    "validation": 400,
    "stages": {32: Stage(1, 20, 1e-3), 16: Stage(1, 10, 1e-3), 8: Stage(1, 10, 1e-3)},
    "batch_size": 8,
    "scales": (0.75, 1.33),
}
# Photographs: the backbone was pretrained on ImageNet, and there are few images, most of which show
# the same few classes. So the backbone stays frozen, rare classes are shown more often (`rarity`,
# of `pipeline.sampling_weights`), and only part of the pixels of frequent ones count (`thinning`,
# of `pipeline.keep_probabilities`).
PHOTOS_QUICK = {
    "scenes": 0,
    "validation": 0,
    "stages": {
        32: Stage(0, 10, 5e-3, "scores", 0.2),
        16: Stage(0, 4, 5e-3, "scores", 0.2),
        8: Stage(0, 6, 5e-3, "scores", 0.2),
    },
    "batch_size": 8,
    "crop": 384,
    "scales": (0.6, 1.6),
    "rarity": 0.5,
    "thinning": 0.5,
}
PHOTOS_FULL = PHOTOS_QUICK | {
    "stages": {
        32: Stage(2, 40, 1e-4, "all", 0.05),
        16: Stage(2, 20, 1e-4, "all", 0.05),
        8: Stage(2, 20, 1e-4, "all", 0.05),
    },
    "scales": (0.5, 2.0),
}
SETTINGS = {
    "bundled": {"quick": QUICK, "full": FULL},
    "voc": {"quick": PHOTOS_QUICK, "full": PHOTOS_FULL},
}


def train_stage(network: keras.Model, batches_of: Callable, stage: Stage) -> None:
    """Train an FCN as notebook 05 does: first its score layers alone, then more of it.

    `batches_of` returns the batches of an epoch, whose number starts at 0.
    """
    done = 0
    phases = ("scores", stage.warmup, 1e-2), (stage.trainable, stage.epochs, stage.rate)
    for layers, epochs, rate in phases:
        set_trainable(network, layers)
        steps = epochs * len(batches_of(0)) or 1  # without a warm-up there are none
        schedule = keras.optimizers.schedules.CosineDecay(rate, steps)
        optimizer = keras.optimizers.Adam(schedule, weight_decay=stage.decay or None)
        network.compile(optimizer, loss=pixel_cross_entropy)
        for _ in range(epochs):
            network.fit(batches_of(done), shuffle=False, verbose=0)
            done += 1


def set_trainable(network: keras.Model, layers: str) -> None:
    """Choose which layers of an FCN are trained, and freeze the others.

    A backbone's batch normalizations always stay frozen, because the statistics of ImageNet are
    better than those of a few crops. Raises InputError if `layers` is none of `TRAINABLE`.
    """
    check_choice("layers", layers, TRAINABLE)
    for layer in network.layers:
        is_score = layer.name.startswith(("score_", "upsample_"))
        is_early = layer.name.startswith(EARLY_BLOCKS)
        is_norm = isinstance(layer, keras.layers.BatchNormalization)
        chosen = layers == "all" or is_score or (layers == "late" and not is_early)
        layer.trainable = chosen and not is_norm


def batches_from(folder: Path, settings, seed: int, stride: int) -> Callable:
    """Return a function from the number of an epoch to its batches.

    Args:
        settings: With `crop`, `scales` and `batch_size`, as `QUICK`; for imbalanced classes also
            with `rarity` and `thinning`, as `PHOTOS_QUICK`.
        seed: Of the whole run.
        stride: Of the network, so that each stage sees other crops.
    """
    import tensorflow as tf

    from tutorial_lib.data import pipeline, records

    size, batch, scales = settings["crop"], settings["batch_size"], settings["scales"]
    options = {"scales": scales}
    if "rarity" in settings:
        pixels = pipeline.class_pixels(folder)
        options["weights"] = pipeline.sampling_weights(pixels, settings["rarity"])
        options["keep"] = pipeline.keep_probabilities(pixels, settings["thinning"])
    length = -(-records.count(folder) // batch)

    def batches_of(epoch: int):
        # Each epoch has a seed of its own, and is the first of that seed.
        run = seed * 10_007 + stride * 101 + epoch
        batches = pipeline.crop_batches(folder, size, batch, run, epochs=(0, 1), **options)
        return batches.apply(tf.data.experimental.assert_cardinality(length))

    return batches_of


def center_crops(samples: Iterable, size: int):
    """Return batches of the center of each image, for a loss on validation data.

    A smaller image is padded with gray, its labels with void. The batches are tf.data pairs of
    float32 (batch, size, size, 3) and uint8 (batch, size, size).
    """
    import tensorflow as tf

    def center(array):
        return tf.image.resize_with_crop_or_pad(array, size, size)

    # What is padded is 0: gray in a normalized image, and void in labels that count down from it.
    images, labels = [], []
    for sample in samples:
        images.append(center(normalize(sample.image)))
        labels.append(VOID - center(VOID - sample.labels[..., None])[..., 0])
    return tf.data.Dataset.from_tensor_slices((images, labels)).batch(8)


def evaluate_bands(
    network, samples: Iterable, bands: Iterable[float]
) -> dict[float, ConfusionMatrix]:
    """Evaluate a network on whole images, each in its own size; return a matrix for each band.

    `network` maps a batch of images to logits. The other arguments are those of `score_bands`.
    """

    def predict(sample) -> np.ndarray:
        return predict_any_size(network, sample.image).argmax(axis=-1)

    return score_bands(predict, samples, bands)


def score_bands(
    predict: Callable, samples: Iterable, bands: Iterable[float]
) -> dict[float, ConfusionMatrix]:
    """Return a confusion matrix for each band along the boundaries.

    Args:
        predict: From a sample to predicted labels, of the shape of its own labels.
        bands: Count only pixels that are at most so far from a boundary; 0 counts all.
    """
    matrices = {band: ConfusionMatrix(21) for band in bands}
    for sample in samples:
        predictions = predict(sample)
        distance = boundary_distance(sample.labels)
        for band, matrix in matrices.items():
            near = distance <= (band or np.inf)
            matrix.update(np.where(near, sample.labels, VOID), predictions)
    return matrices
