"""Cats in photographs: what a pretrained encoder contributes to the IoU of a U-Net.

    python benchmarks/real_cats.py COCO_TREE [--epochs 30] [--size 256] [--seeds 0 1 2]

Trains a U-Net on EfficientNet-Lite0 on the photographs with cats of the tree's train split: from
random weights, with a frozen encoder, and with a tenth of the learning rate for the encoder. A
fourth decoder, on a frozen encoder, is trained on the scenes of notebook 04. Scores them on the
photographs with cats of the val split, each in its own size, beside baselines that learn nothing
from pixels. "Mirrored" is the mean over a photograph and its mirror image. The time is processor
time of training.
"""

from __future__ import annotations

import argparse
import itertools
import tempfile
import time
from pathlib import Path

import numpy as np

from tutorial_lib import metrics, notebook
from tutorial_lib.data import scenes
from tutorial_lib.data.coco import CocoSplit
from tutorial_lib.metrics import ConfusionMatrix


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("tree", type=Path)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--seeds", nargs="*", type=int, default=[0, 1, 2])
    options = parser.parse_args()
    notebook.start("quick")
    import keras

    from tutorial_lib.data import pipeline
    from tutorial_lib.inference import predict_any_size
    from tutorial_lib.models.pretrained_unet import build_pretrained_unet
    from tutorial_lib.training import finetune

    splits = {part: CocoSplit(options.tree, part) for part in ("train", "val")}
    samples = [splits["val"].read(i, ["cat"]) for i in splits["val"].image_ids("cat")]
    with tempfile.TemporaryDirectory() as name:
        ids = splits["train"].image_ids("cat")
        recipes = (splits["train"].recipe(i, ["cat"]) for i in ids)
        directory = _records(recipes, Path(name) / "train")
        train = pipeline.segmentation_batches(directory, 256, 256, 8)
        val = pipeline.segmentation_batches(_records(samples, Path(name) / "val"), 256, 256, 8)
        for label, mask in (
            ("all cat", np.ones((256, 256))),
            ("center prior", metrics.center_prior(train)),
        ):
            matrix = metrics.evaluate_batches(val, metrics.constant_prediction(mask))
            print(f"{label}: {matrix.iou()[1]:.3f}")
        drawn = CocoSplit(scenes.coco_tree(), "train")
        cats = (drawn.read(i, ["cat"]) for i in drawn.image_ids("cat"))
        variants = {  # records, side, epochs, learning rate of the encoder as a share
            "random weights": (directory, options.size, options.epochs, 1.0),
            "encoder frozen": (directory, options.size, options.epochs, 0.0),
            "encoder fine-tuned": (directory, options.size, options.epochs, 0.1),
            "encoder frozen, scenes": (_records(cats, Path(name) / "scenes"), 128, 3, 0.0),
        }

        def fresh(layer):
            """Copy a layer with random weights, and averages that settle in a short training."""
            config = layer.get_config()
            if isinstance(layer, keras.layers.BatchNormalization):
                config["momentum"] = 0.9
            return layer.__class__.from_config(config)

        for seed, (label, (folder, size, epochs, factor)) in itertools.product(
            options.seeds, variants.items()
        ):
            keras.utils.set_random_seed(seed)
            network, start = build_pretrained_unet(), time.process_time()
            if factor == 1:
                network = keras.models.clone_model(network, clone_function=fresh)
            how = {"size": size, "epochs": epochs, "encoder_factor": factor}
            finetune.fine_tune(network, folder, seed=seed, **how)
            minutes = (time.process_time() - start) / 60
            once, mirrored = ConfusionMatrix(2), ConfusionMatrix(2)
            for sample in samples:
                there = predict_any_size(network, sample.image)[..., 0]
                back = predict_any_size(network, sample.image[:, ::-1])[:, ::-1, 0]
                once.update(sample.labels, (there > 0).astype(int))
                mirrored.update(sample.labels, (there + back > 0).astype(int))
            scores = f"IoU {once.iou()[1]:.3f}, mirrored {mirrored.iou()[1]:.3f}"
            print(f"seed {seed}, {label}: {minutes:.1f} minutes, {scores}", flush=True)


def _records(samples, directory: Path) -> Path:
    from tutorial_lib.data import records

    records.write_records(samples, directory)
    return directory


if __name__ == "__main__":
    main()
