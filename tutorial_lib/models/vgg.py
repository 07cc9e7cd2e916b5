"""VGG-16 and VGG-19, whole: convolutions and fully connected layers.

Simonyan & Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR
2015, table 1, columns D and E.
"""

from __future__ import annotations

import keras
import numpy as np
from keras import layers

from tutorial_lib.errors import InputError, check_choice

# Convolutions in each of the five blocks; their filters are 64, 128, 256, 512, 512 at width 1.
BLOCKS = {16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
FILTERS = (64, 128, 256, 512, 512)


def build_vgg(
    depth: int = 16,
    width: float = 1.0,
    input_size: int = 224,
    classes: int = 1000,
    fc_units: int = 4096,
    dropout: float = 0.5,
    batch_norm: bool = False,
) -> keras.Model:
    """Build the classifier.

    Args:
        depth: 16 or 19 layers with weights.
        width: Factor on the number of filters.
        input_size: Side of the square input, a multiple of 32.
        classes: Number of scores.
        fc_units: Neurons of fc6 and fc7, 4096 in the paper.
        dropout: Share of fc6's and fc7's neurons that are dropped in training.
        batch_norm: Normalize after each convolution, which the paper, written before batch
            normalization, does not. `fold_batch_norm` takes it out again after training.

    Returns:
        A model from float32 (batch, input_size, input_size, 3) to scores (batch, classes),
        before the softmax.

    Raises:
        InputError: if the depth is neither 16 nor 19, or the size no multiple of 32.
    """
    check_choice("depth", depth, BLOCKS)
    if input_size % 32 or input_size <= 0:
        raise InputError(f"input_size={input_size} must be a multiple of 32, for five poolings")
    x = inputs = keras.Input((input_size, input_size, 3), name="image")
    x = convolution_blocks(x, depth, width, batch_norm)
    x = layers.Flatten(name="flatten")(x)
    for name in ("fc6", "fc7"):
        x = layers.Dense(fc_units, "relu", kernel_initializer="he_normal", name=name)(x)
        x = layers.Dropout(dropout, name=f"{name}_dropout")(x)
    outputs = layers.Dense(classes, dtype="float32", name="score")(x)
    return keras.Model(inputs, outputs, name=f"vgg{depth}")


def convolution_blocks(x, depth: int, width: float, batch_norm: bool = False):
    """Apply the five blocks of padded 3×3 convolutions, each ended by a 2×2 max pooling."""
    for block, (count, filters) in enumerate(zip(BLOCKS[depth], FILTERS, strict=True), start=1):
        for number in range(1, count + 1):
            name = f"conv{block}_{number}"
            x = layers.Conv2D(
                max(1, round(filters * width)),
                3,
                padding="same",
                kernel_initializer="he_normal",
                name=name,
            )(x)
            if batch_norm:
                x = layers.BatchNormalization(name=f"{name}_norm")(x)
            x = layers.ReLU(name=f"{name}_relu")(x)
        x = layers.MaxPooling2D(2, name=f"pool{block}")(x)
    return x


def fold_batch_norm(normalized: keras.Model, plain: keras.Model) -> keras.Model:
    """Put a trained net with batch normalization into one without that computes the same.

    After training a normalization is a fixed scale and shift of each channel, γ (z - μ) / σ + β.
    The convolution before it can do that itself: its weights take the scale, its bias the rest.

    Args:
        normalized: As built with `batch_norm=True`, trained.
        plain: As built with `batch_norm=False`; its weights are overwritten.

    Returns:
        `plain`.
    """
    for layer in plain.layers:
        if not layer.weights:
            continue
        weights = normalized.get_layer(layer.name).get_weights()
        if isinstance(layer, layers.Conv2D):
            norm = normalized.get_layer(f"{layer.name}_norm")
            gamma, beta, mean, variance = norm.get_weights()
            scale = gamma / np.sqrt(variance + norm.epsilon)
            weights = [weights[0] * scale, (weights[1] - mean) * scale + beta]
        layer.set_weights(weights)
    return plain
