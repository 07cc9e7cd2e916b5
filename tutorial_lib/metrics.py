"""How good a segmentation is: the confusion matrix and what follows from it.

The four scores are those of Long, Shelhamer & Darrell, "Fully Convolutional Networks for Semantic
Segmentation", CVPR 2015, section 5. Void pixels count nowhere, as in the PASCAL VOC benchmark.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from tutorial_lib.data.images import middle
from tutorial_lib.errors import InputError


class ConfusionMatrix:
    """Counts of pixels by true and predicted class, gathered image by image.

    Attributes:
        counts: int64 (classes, classes); row: the label, column: the prediction.
    """

    def __init__(self, classes: int, ignore: int | None = 255):
        """Start with no pixels.

        Args:
            classes: Number of classes, the background counted as one; at most 255.
            ignore: The label of void pixels, which are left out; None if there are none.

        Raises:
            InputError: if the number of classes is none of 1 to 255.
        """
        if not 1 <= classes <= 255:
            raise InputError(f"classes={classes} must lie between 1 and 255")
        self.classes = classes
        self.ignore = ignore
        self.counts = np.zeros((classes, classes), np.int64)

    def update(self, labels: np.ndarray, predictions: np.ndarray) -> ConfusionMatrix:
        """Add the pixels of one image or of a batch; returns itself.

        Args:
            labels: Whole numbers of any shape.
            predictions: Whole numbers of the same shape, 0 to classes - 1.

        Raises:
            InputError: if the shapes differ, or something is no whole number or not a class.
        """
        labels, predictions = np.asarray(labels), np.asarray(predictions)
        if labels.shape != predictions.shape:
            raise InputError(
                f"labels {labels.shape} and predictions {predictions.shape} must have one shape"
            )
        if labels.dtype.kind not in "ui" or predictions.dtype.kind not in "ui":
            raise InputError("labels and predictions must be whole numbers: the classes")
        if predictions.size and not 0 <= predictions.min() <= predictions.max() < self.classes:
            raise InputError(f"predictions must lie between 0 and {self.classes - 1}")
        void = self.ignore
        if labels.dtype != np.uint8:
            labels, void = self._as_bytes(labels), 255
        # Counting all 256 rows, void among them, is faster than picking the valid pixels first.
        pairs = labels.astype(np.int64).ravel() * self.classes
        pairs += predictions.ravel()
        counts = np.bincount(pairs, minlength=256 * self.classes).reshape(256, self.classes)
        if void is not None and 0 <= void < 256:
            counts[void] = 0
        if counts[self.classes :].any():
            raise InputError(f"labels must lie between 0 and {self.classes - 1}")
        self.counts += counts[: self.classes]
        return self

    def _as_bytes(self, labels: np.ndarray) -> np.ndarray:
        """Return labels of another type as uint8, void as 255."""
        void = np.zeros(labels.shape, bool) if self.ignore is None else labels == self.ignore
        strange = (labels < 0) | (labels >= self.classes)
        if (strange & ~void).any():
            raise InputError(f"labels must lie between 0 and {self.classes - 1}")
        return np.where(void, 255, labels).astype(np.uint8)

    def iou(self) -> np.ndarray:
        """Return intersection over union by class, float64 (classes,).

        A class that neither labels nor predictions hold has no IoU: it is NaN.
        """
        hits = np.diag(self.counts)
        union = self.counts.sum(axis=0) + self.counts.sum(axis=1) - hits
        return _ratio(hits, union)

    def mean_iou(self) -> float:
        """Return the mean of the classes' IoU; those that are NaN are left out."""
        return _mean(self.iou())

    def pixel_accuracy(self) -> float:
        """Return the share of the pixels that are right."""
        return float(_ratio(np.trace(self.counts), self.counts.sum()))

    def mean_accuracy(self) -> float:
        """Return the mean over the labeled classes of the share of their pixels that are right."""
        return _mean(_ratio(np.diag(self.counts), self.counts.sum(axis=1)))

    def frequency_weighted_iou(self) -> float:
        """Return the mean IoU with each class weighted by its share of the labels.

        NaN if there are no labels.
        """
        weights = _ratio(self.counts.sum(axis=1), self.counts.sum())
        return float(np.nansum(weights * self.iou())) if self.counts.any() else float("nan")

    def rows_as_shares(self) -> np.ndarray:
        """Return each row divided by its sum: where the pixels of a class went. NaN if none."""
        return _ratio(
            self.counts, np.repeat(self.counts.sum(axis=1), self.classes).reshape(self.counts.shape)
        )

    def background_baseline(self) -> ConfusionMatrix:
        """Return the matrix of a net that calls every pixel background, on the same labels."""
        baseline = ConfusionMatrix(self.classes, self.ignore)
        baseline.counts[:, 0] = self.counts.sum(axis=1)
        return baseline


def score(batches: Iterable, decide: Callable, classes: int = 2) -> ConfusionMatrix:
    """Return the confusion matrix of answers over all batches.

    Args:
        batches: Pairs of pictures and labels, 255 void.
        decide: From a batch of pictures to class numbers, as `always` and `positive` make them.
        classes: Number of classes.
    """
    matrix = ConfusionMatrix(classes)
    for pictures, labels in batches:
        matrix.update(labels, decide(pictures))
    return matrix


def always(guess: np.ndarray) -> Callable:
    """Answer each picture with the same class numbers (height, width): a baseline."""
    return lambda pictures: np.stack([guess] * len(pictures)).astype(int)


def positive(net) -> Callable:
    """Answer with 1 where the logit of a net with one output channel is positive, else 0."""
    return lambda pictures: (net.predict_on_batch(pictures)[..., 0] > 0).astype(int)


def mean_colors(batches: Iterable) -> np.ndarray:
    """Return what color the objects of each picture have on average.

    Args:
        batches: Pairs of images (batch, height, width, 3) and labels for their middle; 1 is object.

    Returns:
        float (pictures, 3) in the units of the images; NaN where there is no object.
    """
    colors = []
    for pictures, labels in batches:
        labels = np.asarray(labels)
        for view, label in zip(middle(np.asarray(pictures), labels.shape[1:]), labels, strict=True):
            inside = view[label == 1]
            colors.append(inside.mean(axis=0) if len(inside) else np.full(3, np.nan))
    return np.array(colors)


def outline_distance(labels: np.ndarray, void: int = 255) -> np.ndarray:
    """Return how far each pixel is from the nearest outline.

    Args:
        labels: Class numbers (height, width). VOC marks its outlines as void; where two classes
            touch without a void seam, the pixels on both sides are outline too.
        void: The label of void pixels.

    Returns:
        float64 (height, width), in pixels; infinite everywhere if there is no outline.
    """
    from scipy import ndimage

    outline = labels == void
    inside = ~outline
    down = (labels[1:] != labels[:-1]) & inside[1:] & inside[:-1]
    across = (labels[:, 1:] != labels[:, :-1]) & inside[:, 1:] & inside[:, :-1]
    outline[1:] |= down
    outline[:-1] |= down
    outline[:, 1:] |= across
    outline[:, :-1] |= across
    if not outline.any():
        return np.full(labels.shape, np.inf)
    return ndimage.distance_transform_edt(~outline)


def boundary_band(labels: np.ndarray, width: float, void: int = 255) -> np.ndarray:
    """Return where the outlines are: the trimap of Kohli, Ladický & Torr (IJCV 2009, section 6).

    Whether a net draws sharp outlines is hard to see in a score over all pixels, most of which
    lie far from any outline. Scored on this band alone, it shows.

    Args:
        labels, void: As for `outline_distance`.
        width: Greatest distance from an outline in pixels.

    Returns:
        bool (height, width).
    """
    return outline_distance(labels, void) <= width


def _ratio(part, whole) -> np.ndarray:
    """Divide, with NaN where there is nothing to divide by."""
    part, whole = np.asarray(part, float), np.asarray(whole, float)
    return np.divide(part, whole, where=whole > 0, out=np.full(part.shape, np.nan))


def _mean(values: np.ndarray) -> float:
    """Return the mean of what is not NaN, NaN if all of it is."""
    values = values[~np.isnan(values)]
    return float(values.mean()) if values.size else float("nan")
