"""The PASCAL VOC 2012 segmentation tree: its classes, its colors, reading it, and adding SBD to it.

Everingham et al., "The PASCAL Visual Object Classes Challenge: A Retrospective", IJCV 2015.
Hariharan, Arbeláez, Bourdev, Maji & Malik, "Semantic Contours from Inverse Detectors", ICCV 2011:
the Semantic Boundaries Dataset (SBD), masks of more VOC photographs, as MATLAB files.
"""

from __future__ import annotations

import functools
import io
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from tutorial_lib.data.images import VOID, Sample, check_size, opened, read_photograph, upright
from tutorial_lib.errors import InputError, read_text, write_atomically

CLASSES = (
    "background", "aeroplane", "bicycle", "bird", "boat", "bottle", "bus", "car", "cat", "chair",
    "cow", "diningtable", "dog", "horse", "motorbike", "person", "pottedplant", "sheep", "sofa",
    "train", "tvmonitor",
)  # fmt: skip
# An image name, which becomes part of a path: without folder, suffix, second column (-1, 0 or 1)
# and characters that cannot be seen.
NAME = re.compile(r"(?!\.|.*(\s-?\d+|\.(jpe?g|png))$)[^/\\:\x00-\x1f\u200b-\u200f]+", re.I)
SUFFIXES = (".jpg", ".jpeg", ".png", ".JPG", ".JPEG", ".PNG")
SBD_PREFIX = "benchmark_RELEASE/dataset/"


@functools.cache  # every label file is compared with it
def colormap() -> np.ndarray:
    """Return VOC's 256 colors, uint8 (256, 3), RGB, read-only.

    The bits of a class number are dealt out in turn to red, green and blue, from the highest bit
    of each color down. So classes with neighboring numbers get very different colors.
    """
    colors = np.zeros((256, 3), np.uint8)
    for number in range(256):
        rest = number
        for shift in range(7, -1, -1):
            for channel in range(3):
                colors[number, channel] |= (rest >> channel & 1) << shift
            rest >>= 3
    colors.flags.writeable = False
    return colors


def label_png(labels: np.ndarray) -> bytes:
    """Return a label map (height, width) as VOC stores it: a PNG with VOC's palette."""
    image = Image.fromarray(labels, mode="P")
    image.putpalette(colormap().tobytes())
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def read_labels(path: Path) -> np.ndarray:
    """Read a label PNG, with VOC's palette or gray, as uint8 (height, width) of class numbers.

    Raises InputError if the file is missing, damaged or a JPEG, or its numbers are not VOC's
    classes: it holds colors, another palette, the object mask 0 and 255, or a number above 20.
    """
    with opened(path) as image:
        if image.format == "JPEG":
            raise InputError(
                f"{path} is a JPEG, whose compression changes class numbers; save masks as PNG"
            )
        if image.format == "PNG" and image.tile[0].args in ("L;2", "L;4"):
            raise InputError(
                f"{path} holds gray of 2 or 4 bits, where 1 may mean 1, 17 or 85; save it with 8"
            )
        if image.mode not in ("P", "L"):
            raise InputError(
                f"{path} holds {image.mode} colors; expected class numbers (palette or gray)"
            )
        labels, palette = np.array(upright(image)), image.getpalette("RGB")
    used = np.unique(labels)
    if palette is not None:
        colors = dict(enumerate(np.reshape(palette, (-1, 3)).tolist()))
        if strange := [n for n in used if colors.get(n) != colormap()[n].tolist()]:
            raise InputError(
                f"{path} paints class {strange[0]} in another color than VOC: its numbers mean "
                "something else; save it with VOC's palette, or as gray class numbers"
            )
    elif VOID in used and not set(used) - {0, VOID}:
        raise InputError(
            f"{path} holds only 0 and 255, background and void, and no class; "
            "give the object its class number, 1 to 20"
        )
    if unknown := sorted(set(used) - {*range(len(CLASSES)), VOID}):
        raise InputError(f"{path} holds the label {unknown[0]}; VOC has 0 to 20 and 255")
    return labels


def listed_names(path: Path, hint: str = "") -> list[str]:
    """Read a list of image names, one a line; `hint` says what to do if it is missing.

    Raises InputError if it is missing or no text, or a line is no image name.
    """
    try:
        lines = read_text(path).splitlines()
    except FileNotFoundError:
        raise InputError(f"{path} is missing; it lists one image name a line{hint}") from None
    names = [line.strip() for line in lines]
    for number, name in enumerate(names, start=1):
        if name and not NAME.fullmatch(name):
            raise InputError(
                f"{path}, line {number}, lists {name!r}; expected one name a line, like "
                "2007_000032, without a second column, folder or suffix"
            )
    return [name for name in names if name]


class VocTree:
    """A `VOC2012` folder with `JPEGImages`, `SegmentationClass` and `ImageSets/Segmentation`."""

    def __init__(self, root: str | Path):
        """Open `VOC2012`, or the tree in a folder that holds it (`VOCdevkit`, say).

        Raises InputError if no such tree is there.
        """
        root = Path(root)
        for candidate in (root, root / "VOC2012", root / "VOCdevkit" / "VOC2012"):
            if (candidate / "ImageSets" / "Segmentation").is_dir():
                self.root, self.lists = candidate, candidate / "ImageSets" / "Segmentation"
                return
        raise InputError(
            f"{root} holds no VOC2012/ImageSets/Segmentation; "
            "give the folder VOCdevkit as data_dir, or see data/README.md"
        )

    def has(self, split: str) -> bool:
        """Return whether the list of a split is there."""
        return (self.lists / f"{split}.txt").is_file()

    def ids(self, split: str) -> list[str]:
        """Return the names of a split: "train", "val", "trainval", "train_aug" with SBD, or other.

        A name that is listed several times counts once.

        Raises InputError if its list is missing or empty, or a line is no name.
        """
        if not NAME.fullmatch(split):
            raise InputError(f"split={split!r} is no name of a list; expected one like train")
        path = self.lists / f"{split}.txt"
        there = ", ".join(sorted(found.name for found in self.lists.glob("*.txt"))) or "none"
        hint = f"; lists that are there: {there}; rename the one that you want to use"
        if split == "train_aug":
            hint = "; `tutorial data fetch sbd` makes it"
        ids = listed_names(path, hint)
        if not ids:
            raise InputError(f"{path} is empty; it should list one image name a line")
        return list(dict.fromkeys(ids))

    def image_path(self, id: str) -> Path:
        """Return the path of the photograph of that name: .jpg, unless it has another suffix."""
        paths = [self.root / "JPEGImages" / f"{id}{suffix}" for suffix in SUFFIXES]
        return next(filter(os.path.isfile, paths), paths[0])

    def labels_path(self, id: str) -> Path:
        """Return the path of the class labels of that name: VOC's own, or else those from SBD."""
        own = self.root / "SegmentationClass" / f"{id}.png"
        other = self.root / "SegmentationClassAug" / f"{id}.png"
        return other if other.is_file() and not own.is_file() else own

    def recipe(self, id: str) -> VocRecipe:
        """Return what has to be read for one sample, without reading it."""
        return VocRecipe(id, self.image_path(id), self.labels_path(id))

    def read(self, id: str) -> Sample:
        """Read one photograph and its labels.

        Raises InputError if a file is missing or damaged, their sizes differ, or a label is none of
        VOC's.
        """
        return self.recipe(id).read()

    def samples(self, split: str, limit: int | None = None) -> Iterator[Sample]:
        """Read the samples of a split in the order of its list, at most `limit` of them."""
        for id in self.ids(split)[:limit]:
            yield self.read(id)

    def check(self, split: str) -> Iterator[str]:
        """Read every sample of a split; yield a line for each that is damaged or does not fit."""
        ids, path = self.ids(split), self.lists / f"{split}.txt"
        for id, times in Counter(listed_names(path)).items():
            if times > 1:
                yield f"{id}: {path} lists it {times} times; it counts once"
        for id in ids:
            try:
                self.read(id)
            except InputError as problem:
                yield f"{id}: {problem}"


@dataclass(frozen=True)
class VocRecipe:
    """The files that one sample is read from; small enough to hand to another process."""

    id: str
    image_path: Path
    labels_path: Path

    @property
    def files(self) -> tuple[Path, ...]:
        return self.image_path, self.labels_path

    def read(self) -> Sample:
        """Read it; see `VocTree.read`."""
        image, labels = read_photograph(self.image_path), read_labels(self.labels_path)
        check_size(self.image_path, image, labels.shape)
        return Sample(self.id, image, labels, self.image_path)


def select_sbd_member(name: str) -> str | None:
    """Choose from SBD's archive what is needed: class masks, photographs and the two lists."""
    if not name.startswith(SBD_PREFIX):
        return None
    name = name.removeprefix(SBD_PREFIX)
    return name if name.startswith(("cls/", "img/")) or name in ("train.txt", "val.txt") else None


def read_sbd_mask(path: Path) -> np.ndarray:
    """Read the class mask of a MATLAB file: uint8 (height, width), 0 to 20.

    Raises InputError if the file is missing or damaged, or holds something else.
    """
    from scipy.io import loadmat

    if not path.is_file():
        raise InputError(f"{path} is missing; fetch SBD again")
    try:
        mask = np.asarray(loadmat(path)["GTcls"]["Segmentation"][0, 0])
    except Exception as error:  # damaged bytes make scipy raise whatever they run into
        raise InputError(f"{path} holds no GTcls.Segmentation ({type(error).__name__})") from None
    numbers = mask.dtype.kind in "ui" and mask.ndim == 2 and mask.size
    if not numbers or not 0 <= mask.min() <= mask.max() < len(CLASSES):
        raise InputError(f"{path} holds no class mask; expected whole numbers from 0 to 20")
    return mask.astype(np.uint8)


def add_sbd(raw: Path, tree: VocTree, progress: bool = False) -> int:
    """Write SBD's masks as palette PNGs into a VOC tree; return the number of training images.

    FCNs are trained on the images of both, less those on which VOC validates. Where VOC has a
    mask of its own, with a void border, it stays the one that is read. The list `train_aug.txt`
    is written last, so that its presence means that everything is there.

    Args:
        raw: SBD as unpacked: `cls/*.mat`, `img/*.jpg`, `train.txt`, `val.txt`.
        tree: VOC's.

    Raises:
        InputError: if a list, a mask or a photograph is missing or damaged.
    """
    from tqdm import tqdm

    names = {*listed_names(raw / "train.txt"), *listed_names(raw / "val.txt")}
    names = sorted((names | set(tree.ids("train"))) - set(tree.ids("val")))
    for name in tqdm(names, desc="masks", disable=not progress, leave=False):
        if not tree.labels_path(name).is_file():
            png = label_png(read_sbd_mask(raw / "cls" / f"{name}.mat"))
            write_atomically(tree.root / "SegmentationClassAug" / f"{name}.png", png)
        photograph, source = tree.image_path(name), raw / "img" / f"{name}.jpg"
        if not photograph.is_file():
            if not source.is_file():
                raise InputError(f"{photograph} is missing, in VOC and in SBD; fetch VOC again")
            write_atomically(photograph, source.read_bytes())
    write_atomically(tree.lists / "train_aug.txt", "".join(f"{name}\n" for name in names))
    return len(names)
