"""Records: the same bytes from any number of workers, after any interruption; damage is found."""

import json
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import psutil
import pytest
import tensorflow as tf
from click.testing import CliRunner
from PIL import Image
from slow_samples import Deadly, Slow

from tutorial_lib.data import encoding, records, scenes, shards, throughput
from tutorial_lib.data.coco import CocoSplit
from tutorial_lib.data.images import Sample
from tutorial_lib.data.voc import VocTree, label_png
from tutorial_lib.errors import InputError
from tutorial_tools.cli import main


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
    assert index["records"] == 24 and index["problems"] == []
    assert [shard["records"] for shard in index["shards"].values()] == [8, 8, 8]


def test_bytes_are_those_that_tensorflow_writes(recipes, tmp_path):
    samples = [encoding.encoded(recipe) for recipe in recipes[:2]]
    samples += [encoding.Encoded("ü" * 100, b"", bytes(2**21 + 5))]  # lengths of 1 to 4 groups
    whole = b"".join(shards.framed(encoding.serialized(sample)) for sample in samples)

    def feature(value):
        if isinstance(value, bytes):
            return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
        return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))

    path = str(tmp_path / "x.tfrecord")
    with tf.io.TFRecordWriter(path) as writer:
        for sample in samples:
            values = {"version": records.RECORD_VERSION, "id": sample.id.encode()}
            values |= {"image": sample.image, "labels": sample.labels}
            features = {name: feature(value) for name, value in values.items()}
            example = tf.train.Example(features=tf.train.Features(feature=features))
            writer.write(example.SerializeToString(deterministic=True))
    assert (tmp_path / "x.tfrecord").read_bytes() == whole


def test_processes_need_no_tensorflow():
    source = "import sys; import tutorial_lib.data.shards; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", source]).returncode == 0


def test_recipes_are_small_enough_to_travel(recipes):
    import pickle  # what multiprocessing sends; nothing is read from untrusted files

    assert max(len(pickle.dumps(recipe)) for recipe in recipes) < 20_000


def test_an_interrupted_conversion_goes_on(recipes, tmp_path):
    folder = tmp_path / "records"
    with pytest.raises(InputError, match="interrupted here"):
        records.write_records([*recipes[:23], Broken()], folder, shards=3)
    assert not (folder / records.INDEX).exists() and not list(folder.rglob(".*"))
    finished = {p.name: p.stat().st_mtime_ns for p in folder.rglob("*.tfrecord")}
    assert len(finished) == 2 and not list(folder.glob("*.tfrecord"))
    records.write_records(recipes, folder, shards=3)
    for name, moment in finished.items():
        assert (folder / name).stat().st_mtime_ns == moment, "written again"
    records.write_records(recipes, tmp_path / "fresh", shards=3)
    assert contents(folder) == contents(tmp_path / "fresh")


def test_a_killed_conversion_goes_on(tree, recipes, tmp_path):
    source = f"""
        import os, signal, sys
        from pathlib import Path
        from tutorial_lib.data import records
        from tutorial_lib.data.coco import CocoSplit
        split = CocoSplit({str(tree)!r}, "train")
        class Deadly:
            def read(self):
                os.kill(os.getpid(), signal.SIGKILL)
        recipes = [split.recipe(n, ["cat", "dog"]) for n in split.image_ids()]
        records.write_records([*recipes[:23], Deadly()], Path(sys.argv[1]), shards=3)
    """
    folder = tmp_path / "records"
    command = [sys.executable, "-c", textwrap.dedent(source), str(folder)]
    assert subprocess.run(command, capture_output=True).returncode == -signal.SIGKILL
    records.write_records(recipes, folder, shards=3)
    records.write_records(recipes, tmp_path / "fresh", shards=3)
    assert contents(folder) == contents(tmp_path / "fresh")


def test_processes_stop_when_a_sample_is_damaged(tmp_path):
    samples = [Slow(number) for number in range(4000)]
    samples[11] = Slow(-1)  # in the second of two shards
    start = time.monotonic()
    with pytest.raises(InputError, match="this one is damaged"):
        records.write_records(samples, tmp_path, shards=2, workers=2)
    assert time.monotonic() - start < 30, "the other shard was written to its end"
    assert not list(tmp_path.iterdir())


def test_a_process_that_is_killed_is_one_line(tmp_path):
    samples = [*map(Slow, range(7)), Deadly()]
    with pytest.raises(InputError, match="killed .* fewer workers"):
        records.write_records(samples, tmp_path, shards=2, workers=2)
    assert not (tmp_path / records.INDEX).exists()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_no_process_outlives_a_killed_conversion(tmp_path):
    source = f"""
        import sys
        from pathlib import Path
        sys.path.insert(0, {str(Path(__file__).parent)!r})
        if __name__ == "__main__":
            from slow_samples import Slow
            from tutorial_lib.data import records
            slow = [Slow(number) for number in range(2000)]
            records.write_records(slow, Path(sys.argv[1]), shards=2, workers=2)
    """
    script, folder = tmp_path / "convert.py", tmp_path / "records"
    script.write_text(textwrap.dedent(source))
    conversion = subprocess.Popen([sys.executable, script, folder])
    wait_until(lambda: len(list(folder.rglob(".*.part"))) == 2)
    children = psutil.Process(conversion.pid).children(recursive=True)
    conversion.kill()
    conversion.wait()
    gone, alive = psutil.wait_procs(children, timeout=10)
    assert len(gone) >= 2 and not alive
    few = [Slow(number) for number in range(6)]
    records.write_records(few, folder, shards=2, workers=2)
    records.write_records(few, tmp_path / "fresh", shards=2)
    assert contents(folder) == contents(tmp_path / "fresh")


def wait_until(true, seconds=60):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_shard_that_was_damaged_meanwhile_is_written_again(recipes, tmp_path):
    with pytest.raises(InputError):
        records.write_records([*recipes[:23], Broken()], tmp_path, shards=3)
    first = sorted(tmp_path.rglob("*.tfrecord"))[0]
    first.write_bytes(first.read_bytes()[:-5] + b"xxxxx")
    records.write_records(recipes, tmp_path, shards=3)
    assert not records.find_damage(tmp_path)


def test_damaged_pictures_are_listed_or_stop_it(recipes, tmp_path):
    gone = replace(recipes[3], path=recipes[3].path.with_name("gone.jpg"))
    bad = [*recipes[:3], gone, *recipes[4:]]
    assert records.write_records(bad, tmp_path / "a", tolerant=True) == 23
    (problem,) = records.read_index(tmp_path / "a")["problems"]
    assert "gone.jpg is missing" in problem
    with pytest.raises(InputError, match="gone.jpg is missing"):
        records.write_records(bad, tmp_path / "b")
    with pytest.raises(InputError, match="none of 1 samples could be read"):
        records.write_records([gone], tmp_path / "c", tolerant=True)
    assert not list((tmp_path / "c").iterdir())


def own_copies(recipes, folder):
    """Return recipes whose pictures a test may change."""
    folder.mkdir()
    return [
        replace(recipe, path=Path(shutil.copy(recipe.path, folder / recipe.path.name)))
        for recipe in recipes
    ]


def test_a_picture_that_was_changed_meanwhile_is_read_again(recipes, tmp_path):
    mine = own_copies(recipes[:3], tmp_path / "pictures")
    folder = tmp_path / "records"
    with pytest.raises(InputError, match="interrupted here"):
        records.write_records([*mine[:2], Broken()], folder, shards=3)
    Image.new("RGB", mine[0].shape[::-1]).save(mine[0].path)
    records.write_records(mine, folder, shards=3)
    records.write_records(mine, tmp_path / "fresh", shards=3)
    assert contents(folder) == contents(tmp_path / "fresh")


def test_a_mask_that_was_changed_meanwhile_is_read_again(tmp_path):
    tree = VocTree(scenes.voc_tree(train=1, val=1, home=tmp_path))
    recipe = tree.recipe(tree.ids("train")[0])
    with pytest.raises(InputError, match="interrupted here"):
        records.write_records([recipe, Broken()], tmp_path / "records", shards=2)
    recipe.labels_path.write_bytes(label_png(np.full_like(recipe.read().labels, 7)))
    records.write_records([recipe, recipe], tmp_path / "records", shards=2)
    for record in records.read_records(tmp_path / "records"):
        assert (record["labels"] == 7).numpy().all()


def test_after_nothing_could_be_read_all_is_tried_again(recipes, tmp_path):
    class Locked:
        locked = True

        def read(self):
            if self.locked:
                raise InputError("no permission")
            return recipes[0].read()

        def __repr__(self):
            return "the same before and after"

    sample = Locked()
    with pytest.raises(InputError, match="none of 1 samples could be read"):
        records.write_records([sample], tmp_path, tolerant=True)
    sample.locked = False
    assert records.write_records([sample], tmp_path, tolerant=True) == 1


def test_older_records_stay_until_the_new_ones_are_whole(recipes, tmp_path):
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
def test_new_records_can_be_interrupted_while_they_take_their_place(
    recipes, tmp_path, monkeypatch, moved
):
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
    with pytest.raises(InputError, match="is missing, .* convert the data set again"):
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
def test_a_folder_with_something_else_is_left_alone(recipes, tmp_path, name, text):
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match="holds something else than records"):
        records.write_records(recipes[:1], tmp_path, shards=1)
    assert contents(tmp_path) == {name: text.encode()}


def test_records_of_an_older_version_are_replaced(recipes, tmp_path):
    old = tmp_path / "00001-of-00002.tfrecord"
    old.write_bytes(b"old")
    index = {"version": 1, "shards": {old.name: 3}}
    (tmp_path / records.INDEX).write_text(json.dumps(index))
    with pytest.raises(InputError, match="another version"):
        records.find_damage(tmp_path)
    records.write_records(recipes[:1], tmp_path, shards=1)
    assert records.count(tmp_path) == 1 and not old.exists()


def test_a_folder_that_cannot_be_written_is_one_line(recipes, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="cannot write .*file"):
        records.write_records(recipes, tmp_path / "file")


def test_masks_are_png_that_anyone_reads(tmp_path):
    from tutorial_lib.data.voc import read_labels

    for shape in ((1, 1), (3, 1), (40, 57)):
        labels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
        (tmp_path / "x.png").write_bytes(encoding.png_bytes(labels))
        assert np.array_equal(read_labels(tmp_path / "x.png"), labels)


@pytest.fixture
def written(recipes, tmp_path):
    records.write_records(recipes, tmp_path, shards=3)
    return tmp_path, sorted(tmp_path.glob("*.tfrecord"))[1]


def test_truncated_records_are_reported_with_shard_and_position(written):
    folder, path = written
    assert records.find_damage(folder) == []
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) - 100])
    with pytest.raises(InputError, match="00001-of-00003.tfrecord has .* bytes, its index says"):
        records.read_records(folder)
    (line,) = records.find_damage(folder)
    assert line.startswith("00001-of-00003.tfrecord: record 8, at byte ") and "cut off" in line
    path.unlink()
    assert records.find_damage(folder) == ["00001-of-00003.tfrecord is missing"]


def test_corrupt_records_are_reported_with_shard_and_position(written):
    folder, path = written
    content = bytearray(path.read_bytes())
    length = int.from_bytes(content[:8], "little")
    second = length + 16
    content[second + 500] ^= 1
    path.write_bytes(content)
    (line,) = records.find_damage(folder)
    assert line == f"00001-of-00003.tfrecord: record 2, at byte {second:,}, is corrupt"
    content[second] ^= 255
    path.write_bytes(content)
    (line,) = records.find_damage(folder)
    assert line.endswith(f"record 2, at byte {second:,}, is cut off or has a corrupt length")
    with pytest.raises(tf.errors.OpError):  # TensorFlow notices too, but cannot say where
        list(records.read_records(folder))


def test_the_command_finds_corrupt_records(written):
    folder, path = written
    arguments = ["data", "check", "records", str(folder)]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0 and "24 images examined, 0 problems" in result.output
    content = bytearray(path.read_bytes())
    content[500] ^= 1
    path.write_bytes(content)
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1
    assert f"{path.name}: record 1, at byte 0, is corrupt" in result.output
    path.write_bytes(content[:-1])  # of another length
    result = CliRunner().invoke(main, arguments)
    assert "24 images examined, 2 problems" in result.output


@pytest.mark.parametrize(
    "change",
    [
        lambda index: index.pop("shards"),
        lambda index: index.pop("records"),
        lambda index: index.update(shards=[]),
        lambda index: index.update(shards={}),
        lambda index: index["shards"].update(x="y"),
        lambda index: next(iter(index["shards"].values())).pop("bytes"),
        lambda index: next(iter(index["shards"].values())).pop("records"),
    ],
)
def test_a_damaged_index_is_one_line(written, change):
    folder, _ = written
    index = json.loads((folder / records.INDEX).read_text(encoding="utf-8"))
    change(index)
    (folder / records.INDEX).write_text(json.dumps(index))
    for function in (records.read_records, records.count, records.find_damage):
        with pytest.raises(InputError, match=r"index.json is damaged; convert"):
            function(folder)


def test_the_command_converts_and_lists_problems(tree, tmp_path):
    copy = tmp_path / "coco"
    shutil.copytree(tree, copy)
    split = CocoSplit(copy, "train")
    cats = split.image_ids("cat")
    split.image_path(cats[0]).write_bytes(b"no picture")
    arguments = ["data", "convert", "coco", str(copy), str(tmp_path / "out"), "--shards", "2"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert "cannot be decoded" in result.output
    assert f"{len(cats) - 1} of {len(cats)} images converted, 1 problems" in result.output
    result = CliRunner().invoke(main, [*arguments, "--strict"])
    assert result.exit_code == 1 and "cannot be decoded" in result.output
    result = CliRunner().invoke(main, ["data", "check", "coco", str(copy)])
    assert result.exit_code == 1 and f"picture {cats[0]}: " in result.output
    assert "24 images examined, 1 problems" in result.output
    result = CliRunner().invoke(main, ["data", "check", "coco", str(copy), "--strict"])
    assert result.exit_code == 1 and result.output.startswith("Error: ")


def test_voc_by_the_same_code(tmp_path):
    tree = VocTree(scenes.voc_tree(train=3, val=1, home=tmp_path))
    recipes = [tree.recipe(name) for name in tree.ids("train")]
    assert records.write_records(recipes, tmp_path / "out", shards=2) == 3
    for record in records.read_records(tmp_path / "out"):
        name = record["id"].numpy().decode()
        assert np.array_equal(record["labels"], tree.read(name).labels)


# ---------------------------------------------------------------- what the net gets


@pytest.fixture(scope="module")
def coordinates(tmp_path_factory):
    """Records of pictures whose colors tell the position, and whose labels tell the color."""

    def samples():
        y, x = np.mgrid[:40, :56]
        for number in range(9):
            # JPEG keeps a slow ramp within a gray level or two.
            image = np.stack([x * 4, y * 4, np.full_like(x, 40 + number)], axis=-1).astype(np.uint8)
            yield Sample(f"{number}", image, (x // 8 + 7 * (y // 8)).astype(np.uint8))

    folder = tmp_path_factory.mktemp("coordinates")
    records.write_records(samples(), folder, shards=2)
    return folder


def test_labels_lie_on_the_middle_of_the_input_to_the_pixel(coordinates):
    # At its own size nothing is interpolated, so each label follows from its pixel's color.
    (images, labels), *_ = records.segmentation_batches(coordinates, 80, 56, 9).as_numpy_iterator()
    colors = np.rint((images[:, 12:-12, 12:-12] + 1) * 127.5)
    x, y = np.rint(colors[..., 0] / 4).astype(int), np.rint(colors[..., 1] / 4).astype(int)
    seen = labels != 255
    assert seen.mean() == 40 / 56
    exact = labels[seen] == (x // 8 + 7 * (y // 8))[seen]
    assert exact.mean() > 0.97  # the rest: JPEG's rounding beside a border of labels
    inner = seen & (x % 8 > 1) & (x % 8 < 6) & (y % 8 > 1) & (y % 8 < 6)
    assert (labels[inner] == (x // 8 + 7 * (y // 8))[inner]).all()


@pytest.mark.parametrize("scales", [None, (0.6, 1.7)])
def test_augmentation_moves_picture_and_labels_together(coordinates, scales):
    names = set(range(35)) | {255}
    for epoch in range(3):
        stream = records.segmentation_batches(
            coordinates, 80, 56, 9, seed=3, scales=scales, epochs=(epoch, epoch + 1)
        )
        ((images, labels),) = stream.as_numpy_iterator()
        assert set(np.unique(labels)) <= names, "a label that no picture has"
        middle = images[:, 12:-12, 12:-12]
        for image, label in zip(middle, labels, strict=True):
            # Colors are monotone in the position whatever gain and shift: within one row of
            # labels the mean red of the fields must rise or fall strictly, not jump about.
            fields = [image[label == 14 + n][:, 0] for n in range(7)]
            means = [field.mean() for field in fields if len(field) > 20 and field.std() > 0]
            steps = np.diff([m for m in means if -0.98 < m < 0.98])
            assert (steps > 0).all() or (steps < 0).all()


def test_the_same_epoch_of_the_same_seed_is_the_same(coordinates):
    def stream(first, end, seed=3):
        batches = records.segmentation_batches(
            coordinates, 60, 40, 4, seed=seed, scales=(0.8, 1.2), epochs=(first, end)
        )
        return [images.tobytes() for images, _ in batches.as_numpy_iterator()]

    whole = stream(0, 3)
    assert len(whole) == 9 and stream(1, 3) == whole[3:] and stream(0, 3) == whole
    assert len(set(whole)) == 9 and not set(stream(0, 3, seed=4)) & set(whole)


@pytest.mark.parametrize("program", [0, 1])
def test_the_order_hangs_on_the_seed_given_not_on_that_of_the_program(coordinates, program):
    tf.random.set_seed(program)
    batches = records.segmentation_batches(coordinates, 60, 40, 9, seed=0, epochs=(2, 3))
    ((_, labels),) = batches.as_numpy_iterator()
    tf.random.set_seed(2)
    batches = records.segmentation_batches(coordinates, 60, 40, 9, seed=0, epochs=(2, 3))
    ((_, again),) = batches.as_numpy_iterator()
    assert np.array_equal(labels, again)


def test_passes_over_one_dataset_differ_and_repeat(coordinates):
    def passes():
        batches = records.segmentation_batches(coordinates, 60, 40, 9, seed=3)
        return [next(batches.as_numpy_iterator())[0].tobytes() for _ in range(3)]

    assert passes() == passes() and len(set(passes())) == 3


def test_machines_share_a_joint_batch(coordinates):
    def rows(shard, size):
        batches = records.segmentation_batches(
            coordinates, 60, 40, size, seed=3, epochs=(0, 1), shard=shard
        )
        return [{row.tobytes() for row in images} for images, _ in batches.as_numpy_iterator()]

    joint, first, second = rows((0, 1), 4), rows((0, 2), 2), rows((1, 2), 2)
    assert [a | b for a, b in zip(first, second, strict=True)] == joint[:2]


def test_an_index_is_plain_json(written):
    folder, _ = written
    index = json.loads((folder / records.INDEX).read_text(encoding="utf-8"))
    assert set(index) == {"version", "records", "shards", "problems"}


def test_three_feeds_deliver_the_same_pairs(tree, tmp_path):
    split = CocoSplit(tree, "train")
    ids = split.image_ids()
    records.write_records([split.recipe(number, ["cat"]) for number in ids], tmp_path, shards=3)
    feeds = [
        throughput.from_generator(split, ids, ["cat"]),
        throughput.from_files(split, ids, ["cat"]),
        throughput.from_records(tmp_path),
    ]
    assert throughput.equal(feeds)
    assert not throughput.equal([feeds[0], throughput.from_generator(split, ids, ["dog"])])
    assert not throughput.equal([feeds[0], throughput.from_generator(split, ids[1:], ["cat"])])
    rates = throughput.rates({"files": feeds[1]}, seconds=0.05, rounds=1)
    assert rates["files"] > 0
