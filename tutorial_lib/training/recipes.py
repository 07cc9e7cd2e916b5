"""Recipes of the FCN papers and of the tutorials that followed them, by name.

Sources: Long, Shelhamer & Darrell, "Fully Convolutional Networks for Semantic Segmentation", CVPR
2015, section 4.3; Shelhamer, Long & Darrell, same title, PAMI 2017; the solvers and networks of
github.com/shelhamer/fcn.berkeleyvision.org; github.com/warmspringwinds/tf-image-segmentation. The
profiles `quick` and `full` of notebook 05 are in `fcn_stages.SETTINGS`.
"""

from __future__ import annotations

import hashlib
import itertools
from dataclasses import dataclass, replace

import keras
import numpy as np

from tutorial_lib.data import data_home
from tutorial_lib.data.images import VOID
from tutorial_lib.errors import check_choice
from tutorial_lib.inference import predict_any_size
from tutorial_lib.metrics import ConfusionMatrix
from tutorial_lib.models import fcn
from tutorial_lib.training import fcn_stages, loop
from tutorial_lib.training.losses import pixel_cross_entropy, split_void


@dataclass(frozen=True)
class Recipe:
    """How FCN-32s, 16s and 8s are trained one after the other.

    Attributes:
        rates: Learning rate by stride. It is constant.
        momentum: Of stochastic gradient descent; 0 means Adam.
        decay: Weight decay, not of biases, whose learning rate is doubled as well; only with SGD.
        summed: The loss is the sum over all pixels of a batch, not their mean.
        steps: Per stage.
        snapshot: Steps between two checkpoints.
        crop: Side of the square input. VOC's photographs, of at most 500 pixels, fit into 512.
        scales: Lowest and highest factor by which images are scaled at random.
        augmented: Also flip, and change brightness and contrast.
        pair: The two classes that are told apart; of other classes the first is the label.
        trainable: One of `fcn_stages.TRAINABLE`.
    """

    rates: dict[int, float]
    momentum: float = 0.0
    decay: float = 0.0
    summed: bool = False
    batch_size: int = 1
    steps: int = 100_000
    snapshot: int = 4_000
    crop: int = 512
    scales: tuple[float, float] = (1.0, 1.0)
    augmented: bool = False
    pair: tuple[int, int] | None = None
    trainable: str = "all"


RECIPES = {
    # PAMI 2017 and the solvers: one whole image per step, a sum as the loss, high momentum.
    "paper": Recipe({32: 1e-10, 16: 1e-12, 8: 1e-14}, 0.99, 5e-4, summed=True),
    # CVPR 2015: 20 images per step; a hundredth of the rate for each finer stage.
    "paper-2015": Recipe({32: 1e-4, 16: 1e-6, 8: 1e-8}, 0.9, 5e-4, batch_size=20),
    # Its images are fitted into 384 pixels and scaled by 0.9 to 1.1; VOC's are 500 pixels long.
    "tf-image-segmentation": Recipe(
        {32: 1e-6, 16: 1e-8, 8: 1e-9},
        crop=384,
        scales=(0.9 * 384 / 500, 1.1 * 384 / 500),
        augmented=True,
    ),
    "cnn-tutorials": Recipe({32: 1e-4, 16: 1e-4, 8: 1e-4}, 0.9),
    # Cat against background: the score layers alone, on a frozen backbone.
    "two-class": Recipe(
        {32: 1e-4, 16: 1e-4, 8: 1e-4}, steps=10_000, crop=384, pair=(0, 8), trainable="scores"
    ),
}

SCORES = ("pixel accuracy", "mean accuracy", "mean IoU", "frequency-weighted IoU")
# On seg11valid, in percent, in the order of `SCORES`: table 3 of CVPR 2015, and PAMI 2017.
PUBLISHED = {
    "paper-2015": {
        32: (89.1, 73.3, 59.4, 81.4),
        16: (90.0, 75.7, 62.4, 83.0),
        8: (90.3, 75.9, 62.7, 83.2),
    },
    "paper": {
        32: (90.5, 76.5, 63.6, 83.5),
        16: (91.0, 78.1, 65.0, 84.3),
        8: (91.2, 77.6, 65.5, 84.5),
    },
}


@keras.saving.register_keras_serializable("tutorial_lib")
class CaffeSGD(keras.optimizers.SGD):
    """SGD with momentum as in Caffe: the decay is part of the gradient; biases learn twice as fast.

    Biases have no decay.
    """

    def __init__(self, learning_rate=0.01, momentum=0.0, decay=0.0, **kwargs):
        super().__init__(learning_rate, momentum, **kwargs)
        self.decay = decay

    def update_step(self, gradient, variable, learning_rate):
        if len(variable.shape) == 1:
            learning_rate = 2 * learning_rate
        else:
            gradient = gradient + self.decay * keras.ops.convert_to_tensor(variable)
        super().update_step(gradient, variable, learning_rate)

    def get_config(self):
        return {**super().get_config(), "decay": self.decay}


def compile_recipe(network: keras.Model, recipe: Recipe, stride: int) -> None:
    """Compile an FCN as a recipe trains it, and freeze the layers that it does not train."""
    rate = recipe.rates[stride]
    fcn_stages.set_trainable(network, recipe.trainable)
    if recipe.momentum:
        optimizer = CaffeSGD(rate, recipe.momentum, recipe.decay)
    else:
        optimizer = keras.optimizers.Adam(rate)

    def loss(labels, logits):
        if recipe.pair:
            # All other scores start at zero and stay there, so that they never are the highest.
            logits = keras.ops.take(logits, recipe.pair, axis=-1)
        value = pixel_cross_entropy(labels, logits)
        if recipe.summed:
            value = value * keras.ops.sum(split_void(labels, logits.shape[-1])[1])
        return value

    network.compile(optimizer, loss=loss)


def pair_labels(labels, pair: tuple[int, int]):
    """Return labels that are 1 where they were the second class, 255 for void, else 0."""
    found = keras.ops.cast(keras.ops.equal(labels, pair[1]), "uint8")
    return keras.ops.where(keras.ops.equal(labels, VOID), labels, found)


def train_recipe(
    name: str,
    backbone: keras.Model,
    tree,
    validation=None,
    *,
    seed: int = 0,
    limit: int = 0,
    epochs: int = 0,
    batch_size: int = 0,
    **changes,
) -> tuple[dict[int, keras.Model], dict[int, dict[str, list[float]]]]:
    """Train FCN-32s, 16s and 8s by a recipe, from where an interrupted call ended.

    Args:
        tree: VOC, whose list train_aug is used if it has one, else train.
        validation: Batches whose loss is measured at each checkpoint.
        seed: Of the order of the images and of their augmentation.
        limit: Use at most so many images; 0 uses all.
        epochs: Of each stage, instead of the recipe's number of steps; 0 keeps that.
        batch_size: 0 keeps the recipe's.
        changes: Other attributes of `Recipe` to replace.

    Returns:
        The networks, and their losses by checkpoint, both by stride.

    Raises:
        InputError: if there is no such recipe, or as for `loop.train`.
    """
    import tensorflow as tf

    from tutorial_lib.data import pipeline, records

    recipe = RECIPES[check_choice("recipe", name, tuple(RECIPES))]
    recipe = replace(recipe, batch_size=batch_size or recipe.batch_size, **changes)
    ids = tree.ids("train_aug" if tree.has("train_aug") else "train")[: limit or None]
    per_epoch = -(-len(ids) // recipe.batch_size)
    steps = epochs * per_epoch or recipe.steps
    block = min(recipe.snapshot, steps)
    passes = -(-block // per_epoch)
    sources = [path for id in ids for path in tree.recipe(id).files]
    folder = records.cached_records("voc-recipe", sources, lambda: map(tree.read, ids))
    weights = [float(np.sum(w, dtype=np.float64)) for w in backbone.get_weights()]
    identity = hashlib.sha256(repr((recipe, block, ids, seed, weights)).encode()).hexdigest()[:12]
    if recipe.pair and validation is not None:
        validation = validation.map(lambda x, y: (x, pair_labels(y, recipe.pair)))
    networks, curves = {}, {}
    for stride in fcn.STRIDES:
        keras.utils.set_random_seed(seed + stride)
        network = networks[stride] = fcn.build_fcn(backbone, stride)
        if stride < 32:
            fcn.warm_start(network, networks[2 * stride])
        compile_recipe(network, recipe, stride)

        def batches(number, stride=stride):
            dataset = pipeline.crop_batches(
                folder,
                recipe.crop,
                recipe.batch_size,
                seed * 10_007 + stride * 101,
                scales=recipe.scales,
                augmented=recipe.augmented,
                epochs=(number * passes, (number + 1) * passes),
            )
            if recipe.pair:
                dataset = dataset.map(lambda x, y: (x, pair_labels(y, recipe.pair)))
            return dataset.take(block)

        run = f"{name}-{identity}-fcn{stride}s"
        cache = data_home() / "cache"
        log = cache / "tensorboard" / run
        curves[stride] = loop.train(
            network,
            lambda first, end, b=batches: tf.data.Dataset.range(first, end).flat_map(b),
            epochs=-(-steps // block),
            steps=block,
            validation=validation,
            checkpoint=cache / "recipes" / f"{run}.keras",
            callbacks=[keras.callbacks.TensorBoard(str(log), write_graph=False)],
        )
        network.compile(loss=network.loss)  # frees the optimizer's copies of the weights
    return networks, curves


def report_recipe(name: str, networks: dict[int, keras.Model], tree, limit: int = 0) -> dict:
    """Print the four scores of FCN-32s, 16s and 8s beside the published ones, in percent.

    Args:
        name, networks, limit: As `train_recipe` takes and returns them.
        tree: VOC, whose list seg11valid is used if it has one, else val.

    Returns:
        The confusion matrices by stride.
    """
    recipe, split = RECIPES[name], "seg11valid" if tree.has("seg11valid") else "val"
    print(f"{split:<16}" + "".join(f"{score:>24}" for score in SCORES))
    matrices = {stride: ConfusionMatrix(21) for stride in networks}
    for sample, (stride, network) in itertools.product(
        tree.samples(split, limit or None), networks.items()
    ):
        labels = sample.labels
        if recipe.pair:
            labels = np.where(np.isin(labels, (recipe.pair[1], VOID)), labels, recipe.pair[0])
        matrices[stride].update(labels, predict_any_size(network, sample.image).argmax(-1))
    for stride, matrix in matrices.items():
        ours = [
            100 * matrix.pixel_accuracy(),
            100 * matrix.mean_accuracy(),
            100 * matrix.mean_iou(),
            100 * matrix.frequency_weighted_iou(),
        ]
        print(f"FCN-{stride}s".ljust(16) + "".join(f"{value:>24.1f}" for value in ours))
        if published := PUBLISHED.get(name):
            print(" published".ljust(16) + "".join(f"{v:>24.1f}" for v in published[stride]))
    return matrices
