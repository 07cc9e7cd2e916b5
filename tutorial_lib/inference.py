"""Prediction for images of any size."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
from PIL import Image

from tutorial_lib.data.images import as_rgb, normalize, read_photograph  # noqa: F401
from tutorial_lib.errors import InputError, check_whole_number


def forward(model: Callable, batch: np.ndarray) -> np.ndarray:
    """Return the output of a model for a batch, as an array.

    A Keras model runs as a compiled graph: the same values as when it is called, in a quarter of
    the time if the images are small.
    """
    compiled = getattr(model, "predict_on_batch", None)
    return np.asarray(model(batch) if compiled is None else compiled(batch))


def predict_any_size(model, image: np.ndarray) -> np.ndarray:
    """Return the logits of every pixel of an image.

    The image gets replicate padding until its sides are multiples of 32, and the logits are cropped
    back. Nothing is resized, so nothing is blurred.

    Args:
        model: From float32 (1, height, width, 3) to logits of the same height and width.
        image: uint8 (height, width, 3), RGB, or what `as_rgb` reads.

    Returns:
        float32 (height, width, classes).

    Raises:
        InputError: if `as_rgb` cannot read the image.
    """
    image = as_rgb(image)
    height, width = image.shape[:2]
    top, left = -height % 32 // 2, -width % 32 // 2
    bottom, right = -height % 32 - top, -width % 32 - left
    padded = np.pad(image, ((top, bottom), (left, right), (0, 0)), mode="edge")
    logits = forward(model, normalize(padded)[None])[0]
    return logits[top : top + height, left : left + width]


def shift_and_stitch(
    model, image: np.ndarray, window: int, step: int = 8, stride: int = 32
) -> np.ndarray:
    """Return scores every `step` pixels, from a network that outputs one every `stride` pixels.

    The image is shifted by 0, `step`, 2 · `step`, … pixels along both axes and goes through the
    network each time; the coarse outputs are interlaced into a fine one (Long, Shelhamer &
    Darrell, CVPR 2015, section 3.2, who replace this by skip connections).

    Args:
        model: Keras model from float32 (1, height, width, 3) to scores, one for each place where
            a window fits, `stride` pixels apart.
        image: As for `predict_any_size`; it gets replicate padding.
        window: Side of the window that one score is computed from, in pixels.
        step: Pixels between two scores of the result; divides `stride`.
        stride: Pixels between two scores of the network.

    Returns:
        float32 (height / step, width / step, scores), rounded up; each score is that of the
        window around the center of its cell.

    Raises:
        InputError: if the step does not divide the stride, or as for `predict_any_size`.
    """
    if not 0 < step <= window or stride % step:
        raise InputError(f"step={step} must divide the stride, {stride}, and fit into the window")
    image = normalize(as_rgb(image))
    before = (window - step) // 2  # centers the first window on the first cell
    cells = [-(-side // stride) for side in image.shape[:2]]
    pads = [
        (before, window - before + count * stride - side)
        for count, side in zip(cells, image.shape[:2], strict=True)
    ]
    padded = np.pad(image, (*pads, (0, 0)), mode="edge")[None]
    height, width = (window + (count - 1) * stride for count in cells)
    shifts = stride // step
    fine = np.empty((cells[0] * shifts, cells[1] * shifts, model.output_shape[-1]), np.float32)
    for row, column in np.ndindex(shifts, shifts):
        y, x = row * step, column * step
        coarse = forward(model, padded[:, y : y + height, x : x + width])[0]
        fine[row::shifts, column::shifts] = coarse
    return fine[: -(-image.shape[0] // step), : -(-image.shape[1] // step)]


def overlap_tile(model, image: np.ndarray) -> np.ndarray:
    """Return the logits of a U-Net for an image of any size, tile by tile (figure 2 of the paper).

    The inputs of neighboring tiles overlap, so that their outputs touch. Around the image there is
    reflection padding. The corners of the tiles lie at multiples of 2^depth, so that every pooling
    meets the same blocks of pixels as in the whole image, and the logits are the same, too. It
    needs memory for one tile and the result.

    Args:
        model: As built by `unet.build_unet`.
        image: float32 (height, width, channels), normalized as in training.

    Returns:
        float32 (height, width, classes).

    Raises:
        InputError: if the image is empty, its channels are not those of the model, or the model's
            output is smaller than 2^depth pixels.
    """
    import keras

    (*sides, channels), (*outputs, classes) = model.input_shape[1:], model.output_shape[1:]
    if image.ndim != 3 or image.shape[2] != channels or not image.size:
        raise InputError(f"expected an image (height, width, {channels}), got {image.shape}")
    block = 2 ** sum(isinstance(layer, keras.layers.MaxPooling2D) for layer in model.layers)
    steps = [side // block * block for side in outputs]
    if min(steps) == 0:
        raise InputError(
            f"an output of {outputs[0]}×{outputs[1]} holds no whole block of {block} pixels; build "
            "the network for a larger input"
        )
    height, width = image.shape[:2]
    down, across = range(0, height, steps[0]), range(0, width, steps[1])
    borders = [(side - output) // 2 for side, output in zip(sides, outputs, strict=True)]
    pads = [(border, side) for border, side in zip(borders, sides, strict=True)]
    padded = np.pad(image, (*pads, (0, 0)), mode="reflect")
    logits = np.empty((height, width, classes), np.float32)
    for top in down:
        for left in across:
            tile = padded[top : top + sides[0], left : left + sides[1]]
            target = logits[top : top + steps[0], left : left + steps[1]]
            target[:] = forward(model, tile[None])[0, : target.shape[0], : target.shape[1]]
    return logits


def test_time_augmentation(
    model: Callable, scales: Iterable[float] = (0.75, 1.0, 1.25)
) -> Callable:
    """Return a model that averages the logits over several scales of an image and its reflections.

    Chen et al., "DeepLab: Semantic Image Segmentation with Deep Convolutional Nets, Atrous
    Convolution, and Fully Connected CRFs", 2017, section 4.1.

    Args:
        model: As for `predict_any_size`, which takes the result as well.
        scales: Factors on the sides, which are then rounded to multiples of 32.
    """
    scales = tuple(scales)

    def mean(x):
        total = 0.0
        for scale in scales:
            size = [max(1, round(scale * side / 32)) * 32 for side in x.shape[1:3]]
            scaled = _resized(x, size)
            for order in (slice(None), slice(None, None, -1)):  # as it is, and reflected
                logits = forward(model, scaled[:, :, order])[:, :, order]
                total = total + _resized(logits, x.shape[1:3])
        return total / (2 * len(scales))

    return mean


def _resized(x, size) -> np.ndarray:
    """Return images or logits (batch, height, width, channels) in another size, bilinear."""
    import keras

    if tuple(size) == tuple(x.shape[1:3]):
        return np.asarray(x)
    return np.asarray(keras.ops.image.resize(x, tuple(size)))


def predict_at_scale(
    model, image: np.ndarray, short_side: int, refine: Callable | None = None
) -> np.ndarray:
    """Return the classes of a photograph that is larger than those the network was trained on.

    The photograph is scaled down so that its objects are as large as in training. Then the
    *logits* are upsampled, and the largest decides: a label map that is upsampled has stairs.

    Args:
        model, image: As for `predict_any_size`.
        short_side: Length of the shorter side in pixels. A smaller photograph keeps its size, and
            a long strip is scaled down to 16 times this length, so that it fits into the memory.
        refine: Called with the logits and the scaled image, returns better logits; for example
            `crf.refine_scores`.

    Returns:
        uint8 (height, width).
    """
    check_whole_number("short_side", short_side)
    image = as_rgb(image)
    height, width = image.shape[:2]
    scale = min(1.0, short_side / min(height, width), 16 * short_side / max(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX))
    logits = predict_any_size(model, small)
    if refine is not None:
        logits = refine(logits, small)
    best = np.full((height, width), -np.inf, np.float32)
    labels = np.zeros((height, width), np.uint8)
    for number in range(logits.shape[-1]):  # all classes at once would need gigabytes
        scores = Image.fromarray(np.ascontiguousarray(logits[..., number], np.float32))
        scores = np.asarray(scores.resize((width, height), Image.Resampling.BILINEAR))
        labels[scores > best] = number
        np.maximum(best, scores, out=best)
    return labels
