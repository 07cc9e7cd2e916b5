"""Stickers: an object cut out of a photograph, with a white contour, the rest transparent."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

from tutorial_lib.data.cache import cannot_write
from tutorial_lib.data.images import as_rgb
from tutorial_lib.errors import InputError, check_choice, check_whole_number, write_atomically

SIDE = 512  # pixels: messengers require one side to be exactly this
LIMIT = 512_000  # bytes, likewise
SHADOW = 10  # pixels that a shadow extends beyond the contour
LEAST_SHARE = 0.002  # of the pixels of an image; fewer are no object but false positives


def make_sticker(
    image: np.ndarray, mask: np.ndarray, contour: int = 12, side: int = SIDE, shadow: bool = False
) -> np.ndarray:
    """Cut the masked object out of an image.

    Args:
        image: uint8 (height, width, 3), RGB, or what `as_rgb` reads.
        mask: (height, width); nonzero where the object is.
        contour: Width of the white contour in pixels of the sticker.
        side: Length of the sticker's longer side in pixels.
        shadow: Whether there is a soft shadow below and to the right.

    Returns:
        uint8 (height, width, 4), RGBA, the longer side exactly `side`; transparent outside the
        contour, with soft edges.

    Raises:
        InputError: if the mask is empty, too thin or of another size than the image, or the
            contour and the shadow leave no room.
    """
    image, mask = as_rgb(image), np.asarray(mask)
    if mask.shape != image.shape[:2]:
        raise InputError(f"the mask {mask.shape} must have the image's size {image.shape[:2]}")
    check_whole_number("side", side, 4, 8192)
    check_whole_number("contour", contour, 0, side // 4 - 1)
    mask = clean_mask(mask)
    if not mask.any():
        raise InputError("the mask is empty; there is nothing to cut out")
    border = contour + 2 + (2 * SHADOW if shadow else 0)  # two pixels for the soft edge
    if side <= 2 * border:
        raise InputError(f"side={side} must be more than {2 * border} pixels for such a contour")
    colors, opacity = _scaled(image, mask, side - 2 * border)
    colors = np.pad(colors, ((border, border), (border, border), (0, 0)), mode="edge")
    opacity = np.pad(opacity, border)
    if opacity.max() < 0.5:
        raise InputError("the object is too thin; nothing of it is left in a sticker of this size")
    distance = ndimage.distance_transform_edt(opacity < 0.5)
    alpha = np.clip(contour + 1.5 - distance, 0, 1)
    # The soft edge of the object blends into the white contour.
    mixed = colors * opacity[..., None] + 255 * (1 - opacity[..., None])
    if shadow:
        moved = np.pad(alpha, ((SHADOW // 2, 0), (SHADOW // 2, 0)))[: len(alpha), : alpha.shape[1]]
        below = 0.45 * ndimage.gaussian_filter(moved, SHADOW / 2) * (1 - alpha)
        mixed = mixed * (alpha / np.maximum(alpha + below, 1e-6))[..., None]  # the shadow is black
        alpha = alpha + below
    mixed = np.where(alpha[..., None] > 0, mixed, 0)  # invisible colors would take up bytes
    return np.dstack([np.rint(mixed), np.rint(alpha * 255)]).astype(np.uint8)


def _scaled(image: np.ndarray, mask: np.ndarray, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Crop image and mask to the mask's box, and scale its longer side to `side` pixels.

    The results are colors, uint8 (height, width, 3), and opacity from 0 to 1, (height, width).
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    image, mask = image[box], mask[box]  # Pillow's crop would warn of large images
    height, width = mask.shape
    zoom = side / max(width, height)
    size = max(1, round(width * zoom)), max(1, round(height * zoom))
    colors = Image.fromarray(image).resize(size, Image.Resampling.LANCZOS)
    opacity = Image.fromarray(mask.astype(np.uint8) * 255)
    opacity = np.asarray(opacity.resize(size, Image.Resampling.BICUBIC)) / 255
    if zoom > 1:
        # Upsampled pixels of the mask look like stairs. A blur about as wide as one of them rounds
        # them off, and a steeper edge undoes the blur; a wider blur would erase thin lines.
        blurred = ndimage.gaussian_filter(opacity, 0.5 * zoom, mode="nearest")
        opacity = np.clip(0.5 + 1.1 * zoom * (blurred - 0.5), 0, 1)
    return np.asarray(colors), opacity


def clean_mask(mask: np.ndarray) -> np.ndarray:
    """Fill the holes of a mask, and remove parts below a tenth of the largest: bool, same shape."""
    filled = ndimage.binary_fill_holes(mask != 0)
    parts, count = ndimage.label(filled)
    if not count:
        return filled
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    return np.isin(parts, np.flatnonzero(sizes >= 0.1 * sizes.max())) & filled


def on_checkerboard(sticker: np.ndarray, dark: bool = False) -> np.ndarray:
    """Show a sticker, uint8 (height, width, 4), in the middle of a square checkerboard.

    That is the usual sign of transparency. On a dark one, a missing contour would be visible. The
    result is uint8 (side, side, 3), RGB.
    """
    side = max(sticker.shape[:2])
    spare = [side - length for length in sticker.shape[:2]]
    sticker = np.pad(sticker, (*[(room // 2, room - room // 2) for room in spare], (0, 0)))
    y, x = np.mgrid[:side, :side] // 16
    board = np.where((x + y) % 2, *((45, 65) if dark else (205, 235)))[..., None]
    alpha = sticker[..., 3:] / 255
    return np.rint(sticker[..., :3] * alpha + board * (1 - alpha)).astype(np.uint8)


def preview(sticker: np.ndarray) -> np.ndarray:
    """Show a sticker on a light and on a dark checkerboard, side by side: uint8 RGB."""
    return np.hstack([on_checkerboard(sticker), on_checkerboard(sticker, dark=True)])


def png_within(image: np.ndarray, limit: float = LIMIT) -> bytes:
    """Encode an image as PNG in fewer than `limit` bytes.

    If it is too large, the colors get coarser, bit by bit; size and transparency stay. Raises
    InputError if even one bit per color is too much.
    """
    for bits in range(8, 0, -1):
        coarse = image.copy()
        # The steps span 0 to 255, so that the contour stays white.
        levels = (image[..., :3] // 2 ** (8 - bits)).astype(np.uint16)
        coarse[..., :3] = levels * 255 // (2**bits - 1)
        buffer = io.BytesIO()
        Image.fromarray(coarse).save(buffer, "PNG", optimize=True)
        if buffer.tell() < limit:
            return buffer.getvalue()
    raise InputError(f"the sticker does not fit into {limit} bytes; make it smaller")


def save_png(image: np.ndarray, path: Path, limit: float = LIMIT) -> None:
    """Save an image as PNG of fewer than `limit` bytes, see `png_within`.

    Raises InputError if the file cannot be written.
    """
    try:
        write_atomically(path, png_within(image, limit))
    except OSError as error:
        raise cannot_write(path, error, "choose another folder") from None


def largest_class(labels: np.ndarray, classes: Sequence[str]) -> str:
    """Return the name of the class, other than background, with the most pixels in a label map.

    Raises InputError if no class has enough pixels to be an object.
    """
    counts = np.bincount(labels.ravel(), minlength=len(classes))[1 : len(classes)]
    if counts.max() < LEAST_SHARE * labels.size:
        raise InputError(
            "the network finds no object in this photograph; choose one that shows "
            "one of the twenty classes of PASCAL VOC"
        )
    return classes[1 + int(counts.argmax())]


def find_object(labels: np.ndarray, label: str, classes: Sequence[str]) -> np.ndarray:
    """Return the mask of one class in a label map, if it has enough pixels.

    Args:
        labels: Classes (height, width).
        classes: All names, in the order of their numbers.

    Raises:
        InputError: if there is no such class, or too few of its pixels; the message names the
            classes that were predicted.
    """
    check_choice("label", label, classes[1:])
    mask = labels == list(classes).index(label)
    if mask.mean() >= LEAST_SHARE:
        return mask
    shares = np.bincount(labels.ravel(), minlength=len(classes))[1 : len(classes)] / labels.size
    others = [classes[i + 1] for i in np.argsort(-shares) if shares[i] >= LEAST_SHARE]
    found = ", ".join(others) or "background only"
    raise InputError(f"the network finds no {label} in this photograph; it finds {found}")
