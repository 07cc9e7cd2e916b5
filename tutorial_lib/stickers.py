"""Cutting an object out of a photograph: a sticker with a white contour, the rest transparent."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from tutorial_lib.errors import InputError, check_choice, write_atomically
from tutorial_lib.inference import as_rgb

SIDE = 512  # pixels: messengers want one side to be exactly this
LIMIT = 512_000  # bytes, likewise
SHADOW = 10  # pixels: reach of a sticker's shadow
LEAST_SHARE = 0.002  # of a picture's pixels: less is no object but a few stray pixels


def make_sticker(
    image: np.ndarray,
    mask: np.ndarray,
    contour: int = 12,
    side: int = SIDE,
    shadow: bool = False,
) -> np.ndarray:
    """Cut the masked object out.

    Args:
        image: uint8 (height, width, 3), RGB, or what `inference.as_rgb` makes one of.
        mask: (height, width); nonzero where the object is.
        contour: Width of the white contour in pixels of the sticker.
        side: Length of the sticker's longer side in pixels.
        shadow: Lay a soft shadow below and to the right of it.

    Returns:
        uint8 (height, width, 4), RGBA, the longer side exactly `side`; transparent outside the
        contour, with soft edges.

    Raises:
        InputError: if the mask is empty, too thin or does not fit the image, or the contour and
            the shadow leave no room.
    """
    image, mask = as_rgb(image), np.asarray(mask)
    if mask.shape != image.shape[:2]:
        raise InputError(f"the mask {mask.shape} must have the image's size {image.shape[:2]}")
    if not 0 <= contour < side // 4:
        raise InputError(f"contour={contour} must lie between 0 and {side // 4 - 1} pixels")
    mask = clean_mask(mask)
    if not mask.any():
        raise InputError("the mask is empty; there is nothing to cut out")
    margin = contour + 2 + (2 * SHADOW if shadow else 0)  # contour, its soft edge, shadow
    if side <= 2 * margin:
        raise InputError(f"side={side} must be more than {2 * margin} pixels for such a margin")
    colors, shape = _fitted(image, mask, side, margin)
    if shape.max() < 0.5:
        raise InputError("the object is too thin; nothing of it is left in a sticker of this size")
    distance = ndimage.distance_transform_edt(shape < 0.5)
    alpha = np.clip(contour + 1.5 - distance, 0, 1)
    # Over the object itself the photograph shows, with the mask's soft edge into the white.
    mixed = colors * shape[..., None] + 255 * (1 - shape[..., None])
    if shadow:
        moved = np.pad(alpha, ((SHADOW // 2, 0), (SHADOW // 2, 0)))[: len(alpha), : alpha.shape[1]]
        below = 0.45 * ndimage.gaussian_filter(moved, SHADOW / 2) * (1 - alpha)
        mixed = mixed * (alpha / np.maximum(alpha + below, 1e-6))[..., None]  # the shadow is black
        alpha = alpha + below
    mixed = np.where(alpha[..., None] > 0, mixed, 0)  # what nobody sees should not cost bytes
    return np.dstack([np.rint(mixed), np.rint(alpha * 255)]).astype(np.uint8)


def _fitted(image: np.ndarray, mask: np.ndarray, side: int, margin: int):
    """Cut image and mask to the mask's box, scale that into the sticker, and add the margin.

    Returns:
        colors uint8 (height, width, 3) and shape float from 0 to 1 (height, width).
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = (columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)
    size = _fit((box[2] - box[0], box[3] - box[1]), side - 2 * margin)
    colors = Image.fromarray(image).crop(box).resize(size, Image.Resampling.LANCZOS)
    shape = Image.fromarray(mask.astype(np.uint8) * 255).crop(box)
    shape = np.asarray(shape.resize(size, Image.Resampling.BICUBIC)) / 255
    zoom = max(size) / max(box[2] - box[0], box[3] - box[1])
    if zoom > 1:
        shape = _without_stairs(shape, zoom)
    sides = ((margin, margin), (margin, margin))
    return np.pad(np.asarray(colors), (*sides, (0, 0)), mode="edge"), np.pad(shape, sides)


def _without_stairs(shape: np.ndarray, zoom: float) -> np.ndarray:
    """Round off the stairs that a mask's pixels become when it is enlarged `zoom` times.

    A blur about as wide as one of its pixels, then an edge as sharp as before. (A wider one would
    make lines vanish that are one pixel thin.)
    """
    blurred = ndimage.gaussian_filter(shape, 0.5 * zoom, mode="nearest")
    return np.clip(0.5 + 1.1 * zoom * (blurred - 0.5), 0, 1)


def clean_mask(mask: np.ndarray, least: float = 0.1) -> np.ndarray:
    """Fill the holes of a mask and drop its small parts.

    Args:
        mask: (height, width); nonzero where the object is.
        least: A part stays if it has at least this share of the largest part's pixels; 1 keeps
            the largest alone.

    Returns:
        bool (height, width).
    """
    filled = ndimage.binary_fill_holes(mask != 0)
    parts, count = ndimage.label(filled)
    if not count:
        return filled
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    return np.isin(parts, np.flatnonzero(sizes >= least * sizes.max())) & filled


def on_background(sticker: np.ndarray, square: int = 16, dark: bool = False) -> np.ndarray:
    """Show a sticker on the checkerboard that stands for transparency: uint8 RGB.

    Args:
        sticker: uint8 (height, width, 4).
        square: Side of the board's squares in pixels.
        dark: As on a dark screen, where a missing contour would be seen.
    """
    height, width = sticker.shape[:2]
    y, x = np.mgrid[:height, :width]
    tones = (45, 65) if dark else (205, 235)
    board = np.where((x // square + y // square) % 2, *tones)[..., None]
    alpha = sticker[..., 3:] / 255
    return np.rint(sticker[..., :3] * alpha + board * (1 - alpha)).astype(np.uint8)


def on_board(sticker: np.ndarray, dark: bool = False) -> np.ndarray:
    """Show a sticker in the middle of a square checkerboard, as `on_background` does: uint8 RGB."""
    side = max(sticker.shape[:2])
    spare = [side - length for length in sticker.shape[:2]]
    middle = [(room // 2, room - room // 2) for room in spare]
    return on_background(np.pad(sticker, (*middle, (0, 0))), dark=dark)


def preview(sticker: np.ndarray) -> np.ndarray:
    """Show a sticker on light and on dark, side by side: uint8 RGB."""
    return np.hstack([on_background(sticker), on_background(sticker, dark=True)])


def png_within(sticker: np.ndarray, limit: int = LIMIT) -> bytes:
    """Encode a sticker as PNG in fewer than `limit` bytes.

    If it is too large, the colors get coarser, bit by bit; size, shape and transparency stay.

    Raises:
        InputError: if even one bit a color is too much.
    """
    for bits in range(8, 0, -1):
        step = 2 ** (8 - bits)
        coarse = sticker.copy()
        # The middle of each step would gray the white contour: spread the steps over 0 to 255.
        levels = (sticker[..., :3] // step).astype(np.uint16)
        coarse[..., :3] = levels * 255 // (2**bits - 1)
        buffer = io.BytesIO()
        Image.fromarray(coarse).save(buffer, "PNG", optimize=True)
        if buffer.tell() < limit:
            return buffer.getvalue()
    raise InputError(f"the sticker does not fit into {limit} bytes; make it smaller")


def save_sticker(sticker: np.ndarray, path: Path) -> None:
    """Save a sticker as PNG of less than 512 kB: the whole file, or none of it.

    Raises:
        InputError: if the file cannot be written.
    """
    _write(png_within(sticker), path)


def save_picture(picture: np.ndarray, path: Path) -> None:
    """Save uint8 RGB as PNG: the whole file, or none of it.

    Raises:
        InputError: if the file cannot be written.
    """
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    _write(buffer.getvalue(), path)


def _write(content: bytes, path: Path) -> None:
    try:
        write_atomically(path, content)
    except OSError as error:
        raise InputError(f"cannot write {path} ({error.strerror}); choose another folder") from None


def find_object(labels: np.ndarray, label: str, classes: Sequence[str]) -> np.ndarray:
    """Return the mask of one class in a label map, if enough of it is there.

    Args:
        labels: Class numbers (height, width).
        label: Name of the class.
        classes: All names, in the order of their numbers.

    Raises:
        InputError: if there is no such class, or the picture shows too little of it; the message
            names what it does show.
    """
    check_choice("label", label, classes[1:])
    mask = labels == list(classes).index(label)
    if mask.mean() >= LEAST_SHARE:
        return mask
    shares = np.bincount(labels.ravel(), minlength=len(classes))[1 : len(classes)] / labels.size
    others = [classes[i + 1] for i in np.argsort(-shares) if shares[i] >= LEAST_SHARE]
    found = f"it sees {', '.join(others)}" if others else "it sees background only"
    raise InputError(f"the net finds no {label} in this picture; {found}")


def _fit(size: tuple[int, int], side: int) -> tuple[int, int]:
    """Scale (width, height) so that the longer one is `side`."""
    scale = side / max(size)
    return tuple(side if s == max(size) else max(1, round(s * scale)) for s in size)
