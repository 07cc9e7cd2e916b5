"""FCN-32s, 16s and 8s on real photographs, with a MobileNet that ImageNet trained, on a CPU.

    python benchmarks/fcn_real.py VOCDEVKIT WEIGHTS [SEED ...]

VOCDEVKIT is a folder with VOC2012 in it, the whole or a part; WEIGHTS the file of a
keras.applications MobileNet without its top. Training uses the train list and the settings of
notebook 05's quick profile, scoring the val list, photographs in their own size, void left out.
Prints tables of mean IoU, on all pixels and on the band around outlines, of FCN-8s also with the
mean over three sizes of a photograph and their mirror images; and the IoU of each class. --crf 4
adds the CRF, on every fourth photograph; --train scores the photographs trained on as well;
--share 2 trains on every second one.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np

from tutorial_lib import notebook
from tutorial_lib.data import voc
from tutorial_lib.data.images import shrink

BAND = 4  # pixels


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("devkit", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--crf", type=int, help="score every so many-th with the CRF: slow")
    parser.add_argument("--train", action="store_true", help="also score what it was trained on")
    parser.add_argument("--share", type=int, default=1, help="train on every so many-th photograph")
    parser.add_argument("--keep", type=Path, help="save FCN-8s of the last seed here, *.keras")
    options = parser.parse_args()
    notebook.start("quick")
    from tutorial_lib import crf, inference
    from tutorial_lib.data import records
    from tutorial_lib.models import backbones, fcn
    from tutorial_lib.training import fcn_stages, saving

    settings = fcn_stages.PHOTOS_QUICK
    side = settings["crop"]
    tree = voc.VocTree(options.devkit)
    ids = tree.ids("train")[:: options.share]
    folder = records.cached_records(
        f"voc-train-{side}-{options.share}",
        [path for name in ids for path in tree.recipe(name).files],
        lambda: (shrink(tree.read(name), side) for name in ids),
    )
    samples = list(tree.samples("val"))
    print(f"{len(ids)} photographs to train on, {len(samples)} to score", flush=True)
    heads = ["32s", "16s", "8s", "8s, views"]
    heads += [f"{head}, band" for head in heads] + ["8s, train"] * options.train
    print("| | " + " | ".join(heads) + " |\n" + "|---" * (len(heads) + 1) + "|", flush=True)
    rows, classes = [], []
    for seed in options.seeds:
        notebook.start("quick", seed=seed)
        start, nets = time.process_time(), {}
        body = backbones.load_backbone("mobilenet", options.weights)
        for stride, stage in settings["stages"].items():
            nets[stride] = fcn.build_fcn(body, stride)
            if 2 * stride in nets:
                fcn.warm_start(nets[stride], nets[2 * stride])
            batches_of = fcn_stages.batches_from(folder, settings, seed, stride)
            fcn_stages.train_stage(nets[stride], batches_of, stage)
        seconds = time.process_time() - start
        views = inference.several_views(nets[8])
        scores = [fcn_stages.evaluate_bands(net, samples, [0, BAND]) for net in nets.values()]
        scores.append(fcn_stages.evaluate_bands(views, samples, [0, BAND]))
        rows.append([m[width].mean_iou() for width in (0, BAND) for m in scores])
        if options.train:
            known = (tree.read(name) for name in ids)
            rows[-1].append(fcn_stages.evaluate(nets[8], known).mean_iou())
        classes.append(scores[2][0].iou())
        print(line(f"seed {seed}, {seconds / 60:.1f} min", rows[-1]), flush=True)
    print(line("mean", np.mean(rows, axis=0)))
    baseline = scores[2][0].background_baseline().mean_iou()
    print(f"\nall background: {baseline:.3f}\n\n| class | IoU of FCN-8s |\n|---|---|")
    for name, value in zip(voc.CLASSES, np.mean(classes, axis=0), strict=True):
        print(f"| {name} | {value:.2f} |")
    if options.crf:
        few = samples[:: options.crf]
        print(f"\n| {len(few)} photographs | mean IoU | band |\n|---|---|---|")
        for name, refine in (("8s, views", None), ("8s, views, CRF", crf.refine_scores)):
            scores = fcn_stages.evaluate_bands(views, few, [0, BAND], refine=refine)
            print(line(name, [matrix.mean_iou() for matrix in scores.values()]), flush=True)
    if options.keep:
        saving.save_net(nets[8], options.keep, voc.CLASSES, short_side=side)
    return 0


def line(name: str, values) -> str:
    """Return a line of the table."""
    return f"| {name} | " + " | ".join(f"{value:.3f}" for value in values) + " |"


if __name__ == "__main__":
    sys.exit(main())
