"""The classifier that notebook 05 starts from, and the recipe that makes it.

The paper starts from a VGG-16 that has seen the 1.2 million pictures of ImageNet. Ours is a
quarter as wide and has seen 16,000 pictures of pictograms; for bundled scenes that does the same
job. `tutorial pretrain` trains it again.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

from tutorial_lib.data import pictograms
from tutorial_lib.data.cache import file_hash
from tutorial_lib.data.images import normalize
from tutorial_lib.errors import InputError

CHECKPOINT = Path(__file__).resolve().parents[1] / "data/checkpoints/vgg16_pictograms.weights.h5"
CHECKPOINT_SHA256 = "6bbe7925b3498593a914d5c48b9c75ab6cf7fcbaee587fb4131246f84b2959e1"
CLASSES = pictograms.VOC_SPEC.categories
INPUT_SIZE = 96
ARCHITECTURE = {
    "depth": 16,
    "width": 1 / 4,
    "input_size": INPUT_SIZE,
    "classes": len(CLASSES),
    "fc_units": 192,
    "dropout": 0.2,
}
MARGIN = 8  # pixels around a cut-out, so that training can shift and zoom it
LEAST_PIXELS = 600  # an object of which less can be seen is left out
BATCH_SIZE = 32
SEED = 1_000_003  # far from the seeds of the scenes that notebooks train and score on


def load_classifier():
    """Return the pretrained VGG-16, a quarter as wide as the paper's.

    Raises:
        InputError: if its checkpoint is missing or is not the one this code was tested with.
    """
    from tutorial_lib.models.vgg import build_vgg

    if not CHECKPOINT.is_file():
        raise InputError(
            f"{CHECKPOINT} is missing; restore it with git, or run `tutorial pretrain`"
        )
    if file_hash(CHECKPOINT) != CHECKPOINT_SHA256:
        raise InputError(
            f"{CHECKPOINT} is damaged; restore it with git, or run `tutorial pretrain`"
        )
    classifier = build_vgg(**ARCHITECTURE)
    classifier.load_weights(CHECKPOINT)
    return classifier


def object_pictures(count: int, seed: int = SEED, margin: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Cut one picture out of scenes for each object that can be seen well enough.

    The scenes are like those that notebook 05 trains on, but other ones. The object is in the
    middle, at the size that it has there; what stands beside it is in the picture too, as it is
    in ImageNet's photographs.

    Args:
        count: Number of pictures.
        seed: Of the scenes.
        margin: Pixels to add on each side of the 96×96.

    Returns:
        images uint8 (count, 96 + 2 margin, 96 + 2 margin, 3) and class numbers int64 (count,),
        indices into `CLASSES`.
    """
    side = INPUT_SIZE + 2 * margin
    images = np.empty((count, side, side, 3), np.uint8)
    classes = np.empty(count, np.int64)
    filled, index = 0, 0
    while filled < count:
        scene = pictograms.compose(pictograms.VOC_SPEC, seed, index)
        index += 1
        for instance in scene.instances:
            if filled < count and instance.mask.sum() >= LEAST_PIXELS:
                images[filled] = _cut_out(scene.image, instance.mask, side)
                classes[filled] = CLASSES.index(instance.category)
                filled += 1
    return images, classes


def _cut_out(image: np.ndarray, mask: np.ndarray, side: int) -> np.ndarray:
    """Cut a square around the middle of a mask; beyond the picture's rim it is mirrored."""
    rows, columns = np.nonzero(mask)
    top, left = ((axis.min() + axis.max() + 1) // 2 for axis in (rows, columns))
    padded = np.pad(image, ((side // 2, side // 2), (side // 2, side // 2), (0, 0)), "symmetric")
    return padded[top : top + side, left : left + side]


def train_classifier(
    count: int = 16_000,
    epochs: int = 12,
    echo: Callable[[str], None] = print,
    state: Path | None = None,
) -> float:
    """Train the classifier, save it as `CHECKPOINT` and return its accuracy on new pictures.

    Args:
        count: Pictures to train on.
        epochs: Passes over them.
        echo: Told how it goes.
        state: Folder in which to keep the state after each epoch; a run that was interrupted goes
            on from there.
    """
    from tutorial_lib import profiles, staged
    from tutorial_lib.models.vgg import build_vgg, fold_batch_norm

    profiles.start("full", seed=SEED)
    echo(f"composing {count} pictures …")
    pictures = object_pictures(count, margin=MARGIN)
    normalized = build_vgg(**ARCHITECTURE, batch_norm=True)
    schedule = keras.optimizers.schedules.CosineDecay(2e-3, epochs * math.ceil(count / BATCH_SIZE))
    normalized.compile(
        keras.optimizers.AdamW(schedule, weight_decay=5e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    staged.fit_resumable(
        normalized, lambda epoch: _varied_batches(*pictures, SEED + epoch), epochs, state, echo
    )
    plain = fold_batch_norm(normalized, build_vgg(**ARCHITECTURE))
    new_images, new_classes = object_pictures(1000, seed=SEED + 1)
    scores = plain.predict(normalize(new_images), verbose=0)
    CHECKPOINT.parent.mkdir(parents=True, exist_ok=True)
    partial = CHECKPOINT.with_name("partial.weights.h5")
    plain.save_weights(partial)
    partial.replace(CHECKPOINT)
    return float(np.mean(scores.argmax(axis=1) == new_classes))


def _varied_batches(images: np.ndarray, classes: np.ndarray, seed: int):
    """Return a shuffled tf.data pipeline that mirrors, shifts, zooms and recolors pictures."""
    import tensorflow as tf

    from tutorial_lib.data.records import augment

    images, classes = tf.constant(images), tf.constant(classes)
    low, high = INPUT_SIZE - 2 * MARGIN, INPUT_SIZE + 2 * MARGIN

    def prepare(number):
        seeds = tf.stack([number, seed])
        image = tf.cast(images[number], tf.float32) / 127.5 - 1.0
        side = tf.random.stateless_uniform([], seeds, low, high + 1, tf.int32)
        image = tf.image.stateless_random_crop(image, tf.stack([side, side, 3]), seeds + 1)
        image = tf.image.resize(image, (INPUT_SIZE, INPUT_SIZE), antialias=True)
        image, _ = augment(image, image, seeds + 2)
        return tf.ensure_shape(image, (INPUT_SIZE, INPUT_SIZE, 3)), classes[number]

    order = np.random.default_rng(seed).permutation(len(classes))
    dataset = tf.data.Dataset.from_tensor_slices(order)
    dataset = dataset.map(prepare, num_parallel_calls=tf.data.AUTOTUNE)
    return dataset.batch(BATCH_SIZE).prefetch(4)
