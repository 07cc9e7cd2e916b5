"""How fast is the confusion matrix, beside Keras's MeanIoU and scikit-learn's?

    python benchmarks/metrics.py

Prints the milliseconds per image of VOC's size (500×375 pixels, 21 classes, void), and ratios.
"""

from __future__ import annotations

import numpy as np
from common import best_times
from sklearn.metrics import confusion_matrix

from tutorial_lib import notebook
from tutorial_lib.metrics import ConfusionMatrix

IMAGES, CLASSES, VOID, ROUNDS = 20, 21, 255, 7


def images() -> list[tuple[np.ndarray, np.ndarray]]:
    """Return pairs of labels (uint8) and predictions (int64, as argmax returns them)."""
    rng = np.random.default_rng(0)
    pairs = []
    for _ in range(IMAGES):
        blocks = rng.integers(0, CLASSES, (15, 20), np.uint8)
        labels = np.kron(blocks, np.ones((25, 25), np.uint8))
        predictions = np.where(rng.random(labels.shape) < 0.8, labels, 0).astype(np.int64)
        labels[rng.random(labels.shape) < 0.05] = VOID
        pairs.append((labels, predictions))
    return pairs


def main() -> None:
    notebook.start("quick")
    import keras

    pairs = images()
    ours = ConfusionMatrix(CLASSES, VOID)
    theirs = keras.metrics.MeanIoU(CLASSES, ignore_class=VOID)
    total = np.zeros((CLASSES, CLASSES), np.int64)

    def scikit_learn(labels, predictions):
        seen = labels != VOID
        total[:] += confusion_matrix(labels[seen], predictions[seen], labels=range(CLASSES))

    def on_all(update):
        return lambda: [update(*pair) for pair in pairs]

    contestants = {
        "tutorial_lib": on_all(ours.update),
        "Keras MeanIoU": on_all(theirs.update_state),
        "scikit-learn": on_all(scikit_learn),
    }
    times = best_times(contestants, ROUNDS)
    np.testing.assert_allclose(ours.mean_iou(), float(theirs.result()), rtol=1e-6)
    np.testing.assert_array_equal(ours.counts, total)
    print("| | ms per image | ratio |\n|---|---|---|")
    for name, value in times.items():
        print(f"| {name} | {1e3 * value / IMAGES:.2f} | {value / times['tutorial_lib']:.1f} |")


if __name__ == "__main__":
    main()
