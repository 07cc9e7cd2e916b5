"""FCN-32s, 16s and 8s on real photographs, with a MobileNet that ImageNet trained, on a CPU.

    python benchmarks/fcn_real.py VOCDEVKIT WEIGHTS [SEED ...]

VOCDEVKIT is a folder with VOC2012 in it, the whole or a part; WEIGHTS the file of a
keras.applications MobileNet without its top. Each photograph is scaled down to 224 pixels, its
shorter side; training uses the train list, scoring the val list. Prints tables of mean IoU, on all
pixels and on the band around outlines, with and without the CRF, and the IoU of each class.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np

from tutorial_lib import profiles
from tutorial_lib.data import voc
from tutorial_lib.data.images import shrink

BAND = 4  # pixels


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("devkit", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--keep", type=Path, help="save FCN-8s of the last seed here, *.keras")
    options = parser.parse_args()
    profiles.start("quick")
    from tutorial_lib import crf, saving, staged
    from tutorial_lib.data import records
    from tutorial_lib.models import backbones, fcn

    settings = staged.PHOTOS_QUICK
    side = settings["crop"]
    tree = voc.VocTree(options.devkit)
    paths = [tree.labels_path(name) for name in tree.ids("train")]
    folder = records.cached_records(
        f"voc-train-{side}", paths, lambda: (shrink(s, side) for s in tree.samples("train"))
    )
    samples = [shrink(sample, side) for sample in tree.samples("val")]
    print(f"{len(paths)} photographs to train on, {len(samples)} to score", flush=True)
    print("| | 32s | 16s | 8s | 8s, CRF | 32s, band | 16s, band | 8s, band | 8s, band, CRF |")
    print("|---" * 9 + "|", flush=True)
    rows, classes = [], []
    for seed in options.seeds:
        profiles.start("quick", seed=seed)
        start, nets = time.perf_counter(), {}
        body = backbones.load_backbone("mobilenet", options.weights)
        for stride, stage in settings["stages"].items():
            nets[stride] = fcn.build_fcn(body, stride)
            if 2 * stride in nets:
                fcn.warm_start(nets[stride], nets[2 * stride])
            batches_of = staged.batches_from(folder, settings, seed, stride)
            staged.train_stage(nets[stride], batches_of, stage)
        seconds = time.perf_counter() - start
        scores = {s: staged.evaluate_bands(net, samples, [0, BAND]) for s, net in nets.items()}
        scores["crf"] = staged.evaluate_bands(nets[8], samples, [0, BAND], refine=crf.refine_scores)
        rows.append([m[width].mean_iou() for width in (0, BAND) for m in scores.values()])
        classes.append(scores[8][0].iou())
        print(line(f"seed {seed}, {seconds:.0f} s", rows[-1]), flush=True)
    print(line("mean", np.mean(rows, axis=0)))
    baseline = scores[8][0].background_baseline().mean_iou()
    print(f"\nall background: {baseline:.3f}\n\n| class | IoU of FCN-8s |\n|---|---|")
    for name, value in zip(voc.CLASSES, np.mean(classes, axis=0), strict=True):
        print(f"| {name} | {value:.2f} |")
    if options.keep:
        saving.save_net(nets[8], options.keep, voc.CLASSES, short_side=side)
    return 0


def line(name: str, values) -> str:
    """Return a line of the table."""
    return f"| {name} | " + " | ".join(f"{value:.3f}" for value in values) + " |"


if __name__ == "__main__":
    sys.exit(main())
