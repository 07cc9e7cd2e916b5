"""U-Net with unpadded convolutions, as published.

Ronneberger, Fischer & Brox, "U-Net: Convolutional Networks for Biomedical Image Segmentation",
MICCAI 2015, figure 1.
"""

from __future__ import annotations

import itertools

import keras
from keras import layers

from tutorial_lib.errors import InputError


def build_unet(
    input_size: int = 572,
    channels: int = 3,
    base_filters: int = 64,
    depth: int = 4,
    classes: int = 1,
    batch_norm: bool = False,
) -> keras.Model:
    """Build the U-Net.

    Args:
        input_size: Side of the square input in pixels; see `valid_input_sizes`.
        channels: Channels of the input.
        base_filters: Filters of the first level; each deeper level has twice as many.
        depth: How often the net halves the resolution; the paper has 4.
        classes: Channels of the output: logits, 1 for one thing against the background.
        batch_norm: Normalize after each convolution. The paper does not.

    Returns:
        A model from float32 (batch, input_size, input_size, channels) to logits
        (batch, output_size, output_size, classes), output_size = `valid_output_size`.

    Raises:
        InputError: if the input size does not come out even at each pooling.
    """
    valid_output_size(input_size, depth)
    x = inputs = keras.Input((input_size, input_size, channels), name="image")
    skips = []
    for level in range(depth):
        x = double_convolution(x, base_filters * 2**level, f"down{level + 1}", batch_norm)
        skips.append(x)
        x = layers.MaxPooling2D(2, name=f"down{level + 1}_pool")(x)
    x = double_convolution(x, base_filters * 2**depth, "bottom", batch_norm)
    for level in reversed(range(depth)):
        x = up_convolution(x, base_filters * 2**level, f"up{level + 1}_upconv")
        x = copy_and_crop(skips[level], x, f"up{level + 1}")
        x = double_convolution(x, base_filters * 2**level, f"up{level + 1}", batch_norm)
    outputs = layers.Conv2D(classes, 1, dtype="float32", name="logits")(x)
    return keras.Model(inputs, outputs, name="unet")


def double_convolution(x, filters: int, name: str, batch_norm: bool = False):
    """Apply two unpadded 3×3 convolutions, each followed by a ReLU.

    Weights start normal with standard deviation √(2/N), N inputs to a neuron (section 3).
    """
    for number in (1, 2):
        x = layers.Conv2D(
            filters,
            3,
            kernel_initializer="he_normal",
            use_bias=not batch_norm,
            name=f"{name}_conv{number}",
        )(x)
        if batch_norm:
            x = layers.BatchNormalization(name=f"{name}_norm{number}")(x)
        x = layers.ReLU(name=f"{name}_relu{number}")(x)
    return x


def up_convolution(x, filters: int, name: str):
    """Double the resolution by a 2×2 transposed convolution with stride 2, halving the channels."""
    return layers.Conv2DTranspose(filters, 2, strides=2, kernel_initializer="he_normal", name=name)(
        x
    )


def copy_and_crop(skip, x, name: str):
    """Crop the map of the contracting path to the size of `x` and put it before x's channels."""
    spare = skip.shape[1] - x.shape[1]
    before = spare // 2
    crop = ((before, spare - before), (before, spare - before))
    skip = layers.Cropping2D(crop, name=f"{name}_crop")(skip)
    return layers.Concatenate(name=f"{name}_concatenate")([skip, x])


def valid_output_size(size: int, depth: int = 4) -> int:
    """Return the side of the output for an input of side `size`.

    Each level takes 4 pixels off (two 3×3 convolutions); pooling halves, up-convolution doubles.

    Raises:
        InputError: if a pooling would meet an odd size, or nothing would be left. The message
            names the nearest sizes that work.
    """
    output = _walk(size, depth)
    if output is None:
        below = next((s for s in range(size, 0, -1) if _walk(s, depth)), None)
        above = next(s for s in itertools.count(max(size, 1)) if _walk(s, depth))
        nearest = f"{below} or {above}" if below else f"{above}"
        raise InputError(
            f"input_size={size} does not halve evenly {depth} times; the nearest that do: {nearest}"
        )
    return output


def valid_input_sizes(depth: int, low: int, high: int) -> list[int]:
    """Return all sides from `low` to `high` that work."""
    return [size for size in range(low, high + 1) if _walk(size, depth)]


def _walk(size: int, depth: int) -> int | None:
    """Follow a size down and up again; None if it does not work."""
    for _ in range(depth):
        size -= 4
        if size <= 0 or size % 2:
            return None
        size //= 2
    size -= 4
    for _ in range(depth):
        size = size * 2 - 4
    return size if size > 0 else None
