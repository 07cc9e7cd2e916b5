"""Photographs as people bring them: read right, or refused in one line."""

import warnings

import numpy as np
import pytest
from helpers import COLORS, one_line
from PIL import Image, ImageCms, ImageOps

from tutorial_lib.data.images import check_size, is_plain_jpeg, read_photograph


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_are_turned_upright_and_checked_against_the_annotation(
    tmp_path, orientation, name
):
    exif, path = Image.Exif(), tmp_path / name
    exif[0x0112] = orientation
    Image.fromarray(COLORS).save(path, exif=exif, quality=95)
    upright = read_photograph(path)
    turned = (40, 30) if orientation >= 5 else (30, 40)
    with Image.open(path) as file:
        assert np.array_equal(upright, ImageOps.exif_transpose(file).convert("RGB"))
    assert upright.shape == (*turned, 3)
    check_size(path, upright, turned)
    hint = "EXIF orientation" if orientation >= 5 else "replace one of the two"
    one_line(lambda: check_size(path, upright, turned[::-1]), f"pixels, its mask .*{hint}")
    assert is_plain_jpeg(path) == (name == "a.jpg" and orientation == 1)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp"])
@pytest.mark.parametrize("exif", [b"no tags", b"II*\0\x08\0\0\0\xff\xff", b"MM\0*\0\0\0\x08\0"])
def test_damaged_exif_data_say_nothing_and_are_no_fault(tmp_path, recwarn, name, exif):
    path = tmp_path / name
    Image.fromarray(COLORS).save(path, exif=b"Exif\0\0" + exif)
    assert read_photograph(path).shape == (30, 40, 3)
    assert is_plain_jpeg(path) == (name == "a.jpg") and not recwarn.list


def test_what_is_no_file_is_one_line_whatever_its_name(tmp_path):
    (tmp_path / "folder.jpg").mkdir()
    (tmp_path / "file").touch()
    one_line(
        lambda: read_photograph(tmp_path / "folder.jpg"), r"cannot be decoded \(Is a directory\)"
    )
    one_line(lambda: read_photograph(tmp_path / "file" / "a.jpg"), "a.jpg is missing")
    one_line(lambda: read_photograph(tmp_path / "a\nb.jpg"), "a b.jpg is missing")


@pytest.mark.parametrize("compression", ["raw", "tiff_lzw"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_gray_tiffs_are_turned_upright(tmp_path, orientation, compression):
    exif, gray = Image.Exif(), Image.fromarray(COLORS[..., 0])
    exif[0x0112] = orientation
    for name in ("a.tif", "a.png"):
        gray.save(tmp_path / name, exif=exif, compression=compression)
    expected = read_photograph(tmp_path / "a.png")
    assert np.array_equal(read_photograph(tmp_path / "a.tif"), expected)


RAMP = np.linspace(0, 1, 64)[None].repeat(8, 0)


@pytest.mark.parametrize("largest", [255, 1023, 4095, 16383, 65535])
@pytest.mark.parametrize("kind", ["png", "tif", "big-endian tif", "pgm"])
def test_deep_gray_is_scaled_by_its_range(tmp_path, kind, largest):
    path = tmp_path / f"a.{kind[-3:]}"
    values = np.rint(RAMP * largest).astype(np.uint16)
    if kind.startswith("big"):
        raw = values.astype(">u2").tobytes()
        Image.frombytes("I;16B", (64, 8), raw).save(path)
    elif kind == "pgm":
        path.write_bytes(b"P5 64 8 65535\n" + values.astype(">u2").tobytes())
    else:
        Image.fromarray(values).save(path)
    image = read_photograph(path)
    assert image.shape == (8, 64, 3)
    assert np.abs(image[..., 0] - RAMP * 255).max() <= 1


def test_one_gray_value_of_16_bits_is_transparent(tmp_path):
    values = np.rint(RAMP * 65535).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "a.png", transparency=int(values[0, 10]))
    image = read_photograph(tmp_path / "a.png")
    assert (image[:, 10] == 255).all()
    rest = np.delete(np.arange(64), 10)
    assert np.abs(image[:, rest, 0] - RAMP[:, rest] * 255).max() <= 1


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P", "PA", "RGB key"])
def test_transparent_pixels_are_white_not_their_hidden_color(tmp_path, mode):
    rgba = np.full((8, 8, 4), (0, 255, 0, 255), np.uint8)
    rgba[:4] = (9, 9, 9, 0)
    image = Image.fromarray(rgba)
    if mode == "P":
        image.save(tmp_path / "a.gif")
        image = Image.open(tmp_path / "a.gif")
    if mode == "RGB key":
        image.convert("RGB").save(tmp_path / "a.png", transparency=(9, 9, 9))
    elif mode == "PA":
        image.convert("LA").save(tmp_path / "a.tif")
        image = None
    else:
        image.convert(mode).save(tmp_path / "a.png")
    (path,) = [p for p in tmp_path.iterdir() if p.suffix != ".gif"]
    assert (read_photograph(path)[:4] == 255).all()
    assert (read_photograph(path)[4:, :, 1] > 100).all()


def wide_gamut():
    """Return a color profile whose red lies where sRGB has green."""
    profile = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    red, green = profile.index(b"rXYZ"), profile.index(b"gXYZ")
    profile[red : red + 4], profile[green : green + 4] = b"gXYZ", b"rXYZ"
    return bytes(profile)


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.webp"])
def test_colors_are_converted_to_srgb(tmp_path, name):
    path = tmp_path / name
    Image.new("RGB", (8, 8), (230, 30, 30)).save(path, icc_profile=wide_gamut(), quality=100)
    assert np.abs(read_photograph(path).astype(int) - (30, 230, 30)).max() <= 6
    assert not is_plain_jpeg(path)
    image = Image.new("RGBA", (8, 8), (230, 30, 30, 0))
    image.save(tmp_path / "b.png", icc_profile=wide_gamut())
    assert (read_photograph(tmp_path / "b.png") == 255).all()


@pytest.mark.parametrize("profile", ["sRGB", "damaged", "for gray"])
def test_a_profile_that_changes_nothing_or_does_not_fit_leaves_the_file_as_it_is(tmp_path, profile):
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    content = {"sRGB": srgb, "damaged": srgb[:150], "for gray": srgb.replace(b"RGB ", b"GRAY")}
    path = tmp_path / "a.jpg"
    Image.fromarray(COLORS).save(path, icc_profile=content[profile])
    with Image.open(path) as plain:
        assert np.array_equal(read_photograph(path), np.asarray(plain))
    assert is_plain_jpeg(path)


@pytest.mark.parametrize("suffix", [".dng", ".CR2", ".nef", ".arw", ".cr3", ".RAF"])
def test_raw_camera_files_are_refused(tmp_path, suffix):
    path = tmp_path / f"a{suffix}"
    Image.new("RGB", (16, 12)).save(path, "TIFF")
    one_line(lambda: read_photograph(path), "is a raw camera file; convert it to JPEG or PNG first")


@pytest.mark.parametrize("tags", [{50706: b"\1\4\0\0"}, {254: 1, 330: 8}])
def test_raw_camera_files_are_known_by_their_content_too(tmp_path, tags):
    Image.new("RGB", (16, 12)).save(tmp_path / "a.tif", tiffinfo=tags)
    one_line(lambda: read_photograph(tmp_path / "a.tif"), "is a raw camera file")


def test_of_several_frames_the_first_counts(tmp_path):
    frames = [Image.new("RGB", (8, 8), (n, 0, 0)) for n in (255, 0)]
    for name in ("a.gif", "a.webp", "a.tif", "a.mpo"):
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:])
        assert np.abs(read_photograph(tmp_path / name)[..., 0].astype(int) - 255).max() <= 3


@pytest.mark.parametrize(("side", "message"), [(9500, None), (10_001, "too large; scale it down")])
def test_large_images_are_read_in_silence_or_refused_in_one_line(tmp_path, side, message):
    path = tmp_path / "a.png"
    Image.new("1", (10_000, side), 1).save(path)
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        if message is None:
            assert read_photograph(path).shape == (9500, 10_000, 3)
        else:
            one_line(lambda: read_photograph(path), message)
