"""Cats on real photographs: IoU against minutes of training.

    python benchmarks/real_cats.py COCO_TREE [--weights mobilenet_2_5_224_tf_no_top.h5]
        [--size 224] [--epochs 60] [--every 20] [--nets 1] [--also 320] [--keep FOLDER] [--seed 0]

Trains U-Net, or with weights a U-Net whose way down is MobileNet trained on ImageNet, on the
pictures with cats of the tree's train split, and scores it on those of its val split, beside three
baselines that learn nothing from pixels. A picture is scaled to fit into a square and scored there.
What is scored is the mean over a picture and its mirror image, and with --nets that over several
nets. The learning rate sinks to zero at the end of the run, so what a minute buys is the score at
the end of a run of that length, not that along a longer one. Time is that of training; what scoring
takes is left out. With --keep trained nets are saved, and read when the same call comes again.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

from tutorial_lib import notebook

notebook.start("quick")

import keras  # noqa: E402
import numpy as np  # noqa: E402
import tensorflow as tf  # noqa: E402

from tutorial_lib import thresholds
from tutorial_lib.data import records
from tutorial_lib.data.coco import CocoSplit
from tutorial_lib.metrics import ConfusionMatrix
from tutorial_lib.models import unet
from tutorial_lib.training import finetune


def build(size: int, weights: Path | None) -> tuple[keras.Model, list]:
    """Return a net and its weights that were learned before."""
    if weights is None:
        return unet.build_unet(size, 3, 12, 3, batch_norm=True), []
    return finetune.borrowed_unet(size, weights)


def with_mirror(net, x) -> np.ndarray:
    """Return the mean logits of pictures and their mirror images."""
    there = net.predict_on_batch(x)[..., 0]
    back = net.predict_on_batch(x[:, :, ::-1])[..., 0][:, :, ::-1]
    return (there + back) / 2


def scaled(images, size: int) -> np.ndarray:
    """Return pictures or maps (n, height, width, channels) at another size."""
    return tf.image.resize(images, (size, size), antialias=True).numpy()


def answers(net, batches) -> list[np.ndarray]:
    """Return the logits for batches that may be larger or smaller than those of the net."""
    size, found = net.input_shape[1], []
    for x, labels in batches:
        if x.shape[1] == size:
            found.append(with_mirror(net, x.numpy()))
        else:
            logits = with_mirror(net, scaled(x, size))
            found.append(scaled(logits[..., None], labels.shape[1])[..., 0])
    return found


def cat_iou(batches, logits) -> float:
    matrix = ConfusionMatrix(2)
    for (_, labels), values in zip(batches, logits, strict=True):
        matrix.update(labels.numpy(), (values > 0).astype(int))
    return float(matrix.iou()[1])


class Clock(keras.callbacks.Callback):
    """Prints the score every few epochs; the time that scoring takes is not counted."""

    def __init__(self, batches, every: int, wall: float, cpu: float):
        super().__init__()
        self.batches, self.every, self.wall, self.cpu = batches, every, wall, cpu

    def on_epoch_begin(self, epoch, logs=None):
        self.started = time.perf_counter(), time.process_time()

    def on_epoch_end(self, epoch, logs=None):
        self.wall += time.perf_counter() - self.started[0]
        self.cpu += time.process_time() - self.started[1]
        if (epoch + 1) % self.every == 0 or epoch + 1 == self.params["epochs"]:
            iou = cat_iou(self.batches, answers(self.model, self.batches))
            print(
                f"epoch {epoch + 1:3}: {self.wall / 60:5.1f} minutes, {self.cpu / 60:5.1f} CPU "
                f"minutes, loss {logs['loss']:.3f}, IoU of cats {iou:.3f}",
                flush=True,
            )


def train(options, folder: Path, seed: int, clock: Clock) -> keras.Model:
    keras.utils.set_random_seed(seed)
    net, learned = build(options.size, options.weights)
    name = f"{net.name}-{options.size}-{options.epochs}-{seed}.weights.h5"
    if options.keep and (options.keep / name).is_file():
        net.load_weights(options.keep / name)
        return net
    finetune.fine_tune(
        net,
        learned,
        folder,
        epochs=options.epochs,
        seed=seed,
        batch_size=options.batch,
        rate=options.rate,
        callbacks=[clock],
    )
    if options.keep:
        options.keep.mkdir(parents=True, exist_ok=True)
        net.save_weights(options.keep / name)
    return net


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tree", type=Path)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--size", type=int, help="224, without weights 188")
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--every", type=int, default=20, help="score after so many epochs")
    parser.add_argument("--nets", type=int, default=1, help="train so many and average them")
    parser.add_argument("--also", type=int, nargs="*", default=[], help="more sizes to score at")
    parser.add_argument("--keep", type=Path, help="folder for trained nets")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    options.size = options.size or (224 if options.weights else 188)
    output = build(options.size, options.weights)[0].output_shape[1]
    with tempfile.TemporaryDirectory() as name:
        folders = {}
        for part in ("train", "val"):
            split = CocoSplit(options.tree, part)
            folders[part] = Path(name) / part
            recipes = [split.recipe(n, ["cat"]) for n in split.image_ids("cat")]
            records.write_records(recipes, folders[part])
        batches = {f: records.segmentation_batches(folders[f], options.size, output, 8)
                   for f in folders}  # fmt: skip
        val = list(batches["val"])
        prior = 2.0 * thresholds.center_prior(batches["train"]) - 1
        for label, guess in {"no cat": 0 * prior - 1, "all cat": 0 * prior + 1,
                             "center prior": prior}.items():  # fmt: skip
            constant = [np.stack([guess] * len(x)) for x, _ in val]
            print(f"{label}: {cat_iou(val, constant):.3f}", flush=True)
        sums, clock = {}, Clock(val, options.every, 0.0, 0.0)
        for number in range(options.nets):
            net = train(options, folders["train"], options.seed + number, clock)
            clock = Clock(val, options.every, clock.wall, clock.cpu)
            for size in [options.size, *options.also]:
                if size == options.size:
                    other = net
                else:
                    other = build(size, options.weights)[0]
                    other.set_weights(net.get_weights())
                logits = answers(other, val)
                before = sums.get(size, [0.0] * len(val))
                sums[size] = [a + b for a, b in zip(before, logits, strict=True)]
            everything = [sum(values) for values in zip(*sums.values(), strict=True)]
            print(
                f"{number + 1} net(s): IoU of cats {cat_iou(val, sums[options.size]):.3f} at "
                f"{options.size}, {cat_iou(val, everything):.3f} over {[*sums]}",
                flush=True,
            )


if __name__ == "__main__":
    main()
