"""Records: the same bytes from any number of workers and after any interruption; damage is found.

The input pipeline: image and labels stay together, and epochs can be repeated.
"""

import json
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from helpers import run
from PIL import Image

from tutorial_lib.data import pipeline, records, scenes, throughput
from tutorial_lib.data.coco import CocoSplit
from tutorial_lib.data.images import Sample
from tutorial_lib.data.voc import VocTree, label_png
from tutorial_lib.errors import InputError


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    return scenes.coco_tree(train=24, val=4, home=tmp_path_factory.mktemp("trees"))


@pytest.fixture(scope="module")
def recipes(tree):
    split = CocoSplit(tree, "train")
    return [split.recipe(number, ["cat", "dog"]) for number in split.image_ids()]


def contents(folder):
    return {p.name: p.read_bytes() if p.is_file() else None for p in folder.iterdir()}


class Broken:
    def read(self):
        raise InputError("interrupted here")


def test_bytes_do_not_depend_on_the_workers(recipes, tmp_path):
    assert records.write_records(recipes, tmp_path / "one", shards=3) == 24
    records.write_records(recipes, tmp_path / "two", shards=3, workers=2)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")
    index = records.read_index(tmp_path / "one")
    assert set(index) == {"version", "records", "shards", "problems"}
    assert index["records"] == 24 and index["problems"] == []
    assert [shard["records"] for shard in index["shards"].values()] == [8, 8, 8]


def test_samples_in_memory_and_recipes_give_the_same_bytes(recipes, tmp_path):
    records.write_records(recipes, tmp_path / "recipes", shards=2)
    records.write_records((r.read() for r in recipes), tmp_path / "samples", shards=2)
    assert contents(tmp_path / "recipes") == contents(tmp_path / "samples")


def test_an_example_can_be_read_without_this_library(recipes):
    sample = recipes[0].read()
    example = tf.train.Example.FromString(records.encode_example(sample))
    features = example.features.feature
    assert set(features) == {"version", "id", "image", "labels"}
    assert features["id"].bytes_list.value == [sample.id.encode()]
    assert features["image"].bytes_list.value == [sample.path.read_bytes()]
    labels = tf.io.decode_png(features["labels"].bytes_list.value[0])
    assert np.array_equal(labels[..., 0], sample.labels)
    with pytest.raises(InputError, match="expected a uint8 label map, got int32"):
        records.encode_example(replace(sample, labels=sample.labels.astype(np.int32)))


@pytest.mark.parametrize("workers", [1, 2])
def test_an_interrupted_conversion_is_resumed(recipes, tmp_path, workers):
    folder = tmp_path / "records"
    with pytest.raises(InputError, match="interrupted here"):
        records.write_records([*recipes[:23], Broken()], folder, shards=3)
    assert not (folder / records.INDEX).exists() and not list(folder.rglob(".*"))
    finished = {p.name: p.stat().st_mtime_ns for p in folder.rglob("*.tfrecord")}
    assert len(finished) == 2 and not list(folder.glob("*.tfrecord"))
    records.write_records(recipes, folder, shards=3, workers=workers)
    for name, moment in finished.items():
        assert (folder / name).stat().st_mtime_ns == moment, "written again"
    records.write_records(recipes, tmp_path / "fresh", shards=3)
    assert contents(folder) == contents(tmp_path / "fresh")


def test_all_workers_stop_at_a_damaged_sample(tmp_path):
    reading, failed, read = threading.Event(), threading.Event(), []

    class Black:
        """Waits at the third sample until the other worker has failed."""

        def read(self):
            read.append(self)
            if len(read) == 3:
                reading.set()
                failed.wait(10)
            return Sample("x", np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), np.uint8))

    class Damaged:
        def read(self):
            reading.wait(10)
            threading.Timer(0.5, failed.set).start()
            raise InputError("this one is damaged")

    samples = [Damaged() if n == 1 else Black() for n in range(200)]
    with pytest.raises(InputError, match="this one is damaged"):
        records.write_records(samples, tmp_path, shards=2, workers=2)
    assert len(read) < 10, "the other file was written to its end"
    assert not list(tmp_path.iterdir())


def test_a_file_that_was_damaged_in_the_meantime_is_written_again(recipes, tmp_path):
    with pytest.raises(InputError):
        records.write_records([*recipes[:23], Broken()], tmp_path, shards=3)
    first = min(tmp_path.rglob("*.tfrecord"))
    first.write_bytes(first.read_bytes()[:-5] + b"xxxxx")
    records.write_records(recipes, tmp_path, shards=3)
    assert not records.find_damage(tmp_path)


def test_damaged_images_are_listed_or_raise_an_error(recipes, tmp_path):
    missing = replace(recipes[3], path=recipes[3].path.with_name("gone.jpg"))
    bad = [*recipes[:3], missing, *recipes[4:]]
    assert records.write_records(bad, tmp_path / "a", tolerant=True, left_out=["one"]) == 23
    first, second = records.read_index(tmp_path / "a")["problems"]
    assert first == "one" and "gone.jpg is missing" in second
    with pytest.raises(InputError, match="gone.jpg is missing"):
        records.write_records(bad, tmp_path / "b")
    with pytest.raises(InputError, match=r"left out \(1 problems\): .*gone.jpg is missing"):
        records.write_records([missing], tmp_path / "c", tolerant=True)
    assert not list((tmp_path / "c").iterdir())


def test_what_the_reader_left_out_explains_why_there_are_no_samples(tmp_path):
    with pytest.raises(InputError, match=r"left out \(2 problems\): image 3 has no size"):
        records.write_records([], tmp_path, left_out=["image 3 has no size", "image 4, too"])
    with pytest.raises(InputError, match="is the split empty"):
        records.write_records([], tmp_path)


def test_files_that_were_changed_in_the_meantime_are_read_again(recipes, tmp_path):
    folder = tmp_path / "records"
    copy = replace(recipes[0], path=Path(shutil.copy(recipes[0].path, tmp_path)))
    voc = VocTree(scenes.voc_tree(train=1, val=1, home=tmp_path))
    mask = voc.recipe(voc.ids("train")[0])
    with pytest.raises(InputError, match="interrupted here"):
        records.write_records([copy, mask, Broken()], folder, shards=3)
    Image.new("RGB", copy.shape[::-1]).save(copy.path)
    mask.labels_path.write_bytes(label_png(np.full_like(mask.read().labels, 7)))
    records.write_records([copy, mask, mask], folder, shards=3)
    black, *sevens = records.read_records(folder)
    assert not black["image"].numpy().any()
    assert all((record["labels"] == 7).numpy().all() for record in sevens)


def test_older_records_stay_until_the_new_ones_are_complete(recipes, tmp_path):
    folder, fresh = tmp_path / "records", tmp_path / "fresh"
    records.write_records(recipes, folder, shards=4)
    before = contents(folder)
    with pytest.raises(InputError, match="interrupted here"):
        records.write_records([*recipes[:7], Broken()], folder, shards=2)
    assert contents(folder) == before | {records.UNFINISHED: None}
    assert not records.find_damage(folder)
    records.write_records(recipes[:8], folder, shards=2)
    records.write_records(recipes[:8], fresh, shards=2)
    assert contents(folder) == contents(fresh)


@pytest.mark.parametrize("moved", [0, 1, 2])
def test_replacing_older_records_can_be_interrupted(recipes, tmp_path, monkeypatch, moved):
    folder, fresh = tmp_path / "records", tmp_path / "fresh"
    records.write_records(recipes[:9], folder, shards=4)
    replace_file, left = Path.replace, [moved]

    def interrupted(path, target):
        if Path(target).parent == folder and Path(target).suffix == ".tfrecord":
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt
        return replace_file(path, target)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path, "replace", interrupted)
        records.write_records(recipes, folder, shards=3)
    with pytest.raises(InputError, match="is missing .* convert the data set again"):
        records.read_records(folder)
    records.write_records(recipes, folder, shards=2)
    records.write_records(recipes, fresh, shards=2)
    assert contents(folder) == contents(fresh)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("index.json", '{"mine": true}'),
        ("index.json", '{"version": 2, "shards": {"../thesis.txt": {}}}'),
        ("notes.txt", "mine"),
        ("00000-of-00001.tfrecord", "mine"),
    ],
)
def test_a_folder_with_other_files_is_left_alone(recipes, tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match="holds files other than records"):
        records.write_records(recipes[:1], tmp_path, shards=1)
    assert contents(tmp_path) == {name: text.encode()}


def test_records_of_an_older_version_are_replaced(recipes, tmp_path):
    old = tmp_path / "00001-of-00002.tfrecord"
    old.write_bytes(b"old")
    index = {"version": 1, "shards": {old.name: 3}}
    (tmp_path / records.INDEX).write_text(json.dumps(index))
    with pytest.raises(InputError, match="of another version; convert"):
        records.find_damage(tmp_path)
    records.write_records(recipes[:1], tmp_path, shards=1)
    assert records.count(tmp_path) == 1 and not old.exists()


def test_a_folder_that_cannot_be_written_is_one_line(recipes, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="cannot write .*file"):
        records.write_records(recipes, tmp_path / "file")


@pytest.fixture
def written(recipes, tmp_path):
    records.write_records(recipes, tmp_path, shards=3)
    return tmp_path, sorted(tmp_path.glob("*.tfrecord"))[1]


def test_truncated_records_are_reported_with_file_and_number(written):
    folder, path = written
    assert records.find_damage(folder) == []
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) - 100])
    with pytest.raises(InputError, match="00001-of-00003.tfrecord is missing or incomplete"):
        records.read_records(folder)
    (line,) = records.find_damage(folder)
    assert line == "00001-of-00003.tfrecord: record 8 is corrupt or incomplete"
    path.unlink()
    assert records.find_damage(folder) == ["00001-of-00003.tfrecord is missing"]


@pytest.mark.parametrize("place", [0, 500], ids=["length", "content"])
def test_the_command_names_corrupt_records(written, place):
    folder, path = written
    arguments = ["data", "check", "records", str(folder)]
    result = run(*arguments)
    assert result.exit_code == 0 and "24 " in result.output and ", 0 problems" in result.output
    content = bytearray(path.read_bytes())
    second = int.from_bytes(content[:8], "little") + 16
    content[second + place] ^= 1
    path.write_bytes(content)
    result = run(*arguments)
    assert result.exit_code == 1 and ", 1 problems" in result.output
    assert f"{path.name}: record 2 is corrupt" in result.output
    with pytest.raises(tf.errors.DataLossError):
        list(records.read_records(folder))


@pytest.mark.parametrize(
    "change",
    [
        lambda index: index.clear(),
        lambda index: index.pop("shards"),
        lambda index: index.update(shards={}),
        lambda index: index.update(records=index["records"] + 1),
        lambda index: index["shards"].update({"../x": {"records": 0, "bytes": 0}}),
        lambda index: next(iter(index["shards"].values())).pop("bytes"),
    ],
)
def test_a_damaged_index_is_one_line(written, change):
    folder, _ = written
    index = json.loads((folder / records.INDEX).read_text(encoding="utf-8"))
    change(index)
    (folder / records.INDEX).write_text(json.dumps(index))
    for function in (records.read_records, records.count, records.find_damage):
        with pytest.raises(InputError, match=r"index.json is missing, damaged or .*; convert"):
            function(folder)


# ---------------------------------------------------------------- the input pipeline


@pytest.fixture(scope="module")
def coordinates(tmp_path_factory):
    """Records of images whose colors encode the position, and whose labels follow from it."""

    def samples():
        y, x = np.mgrid[:40, :56]
        for number in range(9):
            # JPEG changes a slow gradient by one or two gray levels at most.
            image = np.stack([x * 4, y * 4, np.full_like(x, 40 + number)], axis=-1).astype(np.uint8)
            yield Sample(f"{number}", image, (x // 8 + 7 * (y // 8)).astype(np.uint8))

    folder = tmp_path_factory.mktemp("coordinates")
    records.write_records(samples(), folder, shards=2)
    return folder


def test_labels_cover_the_center_of_the_input_to_the_pixel(coordinates):
    # At its own size nothing is interpolated, so each label follows from its pixel's color.
    (images, labels), *_ = pipeline.segmentation_batches(coordinates, 80, 56, 9).as_numpy_iterator()
    colors = np.rint((images[:, 12:-12, 12:-12] + 1) * 127.5)
    x, y = np.rint(colors[..., 0] / 4).astype(int), np.rint(colors[..., 1] / 4).astype(int)
    seen = labels != 255
    assert seen.mean() == 40 / 56
    exact = labels[seen] == (x // 8 + 7 * (y // 8))[seen]
    assert exact.mean() > 0.97  # the rest: JPEG's rounding beside a boundary of labels
    inner = seen & (x % 8 > 1) & (x % 8 < 6) & (y % 8 > 1) & (y % 8 < 6)
    assert (labels[inner] == (x // 8 + 7 * (y // 8))[inner]).all()


@pytest.mark.parametrize("scales", [None, (0.6, 1.7)])
def test_augmentation_moves_image_and_labels_together(coordinates, scales):
    names = set(range(35)) | {255}
    for epoch in range(3):
        stream = pipeline.segmentation_batches(
            coordinates, 80, 56, 9, seed=3, scales=scales, epochs=(epoch, epoch + 1)
        )
        ((images, labels),) = stream.as_numpy_iterator()
        assert set(np.unique(labels)) <= names, "a label that no image has"
        for image, label in zip(images[:, 12:-12, 12:-12], labels, strict=True):
            # Colors are monotone in the position for any brightness and contrast: within one row of
            # labels the mean red of the fields must increase or decrease strictly.
            fields = [image[label == 14 + n][:, 0] for n in range(7)]
            means = [field.mean() for field in fields if len(field) > 20 and field.std() > 0]
            steps = np.diff([m for m in means if -0.98 < m < 0.98])
            assert (steps > 0).all() or (steps < 0).all()


def test_the_same_epoch_of_the_same_seed_is_the_same(coordinates):
    def stream(first, end, seed=3):
        batches = pipeline.segmentation_batches(
            coordinates, 60, 40, 4, seed=seed, scales=(0.8, 1.2), epochs=(first, end)
        )
        return [images.tobytes() for images, _ in batches.as_numpy_iterator()]

    whole = stream(0, 3)
    assert len(whole) == 9 and stream(1, 3) == whole[3:] and stream(0, 3) == whole
    assert len(set(whole)) == 9 and not set(stream(0, 3, seed=4)) & set(whole)


@pytest.mark.parametrize("program", [0, 1])
def test_the_order_does_not_depend_on_the_global_seed(coordinates, program):
    def labels():
        batches = pipeline.segmentation_batches(coordinates, 60, 40, 9, seed=0, epochs=(2, 3))
        return next(batches.as_numpy_iterator())[1]

    tf.random.set_seed(program)
    first = labels()
    tf.random.set_seed(2)
    assert np.array_equal(first, labels())


def test_all_input_pipelines_deliver_the_same_pairs(tree, tmp_path):
    split = CocoSplit(tree, "train")
    ids, folder = split.image_ids(), tmp_path / "records"
    records.write_records([split.recipe(number, ["cat"]) for number in ids], folder, shards=3)
    files = throughput.from_files(split, ids, ["cat"])
    others = [
        throughput.from_generator(split, ids, ["cat"]),
        throughput.from_mask_files(split, ids, ["cat"], tmp_path / "masks"),
        throughput.from_records(folder),
    ]
    assert throughput.equal([files, *others])
    assert not throughput.equal([files, throughput.from_generator(split, ids, ["dog"])])
    assert not throughput.equal([files, throughput.from_generator(split, ids[1:], ["cat"])])
    assert throughput.rates({"files": files}, seconds=0.05, rounds=1)["files"] > 0
