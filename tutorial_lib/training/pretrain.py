"""The classifier that notebook 05 starts from, and the recipe that makes it.

The paper starts from a VGG-16 that was trained on the 1.2 million images of ImageNet. Ours is an
eighth as wide and was trained on images of one pictogram each, which serves as well for bundled
scenes. `tutorial pretrain classifier` trains it again.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from tutorial_lib import CHECKOUT
from tutorial_lib.data import pictograms
from tutorial_lib.data.cache import check_shipped
from tutorial_lib.data.images import normalize

CHECKPOINT = CHECKOUT / "data/checkpoints/vgg16_pictograms.weights.h5"
CHECKPOINT_SHA256 = "3529267204ed0b127cd8a6bb6eb82f9f32f4f862e7c19dcf3559449c3847fd7c"
CLASSES = pictograms.VOC_SPEC.categories
INPUT_SIZE = 96
ARCHITECTURE = {
    "depth": 16,
    "width": 1 / 8,
    "input_size": INPUT_SIZE,
    "classes": len(CLASSES),
    "fc_units": 256,
    "dropout": 0.2,
}
OBJECT_SPEC = pictograms.SceneSpec(
    CLASSES,
    short_side=INPUT_SIZE,
    aspect=1.0,
    objects=(1, 1),
    scale=(0.5, 0.95),
    distractors=(0, 1),
    texture_cue=0.85,
)
EPOCHS = 10
SEED = 1_000_003  # far from the seeds of the scenes that notebooks train and score on


def load_classifier():
    """Return the pretrained VGG-16, an eighth as wide as the paper's.

    Raises InputError if its checkpoint is missing or is not the one that this code was tested with.
    """
    from tutorial_lib.models.vgg import build_vgg

    check_shipped(CHECKPOINT, CHECKPOINT_SHA256)
    classifier = build_vgg(**ARCHITECTURE)
    classifier.load_weights(CHECKPOINT)
    return classifier


def object_images(count: int, seed: int = SEED) -> tuple[np.ndarray, np.ndarray]:
    """Compose images of one object each, and return them with their class numbers.

    They are uint8 (count, 96, 96, 3) and int64 (count,), indices into `CLASSES`.
    """
    images, classes, index = [], [], 0
    while len(images) < count:
        scene = pictograms.compose(OBJECT_SPEC, seed, index)
        index += 1
        if scene.instances:  # occasionally a distractor leaves no room for the object
            images.append(scene.image)
            classes.append(CLASSES.index(scene.instances[0].category))
    return np.stack(images), np.array(classes)


def train_classifier(echo: Callable[[str], None]) -> float:
    """Train the classifier, save it as `CHECKPOINT` and return its accuracy on new images."""
    import keras

    from tutorial_lib import notebook
    from tutorial_lib.models.vgg import build_vgg, fold_batch_norm

    notebook.start("full", seed=SEED)
    echo("composing 30000 images …")
    images, classes = object_images(30_000)
    train = _augmented_batches(images, classes)
    normalized = build_vgg(**ARCHITECTURE, batch_norm=True)
    schedule = keras.optimizers.schedules.CosineDecay(1e-3, EPOCHS * len(train))
    normalized.compile(
        keras.optimizers.AdamW(schedule, weight_decay=1e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    for epoch in range(EPOCHS):
        history = normalized.fit(train, verbose=0, shuffle=False).history
        echo(f"epoch {epoch + 1}/{EPOCHS}: accuracy {history['accuracy'][0]:.3f}")
    plain = fold_batch_norm(normalized, build_vgg(**ARCHITECTURE))
    new_images, new_classes = object_images(1000, seed=SEED + 1)
    scores = plain.predict(normalize(new_images), verbose=0)
    partial = CHECKPOINT.with_name("partial.weights.h5")
    plain.save_weights(partial)
    partial.replace(CHECKPOINT)
    return float(np.mean(scores.argmax(axis=1) == new_classes))


def _augmented_batches(images: np.ndarray, classes: np.ndarray):
    """Return a shuffled tf.data pipeline that randomly flips and shifts the images."""
    import tensorflow as tf

    def prepare(item, number):
        seeds = tf.stack([number, SEED])
        image = tf.cast(item[0], tf.float32) / 127.5 - 1.0
        image = tf.image.stateless_random_flip_left_right(image, seeds)
        image = tf.pad(image, [[8, 8], [8, 8], [0, 0]], mode="REFLECT")
        return tf.image.stateless_random_crop(image, [INPUT_SIZE, INPUT_SIZE, 3], seeds), item[1]

    dataset = tf.data.Dataset.from_tensor_slices((images, classes)).shuffle(len(images), seed=SEED)
    dataset = tf.data.Dataset.zip(dataset, tf.data.Dataset.random(seed=SEED))
    return dataset.map(prepare, num_parallel_calls=tf.data.AUTOTUNE).batch(32).prefetch(4)
