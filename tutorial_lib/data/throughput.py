"""Four input pipelines with the same images and labels, and how many images per second they read.

They differ in what they read, and in whether Python or TensorFlow's threads do the work.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf

from tutorial_lib.data.coco import CocoSplit
from tutorial_lib.data.records import decode_jpeg, png_bytes, read_records
from tutorial_lib.errors import write_atomically

PAIR = (tf.TensorSpec([None, None, 3], tf.uint8), tf.TensorSpec([None, None], tf.uint8))


def from_generator(split: CocoSplit, ids: Sequence[int], categories: Sequence[str]):
    """Read one file after the other in Python, and draw each mask from its polygons."""

    def pairs():
        for sample in split.samples(ids, categories):
            yield sample.image, sample.labels

    return tf.data.Dataset.from_generator(pairs, output_signature=PAIR)


def from_files(split: CocoSplit, ids: Sequence[int], categories: Sequence[str]):
    """Read and decode JPEG files in parallel with tf.data; masks are still drawn in Python."""
    recipes = [split.recipe(number, categories) for number in ids]
    paths = tf.data.Dataset.from_tensor_slices([str(recipe.path) for recipe in recipes])

    def pair(number, path):
        labels = tf.numpy_function(lambda n: recipes[n].labels(), [number], tf.uint8)
        return decode_jpeg(tf.io.read_file(path)), tf.ensure_shape(labels, [None, None])

    return paths.enumerate().map(pair, num_parallel_calls=tf.data.AUTOTUNE)


def from_mask_files(split: CocoSplit, ids: Sequence[int], categories: Sequence[str], folder: Path):
    """Draw the masks once, to PNG files in `folder`, and decode both files with tf.data."""
    recipes = [split.recipe(number, categories) for number in ids]
    masks = [folder / f"{number}.png" for number in ids]
    for recipe, mask in zip(recipes, masks, strict=True):
        write_atomically(mask, png_bytes(recipe.labels()))

    def pair(image, mask):
        labels = tf.io.decode_png(tf.io.read_file(mask), channels=1)[..., 0]
        return decode_jpeg(tf.io.read_file(image)), labels

    paths = [str(recipe.path) for recipe in recipes], [str(mask) for mask in masks]
    return tf.data.Dataset.from_tensor_slices(paths).map(pair, num_parallel_calls=tf.data.AUTOTUNE)


def from_records(folder: Path):
    """Read records from first to last, and decode images and masks in parallel."""
    return read_records(folder).map(lambda sample: (sample["image"], sample["labels"]))


def rates(pipelines: dict[str, tf.data.Dataset], seconds: float = 1.0, rounds: int = 3) -> dict:
    """Return the images per second of each pipeline, the best of several rounds.

    The pipelines take turns, so that other work on the machine slows all of them alike. In each
    round a pipeline is repeated for at least `seconds`.
    """
    best = dict.fromkeys(pipelines, 0.0)
    for _ in range(rounds):
        for name, pipeline in pipelines.items():
            best[name] = max(best[name], _rate(pipeline.prefetch(16), seconds))
    return best


def _rate(pipeline: tf.data.Dataset, seconds: float) -> float:
    images, chunk = iter(pipeline.repeat()), tf.constant(32)
    _take(images, chunk)  # the first ones include the time to start threads
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        _take(images, chunk)
        count += int(chunk)
    return count / (time.perf_counter() - start)


@tf.function
def _take(images, count: tf.Tensor) -> None:
    """Take images inside a graph, as a training step does, without arrays for Python."""
    for _ in tf.range(count):
        next(images)


def equal(pipelines: Sequence[tf.data.Dataset]) -> bool:
    """Return whether pipelines deliver the same pairs, in any order.

    Hashes are compared, so that a large data set need not fit into memory.
    """
    contents = [sorted(_digest(*pair) for pair in pipeline) for pipeline in pipelines]
    return all(content == contents[0] for content in contents)


def _digest(image: tf.Tensor, labels: tf.Tensor) -> str:
    digest = hashlib.sha256(repr(tuple(image.shape)).encode())
    digest.update(image.numpy().tobytes())
    digest.update(labels.numpy().tobytes())
    return digest.hexdigest()
