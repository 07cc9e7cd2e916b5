"""VGG-16 and VGG-19 with their fully connected layers.

Simonyan & Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", ICLR
2015, table 1, columns D and E.
"""

from __future__ import annotations

import math
from pathlib import Path

import h5py
import keras
import numpy as np
from keras import layers

from tutorial_lib.errors import InputError, check_choice, check_whole_number

# Convolutions in each of the five blocks; their filters are 64, 128, 256, 512, 512 at width 1.
BLOCKS = {16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
# Red, green, blue, from 0 to 255, as the code of the FCN paper subtracts it.
IMAGENET_MEAN = (122.67892, 116.66877, 104.00699)
FILTERS = (64, 128, 256, 512, 512)


def build_vgg(
    depth: int = 16,
    width: float = 1.0,
    input_size: int = 224,
    classes: int = 1000,
    fc_units: int = 4096,
    dropout: float = 0.5,
    batch_norm: bool = False,
    imagenet_colors: bool = False,
) -> keras.Model:
    """Build the classifier.

    Args:
        depth: 16 or 19 layers with weights.
        width: Factor on the number of filters.
        input_size: Side of the square input, a multiple of 32.
        fc_units: Neurons of fc6 and fc7, 4096 in the paper.
        dropout: Share of the neurons of fc6 and fc7 that are dropped in training.
        batch_norm: Normalize after each convolution, which the paper does not, because it is
            older than batch normalization. `fold_batch_norm` removes it after training.
        imagenet_colors: Begin with a layer that maps colors from -1 to 1 to those that the
            weights of ImageNet expect, see `load_imagenet_vgg`.

    Returns:
        A model from float32 (batch, input_size, input_size, 3) to scores (batch, classes),
        before the softmax.

    Raises:
        InputError: if a number is impossible; the input size must suit five poolings.
    """
    check_choice("depth", depth, tuple(BLOCKS))
    for name, value in (("classes", classes), ("fc_units", fc_units)):
        check_whole_number(name, value, 1, 65_535)
    if check_whole_number("input_size", input_size, 32, 4096) % 32:
        raise InputError(f"input_size={input_size} must be a multiple of 32, for five poolings")
    if not 0 < width <= 8:
        raise InputError(f"width={width} must be a positive factor, at most 8")
    x = inputs = keras.Input((input_size, input_size, 3), name="image")
    if imagenet_colors:
        offset = [127.5 - mean for mean in IMAGENET_MEAN]
        x = layers.Rescaling(127.5, offset, name="imagenet_colors")(x)
    convolution = {"padding": "same", "kernel_initializer": "he_normal"}
    for block, (count, filters) in enumerate(zip(BLOCKS[depth], FILTERS, strict=True), start=1):
        for number in range(1, count + 1):
            name = f"conv{block}_{number}"
            x = layers.Conv2D(max(1, round(filters * width)), 3, **convolution, name=name)(x)
            if batch_norm:
                x = layers.BatchNormalization(name=f"{name}_norm")(x)
            x = layers.ReLU(name=f"{name}_relu")(x)
        x = layers.MaxPooling2D(2, name=f"pool{block}")(x)
    x = layers.Flatten(name="flatten")(x)
    for name in ("fc6", "fc7"):
        x = layers.Dense(fc_units, "relu", kernel_initializer="he_normal", name=name)(x)
        x = layers.Dropout(dropout, name=f"{name}_dropout")(x)
    outputs = layers.Dense(classes, dtype="float32", name="score")(x)
    return keras.Model(inputs, outputs, name=f"vgg{depth}")


def load_imagenet_vgg(depth: int = 16, weights: str | Path = "imagenet") -> keras.Model:
    """Return VGG-16 or VGG-19 with the weights of ImageNet, for colors from -1 to 1.

    Its first layer maps our colors to those that the weights expect: 0 to 255, less the mean color
    of ImageNet. They also expect blue first, so we reverse the channels of the first kernel.

    The weights "imagenet" are a download of half a gigabyte; a path reads a file as
    keras.applications publishes it, with the top. Raises InputError if it is missing or does not
    fit.
    """
    check_choice("depth", depth, tuple(BLOCKS))
    if weights == "imagenet":
        build = {16: keras.applications.VGG16, 19: keras.applications.VGG19}[depth]
        try:
            published = [layer.get_weights() for layer in build().layers if layer.weights]
        except Exception as error:  # Keras raises plain exceptions when a download fails
            reason = " ".join(str(error).split())[:120]
            raise InputError(
                f"cannot load the weights of VGG-{depth} ({reason}); give a file"
            ) from None
    else:
        published = read_published(depth, weights)
    kernels = [arrays[0] for arrays in published]
    side = math.isqrt(kernels[-3].shape[0] // kernels[-4].shape[3])
    model = build_vgg(
        depth,
        width=kernels[0].shape[3] / FILTERS[0],
        input_size=32 * side,
        classes=kernels[-1].shape[1],
        fc_units=kernels[-3].shape[1],
        imagenet_colors=True,
    )
    targets = [layer for layer in model.layers if layer.weights]
    for number, (layer, (kernel, bias)) in enumerate(zip(targets, published, strict=True)):
        # The weights come from Caffe, which reads colors as blue, green, red.
        layer.set_weights([kernel[:, :, ::-1] if number == 0 else kernel, bias])
    return model


def read_published(depth: int, path: str | Path) -> list[list[np.ndarray]]:
    """Return kernel and bias of each layer in a file as keras.applications publishes it.

    Raises InputError if the file is missing, or is not that of a VGG with its top.
    """
    if not Path(path).is_file():
        raise InputError(f"{path} is missing: the ImageNet weights of VGG-{depth}, with the top")
    misfit = InputError(f"{path} does not fit VGG-{depth} with its top")
    try:
        with h5py.File(path) as file:
            groups = [file[name] for name in file.attrs["layer_names"]]
            published = [[g[name][()] for name in g.attrs["weight_names"]] for g in groups]
    except (OSError, KeyError, TypeError):
        raise misfit from None
    published = [arrays for arrays in published if arrays]
    dimensions = [4] * sum(BLOCKS[depth]) + [2] * 3
    if [arrays[0].ndim for arrays in published] != dimensions:
        raise misfit
    return published


def fold_batch_norm(normalized: keras.Model, plain: keras.Model) -> keras.Model:
    """Copy a trained VGG with batch normalization into one without that computes the same.

    After training, a normalization is a fixed scale and shift of each channel, γ (z - μ) / σ + β.
    The convolution before it takes over both: the scale in its weights, the shift in its bias.

    Args:
        normalized: As built with `batch_norm=True`, trained.
        plain: As built with `batch_norm=False`; its weights are overwritten, and it is returned.
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
