"""COCO's annotations: tolerant of what the real ones hold, strict about what is broken."""

import gzip
import io
import json
import re

import numpy as np
import pytest
from helpers import one_line, run
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from pycocotools import mask as coco_mask

from tutorial_lib.data import records, scenes
from tutorial_lib.data.coco import CocoSplit, run_lengths
from tutorial_lib.errors import InputError

COLORS = np.zeros((30, 40, 3), np.uint8)
LARGER = [5, 5, 15, 5, 15, 15, 5, 15]
SQUARE = [2.0, 2.0, 6.0, 2.0, 6.0, 6.0, 2.0, 6.0]


def decode(segmentation, height=8, width=12):
    runs = run_lengths(segmentation, height, width, "file.json: annotation 7")
    return coco_mask.decode(runs).astype(bool)


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


def test_run_lengths_may_be_whole_numbers_of_any_type():
    exact = decode({"counts": [40, 8, 48], "size": [8, 12]})
    assert exact.sum() == 8
    loose = {"counts": [40.0, "8", 48], "size": ["8", 12.0]}
    assert np.array_equal(decode(loose), exact)


def test_several_polygons_are_one_object():
    far = [v + 4 if n % 2 == 0 else v for n, v in enumerate(SQUARE)]
    assert np.array_equal(decode([SQUARE, far]), decode([SQUARE]) | decode([far]))


def test_what_leaves_the_image_is_cut_off():
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
        ({"counts": "PS", "size": [8, 12]}, "do not fill the image"),
        ({"counts": [0.5, 95.5], "size": [8, 12]}, "do not fill the image"),
        ({"counts": "\0\0\0", "size": [8, 12]}, "do not fill the image"),
        ({"counts": "\ud800", "size": [8, 12]}, "do not fill the image"),
    ],
)
def test_what_is_broken_names_file_and_id(segmentation, message):
    one_line(lambda: decode(segmentation), f"file.json: annotation 7 .*{message}")


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
    return CocoSplit(root, "train", strict)


def test_gray_cmyk_and_images_without_annotations(tree, tmp_path):
    split = opened(tree, strict=True)
    samples = list(split.samples(split.image_ids(), ["cat"]))
    assert [sample.image.shape for sample in samples] == [(8, 12, 3)] * 3
    assert [int(sample.labels.sum()) for sample in samples] == [16, 0, 16]
    assert (samples[2].image == samples[2].image[0, 0]).all()
    # TensorFlow cannot decode CMYK: such a file is encoded anew, the others stay as they are.
    with Image.open(io.BytesIO(records.jpeg_bytes(samples[2]))) as stored:
        assert stored.mode == "RGB"
    assert records.jpeg_bytes(samples[1]) == samples[1].path.read_bytes()


def image_9(**changes):
    return "images", {"id": 9, "file_name": "9.jpg", "height": 8, "width": 5, **changes}


def annotation_9(**changes):
    return "annotations", {"id": 9, "image_id": 1, "category_id": 17, **changes}


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        (image_9(height=None), "image 9 has the size"),
        (image_9(height=0), "image 9 has the size"),
        (image_9(height=True), "image 9 has the size"),
        (image_9(file_name="\ud800.jpg"), r"image 9 has the file name '\\ud800.jpg'"),
        (image_9(file_name="a\n.jpg"), r"image 9 has the file name 'a\\n.jpg'"),
        (image_9(file_name="../../x.jpg"), r"image 9 has the file name '\.\./"),
        (image_9(file_name="/x.jpg"), "image 9 has the file name"),
        (image_9(file_name="C:\\photos\\1.jpg"), "image 9 has the file name"),
        (image_9(file_name="..\\1.jpg"), "image 9 has the file name"),
        (image_9(id=1), "image 1 has the id of an earlier one"),
        (("images", 5), "image number 3 is no object with an id"),
        (image_9(id="one"), "image number 3 is no object with an id, a whole number"),
        (annotation_9(image_id=77), "annotation 9 belongs to image 77, which is not listed"),
        (annotation_9(image_id=[1]), r"annotation 9 belongs to image \[1\], which is not listed"),
        (annotation_9(image_id="\ud800"), r"annotation 9 belongs to image '\\ud800', which is"),
        (annotation_9(category_id=99), "annotation 9 has the category 99, which is not listed"),
        (annotation_9(category_id="cat"), "annotation 9 has the category 'cat', which is not"),
        (annotation_9(category_id={}), "annotation 9 has the category {}, which is not listed"),
        (("categories", {"id": 5}), "category 5 has no name"),
        (("categories", {"id": 17, "name": "dog"}), "category 17 has the id of an earlier one"),
    ],
)
def test_entries_that_cannot_be_used_are_listed_or_refused(tree, entry, message):
    part, content = entry
    tree[1][part].append(content)
    split = opened(tree)
    (problem,) = split.problems
    assert "instances_train2017.json: " in problem
    assert re.search(message, problem), problem
    assert len(split.image_ids()) == 3 and split.read(1, ["cat"]).labels.sum() == 16
    with pytest.raises(InputError, match=message):
        opened(tree, strict=True)


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
    result = run(*arguments, "-c", "cat", "-c", "cat")
    assert result.exit_code == 1 and not (tree[0] / "out").exists()
    assert result.output == "Error: a category is named twice: cat, cat\n"


def test_damaged_images_are_listed_with_their_id(tree):
    split = opened(tree)
    split.image_path(2).write_bytes(b"no")
    split.image_path(3).unlink()
    tree[1]["annotations"][0]["segmentation"] = {"counts": [1], "size": [8, 12]}
    lines = list(opened(tree).check([1, 2, 3], ["cat"]))
    assert [line.split(":")[0] for line in lines] == ["image 1", "image 2", "image 3"]
    assert "annotation 1" in lines[0] and "decoded" in lines[1] and "missing" in lines[2]


def test_every_problem_of_an_image_is_listed_with_file_and_id(tree):
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
    result = run(*arguments)
    assert result.exit_code == 1 and "annotation 5 holds neither" in result.output
    assert "3 images examined, 1 problems" in result.output
    assert run(*arguments, "-c", "cat").exit_code == 0
    strict = run(*arguments, "--strict")
    assert strict.exit_code == 1 and "annotation 5 holds neither" in strict.output


@pytest.fixture
def coco(tmp_path):
    """Return a function that writes a COCO tree of one image, changed, and returns its folder."""

    def write(change=lambda tree: None, name="1.jpg", encoding="utf-8"):
        tree = {
            "images": [{"id": 1, "file_name": name, "height": 30, "width": 40}],
            "annotations": [
                {"id": 1, "image_id": 1, "category_id": 17, "iscrowd": 0, "segmentation": [LARGER]}
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

    write.root = tmp_path
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


PAIRS = [[5, 5], [15, 5], [15, 15], [5, 15]]


@pytest.mark.parametrize(
    "segmentation",
    [[], [[]], PAIRS, [[v / 40 for v in LARGER]], [[v + 50 for v in LARGER]],
     {"counts": [1200], "size": [30, 40]}],
)  # fmt: skip
@pytest.mark.parametrize("box", [[5, 5, 10, 10], None, "none"])
def test_an_object_that_marks_no_pixel_is_no_background(coco, tmp_path, segmentation, box):
    root = coco(annotation(segmentation=segmentation, bbox=box))
    one_line(lambda: CocoSplit(root, "train").read(1, ["cat"]), "annotation 1 marks no pixel")
    (line,) = CocoSplit(root, "train").check([1])
    assert "annotation 1 marks no pixel of the image, but its box is " in line
    assert "1 problems" in run("data", "convert", "coco", root, tmp_path / "out").output


@pytest.mark.parametrize("box", [[5, 5, 0, 0], [5.0, 5.0, 1.5, 9]])
def test_an_object_of_less_than_two_pixels_may_mark_none(coco, box):
    assert not first_labels(coco(annotation(segmentation=[[5, 5]], bbox=box))).any()


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
        annotation(id="a7-b"),
        lambda tree: tree["annotations"][0].pop("id"),
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


def test_what_is_left_out_is_said_before_the_work_goes_on(coco, tmp_path, capsys):
    root = coco(image(height=None, width=None))
    split = CocoSplit(root, "train")
    split.print_problems()
    assert len(capsys.readouterr().out.splitlines()) == len(split.problems) > 0
    result = run("data", "convert", "coco", root, tmp_path / "out")
    first, *_, last = result.output.splitlines()
    assert result.exit_code == 1 and split.problems[0] == first
    assert "has no image with cat" in last and not (tmp_path / "out").exists()
    strict = lambda: CocoSplit(root, "train", strict=True)  # noqa: E731
    one_line(strict, r"image 1 has the size \(None, None\)")


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
    assert run("data", "convert", "coco", root, tmp_path / "out").output.startswith(
        split.problems[0]
    )


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
    assert first_labels(coco.root, "cafe\u0301").any()  # as some systems write it


def test_another_encoding_is_named(coco):
    root = coco(lambda tree: tree["categories"][0].update(name="café"), encoding="cp1252")
    one_line(
        lambda: CocoSplit(root, "train"),
        r"line 1, is no text in UTF-8 \(byte 0xe9, as in Windows-1252, say\); save .* in UTF-8",
    )


def test_windows_separators_are_accepted(coco):
    assert first_labels(coco(name="images\\1.jpg")).any()


ANNOTATIONS, IMAGE = "annotations/instances_train2017.json", "train2017/1.jpg"


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (ANNOTATIONS, None, "data_dir"),
        (ANNOTATIONS, b"{'a': 1", "is not JSON"),
        (ANNOTATIONS, b"[" * 200_000, "is not JSON"),
        (ANNOTATIONS, b"[1]", "lacks annotations"),
        (ANNOTATIONS, gzip.compress(b"{}", mtime=0), "2017.json is compressed; unpack it"),
        (IMAGE, None, "1.jpg is missing"),
        (IMAGE, b"\xff\xd8\xff corrupt", "1.jpg cannot be decoded"),
        (IMAGE, "half", "1.jpg cannot be decoded"),
        (IMAGE, "small", "is 5×5 pixels, its mask 40×30"),
    ],
)
def test_broken_files_are_one_line(coco, name, content, message):
    path = coco() / name
    whole = path.read_bytes()
    path.unlink()
    if content == "small":
        Image.new("RGB", (5, 5)).save(path)
    elif content is not None:
        path.write_bytes(whole[: len(whole) // 2] if content == "half" else content)
    one_line(lambda: CocoSplit(coco.root, "train").read(1, ["cat"]), message)


def test_a_link_that_was_checked_out_as_text_is_followed(coco):
    root = coco()
    (root / "train2017").rename(root / "elsewhere")
    (root / "train2017").write_text("elsewhere")
    assert first_labels(root).any()


def test_an_unknown_category_lists_the_known(coco):
    one_line(lambda: CocoSplit(coco(), "train").image_ids("unicorn"), "choose one of cat")
    none = coco(lambda tree: tree.update(categories=[]))
    one_line(lambda: CocoSplit(none, "train").image_ids("cat"), "there are none")


def test_missing_annotations_name_those_that_are_there(coco):
    path = coco() / ANNOTATIONS
    path.rename(path.with_name("instances_default.json"))
    one_line(lambda: CocoSplit(coco.root, "train"), "that are there: instances_default.json")
