"""The COCO tree: reading photographs, and turning their annotations into label maps.

Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014. Polygons and run lengths are
decoded by pycocotools, COCO's own code.

What COCO really holds is taken as it is: gray and CMYK photographs, pictures without annotations,
empty polygons, outlines that leave the picture. What is broken is found when the tree is opened
or a sample is read, named with its file and id, and left out or refused, as the caller wants.
"""

from __future__ import annotations

import contextlib
import io
import json
import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from tutorial_lib.data.images import VOID, Sample, check_size, read_photograph
from tutorial_lib.errors import InputError, check_choice

# In a file name: other folders, other drives, and what is no text or not of one line.
BAD_CHARACTERS = re.compile(r"[\\:\x00-\x1f\ud800-\udfff]")
SINGULAR = {"images": "image", "annotations": "annotation", "categories": "category"}


class CocoSplit:
    """One split of a COCO 2017 tree: `annotations/instances_<split>2017.json` and its pictures.

    Attributes:
        annotations_path: The JSON file.
        folder: Where the pictures lie.
        categories: Category name → COCO's id.
        problems: A line for each entry of the JSON file that cannot be used, and was left out.
    """

    def __init__(self, root: str | Path, split: str, strict: bool = False):
        """Open a split.

        Args:
            root: The folder that holds `annotations`, `train2017` and `val2017`.
            split: "train" or "val".
            strict: Refuse a file with any entry that cannot be used.

        Raises:
            InputError: if the annotations are missing, or are not COCO's JSON.
        """
        check_choice("split", split, ("train", "val"))
        self.annotations_path = Path(root) / "annotations" / f"instances_{split}2017.json"
        self.folder = _followed(Path(root) / f"{split}2017")
        dataset = _load(self.annotations_path)
        self.problems = [f"{self.annotations_path}: {line}" for line in _drop_unusable(dataset)]
        if strict and self.problems:
            more = len(self.problems) - 1
            raise InputError(self.problems[0] + (f" (and {more} more)" if more else ""))
        self._coco = _index(dataset)
        self.categories = {c["name"]: c["id"] for c in self._coco.dataset["categories"]}

    def image_ids(self, category: str | None = None) -> list[int]:
        """Return the ids of all pictures, or of those with an object of a category, in order.

        Raises:
            InputError: if the category is unknown.
        """
        if category is None:
            return sorted(self._coco.imgs)
        check_choice("category", category, self.categories)
        return sorted(self._coco.getImgIds(catIds=[self.categories[category]]))

    def entry(self, image_id: int) -> dict:
        """Return what the JSON file says of a picture."""
        return self._coco.imgs[image_id]

    def annotations(self, image_id: int, category: str | None = None) -> list[dict]:
        """Return the annotations of a picture, of one category if it is named."""
        found = self._coco.imgToAnns.get(image_id, [])
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
        return self.recipe(image_id, categories).labels()

    def mask(self, annotation: dict) -> np.ndarray:
        """Decode one annotation: bool (height, width).

        Polygons of fewer than three points enclose nothing, and are passed over.

        Raises:
            InputError: if it is neither polygons nor run lengths of that picture.
        """
        entry = self._coco.imgs[annotation["image_id"]]
        where = f"{self.annotations_path}: annotation {annotation['id']}"
        return decode(annotation.get("segmentation"), entry["height"], entry["width"], where)

    def recipe(self, image_id: int, categories: Sequence[str]) -> CocoRecipe:
        """Return what has to be read and drawn for one sample, without doing it.

        Raises:
            InputError: if a category is unknown or named twice: it cannot have two labels.
        """
        if len(set(categories)) < len(categories):
            raise InputError(f"a category is named twice: {', '.join(categories)}")
        entry = self._coco.imgs[image_id]
        outlines = tuple(
            Outline(a["id"], VOID if a.get("iscrowd") else label, a.get("segmentation"))
            for label, category in enumerate(categories, start=1)
            for a in self.annotations(image_id, category)
        )
        return CocoRecipe(
            image_id,
            self.image_path(image_id),
            (entry["height"], entry["width"]),
            outlines,
            str(self.annotations_path),
        )

    def read(self, image_id: int, categories: Sequence[str]) -> Sample:
        """Read one picture and draw its label map.

        Raises:
            InputError: if the picture is missing, damaged or not of the size that is annotated.
        """
        return self.recipe(image_id, categories).read()

    def samples(self, image_ids: Iterable[int], categories: Sequence[str]) -> Iterator[Sample]:
        """Read several pictures with their label maps, one after the other."""
        for image_id in image_ids:
            yield self.read(image_id, categories)

    def damage(self, image_ids: Iterable[int], categories: Sequence[str]) -> Iterator[str]:
        """Read several pictures; yield a line for each thing in them that is damaged."""
        for image_id in image_ids:
            for problem in self.recipe(image_id, categories).problems():
                yield f"picture {image_id}: {problem}"


@dataclass(frozen=True)
class Outline:
    """One annotation of a picture.

    Attributes:
        id: COCO's id of the annotation.
        label: What its pixels become.
        segmentation: Polygons or run lengths, as in the JSON file.
    """

    id: int
    label: int
    segmentation: object


@dataclass(frozen=True)
class CocoRecipe:
    """All that one sample is made from; small enough to hand to another process.

    Attributes:
        image_id: COCO's id of the picture.
        path: The picture's file.
        shape: (height, width) that the JSON file tells.
        outlines: In the order in which they are drawn.
        source: The JSON file, for messages.
    """

    image_id: int
    path: Path
    shape: tuple[int, int]
    outlines: tuple[Outline, ...]
    source: str

    @property
    def id(self) -> str:
        return self.path.stem

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.path,)

    def labels(self) -> np.ndarray:
        """Draw the label map; see `CocoSplit.labels`."""
        labels = np.zeros(self.shape, np.uint8)
        for outline in self.outlines:
            labels[self.draw(outline)] = outline.label
        return labels

    def draw(self, outline: Outline) -> np.ndarray:
        """Decode one outline; see `decode`."""
        return decode(outline.segmentation, *self.shape, self._where(outline))

    def runs(self, outline: Outline):
        """Check one outline without drawing it; see `run_lengths`."""
        return run_lengths(outline.segmentation, *self.shape, self._where(outline))

    def _where(self, outline: Outline) -> str:
        return f"{self.source}: annotation {outline.id}"

    def read(self) -> Sample:
        """Read the picture and draw its label map; see `CocoSplit.read`."""
        image = self._image()
        return Sample(self.id, image, self.labels(), self.path)

    def _image(self) -> np.ndarray:
        """Read the picture; its size is compared first, for a wrong one may fill the memory."""
        image = read_photograph(self.path)
        check_size(self.path, image, self.shape)
        return image

    def problems(self) -> list[str]:
        """Return a line for each thing that keeps this sample from being read: all, not one."""
        found = []
        examine = self.draw
        try:
            self._image()
        except InputError as problem:
            found.append(str(problem))
            examine = self.runs  # of what size it should be drawn is in doubt
        for outline in self.outlines:
            try:
                examine(outline)
            except InputError as problem:
                found.append(str(problem))
        return found


def decode(segmentation, height: int, width: int, where: str) -> np.ndarray:
    """Decode COCO's polygons or run lengths: bool (height, width).

    Several polygons are parts of one object. Run lengths come as numbers or as COCO's text.

    Args:
        segmentation: As in the JSON file.
        height, width: Of the picture, in pixels.
        where: File and id, for the message.

    Raises:
        InputError: if it is neither, or its run lengths do not fill the picture.
    """
    from pycocotools import mask as coco_mask

    runs = run_lengths(segmentation, height, width, where)
    try:
        return coco_mask.decode(runs).astype(bool)
    except Exception:  # pycocotools raises whatever its C code runs into
        raise InputError(f"{where} holds run lengths that cannot be decoded; mend it") from None


def run_lengths(segmentation, height: int, width: int, where: str):
    """Check polygons or run lengths and return them in pycocotools' own form; see `decode`."""
    from pycocotools import mask as coco_mask

    if not isinstance(segmentation, list):
        return _checked_runs(segmentation, height, width, where)
    if not all(isinstance(polygon, list) for polygon in segmentation):
        raise InputError(f"{where} holds a polygon that is no list; mend it")
    polygons = [_checked_polygon(polygon, where) for polygon in segmentation]
    polygons = [polygon for polygon in polygons if len(polygon) >= 6]
    if not polygons:
        nothing = {"size": [height, width], "counts": [height * width]}
        return coco_mask.frPyObjects(nothing, height, width)
    return coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))


def _checked_polygon(polygon, where: str) -> list[float]:
    """Return x, y, x, y, … as pycocotools wants them: whole pairs of finite numbers.

    An odd last number is dropped. Far outside the picture a coordinate says no more than just
    outside, and pycocotools would walk all the way.
    """
    far = 1e5
    numbers = all(isinstance(v, int | float) and abs(v) < math.inf for v in polygon)
    if not numbers:
        raise InputError(f"{where} holds a polygon of something else than numbers; mend it")
    polygon = polygon[: len(polygon) // 2 * 2]
    return [float(min(max(v, -far), far)) for v in polygon]


def _checked_runs(segmentation, height: int, width: int, where: str):
    """Return run lengths in pycocotools' own form."""
    from pycocotools import mask as coco_mask

    counts = segmentation.get("counts") if isinstance(segmentation, dict) else None
    if not isinstance(counts, list | str | bytes):
        raise InputError(f"{where} holds neither polygons nor run lengths; remove or mend it")
    size = segmentation.get("size")
    if size != [height, width]:
        raise InputError(
            f"{where} holds run lengths for {size!r}, its picture is {[height, width]}; mend it"
        )
    if isinstance(counts, list):
        whole = all(isinstance(n, int) and n >= 0 for n in counts)
        if not whole or sum(counts) != height * width:
            raise InputError(f"{where} holds run lengths that do not fill the picture; mend it")
        return coco_mask.frPyObjects(segmentation, height, width)
    # Characters beyond ASCII are no run lengths, and some cannot even be encoded.
    text = counts.encode("ascii", "replace") if isinstance(counts, str) else counts
    if not counts.isascii() or sum(_uncompressed(text)) != height * width:
        raise InputError(f"{where} holds run lengths that do not fill the picture; mend it")
    return {"size": size, "counts": text}


def _uncompressed(text: bytes) -> list[int]:
    """Return the run lengths in COCO's text: 6 bits a character, differences from the third on."""
    counts, position = [], 0
    while position < len(text):
        value = shift = 0
        more = True
        while more and position < len(text):
            bits = text[position] - 48
            value |= (bits & 31) << shift
            more, shift, position = bool(bits & 32), shift + 5, position + 1
            if not more and bits & 16:
                value |= -1 << shift
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
    return counts if all(n >= 0 for n in counts) else []


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


def _load(path: Path) -> dict:
    """Read an annotations file."""
    try:
        dataset = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(
            f"{path} is missing; give the folder that holds annotations/, train2017/ and val2017/ "
            "as data_dir, or see data/README.md"
        ) from None
    except (OSError, ValueError, RecursionError) as error:  # the last: nested without end
        raise InputError(f"{path} is not JSON ({error}); fetch it again") from None
    parts = dataset if isinstance(dataset, dict) else {}
    lists = ("images", "annotations", "categories")
    missing = sorted(part for part in lists if not isinstance(parts.get(part), list))
    if missing:
        raise InputError(f"{path} lacks {', '.join(missing)}; expected COCO instances")
    return dataset


def _drop_unusable(dataset: dict) -> list[str]:
    """Take out of a dataset what cannot be used, and return a line for each."""
    problems: list[str] = []

    def kept(part: str, fault) -> dict:
        usable = {}
        for number, entry in enumerate(dataset[part]):
            problem = "is no object with an id" if not _has_id(entry) else ""
            if not problem and entry["id"] in usable:
                problem = "has the id of an earlier one"
            if problem := problem or fault(entry):
                name = entry["id"] if _has_id(entry) else f"number {number}"
                problems.append(f"{SINGULAR[part]} {name} {problem}")
            else:
                usable[entry["id"]] = entry
        dataset[part] = list(usable.values())
        return usable

    def category_fault(entry: dict) -> str:
        return "" if isinstance(entry.get("name"), str) else "has no name"

    def image_fault(entry: dict) -> str:
        sides = entry.get("height"), entry.get("width")
        if not all(type(side) is int and 0 < side < 65536 for side in sides):  # True is none
            return f"has the size {sides}"
        name = entry.get("file_name")
        return "" if _is_plain_name(name) else f"has the file name {name!r}"

    def annotation_fault(entry: dict) -> str:
        image, category = entry.get("image_id"), entry.get("category_id")
        if not isinstance(image, int) or image not in images:
            return f"belongs to image {image!r}, which is not listed"
        if not isinstance(category, int) or category not in categories:
            return f"has the category {category!r}, which is not listed"
        return ""

    categories = kept("categories", category_fault)
    images = kept("images", image_fault)
    kept("annotations", annotation_fault)
    return problems


def _has_id(entry) -> bool:
    return isinstance(entry, dict) and isinstance(entry.get("id"), int)


def _is_plain_name(name) -> bool:
    """Say whether a file name stays in its folder; the JSON may come from anywhere."""
    if not isinstance(name, str) or not name or BAD_CHARACTERS.search(name):
        return False
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts


def _index(dataset: dict):
    """Hand a dataset to pycocotools, which would print while it indexes."""
    from pycocotools.coco import COCO

    coco = COCO()
    coco.dataset = dataset
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco
