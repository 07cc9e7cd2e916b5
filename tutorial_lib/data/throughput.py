"""Three ways to bring pictures and labels to a net, and a stopwatch.

All three deliver the same pairs; they differ in what they read and who does the work.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf

from tutorial_lib.data import records
from tutorial_lib.data.coco import CocoSplit

PAIR = (tf.TensorSpec([None, None, 3], tf.uint8), tf.TensorSpec([None, None], tf.uint8))


def from_generator(split: CocoSplit, ids: Sequence[int], categories: Sequence[str]):
    """Read file after file in Python, one at a time, and draw each mask from its outlines."""

    def pairs():
        for sample in split.samples(ids, categories):
            yield sample.image, sample.labels

    return tf.data.Dataset.from_generator(pairs, output_signature=PAIR)


def from_files(split: CocoSplit, ids: Sequence[int], categories: Sequence[str]):
    """Read and decode files in parallel by tf.data; the masks are still drawn in Python."""
    recipes = [split.recipe(number, categories) for number in ids]
    paths = tf.data.Dataset.from_tensor_slices([str(recipe.path) for recipe in recipes])

    def pair(number, path):
        image = tf.io.decode_jpeg(tf.io.read_file(path), channels=3, dct_method="INTEGER_ACCURATE")
        labels = tf.numpy_function(lambda n: recipes[n].labels(), [number], tf.uint8)
        return image, tf.ensure_shape(labels, [None, None])

    numbered = tf.data.Dataset.zip(tf.data.Dataset.range(len(recipes)), paths)
    return numbered.map(pair, num_parallel_calls=tf.data.AUTOTUNE)


def from_records(folder: Path):
    """Read records from front to end, and decode pictures and masks in parallel."""
    return records.read_records(folder).map(lambda sample: (sample["image"], sample["labels"]))


def decoding(paths: Sequence[Path]):
    """Decode JPEG pictures that are in memory already: no feed can be faster than this."""
    files = tf.data.Dataset.from_tensor_slices([path.read_bytes() for path in paths])
    return files.map(
        lambda file: tf.io.decode_jpeg(file, channels=3, dct_method="INTEGER_ACCURATE"),
        num_parallel_calls=tf.data.AUTOTUNE,
    )


def rates(feeds: dict[str, tf.data.Dataset], seconds: float = 1.0, rounds: int = 3) -> dict:
    """Measure how many pictures a second each feed delivers.

    The feeds take turns, so that a machine that is busy for a while slows all of them; the best
    round of each counts. Each round reads the feed again and again for at least `seconds`.

    Returns:
        Name → pictures a second.
    """
    best = dict.fromkeys(feeds, 0.0)
    for _ in range(rounds):
        for name, feed in feeds.items():
            best[name] = max(best[name], _rate(feed.prefetch(16), seconds))
    return best


def _rate(feed: tf.data.Dataset, seconds: float) -> float:
    pictures, some = iter(feed.repeat()), tf.constant(32)
    _take(pictures, some)  # the first ones pay for setting things up
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < seconds:
        _take(pictures, some)
        count += int(some)
    return count / (time.perf_counter() - start)


@tf.function
def _take(pictures, count: tf.Tensor) -> None:
    """Take pictures inside a graph, as a training step does: no arrays are made for Python."""
    for _ in tf.range(count):
        next(pictures)


def equal(feeds: Sequence[tf.data.Dataset]) -> bool:
    """Say whether feeds deliver the same pairs, in any order.

    Digests are compared, so that a large data set need not fit into memory.
    """
    contents = [sorted(_digest(image, labels) for image, labels in feed) for feed in feeds]
    return all(content == contents[0] for content in contents)


def _digest(image: tf.Tensor, labels: tf.Tensor) -> str:
    digest = hashlib.sha256(repr(tuple(image.shape)).encode())
    digest.update(image.numpy().tobytes())
    digest.update(labels.numpy().tobytes())
    return digest.hexdigest()
