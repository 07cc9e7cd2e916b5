"""Prediction: images of every kind and size."""

import keras
import numpy as np
import pytest
from PIL import Image

from tutorial_lib import inference
from tutorial_lib.data.images import normalize
from tutorial_lib.errors import InputError
from tutorial_lib.inference import as_rgb, predict_any_size, predict_at_scale, read_photograph

RNG = np.random.default_rng(0)
COLORS = RNG.integers(0, 256, (20, 30, 3), dtype=np.uint8)


def brightness(x):
    """Replace a network: three scores per pixel, from the three colors."""
    return x


@pytest.fixture
def save(tmp_path):
    def save(array, name, mode=None, **options):
        Image.fromarray(array, mode).save(tmp_path / name, **options)
        return tmp_path / name

    return save


def test_a_mistyped_tag_does_not_keep_a_photograph_from_being_turned(save):
    exif = Image.Exif()
    exif[0x0112] = 6
    exif[0x011A] = 300.0  # the resolution along x
    fraction, text = b"\x01\x1a\x00\x05", b"\x01\x1a\x00\x02"
    assert fraction in exif.tobytes()
    path = save(COLORS, "a.png", exif=exif.tobytes().replace(fraction, text))
    assert np.array_equal(read_photograph(path), np.rot90(COLORS, -1))


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0, 0.8, 1]], np.float32), [0, 204, 255]),
        (np.array([[-1, np.nan, 1]], np.float32), [0, 0, 255]),
        (np.array([[0, 1.5, 200]], np.float32), [0, 2, 200]),
        (np.array([[-5, 1, 200]], np.int32), [0, 1, 200]),
        (np.array([[0, 500, 1000]], np.int32), [0, 128, 255]),
        (np.array([[0, 2**30, 2**31 - 1]], np.int32), [0, 128, 255]),
    ],
)
def test_pictures_of_32_bits_are_not_black(save, values, expected):
    assert read_photograph(save(values, "deep.tif"))[0, :, 1].tolist() == expected


def test_transparent_arrays_lie_on_white():
    rgba = np.array([[[1, 2, 3, 0], [1, 2, 3, 255]]], np.uint8)
    assert as_rgb(rgba).tolist() == [[[255, 255, 255], [1, 2, 3]]]
    assert as_rgb(np.array([[[0, 128]]], np.uint8)).tolist() == [[[127, 127, 127]]]


def test_what_is_no_photograph_is_one_line(save):
    path = save(COLORS, "a.dds")
    whole = path.read_bytes()
    unknown = whole[:80] + b"\4\0\0\0XXXX" + whole[88:]  # a compression that nobody knows
    path.write_bytes(unknown)
    with pytest.raises(InputError, match="cannot be decoded"):
        read_photograph(path)
    for array in (COLORS / 255, np.zeros((0, 4, 3), np.uint8), np.zeros((2, 2, 5), np.uint8)):
        with pytest.raises(InputError, match="expected a uint8 image"):
            as_rgb(array)


@pytest.mark.parametrize("size", [(1, 1), (1, 70), (33, 64), (20, 30)])
def test_any_size_keeps_every_pixel_in_its_place(size):
    image = RNG.integers(0, 256, (*size, 3), dtype=np.uint8)
    back = (predict_any_size(brightness, image) + 1) * 127.5
    np.testing.assert_allclose(back, image, atol=1e-3)


def test_the_compiled_net_says_what_the_net_says():
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Conv2D(4, 3, padding="same"), keras.layers.BatchNormalization()]
    net = keras.Sequential([keras.Input((None, None, 3)), *layers])
    for size in ((8, 8), (5, 9)):
        batch = RNG.normal(size=(2, *size, 3)).astype(np.float32)
        np.testing.assert_allclose(inference.forward(net, batch), net(batch), rtol=1e-6, atol=1e-6)
    net.layers[0].set_weights([np.zeros((3, 3, 3, 4)), np.ones(4)])  # not frozen by compiling
    np.testing.assert_allclose(inference.forward(net, batch), net(batch), rtol=1e-6)


@pytest.mark.parametrize(("size", "step"), [((40, 56), 2), ((37, 50), 4), ((9, 8), 1)])
def test_shift_and_stitch_is_the_net_at_every_step(size, step):
    keras.utils.set_random_seed(0)
    net = keras.Sequential([keras.Input((None, None, 3)), keras.layers.Conv2D(2, 12, strides=8)])
    image = RNG.integers(0, 256, (*size, 3), dtype=np.uint8)
    fine = inference.shift_and_stitch(net, image, window=12, step=step, stride=8)
    assert fine.shape == (-(-size[0] // step), -(-size[1] // step), 2)
    around = (12 - step) // 2
    padded = np.pad(normalize(image), ((around, 20), (around, 20), (0, 0)), mode="edge")
    for row, column in ((0, 0), (2, 3), (fine.shape[0] - 1, fine.shape[1] - 1)):
        window = padded[row * step : row * step + 12, column * step : column * step + 12]
        np.testing.assert_allclose(fine[row, column], net(window[None])[0, 0, 0], atol=1e-5)
    for step in (0, 5, 16):
        with pytest.raises(InputError, match="must divide the stride, 32, and fit into the window"):
            inference.shift_and_stitch(net, image, window=12, step=step)


def test_the_mean_over_a_picture_and_its_mirror_image():
    def leftmost(x):
        return np.cumsum(x, axis=2)  # far from mirror symmetric

    image = RNG.integers(0, 256, (32, 64, 3), dtype=np.uint8)
    both = inference.test_time_augmentation(leftmost, scales=[1])
    scores = predict_any_size(both, image)
    flipped = predict_any_size(both, image[:, ::-1])
    np.testing.assert_allclose(scores, flipped[:, ::-1], atol=1e-4)
    x = normalize(image)
    expected = (x.cumsum(axis=1) + x[:, ::-1].cumsum(axis=1)[:, ::-1]) / 2
    np.testing.assert_allclose(scores, expected, atol=1e-4)


def test_the_mean_over_several_sizes():
    seen = []

    def size_of_input(x):
        seen.append(x.shape[1:3])
        return np.full(x.shape, float(x.shape[1]), np.float32)

    image = np.zeros((60, 100, 3), np.uint8)  # 64 and 128 with their borders
    scores = predict_any_size(inference.test_time_augmentation(size_of_input, (0.5, 1, 1.5)), image)
    assert seen == [(32, 64)] * 2 + [(64, 128)] * 2 + [(96, 192)] * 2
    assert scores.shape == (60, 100, 3) and np.allclose(scores, 64)


def test_a_large_photograph_is_labeled_at_the_scale_of_training():
    image = np.zeros((300, 400, 3), np.uint8)
    image[:, 200:] = (0, 255, 0)
    seen = []

    def net(x):
        seen.append(x.shape)
        return x

    labels = predict_at_scale(net, image, short_side=60)
    assert seen == [(1, 64, 96, 3)] and labels.shape == (300, 400)
    assert (labels[:, :195] == 0).all() and (labels[:, 205:] == 1).all()
    assert np.array_equal(predict_at_scale(brightness, COLORS, 60), COLORS.argmax(axis=-1))


@pytest.mark.parametrize(("size", "seen"), [((4000, 30), (256, 32)), ((30, 60), (32, 32))])
def test_a_long_strip_is_scaled_down_further(size, seen):
    sizes = []

    def net(x):
        sizes.append(x.shape[1:3])
        return x

    strip = np.zeros((*size, 3), np.uint8)
    assert predict_at_scale(net, strip, short_side=16).shape == size
    assert sizes == [seen]
