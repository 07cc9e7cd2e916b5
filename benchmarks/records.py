"""Records: how fast they are written and read, beside JPEG decoding alone.

    python benchmarks/records.py [--coco TREE] [--voc TREE] [--category cat] [--rounds 5]

Without a tree the bundled scenes are taken. For each data set this prints the images per second of
the conversion with one and two workers, the bytes per record, and the images per second of the
input pipelines. Contestants take turns; medians of the rounds are printed, and a ratio is the
median of the ratios within each round, because the machine may be busy.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from statistics import median

from tutorial_lib import notebook

with notebook.native_notes_silenced():
    import tensorflow as tf

from tutorial_lib.data import records, scenes, throughput
from tutorial_lib.data.coco import CocoSplit
from tutorial_lib.data.voc import VocTree


def decode_only(paths) -> tf.data.Dataset:
    """Decode JPEG images that are in memory already: no input pipeline can be faster."""
    files = tf.data.Dataset.from_tensor_slices([path.read_bytes() for path in paths])
    return files.map(records.decode_jpeg, num_parallel_calls=tf.data.AUTOTUNE)


def conversion(recipes, directory: Path, rounds: int) -> None:
    """Convert with one and two workers in turn, and print the rates."""
    rates: dict[int, list[float]] = {1: [], 2: []}
    for number in range(rounds):
        for workers, measured in rates.items():
            target = directory / f"{number}-{workers}"
            start = time.perf_counter()
            records.write_records(recipes, target, 8, workers)
            measured.append(len(recipes) / (time.perf_counter() - start))
    size = sum(shard["bytes"] for shard in records.read_index(target)["shards"].values())
    pixels = sum(3 * recipe.read().labels.size for recipe in recipes)
    gain = median(two / one for one, two in zip(*rates.values(), strict=True))
    print(
        f"conversion: {median(rates[1]):.0f} images/s with 1 worker, {median(rates[2]):.0f} with 2 "
        f"({gain:.2f} times as fast); {size / len(recipes):,.0f} bytes per record, "
        f"{pixels / size:.1f} times smaller than pixels"
    )


def reading(pipelines: dict[str, tf.data.Dataset], rounds: int, seconds: float) -> None:
    """Read with all pipelines in turn, and print the rates and their share of decoding."""
    measured = [throughput.rates(pipelines, seconds, 1) for _ in range(rounds)]
    for name in pipelines:
        shares = [rates[name] / rates["JPEG decoding alone"] for rates in measured]
        print(
            f"{name:20} {median(rates[name] for rates in measured):6.0f} images/s  "
            f"{median(shares):4.0%} of decoding ({min(shares):.0%} to {max(shares):.0%})"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--coco", type=Path)
    parser.add_argument("--voc", type=Path)
    parser.add_argument("--category", default="cat")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2, help="per pipeline and round")
    parser.add_argument("--limit", type=int, default=300, help="images of each data set")
    parser.add_argument(
        "--repeat", type=int, default=20,
        help="read each image so often from the records, to open files as rarely as in a large set",
    )  # fmt: skip
    options = parser.parse_args()
    notebook.start("quick")
    coco = options.coco
    if not coco and not options.voc:
        coco = scenes.coco_tree(train=480, val=120)
    with tempfile.TemporaryDirectory() as name:
        directory, pipelines = Path(name), {}
        if coco:
            split, wanted = CocoSplit(coco, "train"), [options.category]
            ids = split.image_ids(options.category)[: options.limit]
            recipes = [split.recipe(number, wanted) for number in ids]
            paths = [recipe.path for recipe in recipes]
            pipelines = {
                "Python generator": throughput.from_generator(split, ids, wanted),
                "raw files, tf.data": throughput.from_files(split, ids, wanted),
                "JPEG and PNG files": throughput.from_mask_files(
                    split, ids, wanted, directory / "masks"
                ),
            }
        else:
            tree = VocTree(options.voc)
            recipes = [tree.recipe(name) for name in tree.ids("train")[: options.limit]]
            paths = [recipe.image_path for recipe in recipes]
        print(f"{len(recipes)} images of {coco or options.voc}")
        conversion(recipes, directory, options.rounds)
        records.write_records(recipes * options.repeat, directory / "long", 4, 2)
        pipelines |= {
            "TFRecord": throughput.from_records(directory / "long"),
            "JPEG decoding alone": decode_only(paths),
        }
        reading(pipelines, options.rounds, options.seconds)


if __name__ == "__main__":
    main()
