"""Scenes of pictograms: a data set that is composed, not downloaded.

Photographs with masks cannot be shipped with the project, so notebooks 04 and 05 default to
scenes: glyphs of an icon font, bent, filled with fur, stripes or sheet metal, laid over each
other on crops of real photographs. So every object and its boundary are known exactly. The font
is Material Design Icons, as the package qtawesome ships it.

A scene depends on its specification, the seed and its index alone, and is the same on every
machine, bit for bit. Pixels are therefore computed in integers: the last bit of a floating-point
sine differs between processors, and a hash would notice.
"""

from __future__ import annotations

import functools
import importlib.util
import json
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from tutorial_lib.data.images import VOID
from tutorial_lib.data.voc import CLASSES

VERSION = 1  # raise it when the pixels change: caches and hashes depend on it
FINE = 4  # masks are drawn this much larger, then averaged down: soft edges
CURVE_STEPS = 6  # straight pieces that replace one Bézier curve of a glyph
FONT = "fonts/materialdesignicons6-webfont-6.9.96.ttf"
GLYPH_NAMES = "fonts/materialdesignicons6-webfont-charmap-6.9.96.json"

# Photographs that scikit-image and scikit-learn carry in their packages. None shows an object of
# the twenty classes, apart from a few far away; the boxes (left, top, right, bottom) see to that.
BACKGROUNDS = (
    ("skimage", "data/coffee.png", (0, 0, 600, 400)),
    ("skimage", "data/rocket.jpg", (0, 0, 640, 300)),
    ("skimage", "data/grass.png", None),
    ("skimage", "data/gravel.png", None),
    ("skimage", "data/brick.png", None),
    ("sklearn", "datasets/images/china.jpg", None),
    ("sklearn", "datasets/images/flower.jpg", None),
)

# Things without a class. Some have the ears of a cat, so that ears alone prove nothing.
DISTRACTORS = (
    "rabbit-variant", "panda", "owl", "turtle", "fish", "leaf", "umbrella", "cloud", "star",
    "balloon", "guitar-acoustic", "shield", "food-apple", "hat-fedora", "puzzle", "snail",
)  # fmt: skip

GROUP_SIZES = (2, 2, 2, 2, 2, 3, 3, 3, 3, 6)  # each as likely as it occurs here


def _cloud(rng: np.random.Generator, size: tuple[int, int], cell: int) -> np.ndarray:
    """Return smooth noise, int32 (height, width) from 0 to 255, with lumps of `cell` pixels."""
    shape = max(2, size[0] // cell + 1), max(2, size[1] // cell + 1)
    coarse = Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8))
    return np.asarray(coarse.resize((size[1], size[0]), Image.Resampling.BICUBIC)).astype(np.int32)


def _ramp(rng, size, slope: tuple[int, int], wobble: int) -> np.ndarray:
    """Return a slanted plane with a wobble, int32: what stripes are cut from."""
    y, x = np.mgrid[: size[0], : size[1]]
    wave = _cloud(rng, size, 20) * wobble // 255 if wobble else 0
    return (y * slope[0] + x * slope[1]) // 8 + wave + int(rng.integers(64))


def _plain(rng, size):
    return _cloud(rng, size, 24) // 2


def _metal(rng, size):
    band = _ramp(rng, size, (20, 5), 12) % 256
    return np.minimum(np.abs(band - 128) * 2, 255)


def _stripes(rng, size):
    return (_ramp(rng, size, (14, int(rng.integers(-2, 3))), 0) // 12 % 2) * 255


def _tabby(rng, size):
    dark = _ramp(rng, size, (int(rng.integers(3, 9)), 8), 26) % 11 < 4
    return dark * 200 + _cloud(rng, size, 2) // 5


def _fur(rng, size):
    hair = _cloud(rng, (size[0], size[1] // 5 + 2), 2)
    return (np.repeat(hair, 5, axis=1)[:, : size[1]] + _cloud(rng, size, 2)) // 2


def _wool(rng, size):
    return np.minimum(np.abs(_cloud(rng, size, 5) - 128) * 4, 255)


def _patches(rng, size):
    return (_cloud(rng, size, 15) > 140) * 255


def _checks(rng, size):
    y, x = np.mgrid[: size[0], : size[1]]
    step = int(rng.integers(5, 9))
    return ((x // step % 2) + (y // step % 2)) * 127


def _planks(rng, size):
    rows = _ramp(rng, size, (8, 0), 0)
    return np.clip((rows % 10 < 2) * 160 + _cloud(rng, (size[0], 4), 2)[:, :1] // 3, 0, 255)


def _leaves(rng, size):
    return np.clip(
        (_ramp(rng, size, (6, 6), 30) % 14 < 3) * 120 + _cloud(rng, size, 6) // 2, 0, 255
    )


@dataclass(frozen=True)
class Look:
    """How the objects of a class look.

    Attributes:
        glyphs: Those of the icon font that may stand for it.
        pattern: Function of a random generator and (height, width) to int32 from 0, the first
            color, to 255, the second.
        first, second: Colors (red, green, blue).
    """

    glyphs: tuple[str, ...]
    pattern: Callable
    first: tuple[int, int, int]
    second: tuple[int, int, int]


# The twenty classes of PASCAL VOC, in their order.
LOOKS = {
    "aeroplane": Look(("airplane",), _metal, (205, 212, 220), (150, 165, 185)),
    "bicycle": Look(("bicycle", "bicycle-basket"), _plain, (196, 52, 60), (150, 30, 40)),
    "bird": Look(("bird", "duck"), _fur, (90, 140, 190), (225, 200, 120)),
    "boat": Look(("sail-boat", "ferry"), _planks, (240, 240, 235), (170, 60, 50)),
    "bottle": Look(
        ("bottle-wine", "bottle-soda-classic", "bottle-tonic"), _metal, (70, 135, 90), (25, 80, 55)
    ),
    "bus": Look(("bus-side", "bus-double-decker", "bus"), _stripes, (225, 165, 40), (190, 60, 45)),
    "car": Look(
        ("car-side", "car-hatchback", "car", "car-estate"), _metal, (190, 45, 55), (110, 20, 35)
    ),
    "cat": Look(("cat",), _tabby, (214, 140, 70), (140, 80, 40)),
    "chair": Look(("chair-rolling", "seat"), _planks, (165, 110, 60), (125, 80, 45)),
    "cow": Look(("cow",), _patches, (240, 236, 228), (50, 42, 40)),
    "diningtable": Look(("table-furniture",), _planks, (130, 85, 50), (100, 62, 38)),
    "dog": Look(("dog", "dog-side"), _fur, (150, 105, 70), (95, 65, 45)),
    "horse": Look(("horse-variant", "horse"), _fur, (120, 70, 45), (75, 42, 30)),
    "motorbike": Look(("motorbike", "moped"), _metal, (60, 70, 90), (30, 32, 42)),
    "person": Look(
        ("human", "human-male", "human-female", "human-greeting", "walk"),
        _checks,
        (60, 95, 160),
        (225, 220, 215),
    ),
    "pottedplant": Look(("flower-tulip", "sprout"), _leaves, (85, 150, 70), (45, 100, 50)),
    "sheep": Look(("sheep",), _wool, (236, 230, 216), (190, 182, 165)),
    "sofa": Look(("sofa", "sofa-single"), _checks, (120, 75, 120), (160, 115, 155)),
    "train": Look(("train", "tram"), _stripes, (70, 130, 120), (225, 225, 215)),
    "tvmonitor": Look(
        ("television", "monitor", "television-classic"), _plain, (45, 48, 56), (70, 74, 84)
    ),
}


@dataclass(frozen=True)
class SceneSpec:
    """What scenes look like, and so how hard they are.

    Attributes:
        categories: Names of VOC classes; `wanted` is one of them or empty.
        wanted: The class that about half of the scenes contain, if one is named.
        short_side: Length of the shorter side in pixels.
        aspect: The longer side is up to so many times the shorter one.
        objects: (least, most) objects per scene.
        scale: (least, most) longer side of an object as a share of the scene's shorter side.
        occlusion: Greatest share of an object that later ones may hide, 0 to 1.
        texture_cue: Share of the objects with the texture of their own class; the others have
            that of a random class. At 0 only the shape tells the class.
        distractors: (least, most) objects without a class per scene.
        groups: Share of the wanted objects that stand in a group of two to six that touch.
    """

    categories: tuple[str, ...]
    wanted: str = ""
    short_side: int = 160
    aspect: float = 1.3
    objects: tuple[int, int] = (1, 4)
    scale: tuple[float, float] = (0.3, 0.75)
    occlusion: float = 0.4
    texture_cue: float = 0.7
    distractors: tuple[int, int] = (0, 2)
    groups: float = 0.0


_LOOK_OF_BOTH = {"objects": (1, 3), "scale": (0.35, 0.8), "texture_cue": 0.85}
COCO_SPEC = SceneSpec(
    ("cat", "dog", "bird", "horse", "sheep", "cow", "bicycle", "car", "bus", "boat"),
    wanted="cat",
    **_LOOK_OF_BOTH,
)
VOC_SPEC = SceneSpec(
    ("aeroplane", "bird", "bottle", "bus", "car", "cat", "cow", "dog", "sheep", "tvmonitor"),
    **_LOOK_OF_BOTH,
)


@dataclass(frozen=True)
class Glyph:
    """The contours of a glyph, scaled so that its longer side is 1 and centered on the origin.

    Attributes:
        outer: Closed polygons, float64 (points, 2) as (x, y), y pointing down.
        inner: The polygons inside them: eyes, windows, wheels.
    """

    outer: tuple[np.ndarray, ...]
    inner: tuple[np.ndarray, ...]


@functools.cache
def glyph(name: str) -> Glyph:
    """Return the glyph called `name` in Material Design Icons.

    Raises KeyError if the font has no such glyph.
    """
    points = [np.array(contour, float) for contour in _contours(name) if len(contour) > 2]
    everything = np.concatenate(points)
    low, high = everything.min(axis=0), everything.max(axis=0)
    scale = (high - low).max()
    points = [(contour - (low + high) / 2) / scale * [1, -1] for contour in points]
    inside = [any(_holds(other, contour) for other in points) for contour in points]
    return Glyph(
        outer=tuple(c for c, within in zip(points, inside, strict=True) if not within),
        inner=tuple(c for c, within in zip(points, inside, strict=True) if within),
    )


def load_glyphs() -> None:
    """Read all glyphs from the font, which several threads cannot do at once."""
    for names in (DISTRACTORS, *(look.glyphs for look in LOOKS.values())):
        for name in names:
            glyph(name)


def _package_folder(package: str) -> Path:
    """Return the folder of a package without importing it; qtawesome would want a Qt window."""
    spec = importlib.util.find_spec(package)
    return Path(next(iter(spec.submodule_search_locations)))


@functools.cache
def _font():
    from fontTools.ttLib import TTFont

    # The font's dates and name table are a little off, which does not affect its glyphs.
    logging.getLogger("fontTools").setLevel(logging.ERROR)
    folder = _package_folder("qtawesome")
    codes = json.loads((folder / GLYPH_NAMES).read_text(encoding="utf-8"))
    font = TTFont(folder / FONT, lazy=True)
    return font.getGlyphSet(), font.getBestCmap(), codes


def _contours(name: str) -> list[list[tuple[float, float]]]:
    """Return a glyph's contours with their quadratic Bézier curves cut into straight pieces."""
    from fontTools.pens.basePen import decomposeQuadraticSegment
    from fontTools.pens.recordingPen import DecomposingRecordingPen

    glyphs, characters, codes = _font()
    pen = DecomposingRecordingPen(glyphs)
    glyphs[characters[int(codes[name], 16)]].draw(pen)
    contours = []
    for operation, points in pen.value:
        if operation == "moveTo":
            contours.append([points[0]])
        elif operation == "lineTo":
            contours[-1].append(points[0])
        elif operation == "qCurveTo":
            for control, end in decomposeQuadraticSegment(points):
                knots = np.array([contours[-1][-1], control, end], float)
                for t in np.arange(1, CURVE_STEPS + 1) / CURVE_STEPS:
                    weights = np.array([(1 - t) ** 2, 2 * t * (1 - t), t**2])
                    contours[-1].append(tuple(weights @ knots))
    return contours


def _holds(polygon: np.ndarray, other: np.ndarray) -> bool:
    """Return whether `other` lies inside `polygon`, judged by its first point."""
    from skimage.measure import points_in_poly

    return polygon is not other and bool(points_in_poly(other[:1], polygon)[0])


@dataclass(frozen=True)
class Instance:
    """One object of a scene.

    Attributes:
        category: Its VOC name.
        mask: bool (height, width), the pixels where it can be seen.
        outline: Closed polygons of the whole object, each float64 (points, 2) as (x, y) in
            pixels, before anything hid a part of it.
    """

    category: str
    mask: np.ndarray
    outline: tuple[np.ndarray, ...]


@dataclass(frozen=True)
class Scene:
    """A composed image with its annotations.

    Attributes:
        image: uint8 (height, width, 3), RGB.
        labels: uint8 (height, width): 0 background, 1 to 20 as in PASCAL VOC, 255 the void
            border around every object.
        instances: The objects, farthest first.
    """

    image: np.ndarray
    labels: np.ndarray
    instances: tuple[Instance, ...]


def compose(spec: SceneSpec, seed: int, index: int) -> Scene:
    """Compose one scene; the same arguments give the same bits on every machine."""
    rng = np.random.default_rng([VERSION, seed, index])
    size = _draw_size(rng, spec.short_side, spec.aspect)
    image = _background(rng, size)
    placed: list[tuple[str, np.ndarray, np.ndarray, tuple]] = []
    for category in _draw_things(rng, spec):
        count = 1
        if spec.groups and category == spec.wanted and rng.random() < spec.groups:
            count = int(rng.choice(GROUP_SIZES))
        neighbor = None
        for _ in range(count):
            for _ in range(20):  # a place where it does not hide too much of another
                outer, inner = _place(rng, category, size, spec, count)
                if neighbor is not None:
                    outer, inner = _beside(rng, outer, inner, neighbor)
                cover = _cover(outer, size)
                if _hidden_share(cover, placed) <= spec.occlusion and (cover > 127).sum() > 40:
                    image = _paint(rng, image, category, cover, inner, spec.texture_cue)
                    placed = [(c, m & (cover <= 127), w, o) for c, m, w, o in placed]
                    placed.append((category, cover > 127, cover > 127, outer))
                    neighbor = outer
                    break
    instances = tuple(
        Instance(category, mask, tuple(polygon / FINE for polygon in outer))
        for category, mask, _, outer in placed
        if category in LOOKS and mask.any()
    )
    noise = rng.integers(-6, 7, image.shape)
    image = np.clip(image + noise, 0, 255).astype(np.uint8)
    return Scene(image, _labels(instances, size), instances)


def _draw_size(rng: np.random.Generator, short: int, aspect: float) -> tuple[int, int]:
    """Draw (height, width): landscape or portrait, in steps of 8 pixels."""
    long = short + 8 * int(rng.integers(0, round((aspect - 1) * short / 8) + 1))
    return (short, long) if rng.random() < 0.7 else (long, short)


def _draw_things(rng: np.random.Generator, spec: SceneSpec) -> list[str]:
    """Draw what stands in the scene: classes and distractors, in painting order."""
    count = int(rng.integers(spec.objects[0], spec.objects[1] + 1))
    names = [str(name) for name in rng.choice(spec.categories, count)]
    if spec.wanted:
        others = [name for name in spec.categories if name != spec.wanted] or [spec.wanted]
        names = [str(rng.choice(others)) if name == spec.wanted else name for name in names]
        if names and rng.random() < 0.5:
            names[0] = spec.wanted
    extra = int(rng.integers(spec.distractors[0], spec.distractors[1] + 1))
    names += [str(name) for name in rng.choice(DISTRACTORS, extra)]
    return [names[i] for i in rng.permutation(len(names))]


@functools.cache
def _photograph(number: int) -> Image.Image:
    package, file, box = BACKGROUNDS[number]
    with Image.open(_package_folder(package) / file) as photograph:
        return photograph.convert("RGB").crop(box or (0, 0, *photograph.size))


def _background(rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
    """Cut a piece out of a photograph; flip, tint and sometimes blur it. int32 (h, w, 3)."""
    photograph = _photograph(int(rng.integers(len(BACKGROUNDS))))
    height, width = size
    largest = min(photograph.width / width, photograph.height / height)
    scale = largest * (0.45 + 0.55 * rng.random())
    cut = int(width * scale), int(height * scale)
    left = int(rng.integers(photograph.width - cut[0] + 1))
    top = int(rng.integers(photograph.height - cut[1] + 1))
    piece = photograph.crop((left, top, left + cut[0], top + cut[1]))
    piece = piece.resize((width, height), Image.Resampling.BICUBIC)
    if rng.random() < 0.5:
        piece = piece.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if rng.random() < 0.4:
        piece = piece.filter(ImageFilter.BoxBlur(int(rng.integers(1, 4))))
    pixels = np.asarray(piece).astype(np.int32)
    gain = rng.integers(215, 275, 3) + rng.integers(-50, 31)  # a tint and a brightness, of 256
    return np.minimum(pixels * gain // 256, 255)


def _beside(rng: np.random.Generator, outer, inner, neighbor):
    """Shift the polygons of an object to the left or right of another, so that the two touch."""
    low, high = (getattr(np.concatenate(outer), end)(axis=0) for end in ("min", "max"))
    left, right = (getattr(np.concatenate(neighbor), end)(axis=0) for end in ("min", "max"))
    overlap = 0.12 * (high - low)[0]
    to_left = rng.random() < 0.5
    x = left[0] - high[0] + overlap if to_left else right[0] - low[0] - overlap
    shift = np.rint([x, right[1] - high[1] + (rng.random() - 0.5) * overlap])
    return tuple(p + shift for p in outer), tuple(p + shift for p in inner)


def _place(rng: np.random.Generator, category: str, size, spec: SceneSpec, count: int = 1):
    """Bend, turn, scale and shift a glyph; return its polygons in fine pixels, whole numbers.

    The objects of a group are smaller, so that `count` of them fit into the image.
    """
    shape = glyph(str(rng.choice(LOOKS[category].glyphs if category in LOOKS else (category,))))
    length = FINE * min(size) * (spec.scale[0] + rng.random() * (spec.scale[1] - spec.scale[0]))
    length = length / math.sqrt(count) ** 0.9 if count > 1 else length
    turn = math.radians(18 * (2 * rng.random() - 1))
    mirror = -1 if rng.random() < 0.5 else 1
    squeeze = 0.8 + 0.4 * rng.random(2)
    shear = 0.3 * (rng.random() - 0.5)
    bend, phase = 0.05 * rng.random(2), 6.28 * rng.random(2)
    # Things may reach out of the image by a fifth, as they do in photographs.
    frame = np.array([size[1], size[0]]) * FINE
    center = length * 0.3 + rng.random(2) * (frame - length * 0.6)

    def transform(polygon: np.ndarray) -> np.ndarray:
        x, y = (polygon * squeeze * [mirror, 1]).T
        x, y = x + bend[0] * np.sin(5 * y + phase[0]), y + bend[1] * np.sin(5 * x + phase[1])
        x = x + shear * y
        x, y = x * math.cos(turn) - y * math.sin(turn), x * math.sin(turn) + y * math.cos(turn)
        return np.rint(np.stack([x, y], axis=1) * length + center)

    return tuple(map(transform, shape.outer)), tuple(map(transform, shape.inner))


def cover_of(outline, size: tuple[int, int]) -> np.ndarray:
    """Return how much of each pixel some polygons cover: uint8 (height, width), 255 all of it."""
    return _cover([polygon * FINE for polygon in outline], size)


def _cover(polygons, size: tuple[int, int]) -> np.ndarray:
    """As `cover_of`, for polygons in fine pixels."""
    fine = Image.new("L", (size[1] * FINE, size[0] * FINE))
    draw = ImageDraw.Draw(fine)
    for polygon in polygons:
        draw.polygon([(int(x), int(y)) for x, y in polygon], fill=255)
    return np.asarray(fine.reduce(FINE))


def _hidden_share(cover: np.ndarray, placed: list) -> float:
    """Return the greatest share of an earlier object that would be hidden with this one on top."""
    shares = [
        1 - (mask & (cover <= 127)).sum() / max(1, whole.sum()) for _, mask, whole, _ in placed
    ]
    return max(shares, default=0.0)


def _paint(rng, image, category, cover, inner, texture_cue) -> np.ndarray:
    """Lay one object over the image: shadow, material, shading, then its inner parts."""
    size = cover.shape
    mask = Image.fromarray(cover)
    shadow = np.zeros(size, np.uint8)
    shadow[3:, 3:] = np.asarray(mask.filter(ImageFilter.BoxBlur(4)))[:-3, :-3]
    image = image * (255 - shadow[..., None].astype(np.int32) * 90 // 255) // 255

    own = category in LOOKS and rng.random() < texture_cue
    look = LOOKS[category if own else str(rng.choice(list(LOOKS)))]
    surface = _material(rng, size, look)
    # The blurred cover is high inside an object and low at its boundary: this makes it look round.
    roundness = np.asarray(mask.filter(ImageFilter.BoxBlur(max(3, min(size) // 22))))
    light = (
        np.arange(size[0])[:, None] * -50 // size[0] + 25 + roundness.astype(np.int32) // 2 + 130
    )
    surface = np.clip(surface * light[..., None] // 256, 0, 255)
    details = _cover(inner, size).astype(np.int32)[..., None]
    surface = surface + (np.clip(surface // 3, 0, 255) - surface) * details // 320
    return image + (surface - image) * cover[..., None].astype(np.int32) // 255


def _material(rng, size, look: Look) -> np.ndarray:
    """Return a surface, int32 (height, width, 3), of a pattern in two colors, both jittered."""
    jitter = rng.integers(-28, 29, 3)
    one, two = (np.clip(np.array(color) + jitter, 0, 255) for color in (look.first, look.second))
    return one + (two - one) * look.pattern(rng, size)[..., None] // 255


def _labels(instances, size: tuple[int, int]) -> np.ndarray:
    """Merge the visible masks into a label map with VOC's void border around each object."""
    labels = np.zeros(size, np.uint8)
    border = np.zeros(size, bool)
    for instance in instances:
        labels[instance.mask] = CLASSES.index(instance.category)
        mask = Image.fromarray(instance.mask.astype(np.uint8) * 255)
        grown = np.asarray(mask.filter(ImageFilter.MaxFilter(3)))
        shrunk = np.asarray(mask.filter(ImageFilter.MinFilter(3)))
        border |= grown != shrunk
    labels[border] = VOID
    return labels
