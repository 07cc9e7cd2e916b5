"""FCN-32s, 16s and 8s on bundled scenes, as the quick profile of notebook 05 trains them.

    python benchmarks/fcn_quick.py            # seeds 0, 1 and 2: other scenes, other batches
    python benchmarks/fcn_quick.py 0 --once   # and each net at once, with all stages' epochs
    python benchmarks/fcn_quick.py 0 --crf    # and what a CRF adds to the last seed's nets

Prints a table of mean IoU on held-out scenes, on all pixels and on the band around outlines. The
exit code is 1 if for any seed 32s < 16s < 8s does not hold or FCN-8s stays below 0.60.
"""

from __future__ import annotations

import argparse
import sys
import time

from tutorial_lib import notebook
from tutorial_lib.data import voc

BAND = 4  # pixels
LEAST = 0.60


def prepare(seed: int, settings):
    """Return the folder of training records and the held-out samples."""
    from tutorial_lib.data import records

    scenes, held_out = settings["scenes"], settings["validation"]
    tree = voc.VocTree(scenes.voc_tree(seed=seed, train=scenes, val=held_out))
    paths = [path for name in tree.ids("train") for path in tree.recipe(name).files]
    folder = records.cached_records("voc-train-160", paths, lambda: tree.samples("train"))
    return folder, list(tree.samples("val"))


def staged_nets(seed: int, settings, folder):
    """Train 32s, 16s and 8s, each from the last; return the nets and the seconds."""
    from tutorial_lib.models import fcn
    from tutorial_lib.training import fcn_stages
    from tutorial_lib.training.pretrain import load_classifier

    classifier, nets, start = load_classifier(), {}, time.perf_counter()
    for stride, stage in settings["stages"].items():
        nets[stride] = fcn.build_fcn(classifier, stride)
        if 2 * stride in nets:
            fcn.warm_start(nets[stride], nets[2 * stride])
        fcn_stages.train_stage(
            nets[stride], fcn_stages.batches_from(folder, settings, seed, stride), stage
        )
    return nets, time.perf_counter() - start


def nets_at_once(seed: int, settings, folder):
    """Train each net from the classifier alone, with all stages' epochs."""
    from tutorial_lib.models import fcn
    from tutorial_lib.training import fcn_stages
    from tutorial_lib.training.pretrain import load_classifier

    stages, nets = settings["stages"].values(), {}
    stage = fcn_stages.Stage(1, sum(s.epochs + s.warmup for s in stages) - 1, 1e-3)
    for stride in settings["stages"]:
        nets[stride] = fcn.build_fcn(load_classifier(), stride)
        fcn_stages.train_stage(
            nets[stride], fcn_stages.batches_from(folder, settings, seed, stride), stage
        )
    return nets


def row(name: str, nets, samples) -> tuple[str, dict[int, float]]:
    """Score three nets; return a line of the table and the mean IoUs."""
    from tutorial_lib.training import fcn_stages

    both = {s: fcn_stages.evaluate_bands(net, samples, [0, BAND]) for s, net in nets.items()}
    whole, band = ({s: m[width].mean_iou() for s, m in both.items()} for width in (0, BAND))
    cells = [f"{whole[s]:.3f}" for s in whole] + [f"{band[s]:.3f}" for s in band]
    return f"| {name} | {' | '.join(cells)} |", whole


def crf_table(nets, samples) -> list[str]:
    """Score nets before and after the CRF on some pictures; return the lines of two tables."""
    from tutorial_lib import crf
    from tutorial_lib.training import fcn_stages

    nets, samples = {s: nets[s] for s in (32, 8)}, samples[:50]

    lines = [
        "",
        "| | all pixels | with CRF | band | with CRF | ms a picture |",
        "|---|" + "---|" * 5,
    ]
    differences = {}
    for stride, net in nets.items():
        start = time.perf_counter()
        plain = fcn_stages.evaluate_bands(net, samples, [0, BAND])
        middle = time.perf_counter()
        refined = fcn_stages.evaluate_bands(net, samples, [0, BAND], refine=crf.refine_scores)
        extra = (time.perf_counter() - middle) - (middle - start)
        scores = [m[width].mean_iou() for width in (0, BAND) for m in (plain, refined)]
        cells = " | ".join(f"{score:.3f}" for score in scores)
        lines.append(f"| FCN-{stride}s | {cells} | {1000 * extra / len(samples):.0f} |")
        differences[stride] = refined[0].iou() - plain[0].iou()
    present = [c for c, value in enumerate(differences[8]) if value == value]
    lines += ["", "| IoU gained by the CRF | " + " | ".join(voc.CLASSES[c] for c in present) + " |"]
    lines.append("|---|" + "---|" * len(present))
    for stride, difference in differences.items():
        cells = " | ".join(f"{difference[c]:+.3f}" for c in present)
        lines.append(f"| FCN-{stride}s | {cells} |")
    return lines


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--once", action="store_true", help="also train each net at once")
    parser.add_argument("--crf", action="store_true", help="also refine the nets' scores")
    options = parser.parse_args()
    notebook.start("quick")
    from tutorial_lib.training import fcn_stages

    print("| | 32s | 16s | 8s | 32s, band | 16s, band | 8s, band |\n|---|---|---|---|---|---|---|")
    good = True
    for seed in options.seeds:
        notebook.start("quick", seed=seed)
        folder, samples = prepare(seed, fcn_stages.QUICK)
        nets, seconds = staged_nets(seed, fcn_stages.QUICK, folder)
        line, scores = row(f"seed {seed}, staged, {seconds:.0f} s", nets, samples)
        print(line, flush=True)
        good &= scores[32] < scores[16] < scores[8] and scores[8] >= LEAST
        if options.crf and seed == options.seeds[-1]:
            print("\n".join(crf_table(nets, samples)), flush=True)
        if options.once:
            notebook.start("quick", seed=seed)
            print(
                row(f"seed {seed}, at once", nets_at_once(seed, fcn_stages.QUICK, folder), samples)[
                    0
                ]
            )
    print(f"32s < 16s < 8s and 8s at least {LEAST}, for each seed: {good}")
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
