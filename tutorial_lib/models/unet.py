"""U-Net with unpadded convolutions, as published.

Ronneberger, Fischer & Brox, "U-Net: Convolutional Networks for Biomedical Image Segmentation",
MICCAI 2015, figure 1.
"""

from __future__ import annotations

import itertools

import keras
import numpy as np
from keras import layers

from tutorial_lib.errors import InputError
from tutorial_lib.inference import forward


def build_unet(
    input_size: int | tuple[int, int] = 572,
    channels: int = 3,
    base_filters: int = 64,
    depth: int = 4,
    classes: int = 1,
    batch_norm: bool = False,
) -> keras.Model:
    """Build the U-Net.

    Args:
        input_size: Side of the square input in pixels, or (height, width); see
            `valid_input_sizes`.
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
    height, width = (input_size, input_size) if isinstance(input_size, int) else input_size
    for side in (height, width):
        valid_output_size(side, depth)
    x = inputs = keras.Input((height, width, channels), name="image")
    skips = []
    for level in range(depth):
        x = double_convolution(x, base_filters * 2**level, f"down{level + 1}", batch_norm)
        skips.append(x)
        x = max_pool(x, f"down{level + 1}_pool")
    x = double_convolution(x, base_filters * 2**depth, "bottom", batch_norm)
    for level in reversed(range(depth)):
        x = up_convolution(x, base_filters * 2**level, f"up{level + 1}_upconv")
        x = copy_and_crop(skips[level], x, f"up{level + 1}")
        x = double_convolution(x, base_filters * 2**level, f"up{level + 1}", batch_norm)
    return keras.Model(inputs, output_convolution(x, classes, "logits"), name="unet")


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
            x = layers.BatchNormalization(momentum=0.9, name=f"{name}_norm{number}")(x)
        x = layers.ReLU(name=f"{name}_relu{number}")(x)
    return x


def max_pool(x, name: str):
    """Keep the largest of each 2×2 block: half the height, half the width."""
    return layers.MaxPooling2D(2, name=name)(x)


def up_convolution(x, filters: int, name: str):
    """Double the resolution by a 2×2 transposed convolution with stride 2, halving the channels."""
    return layers.Conv2DTranspose(filters, 2, strides=2, kernel_initializer="he_normal", name=name)(
        x
    )


def copy_and_crop(skip, x, name: str):
    """Crop the map of the contracting path to the size of `x` and put it before x's channels."""
    spare = [skip.shape[axis] - x.shape[axis] for axis in (1, 2)]
    crop = [(side // 2, side - side // 2) for side in spare]
    skip = layers.Cropping2D(crop, name=f"{name}_crop")(skip)
    return layers.Concatenate(name=f"{name}_concatenate")([skip, x])


def output_convolution(x, classes: int, name: str):
    """Map the features of each pixel to one number a class, by a 1×1 convolution.

    In float32 even where the rest computes in half precision: a sum over thousands of pixels
    follows.
    """
    return layers.Conv2D(classes, 1, dtype="float32", name=name)(x)


def ablate_skips(network: keras.Model) -> keras.Model:
    """Return a copy of a U-Net whose skip connections are ablated: their weights are zero.

    Args:
        network: As built by `build_unet`; it stays as it is.
    """
    depth = sum(isinstance(layer, layers.MaxPooling2D) for layer in network.layers)
    return _ablated(network, range(1, depth + 1), first_half=True)


def keep_last_skip_only(network: keras.Model) -> keras.Model:
    """Return a copy of a U-Net in which only the finest skip connection reaches the output.

    Args:
        network: As built by `build_unet`; it stays as it is.
    """
    return _ablated(network, [1], first_half=False)


def _ablated(network: keras.Model, levels, first_half: bool) -> keras.Model:
    """Set the weights of one half of the concatenated channels to zero; the skips come first."""
    copy = keras.Model.from_config(network.get_config())  # leaves out the loss it is compiled with
    copy.set_weights(network.get_weights())
    for level in levels:
        layer = copy.get_layer(f"up{level}_conv1")
        kernel, *rest = layer.get_weights()
        half = kernel.shape[2] // 2
        kernel[:, :, slice(half) if first_half else slice(half, None)] = 0
        layer.set_weights([kernel, *rest])
    return copy


def count_parameters(channels: int, base_filters: int, depth: int, classes: int) -> int:
    """Count the weights and biases of the net without building it.

    A convolution from m to n channels with a k×k kernel has k²·m·n weights and n biases. Going
    down, each level has two; going up, an up-convolution that halves the channels, and two
    convolutions, the first on twice as many channels because of the copied map.
    """

    def convolution(size: int, before: int, after: int) -> int:
        return size**2 * before * after + after

    filters = [base_filters * 2**level for level in range(depth + 1)]
    total = convolution(1, base_filters, classes)
    for before, after in itertools.pairwise([channels, *filters]):
        total += convolution(3, before, after) + convolution(3, after, after)
    for fine, coarse in itertools.pairwise(filters):
        total += convolution(2, coarse, fine)
        total += convolution(3, 2 * fine, fine) + convolution(3, fine, fine)
    return total


def overlap_tile(model: keras.Model, image: np.ndarray, batch_size: int = 4) -> np.ndarray:
    """Apply a net to a picture of any size, tile by tile (figure 2 of the paper).

    The inputs of neighboring tiles overlap, so that their outputs touch. The picture is continued
    by mirroring. The corners of the tiles lie at multiples of 2^depth: then every max pooling
    meets the same blocks of pixels as in the picture as a whole, and the result is the same, too.
    Memory is needed for one batch of tiles and the result.

    Args:
        model: As built by `build_unet`.
        image: float32 (height, width, channels), as the model wants it.
        batch_size: Tiles at a time.

    Returns:
        Logits, float32 (height, width, classes).

    Raises:
        InputError: if the picture has not the model's number of channels, or is empty.
    """
    (rows, columns, channels), (out_rows, out_columns, classes) = (
        model.input_shape[1:],
        model.output_shape[1:],
    )
    if image.ndim != 3 or image.shape[2] != channels or not image.size:
        raise InputError(f"expected a picture (height, width, {channels}), got {image.shape}")
    block = 2 ** sum(isinstance(layer, layers.MaxPooling2D) for layer in model.layers)
    steps = [side // block * block for side in (out_rows, out_columns)]
    if min(steps) == 0:
        raise InputError(
            f"an output of {out_rows}×{out_columns} holds no whole block of {block} pixels; build "
            "the net for a larger input"
        )
    height, width = image.shape[:2]
    logits = np.empty((height, width, classes), np.float32)
    corners = list(itertools.product(range(0, height, steps[0]), range(0, width, steps[1])))
    for start in range(0, len(corners), batch_size):
        part = corners[start : start + batch_size]
        tiles = [_tile(image, corner, (rows, columns), (out_rows, out_columns)) for corner in part]
        results = forward(model, np.stack(tiles))
        for (top, left), result in zip(part, results, strict=True):
            result = result[: min(steps[0], height - top), : min(steps[1], width - left)]
            logits[top : top + result.shape[0], left : left + result.shape[1]] = result
    return logits


def _tile(image: np.ndarray, corner, shape, inner) -> np.ndarray:
    """Cut out the input whose output has its corner at (row, column), mirroring as needed."""
    for axis in (0, 1):
        length = image.shape[axis]
        period = max(2 * (length - 1), 1)
        start = corner[axis] - (shape[axis] - inner[axis]) // 2
        positions = (np.arange(shape[axis]) + start) % period
        image = image.take(np.minimum(positions, period - positions), axis=axis)
    return image


def valid_output_size(size: int, depth: int = 4) -> int:
    """Return the side of the output for an input of side `size`.

    Each level takes 4 pixels off (two 3×3 convolutions); pooling halves, up-convolution doubles.

    Raises:
        InputError: if a pooling would meet an odd size, or nothing would be left. The message
            names the nearest sizes that work.
    """
    output = _walk(size, depth)
    if output is None:
        # What halves evenly so often lies 2^depth apart, from -4 on.
        apart, start = 2**depth, max(size, 1)
        downwards = range(size - (size + 4) % apart, 0, -apart)
        upwards = itertools.count(start + -(start + 4) % apart, apart)
        below = next((s for s in downwards if _walk(s, depth)), None)
        above = next(s for s in upwards if _walk(s, depth))
        if below is None:
            raise InputError(
                f"input_size={size} is too small for {depth} levels; the smallest that works: "
                f"{above}"
            )
        raise InputError(
            f"input_size={size} does not halve evenly {depth} times; the nearest that do: "
            f"{below} or {above}"
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
