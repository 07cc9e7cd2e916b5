"""A fully connected conditional random field that draws a net's outlines along the picture's edges.

Krähenbühl & Koltun, "Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials",
NeurIPS 2011. Their kernel adds two Gaussians: one over place and color (*appearance*: near pixels
of like color are likely to have one label), one over place alone (*smoothness*: specks are not).

The paper sums over all pairs of pixels by filtering in a permutohedral lattice. Here every pixel
hears a fixed number of *anchors* instead, pixels on a regular grid: a matrix product with a
matrix of pixels × anchors. With a grid of one pixel that is the exact sum, which the tests compare
with a double loop; with a coarser one it is an estimate of it, linear in the number of pixels.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from tutorial_lib.errors import InputError

LEAST = 0.01  # probability that a class must reach somewhere to be considered
CHUNK = 4_000_000  # entries of the kernel matrix that are computed at a time
KEPT = 64_000_000  # entries, a quarter of a gigabyte, up to which it is kept from round to round


def refine(
    logits: np.ndarray,
    image: np.ndarray,
    *,
    iterations: int = 5,
    appearance: float = 4.0,
    reach: float = 30.0,
    contrast: float = 20.0,
    smoothness: float = 2.0,
    near: float = 2.0,
    anchors: int = 600,
) -> np.ndarray:
    """Refine class scores by mean field inference (the paper's algorithm 1, Potts model).

    Each round, every pixel takes the average of the others' beliefs, weighted by how near and how
    alike in color they are, and adds it to its own scores.

    Args:
        logits: float (height, width, classes).
        image: uint8 (height, width, 3), the same pixels.
        iterations: Rounds; the paper finds that ten are enough, most happens in the first few.
        appearance, smoothness: Weights of the two kernels, w(1) and w(2) in the paper.
        reach, contrast: The appearance kernel's standard deviations, in pixels and in gray levels.
        near: The smoothness kernel's standard deviation in pixels.
        anchors: About how many pixels each one hears over the appearance kernel.

    Returns:
        Probabilities, float32 (height, width, classes); 0 for classes that are nowhere likely.

    Raises:
        InputError: if the shapes do not fit, or a number is not positive.
    """
    logits = np.asarray(logits, np.float32)
    if logits.ndim != 3 or image.shape != (*logits.shape[:2], 3):
        raise InputError(
            f"logits {logits.shape} and image {image.shape} must cover the same pixels"
        )
    if min(iterations, reach, contrast, near, anchors) <= 0:
        raise InputError("iterations, reach, contrast, near and anchors must be positive")
    grid = anchor_grid(logits.shape[:2], anchors)
    features = _features(image, reach, contrast)
    beliefs, kept = softmax(logits), []
    # A class that no pixel believes in will not come up by asking around: leave it out.
    likely = beliefs.max(axis=(0, 1)) >= LEAST
    logits, beliefs = logits[..., likely], beliefs[..., likely]
    for _ in range(iterations):
        heard = appearance * appearance_message(beliefs, features, grid, kept)
        heard += smoothness * smoothness_message(beliefs, near)
        beliefs = softmax(logits + heard)
    whole = np.zeros((*beliefs.shape[:2], len(likely)), np.float32)
    whole[..., likely] = beliefs
    return whole


def refine_scores(logits: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Return refined *scores*, logarithms of `refine`'s probabilities, with its own settings."""
    return np.log(np.maximum(refine(logits, image), 1e-7))


def appearance_message(beliefs: np.ndarray, features: np.ndarray, grid, kept=None) -> np.ndarray:
    """Return, for each pixel, the weighted mean of the anchors' beliefs, itself left out.

    Args:
        beliefs: float32 (height, width, classes).
        features: float32 (height, width, 5); the weight of two pixels is exp(-distance² / 2).
        grid: As of `anchor_grid`.
        kept: A list that keeps the weights, which are the same in every round; filled by the first
            call, read by the others. Left empty if they would take too much memory.

    Raises:
        InputError: if there is no class.
    """
    height, width, classes = beliefs.shape
    if not classes:
        raise InputError(
            f"no class is {LEAST:.0%} likely anywhere; refine the logits of a net that is trained"
        )
    index = (grid[0][:, None] * width + grid[1]).ravel()
    heard = beliefs.reshape(-1, classes)[index]
    if kept:
        return np.concatenate([weights @ heard for weights in kept]).reshape(beliefs.shape)
    message = []
    step = max(1, CHUNK // len(index))
    keep = kept is not None and height * width * len(index) <= KEPT
    for start in range(0, height * width, step):
        weights = _weights(features.reshape(-1, features.shape[-1]), index, start, start + step)
        message.append(weights @ heard)
        if keep:
            kept.append(weights)
    return np.concatenate(message).reshape(beliefs.shape)


def _weights(features: np.ndarray, index: np.ndarray, start: int, stop: int) -> np.ndarray:
    """Return the weights of all anchors for some pixels, float32; each row adds up to one."""
    part, anchors = features[start:stop], features[index]
    # -|a - b|² / 2 by the binomial formula: one matrix product instead of a difference each.
    weights = part @ anchors.T
    weights -= 0.5 * (anchors**2).sum(axis=1)
    weights -= 0.5 * (part**2).sum(axis=1)[:, None]
    np.exp(np.minimum(weights, 0, out=weights), out=weights)
    own = np.flatnonzero((index >= start) & (index < stop))
    weights[index[own] - start, own] = 0
    weights /= np.maximum(weights.sum(axis=1, keepdims=True), 1e-12)
    return weights


def smoothness_message(beliefs: np.ndarray, near: float) -> np.ndarray:
    """Return, for each pixel, the Gaussian mean of the beliefs around it, itself left out.

    A Gaussian over place alone is separable: two short filters, rows then columns.
    """

    def blur(values):
        return ndimage.gaussian_filter(values, (near, near, 0), mode="constant", truncate=4.0)

    impulse = np.zeros((2 * int(4 * near + 0.5) + 1,) * 2 + (1,), np.float32)
    impulse[len(impulse) // 2, len(impulse) // 2] = 1
    center = blur(impulse).max()
    total = blur(np.ones((*beliefs.shape[:2], 1), np.float32)) - center
    return (blur(beliefs) - center * beliefs) / np.maximum(total, 1e-12)


def anchor_grid(size: tuple[int, int], anchors: int) -> tuple[np.ndarray, np.ndarray]:
    """Return rows and columns of a regular grid of about so many pixels, centered."""
    step = max(1, round(np.sqrt(size[0] * size[1] / anchors)))
    return tuple(np.arange((side - 1) % step // 2, side, step) for side in size)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return probabilities over the last axis.

    Raises:
        InputError: if there are none: the largest of the logits is infinite or no number.
    """
    largest = logits.max(axis=-1, keepdims=True)
    if not np.isfinite(largest).all():
        raise InputError("the logits must be finite numbers; did the training diverge?")
    powers = np.exp(logits - largest)
    return powers / powers.sum(axis=-1, keepdims=True)


def _features(image: np.ndarray, reach: float, contrast: float) -> np.ndarray:
    """Return place and color of each pixel in units of the kernel's standard deviations."""
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    features = np.dstack([y / reach, x / reach, image / contrast])
    # Only differences count; small numbers keep their float32 digits.
    return (features - features.mean(axis=(0, 1))).astype(np.float32)
