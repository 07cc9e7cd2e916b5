"""Training on several GPUs of one machine, or on several machines."""

from __future__ import annotations

from collections.abc import Callable

import keras
import tensorflow as tf

from tutorial_lib.data.images import VOID


def strategy() -> tf.distribute.Strategy:
    """Return the strategy for this machine: all its GPUs if there are several, else one device.

    A model that is built and compiled within `strategy().scope()` splits each batch of `fit` among
    the GPUs.
    """
    several = len(tf.config.list_logical_devices("GPU")) > 1
    return tf.distribute.MirroredStrategy() if several else tf.distribute.get_strategy()


def train_on_workers(
    build: Callable, stream: Callable, *, epochs: int, steps: int
) -> tuple[keras.Model, list[float]]:
    """Train on several machines that compute together what one would with a larger batch.

    Run the same program on each, with the environment variable TF_CONFIG as TensorFlow documents
    it, and call this before TensorFlow does anything else. `Model.fit` of Keras 3 does not run
    under this strategy, so the training step is written out here.

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
