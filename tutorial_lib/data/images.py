"""Reading pictures and masks from disk, with errors that name the file."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from tutorial_lib.errors import InputError

VOID = 255  # the label of pixels that count nowhere


@dataclass(frozen=True)
class Sample:
    """One photograph with its labels.

    Attributes:
        id: Name without suffix.
        image: uint8 (height, width, 3), RGB.
        labels: uint8 (height, width), class numbers, 255 void.
        path: The photograph's file, if there is one.
    """

    id: str
    image: np.ndarray
    labels: np.ndarray
    path: Path | None = None


def read_image(path: Path) -> np.ndarray:
    """Read a photograph as uint8 (height, width, 3), RGB; gray and CMYK ones are converted.

    Raises:
        InputError: if the file is missing or cannot be decoded to its end.
    """
    with _opened(path) as picture:
        return np.asarray(picture.convert("RGB"))


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[Image.Image]:
    """Open a picture; whatever goes wrong with it is an InputError that names the file."""
    try:
        with Image.open(path) as picture:
            yield picture
    except InputError:
        raise
    except FileNotFoundError:
        raise InputError(f"{path} is missing; see data/README.md for the layout") from None
    except Exception as error:  # damaged bytes make Pillow raise whatever they run into
        raise InputError(f"{path} cannot be decoded ({error}); replace the file") from None


def check_picture(path: Path, size: tuple[int, int] | None = None) -> None:
    """Decode a picture to its end, and compare its size.

    Args:
        path: The file.
        size: (width, height) that it should have, if that is known.

    Raises:
        InputError: if it is missing, cannot be decoded, or is of another size.
    """
    height, width = read_image(path).shape[:2]
    if size is not None and (width, height) != tuple(size):
        raise InputError(f"{path} is {width}×{height} pixels, expected {size[0]}×{size[1]}")


def read_labels(path: Path) -> np.ndarray:
    """Read a label PNG, palette or gray, as uint8 (height, width) of class numbers.

    Raises:
        InputError: if the file is missing, damaged, or holds colors instead of class numbers.
    """
    with _opened(path) as picture:
        if picture.mode not in ("P", "L"):
            raise InputError(
                f"{path} holds {picture.mode} colors; expected class numbers (palette or gray)"
            )
        return np.array(picture)


def check_same_size(image_path: Path, image: np.ndarray, labels: np.ndarray) -> None:
    """Raise InputError if a label map does not fit its picture."""
    if image.shape[:2] != labels.shape:
        raise InputError(
            f"{image_path} is {image.shape[1]}×{image.shape[0]} pixels, its mask "
            f"{labels.shape[1]}×{labels.shape[0]}; replace one of the two"
        )


def showcase(samples: Iterable[Sample], label: int, size: int) -> Sample:
    """Choose the sample that shows a class best, and cut a square around it.

    That is the one with most pixels of the class, among those where the picture's rim does not
    cut it off, if there are any.

    Args:
        samples: At least one.
        label: The class.
        size: Side of the square in pixels.
    """

    def view(sample: Sample) -> tuple[bool, int]:
        mask = sample.labels == label
        cut_off = any(side.any() for side in (mask[0], mask[-1], mask[:, 0], mask[:, -1]))
        return not cut_off and mask.any(), mask.sum()

    best = max(samples, key=view)
    return square_around(best, best.labels == label, size)


def square_around(sample: Sample, mask: np.ndarray, size: int) -> Sample:
    """Cut out a square with the mask in its middle, or as near to it as the picture allows.

    Args:
        sample: Where the picture is smaller than the square, all of it stays.
        mask: bool (height, width); if it is empty, the middle of the picture counts.
        size: Side of the square in pixels.
    """
    window = []
    for axis, side in enumerate(mask.shape):
        found = np.flatnonzero(mask.any(axis=1 - axis))
        first, last = (found[0], found[-1]) if found.size else (0, side - 1)
        start = np.clip((first + last + 1 - size) // 2, 0, max(side - size, 0))
        window.append(slice(start, start + size))
    return Sample(sample.id, sample.image[tuple(window)], sample.labels[tuple(window)])


def normalize(image: np.ndarray) -> np.ndarray:
    """Map uint8 colors to float32 from -1 (black) to 1 (white), as all our nets want them."""
    return image.astype(np.float32) / 127.5 - 1


def picture(image: np.ndarray) -> np.ndarray:
    """Map float32 from -1 to 1 back to uint8 colors, to be looked at: `normalize` reversed."""
    return np.uint8(np.rint((np.asarray(image) + 1) * 127.5))


def middle(images: np.ndarray, size: int | tuple[int, int]) -> np.ndarray:
    """Cut out the middle of pictures, e.g. the part of a net's input that its output covers.

    Args:
        images: (batch, height, width, channels).
        size: Side of the square, or (height, width).
    """
    height, width = (size, size) if isinstance(size, int) else size
    top, left = (images.shape[1] - height) // 2, (images.shape[2] - width) // 2
    return images[:, top : top + height, left : left + width]


def mosaic(samples: Sequence[Sample]) -> Sample:
    """Lay four samples out as one picture, two by two, each cut to the smallest side of all.

    Raises:
        InputError: if there are not four.
    """
    if len(samples) != 4:
        raise InputError(f"a mosaic is made of four samples, not of {len(samples)}")
    side = min(min(sample.labels.shape) for sample in samples)

    def joined(maps: Sequence[np.ndarray]) -> np.ndarray:
        a, b, c, d = (array[:side, :side] for array in maps)
        return np.concatenate([np.concatenate([a, b], axis=1), np.concatenate([c, d], axis=1)])

    image, labels = joined([s.image for s in samples]), joined([s.labels for s in samples])
    return Sample("mosaic", image, labels)


def shrink(sample: Sample, short_side: int) -> Sample:
    """Scale a sample down so that its shorter side is `short_side` pixels; never up.

    The picture is averaged; labels take the nearest one, since a mean of class numbers means
    nothing.
    """
    height, width = sample.labels.shape
    if min(height, width) <= short_side:
        return sample
    scale = short_side / min(height, width)
    size = round(width * scale), round(height * scale)
    image = Image.fromarray(sample.image).resize(size, Image.Resampling.BOX)
    labels = Image.fromarray(sample.labels).resize(size, Image.Resampling.NEAREST)
    return Sample(sample.id, np.asarray(image), np.asarray(labels))
