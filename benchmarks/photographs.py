"""The FCN for photographs: mean IoU on VOC's val list of networks trained on its train list.

    python benchmarks/photographs.py VOCDEVKIT [--coco COCO ...] [--seeds 0 1 2]

Each photograph is scored in its own size, void left out. Prints FCN-32s, 16s and 8s, and 8s with
test-time augmentation and with the CRF, the processor time of training, and the IoU of each class.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np

from tutorial_lib import crf, inference, notebook
from tutorial_lib.data import records, voc
from tutorial_lib.metrics import ConfusionMatrix


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("voc", type=Path)
    parser.add_argument("--coco", nargs="*", type=Path, default=[])
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    options = parser.parse_args()
    notebook.start("quick")
    import keras

    from tutorial_lib.models import fcn
    from tutorial_lib.training import photo_fcn

    roots = [options.voc, *options.coco]
    paths = [path for root in roots for path in sorted(root.rglob("*.j*"))]
    samples = lambda: photo_fcn.training_samples(options.voc, options.coco)  # noqa: E731
    directory = records.cached_records("photographs", paths, samples)
    print(records.count(directory), "photographs to train on", flush=True)
    names, rows, classes = ["32s", "16s", "8s", "8s, augmented", "8s, CRF"], [], []
    for seed in options.seeds:
        start = time.process_time()
        network = photo_fcn.train_scores(directory, seed, echo=lambda line: None)
        minutes = (time.process_time() - start) / 60
        scores = [network.get_layer(n).output for n in ("score_fc7", "fuse_pool4")]
        models = [
            keras.Model(network.inputs, fcn.upsample(x, stride))
            for x, stride in zip(scores, (32, 16), strict=True)
        ]
        models += [network, inference.test_time_augmentation(network)]
        matrices = [ConfusionMatrix(21) for _ in names]
        for sample in voc.VocTree(options.voc).samples("val"):
            logits = [inference.predict_any_size(model, sample.image) for model in models]
            logits.append(crf.refine_scores(logits[2], sample.image))
            for matrix, scores in zip(matrices, logits, strict=True):
                matrix.update(sample.labels, scores.argmax(-1))
        rows.append([matrix.mean_iou() for matrix in matrices])
        classes.append(matrices[2].iou())
        results = ", ".join(f"{name} {value:.3f}" for name, value in zip(names, rows[-1]))  # noqa: B905
        print(f"seed {seed}, {minutes:.1f} minutes: {results}", flush=True)
    print("mean:", ", ".join(f"{n} {v:.3f}" for n, v in zip(names, np.mean(rows, axis=0))))  # noqa: B905
    for name, value in zip(voc.CLASSES, np.mean(classes, axis=0), strict=True):
        print(f"{name:<12}{value:.2f}")


if __name__ == "__main__":
    main()
