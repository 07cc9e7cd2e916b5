"""One step of training on many devices, the same as one step on one.

A batch is dealt out over GPUs and machines. Each works on its share, and the gradients are added
up so that every pixel of the joint batch counts the same, wherever it was looked at: a machine
whose pictures hold much void has less to say.

`Model.fit` of Keras 3 does not run under `MultiWorkerMirroredStrategy`; a step of one's own does.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable

import keras
import numpy as np
import tensorflow as tf

from tutorial_lib.data.images import VOID
from tutorial_lib.errors import InputError


def strategy() -> tf.distribute.Strategy:
    """Return what fits the machine: several workers if TF_CONFIG names them, several GPUs, or one.

    Several workers must call this before TensorFlow does anything else.

    Raises:
        InputError: if TF_CONFIG is set and cannot be read.
    """
    if text := os.environ.get("TF_CONFIG"):
        try:
            workers = json.loads(text)["cluster"]["worker"]
        except (ValueError, KeyError, TypeError):
            raise InputError(
                "TF_CONFIG must be JSON with cluster.worker and task, as TensorFlow documents it"
            ) from None
        if len(workers) > 1:
            return tf.distribute.MultiWorkerMirroredStrategy()
    if len(tf.config.list_logical_devices("GPU")) > 1:
        return tf.distribute.MirroredStrategy()
    return tf.distribute.get_strategy()


def share(strategy: tf.distribute.Strategy) -> tuple[int, int]:
    """Return (i, n): this process is the i-th of n and trains on every n-th image, from i on."""
    resolver = strategy.cluster_resolver
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy) or resolver is None:
        return 0, 1
    return resolver.task_id, resolver.cluster_spec().num_tasks("worker")


def fit(
    model: keras.Model,
    data: tf.data.Dataset,
    strategy: tf.distribute.Strategy,
    *,
    epochs: int,
    steps: int,
    first: int = 0,
    callbacks: Iterable[keras.callbacks.Callback] = (),
    validate: Callable[[], dict[str, float]] | None = None,
) -> None:
    """Train with the strategy's own loop, calling Keras's callbacks as `Model.fit` does.

    Args:
        model: Compiled within `strategy.scope()`, with one loss that is a mean over the pixels
            that are not void.
        data: Batches of images and labels, `steps` of them for each epoch; every process reads the
            same batches and takes its share of each.
        strategy: As from `strategy`.
        epochs, first: Train the epochs first, first + 1, …, epochs - 1.
        steps: Steps an epoch.
        callbacks: Keras callbacks.
        validate: Called after each epoch; what it returns is logged with "val_" before the names.
    """
    calls = keras.callbacks.CallbackList(list(callbacks), model=model)
    step = training_step(model, strategy)
    batches = iter(_dealt_out(data, strategy))
    model.stop_training = False
    calls.on_train_begin()
    for epoch in range(first, epochs):
        calls.on_epoch_begin(epoch)
        losses = [step(next(batches)) for _ in range(steps)]
        logs = {"loss": float(np.mean(losses))}
        if validate:
            logs |= {f"val_{name}": value for name, value in validate().items()}
        calls.on_epoch_end(epoch, logs)
        if model.stop_training:
            break
    calls.on_train_end()


def training_step(model: keras.Model, strategy: tf.distribute.Strategy) -> Callable:
    """Return a function that takes a dealt-out batch, moves the weights, and returns the loss."""

    def on_one_device(images, labels):
        context = tf.distribute.get_replica_context()
        seen = tf.reduce_sum(tf.cast(tf.not_equal(labels, VOID), tf.float32))
        total = context.all_reduce(tf.distribute.ReduceOp.SUM, seen)
        with tf.GradientTape() as tape:
            loss = model.loss(labels, model(images, training=True)) * seen / tf.maximum(total, 1.0)
            scaled = model.optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled, [v.value for v in model.trainable_variables])
        # The optimizer adds the gradients of all devices up.
        model.optimizer.apply(gradients, model.trainable_variables)
        return loss

    with strategy.scope():  # its variables must be there before the step is traced
        if not model.optimizer.built:
            model.optimizer.build(model.trainable_variables)

    @tf.function
    def step(batch):
        losses = strategy.run(on_one_device, args=batch)
        return strategy.reduce(tf.distribute.ReduceOp.SUM, losses, axis=None)

    return step


def _dealt_out(data: tf.data.Dataset, strategy: tf.distribute.Strategy):
    """Split each batch among all devices, one image after the other; keep the part of ours."""
    devices = strategy.num_replicas_in_sync
    process, processes = share(strategy)
    ours = devices // processes

    def parts(images, labels):
        numbers = tf.data.Dataset.range(process * ours, (process + 1) * ours)
        return numbers.map(lambda n: (images[n::devices], labels[n::devices]))

    return strategy.distribute_datasets_from_function(lambda context: data.flat_map(parts))
