"""The COCO tree: reading photographs, and turning their annotations into label maps.

Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014. Polygons and run lengths are
decoded by pycocotools, COCO's own code.
"""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from tutorial_lib.data import note_use
from tutorial_lib.data.images import VOID, Sample, check_same_size, read_image
from tutorial_lib.errors import InputError, check_choice


class CocoSplit:
    """One split of a COCO 2017 tree: `annotations/instances_<split>2017.json` and its pictures.

    Attributes:
        annotations_path: The JSON file.
        folder: Where the pictures lie.
        categories: Category name → COCO's id.
    """

    def __init__(self, root: str | Path, split: str):
        """Open a split.

        Args:
            root: The folder that holds `annotations`, `train2017` and `val2017`.
            split: "train" or "val".

        Raises:
            InputError: if the annotations are missing, or are not COCO's JSON.
        """
        check_choice("split", split, ("train", "val"))
        self.annotations_path = Path(root) / "annotations" / f"instances_{split}2017.json"
        self.folder = _followed(Path(root) / f"{split}2017")
        self._coco = _index(self.annotations_path)
        self.categories = {c["name"]: c["id"] for c in self._coco.dataset["categories"]}

    def image_ids(self, category: str | None = None) -> list[int]:
        """Return the ids of all pictures, or of those with an object of a category, in order.

        Raises:
            InputError: if the category is unknown.
        """
        note_use(self.annotations_path)
        if category is None:
            return sorted(self._coco.imgs)
        check_choice("category", category, self.categories)
        return sorted(self._coco.getImgIds(catIds=[self.categories[category]]))

    def annotations(self, image_id: int, category: str | None = None) -> list[dict]:
        """Return the annotations of a picture, of one category if it is named."""
        found = self._coco.imgToAnns[image_id]
        if category is None:
            return found
        check_choice("category", category, self.categories)
        return [a for a in found if a["category_id"] == self.categories[category]]

    def image_path(self, image_id: int) -> Path:
        """Return where a picture lies."""
        return self.folder / self._coco.imgs[image_id]["file_name"]

    def labels(self, image_id: int, categories: Sequence[str]) -> np.ndarray:
        """Draw the label map of a picture.

        Args:
            image_id: COCO's id of the picture.
            categories: The names that get the labels 1, 2, 3, …; all else is 0, background.

        Returns:
            uint8 (height, width). Crowds, which COCO outlines but roughly, are 255, void.

        Raises:
            InputError: if a category is unknown or an annotation cannot be decoded.
        """
        entry = self._coco.imgs[image_id]
        labels = np.zeros((entry["height"], entry["width"]), np.uint8)
        for label, category in enumerate(categories, start=1):
            for annotation in self.annotations(image_id, category):
                mask = self.mask(annotation)
                labels[mask] = VOID if annotation.get("iscrowd") else label
        return labels

    def mask(self, annotation: dict) -> np.ndarray:
        """Decode one annotation: bool (height, width).

        Polygons of fewer than three points enclose nothing, and are passed over.

        Raises:
            InputError: if it is neither polygons nor run lengths.
        """
        entry = self._coco.imgs[annotation["image_id"]]
        empty = np.zeros((entry["height"], entry["width"]), bool)
        shape = annotation.get("segmentation")
        if isinstance(shape, list):
            shape = [polygon for polygon in shape if len(polygon) >= 6]
            if not shape:
                return empty
        try:
            return self._coco.annToMask({**annotation, "segmentation": shape}).astype(bool)
        except Exception:  # pycocotools raises whatever its C code runs into
            raise InputError(
                f"{self.annotations_path}: annotation {annotation['id']} holds neither polygons "
                "nor run lengths; remove or mend it"
            ) from None

    def read(self, image_id: int, categories: Sequence[str]) -> Sample:
        """Read one picture and draw its label map.

        Raises:
            InputError: if the picture is missing, damaged or not of the size that is annotated.
        """
        path = self.image_path(image_id)
        image, labels = read_image(path), self.labels(image_id, categories)
        check_same_size(path, image, labels)
        return Sample(path.stem, image, labels, path)

    def samples(self, image_ids: Iterable[int], categories: Sequence[str]) -> Iterable[Sample]:
        """Read several pictures with their label maps, one after the other."""
        for image_id in image_ids:
            yield self.read(image_id, categories)


def _followed(path: Path) -> Path:
    """Follow a link to a folder that lies there as a text file.

    Git checks links out so where the system has none; a tree that shares its pictures with
    another one is then still readable.
    """
    if path.is_file() and path.stat().st_size < 4096:
        target = path.parent / path.read_text(encoding="utf-8", errors="replace").strip()
        if target.is_dir():
            return target
    return path


def _index(path: Path):
    """Load an annotations file with pycocotools, which would print while it does."""
    from pycocotools.coco import COCO

    try:
        dataset = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"{path} is missing; give the folder that holds annotations/, train2017/ and val2017/ "
            "as data_dir, or see data/README.md"
        ) from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is not JSON ({error}); fetch it again") from None
    parts = dataset if isinstance(dataset, dict) else {}
    missing = sorted({"images", "annotations", "categories"} - set(parts))
    if missing:
        raise InputError(f"{path} lacks {', '.join(missing)}; expected COCO instances")
    coco = COCO()
    coco.dataset = dataset
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco
