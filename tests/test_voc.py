"""The VOC tree: masks, lists and files that are right are read, the others refused in one line."""

import gzip
import struct
import zlib

import numpy as np
import pytest
from helpers import COLORS, one_line, run
from PIL import Image

from tutorial_lib.data import records
from tutorial_lib.data.voc import VocTree, colormap, read_labels

GRAYS = np.arange(256, dtype=np.uint8)[:, None].repeat(3, axis=1)


@pytest.fixture
def voc(tmp_path):
    """Return the folder of a VOC tree of one image whose mask holds a cat and void."""
    root = tmp_path / "VOC2012"
    for name in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / name).mkdir(parents=True)
    Image.fromarray(COLORS).save(root / "JPEGImages/a.jpg")
    save_mask(root, cat_mask())
    (root / "ImageSets/Segmentation/train.txt").write_text("a\n")
    return root


def cat_mask():
    labels = np.zeros((30, 40), np.uint8)
    labels[5:15, 5:15], labels[15, 5:15] = 8, 255
    return labels


def save_mask(root, labels, palette=None, **options):
    mask = Image.fromarray(labels)
    mask.putpalette((colormap() if palette is None else palette).tobytes())
    mask.save(root / "SegmentationClass/a.png", **options)


def reduced(root):
    """Write the mask in the colors of VOC, with a palette of only those that occur."""
    colored = Image.fromarray(colormap()[cat_mask()])
    colored.convert("P", palette=Image.Palette.ADAPTIVE, colors=3).save(
        root / "SegmentationClass/a.png"
    )


def gray(*values):
    labels = np.resize(np.array(values, np.uint8), (30, 40))
    return lambda root: Image.fromarray(labels).save(root / "SegmentationClass/a.png")


@pytest.mark.parametrize(
    ("write", "message"),
    [
        (reduced, "paints class 0 in another color than VOC|paints class 1 in another"),
        (lambda r: save_mask(r, cat_mask(), GRAYS), "paints class"),
        (gray(0, 255), "only 0 and 255, background and void, and no class"),
        (gray(255), "only 0 and 255"),
        (gray(0, 21), "holds the label 21"),
        (lambda r: Image.new("1", (40, 30)).save(r / "SegmentationClass/a.png"), "holds 1 colors"),
        (lambda r: Image.fromarray(cat_mask() % 9).save(r / MASK, "JPEG"), "is a JPEG, whose"),
        (lambda r: (r / MASK).write_bytes(png(40, 30, depth=4)), "holds gray of 2 or 4 bits"),
    ],
)
def test_masks_that_are_not_of_voc_are_refused_wherever_they_are_read(
    voc, tmp_path, write, message
):
    write(voc)
    one_line(lambda: VocTree(voc).read("a"), f"a.png .*({message})")
    assert "1 images examined, 1 problems" in run("data", "check", "voc", voc).output
    converted = run("data", "convert", "voc", voc, tmp_path / "out")
    assert converted.exit_code == 1 and "a.png" in converted.output


@pytest.mark.parametrize(
    "write",
    [
        gray(0, 1, 255),
        gray(0),
        gray(0, 8, 20, 255),
        lambda r: save_mask(r, np.minimum(cat_mask(), 8), colormap()[:9]),
        lambda r: save_mask(r, np.where(cat_mask() == 8, 0, 255).astype(np.uint8)),
    ],
)
def test_masks_of_voc_are_read_gray_or_with_its_colors(voc, write):
    write(voc)
    with Image.open(voc / "SegmentationClass/a.png") as mask:
        expected = np.array(mask)
    assert np.array_equal(read_labels(voc / "SegmentationClass/a.png"), expected)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a  1\nb -1\n", r"train.txt, line 1, lists 'a  1'; expected one name a line"),
        ("a\nb 1 0\n", r"line 2, lists 'b 1 0'"),
        ("JPEGImages\\a\n", r"line 1, lists 'JPEGImages\\\\a'.* folder"),
        ("/JPEGImages/a.jpg /SegmentationClass/a.png\n", "line 1, lists"),
        ("a\nb.JPG\n", r"line 2, lists 'b.JPG'.* suffix"),
        ("a\n..\n", r"line 2, lists '\.\.'"),
        ("", "is empty"),
        ("\r\n \r\n", "is empty"),
    ],
)
def test_a_list_that_is_none_names_the_line(voc, content, message):
    (voc / "ImageSets/Segmentation/train.txt").write_text(content)
    one_line(lambda: VocTree(voc).ids("train"), message)


@pytest.mark.parametrize(
    "content",
    [b"a\r\nb\r\n", b"\xef\xbb\xbfa\nb", "a\r\nb\r\n".encode("utf-16"), b" a \n\nb"],
)
def test_lists_from_windows_are_read(voc, content):
    (voc / "ImageSets/Segmentation/train.txt").write_bytes(content)
    assert VocTree(voc).ids("train") == ["a", "b"]


@pytest.mark.parametrize("name", ["photo (1)", "a b", "u\u0308", "a%20b", "a+b, c", "2008.01"])
@pytest.mark.parametrize("suffix", [".jpg", ".JPG", ".jpeg", ".png"])
def test_names_and_suffixes_of_photographs_are_those_of_their_cameras(voc, name, suffix):
    Image.fromarray(COLORS).save(voc / f"JPEGImages/{name}{suffix}")
    (voc / MASK).rename(voc / f"SegmentationClass/{name}.png")
    (voc / LIST).write_text(f"{name}\n", encoding="utf-8")
    (sample,) = VocTree(voc).samples("train")
    assert sample.id == name and np.array_equal(sample.labels, cat_mask())


def test_a_name_that_is_listed_twice_counts_once_and_is_named(voc):
    (voc / LIST).write_text("a\na\n")
    assert VocTree(voc).ids("train") == ["a"]
    output = run("data", "check", "voc", voc).output
    assert "train.txt lists it 2 times; it counts once" in output
    assert "1 images examined, 1 problems" in output


def test_a_missing_list_names_those_that_are_there(voc):
    lists = voc / "ImageSets/Segmentation"
    (lists / "train.txt").rename(lists / "default.txt")
    one_line(lambda: VocTree(voc).ids("train"), "train.txt is missing.*there: default.txt")
    assert run("data", "check", "voc", voc, "--split", "default").exit_code == 0


def png(width, height, extra=b"", depth=8):
    """Return a gray PNG without its pixels."""
    header = struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", b"")


def chunk(kind, content):
    check = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + check


def huge_text():
    """Return a part of a PNG that would unpack to 70 MiB."""
    return chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(70 << 20)))


IMAGE, MASK = "JPEGImages/a.jpg", "SegmentationClass/a.png"
LIST = "ImageSets/Segmentation/train.txt"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (IMAGE, b"no", "a.jpg cannot be decoded"),
        (IMAGE, None, "a.jpg is missing"),
        (MASK, None, "a.png is missing"),
        (MASK, png(20_000, 20_000), "a.png is too large"),
        (MASK, png(9, 9, huge_text()), "a.png cannot be decoded .*too large"),
        (LIST, None, "train.txt is missing"),
        (LIST, b"\xe9", r"train.txt, line 1, is no text in UTF-8 \(byte 0xe9"),
        (LIST, gzip.compress(b"a", mtime=0), "train.txt is compressed; unpack it"),
        (LIST, "folder", r"train.txt cannot be read \(Is a directory\)"),
    ],
)
def test_broken_files_are_one_line(voc, name, content, message):
    (voc / name).unlink()
    if content == "folder":
        (voc / name).mkdir()
    elif content is not None:
        (voc / name).write_bytes(content)
    one_line(lambda: list(VocTree(voc).samples("train")), message)


def test_an_image_and_its_mask_have_one_size(voc):
    save_mask(voc, np.zeros((8, 8), np.uint8))
    one_line(lambda: VocTree(voc).read("a"), "40×30 pixels, its mask 8×8")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(COLORS).save(voc / IMAGE, exif=exif)
    save_mask(voc, cat_mask())
    one_line(lambda: VocTree(voc).read("a"), "30×40 pixels, its mask 40×30; .* EXIF orientation")
    save_mask(voc, cat_mask().T.copy())
    assert VocTree(voc).read("a").image.shape == (40, 30, 3)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
@pytest.mark.parametrize("orientation", [3, 6, 8])
def test_a_mask_is_turned_by_its_own_orientation(voc, orientation, kind):
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(COLORS).save(voc / IMAGE, exif=exif)
    save_mask(voc, cat_mask(), exif=exif, format=kind)
    turns = {3: 2, 6: 3, 8: 1}[orientation]
    assert np.array_equal(VocTree(voc).read("a").labels, np.rot90(cat_mask(), turns))


def test_colors_by_the_bit_rule():
    colors = colormap()
    assert colors[0].tolist() == [0, 0, 0] and colors[1].tolist() == [128, 0, 0]
    assert colors[8].tolist() == [64, 0, 0] and colors[15].tolist() == [192, 128, 128]
    assert colors[20].tolist() == [0, 64, 128] and colors[255].tolist() == [224, 224, 192]
    assert len(np.unique(colors, axis=0)) == 256


def test_a_tree_is_found_from_any_of_its_folders(voc, tmp_path):
    (tmp_path / "kit").mkdir()
    voc.rename(tmp_path / "kit" / "VOC2012")
    for root in (tmp_path / "kit" / "VOC2012", tmp_path / "kit"):
        assert np.array_equal(VocTree(root).read("a").labels, cat_mask())
    one_line(lambda: VocTree(tmp_path), "give the folder VOCdevkit as data_dir")


def test_records_are_made_of_what_is_sound_and_the_rest_is_listed(voc, tmp_path):
    (voc / LIST).write_text("a\nb\n")
    assert "2 images examined, 1 problems" in run("data", "check", "voc", voc).output
    arguments = ["data", "convert", "voc", voc, tmp_path / "out", "--shards", "1"]
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    assert "b.jpg is missing" in result.output
    assert "1 of 2 images converted, 1 problems" in result.output
    (record,) = records.read_records(tmp_path / "out")
    assert record["id"] == b"a" and np.array_equal(record["labels"], cat_mask())
    result = run(*arguments[:4], tmp_path / "other", "--strict")
    assert result.exit_code == 1 and "b.jpg is missing" in result.output
