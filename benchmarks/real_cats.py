"""Cats on real photographs: IoU against minutes of training.

    python benchmarks/real_cats.py COCO_TREE [--weights mobilenet_2_5_224_tf_no_top.h5]
        [--size 224] [--epochs 60] [--seed 0]

Trains U-Net, or with weights a U-Net whose way down is MobileNet trained on ImageNet, on the
pictures with cats of the tree's train split, and scores it on those of its val split, beside three
baselines that learn nothing from pixels. A picture is scaled to fit into a square and scored there.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from tutorial_lib import profiles

profiles.start("quick")

import keras  # noqa: E402
import numpy as np  # noqa: E402

from tutorial_lib import losses, thresholds, training  # noqa: E402
from tutorial_lib.data import records  # noqa: E402
from tutorial_lib.data.coco import CocoSplit  # noqa: E402
from tutorial_lib.metrics import ConfusionMatrix  # noqa: E402
from tutorial_lib.models import pretrained, unet  # noqa: E402


def cat_iou(batches, decide) -> float:
    matrix = ConfusionMatrix(2)
    for x, labels in batches:
        matrix.update(labels.numpy(), decide(x))
    return float(matrix.iou()[1])


class Clock(keras.callbacks.Callback):
    """Prints the score every few epochs; the time that scoring takes is not counted."""

    def __init__(self, batches, every: int):
        super().__init__()
        self.batches, self.every, self.start, self.cpu = batches, every, None, 0.0

    def on_epoch_begin(self, epoch, logs=None):
        self.start, self.started = time.perf_counter(), time.process_time()
        self.spent = getattr(self, "spent", 0.0)

    def on_epoch_end(self, epoch, logs=None):
        self.spent += time.perf_counter() - self.start
        self.cpu += time.process_time() - self.started
        if (epoch + 1) % self.every == 0:
            iou = cat_iou(self.batches, lambda x: (with_flip(self.model, x) > 0).astype(int))
            print(
                f"epoch {epoch + 1:3}: {self.spent / 60:5.1f} minutes, {self.cpu / 60:5.1f} CPU "
                f"minutes, loss {logs['loss']:.3f}, IoU of cats {iou:.3f}",
                flush=True,
            )


def with_flip(model, x) -> np.ndarray:
    """Return the mean logits of a picture and its mirror image."""
    there = model.predict_on_batch(x)[..., 0]
    back = model.predict_on_batch(x[:, :, ::-1])[..., 0][:, :, ::-1]
    return (there + back) / 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tree", type=Path)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--every", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    keras.utils.set_random_seed(options.seed)
    size = options.size
    if options.weights:
        net = pretrained.build_pretrained_unet(
            pretrained.mobilenet(size, options.weights), dropout=0.3
        )
        output = size
    else:
        net = unet.build_unet(size, 3, 16, 3, batch_norm=True)
        output = net.output_shape[1]
    with tempfile.TemporaryDirectory() as name:
        folders = {}
        for part in ("train", "val"):
            split = CocoSplit(options.tree, part)
            folders[part] = Path(name) / part
            recipes = [split.recipe(n, ["cat"]) for n in split.image_ids("cat")]
            records.write_records(recipes, folders[part])
        # Cropped, kept in memory: decoding the same files a hundred times would cost as much as
        # training.
        val = records.segmentation_batches(folders["val"], size, output, 8).cache()
        train = records.segmentation_batches(folders["train"], size, output, 8)
        prior = thresholds.center_prior(train).astype(int)
        for label, guess in {
            "no cat": 0 * prior, "all cat": 0 * prior + 1, "center prior": prior
        }.items():  # fmt: skip
            print(f"{label}: {cat_iou(val, lambda x, g=guess: np.stack([g] * len(x))):.3f}")
        steps = -(-records.count(folders["train"]) // options.batch)
        rate = keras.optimizers.schedules.CosineDecay(
            1e-5, int(0.95 * options.epochs * steps), warmup_target=options.rate,
            warmup_steps=int(0.05 * options.epochs * steps),
        )  # fmt: skip
        net.compile(
            keras.optimizers.AdamW(rate, weight_decay=1e-2), loss=losses.cross_entropy_and_dice
        )
        training.train(
            net,
            lambda first, end: records.segmentation_batches(
                folders["train"], size, output, options.batch, options.seed,
                scales=(0.7, 1.8), epochs=(first, end),
            ),
            epochs=options.epochs,
            steps=steps,
            callbacks=[Clock(val, options.every)],
        )  # fmt: skip


if __name__ == "__main__":
    main()
