"""How good a segmentation is: the confusion matrix, thresholds, boundaries and baselines.

The four scores of a confusion matrix are those of Long, Shelhamer & Darrell, "Fully Convolutional
Networks for Semantic Segmentation", CVPR 2015, section 5. Void pixels are never counted, as in the
PASCAL VOC benchmark.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from tutorial_lib.data.images import VOID, center_crop
from tutorial_lib.errors import InputError

STEPS = 256  # thresholds of a `ThresholdCurve`, equally spaced from 0 to 1


class ConfusionMatrix:
    """Numbers of pixels by true and predicted class, gathered image by image.

    `counts` is int64 (classes, classes), with a row per label and a column per prediction.
    """

    def __init__(self, classes: int, ignore: int | None = VOID):
        """Start with no pixels.

        Args:
            classes: Number of classes, the background included, 1 to 255.
            ignore: The label of void pixels, which are left out; None if there are none.

        Raises:
            InputError: if the number of classes is out of range.
        """
        if not 1 <= classes <= 255:
            raise InputError(f"classes={classes} must lie between 1 and 255")
        self.classes = classes
        self.ignore = ignore
        self.counts = np.zeros((classes, classes), np.int64)

    def update(self, labels: np.ndarray, predictions: np.ndarray) -> ConfusionMatrix:
        """Add the pixels of one image or of a batch; return the matrix itself.

        Args:
            labels: Integers of any shape.
            predictions: Integers of the same shape, 0 to classes - 1.

        Raises:
            InputError: if the shapes differ, or a value is not a class.
        """
        labels, predictions = np.asarray(labels), np.asarray(predictions)
        if labels.shape != predictions.shape:
            raise InputError(
                f"labels {labels.shape} and predictions {predictions.shape} must have one shape"
            )
        valid = labels != self.ignore
        labels = self._classes_of("labels", labels[valid])
        predictions = self._classes_of("predictions", predictions[valid])
        # Each pair of label and prediction gets a number of its own: its place in the matrix.
        pairs = labels * self.classes + predictions
        counts = np.bincount(pairs, minlength=self.classes**2)
        self.counts += counts.reshape(self.classes, self.classes)
        return self

    def _classes_of(self, name: str, values: np.ndarray) -> np.ndarray:
        """Return the values as int64 if all are classes, else raise InputError."""
        if values.dtype.kind not in "ui":
            raise InputError(f"{name} must be whole numbers, the classes, not {values.dtype}")
        if values.size and not 0 <= values.min() <= values.max() < self.classes:
            raise InputError(f"{name} must lie between 0 and {self.classes - 1}")
        return values.astype(np.int64)

    def iou(self) -> np.ndarray:
        """Return the intersection over union (IoU) of each class, float64 (classes,).

        A class that occurs neither in the labels nor in the predictions has no IoU: it is NaN.
        """
        intersection = np.diag(self.counts)
        union = self.counts.sum(axis=0) + self.counts.sum(axis=1) - intersection
        return _ratio(intersection, union)

    def mean_iou(self) -> float:
        """Return the mean IoU of the classes that have one."""
        return _mean(self.iou())

    def pixel_accuracy(self) -> float:
        """Return the share of the pixels whose prediction is the label."""
        return float(_ratio(np.trace(self.counts), self.counts.sum()))

    def mean_accuracy(self) -> float:
        """Return the mean over the labeled classes of the share of their pixels that are right."""
        return _mean(_ratio(np.diag(self.counts), self.counts.sum(axis=1)))

    def frequency_weighted_iou(self) -> float:
        """Return the mean IoU, each class weighted by its share of the labels; NaN without any."""
        weights = _ratio(self.counts.sum(axis=1), self.counts.sum())
        return float(np.nansum(weights * self.iou())) if self.counts.any() else float("nan")

    def row_normalized(self) -> np.ndarray:
        """Return the counts divided by the sum of their row; NaN where a class has no label."""
        return _ratio(self.counts, self.counts.sum(axis=1, keepdims=True))

    def background_baseline(self) -> ConfusionMatrix:
        """Return the matrix of predicting background everywhere, for the same labels."""
        baseline = ConfusionMatrix(self.classes, self.ignore)
        baseline.counts[:, 0] = self.counts.sum(axis=1)
        return baseline


def evaluate_batches(batches: Iterable, predict: Callable) -> ConfusionMatrix:
    """Return the confusion matrix of two classes for all batches.

    Args:
        batches: Pairs of images and labels, 255 void.
        predict: From a batch of images to classes, such as `binary_prediction(network)`.
    """
    matrix = ConfusionMatrix(2)
    for images, labels in batches:
        matrix.update(labels, predict(images))
    return matrix


def constant_prediction(mask: np.ndarray) -> Callable:
    """Return a baseline that predicts the same classes (height, width) for every image."""
    return lambda images: np.stack([mask] * len(images)).astype(int)


def binary_prediction(network) -> Callable:
    """Return a function that predicts 1 where the network's only logit is positive, else 0."""
    return lambda images: (network.predict_on_batch(images)[..., 0] > 0).astype(int)


@dataclass(frozen=True)
class ThresholdCurve:
    """Scores at each threshold; a pixel is predicted as 1 if its probability exceeds it.

    Attributes:
        thresholds: float (n,), rising from 0.
        precision: Share of the predicted pixels that are right; 1 where none is predicted.
        recall: Share of the object's pixels that are predicted.
        dice: Twice the intersection over the sum of the two areas.
        iou: Intersection over union.
    """

    thresholds: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    dice: np.ndarray
    iou: np.ndarray

    def best_threshold(self) -> float:
        """Return the threshold with the highest IoU."""
        return float(self.thresholds[np.argmax(self.iou)])


def threshold_curve(batches: Iterable[tuple[np.ndarray, np.ndarray]]) -> ThresholdCurve:
    """Return the scores at all thresholds, in one pass over the images and in constant memory.

    Batches are pairs of labels (0, 1, 255 void) and probabilities from 0 to 1, of one shape. Raises
    InputError if the shapes differ or a probability is out of range.
    """
    counts = np.zeros((2, STEPS + 1), np.int64)
    for labels, probabilities in batches:
        labels, probabilities = np.asarray(labels), np.asarray(probabilities)
        if labels.shape != probabilities.shape:
            raise InputError(
                f"labels {labels.shape} and probabilities {probabilities.shape} differ in shape"
            )
        labels, probabilities = labels[labels != VOID], probabilities[labels != VOID]
        if probabilities.size and not 0 <= probabilities.min() <= probabilities.max() <= 1:
            raise InputError("probabilities must lie between 0 and 1; apply a sigmoid to logits")
        steps = np.ceil(probabilities.astype(np.float64) * STEPS).astype(np.int64)
        for value in (0, 1):
            counts[value] += np.bincount(steps[labels == value], minlength=STEPS + 1)
    # The pixels above threshold t / STEPS are those of the steps t + 1, t + 2, …
    false, true = (counts[value][::-1].cumsum()[::-1][1:].astype(float) for value in (0, 1))
    positives = max(float(counts[1].sum()), 1e-9)
    return ThresholdCurve(
        thresholds=np.arange(STEPS) / STEPS,
        precision=np.divide(true, true + false, where=true + false > 0, out=np.ones(STEPS)),
        recall=true / positives,
        dice=2 * true / (true + false + positives),
        iou=true / (false + positives),
    )


def center_prior(batches: Iterable[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Return the best prediction that ignores the image: the places where objects usually are.

    It counts how often each pixel is labeled 1 in the training set, and thresholds this frequency
    where the IoU on the training set is highest. Batches are pairs of anything and labels
    (batch, height, width), 255 void; the result is bool (height, width).
    """
    positive = valid = 0
    for _, labels in batches:
        labels = np.asarray(labels)
        positive = positive + (labels == 1).sum(axis=0)
        valid = valid + (labels != VOID).sum(axis=0)
    frequency = positive / np.maximum(valid, 1)
    # The IoU of predicting the n most frequent pixels, for every n.
    order = np.argsort(-frequency, axis=None, kind="stable")
    true = np.cumsum(positive.ravel()[order])
    false = np.cumsum((valid - positive).ravel()[order])
    best = np.argmax(true / np.maximum(false + true[-1], 1))
    return frequency >= frequency.ravel()[order[best]]


def mean_colors(batches: Iterable) -> np.ndarray:
    """Return the mean color of the object in each image; NaN where there is none.

    Batches are pairs of images (batch, height, width, 3) and labels of their center, in which 1 is
    the object; the result is float (images, 3) in the units of the images.
    """
    colors = []
    for images, labels in batches:
        labels = np.asarray(labels)
        crops = center_crop(np.asarray(images), labels.shape[1:])
        for crop, label in zip(crops, labels, strict=True):
            inside = crop[label == 1]
            colors.append(inside.mean(axis=0) if len(inside) else np.full(3, np.nan))
    return np.array(colors)


def boundary_distance(labels: np.ndarray) -> np.ndarray:
    """Return the distance to the nearest boundary in pixels, float64 (height, width).

    VOC marks its boundaries as void. Where two classes touch without void between them, the pixels
    on both sides are boundary too. Without any boundary the distance is infinite everywhere.
    """
    from scipy import ndimage

    boundary = labels == VOID
    for values, marked in ((labels, boundary), (labels.T, boundary.T)):
        above, below = values[:-1], values[1:]
        differ = (above != below) & (above != VOID) & (below != VOID)
        marked[:-1] |= differ
        marked[1:] |= differ
    if not boundary.any():
        return np.full(labels.shape, np.inf)
    return ndimage.distance_transform_edt(~boundary)


def boundary_band(labels: np.ndarray, width: float) -> np.ndarray:
    """Return the pixels near a boundary, which Kohli, Ladický & Torr call a trimap (IJCV 2009).

    Most pixels lie far from any boundary, so a score over all pixels hardly shows whether the
    boundaries are sharp. A score over this band, bool (height, width), does. The labels are those
    of `boundary_distance`; `width` is the greatest distance in pixels.
    """
    return boundary_distance(labels) <= width


def _ratio(part, whole) -> np.ndarray:
    """Divide, with NaN where there is nothing to divide by."""
    part, whole = np.broadcast_arrays(np.asarray(part, float), np.asarray(whole, float))
    return np.divide(part, whole, where=whole > 0, out=np.full(part.shape, np.nan))


def _mean(values: np.ndarray) -> float:
    """Return the mean of the values that are not NaN, or NaN if all are."""
    values = values[~np.isnan(values)]
    return float(values.mean()) if values.size else float("nan")
