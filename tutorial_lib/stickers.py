"""Cutting an object out of a photograph: a sticker with a white contour, the rest transparent."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from tutorial_lib.errors import InputError

SIDE = 512  # pixels: messengers want one side to be exactly this


def make_sticker(
    image: np.ndarray, mask: np.ndarray, contour: int = 12, side: int = SIDE
) -> np.ndarray:
    """Cut the masked object out.

    Args:
        image: uint8 (height, width, 3), RGB.
        mask: (height, width); nonzero where the object is.
        contour: Width of the white contour in pixels of the sticker.
        side: Length of the sticker's longer side in pixels.

    Returns:
        uint8 (height, width, 4), RGBA, the longer side exactly `side`; transparent outside the
        contour, with soft edges.

    Raises:
        InputError: if the mask is empty or does not fit the image, or the contour leaves no room.
    """
    if mask.shape != image.shape[:2]:
        raise InputError(f"the mask {mask.shape} must have the image's size {image.shape[:2]}")
    if not 0 <= contour < side // 4:
        raise InputError(f"contour={contour} must lie between 0 and {side // 4 - 1} pixels")
    mask = clean_mask(mask)
    if not mask.any():
        raise InputError("the mask is empty; there is nothing to cut out")
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    margin = contour + 2  # the contour and its soft edge
    object_size = _fit((box[2] - box[0], box[3] - box[1]), side - 2 * margin)
    colors = Image.fromarray(image).crop(box).resize(object_size, Image.Resampling.LANCZOS)
    shape = Image.fromarray(mask.astype(np.uint8) * 255).crop(box)
    shape = np.asarray(shape.resize(object_size, Image.Resampling.BICUBIC)) / 255
    colors = np.pad(np.asarray(colors), ((margin, margin), (margin, margin), (0, 0)), mode="edge")
    shape = np.pad(shape, margin)

    distance = ndimage.distance_transform_edt(shape < 0.5)
    alpha = np.clip(contour + 1.5 - distance, 0, 1)
    # Over the object itself the photograph shows, with the mask's soft edge into the white.
    mixed = colors * shape[..., None] + 255 * (1 - shape[..., None])
    return np.dstack([np.rint(mixed), np.rint(alpha * 255)]).astype(np.uint8)


def clean_mask(mask: np.ndarray) -> np.ndarray:
    """Fill the holes of a mask and drop parts smaller than a tenth of the largest; bool."""
    filled = ndimage.binary_fill_holes(mask != 0)
    parts, count = ndimage.label(filled)
    if not count:
        return filled
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    return np.isin(parts, np.flatnonzero(sizes >= sizes.max() / 10)) & filled


def on_background(sticker: np.ndarray, square: int = 16) -> np.ndarray:
    """Show a sticker on the gray checkerboard that stands for transparency: uint8 RGB."""
    height, width = sticker.shape[:2]
    y, x = np.mgrid[:height, :width]
    board = np.where((x // square + y // square) % 2, 205, 235)[..., None]
    alpha = sticker[..., 3:] / 255
    return np.rint(sticker[..., :3] * alpha + board * (1 - alpha)).astype(np.uint8)


def save_sticker(sticker: np.ndarray, path: Path) -> None:
    """Save a sticker as PNG: the whole file, or none of it.

    Raises:
        InputError: if the file cannot be written.
    """
    buffer = io.BytesIO()
    Image.fromarray(sticker).save(buffer, "PNG", optimize=True)
    partial = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.write_bytes(buffer.getvalue())
        partial.replace(path)
    except OSError as error:
        raise InputError(f"cannot write {path} ({error.strerror}); choose another folder") from None


def _fit(size: tuple[int, int], side: int) -> tuple[int, int]:
    """Scale (width, height) so that the longer one is `side`."""
    scale = side / max(size)
    return tuple(side if s == max(size) else max(1, round(s * scale)) for s in size)
