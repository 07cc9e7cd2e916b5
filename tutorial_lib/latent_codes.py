"""Points and pictures: what notebook 03 computes with codes.

A code is what an encoder keeps of a picture: a few numbers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from tutorial_lib.errors import InputError

CHUNK = 500  # queries a step, so that the table of distances stays small


@dataclass(frozen=True)
class Pca:
    """The best linear map to a few numbers and back.

    Pearson, "On lines and planes of closest fit to systems of points in space", 1901.

    Attributes:
        mean: float64 (pixels,).
        axes: float64 (k, pixels), of length 1 and at right angles, the most telling first.
        shape: Of a picture.
    """

    mean: np.ndarray
    axes: np.ndarray
    shape: tuple[int, ...]

    @classmethod
    def fit(cls, images: np.ndarray, k: int) -> Pca:
        """Find the k directions in which the pictures (n, …) vary most, from all of them."""
        flat = images.reshape(len(images), -1).astype(np.float64)
        if not 1 <= k <= flat.shape[1]:
            raise InputError(f"k={k} components are impossible; use 1 to {flat.shape[1]}")
        mean = flat.mean(axis=0)
        flat -= mean
        # eigh sorts by rising variance.
        axes = np.linalg.eigh(flat.T @ flat)[1][:, ::-1].T
        return cls(mean, axes[:k], images.shape[1:])

    def encode(self, images: np.ndarray) -> np.ndarray:
        """Map pictures (n, …) to codes (n, k)."""
        return (images.reshape(len(images), -1) - self.mean) @ self.axes.T

    def decode(self, codes: np.ndarray) -> np.ndarray:
        """Map codes (n, k) to pictures of the shape that PCA was fitted to."""
        return (codes @ self.axes + self.mean).reshape(-1, *self.shape)

    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return the pictures' reconstructions."""
        return self.decode(self.encode(images))


@dataclass(frozen=True)
class Map:
    """The plane of codes, turned so that it lies the same way in every run.

    Another seed turns, mirrors, moves and stretches the plane of codes. On the map the first of
    three anchors lies at (0, 0), the second at (1, 0), and the third above them. No shape on the
    plane changes by that: lengths are only measured in another unit.

    Attributes:
        origin: The code at (0, 0).
        axes: (2, 2): the code differences that (1, 0) and (0, 1) stand for.
    """

    origin: np.ndarray
    axes: np.ndarray

    @classmethod
    def through(cls, origin, right, above) -> Map:
        """Lay the plane down by three codes.

        Raises:
            InputError: if they do not span the plane.
        """
        origin, right, above = (np.asarray(code, np.float64) for code in (origin, right, above))
        x = right - origin
        y = np.array([-x[1], x[0]])
        side = y @ (above - origin)
        if not abs(side) > 1e-9:
            raise InputError("the three codes lie on one line; a map needs three that do not")
        return cls(origin, np.stack([x, y * np.sign(side)]))

    def to_map(self, codes: np.ndarray) -> np.ndarray:
        """Return where codes (n, 2) lie on the map."""
        return (codes - self.origin) @ np.linalg.inv(self.axes)

    def from_map(self, points) -> np.ndarray:
        """Return the codes at points (n, 2) of the map."""
        return np.asarray(points) @ self.axes + self.origin


def nearest(queries: np.ndarray, known: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Find the k nearest known points of each query.

    Args:
        queries, known: (n, d) and (m, d), or any arrays whose rows can be flattened.
        k: At most m.

    Returns:
        Their indices (n, k), the nearest first, and their distances (n, k).
    """
    queries, known = (a.reshape(len(a), -1).astype(np.float64) for a in (queries, known))
    indices, distances = [], []
    lengths = np.sum(known**2, axis=1)
    for start in range(0, len(queries), CHUNK):
        part = queries[start : start + CHUNK]
        squares = np.sum(part**2, axis=1)[:, None] - 2 * part @ known.T + lengths
        order = np.argsort(squares, axis=1, kind="stable")[:, :k]
        indices.append(order)
        distances.append(np.sqrt(np.maximum(np.take_along_axis(squares, order, axis=1), 0)))
    return np.concatenate(indices), np.concatenate(distances)


def most_common(labels: np.ndarray) -> np.ndarray:
    """Return the most frequent label of each row (n, k); the smaller one if there are two."""
    return np.array([np.bincount(row).argmax() for row in labels])


def neighbor_accuracy(codes, labels, known_codes, known_labels, k: int = 5) -> float:
    """Return how often the k nearest known codes, by majority, have the label of a code."""
    indices, _ = nearest(codes, known_codes, k)
    return float(np.mean(most_common(known_labels[indices]) == labels))


def auc(usual, odd) -> float:
    """Return how often an odd one scores higher than a usual one; ties count half.

    That is the area under the ROC curve: 1 if a threshold separates them, 0.5 for guessing. It
    is the rank-sum statistic of Mann and Whitney, 1947, divided by the number of pairs.
    """
    usual, odd = np.sort(np.asarray(usual)), np.asarray(odd)
    below = np.searchsorted(usual, odd, side="left")
    not_above = np.searchsorted(usual, odd, side="right")
    return float(np.mean(below + not_above) / 2 / len(usual))
