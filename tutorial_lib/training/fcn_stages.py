"""Training an FCN in stages: 32s, then 16s, then 8s, each from where the last one ended.

Long, Shelhamer & Darrell, "Fully Convolutional Networks for Semantic Segmentation", CVPR 2015,
sections 4.2 and 4.3.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np

from tutorial_lib.data.images import VOID, normalize
from tutorial_lib.errors import check_choice
from tutorial_lib.inference import predict_any_size
from tutorial_lib.metrics import ConfusionMatrix, boundary_distance
from tutorial_lib.training.loop import train
from tutorial_lib.training.losses import pixel_cross_entropy

PARTS = ("scores", "late", "all")
OPTIMIZERS = ("adam", "sgd")
SCHEDULES = ("cosine", "poly")
EARLY_BLOCKS = ("conv1_", "conv2_")  # edges and blobs, which every task needs alike


@dataclass(frozen=True)
class Stage:
    """How one net of the three is trained.

    Attributes:
        warmup: Epochs in which only the score layers learn. They start at zero, and until they
            say something sensible the body would learn from nonsense.
        epochs: Epochs after that, in which more of the net learns.
        rate: Learning rate of those.
        part: What learns then, one of `PARTS`: "scores" keeps the body frozen to the end, "late"
            all but the first two blocks, "all" everything.
        decay: Weight decay.
    """

    warmup: int
    epochs: int
    rate: float
    part: str = "late"
    decay: float = 0.0

    def shortened(self, epochs: int) -> Stage:
        """Return the same stage with another number of epochs, or itself for 0."""
        if not epochs:
            return self
        return replace(self, warmup=min(self.warmup, 1), epochs=epochs)


# The two columns of notebook 05. Many scenes seen a few times teach more than a few seen often,
# and many small steps more than few large ones; pictures that are seen only a few times need little
# scaling at random to look new. benchmarks/RESULTS.md has the figures.
QUICK = {
    "scenes": 1600,
    "validation": 200,
    "stages": {32: Stage(1, 1, 5e-4), 16: Stage(1, 1, 1e-3), 8: Stage(1, 3, 1e-3)},
    "batch_size": 4,
    "crop": 160,
    "scales": (0.9, 1.1),
}
FULL = {
    "scenes": 8000,
    "validation": 400,
    "stages": {32: Stage(1, 20, 1e-3), 16: Stage(1, 10, 1e-3), 8: Stage(1, 10, 1e-3)},
    "batch_size": 8,
    "crop": 160,
    "scales": (0.75, 1.33),
}
# Photographs: a body that ImageNet trained, and not many pictures to train on, most of which show
# the same few classes. So the body stays as it is, rare classes are shown more often (`rarity` is a
# power of `pipeline.sampling_weights`), and of frequent ones only a part of the pixels counts
# (`thinning`, that of `pipeline.keep_probabilities`).
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


def train_stage(
    net: keras.Model,
    batches_of: Callable,
    stage: Stage,
    *,
    score_rate: float = 1e-2,
    optimizer: str = "adam",
    schedule: str = "cosine",
    validation=None,
    state: Path | None = None,
) -> dict[str, list[float]]:
    """Train FCN-32s, 16s or 8s: first its score layers alone, then the net.

    Args:
        net: As built by `fcn.build_fcn`; trained in place.
        batches_of: Called with the number of the epoch, from 0, for its batches.
        stage: How long, how fast, which part.
        score_rate: Learning rate of the warm-up.
        optimizer, schedule: See `make_optimizer`.
        validation: Batches to score after each epoch.
        state: Folder that keeps the state after each epoch; training goes on from there.

    Returns:
        "loss", and "val_loss" if there is validation, by epoch, the warm-up's first.

    Raises:
        InputError: if an option is unknown, or the state is that of another net.
    """
    history: dict[str, list[float]] = {}
    phases = (("scores", stage.warmup, score_rate), (stage.part, stage.epochs, stage.rate))
    for number, (part, epochs, rate) in enumerate(phases):
        if not epochs:
            continue
        start = number * stage.warmup  # so that the second phase sees other crops than the first
        choose_part(net, part)
        steps = epochs * len(batches_of(start))
        made = make_optimizer(optimizer, rate, steps, schedule, stage.decay)
        net.compile(made, loss=pixel_cross_entropy)
        report = train(
            net,
            _stream(batches_of, start),
            epochs=epochs,
            steps=steps // epochs,
            validation=validation,
            checkpoint=state / f"phase{number}.npz" if state else None,
        )
        for name, values in report.items():
            history.setdefault(name, []).extend(values)
    choose_part(net, "all")
    return history


def _stream(batches_of: Callable, start: int) -> Callable:
    """Return a function of (first, end) for these epochs' batches, one after the other."""

    def stream(first: int, end: int):
        epochs = (batches_of(start + epoch) for epoch in range(first, end))
        return functools.reduce(lambda batches, more: batches.concatenate(more), epochs)

    return stream


def batches_from(folder: Path, settings, seed: int, stride: int) -> Callable:
    """Return a function from the number of an epoch to its batches, for `train_stage`.

    Args:
        folder: Records.
        settings: With `crop`, `scales` and `batch_size`, as `QUICK`; where classes are of unequal
            number also with `rarity` and `thinning`, as `PHOTOS_QUICK`.
        seed: Of the whole run.
        stride: Of the net, so that each stage sees other crops.
    """
    from tutorial_lib.data import pipeline

    size, batch, scales = settings["crop"], settings["batch_size"], settings["scales"]
    options = {"scales": scales}
    if "rarity" in settings:
        pixels = pipeline.class_pixels(folder)
        options["weights"] = pipeline.sampling_weights(pixels, settings["rarity"])
        options["keep"] = pipeline.keep_probabilities(pixels, settings["thinning"])
    return lambda epoch: pipeline.crop_batches(
        folder, size, batch, seed * 10_007 + stride * 101 + epoch, **options
    )


def center_crops(samples: Iterable, size: int, batch_size: int = 8):
    """Return batches of the middle of each picture, to score a net while it is trained.

    A picture that is smaller is filled up with gray, its labels with void.

    Returns:
        tf.data pairs of float32 (batch, size, size, 3) and uint8 (batch, size, size).
    """
    import tensorflow as tf

    images, labels = [], []
    for sample in samples:
        cuts = [_middle(side, size) for side in sample.labels.shape]
        inside = tuple(cut for cut, _ in cuts)
        padding = [pad for _, pad in cuts]
        images.append(np.pad(normalize(sample.image[inside]), [*padding, (0, 0)]))
        labels.append(np.pad(sample.labels[inside], padding, constant_values=VOID))
    pairs = np.stack(images), np.stack(labels)
    return tf.data.Dataset.from_tensor_slices(pairs).batch(batch_size)


def _middle(side: int, size: int) -> tuple[slice, tuple[int, int]]:
    """Return the middle `size` pixels of an axis, and what is missing before and after."""
    start, lacking = max(side - size, 0) // 2, max(size - side, 0)
    return slice(start, start + size), (lacking // 2, lacking - lacking // 2)


def choose_part(net: keras.Model, part: str) -> None:
    """Let a part of an FCN learn, and freeze the rest.

    A backbone's batch normalizations stay frozen always: the statistics of ImageNet are better
    than those of a few crops.

    Raises:
        InputError: if the part is none of `PARTS`.
    """
    check_choice("part", part, PARTS)
    for layer in net.layers:
        is_score = layer.name.startswith(("score_", "upsample_"))
        is_early = layer.name.startswith(EARLY_BLOCKS)
        is_norm = isinstance(layer, keras.layers.BatchNormalization)
        learns = part == "all" or is_score or (part == "late" and not is_early)
        layer.trainable = learns and not is_norm


def make_optimizer(
    name: str, rate: float, steps: int, schedule: str = "cosine", decay: float = 0.0
):
    """Return an optimizer whose learning rate falls to zero over so many steps.

    Args:
        name: "adam", or "sgd": stochastic gradient descent with a momentum of 0.9, as in the paper.
        rate: Learning rate at the start.
        steps: Number of steps.
        decay: Weight decay.
        schedule: "cosine", or "poly": rate · (1 - step / steps)^0.9, usual for segmentation.

    Raises:
        InputError: if a name is unknown.
    """
    check_choice("optimizer", name, OPTIMIZERS)
    check_choice("schedule", schedule, SCHEDULES)
    schedules = keras.optimizers.schedules
    if schedule == "poly":
        falling = schedules.PolynomialDecay(rate, steps, end_learning_rate=0.0, power=0.9)
    else:
        falling = schedules.CosineDecay(rate, steps)
    if name == "sgd":
        return keras.optimizers.SGD(falling, momentum=0.9, weight_decay=decay or None)
    if decay:
        return keras.optimizers.AdamW(falling, weight_decay=decay)
    return keras.optimizers.Adam(falling)


def evaluate(
    net, samples: Iterable, classes: int = 21, band: float = 0, refine: Callable | None = None
) -> ConfusionMatrix:
    """Score a net on whole pictures, each in its own size.

    Args:
        net: From a batch of pictures to logits.
        samples: With `image` and `labels`.
        classes: Number of classes.
        band: Count only pixels that are at most so far from an outline; 0 counts all.
        refine: Called with logits and image, returns better scores; for example a CRF.
    """
    return evaluate_bands(net, samples, [band], classes, refine)[band]


def evaluate_bands(
    net, samples: Iterable, bands: Iterable[float], classes: int = 21, refine=None
) -> dict[float, ConfusionMatrix]:
    """Score a net as `evaluate` does, on several bands at once; return a matrix for each."""
    matrices = {band: ConfusionMatrix(classes) for band in bands}
    for sample in samples:
        scores = predict_any_size(net, sample.image)
        if refine is not None:
            scores = refine(scores, sample.image)
        predictions = scores.argmax(axis=-1)
        distance = boundary_distance(sample.labels)
        for band, matrix in matrices.items():
            near = distance <= (band or np.inf)
            matrix.update(np.where(near, sample.labels, VOID), predictions)
    return matrices
