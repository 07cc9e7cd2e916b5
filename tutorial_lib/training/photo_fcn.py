"""The score layers that come with the FCN for photographs, and the recipe that makes them.

`tutorial pretrain voc --data VOCDEVKIT --coco COCO` trains them again. The backbone, whose ImageNet
weights come in a package, stays frozen, so this takes minutes and the file holds little.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import keras
import numpy as np

from tutorial_lib import CHECKOUT
from tutorial_lib.data import pipeline, records, voc
from tutorial_lib.data.coco import CocoSplit
from tutorial_lib.data.images import Sample, resize_short_side
from tutorial_lib.data.scenes import COCO_CATEGORIES
from tutorial_lib.models import fcn
from tutorial_lib.models.photo_fcn import build_photo_fcn
from tutorial_lib.training.checkpoints import SegmentationNetwork, load_layers, save_layers
from tutorial_lib.training.losses import pixel_cross_entropy

CHECKPOINT = CHECKOUT / "data/checkpoints/fcn_photographs.npz"
CHECKPOINT_SHA256 = "04926f53ab50d0486178be38f74b150978c677eb13ced201315d865a09f7237b"
SHORT_SIDE = 384  # pixels; also the side of a crop
LABEL_STEP = 4  # the loss counts one pixel of 4×4: neighboring labels are nearly alike
# The hyperparameters were chosen by cross-validation on the training images alone.
SETTINGS = {
    "epochs": 20,
    "batch_size": 16,
    "rate": 5e-3,
    "decay": 0.2,
    "scales": (0.6, 1.6),
    "rarity": 0.5,
    "thinning": 0.5,
    "smoothing": 0.1,
    "loss_weights": (0.3, 0.3, 1.0),  # of FCN-32s, 16s and 8s
}
SCORES = "score_"  # how the names of the trained layers begin


def load_voc_network(stride: int = 8) -> SegmentationNetwork:
    """Return FCN-32s, 16s or 8s for photographs, with the score layers that come along.

    Raises InputError if the checkpoint is missing or is not the one that this code was tested with,
    or the package with the backbone's weights is not installed.
    """
    model = build_photo_fcn(stride)
    load_layers(model, SCORES, CHECKPOINT, CHECKPOINT_SHA256)
    return SegmentationNetwork(model, voc.CLASSES, SHORT_SIDE)


def training_samples(data: Path, coco: Iterable[Path] = ()) -> Iterator[Sample]:
    """Yield the photographs to train on: VOC's train list, and COCO images with VOC's classes.

    Args:
        data: Folder with `VOC2012` in it.
        coco: Folders with `annotations/` and `train2017/`.

    Raises:
        InputError: if a file is missing or damaged.
    """
    tree = voc.VocTree(data)
    for name in tree.ids("train"):
        yield resize_short_side(tree.read(name), SHORT_SIDE)
    names = [COCO_CATEGORIES[name][1] for name in voc.CLASSES[1:]]
    for root in coco:
        split = CocoSplit(root, "train")
        for sample in split.samples(split.image_ids(), names):
            if np.any((sample.labels > 0) & (sample.labels <= len(names))):
                yield resize_short_side(sample, SHORT_SIDE)


def train_scores(folder: Path, seed: int, echo: Callable = print, **changes) -> keras.Model:
    """Train the score layers of FCN-32s, 16s and 8s at once, and return FCN-8s.

    Args:
        folder: Records of `training_samples`.
        seed, echo: Fixes every random choice; called with a line per epoch.
        changes: Replace some of `SETTINGS`.
    """
    settings = SETTINGS | changes
    keras.utils.set_random_seed(seed)
    network = build_photo_fcn(stride=8)
    scores = [network.get_layer(n).output for n in ("score_fc7", "fuse_pool4", "fuse_pool3")]
    factors = [stride // LABEL_STEP for stride in fcn.STRIDES]
    logits = [fcn.upsample(x, factor) for x, factor in zip(scores, factors, strict=True)]
    trained = keras.Model(network.inputs, logits)
    for layer in trained.layers:
        layer.trainable = layer.name.startswith(SCORES)
    pixels = pipeline.class_pixels(folder)
    steps = -(-len(pixels) // settings["batch_size"])
    batches = pipeline.crop_batches(
        folder,
        SHORT_SIDE,
        settings["batch_size"],
        seed,
        scales=settings["scales"],
        weights=pipeline.sampling_weights(pixels, settings["rarity"]),
        keep=pipeline.keep_probabilities(pixels, settings["thinning"]),
        epochs=(0, settings["epochs"]),
    )
    first = LABEL_STEP // 2
    batches = batches.map(lambda x, y: (x, (y[:, first::LABEL_STEP, first::LABEL_STEP],) * 3))
    rate = keras.optimizers.schedules.CosineDecay(settings["rate"], settings["epochs"] * steps)
    trained.compile(
        keras.optimizers.AdamW(rate, weight_decay=settings["decay"]),
        loss=[functools.partial(pixel_cross_entropy, smoothing=settings["smoothing"])] * 3,
        loss_weights=list(settings["loss_weights"]),
    )
    tell = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: echo(f"epoch {epoch + 1}: loss {logs['loss']:.3f}")
    )
    trained.fit(
        batches,
        epochs=settings["epochs"],
        steps_per_epoch=steps,
        shuffle=False,
        verbose=0,
        callbacks=[tell],
    )
    return network


def train_checkpoint(data: Path, coco: Iterable[Path], seed: int, echo: Callable = print) -> None:
    """Train the score layers on photographs and write `CHECKPOINT`.

    Raises InputError if a file is missing or damaged.
    """
    roots = [Path(data), *map(Path, coco)]
    sources = [path for root in roots for path in sorted(root.rglob("*.j*")) if path.is_file()]
    folder = records.cached_records("photographs", sources, lambda: training_samples(data, coco))
    echo(f"{records.count(folder)} photographs")
    save_layers(train_scores(folder, seed, echo), SCORES, CHECKPOINT)
