"""How much two images differ, and the evidence to leave behind when they differ too much."""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

IMAGE_TYPES = ("image/png", "image/jpeg")
EMBEDDED = re.compile(r"data:image/\w+;base64,([A-Za-z0-9+/=]+)")
BLOCK = 12  # pixels; about the size of a letter
TOLERANCE = 2.0  # root mean square over all pixels and channels, in gray levels of 0 to 255
LOCAL_TOLERANCE = 20.0  # the same in the worst block; another letter in its place gives 50
# A color is present if this share of the pixels has a hue within 15 degrees of it and is not
# nearly gray; it has disappeared if less than a tenth of them are left.
HUES, CHROMA, PRESENT, LEFT = 36, 40, 0.01, 0.1


@dataclass(frozen=True)
class OutputImage:
    """An image among the outputs of a cell.

    Attributes:
        pixels: uint8 (height, width, 3).
        alt: Its text alternative; empty inside HTML, where it is compared with the HTML.
        width: In CSS pixels, or 0 if none is stored.
        drawn: The figure's elements in words (`figures.fingerprint`); None if none are stored.
    """

    pixels: np.ndarray
    alt: str = ""
    width: int = 0
    drawn: tuple[str, ...] | None = None


def output_images(outputs: list) -> list[OutputImage]:
    """Return the images among a cell's outputs, including those inside HTML."""
    found = []
    for output in outputs:
        data = output.get("data", {})
        for kind in IMAGE_TYPES:
            if kind in data:
                known = output.get("metadata", {}).get(kind, {})
                drawn = tuple(known["drawn"]) if "drawn" in known else None
                pixels = _pixels("".join(data[kind]))
                alt, width = known.get("alt", ""), known.get("width", 0)
                found.append(OutputImage(pixels, alt, width, drawn))
        html = "".join(data.get("text/html", ""))
        found += [OutputImage(_pixels(encoded)) for encoded in EMBEDDED.findall(html)]
    return found


def _pixels(encoded: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGB"))


def compare_images(
    expected: list[OutputImage],
    actual: list[OutputImage],
    share: float | None,
    evidence_path: Callable[[int], Path],
    colors_vary: bool = False,
) -> list[str]:
    """Compare the images of one cell.

    Args:
        expected, actual: As `output_images` returns them.
        share: None compares drawings; a number compares figures of trained networks, which may
            differ by this share of the expected image's contrast.
        evidence_path: Called with the number of a failing image; returns where its evidence goes.
        colors_vary: In figures of trained networks, colors may appear and disappear.

    Returns:
        One line per problem; empty if all agree.
    """
    if len(expected) != len(actual):
        return [f"expected {len(expected)} images, got {len(actual)}"]
    problems = []
    for number, (old, new) in enumerate(zip(expected, actual, strict=True)):
        found = _described(old, new) + _drawn(old.pixels, new.pixels, share, colors_vary)
        if found:
            path = evidence_path(number)
            _save_evidence(old.pixels, new.pixels, path)
            found[-1] += f": see {path}"
            problems += [f"image {number}: {text}" for text in found]
    return problems


def _described(old: OutputImage, new: OutputImage) -> list[str]:
    """Return one line per difference in the texts that belong to an image."""
    found = []
    if old.alt != new.alt:
        found.append(f"alt text was {old.alt!r}, now {new.alt!r}")
    if old.width != new.width:
        found.append(f"shown {old.width} wide before, now {new.width}")
    if old.drawn is not None and old.drawn != new.drawn:
        lines = new.drawn or ()
        lost = "; ".join(line for line in old.drawn if line not in lines)
        added = "; ".join(line for line in lines if line not in old.drawn)
        change = f"was {lost or 'without'!r}, now {added or 'without'!r}"
        found.append(change if lost or added else "its texts are in another order")
    return found


def _drawn(old: np.ndarray, new: np.ndarray, share: float | None, colors_vary: bool) -> list[str]:
    """Return one line per difference in the pixels that exceeds its tolerance."""
    if old.shape != new.shape:
        before, after = (f"{image.shape[1]}×{image.shape[0]}" for image in (old, new))
        return [f"size was {before}, now {after}"]
    if np.array_equal(old, new):
        return []
    if share is not None:
        distance = blurred_distance(old, new)
        found = [f"differs by {distance:.2f}, allowed is {share:g}"] * (distance > share)
        return found if colors_vary else found + _changed_colors(old, new)
    if (distance := pixel_distance(old, new)) > TOLERANCE:
        return [f"differs by {distance:.2f}, allowed is {TOLERANCE:g}"]
    if (distance := local_distance(old, new)) > LOCAL_TOLERANCE:
        return [f"differs by {distance:.1f} in one place, allowed is {LOCAL_TOLERANCE:g}"]
    return []


def pixel_distance(old: np.ndarray, new: np.ndarray) -> float:
    """Return the root mean square difference of two images in gray levels."""
    return float(np.sqrt(np.mean((old.astype(float) - new) ** 2)))


def local_distance(old: np.ndarray, new: np.ndarray) -> float:
    """Return the root mean square difference of the block that differs most, in gray levels.

    Each block may first be moved by one pixel, because another processor may round the position
    of a line differently.
    """
    height, width = old.shape[:2]
    padded = np.pad(new.astype(np.float32), ((1, 1), (1, 1), (0, 0)), mode="edge")
    moved = (padded[y : y + height, x : x + width] for y in range(3) for x in range(3))
    means = [_block_means((old - image) ** 2).mean(axis=-1) for image in moved]
    return float(np.sqrt(np.min(means, axis=0).max(initial=0)))


def blurred_distance(old: np.ndarray, new: np.ndarray) -> float:
    """Return the difference of two blurred images as a share of the contrast of the first."""
    old, new = _block_means(old), _block_means(new)
    contrast = np.sqrt(np.mean((old - old.mean(axis=(0, 1))) ** 2))
    return float(np.sqrt(np.mean((old - new) ** 2)) / max(contrast, 1.0))


def _block_means(image: np.ndarray) -> np.ndarray:
    """Average an image over square blocks, after padding its edges to whole blocks."""
    bottom, right = (-side % BLOCK for side in image.shape[:2])
    padded = np.pad(image.astype(np.float32), ((0, bottom), (0, right), (0, 0)), mode="edge")
    rows, columns = padded.shape[0] // BLOCK, padded.shape[1] // BLOCK
    return padded.reshape(rows, BLOCK, columns, BLOCK, -1).mean(axis=(1, 3))


def _changed_colors(old: np.ndarray, new: np.ndarray) -> list[str]:
    """Return one line per color that has disappeared or appeared, wherever it is in the image."""
    before, after = _hue_shares(old), _hue_shares(new)
    found = []
    for verb, image, here, there in (
        ("disappeared", old, before, after),
        ("appeared", new, after, before),
    ):
        changed = (here > PRESENT) & (there < LEFT * here)
        if changed.any():
            hue = int(np.argmax(here * changed))
            pixels = image[np.isin(_hues(image), [(hue + step) % HUES for step in (-1, 0, 1)])]
            color = "".join(f"{value:02x}" for value in np.rint(pixels.mean(axis=0)).astype(int))
            found.append(f"the color #{color} has {verb}")
    return found


def _hue_shares(image: np.ndarray) -> np.ndarray:
    """Return for each of 36 hues the share of the pixels that have it or a neighboring one."""
    hues = _hues(image)
    counts = np.bincount(hues[hues >= 0], minlength=HUES)
    return (counts + np.roll(counts, 1) + np.roll(counts, -1)) / max(hues.size, 1)


def _hues(image: np.ndarray) -> np.ndarray:
    """Return the number of each pixel's hue, -1 where it is nearly gray."""
    hues = np.asarray(Image.fromarray(image).convert("HSV"))[..., 0].astype(int) * HUES // 256
    return np.where(np.ptp(image.astype(int), axis=-1) < CHROMA, -1, hues)


def _save_evidence(old: np.ndarray, new: np.ndarray, path: Path) -> None:
    """Save expected, actual and difference side by side as one PNG.

    If the sizes differ, the smaller image is filled up with white.
    """
    height, width = np.maximum(old.shape[:2], new.shape[:2])
    filled = [np.full((height, width, 3), 255, np.uint8) for _ in range(2)]
    for canvas, image in zip(filled, (old, new), strict=True):
        canvas[: image.shape[0], : image.shape[1]] = image
    difference = 255 - np.abs(np.subtract(*filled, dtype=int)).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.hstack([*filled, difference])).save(path)
