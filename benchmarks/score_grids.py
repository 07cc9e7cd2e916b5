"""How well upsampled scores on a coarse grid can represent labels, fitted to each image.

python benchmarks/score_grids.py
"""

from __future__ import annotations

import numpy as np
from common import row
from scipy.optimize import minimize
from scipy.special import log_softmax

from tutorial_lib.data import scenes, voc
from tutorial_lib.training.fcn_stages import QUICK, score_bands

BANDS = (1, 2, 4, 8, 16, 0)  # pixels; 0 is all of them


def interpolation(length: int, stride: int) -> np.ndarray:
    """Return the matrix that upsamples one axis: (pixels, cells), replicated at the border."""
    places, cells = (np.arange(length) + 0.5) / stride - 0.5, np.eye(-(-length // stride))
    return np.stack([np.interp(places, np.arange(len(cells)), cell) for cell in cells], axis=1)


def fitted(labels: np.ndarray, stride: int) -> np.ndarray:
    """Return the prediction of the scores with the lowest cross-entropy that L-BFGS finds."""
    classes = np.unique(labels[labels != 255])
    rows, columns = (interpolation(length, stride) for length in labels.shape)
    truth, valid = labels[..., None] == classes, (labels != 255)[..., None]
    shape = rows.shape[1], columns.shape[1], len(classes)

    def upsampled(scores):
        return np.einsum("hi,ijc,wj->hwc", rows, scores.reshape(shape), columns, optimize=True)

    def loss(scores):
        logs = log_softmax(upsampled(scores), axis=-1)
        error = (np.exp(logs) - truth) * valid
        gradient = np.einsum("hi,hwc,wj->ijc", rows, error, columns, optimize=True)
        return -logs[truth].sum(), gradient.ravel()

    start = np.zeros(np.prod(shape))
    best = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": 100})
    return classes[upsampled(best.x).argmax(axis=-1)]


def main() -> None:
    sizes = {"train": QUICK["scenes"], "val": QUICK["validation"]}
    samples = list(voc.VocTree(scenes.voc_tree(seed=0, **sizes)).samples("val"))
    print("| band in pixels | " + " | ".join(map(str, BANDS)) + " |\n" + "|---" * 7 + "|")
    for stride in (32, 16, 8):
        matrices = score_bands(lambda sample, s=stride: fitted(sample.labels, s), samples, BANDS)
        print(row(f"stride {stride}", [m.mean_iou() for m in matrices.values()]), flush=True)


if __name__ == "__main__":
    main()
