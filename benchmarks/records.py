"""Conversion to records: pictures a second and bytes, against records of raw pixels.

    python benchmarks/records.py [COCO_TREE] [--category cat]

Without a tree the bundled scenes are taken. Raw-pixel records are what older tutorials write: the
decoded picture and the mask as bytes. What several processes gain is shown beside what the cores
of this machine allow: reading and encoding the same pictures at once, and writing nothing.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

# TensorFlow is imported where it is needed: the processes that encode import this file again.
from tutorial_lib import notebook
from tutorial_lib.data import encoding, scenes, shards
from tutorial_lib.data.coco import CocoSplit


def write_raw(recipes, path: Path) -> None:
    """Write decoded pixels, one file, as older tutorials do."""
    import tensorflow as tf

    def text(value: bytes) -> tf.train.Feature:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    def number(value: int) -> tf.train.Feature:
        return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))

    with tf.io.TFRecordWriter(str(path)) as writer:
        for recipe in recipes:
            sample = recipe.read()
            height, width = sample.labels.shape
            features = {
                "height": number(height),
                "width": number(width),
                "image": text(sample.image.tobytes()),
                "mask": text(sample.labels.tobytes()),
            }
            example = tf.train.Example(features=tf.train.Features(feature=features))
            writer.write(example.SerializeToString())


def encode(recipes) -> float:
    """Do all of the work but writing; return how long it took."""
    start = time.perf_counter()
    for recipe in recipes:
        encoding.serialized(encoding.encoded(recipe))
    return time.perf_counter() - start


def possible(recipes, workers: int) -> float:
    """Return how many times as much several processes at once encode as one alone."""
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, spawn, initializer=shards.keep_memory) as pool:
        (alone,) = pool.map(encode, [recipes])
        times = list(pool.map(encode, [recipes] * workers))
    return sum(alone / each for each in times)


def clocked(function, *arguments) -> float:
    start = time.perf_counter()
    function(*arguments)
    return time.perf_counter() - start


def size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.glob("*.tfrecord"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tree", nargs="?", type=Path)
    parser.add_argument("--category", default="cat")
    parser.add_argument("--repeat", type=int, default=1, help="convert each picture so often")
    options = parser.parse_args()
    with notebook.native_notes_silenced():
        from tutorial_lib.data import records
    split = CocoSplit(options.tree or scenes.coco_tree(train=480, val=120), "train")
    recipes = [split.recipe(n, [options.category]) for n in split.image_ids(options.category)]
    recipes *= options.repeat
    count = len(recipes)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        spent = clocked(write_raw, recipes, folder / "raw.tfrecord")
        raw = size(folder)
        print(f"raw pixels, 1 process: {count / spent:7.0f} pictures/s  {raw / count:9,.0f} B each")
        alone = None
        for workers in sorted({1, 2, os.cpu_count() or 1}):
            place = folder / str(workers)
            spent = clocked(records.write_records, recipes, place, 8 * workers, workers)
            ours, alone = size(place), alone or spent
            print(
                f"records, {workers} process(es): {count / spent:5.0f} pictures/s  "
                f"{ours / count:9,.0f} B each, {raw / ours:.1f} times smaller; {alone / spent:.2f} "
                f"times as fast as one, {possible(recipes, workers):.2f} is possible"
            )


if __name__ == "__main__":
    main()
