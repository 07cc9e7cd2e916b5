"""Digits: the bundled ones, and MNIST as it is read from disk."""

import numpy as np
import pytest
from helpers import REAL, needs_real_data

from tutorial_lib.data.digits import load_digits, scaled
from tutorial_lib.errors import InputError


def test_bundled_digits():
    digits = load_digits()
    assert digits.train_images.shape == (3000, 28, 28)
    assert digits.val_images.shape == digits.test_images.shape == (1000, 28, 28)
    assert set(np.bincount(digits.train_labels)) == {300}
    assert set(np.bincount(digits.val_labels)) == set(np.bincount(digits.test_labels)) == {100}
    parts = digits.train_images, digits.val_images, digits.test_images
    assert len({image.tobytes() for part in parts for image in part}) == 5000
    few = load_digits(digits=[1, 5, 6])
    assert set(few.train_labels) == {1, 5, 6}
    assert len(few.train_labels) == 900 and len(few.val_labels) == len(few.test_labels) == 300


def test_a_limit_keeps_the_first_digits_of_each_class():
    whole, few = load_digits(digits=[1, 5]), load_digits(digits=[1, 5], limit=7)
    assert few.train_labels.tolist() == few.test_labels.tolist() == [1] * 7 + [5] * 7
    assert few.val_labels.tolist() == few.test_labels.tolist()
    assert np.array_equal(few.train_images[:7], whole.train_images[whole.train_labels == 1][:7])
    assert np.array_equal(few.test_images[7:], whole.test_images[whole.test_labels == 5][:7])
    for limit in (-1, 4, 7.0, "7", None, True):
        with pytest.raises(InputError, match=f"limit={limit!r} digits are impossible; use 5 or"):
            load_digits(limit=limit)


def test_scaled_digits_are_network_input():
    images = scaled(np.array([[[0, 51], [102, 255]]], np.uint8))
    assert images.dtype == np.float32
    np.testing.assert_allclose(images, [[[[0], [0.2]], [[0.4], [1]]]], rtol=1e-6)


@needs_real_data
def test_bundled_digits_are_training_digits_of_mnist():
    # A network that was trained on `mnist` must therefore not be tested on `bundled`.
    bundled = load_digits()
    whole = load_digits("mnist", str(REAL / "mnist"))
    assert len(whole.train_images) == 50_000 and len(whole.val_images) == 10_000
    train = {image.tobytes() for part in (whole.train_images, whole.val_images) for image in part}
    assert all(image.tobytes() in train for image in bundled.train_images)
    assert all(image.tobytes() in train for image in bundled.test_images)
    assert not any(image.tobytes() in train for image in whole.test_images)


def test_mnist_is_read_and_a_missing_or_damaged_file_is_one_line(tmp_path):
    images, labels = np.zeros((40, 28, 28), np.uint8), np.zeros(40, np.uint8)
    arrays = {"x_train": images, "y_train": labels, "x_test": images, "y_test": labels}
    with pytest.raises(InputError, match="run `tutorial data fetch mnist`"):
        load_digits("mnist", str(tmp_path))
    path = tmp_path / "mnist.npz"
    np.savez(path, **arrays)
    for place in (tmp_path, path):
        digits = load_digits("mnist", str(place), digits=[0])
        assert (len(digits.train_images), len(digits.val_images)) == (34, 6)
        assert digits.test_images.shape == (40, 28, 28)
    changed = bytearray(path.read_bytes())
    changed[5000:5100] = b"x" * 100
    np.save(tmp_path / "array.npy", np.zeros(3))
    for content in (b"PK\x03\x04", changed, (tmp_path / "array.npy").read_bytes()):
        path.write_bytes(content)
        with pytest.raises(InputError, match="mnist.npz is damaged"):
            load_digits("mnist", str(tmp_path))
    np.savez_compressed(path, **{**arrays, "y_test": np.zeros(3, np.uint8)})
    with pytest.raises(InputError, match="test images uint8 .* expected uint8"):
        load_digits("mnist", str(tmp_path))
    np.savez(path, **{**arrays, "y_train": labels + 47})
    with pytest.raises(InputError, match="train set of dataset='mnist' holds no 0; expected"):
        load_digits("mnist", str(tmp_path), digits=[0])
    np.savez(path, **{name: array[:5] for name, array in arrays.items()})
    with pytest.raises(InputError, match="val set of dataset='mnist' holds no 0"):
        load_digits("mnist", str(tmp_path), digits=[0])
    (tmp_path / "train-images-idx3-ubyte").touch()
    with pytest.raises(InputError, match="mnist.npz is missing; .*IDX files"):
        load_digits("mnist", str(tmp_path / "train-images-idx3-ubyte"))
    with pytest.raises(InputError, match="choose one of bundled, mnist"):
        load_digits("digits")
