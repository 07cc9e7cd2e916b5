"""How alike two pictures are, and what to leave behind when they are not alike enough."""

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
LOCAL_TOLERANCE = 20.0  # the same in the worst block; a letter that is another one has 50
# A color is there if so many of the pixels have a hue within 15 degrees of it and are not nearly
# gray; it has gone if a tenth of them are left.
HUES, CHROMA, PRESENT, LEFT = 36, 40, 0.01, 0.1


@dataclass(frozen=True)
class Picture:
    """A picture among the outputs of a cell.

    Attributes:
        pixels: uint8 (height, width, 3).
        alt: Its text alternative; empty inside HTML, where it is compared with the HTML.
        width: In CSS pixels, or 0 if none is stored.
        drawn: What `describing.describe` says of the figure; None if nothing is stored.
    """

    pixels: np.ndarray
    alt: str = ""
    width: int = 0
    drawn: tuple[str, ...] | None = None


def pictures(outputs: list) -> list[Picture]:
    """Return the pictures among a cell's outputs, those inside HTML too."""
    found = []
    for output in outputs:
        data = output.get("data", {})
        for kind in IMAGE_TYPES:
            if kind in data:
                known = output.get("metadata", {}).get(kind, {})
                drawn = tuple(known["drawn"]) if "drawn" in known else None
                pixels = decode("".join(data[kind]))
                found.append(Picture(pixels, known.get("alt", ""), known.get("width", 0), drawn))
        html = "".join(data.get("text/html", ""))
        found += [Picture(decode(encoded)) for encoded in EMBEDDED.findall(html)]
    return found


def decode(encoded: str) -> np.ndarray:
    """Return a base64 picture as RGB pixels."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGB"))


def compare_pictures(
    expected: list[Picture],
    actual: list[Picture],
    share: float | None,
    evidence_path: Callable[[int], Path],
    measured: dict[str, float] | None = None,
    colors_vary: bool = False,
) -> list[str]:
    """Compare the pictures of one cell.

    Args:
        expected, actual: As `pictures` returns them.
        share: None compares drawings; a number compares pictures of trained nets, which may differ
            by this share of the expected one's contrast.
        evidence_path: Called with the number of a failing picture, says where its evidence goes.
        measured: Gets the distance of each pair: "picture 0" → distance.
        colors_vary: In pictures of trained nets, colors may come and go.

    Returns:
        One line a problem; empty if all agree.
    """
    if len(expected) != len(actual):
        return [f"expected {len(expected)} pictures, got {len(actual)}"]
    problems = []
    for number, (old, new) in enumerate(zip(expected, actual, strict=True)):
        found = [f"picture {number}: {text}" for text in _described(old, new)]
        if old.pixels.shape != new.pixels.shape:
            sizes = (f"{p.pixels.shape[1]}×{p.pixels.shape[0]}" for p in (old, new))
            found.append("picture {}: size was {}, now {}".format(number, *sizes))
        else:
            text, distance = _distance(old.pixels, new.pixels, share)
            if measured is not None:
                measured[f"picture {number}"] = distance
            found += [f"picture {number} {text}"] * bool(text)
            if share is not None and not colors_vary:
                changed = changed_colors(old.pixels, new.pixels)
                found += [f"picture {number}: {text}" for text in changed]
        if found:
            path = evidence_path(number)
            save_evidence(old.pixels, new.pixels, path)
            problems += [*found[:-1], f"{found[-1]}: see {path}"]
    return problems


def _described(old: Picture, new: Picture) -> list[str]:
    """Say what differs in the texts that belong to a picture."""
    found = []
    if old.alt != new.alt:
        found.append(f"alt text was {old.alt!r}, now {new.alt!r}")
    if old.width != new.width:
        found.append(f"shown {old.width} wide before, now {new.width}")
    if old.drawn is not None and old.drawn != new.drawn:
        lines = new.drawn or ()
        gone = [line for line in old.drawn if line not in lines]
        come = [line for line in lines if line not in old.drawn]
        change = f"was {'; '.join(gone) or 'without'!r}, now {'; '.join(come) or 'without'!r}"
        found.append(change if gone or come else "its texts are in another order")
    return found


def _distance(old: np.ndarray, new: np.ndarray, share: float | None) -> tuple[str, float]:
    """Return what is wrong, or an empty text, and the distance that is to be kept small."""
    if np.array_equal(old, new):
        return "", 0.0
    if share is not None:
        distance = blurred_distance(old, new)
        text = f"differs by {distance:.2f}, allowed is {share:g}"
        return text if distance > share else "", distance
    distance, local = pixel_distance(old, new), local_distance(old, new)
    if distance > TOLERANCE:
        return f"differs by {distance:.2f}, allowed is {TOLERANCE:g}", distance
    if local > LOCAL_TOLERANCE:
        return f"differs by {local:.1f} in one place, allowed is {LOCAL_TOLERANCE:g}", distance
    return "", distance


def pixel_distance(old: np.ndarray, new: np.ndarray) -> float:
    """Return the root mean square difference of two pictures in gray levels."""
    return float(np.sqrt(np.mean((old.astype(float) - new) ** 2)))


def local_distance(old: np.ndarray, new: np.ndarray) -> float:
    """Return the root mean square difference of the block that differs most, in gray levels.

    Each block may first be moved by one pixel: another processor may round the place of a line.
    """
    old = old.astype(np.float32)
    padded = np.pad(new.astype(np.float32), ((1, 1), (1, 1), (0, 0)), mode="edge")
    height, width = old.shape[:2]
    best = None
    for y in range(3):
        for x in range(3):
            squares = (old - padded[y : y + height, x : x + width]) ** 2
            means = block_means(squares).mean(axis=-1)
            best = means if best is None else np.minimum(best, means)
    return float(np.sqrt(best.max(initial=0)))


def blurred_distance(old: np.ndarray, new: np.ndarray) -> float:
    """Return the difference of two blurred pictures as a share of the contrast of the first."""
    old, new = block_means(old), block_means(new)
    contrast = np.sqrt(np.mean((old - old.mean(axis=(0, 1))) ** 2))
    return float(np.sqrt(np.mean((old - new) ** 2)) / max(contrast, 1.0))


def changed_colors(old: np.ndarray, new: np.ndarray) -> list[str]:
    """Say which colors have gone, and which have come, wherever they are in the picture."""
    before, after = hue_shares(old), hue_shares(new)
    found = []
    for verb, pixels, here, there in (("gone", old, before, after), ("come", new, after, before)):
        changed = (here > PRESENT) & (there < LEFT * here)
        if changed.any():
            hue = int(np.argmax(here * changed))
            found.append(f"the color #{_color_of(pixels, hue)} has {verb}")
    return found


def hue_shares(image: np.ndarray) -> np.ndarray:
    """Return for each of 36 hues the share of the pixels that have it or one next to it."""
    hues = _hues(image)
    counts = np.bincount(hues[hues >= 0], minlength=HUES)
    return (counts + np.roll(counts, 1) + np.roll(counts, -1)) / max(hues.size, 1)


def _hues(image: np.ndarray) -> np.ndarray:
    """Return the number of each pixel's hue, -1 where it is nearly gray."""
    hues = np.asarray(Image.fromarray(image).convert("HSV"))[..., 0].astype(int) * HUES // 256
    return np.where(np.ptp(image.astype(int), axis=-1) < CHROMA, -1, hues)


def _color_of(image: np.ndarray, hue: int) -> str:
    """Return the mean of the pixels that have a hue or one next to it, as hexadecimal digits."""
    there = np.isin(_hues(image), [(hue + step) % HUES for step in (-1, 0, 1)])
    return "".join(f"{value:02x}" for value in np.rint(image[there].mean(axis=0)).astype(int))


def block_means(image: np.ndarray, block: int = BLOCK) -> np.ndarray:
    """Average an image over square blocks; those at the right and lower edge may be smaller."""
    rows, columns = (np.arange(0, side, block) for side in image.shape[:2])
    sums = np.add.reduceat(np.add.reduceat(image, rows, axis=0, dtype=float), columns, axis=1)
    heights, widths = (
        np.diff(np.append(starts, side))
        for starts, side in zip((rows, columns), image.shape[:2], strict=True)
    )
    return sums / (heights[:, None, None] * widths[None, :, None])


def save_evidence(old: np.ndarray, new: np.ndarray, path: Path) -> None:
    """Save expected, actual and difference side by side as one PNG.

    If the sizes differ, the smaller picture is filled up with white.
    """
    size = np.maximum(old.shape[:2], new.shape[:2])
    old, new = (_filled(image, size) for image in (old, new))
    difference = 255 - np.abs(old.astype(int) - new).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.hstack([old, new, difference])).save(path)


def _filled(image: np.ndarray, size: np.ndarray) -> np.ndarray:
    lacking = size - image.shape[:2]
    return np.pad(image, ((0, lacking[0]), (0, lacking[1]), (0, 0)), constant_values=255)
