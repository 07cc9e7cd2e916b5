"""Reading: pictures a second of three feeds, and as a share of pure JPEG decoding.

    python benchmarks/feeding.py [COCO_TREE] [--category cat] [--rounds 5] [--repeat 20]

Without a tree the bundled scenes are taken. A small tree is written several times over into its
records, so that they are as long as those of a large one, whose files are opened once in many
thousand pictures. The feeds take turns, round by round; medians are
printed, and a share is the median of the shares within each round.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path
from statistics import median

from tutorial_lib import notebook

with notebook.native_notes_silenced():
    from tutorial_lib.data import throughput

from tutorial_lib.data import records, scenes
from tutorial_lib.data.coco import CocoSplit


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tree", nargs="?", type=Path)
    parser.add_argument("--category", default="cat")
    parser.add_argument("--seconds", type=float, default=2, help="of each feed in each round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--repeat", type=int, default=20, help="write each picture so often")
    options = parser.parse_args()
    notebook.start("quick")
    split = CocoSplit(options.tree or scenes.coco_tree(train=480, val=120), "train")
    ids, wanted = split.image_ids(options.category), [options.category]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        recipes = [split.recipe(number, wanted) for number in ids]
        records.write_records(recipes * options.repeat, folder, 4, workers=os.cpu_count())
        feeds = {
            "Python generator": throughput.from_generator(split, ids, wanted),
            "raw files, tf.data": throughput.from_files(split, ids, wanted),
            "TFRecord": throughput.from_records(folder),
            "JPEG decoding alone": throughput.decoding([split.image_path(n) for n in ids]),
        }
        rounds = [throughput.rates(feeds, options.seconds, 1) for _ in range(options.rounds)]
    print(f"{len(ids)} pictures, {os.cpu_count()} cores")
    for feed in feeds:
        shares = [rates[feed] / rates["JPEG decoding alone"] for rates in rounds]
        print(
            f"{feed:20} {median(rates[feed] for rates in rounds):7.0f} pictures/s  "
            f"{median(shares):4.0%} of decoding ({min(shares):.0%} to {max(shares):.0%})"
        )


if __name__ == "__main__":
    main()
