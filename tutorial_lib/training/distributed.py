"""Training on several GPUs of one machine."""

from __future__ import annotations

import tensorflow as tf


def strategy() -> tf.distribute.Strategy:
    """Return the strategy for this machine: all its GPUs if there are several, else one device.

    A model that is built and compiled within `strategy().scope()` splits each batch of `fit` among
    the GPUs.
    """
    several = len(tf.config.list_logical_devices("GPU")) > 1
    return tf.distribute.MirroredStrategy() if several else tf.distribute.get_strategy()
