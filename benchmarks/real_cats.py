"""Cats in photographs: what a pretrained encoder contributes to the IoU of a U-Net.

    python benchmarks/real_cats.py COCO_TREE [--seeds 0 1 2]

Trains a U-Net on EfficientNet-Lite0 on the photographs with cats of the tree's train split: from
random weights, with a frozen encoder, and with a tenth of the learning rate for the encoder. A
fourth decoder, on a frozen encoder, is trained on the scenes of notebook 04. Scores them on the
photographs with cats of the val split, each in its own size, beside baselines that learn nothing
from pixels. "Mirrored" is the mean over a photograph and its mirror image. The time is processor
time of training.
"""

from __future__ import annotations

import argparse
import functools
import itertools
import tempfile
import time
from pathlib import Path

import keras
import numpy as np

from tutorial_lib import metrics, notebook
from tutorial_lib.data import pipeline, records, scenes
from tutorial_lib.data.coco import CocoSplit
from tutorial_lib.inference import predict_any_size
from tutorial_lib.metrics import ConfusionMatrix
from tutorial_lib.models.pretrained_unet import build_pretrained_unet
from tutorial_lib.training import transfer

EPOCHS, SIZE = 30, 256


class SlowEncoder(keras.optimizers.AdamW):
    """AdamW whose learning rate is lower for the encoder by a factor.

    A few images should not overwrite what ImageNet taught (Howard & Ruder, ACL 2018, section 3.2).
    """

    def __init__(self, factor: float, *args, **options):
        super().__init__(*args, **options)
        self.factor = factor

    def update_step(self, gradient, variable, learning_rate) -> None:
        path = self._trainable_variables[self._get_variable_index(variable)].path
        share = 1.0 if path.startswith(transfer.DECODER) else self.factor
        super().update_step(gradient, variable, learning_rate * share)


def fresh(layer):
    """Copy a layer with random weights, and averages that settle in a short training."""
    config = layer.get_config()
    if isinstance(layer, keras.layers.BatchNormalization):
        config["momentum"] = 0.9
    return layer.__class__.from_config(config)


def train_network(network, directory: Path, size: int, epochs: int, factor: float, seed: int):
    """Train as `transfer.train_decoder` does, the encoder with `factor` times the learning rate.

    Below 1, its batch normalizations stay frozen; at 0, everything.
    """
    for layer in network.layers:
        is_norm = isinstance(layer, keras.layers.BatchNormalization)
        encoder_trained = factor == 1 or (factor > 0 and not is_norm)
        layer.trainable = layer.name.startswith(transfer.DECODER) or encoder_trained
    slow = functools.partial(SlowEncoder, factor)
    transfer.fit(network, directory, slow, size=size, epochs=epochs, seed=seed)


def write(samples, directory: Path) -> Path:
    records.write_records(samples, directory)
    return directory


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tree", type=Path)
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    options = parser.parse_args()
    notebook.start("quick")
    splits = {part: CocoSplit(options.tree, part) for part in ("train", "val")}
    samples = [splits["val"].read(i, ["cat"]) for i in splits["val"].image_ids("cat")]
    with tempfile.TemporaryDirectory() as name:
        ids = splits["train"].image_ids("cat")
        directory = write((splits["train"].recipe(i, ["cat"]) for i in ids), Path(name) / "train")
        train = pipeline.segmentation_batches(directory, SIZE, SIZE, 8)
        val = pipeline.segmentation_batches(write(samples, Path(name) / "val"), SIZE, SIZE, 8)
        for label, mask in (
            ("all cat", np.ones((SIZE, SIZE))),
            ("center prior", metrics.center_prior(train)),
        ):
            matrix = metrics.evaluate_batches(val, metrics.constant_prediction(mask))
            print(f"{label}: {matrix.iou()[1]:.3f}")
        drawn = CocoSplit(scenes.coco_tree(), "train")
        cats = (drawn.read(i, ["cat"]) for i in drawn.image_ids("cat"))
        composed = write(cats, Path(name) / "scenes")
        variants = {  # records, side, epochs, learning rate of the encoder as a share
            "random weights": (directory, SIZE, EPOCHS, 1),
            "encoder frozen": (directory, SIZE, EPOCHS, 0),
            "encoder fine-tuned": (directory, SIZE, EPOCHS, 0.1),
            "encoder frozen, scenes": (composed, 128, 3, 0),
        }
        for seed, (label, how) in itertools.product(options.seeds, variants.items()):
            keras.utils.set_random_seed(seed)
            network, start = build_pretrained_unet(), time.process_time()
            if label == "random weights":
                network = keras.models.clone_model(network, clone_function=fresh)
            train_network(network, *how, seed)
            minutes = (time.process_time() - start) / 60
            once, mirrored = ConfusionMatrix(2), ConfusionMatrix(2)
            for sample in samples:
                there = predict_any_size(network, sample.image)[..., 0]
                back = predict_any_size(network, sample.image[:, ::-1])[:, ::-1, 0]
                once.update(sample.labels, (there > 0).astype(int))
                mirrored.update(sample.labels, (there + back > 0).astype(int))
            scores = f"IoU {once.iou()[1]:.3f}, mirrored {mirrored.iou()[1]:.3f}"
            print(f"seed {seed}, {label}: {minutes:.1f} minutes, {scores}", flush=True)


if __name__ == "__main__":
    main()
