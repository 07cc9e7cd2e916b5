"""How good a segmentation is: the confusion matrix and what follows from it.

The four scores are those of Long, Shelhamer & Darrell, "Fully Convolutional Networks for Semantic
Segmentation", CVPR 2015, section 5. Void pixels count nowhere, as in the PASCAL VOC benchmark.
"""

from __future__ import annotations

import numpy as np

from tutorial_lib.errors import InputError


class ConfusionMatrix:
    """Counts of pixels by true and predicted class, gathered image by image.

    Attributes:
        counts: int64 (classes, classes); row: the label, column: the prediction.
    """

    def __init__(self, classes: int, ignore: int | None = 255):
        """Start with no pixels.

        Args:
            classes: Number of classes, the background counted as one.
            ignore: The label of void pixels, which are left out; None if there are none.
        """
        self.classes = classes
        self.ignore = ignore
        self.counts = np.zeros((classes, classes), np.int64)

    def update(self, labels: np.ndarray, predictions: np.ndarray) -> ConfusionMatrix:
        """Add the pixels of one image or of a batch; returns itself.

        Args:
            labels: Whole numbers of any shape.
            predictions: Whole numbers of the same shape, 0 to classes - 1.

        Raises:
            InputError: if the shapes differ, or a number is not a class.
        """
        labels, predictions = np.asarray(labels), np.asarray(predictions)
        if labels.shape != predictions.shape:
            raise InputError(
                f"labels {labels.shape} and predictions {predictions.shape} must have one shape"
            )
        if self.ignore is not None:
            seen = labels != self.ignore
            labels, predictions = labels[seen], predictions[seen]
        for name, values in (("labels", labels), ("predictions", predictions)):
            if values.size and not 0 <= values.min() <= values.max() < self.classes:
                raise InputError(f"{name} must lie between 0 and {self.classes - 1}")
        pairs = labels.astype(np.int64).ravel() * self.classes + predictions.ravel()
        self.counts += np.bincount(pairs, minlength=self.classes**2).reshape(self.counts.shape)
        return self

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
        """Return the mean IoU with each class weighted by its share of the labels."""
        weights = _ratio(self.counts.sum(axis=1), self.counts.sum())
        return float(np.nansum(weights * self.iou()))

    def background_baseline(self) -> ConfusionMatrix:
        """Return the matrix of a net that calls every pixel background, on the same labels."""
        baseline = ConfusionMatrix(self.classes, self.ignore)
        baseline.counts[:, 0] = self.counts.sum(axis=1)
        return baseline


def _ratio(part, whole) -> np.ndarray:
    """Divide, with NaN where there is nothing to divide by."""
    part, whole = np.asarray(part, float), np.asarray(whole, float)
    return np.divide(part, whole, where=whole > 0, out=np.full(part.shape, np.nan))


def _mean(values: np.ndarray) -> float:
    """Return the mean of what is not NaN, NaN if all of it is."""
    values = values[~np.isnan(values)]
    return float(values.mean()) if values.size else float("nan")
