"""Stickers: size, contour, transparency, and masks that need cleaning."""

import numpy as np
import pytest
from PIL import Image

from tutorial_lib import stickers
from tutorial_lib.errors import InputError

BLUE = np.full((60, 100, 3), (0, 0, 255), np.uint8)


def disk(center=(30, 50), radius=20):
    y, x = np.mgrid[:60, :100]
    return (y - center[0]) ** 2 + (x - center[1]) ** 2 < radius**2


@pytest.mark.parametrize("mask", [disk(), np.ones((60, 100)), np.eye(60, 100)])
def test_one_side_is_512(mask):
    sticker = stickers.make_sticker(BLUE, mask)
    assert max(sticker.shape[:2]) == 512 and sticker.shape[2] == 4 and sticker.dtype == np.uint8


def test_object_then_white_contour_then_nothing():
    sticker = stickers.make_sticker(BLUE, disk(), contour=20)
    row = sticker[256]
    assert row[256].tolist() == [0, 0, 255, 255]
    white = (row[:, :3] > 250).all(axis=1) & (row[:, 3] > 250)
    assert 17 <= white[:256].sum() <= 23  # the contour, left of the disk
    assert sticker[0, 0, 3] == sticker[-1, -1, 3] == 0
    assert len(np.unique(sticker[..., 3])) > 10  # soft edges


def test_holes_are_filled_and_crumbs_dropped():
    mask = disk()
    mask[28:32, 48:52] = False
    mask[2:4, 2:4] = True
    clean = stickers.clean_mask(mask)
    assert clean[30, 50] and not clean[2, 2]
    assert np.array_equal(clean, disk())


@pytest.mark.parametrize(
    ("mask", "options", "message"),
    [
        (np.zeros((60, 100)), {}, "there is nothing to cut out"),
        (np.ones((5, 5)), {}, "must have the image's size"),
        (disk(), {"contour": 128}, "between 0 and 127"),
        (disk(), {"contour": -1}, "between 0 and 127"),
    ],
)
def test_bad_input_says_why(mask, options, message):
    with pytest.raises(InputError, match=message):
        stickers.make_sticker(BLUE, mask, **options)


def test_saved_small_and_whole(tmp_path):
    rng = np.random.default_rng(0)
    noisy = rng.integers(0, 256, BLUE.shape, dtype=np.uint8)
    path = tmp_path / "new" / "cat.png"
    stickers.save_sticker(stickers.make_sticker(noisy, disk()), path)
    assert Image.open(path).mode == "RGBA" and path.stat().st_size < 512_000
    assert [p.name for p in path.parent.iterdir()] == ["cat.png"]
    with pytest.raises(InputError, match="choose another folder"):
        stickers.save_sticker(stickers.make_sticker(noisy, disk()), path / "x.png")
