"""The PASCAL VOC 2012 segmentation tree: reading it, its classes and its colors.

Everingham et al., "The PASCAL Visual Object Classes Challenge: A Retrospective", IJCV 2015.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from tutorial_lib.data import note_use
from tutorial_lib.data.glyphs import CLASSES as OBJECT_CLASSES
from tutorial_lib.data.images import VOID, Sample, check_same_size, read_image, read_labels
from tutorial_lib.errors import InputError, check_choice

CLASSES = ("background", *OBJECT_CLASSES)


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


def colorize(labels: np.ndarray) -> np.ndarray:
    """Paint a label map (height, width) in VOC's colors: uint8 (height, width, 3)."""
    return colormap()[labels]


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

    def ids(self, split: str) -> list[str]:
        """Return the names of a split: "train", "val" or "trainval".

        Raises:
            InputError: if the split is unknown, or its list is missing or empty.
        """
        check_choice("split", split, ("train", "val", "trainval"))
        path = self.root / "ImageSets" / "Segmentation" / f"{split}.txt"
        note_use(path)
        try:
            ids = path.read_text(encoding="utf-8").split()
        except OSError:
            raise InputError(f"{path} is missing; it lists one image name a line") from None
        if not ids:
            raise InputError(f"{path} is empty; it should list one image name a line")
        return ids

    def image_path(self, id: str) -> Path:
        """Return where the photograph of that name lies."""
        return self.root / "JPEGImages" / f"{id}.jpg"

    def labels_path(self, id: str) -> Path:
        """Return where the class labels of that name lie."""
        return self.root / "SegmentationClass" / f"{id}.png"

    def read(self, id: str) -> Sample:
        """Read one photograph and its labels.

        Raises:
            InputError: if a file is missing or damaged, their sizes differ, or a label is none of
                VOC's.
        """
        image, labels = read_image(self.image_path(id)), read_labels(self.labels_path(id))
        check_same_size(self.image_path(id), image, labels)
        strange = np.setdiff1d(labels, [*range(len(CLASSES)), VOID])
        if strange.size:
            raise InputError(
                f"{self.labels_path(id)} holds the label {strange[0]}; VOC has 0 to 20 and 255"
            )
        return Sample(id, image, labels, self.image_path(id))

    def samples(self, split: str, limit: int | None = None) -> Iterator[Sample]:
        """Read the samples of a split in the order of its list, at most `limit` of them."""
        for id in self.ids(split)[:limit]:
            yield self.read(id)
