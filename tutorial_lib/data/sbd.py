"""The Semantic Boundaries Dataset, as more training pictures for PASCAL VOC.

Hariharan, Arbeláez, Bourdev, Maji & Malik, "Semantic Contours from Inverse Detectors", ICCV 2011.
Its masks are MATLAB files; here they become palette PNGs beside VOC's own. They know no void
border. FCNs are trained on both: all pictures of either, less those on which VOC validates.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tutorial_lib.data.voc import CLASSES, label_png, listed_names
from tutorial_lib.errors import InputError, write_atomically

PREFIX = "benchmark_RELEASE/dataset/"


def select_member(name: str) -> str | None:
    """Say which files of the archive are needed: class masks, photographs and the two lists."""
    if not name.startswith(PREFIX):
        return None
    name = name.removeprefix(PREFIX)
    return name if name.startswith(("cls/", "img/")) or name in ("train.txt", "val.txt") else None


def read_mask(path: Path) -> np.ndarray:
    """Read the class mask of a MATLAB file: uint8 (height, width), 0 to 20.

    Raises:
        InputError: if the file is missing or damaged, or holds something else.
    """
    from scipy.io import loadmat

    if not path.is_file():
        raise InputError(f"{path} is missing; fetch SBD again")
    try:
        mask = loadmat(path)["GTcls"]["Segmentation"][0, 0]
    except Exception as error:  # damaged bytes make scipy raise whatever they run into
        raise InputError(f"{path} holds no GTcls.Segmentation ({type(error).__name__})") from None
    mask = np.asarray(mask)
    numbers = mask.dtype.kind in "ui" and mask.ndim == 2 and mask.size
    if not numbers or not 0 <= mask.min() <= mask.max() < len(CLASSES):
        raise InputError(f"{path} holds no class mask; expected whole numbers from 0 to 20")
    return mask.astype(np.uint8)


def train_aug(root: Path, raw: Path) -> list[str]:
    """Return the names of the augmented training set: VOC's and SBD's, without VOC's val, sorted.

    Args:
        root: VOC's folder `VOC2012`.
        raw: SBD's folder with `train.txt` and `val.txt`.
    """
    lists = root / "ImageSets" / "Segmentation"
    paths = lists / "train.txt", raw / "train.txt", raw / "val.txt"
    everything = set().union(*map(listed_names, paths))
    return sorted(everything.difference(listed_names(lists / "val.txt")))


def convert(raw: Path, root: Path, progress: bool = False) -> int:
    """Write SBD's masks into a VOC tree; return the number of training pictures.

    Where VOC has a mask of its own, which knows the void border, it stays the one that is read.
    The list `train_aug.txt` is written last, so that its presence means that all is there.

    Args:
        raw: As unpacked: `cls/*.mat`, `img/*.jpg`, `train.txt`, `val.txt`.
        root: VOC's folder `VOC2012`.
        progress: Show a bar.

    Raises:
        InputError: if a list, a mask or a photograph is missing or damaged.
    """
    from tqdm import tqdm

    names = train_aug(root, raw)
    for name in tqdm(names, desc="masks", disable=not progress, leave=False):
        target = root / "SegmentationClassAug" / f"{name}.png"
        own = root / "SegmentationClass" / f"{name}.png"
        if not own.is_file() and not target.is_file():
            write_atomically(target, label_png(read_mask(raw / "cls" / f"{name}.mat")))
        photograph = root / "JPEGImages" / f"{name}.jpg"
        if not photograph.is_file():
            source = raw / "img" / f"{name}.jpg"
            if not source.is_file():
                raise InputError(f"{photograph} is missing, in VOC and in SBD; fetch VOC again")
            write_atomically(photograph, source.read_bytes())
    listing = "".join(f"{name}\n" for name in names).encode()
    write_atomically(root / "ImageSets" / "Segmentation" / "train_aug.txt", listing)
    return len(names)
