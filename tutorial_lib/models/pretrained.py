"""A U-Net whose way down was trained on ImageNet: for when photographs are few.

The idea of Iglovikov & Shvets, "TernausNet: U-Net with VGG11 encoder pre-trained on ImageNet for
image segmentation", 2018, with any network of `keras.applications` as the way down. Convolutions
are padded, as in those networks, so the output is as large as the input.
"""

from __future__ import annotations

from pathlib import Path

import keras
from keras import layers

from tutorial_lib.errors import InputError
from tutorial_lib.models import backbones
from tutorial_lib.models.unet import copy_and_crop, score, up_convolution


def mobilenet(
    input_size: int, weights: str | Path | None, alpha: float | None = None
) -> keras.Model:
    """Return MobileNet without its top, for colors from -1 to 1.

    Its batch normalizations keep the statistics that come with the weights: a few photographs do
    not tell better ones.

    Howard et al., "MobileNets: Efficient convolutional neural networks for mobile vision
    applications", 2017.

    Args:
        input_size: Side of the input in pixels.
        weights: "imagenet" downloads them, a path reads a file of Keras's, None starts afresh.
        alpha: Width of the network; the file must be of the same. None: what the file's name
            tells, or else a quarter.

    Raises:
        InputError: if the file is missing or holds other weights.
    """
    width = alpha or backbones.published_width(weights) or 0.25
    model = backbones.load_without_top("mobilenet", weights, input_size, alpha=width)
    if weights is not None:
        for layer in model.layers:
            if isinstance(layer, layers.BatchNormalization):
                layer.trainable = False
    return model


def build_pretrained_unet(
    encoder: keras.Model,
    classes: int = 1,
    filters: int = 128,
    dropout: float = 0.0,
    finest: int = 1,
) -> keras.Model:
    """Put U-Net's way up on a network that halves its maps step by step.

    From each resolution the last map is copied over, as U-Net does.

    Args:
        encoder: Without its top, its input a multiple of the factor that it shrinks by.
        classes: Channels of the output: logits.
        filters: Of the lowest level of the way up; each higher one has half as many, 16 at least.
        dropout: Share of the features at the bottom that a training step leaves out.
        finest: 2 or 4 ends the way up at that fraction of the resolution, where it costs most and
            teaches least; the logits are then scaled up to the input's size.

    Returns:
        A model from the encoder's input to logits of the same height and width.

    Raises:
        InputError: if the encoder's maps do not halve evenly.
    """
    size = encoder.input_shape[1]
    last = {}
    for layer in encoder.layers:
        shape = getattr(layer.output, "shape", ())
        if len(shape) == 4 and shape[1] and size % shape[1] == 0:
            last[shape[1]] = layer.output
    sides = sorted(last)
    uneven = size % encoder.output_shape[1] != 0
    if uneven or any(2 * low != high for low, high in zip(sides, sides[1:], strict=False)):
        raise InputError(
            f"the encoder's maps {sides} do not halve evenly; choose an input that is a multiple "
            "of 32"
        )
    x = layers.Dropout(dropout, name="bottom_dropout")(last[sides[0]])
    for side in sides[1:]:
        if side * finest > size:
            break
        x = up_convolution(x, filters, f"up{side}_upconv")
        x = copy_and_crop(last[side], x, f"up{side}")
        x = _padded_convolution(x, filters, f"up{side}_conv")
        filters = max(16, filters // 2)
    x = score(x, classes, "logits")
    if x.shape[1] < size:
        x = layers.UpSampling2D(
            size // x.shape[1], interpolation="bilinear", dtype="float32", name="resize"
        )(x)
    return keras.Model(encoder.input, x, name="pretrained_unet")


def _padded_convolution(x, filters: int, name: str):
    x = layers.Conv2D(
        filters, 3, padding="same", use_bias=False, kernel_initializer="he_normal", name=name
    )(x)
    x = layers.BatchNormalization(momentum=0.9, name=f"{name}_norm")(x)
    return layers.ReLU(name=f"{name}_relu")(x)
