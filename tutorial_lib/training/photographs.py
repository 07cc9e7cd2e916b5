"""The FCN for photographs that comes with the tutorials, and the recipe that trains it.

Only the score layers are trained and stored: the features come from EfficientNet-Lite0 and stay as
they are.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np

from tutorial_lib import CHECKOUT
from tutorial_lib.data import pipeline, voc
from tutorial_lib.data.cache import file_hash
from tutorial_lib.data.records import cached_records
from tutorial_lib.errors import InputError
from tutorial_lib.inference import predict_any_size
from tutorial_lib.inference import test_time_augmentation as average_views
from tutorial_lib.metrics import ConfusionMatrix
from tutorial_lib.models import photo_fcn
from tutorial_lib.models.fcn import STRIDES, BilinearUpsampling
from tutorial_lib.training.checkpoints import SegmentationNetwork
from tutorial_lib.training.losses import pixel_cross_entropy

CHECKPOINT = CHECKOUT / "data/checkpoints/voc_scores.weights.h5"
CHECKPOINT_SHA256 = ""
SHORT_SIDE = 375  # of most photographs of PASCAL VOC

# Chosen by two folds of four-fold cross-validation on 280 photographs of VOC's training list.
EPOCHS = 10
CROP = 384
BATCH = 16
SCALES = (0.6, 1.6)
RATE, DECAY = 5e-3, 0.2
LOSS_WEIGHTS = [0.3, 0.3, 1.0]  # of the scores at strides 32, 16 and 8
LABEL_STEP = 4  # the loss looks at every fourth pixel of each row and column


def load_voc_network(stride: int = 8) -> SegmentationNetwork:
    """Return the FCN for photographs that comes with the tutorials: twenty classes of VOC.

    Args:
        stride: 32, 16 or 8.

    Raises:
        InputError: if the checkpoint is missing or damaged, or ImageNet's weights are missing.
    """
    if not CHECKPOINT.is_file() or file_hash(CHECKPOINT) != CHECKPOINT_SHA256:
        fault = "damaged" if CHECKPOINT.is_file() else "missing"
        raise InputError(f"{CHECKPOINT} is {fault}; restore it with git")
    scores = photo_fcn.build_scores()
    scores.load_weights(CHECKPOINT)
    network = photo_fcn.join(photo_fcn.build_features(), scores, stride)
    return SegmentationNetwork(network, voc.CLASSES, SHORT_SIDE)


def train_scores(
    tree: voc.VocTree, split: str = "train", seed: int = 0, echo: Callable[[str], None] = print
) -> tuple[keras.Model, keras.Model]:
    """Train the score layers on a list of VOC; return the features and the scores.

    Photographs with rare classes come more often, and of the pixels of frequent classes only a
    part counts: see `pipeline.sampling_weights` and `pipeline.keep_probabilities`. The scores at
    all three strides are trained at once, each with a loss of its own.

    Args:
        tree: Photographs with labels, in VOC's layout.
        split: The list to train on.
        seed: Of augmentation, initialization, shuffling and dropout.
        echo: Called with a line of progress after each epoch.
    """
    keras.utils.set_random_seed(seed)
    files = [path for id in tree.ids(split) for path in (tree.image_path(id), tree.labels_path(id))]
    folder = cached_records(f"voc-{split}", files, lambda: tree.samples(split))
    features, scores = photo_fcn.build_features(), photo_fcn.build_scores()
    maps = scores(features.outputs)
    outputs = [
        BilinearUpsampling(stride // LABEL_STEP, name=f"at_stride_{stride}")(x)
        for stride, x in zip(STRIDES, maps, strict=True)
    ]
    trained = keras.Model(features.inputs, outputs)
    steps = EPOCHS * len(batches_of(folder, seed, 0))
    schedule = keras.optimizers.schedules.CosineDecay(
        RATE / 100, 9 * steps // 10, warmup_target=RATE, warmup_steps=steps // 10
    )
    trained.compile(
        keras.optimizers.AdamW(schedule, weight_decay=DECAY),
        loss=[pixel_cross_entropy] * 3,
        loss_weights=LOSS_WEIGHTS,
    )
    for epoch in range(EPOCHS):
        history = trained.fit(batches_of(folder, seed, epoch), shuffle=False, verbose=0).history
        echo(f"epoch {epoch + 1}/{EPOCHS}: loss {history['loss'][0]:.3f}")
    return features, scores


def batches_of(folder: Path, seed: int, epoch: int):
    """Return the augmented crops of one epoch, with their labels once for each output.

    Returns:
        tf.data pairs of float32 (batch, 384, 384, 3) and three times uint8 (batch, 96, 96).
    """
    pixels = pipeline.class_pixels(folder)
    crops = pipeline.crop_batches(
        folder,
        CROP,
        BATCH,
        seed * 1009 + epoch,
        scales=SCALES,
        weights=pipeline.sampling_weights(pixels, 0.5),
        keep=pipeline.keep_probabilities(pixels, 0.5),
    )
    start = LABEL_STEP // 2
    return crops.map(lambda x, y: (x, (y[:, start::LABEL_STEP, start::LABEL_STEP],) * 3))


def evaluate(network, tree: voc.VocTree, split: str, augment: bool = False) -> ConfusionMatrix:
    """Evaluate a network on all photographs of a list, each in its own size.

    Args:
        network: From images to logits.
        tree, split: The photographs.
        augment: With test-time augmentation.
    """
    matrix = ConfusionMatrix(len(voc.CLASSES))
    model = average_views(network) if augment else network
    for sample in tree.samples(split):
        matrix.update(sample.labels, predict_any_size(model, sample.image).argmax(axis=-1))
    return matrix
