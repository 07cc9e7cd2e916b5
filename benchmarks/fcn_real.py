"""FCN-32s, 16s and 8s on photographs, with a MobileNet pretrained on ImageNet, on a CPU.

    python benchmarks/fcn_real.py VOCDEVKIT WEIGHTS [SEED ...]

VOCDEVKIT is a directory with VOC2012 in it, the whole or a part; WEIGHTS the file of a
keras.applications MobileNet without its top. Trains on the train list with the settings of notebook
05's quick profile, and scores the val list: photographs in their own size, void left out. Prints
the mean IoU on all pixels and on the boundary band, of FCN-8s also with test-time augmentation, and
the IoU of each class. --crf 4 adds the CRF, on every fourth photograph; --share 2 trains on every
second one.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from common import row, train_stages

from tutorial_lib import notebook
from tutorial_lib.data import voc
from tutorial_lib.data.images import resize_short_side

BAND = 4  # pixels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("devkit", type=Path)
    parser.add_argument("weights", type=Path)
    parser.add_argument("seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--crf", type=int, help="score every so many-th with the CRF: slow")
    parser.add_argument("--share", type=int, default=1, help="train on every so many-th photograph")
    parser.add_argument("--keep", type=Path, help="save FCN-8s of the last seed here, *.keras")
    options = parser.parse_args()
    notebook.start("quick")
    from tutorial_lib import crf, inference
    from tutorial_lib.data import records
    from tutorial_lib.models import backbones
    from tutorial_lib.training import fcn_stages, saving

    def evaluate(network, samples, refine=None) -> list:
        return list(fcn_stages.evaluate_bands(network, samples, [0, BAND], refine=refine).values())

    settings, tree = fcn_stages.PHOTOS_QUICK, voc.VocTree(options.devkit)
    side, ids = settings["crop"], tree.ids("train")[:: options.share]
    directory = records.cached_records(
        f"voc-train-{side}-{options.share}",
        [path for name in ids for path in tree.recipe(name).files],
        lambda: (resize_short_side(tree.read(name), side) for name in ids),
    )
    samples = list(tree.samples("val"))
    print(f"{len(ids)} training photographs, {len(samples)} to score", flush=True)
    heads = ["32s", "16s", "8s", "8s, augmented"]
    heads += [f"{head}, band" for head in heads]
    print("| | " + " | ".join(heads) + " |\n" + "|---" * (len(heads) + 1) + "|", flush=True)
    rows, classes = [], []
    for seed in options.seeds:
        notebook.start("quick", seed=seed)
        start = time.process_time()
        backbone = backbones.load_backbone("mobilenet", options.weights)
        networks = train_stages(backbone, settings, directory, seed)
        minutes = (time.process_time() - start) / 60
        augmented = inference.test_time_augmentation(networks[8])
        scores = [evaluate(network, samples) for network in (*networks.values(), augmented)]
        rows.append([matrices[band].mean_iou() for band in (0, 1) for matrices in scores])
        classes.append(scores[2][0].iou())
        print(row(f"seed {seed}, {minutes:.1f} min", rows[-1]), flush=True)
    print(row("mean", np.mean(rows, axis=0)))
    baseline = scores[2][0].background_baseline().mean_iou()
    print(f"\nall background: {baseline:.3f}\n\n| class | IoU of FCN-8s |\n|---|---|")
    for name, value in zip(voc.CLASSES, np.mean(classes, axis=0), strict=True):
        print(row(name, [value], 2))
    if options.crf:
        few = samples[:: options.crf]
        print(f"\n| {len(few)} photographs | mean IoU | band |\n|---|---|---|")
        for name, refine in (("8s, augmented", None), ("8s, augmented, CRF", crf.refine_scores)):
            matrices = evaluate(augmented, few, refine)
            print(row(name, [matrix.mean_iou() for matrix in matrices]), flush=True)
    if options.keep:
        saving.save_net(networks[8], options.keep, voc.CLASSES, short_side=side)


if __name__ == "__main__":
    main()
