"""Cats on photographs: IoU against minutes of training.

    python benchmarks/real_cats.py COCO_TREE [--weights mobilenet_2_5_224_tf_no_top.h5]
        [--size 224] [--epochs 60] [--every 20] [--seed 0]

Trains a U-Net from scratch or, with weights, one whose encoder is a MobileNet pretrained on
ImageNet, on the photographs with cats of the tree's train split. Scores it on those of its val
split, beside three baselines that learn nothing from pixels. A photograph is scaled to fit into a
square and scored there; the score is the mean over a photograph and its mirror image. The learning
rate falls to zero at the end of the run, so what a minute buys is the score at the end of a run of
that length. Time is processor time of training; what scoring takes is left out.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np

from tutorial_lib import metrics, notebook
from tutorial_lib.data.coco import CocoSplit
from tutorial_lib.metrics import ConfusionMatrix


def cat_iou(batches, predict) -> float:
    """Return the IoU of cats, where `predict` returns logits (n, height, width) of images."""
    matrix = ConfusionMatrix(2)
    for images, labels in batches:
        matrix.update(labels.numpy(), (predict(images.numpy()) > 0).astype(int))
    return float(matrix.iou()[1])


def mean_logits(network, x) -> np.ndarray:
    """Return the mean logits of photographs and their mirror images."""
    there, back = (network.predict_on_batch(y)[..., 0] for y in (x, x[:, :, ::-1]))
    return (there + back[:, :, ::-1]) / 2


def scoring(batches, every: int):
    """Return a Keras callback that prints the score every few epochs and clocks the training."""
    import keras

    class Scoring(keras.callbacks.Callback):
        seconds = 0.0

        def on_epoch_begin(self, epoch, logs=None):
            self.started = time.process_time()

        def on_epoch_end(self, epoch, logs=None):
            self.seconds += time.process_time() - self.started
            if (epoch + 1) % every == 0 or epoch + 1 == self.params["epochs"]:
                iou = cat_iou(batches, lambda x: mean_logits(self.model, x))
                minutes = f"{self.seconds / 60:5.1f} minutes of processor time"
                print(f"epoch {epoch + 1:3}: {minutes}, IoU of cats {iou:.3f}", flush=True)

    return Scoring()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tree", type=Path)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--size", type=int, help="224, without weights 188")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--every", type=int, default=20, help="score after so many epochs")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    size = options.size or (224 if options.weights else 188)
    notebook.start("quick", seed=options.seed)
    from tutorial_lib.data import pipeline, records
    from tutorial_lib.models import unet
    from tutorial_lib.training import finetune

    if options.weights:
        network, pretrained = finetune.pretrained_unet(size, options.weights)
    else:
        network, pretrained = unet.build_unet(size, 3, 12, 3, batch_norm=True), []
    with tempfile.TemporaryDirectory() as name:
        directories, batches = {}, {}
        for part in ("train", "val"):
            split, directories[part] = CocoSplit(options.tree, part), Path(name) / part
            recipes = [split.recipe(number, ["cat"]) for number in split.image_ids("cat")]
            records.write_records(recipes, directories[part])
            batches[part] = pipeline.segmentation_batches(
                directories[part], size, network.output_shape[1], 8
            )
        val = list(batches["val"])
        prior = 2.0 * metrics.center_prior(batches["train"]) - 1
        guesses = {"no cat": 0 * prior - 1, "all cat": 0 * prior + 1, "center prior": prior}
        for label, guess in guesses.items():
            print(f"{label}: {cat_iou(val, lambda x, y=guess: np.stack([y] * len(x))):.3f}")
        schedule = {"epochs": options.epochs, "batch_size": 8, "rate": 2e-3, "seed": options.seed}
        callbacks = [scoring(val, options.every)]
        finetune.fine_tune(
            network, pretrained, directories["train"], **schedule, callbacks=callbacks
        )


if __name__ == "__main__":
    main()
