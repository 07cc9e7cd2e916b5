"""Stickers: size, contour, transparency, and masks that need cleaning."""

import json
import warnings
import zipfile

import keras
import numpy as np
import pytest
from helpers import run
from PIL import Image

from tutorial_lib import stickers
from tutorial_lib.data import voc
from tutorial_lib.errors import InputError
from tutorial_lib.training import checkpoints

BLUE = np.full((60, 100, 3), (0, 0, 255), np.uint8)


def disk(center=(30, 50), radius=20):
    y, x = np.mgrid[:60, :100]
    return (y - center[0]) ** 2 + (x - center[1]) ** 2 < radius**2


PHOTO = np.where(disk().repeat(2, 0).repeat(2, 1)[..., None], (0, 0, 255), 240).astype(np.uint8)


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


def test_gray_and_transparent_images_become_stickers_too():
    gray = np.full((60, 100), 90, np.uint8)
    for image in (gray, gray[..., None], np.dstack([gray] * 3 + [gray * 0 + 255])):
        sticker = stickers.make_sticker(image, disk().tolist())
        assert sticker[256, 256].tolist() == [90, 90, 90, 255]


def test_pillow_does_not_warn_of_large_photographs(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert stickers.make_sticker(BLUE, disk()).shape[:2] == (512, 512)


def test_holes_are_filled_and_crumbs_dropped():
    mask = disk()
    mask[28:32, 48:52] = False
    mask[2:4, 2:4] = True
    clean = stickers.clean_mask(mask)
    assert clean[30, 50] and not clean[2, 2]
    assert np.array_equal(clean, disk())
    two = disk((30, 25), 15) | disk((30, 75), 12)
    assert np.array_equal(stickers.clean_mask(two), two)


def test_an_upsampled_boundary_has_no_stairs():
    image = np.full((24, 24, 3), (0, 0, 255), np.uint8)
    sticker = stickers.make_sticker(image, np.tril(np.ones((24, 24))), contour=0)
    ends = (sticker[..., 3] > 127).sum(axis=1)[128:384]  # how far each row reaches
    # A pixel of the mask is 21 pixels wide here; plain bicubic upsampling has stairs of 6.
    assert np.ptp(ends - np.arange(128, 384)) <= 3
    line = stickers.make_sticker(BLUE, np.eye(60, 100), contour=0)
    assert (line[..., 3] > 127).mean() > 0.005  # a line one pixel thin is still there


@pytest.mark.parametrize(
    ("mask", "options", "message"),
    [
        (np.zeros((60, 100)), {}, "there is nothing to cut out"),
        (np.ones((5, 5)), {}, "must have the image's size"),
        (disk(), {"contour": 128}, "whole number from 0 to 127"),
        (disk(), {"contour": -1}, "whole number from 0 to 127"),
        (disk(), {"contour": 0, "side": 4}, "side=4 must be more than 4 pixels"),
        (disk(), {"contour": 1.5}, "contour=1.5 is impossible"),
        (disk(), {"contour": 3, "side": 50, "shadow": True}, "side=50 must be more than 50 pixels"),
        (np.eye(60, 100), {"contour": 0, "side": 12}, "the object is too thin"),
    ],
)
def test_bad_input_says_why(mask, options, message):
    with pytest.raises(InputError, match=message):
        stickers.make_sticker(BLUE, mask, **options)


def test_saved_small_and_whole(tmp_path):
    rng = np.random.default_rng(0)
    noisy = rng.integers(0, 256, BLUE.shape, dtype=np.uint8)
    path = tmp_path / "new" / "cat.png"
    stickers.save_png(stickers.make_sticker(noisy, disk()), path)
    assert Image.open(path).mode == "RGBA" and path.stat().st_size < 512_000
    assert [p.name for p in path.parent.iterdir()] == ["cat.png"]
    with pytest.raises(InputError, match="choose another folder"):
        stickers.save_png(stickers.make_sticker(noisy, disk()), path / "x.png")


def test_noise_is_coarsened_until_it_fits(tmp_path):
    rng = np.random.default_rng(0)
    noise = rng.integers(0, 256, (512, 512, 3), dtype=np.uint8)
    sticker = stickers.make_sticker(noise, np.ones((512, 512)), contour=0)
    stickers.save_png(sticker, tmp_path / "noise.png")
    saved = np.asarray(Image.open(tmp_path / "noise.png"))
    assert (tmp_path / "noise.png").stat().st_size < 512_000
    assert np.array_equal(saved[..., 3], sticker[..., 3]) and (saved[0, :, 3] == 0).all()
    with pytest.raises(InputError, match="does not fit into 1000 bytes"):
        stickers.png_within(sticker, 1000)


def test_a_shadow_lies_below_the_contour():
    plain, shaded = (stickers.make_sticker(BLUE, disk(), shadow=s) for s in (False, True))
    assert shaded.shape[0] == plain.shape[0] == 512
    dark = (shaded[..., 3] > 20) & (shaded[..., :3].max(axis=-1) < 60)
    rows, columns = np.nonzero(dark)
    assert rows.mean() > 256 and columns.mean() > 256
    assert shaded[256, 256].tolist() == [0, 0, 255, 255]
    assert shaded[0, :, 3].max() <= 1 and shaded[-1, :, 3].max() <= 3  # nothing is cut off


def test_preview_on_light_and_dark():
    image = stickers.preview(stickers.make_sticker(BLUE, disk()))
    assert image.shape == (512, 1024, 3)
    assert image[0, :512].min() > 200 and image[0, 512:].max() < 70
    wide = stickers.make_sticker(
        BLUE, np.ones((20, 100)).repeat(3, 0) * (np.arange(60) < 30)[:, None]
    )
    board = stickers.on_checkerboard(wide, dark=True)
    assert wide.shape[0] < 400 and board.shape == (512, 512, 3)
    assert board[:50].max() < 70 and board[256, 256].tolist() == [0, 0, 255]


def test_a_missing_object_is_named_with_what_is_there():
    labels = np.zeros((60, 100), np.uint8)
    labels[disk()] = 8
    assert np.array_equal(stickers.find_object(labels, "cat", voc.CLASSES), disk())
    with pytest.raises(InputError, match="finds no dog in this photograph; it finds cat"):
        stickers.find_object(labels, "dog", voc.CLASSES)
    with pytest.raises(InputError, match="it finds background only"):
        stickers.find_object(labels * 0, "dog", voc.CLASSES)
    with pytest.raises(InputError, match="label='unicorn' is not known"):
        stickers.find_object(labels, "unicorn", voc.CLASSES)
    assert stickers.largest_class(labels, voc.CLASSES) == "cat"
    with pytest.raises(InputError, match="finds no object"):
        stickers.largest_class(labels * 0, voc.CLASSES)


@pytest.fixture
def blue_is_cat(tmp_path):
    """Save a network that predicts cat for blue pixels and background for all others."""
    inputs = keras.Input((None, None, 3))
    score = keras.layers.Conv2D(21, 1)
    model = keras.Model(inputs, score(inputs))
    kernel, bias = np.zeros((1, 1, 3, 21)), np.full(21, -9.0)
    kernel[0, 0, :, 8], bias[0], bias[8] = (-4, -4, 4), 1, 0
    score.set_weights([kernel, bias])
    path = tmp_path / "models" / "net.keras"
    checkpoints.save_network(model, path, voc.CLASSES, short_side=64)
    assert [p.name for p in path.parent.iterdir()] == ["net.keras"]
    return path


def test_a_saved_net_knows_how_it_is_used(blue_is_cat):
    net = checkpoints.load_network(blue_is_cat)
    assert (net.classes, net.short_side) == (voc.CLASSES, 64)
    labels = net.segment(PHOTO)
    assert set(np.unique(labels)) == {0, 8} and labels.shape == (120, 200)
    assert np.mean(net.segment(PHOTO, crf=True) == labels) > 0.97


@pytest.mark.parametrize("size", ["x", None, 0])
def test_a_net_without_a_size_is_refused(blue_is_cat, size):
    assert checkpoints.load_network(str(blue_is_cat)).short_side == 64  # a text will do for a path
    with zipfile.ZipFile(blue_is_cat) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    facts = json.loads(members[checkpoints.FACTS]) | {"short_side": size}
    members[checkpoints.FACTS] = json.dumps(facts)
    with zipfile.ZipFile(blue_is_cat, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    with pytest.raises(InputError, match="or not a segmentation network"):
        checkpoints.load_network(blue_is_cat)


@pytest.mark.parametrize(
    ("channels", "pooled", "classes"),
    [(1, False, voc.CLASSES), (3, True, voc.CLASSES), (3, False, ["a", "b"]), (3, False, [])],
)
def test_a_net_of_another_shape_is_refused(tmp_path, channels, pooled, classes):
    layers = [keras.layers.GlobalAveragePooling2D()] * pooled + [keras.layers.Dense(21)]
    model = keras.Sequential([keras.Input((None, None, channels)), *layers])
    checkpoints.save_network(model, tmp_path / "net.keras", classes, short_side=64)
    with pytest.raises(InputError, match="or not a segmentation network"):
        checkpoints.load_network(tmp_path / "net.keras")


def test_the_sticker_command(blue_is_cat, tmp_path):
    Image.fromarray(PHOTO).save(tmp_path / "photo.jpg", quality=95)
    out, preview = tmp_path / "out" / "cat.png", tmp_path / "preview.png"
    arguments = ["sticker", str(tmp_path / "photo.jpg"), "--model", str(blue_is_cat)]
    result = run(*arguments, "-o", out, "--preview", preview, "--shadow")
    assert result.exit_code == 0, result.output
    assert Image.open(out).mode == "RGBA" and max(Image.open(out).size) == 512
    assert Image.open(preview).size == (1024, 512)
    result = run(*arguments, "--label", "dog", "-o", out)
    assert result.exit_code == 1 and "finds no dog" in result.output


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("-o photo.png", "photo.png is already in use; choose another name"),
        ("-o ../here/photo.png", "photo.png is already in use"),
        ("-o linked.png", "linked.png is already in use"),
        ("--preview photo.png", "photo.png is already in use"),
        ("-o a.png --preview a.png", "a.png is already in use"),
        ("--preview photo-sticker.png", "photo-sticker.png is already in use"),
        ("--model net.png -o net.png", "net.png is already in use"),
        ("-o net.keras --model net.keras", "net.keras should end in .png"),
        ("-o b.jpg", "b.jpg should end in .png"),
        ("--preview b.jpg", "b.jpg should end in .png"),
    ],
)
def test_the_sticker_command_overwrites_nothing_it_reads(tmp_path, monkeypatch, options, message):
    monkeypatch.setattr(checkpoints, "load_network", None)  # it must not come to that
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    Image.fromarray(BLUE).save("photo.png")
    (tmp_path / "here" / "linked.png").symlink_to("photo.png")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    result = run("sticker", "photo.png", *options.split())
    assert result.exit_code == 1 and message in result.output
    assert len(result.output.splitlines()) == 1
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*")} == before


def test_the_sticker_command_says_what_it_needs(tmp_path, monkeypatch):
    monkeypatch.setenv("TUTORIAL_DATA", str(tmp_path))
    result = run("sticker", tmp_path / "none.jpg")
    assert result.exit_code == 1 and "none.jpg is missing" in result.output
    Image.fromarray(BLUE).save(tmp_path / "photo.jpg")
    missing = ["sticker", str(tmp_path / "photo.jpg"), "--model", str(tmp_path / "none.keras")]
    result = run(*missing)
    assert result.exit_code == 1 and "trained on photographs" in result.output
    assert "tutorial run 05 -p dataset voc" in result.output
    (tmp_path / "bad.keras").write_bytes(b"no")
    result = run("sticker", tmp_path / "photo.jpg", "--model", tmp_path / "bad.keras")
    assert result.exit_code == 1 and "is damaged" in result.output
