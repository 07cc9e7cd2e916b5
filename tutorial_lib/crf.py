"""A fully connected conditional random field (CRF) that moves boundaries to edges of the image.

Krähenbühl & Koltun, "Efficient Inference in Fully Connected CRFs with Gaussian Edge Potentials",
NeurIPS 2011. Their kernel is the sum of two Gaussians: *appearance*, over position and color (near
pixels of similar color probably have one label), and *smoothness*, over position alone.

The paper sums over all pairs of pixels by filtering in a permutohedral lattice. Here every pixel
receives messages from a fixed number of *anchors* only, pixels on a regular grid, so that the sum
is one matrix product. If every pixel is an anchor the sum is exact; else it is an estimate.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage, special

from tutorial_lib.errors import InputError

LEAST = 0.01  # probability that a class must reach somewhere to be considered
MOST_WEIGHTS = 128_000_000  # of the appearance kernel: half a gigabyte


def refine(
    logits: np.ndarray,
    image: np.ndarray,
    *,
    iterations: int = 5,
    appearance: float = 4.0,
    position_sigma: float = 30.0,
    color_sigma: float = 20.0,
    smoothness: float = 2.0,
    smoothness_sigma: float = 2.0,
    anchors: int = 600,
) -> np.ndarray:
    """Refine class scores by mean-field inference (the paper's algorithm 1, Potts model).

    In each iteration every pixel receives the weighted mean of the others' class probabilities and
    adds it to its own logits. Near pixels of similar color have the largest weights.

    Args:
        logits: float (height, width, classes).
        image: uint8 (height, width, 3), the same pixels.
        iterations: Ten are enough in the paper; the first few change most.
        appearance, smoothness: Weights of the two kernels, w(1) and w(2) in the paper.
        position_sigma, color_sigma: Standard deviations of the appearance kernel, in pixels and in
            gray levels: θ_α and θ_β.
        smoothness_sigma: Standard deviation of the smoothness kernel in pixels: θ_γ.
        anchors: Approximate number of anchors; fewer if the image is very large.

    Returns:
        Probabilities, float32 (height, width, classes); 0 for classes that are likely nowhere.

    Raises:
        InputError: if the shapes do not match, or a number is not positive.
    """
    logits = np.asarray(logits, np.float32)
    if logits.ndim != 3 or image.shape != (*logits.shape[:2], 3):
        raise InputError(
            f"logits {logits.shape} and image {image.shape} must cover the same pixels"
        )
    if min(iterations, position_sigma, color_sigma, smoothness_sigma, anchors) <= 0:
        raise InputError("iterations, anchors and standard deviations must be positive")
    kernel, grid = appearance_kernel(image, position_sigma, color_sigma, anchors)
    q = softmax(logits)
    likely = q.max(axis=(0, 1)) >= LEAST  # messages do not make other classes likely
    if not likely.any():
        raise InputError(
            f"no class is {LEAST:.0%} likely anywhere; refine the logits of a trained network"
        )
    logits, q = logits[..., likely], q[..., likely]
    for _ in range(iterations):
        message = appearance * (kernel @ q.reshape(-1, q.shape[-1])[grid]).reshape(q.shape)
        message += smoothness * smoothness_message(q, smoothness_sigma)
        q = softmax(logits + message)
    probabilities = np.zeros((*q.shape[:2], len(likely)), np.float32)
    probabilities[..., likely] = q
    return probabilities


def refine_scores(logits: np.ndarray, image: np.ndarray) -> np.ndarray:
    """Return the logarithms of the probabilities of `refine` with its default settings."""
    return np.log(np.maximum(refine(logits, image), 1e-7))


def appearance_kernel(
    image: np.ndarray, position_sigma: float, color_sigma: float, anchors: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the weight of each anchor for each pixel, and the anchors' places.

    The weights, float32 (pixels, anchors), add up to one for each pixel, itself left out; the
    places, int (anchors,), are those in the flattened image.
    """
    height, width = image.shape[:2]
    anchors = min(anchors, MOST_WEIGHTS // (height * width))
    step = max(1, round(np.sqrt(height * width / max(1, anchors))))
    down, across = (np.arange((side - 1) % step // 2, side, step) for side in (height, width))
    grid = (down[:, None] * width + across).ravel()
    y, x = np.mgrid[:height, :width]
    features = np.dstack([y / position_sigma, x / position_sigma, image / color_sigma])
    # Only differences count, and small numbers keep more of their float32 digits.
    features = (features - features.mean(axis=(0, 1))).astype(np.float32).reshape(-1, 5)
    # -|a - b|² / 2 = a·b - |a|² / 2 - |b|² / 2, so that one matrix product computes all pairs.
    halves = 0.5 * (features**2).sum(axis=1)
    weights = features @ features[grid].T
    weights -= halves[:, None]
    weights -= halves[grid]
    np.exp(np.minimum(weights, 0, out=weights), out=weights)
    weights[grid, np.arange(len(grid))] = 0
    weights /= np.maximum(weights.sum(axis=1, keepdims=True), 1e-12)
    return weights, grid


def smoothness_message(q: np.ndarray, sigma: float) -> np.ndarray:
    """Return the Gaussian mean of the probabilities around each pixel, without the pixel itself.

    A Gaussian over position alone is separable into two short filters, for rows and columns.
    """

    def blur(values):
        return ndimage.gaussian_filter(values, (sigma, sigma, 0), mode="constant", truncate=4.0)

    impulse = np.zeros((2 * int(4 * sigma + 0.5) + 1,) * 2 + (1,), np.float32)
    impulse[len(impulse) // 2, len(impulse) // 2] = 1
    center = blur(impulse).max()
    total = blur(np.ones((*q.shape[:2], 1), np.float32)) - center
    return (blur(q) - center * q) / np.maximum(total, 1e-12)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return probabilities over the last axis.

    Raises InputError if the largest of the logits is infinite or NaN.
    """
    if not np.isfinite(logits.max(axis=-1)).all():
        raise InputError("the logits must be finite numbers; did the training diverge?")
    return special.softmax(logits, axis=-1)
