"""Inputs that people really bring, after public bug reports: read right, or refused in one line."""

import json
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image, ImageCms

from tutorial_lib.data.coco import CocoSplit
from tutorial_lib.data.images import check_size, is_plain_jpeg, read_photograph
from tutorial_lib.data.voc import VocTree, colormap, read_labels
from tutorial_lib.errors import InputError
from tutorial_tools.cli import main

REAL = os.environ.get("TUTORIAL_REAL_DATA")
GRAYS = np.arange(256, dtype=np.uint8)[:, None].repeat(3, axis=1)
SQUARE = [[5, 5, 15, 5, 15, 15, 5, 15]]
COLORS = np.repeat(np.repeat(np.random.default_rng(0).integers(0, 256, (3, 4, 3)), 10, 0), 10, 1)
COLORS = COLORS.astype(np.uint8)  # (30, 40, 3), flat blocks that a JPEG keeps


def one_line(call, message):
    with pytest.raises(InputError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


def run(*arguments):
    return CliRunner().invoke(main, ["data", *map(str, arguments)])


# Photographs


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_are_turned_upright_and_checked_against_the_annotation(
    tmp_path, orientation, name
):
    exif, path = Image.Exif(), tmp_path / name
    exif[0x0112] = orientation
    Image.fromarray(COLORS).save(path, exif=exif, quality=95)
    upright = read_photograph(path)
    turned = (40, 30) if orientation >= 5 else (30, 40)
    assert upright.shape == (*turned, 3)
    check_size(path, upright, turned)
    hint = "EXIF orientation" if orientation >= 5 else "replace one of the two"
    one_line(lambda: check_size(path, upright, turned[::-1]), f"pixels, its mask .*{hint}")
    assert is_plain_jpeg(path) == (name == "a.jpg" and orientation == 1)


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


# COCO


@pytest.fixture
def coco(tmp_path):
    """Return a function that writes a COCO tree of one image, changed, and returns its folder."""

    def write(change=lambda tree: None, name="1.jpg", encoding="utf-8"):
        tree = {
            "images": [{"id": 1, "file_name": name, "height": 30, "width": 40}],
            "annotations": [
                {"id": 1, "image_id": 1, "category_id": 17, "iscrowd": 0, "segmentation": SQUARE}
            ],
            "categories": [{"id": 17, "name": "cat"}],
        }
        change(tree)
        (tmp_path / "annotations").mkdir(exist_ok=True)
        path = tmp_path / "train2017" / name.replace("\\", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(COLORS).save(path)
        content = json.dumps(tree, ensure_ascii=False).encode(encoding)
        (tmp_path / "annotations" / "instances_train2017.json").write_bytes(content)
        return tmp_path

    return write


def first_labels(root, category="cat"):
    split = CocoSplit(root, "train")
    assert not split.problems
    (image_id,) = split.image_ids(category)
    return split.read(image_id, [category]).labels


def annotation(**changes):
    return lambda tree: tree["annotations"][0].update(changes)


def image(**changes):
    return lambda tree: tree["images"][0].update(changes)


@pytest.mark.parametrize("crowd", [0, 0.0, False, None, "0"])
def test_no_crowd_in_any_form(coco, crowd):
    assert np.unique(first_labels(coco(annotation(iscrowd=crowd)))).tolist() == [0, 1]


@pytest.mark.parametrize("crowd", [1, 1.0, True, "1"])
def test_a_crowd_in_any_form_is_void(coco, crowd):
    assert np.unique(first_labels(coco(annotation(iscrowd=crowd)))).tolist() == [0, 255]


@pytest.mark.parametrize("crowd", ["no", 2, [1], 0.5])
def test_a_crowd_that_is_neither_is_left_out_and_named(coco, crowd):
    split = CocoSplit(coco(annotation(iscrowd=crowd)), "train")
    assert "annotation 1 has iscrowd" in split.problems[0] and not split.image_ids("cat")


@pytest.mark.parametrize(
    "change",
    [
        image(id="1"),
        image(id=1.0),
        image(height="30", width=40.0),
        annotation(image_id="1", category_id="17"),
        annotation(id="7"),
        annotation(bbox=None, area=None),
        lambda tree: tree["categories"][0].update(id="17", supercategory=None),
        lambda tree: tree["annotations"][0].pop("iscrowd"),
    ],
)
def test_loosely_typed_and_optional_fields_are_read(coco, change):
    root = coco(change)
    assert first_labels(root)[5:15, 5:15].all()
    (found,) = CocoSplit(root, "train").annotations(1, "cat")
    assert found["iscrowd"] == 0 and found["bbox"] is None and found["category_id"] == 17


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (image(height=None, width=None), r"image 1 has the size \(None, None\)"),
        (image(id="one"), "image number 0 is no object with an id, a whole number"),
        (image(file_name="C:\\photos\\1.jpg"), "image 1 has the file name"),
        (image(file_name="..\\1.jpg"), "image 1 has the file name"),
        (annotation(category_id="cat"), "annotation 1 has the category 'cat', which is not"),
    ],
)
def test_what_is_left_out_is_said_before_the_work_goes_on(coco, tmp_path, capsys, change, message):
    root = coco(change)
    split = CocoSplit(root, "train")
    split.print_problems()
    assert len(capsys.readouterr().out.splitlines()) == len(split.problems) > 0
    result = run("convert", "coco", root, tmp_path / "out")
    first, *_, last = result.output.splitlines()
    assert result.exit_code == 1 and split.problems[0] == first
    assert "has no image with cat" in last and not (tmp_path / "out").exists()
    one_line(lambda: CocoSplit(root, "train", strict=True), message)


def test_many_problems_are_printed_in_brief(coco, capsys):
    root = coco(lambda tree: tree.update(images=[{"id": n} for n in range(9)]))
    CocoSplit(root, "train").print_problems()
    *lines, last = capsys.readouterr().out.splitlines()
    assert len(lines) == 5 and last.startswith("… and 4 more; `tutorial data check coco`")


def test_annotations_that_share_an_id_are_all_used_and_named(coco, tmp_path):
    def change(tree):
        tree["images"] *= 2
        tree["images"][1] = {**tree["images"][0], "id": 2}
        tree["annotations"] = [{**tree["annotations"][0], "image_id": n} for n in (1, 2)]

    root = coco(change)
    split = CocoSplit(root, "train")
    assert split.image_ids("cat") == [1, 2]
    assert "annotation 1 has the id of an earlier one; both are used" in split.problems[0]
    assert run("convert", "coco", root, tmp_path / "out").output.startswith(split.problems[0])


@pytest.mark.parametrize("other", ["cat", " Cat", "CAT ", "cat\t"])
@pytest.mark.parametrize("used", [17, 3])
def test_two_categories_of_one_name_both_count(coco, other, used):
    def change(tree):
        tree["categories"].append({"id": 3, "name": other})
        annotation(category_id=used)(tree)

    assert first_labels(coco(change)).any()


def test_at_most_254_categories_have_labels(coco):
    names = [f"c{n}" for n in range(300)]
    categories = [{"id": n, "name": name} for n, name in enumerate(names)]
    split = CocoSplit(coco(lambda tree: tree.update(categories=categories)), "train")
    one_line(lambda: split.read(1, names), "300 categories are named; choose at most 254")
    one_line(lambda: split.read(1, names[:255]), "255 categories are named")
    assert split.read(1, names[:254]).labels.max() == 18
    assert list(split.check([1])) == []


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_text_with_a_byte_order_mark_or_of_wide_characters_is_read(coco, encoding):
    def rename(tree):
        tree["categories"][0]["name"] = "café"

    assert first_labels(coco(rename, encoding=encoding), "café").any()


def test_another_encoding_is_named(coco):
    root = coco(lambda tree: tree["categories"][0].update(name="café"), encoding="cp1252")
    one_line(
        lambda: CocoSplit(root, "train"),
        r"line 1, is no text in UTF-8 \(byte 0xe9, as in Windows-1252, say\); save .* in UTF-8",
    )


def test_windows_separators_are_accepted(coco):
    assert first_labels(coco(name="images\\1.jpg")).any()


# VOC


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
    ],
)
def test_masks_that_are_not_of_voc_are_refused_wherever_they_are_read(
    voc, tmp_path, write, message
):
    write(voc)
    one_line(lambda: VocTree(voc).read("a"), f"a.png .*({message})")
    assert "1 images examined, 1 problems" in run("check", "voc", voc).output
    converted = run("convert", "voc", voc, tmp_path / "out")
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


def test_a_missing_list_names_those_that_are_there(voc):
    lists = voc / "ImageSets/Segmentation"
    (lists / "train.txt").rename(lists / "default.txt")
    one_line(lambda: VocTree(voc).ids("train"), "train.txt is missing.*there: default.txt")
    assert run("check", "voc", voc, "--split", "default").exit_code == 0


# The cases themselves, where they lie beside the real data

CASES = Path(REAL or "/nowhere").parent / "cases"


@pytest.mark.skipif(not CASES.is_dir(), reason="no folder `cases` beside TUTORIAL_REAL_DATA")
def test_every_case_is_read_or_refused_in_one_line():
    refused = set()
    for folder in filter(Path.is_dir, CASES.iterdir()):
        try:
            if folder.name.startswith("coco"):
                split = CocoSplit(folder, "train")
                split.read(
                    split.image_ids()[0], list(split.categories)
                ) if not split.problems else 0
            elif folder.name.startswith("voc"):
                tree = VocTree(folder)
                tree.read(tree.ids("train")[0])
            else:
                read_photograph(next(p for p in folder.iterdir() if p.name != "README"))
        except InputError as error:
            assert "\n" not in str(error)
            refused.add(folder.name)
    assert refused == {
        "coco-300-categories", "coco-cp1252", "photo-dng", "voc-adaptive", "voc-binary-255",
        "voc-default-split", "voc-two-columns",
    }  # fmt: skip
