"""FCN-32s, 16s and 8s on bundled scenes, as the quick profile of notebook 05 trains them.

    python benchmarks/fcn_quick.py            # seeds 0, 1 and 2: other scenes, other batches
    python benchmarks/fcn_quick.py 0 --crf    # and what a CRF adds to the last seed's networks

Prints a table of mean IoU on validation scenes, on all pixels and on the boundary band. The exit
code is 1 if for any seed 32s < 16s < 8s does not hold or FCN-8s stays below 0.60.
"""

from __future__ import annotations

import argparse
import functools
import sys
import time

from common import row, train_stages

from tutorial_lib import notebook
from tutorial_lib.data import voc

BAND = 4  # pixels
LEAST = 0.60


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--crf", action="store_true", help="also refine the scores of the last")
    options = parser.parse_args()
    notebook.start("quick")
    from tutorial_lib import crf
    from tutorial_lib.data import records, scenes
    from tutorial_lib.training import fcn_stages
    from tutorial_lib.training.pretrain import load_classifier

    settings, good = fcn_stages.QUICK, True
    print("| | 32s | 16s | 8s | 32s, band | 16s, band | 8s, band |\n|---|---|---|---|---|---|---|")
    for seed in options.seeds:
        notebook.start("quick", seed=seed)
        tree = voc.VocTree(
            scenes.voc_tree(seed=seed, train=settings["scenes"], val=settings["validation"])
        )
        paths = [path for name in tree.ids("train") for path in tree.recipe(name).files]
        directory = records.cached_records(
            "voc-train-160", paths, functools.partial(tree.samples, "train")
        )
        samples, start = list(tree.samples("val")), time.perf_counter()
        networks = train_stages(load_classifier(), settings, directory, seed)
        name = f"seed {seed}, {time.perf_counter() - start:.0f} s"
        scores = [fcn_stages.evaluate_bands(n, samples, [0, BAND]) for n in networks.values()]
        values = [matrices[width].mean_iou() for width in (0, BAND) for matrices in scores]
        print(row(name, values), flush=True)
        good &= values[0] < values[1] < values[2] and values[2] >= LEAST
    if options.crf:
        print("\n| | all pixels | with CRF | band | with CRF |\n|---|---|---|---|---|")
        for stride in (32, 8):
            scores = [
                fcn_stages.evaluate_bands(networks[stride], samples[:50], [0, BAND], refine=refine)
                for refine in (None, crf.refine_scores)
            ]
            values = [matrices[width].mean_iou() for width in (0, BAND) for matrices in scores]
            print(row(f"FCN-{stride}s", values), flush=True)
    print(f"32s < 16s < 8s and 8s at least {LEAST}, for each seed: {good}")
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
