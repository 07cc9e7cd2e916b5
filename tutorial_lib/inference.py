"""Prediction for pictures of any size and kind."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from PIL import Image

from tutorial_lib.data.images import as_rgb, normalize, read_photograph  # noqa: F401
from tutorial_lib.errors import InputError

LARGEST_WHOLE = 1_500_000  # pixels; a larger picture goes through the net in tiles


def forward(model: Callable, batch: np.ndarray) -> np.ndarray:
    """Send a batch through a net; return what it says as an array.

    A Keras model runs as a compiled graph: the same bits as when it is called, in a quarter of the
    time if the pictures are small. Its layers must then be able to take sizes that differ from
    picture to picture, as all of the project's do.
    """
    compiled = getattr(model, "predict_on_batch", None)
    return np.asarray(model(batch) if compiled is None else compiled(batch))


def predict_any_size(model, image: np.ndarray, multiple: int = 32) -> np.ndarray:
    """Score every pixel of a picture.

    The picture is continued to the next multiple by its edge values, the logits are cropped back.
    Nothing is resized, so no pixel is blurred on the way in or out.

    Args:
        model: From float32 (1, height, width, 3) to logits of the same height and width.
        image: uint8 (height, width, 3), RGB, or what `as_rgb` makes one of.
        multiple: What the sides of the model's input must be multiples of.

    Returns:
        Logits, float32 (height, width, classes). For a very large picture that is a lot of
        memory: see `predict_labels`.

    Raises:
        InputError: if the image is none that `as_rgb` reads.
    """
    image = as_rgb(image)
    (top, height), (left, width) = (_extent(side, multiple) for side in image.shape[:2])
    rows, columns = (
        _positions(-top, height, image.shape[0]),
        _positions(-left, width, image.shape[1]),
    )
    logits = forward(model, normalize(image[rows[:, None], columns])[None])[0]
    return logits[top : top + image.shape[0], left : left + image.shape[1]]


def shift_and_stitch(
    model, image: np.ndarray, window: int, step: int = 8, stride: int = 32
) -> np.ndarray:
    """Score a picture every `step` pixels with a net that answers every `stride` pixels.

    The picture is shifted by 0, `step`, 2 · `step`, … pixels along both axes and goes through the
    net each time; the coarse maps are woven into one fine map. (Long, Shelhamer & Darrell, CVPR
    2015, section 3.2, who then find a better way: skips.)

    Args:
        model: Keras model from float32 (1, height, width, 3) to a map of scores, one for each
            place where `window` pixels fit, `stride` pixels apart.
        image: As for `predict_any_size`; it is continued by its edge values.
        window: Side of what one score sees, in pixels.
        step: Pixels between two scores of the result; divides `stride`.
        stride: Pixels between two scores of the net.

    Returns:
        float32 (height / step, width / step, scores), rounded up; each cell's score is that of the
        window around its middle.

    Raises:
        InputError: if the step does not divide the stride, or as for `predict_any_size`.
    """
    if step <= 0 or stride % step:
        raise InputError(f"step={step} must divide the stride, {stride}")
    image = normalize(as_rgb(image))
    before = (window - step) // 2  # so that the first window's middle is that of the first cell
    cells = [-(-side // stride) for side in image.shape[:2]]
    down, across = (
        _positions(-before, window + count * stride, side)
        for count, side in zip(cells, image.shape[:2], strict=True)
    )
    padded = image[down[:, None], across][None]
    height, width = (window + (count - 1) * stride for count in cells)
    shifts = stride // step
    fine = np.empty((cells[0] * shifts, cells[1] * shifts, model.output_shape[-1]), np.float32)
    for row, column in np.ndindex(shifts, shifts):
        y, x = row * step, column * step
        coarse = forward(model, padded[:, y : y + height, x : x + width])[0]
        fine[row::shifts, column::shifts] = coarse
    return fine[: -(-image.shape[0] // step), : -(-image.shape[1] // step)]


def test_time_augmentation(
    model: Callable, scales: Iterable[float] = (0.75, 1.0, 1.25)
) -> Callable:
    """Return a model that looks at each picture in several sizes, and at the mirror image of each.

    What a net takes one thing for in one size, it may take for another in the next; the mean is
    right more often than either. Chen et al., "DeepLab: Semantic Image Segmentation with Deep
    Convolutional Nets, Atrous Convolution, and Fully Connected CRFs", 2017, section 4.1.

    Args:
        model: As for `predict_any_size`, which takes the result as well.
        scales: Of the sides; the result is brought to the next multiple of 32.

    Returns:
        The mean of all logits, in the input's size.
    """
    scales = tuple(scales)

    def mean(x):
        total = 0.0
        for scale in scales:
            size = [max(1, round(scale * side / 32)) * 32 for side in x.shape[1:3]]
            view = _resized(x, size)
            for turn in (slice(None), slice(None, None, -1)):
                logits = forward(model, view[:, :, turn])[:, :, turn]
                total = total + _resized(logits, x.shape[1:3])
        return total / (2 * len(scales))

    return mean


def _resized(maps, size) -> np.ndarray:
    """Return maps (batch, height, width, channels) in another size, bilinear."""
    import keras

    if tuple(size) == tuple(maps.shape[1:3]):
        return np.asarray(maps)
    return np.asarray(keras.ops.image.resize(maps, tuple(size)))


def predict_labels(
    model, image: np.ndarray, multiple: int = 32, tile: int = 768, margin: int = 256
) -> np.ndarray:
    """Label every pixel, in bounded memory however large the picture.

    A picture of 48 megapixels has a billion logits of 21 classes, four gigabytes. So a large one
    goes through the net in overlapping tiles, and only labels are kept. The tiles lie on the same
    grid of `multiple` pixels as the whole picture would, and of each one only the middle is used:
    if `margin` is as large as what one output pixel can see to each side, the labels are those of
    the whole picture at once.

    Args:
        model, image, multiple: As for `predict_any_size`.
        tile: Side of the part of a tile that is used, in pixels, a multiple of `multiple`.
        margin: What is added on each side for context, a multiple of `multiple`.

    Returns:
        Labels, uint8 (height, width).

    Raises:
        InputError: as for `predict_any_size`, or if tile and margin are no such multiples.
    """
    if tile <= 0 or margin < 0 or tile % multiple or margin % multiple:
        raise InputError(f"tile={tile} and margin={margin} must be multiples of {multiple}")
    image = as_rgb(image)
    if image.shape[0] * image.shape[1] <= min(LARGEST_WHOLE, (tile + 2 * margin) ** 2):
        return predict_any_size(model, image, multiple).argmax(axis=-1).astype(np.uint8)
    labels = np.empty(image.shape[:2], np.uint8)
    for rows in _tiles(image.shape[0], multiple, tile, margin):
        for columns in _tiles(image.shape[1], multiple, tile, margin):
            patch = normalize(image[rows.positions[:, None], columns.positions])[None]
            logits = forward(model, patch)[0]
            middle = logits[rows.used, columns.used].argmax(axis=-1)
            labels[rows.target, columns.target] = middle
    return labels


def predict_at_scale(
    model, image: np.ndarray, short_side: int, multiple: int = 32, refine: Callable | None = None
) -> np.ndarray:
    """Label a photograph whose objects are larger than those that the net was trained on.

    The photograph is scaled down so that its shorter side is `short_side` pixels, as the training
    pictures were; the *logits* are scaled up again, smoothly, and the largest of them decides. A
    label map that is scaled up would have stairs.

    Args:
        model, image, multiple: As for `predict_any_size`.
        short_side: In pixels. A photograph that is smaller stays as it is.
        refine: Called with the logits and the scaled picture, returns better logits, as
            `crf.refine_scores` does.

    Returns:
        Labels, uint8 (height, width).
    """
    image = as_rgb(image)
    height, width = image.shape[:2]
    scale = min(1.0, short_side / min(height, width))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    small = np.asarray(Image.fromarray(image).resize(size, Image.Resampling.BOX))
    logits = predict_any_size(model, small, multiple)
    if refine is not None:
        logits = refine(logits, small)
    best = np.full((height, width), -np.inf, np.float32)
    labels = np.zeros((height, width), np.uint8)
    for number in range(logits.shape[-1]):  # one class at a time, for the sake of memory
        scores = Image.fromarray(np.ascontiguousarray(logits[..., number], np.float32))
        scores = np.asarray(scores.resize((width, height), Image.Resampling.BILINEAR))
        labels[scores > best] = number
        np.maximum(best, scores, out=best)
    return labels


@dataclass(frozen=True)
class _Tile:
    """One tile along one axis.

    Attributes:
        positions: int (length,), the picture's rows or columns that the net reads.
        used: The part of its output that counts.
        target: Where in the picture that part belongs.
    """

    positions: np.ndarray
    used: slice
    target: slice


def _tiles(size: int, multiple: int, tile: int, margin: int) -> Iterator[_Tile]:
    """Cut an axis of `size` pixels, padded as `predict_any_size` pads it, into tiles.

    A margin ends where the padded picture ends: there the net must see the same rim as it would
    in the whole picture.
    """
    before, padded = _extent(size, multiple)
    for start in range(0, padded, tile):
        left, right = max(start - margin, 0), min(start + tile + margin, padded)
        first, last = max(start - before, 0), min(start - before + tile, size)
        if first < last:
            offset = first + before - left
            yield _Tile(
                _positions(left - before, right - left, size),
                slice(offset, offset + last - first),
                slice(first, last),
            )


def _extent(size: int, multiple: int) -> tuple[int, int]:
    """Return how many pixels come before an axis, and its length, when padded to a multiple."""
    spare = -size % multiple
    return spare // 2, size + spare


def _positions(start: int, length: int, size: int) -> np.ndarray:
    """Return `length` positions from `start` on; those outside become the nearest inside."""
    return np.clip(np.arange(start, start + length), 0, size - 1)
