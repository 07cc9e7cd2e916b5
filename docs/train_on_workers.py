"""Train the U-Net on several machines that compute together what one would with a larger batch.

    python docs/train_on_workers.py RECORDS

Run it on each machine, with the environment variable TF_CONFIG as TensorFlow documents it, and with
the folder of records that `tutorial data convert` wrote. Change `build` and `stream` for another
network or other data.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import keras
import tensorflow as tf

from tutorial_lib.data import pipeline
from tutorial_lib.data.images import VOID
from tutorial_lib.models import unet
from tutorial_lib.training import losses


def build() -> keras.Model:
    """Return the compiled network, with the same weights on each machine."""
    keras.utils.set_random_seed(0)
    network = unet.build_unet(572, channels=3)
    network.compile(keras.optimizers.Adam(3e-4), loss=losses.binary_cross_entropy)
    return network


def stream(first: int, end: int) -> tf.data.Dataset:
    """Return the batches of these epochs; the machines take turns at them."""
    return pipeline.segmentation_batches(Path(sys.argv[1]), 572, 388, 4, 0, epochs=(first, end))


def train_on_workers(
    build: Callable, stream: Callable, *, epochs: int, steps: int
) -> tuple[keras.Model, list[float]]:
    """Train on all machines; call this before TensorFlow does anything else.

    `Model.fit` of Keras 3 does not run under this strategy, so the training step is written out.

    Args:
        build: Returns the compiled model, with the same random seed on each machine. Its loss is a
            mean over all pixels that are not void, as in `losses`.
        stream: Called with (first, end), returns the batches of these epochs, the same on each
            machine; the devices take turns at them.
        steps: Steps per epoch: batches, divided by the number of devices.

    Returns:
        The trained model, and its loss by epoch.
    """
    place = tf.distribute.MultiWorkerMirroredStrategy()
    resolver = place.cluster_resolver
    workers = max(1, resolver.cluster_spec().num_tasks("worker"))
    with place.scope():
        model = build()
        model.optimizer.build(model.trainable_variables)

    def replica_step(images, labels):
        # Each pixel of the joint batch counts the same, so a device with much void counts less.
        counted = tf.reduce_sum(tf.cast(labels != VOID, tf.float32))
        total = tf.distribute.get_replica_context().all_reduce("sum", counted)
        with tf.GradientTape() as tape:
            loss = model.loss(labels, model(images, training=True)) * counted / total
        variables = model.trainable_variables
        gradients = tape.gradient(loss, [variable.value for variable in variables])
        model.optimizer.apply(gradients, variables)  # adds up the gradients of all devices
        return loss

    @tf.function
    def step(batch):
        return place.reduce("sum", place.run(replica_step, args=batch), axis=None)

    share = stream(0, epochs).shard(workers, resolver.task_id or 0)
    batches = iter(place.distribute_datasets_from_function(lambda context: share))
    losses = [[float(step(next(batches))) for _ in range(steps)] for _ in range(epochs)]
    return model, [sum(epoch) / steps for epoch in losses]


if __name__ == "__main__":
    network, loss = train_on_workers(build, stream, epochs=60, steps=500)
    print("loss by epoch:", loss)
    network.save("unet.keras")
