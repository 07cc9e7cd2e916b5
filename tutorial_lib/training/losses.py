"""Losses for segmentation, all of which leave void pixels out.

Dice: Milletari, Navab & Ahmadi, "V-Net", 3DV 2016, section 3, there with squares in the
denominator. Weight maps: Ronneberger, Fischer & Brox, "U-Net", MICCAI 2015, section 3.
"""

from __future__ import annotations

import numpy as np
from keras import ops

from tutorial_lib.data.images import VOID
from tutorial_lib.errors import InputError


def pixel_cross_entropy(labels, logits, smoothing: float = 0.0):
    """Return the softmax cross-entropy over classes, averaged over all pixels but void.

    Args:
        labels: (batch, height, width): class numbers, or 255 for void.
        logits: float (batch, height, width, classes).
        smoothing: Probability that the target distributes evenly over all classes.
    """
    logits = ops.cast(logits, "float32")
    labels, counted = split_void(labels, classes=logits.shape[-1])
    # -log softmax = log Σ exp(all scores) - the score of the true class.
    true_score = ops.sum(ops.one_hot(labels, logits.shape[-1]) * logits, axis=-1)
    target = (1 - smoothing) * true_score + smoothing * ops.mean(logits, axis=-1)
    losses = (ops.logsumexp(logits, axis=-1) - target) * counted
    return ops.sum(losses) / ops.maximum(ops.sum(counted), 1.0)


def binary_cross_entropy(labels, logits, weights=1.0):
    """Return the cross-entropy of one class against the background, averaged over all but void.

    Args:
        labels: (batch, height, width): 0, 1, or 255 for void.
        logits: float (batch, height, width, 1).
        weights: Of the pixels in the mean: float (batch, height, width), or one number.
    """
    labels, counted = split_void(labels, classes=2)
    logits = ops.reshape(ops.cast(logits, "float32"), ops.shape(labels))
    targets = ops.cast(labels, "float32")
    # This form of -t log σ(x) - (1 - t) log(1 - σ(x)) cannot overflow.
    losses = ops.relu(logits) - logits * targets + ops.log1p(ops.exp(-ops.abs(logits)))
    weights = ops.cast(weights, "float32") * counted
    return ops.sum(losses * weights) / ops.maximum(ops.sum(weights), 1e-9)


def dice_loss(labels, logits):
    """Return 1 - Dice of the probabilities, over all pixels of the batch that are not void.

    Dice is twice the intersection divided by the sum of the two areas. Unlike cross-entropy it
    ignores background that is predicted as background, so it rewards the overlap that IoU measures.

    Args:
        labels: (batch, height, width): 0, 1, or 255 for void.
        logits: float (batch, height, width, 1).

    Returns:
        A number from 0 (perfect) to 1. Numerator and denominator are increased by 1, so that the
        loss of a batch without objects is 0 when none is predicted.
    """
    labels, counted = split_void(labels, classes=2)
    logits = ops.reshape(ops.cast(logits, "float32"), ops.shape(labels))
    truth = ops.cast(labels, "float32") * counted
    probability = ops.sigmoid(logits) * counted
    overlap = 2 * ops.sum(probability * truth)
    return 1 - (overlap + 1) / (ops.sum(probability) + ops.sum(truth) + 1)


def cross_entropy_and_dice(labels, logits):
    """Return binary cross-entropy, whose gradient is steady, plus Dice, which measures overlap."""
    return binary_cross_entropy(labels, logits) + dice_loss(labels, logits)


def balanced_binary_cross_entropy(labels, logits):
    """Return binary cross-entropy in which both classes have the same weight in each batch."""
    classes, counted = split_void(labels, classes=2)
    foreground = ops.cast(classes, "float32") * counted
    background = counted - foreground
    weights = sum(part / ops.maximum(ops.sum(part), 1.0) for part in (background, foreground))
    return binary_cross_entropy(labels, logits, weights)


def split_void(labels, classes: int):
    """Return int32 labels in which void is class 0, and float32 weights: 0 for void, else 1.

    A label that is neither a class nor void gets the weight NaN. So no loss can count it without
    notice, also in a compiled graph, which cannot raise an error of ours; `loop.train` stops then.
    Raises InputError if there is such a label, and the labels are at hand and not symbolic.
    """
    labels = ops.cast(labels, "int32")
    void = ops.equal(labels, VOID)
    wrong = ops.logical_or(labels < 0, labels >= classes)
    wrong = ops.logical_and(wrong, ops.logical_not(void))
    if hasattr(wrong, "numpy") and np.any(wrong.numpy()):
        found = np.unique(labels.numpy()[wrong.numpy()])[:5]
        raise InputError(f"labels must be 0 to {classes - 1}, or {VOID} for void; found {found}")
    counted = ops.where(wrong, float("nan"), ops.where(void, 0.0, 1.0))
    return ops.where(void, 0, labels), counted


def class_weights(labels: np.ndarray) -> np.ndarray:
    """Return weights that make up for unequal areas of the classes: w_c of U-Net's equation 2.

    Labels, uint8 (height, width), are classes or 255 for void; weights are float32 (height, width).
    Those of each class that occurs have the same sum, and void has 0. The mean over all other
    pixels is 1.
    """
    classes, counts = np.unique(labels[labels != VOID], return_counts=True)
    weights = np.zeros(labels.shape, np.float32)
    for value, count in zip(classes, counts, strict=True):
        weights[labels == value] = counts.sum() / (len(classes) * count)
    return weights


def border_weights(labels: np.ndarray, strength: float = 10.0, sigma: float = 5.0) -> np.ndarray:
    """Return U-Net's weight map, which is highest in the gaps between neighboring objects.

    w(x) = w_c(x) + w_0 exp(-(d_1(x) + d_2(x))² / 2σ²), with the distances d_1 and d_2 from a
    background pixel to the nearest and the second nearest object (equation 2).

    Args:
        labels: uint8 (height, width): 0, 1, or 255. Each connected part of 1 is an object.
        strength: w_0.
        sigma: σ in pixels.

    Returns:
        float32 (height, width), 0 where the label is void.

    Raises:
        InputError: if σ is not positive.
    """
    from scipy import ndimage

    if not sigma > 0:
        raise InputError(f"sigma={sigma} must be a positive number of pixels")
    weights = class_weights(labels)
    parts, count = ndimage.label(labels == 1)
    if count < 2:
        return weights
    nearest = np.full((2, *labels.shape), np.inf)
    for part in range(1, count + 1):
        distance = ndimage.distance_transform_edt(parts != part)
        nearest = np.sort(np.concatenate([nearest, distance[None]]), axis=0)[:2]
    gaps = strength * np.exp(-(nearest.sum(axis=0) ** 2) / (2 * sigma**2))
    return (weights + gaps * (labels == 0)).astype(np.float32)


def with_border_weights(batches):
    """Return batches whose labels carry `border_weights`, for `border_weighted_cross_entropy`.

    From tf.data pairs of images and uint8 labels (batch, height, width) it makes pairs of images
    and float32 (batch, height, width, 2): label, weight.
    """
    import tensorflow as tf

    def weights_of(labels):
        return np.stack([border_weights(label) for label in labels])

    def pack(images, labels):
        weights = tf.numpy_function(weights_of, [labels], tf.float32)
        weights = tf.ensure_shape(weights, labels.shape)
        return images, tf.stack([tf.cast(labels, tf.float32), weights], axis=-1)

    return batches.map(pack, num_parallel_calls=tf.data.AUTOTUNE)


def border_weighted_cross_entropy(labels, logits):
    """Return binary cross-entropy with the weights that `with_border_weights` put beside labels."""
    return binary_cross_entropy(labels[..., 0], logits, labels[..., 1])
