"""Where to cut: scores of a map of probabilities at many thresholds at once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from tutorial_lib.data.images import VOID
from tutorial_lib.errors import InputError

STEPS = 256  # probabilities are counted in so many equal steps


@dataclass(frozen=True)
class Curve:
    """Scores at each threshold; a pixel counts as found where its probability is above it.

    Attributes:
        thresholds: float (n,), rising from 0.
        precision: Share of what was found that is right; 1 where nothing was found.
        recall: Share of what is there that was found.
        dice: Twice the intersection over the sum of the two areas.
        iou: Intersection over union.
    """

    thresholds: np.ndarray
    precision: np.ndarray
    recall: np.ndarray
    dice: np.ndarray
    iou: np.ndarray

    def best(self) -> float:
        """Return the threshold with the highest IoU."""
        return float(self.thresholds[np.argmax(self.iou)])

    def average_precision(self) -> float:
        """Return the area below precision against recall."""
        return float(-np.sum(np.diff(np.append(self.recall, 0)) * self.precision))


def curve(batches: Iterable[tuple[np.ndarray, np.ndarray]]) -> Curve:
    """Gather scores over many pictures, in one pass and in constant memory.

    Args:
        batches: Pairs of labels (0, 1, 255 void) and probabilities from 0 to 1 of one shape.

    Raises:
        InputError: if shapes differ or a probability is out of range.
    """
    counts = np.zeros((2, STEPS + 1), np.int64)
    for labels, probabilities in batches:
        labels, probabilities = np.asarray(labels), np.asarray(probabilities)
        if labels.shape != probabilities.shape:
            raise InputError(
                f"labels {labels.shape} and probabilities {probabilities.shape} differ"
            )
        labels, probabilities = labels[labels != VOID], probabilities[labels != VOID]
        if probabilities.size and not 0 <= probabilities.min() <= probabilities.max() <= 1:
            raise InputError("probabilities must lie between 0 and 1; apply a sigmoid to logits")
        steps = np.ceil(probabilities.astype(np.float64) * STEPS).astype(np.int64)
        for value in (0, 1):
            counts[value] += np.bincount(steps[labels == value], minlength=STEPS + 1)
    # Above threshold t / STEPS lie the steps t + 1, t + 2, …
    wrong, right = (counts[value][::-1].cumsum()[::-1][1:].astype(float) for value in (0, 1))
    everything = max(float(counts[1].sum()), 1e-9)
    return Curve(
        thresholds=np.arange(STEPS) / STEPS,
        precision=np.divide(right, right + wrong, where=right + wrong > 0, out=np.ones(STEPS)),
        recall=right / everything,
        dice=2 * right / (right + wrong + everything),
        iou=right / (wrong + everything),
    )


def center_prior(batches: Iterable[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Return the best guess of someone who never looks at the picture: where things mostly are.

    How often each pixel is labeled 1 is counted over the training pictures, and cut where the IoU
    on them is highest.

    Args:
        batches: Pairs of anything and labels (batch, height, width), 255 void.

    Returns:
        bool (height, width).
    """
    there = seen = 0
    for _, label in batches:
        label = np.asarray(label)
        there = there + (label == 1).sum(axis=0)
        seen = seen + (label != VOID).sum(axis=0)
    often = there / np.maximum(seen, 1)
    # The IoU of guessing the n pixels where it is most often, for every n.
    order = np.argsort(-often, axis=None, kind="stable")
    hits, wrong = np.cumsum(there.ravel()[order]), np.cumsum((seen - there).ravel()[order])
    best = np.argmax(hits / np.maximum(wrong + hits[-1], 1))
    return often >= often.ravel()[order[best]]
