"""U-Net with unpadded convolutions, as published.

Ronneberger, Fischer & Brox, "U-Net: Convolutional Networks for Biomedical Image Segmentation",
MICCAI 2015, figure 1.
"""

from __future__ import annotations

import keras
from keras import layers

from tutorial_lib.errors import InputError, check_whole_number

MOST_FILTERS = 4096  # at the bottom; such a network has 500 million weights, 2 GB in float32


def build_unet(
    input_size: int | tuple[int, int] = 572,
    channels: int = 3,
    base_filters: int = 64,
    depth: int = 4,
    classes: int = 1,
) -> keras.Model:
    """Build the U-Net.

    Args:
        input_size: Side of the square input in pixels, or (height, width).
        base_filters: Filters of the first level; each deeper level has twice as many.
        depth: Number of times the encoder halves the resolution; 4 in the paper.
        classes: Channels of the output: logits; 1 for one class against the background.

    Returns:
        A model from float32 (batch, input_size, input_size, channels) to logits
        (batch, output_size, output_size, classes), output_size = `valid_output_size`.

    Raises:
        InputError: if the input size is odd at a pooling, or a number is impossible.
    """
    sides = input_size if isinstance(input_size, (tuple, list)) else (input_size, input_size)
    if len(sides) != 2:
        raise InputError(f"input_size={sides} must be one number, or (height, width)")
    for side in sides:
        valid_output_size(side, depth)
    check_whole_number("channels", channels)
    check_whole_number("base_filters", base_filters)
    if base_filters * 2**depth > MOST_FILTERS:
        raise InputError(f"more than {MOST_FILTERS:,} filters; use fewer base_filters or levels")
    x = inputs = keras.Input((*sides, channels), name="image")
    skips = []
    for level in range(depth):
        x = double_convolution(x, base_filters * 2**level, f"down{level + 1}")
        skips.append(x)
        x = layers.MaxPooling2D(2, name=f"down{level + 1}_pool")(x)
    x = double_convolution(x, base_filters * 2**depth, "bottom")
    for level in reversed(range(depth)):
        x = up_convolution(x, base_filters * 2**level, f"up{level + 1}_upconv")
        x = copy_and_crop(skips[level], x, f"up{level + 1}")
        x = double_convolution(x, base_filters * 2**level, f"up{level + 1}")
    return keras.Model(inputs, output_convolution(x, classes, "logits"), name="unet")


def double_convolution(x, filters: int, name: str):
    """Apply two unpadded 3×3 convolutions, each followed by a ReLU.

    The initial weights are normal with standard deviation √(2/N) for N inputs (section 3).
    """
    check_whole_number("filters", filters)
    for number in (1, 2):
        x = layers.Conv2D(filters, 3, kernel_initializer="he_normal", name=f"{name}_conv{number}")(
            x
        )
        x = layers.ReLU(name=f"{name}_relu{number}")(x)
    return x


def up_convolution(x, filters: int, name: str):
    """Double the resolution by a 2×2 transposed convolution with stride 2."""
    check_whole_number("filters", filters)
    return layers.Conv2DTranspose(filters, 2, strides=2, kernel_initializer="he_normal", name=name)(
        x
    )


def copy_and_crop(skip, x, name: str):
    """Crop the encoder's feature map to the size of `x` and concatenate the two, it first."""
    spare = [skip.shape[axis] - x.shape[axis] for axis in (1, 2)]
    if min(spare) < 0:
        raise InputError(f"the skip {skip.shape} is smaller than {x.shape}; it cannot be cropped")
    crop = [(side // 2, side - side // 2) for side in spare]
    skip = layers.Cropping2D(crop, name=f"{name}_crop")(skip)
    return layers.Concatenate(name=f"{name}_concatenate")([skip, x])


def output_convolution(x, classes: int, name: str):
    """Compute the logits of each pixel by a 1×1 convolution.

    It stays in float32 where the rest computes in half precision, because the loss sums over
    thousands of pixels.
    """
    check_whole_number("classes", classes)
    return layers.Conv2D(classes, 1, dtype="float32", name=name)(x)


def valid_output_size(size: int, depth: int = 4) -> int:
    """Return the side of the output for an input of side `size`.

    The two 3×3 convolutions of a level take off 4 of its pixels, which are 4·2^level pixels of the
    input. Encoder, bottom and decoder together take off 12·2^depth - 8. All poolings meet even
    sizes if size + 4 is a multiple of 2^depth. Raises InputError if a pooling would meet an odd
    size, or nothing would be left. The message names the nearest sizes that work.
    """
    check_whole_number("input_size", size, -(2**31))
    check_whole_number("depth", depth, 0, 16)
    step, loss = 2**depth, 12 * 2**depth - 8
    smallest = loss + 1 + -(loss + 5) % step
    below = size - (size + 4) % step
    if size < smallest:
        raise InputError(
            f"input_size={size} is too small for {depth} levels; the smallest that works: "
            f"{smallest}"
        )
    if below != size:
        raise InputError(
            f"input_size={size} does not halve evenly {depth} times; the nearest that do: "
            f"{below} or {below + step}"
        )
    return size - loss
