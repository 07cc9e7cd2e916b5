"""Losses and weights beside plain cross-entropy.

Dice: Milletari, Navab & Ahmadi, "V-Net", 3DV 2016, section 3, where the terms below the line are
squared. Weights: Ronneberger, Fischer & Brox, "U-Net", MICCAI 2015, section 3.
"""

from __future__ import annotations

import numpy as np
from keras import ops

from tutorial_lib.data.images import VOID
from tutorial_lib.errors import InputError


def binary_cross_entropy(labels, logits):
    """Return the cross-entropy of one class against the background, void pixels left out.

    Args:
        labels: (batch, height, width): 0, 1, or 255 for void.
        logits: float (batch, height, width, 1).

    Returns:
        The mean over all pixels of the batch that are not void; 0 if all are.
    """
    weights, labels = _weights_and_classes(labels)
    # Keras may have dropped the last axis of the logits already.
    logits = ops.reshape(ops.cast(logits, "float32"), ops.shape(labels))
    targets = ops.cast(labels, "float32")
    # log(1 + e^-|x|) cannot overflow, unlike log(sigmoid(x)).
    losses = ops.relu(logits) - logits * targets + ops.log1p(ops.exp(-ops.abs(logits)))
    return ops.sum(losses * weights) / ops.maximum(ops.sum(weights), 1.0)


def pixel_cross_entropy(labels, logits):
    """Return the softmax cross-entropy over classes, void pixels left out.

    Args:
        labels: (batch, height, width): class numbers, or 255 for void.
        logits: float (batch, height, width, classes).

    Returns:
        The mean over all pixels of the batch that are not void; 0 if all are.
    """
    labels, logits = ops.cast(labels, "int32"), ops.cast(logits, "float32")
    seen = ops.cast(ops.not_equal(labels, VOID), "float32")
    # -log softmax = log Σ exp(all scores) - the score of the right class. Void, class 255, is a
    # row of zeros in one-hot form.
    right = ops.sum(ops.one_hot(labels, ops.shape(logits)[-1]) * logits, axis=-1)
    losses = ops.logsumexp(logits, axis=-1) * seen - right
    return ops.sum(losses) / ops.maximum(ops.sum(seen), 1.0)


def _weights_and_classes(labels):
    """Return weight 0 for void and 1 for all else, and labels with void replaced by class 0."""
    labels = ops.cast(labels, "int32")
    seen = ops.not_equal(labels, VOID)
    return ops.cast(seen, "float32"), ops.where(seen, labels, 0)


def dice_loss(labels, logits):
    """Return 1 - Dice of the probabilities, over all pixels of the batch that are not void.

    Dice is twice the intersection over the sum of the two areas. Unlike cross-entropy it does not
    count the background that both leave alone, so it asks for the overlap that IoU measures.

    Args:
        labels: (batch, height, width): 0, 1, or 255 for void.
        logits: float (batch, height, width, 1).

    Returns:
        A number from 0, all right, to 1. One pixel is added to both sides, so that a batch with
        nothing to find has a loss of 0 for finding nothing.
    """
    seen, truth, logits = _pieces(labels, logits)
    probability = ops.sigmoid(logits) * seen
    overlap = 2 * ops.sum(probability * truth)
    return 1 - (overlap + 1) / (ops.sum(probability) + ops.sum(truth) + 1)


def cross_entropy_and_dice(labels, logits):
    """Return binary cross-entropy plus `dice_loss`: one is steady, the other to the point."""
    return binary_cross_entropy(labels, logits) + dice_loss(labels, logits)


def weighted_binary_cross_entropy(labels, logits, weights):
    """Return binary cross-entropy with a weight for each pixel, void left out.

    Args:
        labels, logits: As for `binary_cross_entropy`.
        weights: float (batch, height, width), as from `border_weights`.

    Returns:
        The weighted mean; 0 if all weights are.
    """
    seen, truth, logits = _pieces(labels, logits)
    weights = ops.cast(weights, "float32") * seen
    losses = ops.relu(logits) - logits * truth + ops.log1p(ops.exp(-ops.abs(logits)))
    return ops.sum(losses * weights) / ops.maximum(ops.sum(weights), 1e-9)


def balanced_binary_cross_entropy(labels, logits):
    """Return binary cross-entropy in which both classes weigh the same in each batch."""
    seen, truth, _ = _pieces(labels, logits)
    shares = [ops.maximum(ops.sum(part), 1.0) for part in (seen - truth, truth)]
    weights = (seen - truth) / shares[0] + truth / shares[1]
    return weighted_binary_cross_entropy(labels, logits, weights)


def _pieces(labels, logits):
    """Return what is not void, what is the object, and the logits, all float32 (batch, h, w)."""
    labels = ops.cast(labels, "int32")
    seen = ops.cast(ops.not_equal(labels, VOID), "float32")
    truth = ops.cast(ops.equal(labels, 1), "float32")
    return seen, truth, ops.reshape(ops.cast(logits, "float32"), ops.shape(labels))


def class_weights(labels: np.ndarray) -> np.ndarray:
    """Return weights that make up for unequal areas: w_c of the paper's equation 2.

    Args:
        labels: uint8 (height, width): classes, 255 void.

    Returns:
        float32 (height, width): the weights of each class that occurs have the same sum, so that
        none counts more than another; their mean over all pixels but void is 1; void has 0.
    """
    classes, counts = np.unique(labels[labels != VOID], return_counts=True)
    weights = np.zeros(labels.shape, np.float32)
    for value, count in zip(classes, counts, strict=True):
        weights[labels == value] = counts.sum() / (len(classes) * count)
    return weights


def border_weights(labels: np.ndarray, strength: float = 10.0, sigma: float = 5.0) -> np.ndarray:
    """Return the paper's weight map: the gaps between neighboring objects count most.

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


def with_border_weights(batches, strength: float = 10.0, sigma: float = 5.0):
    """Return batches whose labels carry `border_weights`, for `border_weighted_cross_entropy`.

    Args:
        batches: tf.data pairs of pictures and uint8 labels (batch, height, width), as from
            `pipeline.segmentation_batches`.
        strength, sigma: As for `border_weights`.

    Returns:
        tf.data pairs of pictures and float32 (batch, height, width, 2): label, weight.
    """
    import tensorflow as tf

    def maps(labels):
        return np.stack([border_weights(label, strength, sigma) for label in labels])

    def pack(pictures, labels):
        weights = tf.ensure_shape(tf.numpy_function(maps, [labels], tf.float32), labels.shape)
        return pictures, tf.stack([tf.cast(labels, tf.float32), weights], axis=-1)

    return batches.map(pack, num_parallel_calls=tf.data.AUTOTUNE)


def border_weighted_cross_entropy(labels, logits):
    """Return binary cross-entropy with the weights that `with_border_weights` put beside labels."""
    return weighted_binary_cross_entropy(labels[..., 0], logits, labels[..., 1])
