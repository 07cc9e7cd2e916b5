"""Records: how fast they are written and read, beside JPEG decoding alone.

    python benchmarks/records.py [COCO_TREE]

Without a tree the bundled scenes are taken. This prints the images per second of the conversion
with one and two workers, the bytes per record, and the images per second of the input pipelines,
all for images with a cat. Contestants take turns; medians of the rounds are printed, and a ratio is
the median of the ratios within each round, because the machine may be busy.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from tutorial_lib import notebook

with notebook.native_notes_silenced():
    import tensorflow as tf

from tutorial_lib.data import records, scenes, throughput
from tutorial_lib.data.coco import CocoSplit

ROUNDS, SECONDS = 5, 2  # seconds per pipeline and round
LIMIT = 300  # images
REPEAT = 20  # times each image is in the long records: files are opened as rarely as in a large set


def decode_only(paths) -> tf.data.Dataset:
    """Decode JPEG images that are in memory already: no input pipeline can be faster."""
    files = tf.data.Dataset.from_tensor_slices([path.read_bytes() for path in paths])
    return files.map(records.decode_jpeg, num_parallel_calls=tf.data.AUTOTUNE)


def conversion(recipes, directory: Path) -> None:
    """Convert with one and two workers in turn, and print the rates."""
    rates: dict[int, list[float]] = {1: [], 2: []}
    for number in range(ROUNDS):
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


def reading(pipelines: dict[str, tf.data.Dataset]) -> None:
    """Read with all pipelines in turn, and print the rates and their share of decoding."""
    measured = [throughput.rates(pipelines, SECONDS, 1) for _ in range(ROUNDS)]
    for name in pipelines:
        shares = [rates[name] / rates["JPEG decoding alone"] for rates in measured]
        print(
            f"{name:20} {median(rates[name] for rates in measured):6.0f} images/s  "
            f"{median(shares):4.0%} of decoding ({min(shares):.0%} to {max(shares):.0%})"
        )


def main() -> None:
    notebook.start("quick")
    tree = sys.argv[1] if len(sys.argv) > 1 else scenes.coco_tree(train=480, val=120)
    split = CocoSplit(tree, "train")
    ids = split.image_ids("cat")[:LIMIT]
    recipes = [split.recipe(number, ["cat"]) for number in ids]
    print(f"{len(recipes)} images of {tree}")
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        conversion(recipes, directory)
        records.write_records(recipes * REPEAT, directory / "long", 4, 2)
        masks = throughput.from_mask_files(split, ids, ["cat"], directory / "masks")
        pipelines = {
            "Python generator": throughput.from_generator(split, ids, ["cat"]),
            "raw files, tf.data": throughput.from_files(split, ids, ["cat"]),
            "JPEG and PNG files": masks,
            "TFRecord": throughput.from_records(directory / "long"),
            "JPEG decoding alone": decode_only([recipe.path for recipe in recipes]),
        }
        reading(pipelines)


if __name__ == "__main__":
    main()
