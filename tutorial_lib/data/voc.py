"""The PASCAL VOC 2012 segmentation tree: reading it, its classes and its colors.

Everingham et al., "The PASCAL Visual Object Classes Challenge: A Retrospective", IJCV 2015.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from tutorial_lib.data.glyphs import CLASSES as OBJECT_CLASSES
from tutorial_lib.data.images import VOID, Sample, check_same_size, read_image, read_labels
from tutorial_lib.errors import InputError, check_choice

CLASSES = ("background", *OBJECT_CLASSES)
SPLITS = ("train", "val", "trainval", "train_aug")
NAME = re.compile(r"\w[\w.-]*")  # an image name, which becomes part of a path


def colormap() -> np.ndarray:
    """Return VOC's 256 colors, uint8 (256, 3), RGB.

    The bits of a class number are dealt out in turn to red, green and blue, from the highest bit
    of each color down: so neighbors in number are far apart in color.
    """
    colors = np.zeros((256, 3), np.uint8)
    for number in range(256):
        rest = number
        for shift in range(7, -1, -1):
            for channel in range(3):
                colors[number, channel] |= (rest >> channel & 1) << shift
            rest >>= 3
    return colors


def label_png(labels: np.ndarray) -> bytes:
    """Return a label map (height, width) as VOC stores it: a PNG with VOC's palette."""
    picture = Image.fromarray(labels, mode="P")
    picture.putpalette(colormap().tobytes())
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()


def check_palette(path: Path) -> None:
    """Compare the palette of a label PNG with VOC's colors; labels without one pass.

    Raises:
        InputError: if a color in use is not VOC's: the file was made by other rules.
    """
    with Image.open(path) as picture:
        if picture.mode != "P":
            return
        palette = np.array(picture.getpalette("RGB"), np.uint8).reshape(-1, 3)
        used = np.unique(picture)
    strange = [n for n in used if n >= len(palette) or (palette[n] != colormap()[n]).any()]
    if strange:
        raise InputError(f"{path} paints class {strange[0]} in another color than VOC")


def colorize(labels: np.ndarray) -> np.ndarray:
    """Paint a label map (height, width) in VOC's colors: uint8 (height, width, 3)."""
    return colormap()[labels]


def listed_names(path: Path, hint: str = "") -> list[str]:
    """Read a list of image names.

    Args:
        path: A text file.
        hint: What to do if it is missing.

    Raises:
        InputError: if it is missing or no text.
    """
    try:
        return path.read_text(encoding="utf-8").split()
    except OSError:
        raise InputError(f"{path} is missing; it lists one image name a line{hint}") from None
    except UnicodeDecodeError:
        raise InputError(f"{path} is no text in UTF-8; save it as such") from None


class VocTree:
    """A `VOC2012` folder with `JPEGImages`, `SegmentationClass` and `ImageSets/Segmentation`."""

    def __init__(self, root: str | Path):
        """Open a tree.

        Args:
            root: The folder `VOC2012`, or one that holds it (`VOCdevkit`, say).

        Raises:
            InputError: if no such tree is there.
        """
        root = Path(root)
        for candidate in (root, root / "VOC2012", root / "VOCdevkit" / "VOC2012"):
            if (candidate / "ImageSets" / "Segmentation").is_dir():
                self.root = candidate
                return
        raise InputError(
            f"{root} holds no VOC2012/ImageSets/Segmentation; "
            "give the folder VOCdevkit as data_dir, or see data/README.md"
        )

    def has(self, split: str) -> bool:
        """Say whether the list of a split is there."""
        return (self.root / "ImageSets" / "Segmentation" / f"{split}.txt").is_file()

    def ids(self, split: str) -> list[str]:
        """Return the names of a split: "train", "val", "trainval" or, with SBD, "train_aug".

        Raises:
            InputError: if the split is unknown, or its list is missing or empty.
        """
        check_choice("split", split, SPLITS)
        path = self.root / "ImageSets" / "Segmentation" / f"{split}.txt"
        hint = "; `tutorial data fetch sbd` makes it" if split == "train_aug" else ""
        ids = listed_names(path, hint)
        if not ids:
            raise InputError(f"{path} is empty; it should list one image name a line")
        if bad := next((name for name in ids if not NAME.fullmatch(name)), None):
            raise InputError(f"{path} lists {bad!r}; expected names like 2007_000032")
        return ids

    def image_path(self, id: str) -> Path:
        """Return where the photograph of that name lies."""
        return self.root / "JPEGImages" / f"{id}.jpg"

    def labels_path(self, id: str) -> Path:
        """Return where the class labels of that name lie: VOC's own, or else those from SBD."""
        own = self.root / "SegmentationClass" / f"{id}.png"
        other = self.root / "SegmentationClassAug" / f"{id}.png"
        return other if other.is_file() and not own.is_file() else own

    def recipe(self, id: str) -> VocRecipe:
        """Return what has to be read for one sample, without reading it."""
        return VocRecipe(id, self.image_path(id), self.labels_path(id))

    def read(self, id: str) -> Sample:
        """Read one photograph and its labels.

        Raises:
            InputError: if a file is missing or damaged, their sizes differ, or a label is none of
                VOC's.
        """
        return self.recipe(id).read()

    def samples(self, split: str, limit: int | None = None) -> Iterator[Sample]:
        """Read the samples of a split in the order of its list, at most `limit` of them."""
        for id in self.ids(split)[:limit]:
            yield self.read(id)

    def problems(self, split: str) -> Iterator[str]:
        """Read every sample of a split; yield a line for each that is damaged or does not fit."""
        for id in self.ids(split):
            try:
                self.read(id)
                check_palette(self.labels_path(id))
            except InputError as problem:
                yield f"{id}: {problem}"


@dataclass(frozen=True)
class VocRecipe:
    """Where one sample comes from; small enough to hand to another process.

    Attributes:
        id: Its name.
        image_path, labels_path: The photograph and its label PNG.
    """

    id: str
    image_path: Path
    labels_path: Path

    @property
    def files(self) -> tuple[Path, ...]:
        return self.image_path, self.labels_path

    def read(self) -> Sample:
        """Read it; see `VocTree.read`."""
        image, labels = read_image(self.image_path), read_labels(self.labels_path)
        check_same_size(self.image_path, image, labels)
        strange = np.setdiff1d(labels, [*range(len(CLASSES)), VOID])
        if strange.size:
            raise InputError(
                f"{self.labels_path} holds the label {strange[0]}; VOC has 0 to 20 and 255"
            )
        return Sample(self.id, image, labels, self.image_path)
