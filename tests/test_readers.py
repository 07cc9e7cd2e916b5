"""The COCO and VOC readers and the records: right on good input, one clear line on bad input."""

import io
import json
import struct
import zlib

import numpy as np
import pytest
import tensorflow as tf
from click.testing import CliRunner
from PIL import Image

from tutorial_lib.data import images, pipeline, records, scenes, voc
from tutorial_lib.data.coco import CocoSplit
from tutorial_lib.data.images import Sample
from tutorial_lib.data.voc import CLASSES, VocTree, colormap
from tutorial_lib.errors import InputError
from tutorial_tools.cli import main

SQUARE = [2.0, 2.0, 6.0, 2.0, 6.0, 6.0, 2.0, 6.0]


@pytest.fixture
def coco(tmp_path):
    """Write a COCO tree of two pictures and return a function that rewrites its annotations."""
    root = tmp_path / "coco"
    (root / "annotations").mkdir(parents=True)
    (root / "train2017").mkdir()
    for number, mode in ((1, "RGB"), (2, "L")):
        Image.new(mode, (12, 8), 200).save(root / "train2017" / f"{number}.jpg")
    tree = {
        "images": [{"id": n, "file_name": f"{n}.jpg", "height": 8, "width": 12} for n in (1, 2)],
        "categories": [{"id": 17, "name": "cat"}, {"id": 18, "name": "dog"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 17, "iscrowd": 0, "segmentation": [SQUARE]},
            {"id": 2, "image_id": 2, "category_id": 18, "iscrowd": 0, "segmentation": [SQUARE]},
        ],
    }

    def write(change=None):
        if change:
            change(tree)
        path = root / "annotations" / "instances_train2017.json"
        path.write_text(json.dumps(tree), encoding="utf-8")
        return root

    write()
    return write


def test_coco_labels(coco):
    split = CocoSplit(coco(), "train")
    assert split.image_ids("cat") == [1] and split.image_ids() == [1, 2]
    labels = split.recipe(1, ["cat"]).labels()
    assert labels.shape == (8, 12) and labels[2:6, 2:6].all() and labels.sum() == 16
    assert split.recipe(2, ["cat", "dog"]).labels().max() == 2


def test_gray_pictures_become_rgb(coco):
    assert CocoSplit(coco(), "train").read(2, ["dog"]).image.shape == (8, 12, 3)


def test_crowds_are_void_and_empty_polygons_nothing(coco):
    def change(tree):
        counts = scenes.uncompressed_run_lengths(np.eye(8, 12, dtype=bool))
        tree["annotations"] += [
            {"id": 3, "image_id": 1, "category_id": 17, "iscrowd": 1, "segmentation": counts},
            {"id": 4, "image_id": 1, "category_id": 17, "iscrowd": 0, "segmentation": []},
            {"id": 5, "image_id": 1, "category_id": 17, "iscrowd": 0, "segmentation": [[1, 1]]},
        ]

    labels = CocoSplit(coco(change), "train").recipe(1, ["cat"]).labels()
    assert (labels == 255).sum() == 8 and (labels[np.eye(8, 12, dtype=bool)] == 255).all()


def cut(path):
    """Leave half of a file."""
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


def broken_coco(name):
    """Return (what to do to the tree's folder or content, words of the error)."""
    annotations = "annotations/instances_train2017.json"
    return {
        "missing annotations": (lambda r: (r / annotations).unlink(), "data_dir"),
        "not JSON": (lambda r: (r / annotations).write_text("{'a': 1"), "is not JSON"),
        "other JSON": (lambda r: (r / annotations).write_text("[1]"), "lacks annotations"),
        "missing picture": (lambda r: (r / "train2017/1.jpg").unlink(), "1.jpg is missing"),
        "corrupt picture": (
            lambda r: (r / "train2017/1.jpg").write_bytes(b"\xff\xd8\xff corrupt"),
            "1.jpg cannot be decoded",
        ),
        "cut picture": (
            lambda r: cut(r / "train2017/1.jpg"),
            "1.jpg cannot be decoded",
        ),
        "other size": (
            lambda r: Image.new("RGB", (5, 5)).save(r / "train2017/1.jpg"),
            "is 5×5 pixels, its mask 12×8",
        ),
    }[name]


@pytest.mark.parametrize(
    "name",
    [
        "missing annotations",
        "not JSON",
        "other JSON",
        "missing picture",
        "corrupt picture",
        "cut picture",
        "other size",
    ],
)
def test_broken_coco_is_one_line(coco, name):
    root = coco()
    damage, message = broken_coco(name)
    damage(root)
    with pytest.raises(InputError, match=message) as caught:
        CocoSplit(root, "train").read(1, ["cat"])
    assert "\n" not in str(caught.value)


def test_a_link_that_was_checked_out_as_text_is_followed(coco):
    root = coco()
    (root / "train2017").rename(root / "elsewhere")
    (root / "train2017").write_text("elsewhere")
    assert CocoSplit(root, "train").read(1, ["cat"]).image.shape == (8, 12, 3)


def test_an_annotation_that_is_neither_polygon_nor_run_lengths(coco):
    def change(tree):
        tree["annotations"][0]["segmentation"] = {"counts": "\0", "size": "no"}

    with pytest.raises(InputError, match="annotation 1 holds run lengths for 'no'"):
        CocoSplit(coco(change), "train").recipe(1, ["cat"]).labels()


def test_an_unknown_category_lists_the_known(coco):
    with pytest.raises(InputError, match="choose one of cat, dog"):
        CocoSplit(coco(), "train").image_ids("unicorn")


def png(width, height, extra=b""):
    """Return a gray PNG without its pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", b"")


def chunk(kind, content):
    check = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + check


def huge_text():
    """Return a part of a PNG that would unpack to 70 MiB."""
    return chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(70 << 20)))


def unknown_dds():
    """Return a DDS picture whose kind of pixels Pillow does not know."""
    buffer = io.BytesIO()
    Image.new("RGB", (12, 8)).save(buffer, "DDS")
    content = bytearray(buffer.getvalue())
    content[80:84] = bytes(4)
    return content


@pytest.fixture
def voc_root(tmp_path):
    root = tmp_path / "VOCdevkit" / "VOC2012"
    for name in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / name).mkdir(parents=True)
    for split in ("train", "val", "trainval"):
        (root / "ImageSets/Segmentation" / f"{split}.txt").write_text("a\n")
    Image.new("RGB", (12, 8)).save(root / "JPEGImages/a.jpg")
    save_labels(root, np.full((8, 12), 8, np.uint8))
    return root


def save_labels(root, labels):
    picture = Image.fromarray(labels, mode="P")
    picture.putpalette(colormap().tobytes())
    picture.save(root / "SegmentationClass/a.png")


def test_voc_colors_by_the_bit_rule():
    colors = colormap()
    assert colors[0].tolist() == [0, 0, 0] and colors[1].tolist() == [128, 0, 0]
    assert colors[8].tolist() == [64, 0, 0] and colors[15].tolist() == [192, 128, 128]
    assert colors[20].tolist() == [0, 64, 128] and colors[255].tolist() == [224, 224, 192]
    assert len(np.unique(colors, axis=0)) == 256


def test_voc_is_found_from_any_of_its_folders(voc_root):
    for root in (voc_root, voc_root.parent, voc_root.parent.parent):
        sample = VocTree(root).read("a")
        assert (sample.labels == CLASSES.index("cat")).all()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda r: (r / "JPEGImages/a.jpg").write_bytes(b"no"), "a.jpg cannot be decoded"),
        (lambda r: (r / "JPEGImages/a.jpg").write_bytes(unknown_dds()), "a.jpg cannot be decoded"),
        (lambda r: (r / "SegmentationClass/a.png").unlink(), "a.png is missing"),
        (
            lambda r: (r / "SegmentationClass/a.png").write_bytes(png(20_000, 20_000)),
            "a.png is too large",
        ),
        (
            lambda r: (r / "SegmentationClass/a.png").write_bytes(png(9, 9, huge_text())),
            "a.png cannot be decoded .*too large",
        ),
        (lambda r: save_labels(r, np.zeros((8, 8), np.uint8)), "12×8 pixels, its mask 8×8"),
        (lambda r: save_labels(r, np.full((8, 12), 21, np.uint8)), "holds the label 21"),
        (
            lambda r: Image.new("RGB", (12, 8)).save(r / "SegmentationClass/a.png"),
            "holds RGB colors; expected class numbers",
        ),
        (lambda r: (r / "ImageSets/Segmentation/train.txt").unlink(), "train.txt is missing"),
        (lambda r: (r / "ImageSets/Segmentation/train.txt").write_text(""), "train.txt is empty"),
        (
            lambda r: (r / "ImageSets/Segmentation/train.txt").write_text("é", "latin-1"),
            r"train.txt, line 1, is no text in UTF-8 \(byte 0xe9",
        ),
    ],
)
def test_broken_voc_is_one_line(voc_root, damage, message):
    damage(voc_root)
    with pytest.raises(InputError, match=message) as caught:
        list(VocTree(voc_root).samples("train"))
    assert "\n" not in str(caught.value)


def test_a_damaged_mask_ends_neither_check_nor_conversion(voc_root, tmp_path):
    (voc_root / "SegmentationClass/b.png").write_bytes(png(20_000, 20_000))
    Image.new("RGB", (12, 8)).save(voc_root / "JPEGImages/b.jpg")
    (voc_root / "ImageSets/Segmentation/train.txt").write_text("a\nb\n")
    result = CliRunner().invoke(main, ["data", "check", "voc", str(voc_root)])
    assert "2 images examined, 1 problems" in result.output
    result = CliRunner().invoke(
        main, ["data", "convert", "voc", str(voc_root), str(tmp_path / "o")]
    )
    assert "1 of 2 images converted, 1 problems" in result.output


def test_voc_becomes_records_and_what_is_damaged_is_listed(voc_root, tmp_path):
    (voc_root / "ImageSets/Segmentation/train.txt").write_text("a\nb\n")
    out = tmp_path / "out"
    arguments = ["data", "convert", "voc", str(voc_root), str(out), "--shards", "1"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert "b.jpg is missing" in result.output
    assert "1 of 2 images converted, 1 problems" in result.output
    (record,) = records.read_records(out)
    assert record["id"] == b"a" and (record["labels"].numpy() == CLASSES.index("cat")).all()
    result = CliRunner().invoke(main, [*arguments[:4], str(tmp_path / "other"), "--strict"])
    assert result.exit_code == 1 and "b.jpg is missing" in result.output


def test_a_folder_without_voc_says_what_to_give(tmp_path):
    with pytest.raises(InputError, match="give the folder VOCdevkit as data_dir"):
        VocTree(tmp_path)


def some_samples(count=7):
    rng = np.random.default_rng(0)
    for number in range(count):
        size = (20 + number, 30)
        image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
        yield Sample(f"sample-{number}", image, rng.choice([0, 1, 255], size).astype(np.uint8))


def test_records_give_back_what_was_written(tmp_path):
    assert records.write_records(some_samples(), tmp_path, shards=3) == 7
    assert records.count(tmp_path) == 7
    originals = {sample.id: sample for sample in some_samples()}
    for record in records.read_records(tmp_path):
        original = originals.pop(record["id"].numpy().decode())
        assert np.array_equal(record["labels"], original.labels)
        assert record["image"].shape == original.image.shape
        assert np.abs(record["image"].numpy().astype(int) - original.image).mean() < 12
    assert not originals


@pytest.mark.parametrize("options", [{}, {"restart_marker_rows": 1}, {"progressive": True}])
def test_a_jpeg_is_stored_as_it_is(tmp_path, options):
    path = tmp_path / "a.jpg"
    noise = np.random.default_rng(0).integers(0, 256, (200, 90, 3), dtype=np.uint8)
    Image.fromarray(noise).save(path, comment=b"\xff\xd5 is no marker here", **options)
    sample = Sample("a", images.read_photograph(path), np.zeros((200, 90), np.uint8), path)
    assert records.jpeg_bytes(sample) == path.read_bytes()


def test_a_jpeg_with_a_damaged_end_can_be_decoded(tmp_path):
    path = tmp_path / "a.jpg"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    Image.fromarray(noise).save(path)
    content = path.read_bytes()
    path.write_bytes(content[:-6] + b"\xff\xfe\xff\x00" + content[-2:])  # leads beyond the end
    sample = Sample("a", images.read_photograph(path), noise, path)
    decoded = records.decode_jpeg(records.jpeg_bytes(sample)).numpy()
    assert np.abs(decoded.astype(int) - sample.image).mean() < 3


def test_shuffling_is_the_same_for_the_same_seed(tmp_path):
    records.write_records(some_samples(), tmp_path)

    def order(seed):
        return [record["id"].numpy() for record in records.read_records(tmp_path, seed)]

    assert order(1) == order(1) != order(2)
    assert sorted(order(1)) == sorted(order(None))


def labeled(number, *classes):
    labels = np.zeros((30, 30), np.uint8)
    for row, label in enumerate(classes):
        labels[row * 5 : row * 5 + 3] = label
    return Sample(str(number), np.zeros((30, 30, 3), np.uint8), labels)


def test_rare_classes_are_drawn_more_often(tmp_path):
    samples = [labeled(n, 8) for n in range(6)] + [labeled(6, 8, 10), labeled(7, 10)]
    records.write_records(samples, tmp_path, shards=1)
    weights = pipeline.sampling_weights(pipeline.class_pixels(tmp_path))
    np.testing.assert_allclose(weights, [8 / 7] * 6 + [4, 4])

    def draw(seed, weights):
        repeats = pipeline.draw_repeats(weights, seed)
        drawn = records.read_records(tmp_path, seed, repeats)
        return np.bincount([int(r["id"].numpy()) for r in drawn], minlength=8)

    share = weights / weights.sum() * 8
    times = np.array([draw(seed, weights) for seed in range(40)])
    assert (times.sum(axis=1) == 8).all() and (np.abs(times - share) < 1).all()
    np.testing.assert_allclose(times.mean(axis=0), share, atol=0.25)
    assert draw(1, np.ones(8)).tolist() == [1] * 8
    assert draw(1, [0, 0, 0, 0, 0, 0, 0, 3]).tolist() == [0] * 7 + [8]
    crops = pipeline.crop_batches(
        tmp_path, 30, 8, seed=0, scales=(1, 1), weights=weights**2, epochs=(0, 5)
    )
    labels = np.concatenate([y for _, y in crops.as_numpy_iterator()])
    assert len(labels) == 40 and np.mean((labels == 10).any(axis=(1, 2))) > 0.7


def test_pixels_of_frequent_classes_are_subsampled(tmp_path):
    records.write_records([labeled(n, 8, 8, 10, 255) for n in range(8)], tmp_path)
    pixels = pipeline.class_pixels(tmp_path)
    assert pixels.shape == (8, 256) and pixels[3, [0, 8, 10, 255]].tolist() == [540, 180, 90, 90]
    keep = pipeline.keep_probabilities(pixels, 0.5)
    np.testing.assert_allclose(keep[[0, 8, 10, 11, 255]], [6**-0.5, 2**-0.5, 1, 1, 1])
    assert (pipeline.keep_probabilities(pixels, 0) == 1).all()
    cut = {"size": 24, "batch_size": 8, "seed": 0, "epochs": (0, 1)}
    ((images, whole),) = pipeline.crop_batches(tmp_path, **cut)
    ((same, thin),) = pipeline.crop_batches(tmp_path, **cut, keep=keep)
    whole, thin = whole.numpy(), thin.numpy()
    assert np.array_equal(images, same) and set(np.unique(thin[whole != thin])) == {255}
    for label in (0, 8, 10):
        assert abs(np.mean(thin[whole == label] == label) - keep[label]) < 0.06


def test_picture_and_labels_stay_together(tmp_path):
    # The picture shows its own labels in red, so every geometric step can be checked by itself.
    def samples():
        for number, sample in enumerate(some_samples()):
            labels = np.zeros((40, 60), np.uint8)
            labels[5 + number : 25, 8:30] = 1
            yield Sample(sample.id, np.stack([labels * 255] * 3, axis=-1), labels)

    records.write_records(samples(), tmp_path)
    for name, batches in {
        "U-Net": pipeline.segmentation_batches(tmp_path, 60, 40, 7, seed=0),
        "crops": pipeline.crop_batches(tmp_path, 40, 7, seed=0),
    }.items():
        (pictures, labels), *_ = batches.as_numpy_iterator()
        border = (pictures.shape[1] - 40) // 2
        pictures = pictures[:, border : border + 40, border : border + 40].mean(axis=-1)
        for picture, label in zip(pictures, labels, strict=True):
            inside, outside = picture[label == 1], picture[label == 0]
            assert inside.mean() > outside.mean() + 0.8, name
            # Only where an edge is blurred may the two disagree.
            middle = (picture.max() + picture.min()) / 2
            assert np.mean((picture > middle)[label < 2] == label[label < 2]) > 0.95, name
        assert set(np.unique(labels)) <= {0, 1, 255}


def test_reflection_padding():
    line = np.arange(4.0)[:, None, None] * np.ones((1, 4, 1))
    padded = pipeline.reflection_pad(line, 12).numpy()[:, 0, 0]
    assert padded.tolist() == [2, 3, 2, 1, 0, 1, 2, 3, 2, 1, 0, 1]


@pytest.mark.parametrize("text", [None, "no json", '{"version": 0}'])
def test_records_of_another_kind_are_refused(tmp_path, text):
    if text is not None:
        (tmp_path / records.INDEX).write_text(text)
    with pytest.raises(InputError, match="convert the data set again"):
        records.read_records(tmp_path)


def test_no_samples_is_an_error(tmp_path):
    with pytest.raises(InputError, match="is the split empty"):
        records.write_records([], tmp_path)


def test_cached_records_follow_their_sources(tmp_path, monkeypatch):
    monkeypatch.setenv("TUTORIAL_DATA", str(tmp_path))
    source = tmp_path / "source"
    source.write_text("one")
    made = []

    def samples():
        made.append(1)
        return some_samples(2)

    first = records.cached_records("x", [source], samples)
    assert records.cached_records("x", [source], samples) == first and len(made) == 1
    source.write_text("another")
    assert records.cached_records("x", [source], samples) != first and len(made) == 2
    with pytest.raises(InputError, match="gone is missing"):
        records.cached_records("x", [tmp_path / "gone"], samples)


def test_a_bad_sample_leaves_no_half_made_records(tmp_path, monkeypatch):
    monkeypatch.setenv("TUTORIAL_DATA", str(tmp_path))

    def samples():
        yield from some_samples(1)
        raise InputError("the second is damaged")

    with pytest.raises(InputError, match="damaged"):
        records.cached_records("x", [], samples)
    assert not list((tmp_path / "cache").iterdir())


def test_a_palette_other_than_vocs_is_refused(tmp_path):
    mask = Image.fromarray(np.full((4, 4), 8, np.uint8), mode="P")
    mask.putpalette([7] * 768)
    mask.save(tmp_path / "bad.png")
    with pytest.raises(InputError, match="paints class 8 in another color"):
        voc.read_labels(tmp_path / "bad.png")
