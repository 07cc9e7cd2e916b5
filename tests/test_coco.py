"""COCO's annotations: tolerant of what the real ones hold, strict about what is broken."""

import io
import json
import re

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from pycocotools import mask as coco_mask

from tutorial_lib.data import coco, records, scenes
from tutorial_lib.errors import InputError
from tutorial_tools.cli import main

SQUARE = [2.0, 2.0, 6.0, 2.0, 6.0, 6.0, 2.0, 6.0]


def decode(segmentation, height=8, width=12):
    return coco.segmentation_mask(segmentation, height, width, "file.json: annotation 7")


masks = st.tuples(st.integers(1, 30), st.integers(1, 30)).flatmap(
    lambda shape: arrays(np.uint8, shape, elements=st.integers(0, 1))
)


@settings(max_examples=100, deadline=None)
@given(masks)
def test_run_lengths_in_both_forms_come_back(mask):
    runs = coco_mask.encode(np.asfortranarray(mask))
    texts = {"size": list(mask.shape), "counts": runs["counts"].decode()}
    numbers = scenes.uncompressed_run_lengths(mask.astype(bool))
    assert np.array_equal(decode(texts, *mask.shape), mask)
    assert np.array_equal(decode(numbers, *mask.shape), mask)


def test_several_polygons_are_one_object():
    far = [v + 4 if n % 2 == 0 else v for n, v in enumerate(SQUARE)]
    assert np.array_equal(decode([SQUARE, far]), decode([SQUARE]) | decode([far]))


def test_what_leaves_the_picture_is_cut_off():
    inside = decode([SQUARE])
    assert inside.sum() == 16
    assert np.array_equal(decode([[-9, 2, 6, 2, 6, 6, -9, 6]])[2:6, :6], np.ones((4, 6)))
    assert not decode([[40, 40, 50, 40, 50, 50]]).any()
    for far in (10**12, 1e12, 10**400):
        assert decode([[-far, -far, far, -far, far, far, -far, far]]).all()


@pytest.mark.parametrize("empty", [[], [[]], [[1, 1]], [[1, 1, 2, 2]]])
def test_polygons_that_enclose_nothing_are_passed_over(empty):
    assert not decode(empty).any()


def test_an_odd_number_at_the_end_is_dropped():
    assert np.array_equal(decode([[*SQUARE, 3.0]]), decode([SQUARE]))


@pytest.mark.parametrize(
    ("segmentation", "message"),
    [
        (None, "neither polygons nor run lengths"),
        ("text", "neither polygons nor run lengths"),
        ({"size": [8, 12]}, "neither polygons nor run lengths"),
        ([5], "no list"),
        ([["a"] * 6], "something else than numbers"),
        ([[float("nan")] * 6], "something else than numbers"),
        ([[[1, 2], [3, 4], [5, 6]]], "something else than numbers"),
        ([[[1, 2], [3, 4], [5, 6], [7, 8], [9, 9], [1, 3]]], "something else than numbers"),
        ({"counts": [96], "size": [12, 8]}, r"run lengths for \[12, 8\], its image is"),
        ({"counts": [90], "size": [8, 12]}, "do not fill the image"),
        ({"counts": [200, -104], "size": [8, 12]}, "do not fill the image"),
        ({"counts": "abcde", "size": [8, 12]}, "do not fill the image"),
        ({"counts": "", "size": [8, 12]}, "do not fill the image"),
        ({"counts": "\0\0\0", "size": [8, 12]}, "do not fill the image"),
        ({"counts": "\ud800", "size": [8, 12]}, "do not fill the image"),
    ],
)
def test_what_is_broken_names_file_and_id(segmentation, message):
    with pytest.raises(InputError, match=f"file.json: annotation 7 .*{message}") as caught:
        decode(segmentation)
    assert "\n" not in str(caught.value)


@settings(max_examples=300, deadline=None)
@given(st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126), max_size=40))
def test_no_text_makes_the_decoder_crash(text):
    try:
        assert decode({"counts": text, "size": [8, 12]}).shape == (8, 12)
    except InputError:
        pass


@pytest.fixture
def tree(tmp_path):
    (tmp_path / "annotations").mkdir()
    (tmp_path / "train2017").mkdir()
    for number, mode in enumerate(("RGB", "L", "CMYK"), start=1):
        Image.new(mode, (12, 8)).save(tmp_path / "train2017" / f"{number}.jpg")
    content = {
        "images": [{"id": n, "file_name": f"{n}.jpg", "height": 8, "width": 12} for n in (1, 2, 3)],
        "categories": [{"id": 17, "name": "cat"}],
        "annotations": [
            {"id": n, "image_id": n, "category_id": 17, "iscrowd": 0, "segmentation": [SQUARE]}
            for n in (1, 3)
        ],
    }
    return tmp_path, content


def opened(tree, strict=False):
    root, content = tree
    path = root / "annotations" / "instances_train2017.json"
    path.write_text(json.dumps(content), encoding="utf-8")
    return coco.CocoSplit(root, "train", strict)


def test_gray_cmyk_and_pictures_without_annotations(tree, tmp_path):
    split = opened(tree, strict=True)
    samples = list(split.samples(split.image_ids(), ["cat"]))
    assert [sample.image.shape for sample in samples] == [(8, 12, 3)] * 3
    assert [int(sample.labels.sum()) for sample in samples] == [16, 0, 16]
    assert (samples[2].image == samples[2].image[0, 0]).all()
    # TensorFlow cannot decode CMYK: such a file is encoded anew, the others stay as they are.
    with Image.open(io.BytesIO(records.jpeg_bytes(samples[2]))) as picture:
        assert picture.mode == "RGB"
    assert records.jpeg_bytes(samples[1]) == samples[1].path.read_bytes()


BROKEN = {
    "an image without size": ("images", {"id": 9, "file_name": "9.jpg"}, "image 9 has the size"),
    "an image of no height": (
        "images",
        {"id": 9, "file_name": "9.jpg", "height": 0, "width": 5},
        "image 9 has the size",
    ),
    "an image of a height that is no number": (
        "images",
        {"id": 9, "file_name": "9.jpg", "height": True, "width": 5},
        "image 9 has the size",
    ),
    "half a character": (
        "images",
        {"id": 9, "file_name": "\ud800.jpg", "height": 8, "width": 5},
        r"image 9 has the file name '\\ud800.jpg'",
    ),
    "a name of two lines": (
        "images",
        {"id": 9, "file_name": "a\n.jpg", "height": 8, "width": 5},
        r"image 9 has the file name 'a\\n.jpg'",
    ),
    "a path": (
        "images",
        {"id": 9, "file_name": "../../x.jpg", "height": 8, "width": 5},
        r"image 9 has the file name '\.\./",
    ),
    "an absolute path": (
        "images",
        {"id": 9, "file_name": "/x.jpg", "height": 8, "width": 5},
        "image 9 has the file name",
    ),
    "an image twice": (
        "images",
        {"id": 1, "file_name": "1.jpg", "height": 8, "width": 12},
        "image 1 has the id of an earlier one",
    ),
    "no object": ("images", 5, "image number 3 is no object with an id"),
    "an annotation of nothing": (
        "annotations",
        {"id": 9, "image_id": 77, "category_id": 17},
        "annotation 9 belongs to image 77, which is not listed",
    ),
    "an annotation of no category": (
        "annotations",
        {"id": 9, "image_id": 1, "category_id": 99},
        "annotation 9 has the category 99, which is not listed",
    ),
    "an annotation of a list": (
        "annotations",
        {"id": 9, "image_id": [1], "category_id": 17},
        r"annotation 9 belongs to image \[1\], which is not listed",
    ),
    "an annotation of a text": (
        "annotations",
        {"id": 9, "image_id": "\ud800", "category_id": 17},
        r"annotation 9 belongs to image '\\ud800', which is not listed",
    ),
    "an annotation of a category that is an object": (
        "annotations",
        {"id": 9, "image_id": 1, "category_id": {}},
        "annotation 9 has the category {}, which is not listed",
    ),
    "a category without a name": ("categories", {"id": 5}, "category 5 has no name"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_entries_that_cannot_be_used_are_listed_or_refused(tree, name):
    part, entry, message = BROKEN[name]
    tree[1][part].append(entry)
    split = opened(tree)
    (problem,) = split.problems
    assert "instances_train2017.json: " in problem
    assert re.search(message, problem), problem
    assert len(split.image_ids()) == 3 and split.read(1, ["cat"]).labels.sum() == 16
    with pytest.raises(InputError, match=message):
        opened(tree, strict=True)


def test_endless_nesting_is_not_json(tree):
    opened(tree)
    (tree[0] / "annotations" / "instances_train2017.json").write_text("[" * 200_000)
    with pytest.raises(InputError, match="is not JSON"):
        coco.CocoSplit(tree[0], "train")


def test_a_wrong_size_is_noticed_before_a_mask_of_that_size_is_drawn(tree, monkeypatch):
    tree[1]["images"][0].update(height=60_000, width=60_000)
    split = opened(tree)
    monkeypatch.setattr(np, "zeros", lambda *_: pytest.fail("a label map was made"))
    monkeypatch.setattr(coco_mask, "decode", lambda _: pytest.fail("a mask was drawn"))
    with pytest.raises(InputError, match="1.jpg is 12×8 pixels, its mask 60000×60000"):
        split.read(1, ["cat"])
    (line,) = split.check([1], ["cat"])
    assert "1.jpg is 12×8" in line


def test_a_category_has_one_label(tree):
    with pytest.raises(InputError, match="a category is named twice: cat, cat"):
        opened(tree).recipe(1, ["cat", "cat"]).labels()
    arguments = ["data", "convert", "coco", str(tree[0]), str(tree[0] / "out")]
    result = CliRunner().invoke(main, [*arguments, "-c", "cat", "-c", "cat"])
    assert result.exit_code == 1 and not (tree[0] / "out").exists()
    assert result.output == "Error: a category is named twice: cat, cat\n"


def test_damaged_pictures_are_listed_with_their_id(tree):
    split = opened(tree)
    split.image_path(2).write_bytes(b"no")
    split.image_path(3).unlink()
    tree[1]["annotations"][0]["segmentation"] = {"counts": [1], "size": [8, 12]}
    lines = list(opened(tree).check([1, 2, 3], ["cat"]))
    assert [line.split(":")[0] for line in lines] == ["image 1", "image 2", "image 3"]
    assert "annotation 1" in lines[0] and "decoded" in lines[1] and "missing" in lines[2]


def test_every_problem_of_a_picture_is_listed_with_file_and_id(tree):
    broken = {"counts": [1], "size": [8, 12]}
    tree[1]["annotations"] += [
        {"id": n, "image_id": 1, "category_id": 17, "iscrowd": 0, "segmentation": broken}
        for n in (8, 9)
    ]
    split = opened(tree)
    Image.new("RGB", (5, 5)).save(split.image_path(1))
    lines = list(split.check([1, 2, 3], ["cat"]))
    assert all(line.startswith("image 1: ") and str(tree[0]) in line for line in lines)
    found = ("1.jpg is 5×5", "annotation 8 ", "annotation 9 ")
    assert [part in line for part, line in zip(found, lines, strict=True)] == [True] * 3


def test_the_command_checks_the_masks_of_all_categories(tree):
    tree[1]["categories"].append({"id": 18, "name": "dog"})
    tree[1]["annotations"].append(
        {"id": 5, "image_id": 2, "category_id": 18, "iscrowd": 0, "segmentation": "no"}
    )
    opened(tree)
    arguments = ["data", "check", "coco", str(tree[0])]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1 and "annotation 5 holds neither" in result.output
    assert "3 images examined, 1 problems" in result.output
    assert CliRunner().invoke(main, [*arguments, "-c", "cat"]).exit_code == 0
    strict = CliRunner().invoke(main, [*arguments, "--strict"])
    assert strict.exit_code == 1 and "annotation 5 holds neither" in strict.output
