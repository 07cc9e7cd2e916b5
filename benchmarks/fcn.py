"""FCN-32s, 16s and 8s with the quick profile of notebook 05, on bundled scenes.

    python benchmarks/fcn.py                # seeds 0, 1 and 2
    python benchmarks/fcn.py --control      # and FCN-32s, trained as long as all three

Prints the mean IoU on all pixels and on the boundary band.
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
    parser.add_argument("--control", action="store_true", help="train FCN-32s as long as all three")
    options = parser.parse_args()
    notebook.start("quick")
    from tutorial_lib.data import records, scenes
    from tutorial_lib.models import fcn
    from tutorial_lib.training import fcn_stages, pretrain

    settings = fcn_stages.QUICK
    side, heads = settings["crop"], ["32s", "16s", "8s"]
    heads += [f"32s, rate {rate:g}" for rate in CONTROL_RATES] * options.control
    heads += [f"{head}, band" for head in heads]
    print("| | " + " | ".join(heads) + " |\n" + "|---" * (len(heads) + 1) + "|", flush=True)
    rows = []
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
        trained = [*networks.values(), *controls]
        scores = [fcn_stages.evaluate_bands(network, samples, [0, BAND]) for network in trained]
        rows.append([matrices[band].mean_iou() for band in (0, BAND) for matrices in scores])
        print(row(f"seed {seed}, {minutes:.1f} min", rows[-1]), flush=True)
    print(row("mean", np.mean(rows, axis=0)))
    baseline = scores[2][0].background_baseline().mean_iou()
    print(f"\nall background: {baseline:.3f}")


if __name__ == "__main__":
    main()
