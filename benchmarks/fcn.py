"""FCN-32s, 16s and 8s with the quick profile of notebook 05, on bundled scenes.

    python benchmarks/fcn.py                # seeds 0, 1 and 2
    python benchmarks/fcn.py 0 --crf 4      # and a CRF, on every fourth scene
    python benchmarks/fcn.py --control      # and FCN-32s, trained as long as all three

Prints the mean IoU on all pixels and on the boundary band, and the IoU of each class.
"""

from __future__ import annotations

import argparse
import functools
import time

import numpy as np
from common import row

from tutorial_lib import notebook
from tutorial_lib.data import voc

BAND = 4  # pixels
CONTROL_RATES = (5e-4, 1e-3)  # those of the first stage and of the two later ones


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--crf", type=int, help="score every so many-th with the CRF: slow")
    parser.add_argument("--control", action="store_true", help="train FCN-32s as long as all three")
    options = parser.parse_args()
    notebook.start("quick")
    from tutorial_lib import crf
    from tutorial_lib.data import records, scenes
    from tutorial_lib.models import fcn
    from tutorial_lib.training import fcn_stages, pretrain

    settings = fcn_stages.QUICK
    side, heads = settings["crop"], ["32s", "16s", "8s"]

    def mean_iou(network, samples, refine=None) -> tuple:
        """Return the confusion matrices on all pixels and on the band, and their mean IoU."""
        scores = fcn_stages.evaluate_bands(network, samples, [0, BAND], refine=refine)
        return scores[0], [matrix.mean_iou() for matrix in scores.values()]

    heads += [f"32s, rate {rate:g}" for rate in CONTROL_RATES] * options.control
    heads += [f"{head}, band" for head in heads]
    print("| | " + " | ".join(heads) + " |\n" + "|---" * (len(heads) + 1) + "|", flush=True)
    rows, classes = [], []
    for seed in options.seeds:
        notebook.start("quick", seed=seed)
        sizes = {"train": settings["scenes"], "val": settings["validation"]}
        tree = voc.VocTree(scenes.voc_tree(seed=seed, **sizes))
        backbone = pretrain.load_classifier()
        samples = list(tree.samples("val"))
        paths = [path for name in tree.ids("train") for path in tree.recipe(name).files]
        train = functools.partial(tree.samples, "train")
        directory = records.cached_records(f"benchmark-{side}", paths, train)
        start, networks = time.process_time(), {}
        for stride, stage in settings["stages"].items():
            networks[stride] = fcn.build_fcn(backbone, stride)
            if 2 * stride in networks:
                fcn.warm_start(networks[stride], networks[2 * stride])
            batches = fcn_stages.batches_from(directory, settings, seed, stride)
            fcn_stages.train_stage(networks[stride], batches, stage)
        longest = sum(stage.warmup + stage.epochs for stage in settings["stages"].values())
        controls = []
        for rate in CONTROL_RATES if options.control else ():
            controls.append(fcn.build_fcn(backbone, 32))
            batches = fcn_stages.batches_from(directory, settings, seed, 32)
            stage = fcn_stages.Stage(1, longest - 1, rate)
            fcn_stages.train_stage(controls[-1], batches, stage)
        minutes = (time.process_time() - start) / 60
        scores = [mean_iou(network, samples) for network in [*networks.values(), *controls]]
        rows.append([values[band] for band in (0, 1) for _, values in scores])
        classes.append(scores[2][0].iou())
        print(row(f"seed {seed}, {minutes:.1f} min", rows[-1]), flush=True)
    print(row("mean", np.mean(rows, axis=0)))
    baseline = scores[2][0].background_baseline().mean_iou()
    print(f"\nall background: {baseline:.3f}\n\n| class | IoU of FCN-8s |\n|---|---|")
    for name, value in zip(voc.CLASSES, np.mean(classes, axis=0), strict=True):
        print(row(name, [value], 2))
    if options.crf:
        few = samples[:: options.crf]
        print(f"\n| {len(few)} images | mean IoU | band |\n|---|---|---|")
        for name, refine in (("FCN-8s", None), ("FCN-8s and CRF", crf.refine_scores)):
            print(row(name, mean_iou(networks[8], few, refine)[1]), flush=True)


if __name__ == "__main__":
    main()
