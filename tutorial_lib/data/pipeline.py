"""The input pipeline: from records to shuffled, augmented batches.

Images become float32 from -1 (black) to 1 (white); labels stay uint8. Labels are never
interpolated: no class lies between cat (17) and void (255), so they take the nearest pixel. Random
steps get a seed, int64 [2], and do the same for the same seed.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import tensorflow as tf

from tutorial_lib.data import records
from tutorial_lib.data.images import VOID

EPOCH_STRIDE = 1_000_003  # between the seeds of two epochs


def segmentation_batches(
    folder: Path,
    input_size: int,
    output_size: int,
    batch_size: int,
    seed: int | None = None,
    *,
    scales: tuple[float, float] | None = None,
    epochs: tuple[int, int] | None = None,
) -> tf.data.Dataset:
    """Return batches for a network whose output is smaller than its input, such as U-Net.

    Each image is resized to fit into the output square and extended to the input square by
    reflection padding. Labels and output cover the same pixels.

    Args:
        input_size, output_size: Sides of the network's input and output in pixels.
        batch_size: The last batch of an epoch may be smaller.
        seed: Shuffle and augment with this seed; None for validation.
        scales: Also scale by a random factor (lowest, highest) and shift; only with a seed.
        epochs: (first, end), needed with a seed: one stream of these epochs, of which each depends
            on its number alone, so that training can be resumed.

    Returns:
        Pairs of image float32 (batch, input_size, input_size, 3) and labels uint8
        (batch, output_size, output_size).
    """
    border = (input_size - output_size) // 2

    def prepare(sample, seeds):
        image, labels = sample["image"], sample["labels"]
        if seed is not None and scales:
            image, labels, top, left = random_placement(
                image, labels, output_size, scales, seeds + 7
            )
        else:
            image, labels = resize_to_fit(image, labels, output_size)
            top, left = tf.unstack(-((output_size - tf.shape(labels)) // 2))
        if seed is not None:
            image, labels = augment(image, labels, seeds)
        image = reflection_crop(image, top - border, left - border, input_size)
        labels = void_crop(labels, top, left, output_size)
        image = tf.ensure_shape(image, (input_size, input_size, 3))
        return image, tf.ensure_shape(labels, (output_size, output_size))

    return _batches(folder, prepare, batch_size, seed, epochs)


def crop_batches(
    folder: Path,
    size: int,
    batch_size: int,
    seed: int,
    *,
    scales: tuple[float, float] = (0.75, 1.33),
    weights: np.ndarray | None = None,
    keep: np.ndarray | None = None,
    augmented: bool = True,
    epochs: tuple[int, int],
) -> tf.data.Dataset:
    """Return shuffled, augmented square crops for a network whose output is as large as its input.

    Args:
        batch_size, seed: As for `segmentation_batches`.
        scales: Scale each image by a random factor (lowest, highest) first.
        weights: float (records,), see `sampling_weights`; some images then come more often.
        keep: float (256,), see `keep_probabilities`; the labels of other pixels become void.
        augmented: Also flip, and change brightness and contrast.
        epochs: As for `segmentation_batches`.

    Returns:
        Pairs of image float32 (batch, size, size, 3) and labels uint8 (batch, size, size).
    """

    def prepare(sample, seeds):
        image = tf.cast(sample["image"], tf.float32) / 127.5 - 1.0
        image, labels = random_crop(image, sample["labels"], size, seeds, scales)
        if augmented:
            image, labels = augment(image, labels, seeds + 1)
        if keep is not None:
            labels = subsample_pixels(labels, keep, seeds + 2)
        return tf.ensure_shape(image, (size, size, 3)), tf.ensure_shape(labels, (size, size))

    return _batches(folder, prepare, batch_size, seed, epochs, weights)


def _batches(folder: Path, prepare: Callable, batch_size: int, seed, epochs, weights=None):
    """Shuffle, prepare in parallel, batch and prefetch; random steps differ in each epoch."""

    def one_epoch(epoch) -> tf.data.Dataset:
        order = None if seed is None else epoch * EPOCH_STRIDE + seed
        if not tf.executing_eagerly():
            # Of the graph of this function alone. Without it the order would depend on the global
            # seed as well, and shuffling by a tensor would fail where that is 0.
            tf.random.set_seed(1)
        repeats = None if weights is None else draw_repeats(weights, order)
        dataset = records.read_records(folder, order, repeats).enumerate()
        dataset = dataset.map(
            lambda place, sample: prepare(
                sample, tf.stack([epoch * EPOCH_STRIDE + place, seed or 0])
            ),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
        return dataset.batch(batch_size)

    if epochs is None:
        return one_epoch(tf.constant(0, tf.int64)).prefetch(tf.data.AUTOTUNE)
    return tf.data.Dataset.range(*epochs).flat_map(one_epoch).prefetch(tf.data.AUTOTUNE)


def resize_to_fit(image: tf.Tensor, labels: tf.Tensor, size: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Resize a uint8 image and its labels so that the longer side has `size` pixels."""
    shape = tf.shape(image)[:2]
    scale = size / tf.reduce_max(shape)
    target = tf.maximum(1, tf.cast(tf.round(tf.cast(shape, tf.float64) * scale), tf.int32))
    image = tf.image.resize(image, target, antialias=True) / 127.5 - 1.0
    labels = tf.image.resize(labels[..., None], target, method="nearest")[..., 0]
    return tf.clip_by_value(image, -1.0, 1.0), labels


def reflection_crop(image: tf.Tensor, top: tf.Tensor, left: tf.Tensor, size: int) -> tf.Tensor:
    """Cut out a square whose corner is at (top, left), with reflection padding outside the image.

    `tf.pad` reflects once at most; here a thin image is reflected as often as needed.
    """
    for axis, start in ((0, top), (1, left)):
        length = tf.shape(image)[axis]
        # The edge pixel is not repeated, so positions have the period 2 (length - 1).
        period = tf.maximum(2 * (length - 1), 1)
        positions = tf.math.floormod(tf.range(size) + start, period)
        image = tf.gather(image, tf.minimum(positions, period - positions), axis=axis)
    return image


def void_crop(labels: tf.Tensor, top: tf.Tensor, left: tf.Tensor, size: int) -> tf.Tensor:
    """Cut the same square as `reflection_crop` out of a label map; outside of it is void."""
    for axis, start in ((0, top), (1, left)):
        length = tf.shape(labels)[axis]
        positions = tf.range(size) + start
        inside = (positions >= 0) & (positions < length)
        labels = tf.gather(labels, tf.clip_by_value(positions, 0, length - 1), axis=axis)
        inside = inside[:, None] if axis == 0 else inside[None]
        labels = tf.where(inside, labels, tf.cast(VOID, labels.dtype))
    return labels


def augment(image: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor):
    """Flip image and labels left to right at random; change brightness and contrast at random."""
    flip, gain, shift = tf.unstack(tf.random.stateless_uniform([3], seed))
    image = tf.cond(flip < 0.5, lambda: tf.reverse(image, [1]), lambda: image)
    labels = tf.cond(flip < 0.5, lambda: tf.reverse(labels, [1]), lambda: labels)
    image = image * (0.7 + 0.6 * gain) + 0.6 * (shift - 0.5)
    return tf.clip_by_value(image, -1.0, 1.0), labels


def random_crop(image: tf.Tensor, labels: tf.Tensor, size: int, seed: tf.Tensor, scales):
    """Scale by a random factor (lowest, highest) and cut out a random square.

    Where the image is smaller than the square, it is padded with gray and its labels with void.
    """
    draw = tf.random.stateless_uniform([3], seed)
    scale = scales[0] * (scales[1] / scales[0]) ** draw[0]
    target = tf.cast(tf.round(tf.cast(tf.shape(labels), tf.float32) * scale), tf.int32)
    image = tf.image.resize(image, target, antialias=True)
    labels = tf.image.resize(labels[..., None], target, method="nearest")[..., 0]
    missing = tf.maximum(size - target, 0)
    padding = tf.stack([missing // 2, missing - missing // 2], axis=1)
    image = tf.pad(image, tf.concat([padding, [[0, 0]]], axis=0))
    labels = tf.pad(labels, padding, constant_values=VOID)
    room = tf.cast(tf.shape(labels) - size + 1, tf.float32)
    top, left = tf.unstack(tf.cast(draw[1:] * room, tf.int32))
    return image[top : top + size, left : left + size], labels[top : top + size, left : left + size]


def random_placement(image: tf.Tensor, labels: tf.Tensor, size: int, scales, seed: tf.Tensor):
    """Resize by a random factor, where 1 fits into a square of `size`, and place the square.

    The result is (image, labels, top, left) with the corner of the square in the resized image,
    which is negative where the square extends beyond the image.
    """
    draw = tf.random.stateless_uniform([3], seed)
    scale = scales[0] * (scales[1] / scales[0]) ** draw[0]
    image, labels = resize_to_fit(image, labels, tf.cast(tf.round(size * scale), tf.int32))
    room = tf.cast(size - tf.shape(labels), tf.float32)  # negative where the image is larger
    top, left = tf.unstack(tf.cast(tf.round(-room * draw[1:]), tf.int32))
    return image, labels, top, left


def class_pixels(folder: Path) -> np.ndarray:
    """Count the pixels of each label in each record: int64 (records, 256), in file order."""
    samples = records.read_records(folder).as_numpy_iterator()
    return np.array([np.bincount(s["labels"].ravel(), minlength=VOID + 1) for s in samples])


def sampling_weights(pixels: np.ndarray, power: float = 1.0) -> np.ndarray:
    """Return the inverse frequency of the rarest class of each record, to a power.

    The pixels come from `class_pixels`; the weights are float64 (records,). The frequency of a
    class is the share of records that contain it. A record whose labels are all void weighs 1, and
    a power of 0 weighs all records alike.
    """
    present = pixels[:, :VOID] > 0
    frequency = np.maximum(present.mean(axis=0), 1e-9)
    return np.max(np.where(present, 1 / frequency, 1.0), axis=1) ** power


def draw_repeats(weights: np.ndarray, seed) -> tf.Tensor:
    """Draw how often each record comes in an epoch: int64 (records,), as many as there are in all.

    This is systematic sampling. The weights lie on a line end to end, and equally spaced points
    with a random offset select from it, so each number is within one of its expected value.
    """
    share = np.asarray(weights, float) / np.sum(weights) * len(weights)
    ends = tf.constant(np.append(0.0, np.cumsum(share)[:-1]), tf.float64)
    offset = tf.random.stateless_uniform([], [seed, 3], dtype=tf.float64)
    points = tf.concat([tf.math.ceil(ends - offset), [len(weights)]], axis=0)
    return tf.cast(points[1:] - points[:-1], tf.int64)


def keep_probabilities(pixels: np.ndarray, power: float) -> np.ndarray:
    """Return the share of pixels of each class to keep in a class-balanced subset of pixels.

    A loss over the subset is, in expectation, a loss with class weights 1 / frequency^power, so
    the frequent background no longer dominates. The pixels come from `class_pixels`. A power of 0
    keeps all of them, and 1 makes all classes as frequent as the rarest. The result is
    float64 (256,): 1 for the rarest class, void and classes that do not occur.
    """
    totals = pixels.sum(axis=0).astype(float)
    totals[VOID] = 0
    found = totals > 0
    shares = np.ones(VOID + 1)
    shares[found] = (totals[found].min() / totals[found]) ** power
    return shares


def subsample_pixels(labels: tf.Tensor, keep: np.ndarray, seed: tf.Tensor) -> tf.Tensor:
    """Keep each label with the probability of its class, float (256,); the others become void."""
    shares = tf.gather(tf.constant(keep, tf.float32), tf.cast(labels, tf.int32))
    kept = tf.random.stateless_uniform(tf.shape(labels), seed) < shares
    return tf.where(kept, labels, tf.cast(VOID, labels.dtype))
