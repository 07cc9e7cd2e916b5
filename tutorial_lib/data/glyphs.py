"""Outlines of the pictograms: icon-font glyphs as polygons.

The font is Material Design Icons as the package qtawesome ships it. Its files are read where
they lie; qtawesome itself, which wants a Qt window, is never imported.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

FONT = "fonts/materialdesignicons6-webfont-6.9.96.ttf"
NAMES = "fonts/materialdesignicons6-webfont-charmap-6.9.96.json"
STEPS = 6  # straight pieces in place of one Bézier curve

# The twenty classes of PASCAL VOC in their order, each with the glyphs that may stand for it.
CLASSES = {
    "aeroplane": ("airplane",),
    "bicycle": ("bicycle", "bicycle-basket"),
    "bird": ("bird", "duck"),
    "boat": ("sail-boat", "ferry"),
    "bottle": ("bottle-wine", "bottle-soda-classic", "bottle-tonic"),
    "bus": ("bus-side", "bus-double-decker", "bus"),
    "car": ("car-side", "car-hatchback", "car", "car-estate"),
    "cat": ("cat",),
    "chair": ("chair-rolling", "seat"),
    "cow": ("cow",),
    "diningtable": ("table-furniture",),
    "dog": ("dog", "dog-side"),
    "horse": ("horse-variant", "horse"),
    "motorbike": ("motorbike", "moped"),
    "person": ("human", "human-male", "human-female", "human-greeting", "walk"),
    "pottedplant": ("flower-tulip", "sprout"),
    "sheep": ("sheep",),
    "sofa": ("sofa", "sofa-single"),
    "train": ("train", "tram"),
    "tvmonitor": ("television", "monitor", "television-classic"),
}

# Things without a class. Some have the ears of a cat, so that ears alone prove nothing.
DISTRACTORS = (
    "rabbit-variant", "panda", "owl", "turtle", "fish", "leaf", "umbrella", "cloud", "star",
    "balloon", "guitar-acoustic", "shield", "food-apple", "hat-fedora", "puzzle", "snail",
)  # fmt: skip


@dataclass(frozen=True)
class Outline:
    """The contours of a glyph, scaled so that its longer side is 1 and centered on the origin.

    Attributes:
        outer: Closed polygons, float64 (points, 2) as (x, y), y pointing down.
        inner: The polygons inside them: eyes, windows, wheels.
    """

    outer: tuple[np.ndarray, ...]
    inner: tuple[np.ndarray, ...]


@functools.cache
def outline(name: str) -> Outline:
    """Return the outline of the glyph called `name` in Material Design Icons.

    Raises:
        KeyError: if the font has no such glyph.
    """
    points = [np.array(contour, float) for contour in _contours(name) if len(contour) > 2]
    everything = np.concatenate(points)
    low, high = everything.min(axis=0), everything.max(axis=0)
    scale = (high - low).max()
    points = [(contour - (low + high) / 2) / scale * [1, -1] for contour in points]
    inside = [any(_holds(other, contour) for other in points) for contour in points]
    return Outline(
        outer=tuple(c for c, within in zip(points, inside, strict=True) if not within),
        inner=tuple(c for c, within in zip(points, inside, strict=True) if within),
    )


def load_all() -> None:
    """Read all outlines that scenes may need from the font, which is no matter for threads."""
    for names in (*CLASSES.values(), DISTRACTORS):
        for name in names:
            outline(name)


def package_folder(package: str) -> Path:
    """Return the folder that a package is installed in, without importing it."""
    spec = importlib.util.find_spec(package)
    return Path(next(iter(spec.submodule_search_locations)))


@functools.cache
def _font():
    from fontTools.ttLib import TTFont

    # The font's dates and name table are a little off, which does not touch its outlines.
    logging.getLogger("fontTools").setLevel(logging.ERROR)
    folder = package_folder("qtawesome")
    codes = json.loads((folder / NAMES).read_text(encoding="utf-8"))
    font = TTFont(folder / FONT, lazy=True)
    return font.getGlyphSet(), font.getBestCmap(), codes


def _contours(name: str) -> list[list[tuple[float, float]]]:
    """Return a glyph's contours with their curves cut into straight pieces."""
    from fontTools.pens.recordingPen import DecomposingRecordingPen

    glyphs, characters, codes = _font()
    pen = DecomposingRecordingPen(glyphs)
    glyphs[characters[int(codes[name], 16)]].draw(pen)
    contours, current = [], []
    for operation, points in pen.value:
        if operation == "moveTo":
            current = [points[0]]
        elif operation == "lineTo":
            current.append(points[0])
        elif operation == "qCurveTo":
            current += _quadratic(current[-1], points)
        elif operation == "closePath":
            contours.append(current)
    return contours


def _quadratic(start, points) -> list[tuple[float, float]]:
    """Cut a TrueType curve into straight pieces.

    Between two control points in a row lies an implied point on the curve, in their middle.
    """
    controls, end = list(points[:-1]), points[-1]
    pieces = []
    for number, control in enumerate(controls):
        last = number == len(controls) - 1
        following = end if last else _middle(control, controls[number + 1])
        knots = np.array([start, control, following], float)
        for t in np.arange(1, STEPS + 1) / STEPS:
            pieces.append(tuple(np.array([(1 - t) ** 2, 2 * t * (1 - t), t**2]) @ knots))
        start = following
    return pieces


def _middle(a, b) -> tuple[float, float]:
    return (a[0] + b[0]) / 2, (a[1] + b[1]) / 2


def _holds(polygon: np.ndarray, other: np.ndarray) -> bool:
    """Say whether `other` lies inside `polygon`, by the even-odd rule on its first point."""
    if polygon is other:
        return False
    x, y = other[0]
    x0, y0 = polygon.T
    x1, y1 = np.roll(polygon, -1, axis=0).T
    crosses = (y0 > y) != (y1 > y)
    slope = np.divide(x1 - x0, y1 - y0, where=crosses, out=np.zeros(len(polygon)))
    return bool(np.sum(crosses & (x < x0 + slope * (y - y0))) % 2)
