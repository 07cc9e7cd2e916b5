"""The FCN for photographs that comes with the tutorials, and the recipe that trains it.

Only the score layers are trained and stored: the features come from EfficientNet-Lite0 and stay as
they are, so they are computed once, for a dozen augmented views of each photograph.
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
from tutorial_lib.models.fcn import BilinearUpsampling
from tutorial_lib.training.checkpoints import SegmentationNetwork
from tutorial_lib.training.losses import pixel_cross_entropy

CHECKPOINT = CHECKOUT / "data/checkpoints/voc_scores.weights.h5"
CHECKPOINT_SHA256 = ""
SHORT_SIDE = 375  # of most photographs of PASCAL VOC

# Chosen by two folds of four-fold cross-validation on 280 photographs of VOC's training list.
VIEWS = 12  # of each photograph
CROP = 384
LABEL_STEP = 4  # the loss looks at every fourth pixel of each row and column
EPOCHS = 10
BATCH = 16
RATE, DECAY = 5e-3, 0.2
LOSS_WEIGHTS = [0.3, 0.3, 1.0]  # of the scores at strides 32, 16 and 8


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

    Args:
        tree: Photographs with labels, in VOC's layout.
        split: The list to train on.
        seed: Of augmentation, initialization, shuffling and dropout.
        echo: Called with a line of progress now and then.
    """
    keras.utils.set_random_seed(seed)
    files = [path for id in tree.ids(split) for path in (tree.image_path(id), tree.labels_path(id))]
    folder = cached_records(f"voc-{split}", files, lambda: tree.samples(split))
    features, scores = photo_fcn.build_features(), photo_fcn.build_scores()
    batches = compute_features(features, folder, seed, echo)
    trained = _with_label_grid(scores)
    steps = EPOCHS * len(batches)
    schedule = keras.optimizers.schedules.CosineDecay(
        RATE / 100, 9 * steps // 10, warmup_target=RATE, warmup_steps=steps // 10
    )
    trained.compile(
        keras.optimizers.AdamW(schedule, weight_decay=DECAY),
        loss=[pixel_cross_entropy] * 3,
        loss_weights=LOSS_WEIGHTS,
    )
    for epoch in range(EPOCHS):
        history = trained.fit(batches, verbose=0).history
        echo(f"epoch {epoch + 1}/{EPOCHS}: loss {history['loss'][0]:.3f}")
    return features, scores


def compute_features(features: keras.Model, folder: Path, seed: int, echo: Callable):
    """Compute the feature maps of augmented views; return them as shuffled batches.

    Photographs with rare classes have more views, and of the pixels of frequent classes only a
    part counts: see `pipeline.sampling_weights` and `pipeline.keep_probabilities`.

    Returns:
        tf.data batches of three float16 feature maps, and three times the labels
        uint8 (batch, 96, 96).
    """
    import tensorflow as tf

    pixels = pipeline.class_pixels(folder)
    options = {
        "scales": (0.6, 1.6),
        "weights": pipeline.sampling_weights(pixels, 0.5),
        "keep": pipeline.keep_probabilities(pixels, 0.5),
    }
    parts: list[list[np.ndarray]] = [[], [], [], []]
    start = LABEL_STEP // 2
    for view in range(VIEWS):
        for images, labels in pipeline.crop_batches(folder, CROP, 8, seed * 1009 + view, **options):
            maps = features.predict_on_batch(images)
            for part, array in zip(parts, maps, strict=False):
                part.append(array.astype(np.float16))
            parts[3].append(labels.numpy()[:, start::LABEL_STEP, start::LABEL_STEP])
        echo(f"features of view {view + 1}/{VIEWS}")
    fine, middle, coarse, labels = (np.concatenate(part) for part in parts)
    generator = np.random.default_rng(seed)

    def shuffled():
        order = generator.permutation(len(labels))
        for first in range(0, len(order) - BATCH + 1, BATCH):
            some = np.sort(order[first : first + BATCH])
            maps = tuple(part[some].astype(np.float32) for part in (fine, middle, coarse))
            yield maps, (labels[some],) * 3

    shapes = [tf.TensorSpec((BATCH, *part.shape[1:]), tf.float32) for part in (fine, middle, coarse)]
    target = tf.TensorSpec((BATCH, *labels.shape[1:]), tf.uint8)
    dataset = tf.data.Dataset.from_generator(
        shuffled, output_signature=(tuple(shapes), (target,) * 3)
    )
    return dataset.apply(tf.data.experimental.assert_cardinality(len(labels) // BATCH))


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


def _with_label_grid(scores: keras.Model) -> keras.Model:
    """Return the score layers with their outputs upsampled to the grid of labels of the loss."""
    outputs = [
        BilinearUpsampling(stride // LABEL_STEP)(output)
        for stride, output in zip((32, 16, 8), scores.outputs, strict=True)
    ]
    return keras.Model(scores.inputs, outputs)
