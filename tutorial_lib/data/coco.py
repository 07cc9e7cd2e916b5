"""The COCO tree: reading photographs, and turning their annotations into label maps.

Lin et al., "Microsoft COCO: Common Objects in Context", ECCV 2014. Polygons and run lengths are
decoded by pycocotools, COCO's own code.

What COCO really holds is taken as it is: gray and CMYK photographs, images without annotations,
empty polygons, polygons that leave the image. What is broken is found when the tree is opened or
a sample is read, named with its file and id, and left out or refused, as the caller wants.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from pycocotools import mask as coco_mask

from tutorial_lib.data.images import VOID, Sample, check_size, read_photograph
from tutorial_lib.errors import InputError, check_choice, read_text

# In a file name: other drives, and what is no text or not of one line.
BAD_CHARACTERS = re.compile(r"[:\x00-\x1f\ud800-\udfff]")


class CocoSplit:
    """One split of a COCO 2017 tree: `annotations/instances_<split>2017.json` and its images.

    Attributes:
        categories: Category name → COCO's id.
        problems: A line for each entry of the JSON file that is broken. All are left out, but
            for annotations that share an id and images that share a file, which are used.
    """

    def __init__(self, root: str | Path, split: str, strict: bool = False):
        """Open a split.

        Args:
            root: The folder that holds `annotations`, `train2017` and `val2017`.
            split: "train" or "val".
            strict: Refuse a file with any broken entry.

        Raises:
            InputError: if the annotations are missing, or are not COCO's JSON.
        """
        check_choice("split", split, ("train", "val"))
        self.annotations_path = Path(root) / "annotations" / f"instances_{split}2017.json"
        self.folder = _followed(Path(root) / f"{split}2017")
        self.categories: dict[str, int] = {}
        self._ids: dict[str, int] = {}  # by `_key`
        self.problems: list[str] = []
        self._images: dict[int, dict] = {}
        self._annotations: dict[int, list[dict]] = defaultdict(list)  # by image
        dataset = _load(self.annotations_path)
        same_name = self._read_categories(dataset["categories"])
        left_out = self._read_images(dataset["images"])
        self._read_annotations(dataset["annotations"], same_name, left_out)
        if strict and self.problems:
            more = len(self.problems) - 1
            raise InputError(self.problems[0] + (f" (and {more} more)" if more else ""))

    def _read_categories(self, entries: list) -> dict[int, int]:
        """Fill `categories`; return for each id the id of the first category of that name."""
        same_name = {}
        for number, entry in self._numbered("category", entries):
            name = entry.get("name")
            if not isinstance(name, str) or not name.strip():
                self._note(f"category {number} has no name")
            elif number in same_name:
                self._note(f"category {number} has the id of an earlier one")
            else:
                same_name[number] = self._ids.setdefault(_key(name), number)
                if same_name[number] == number:
                    self.categories[name.strip()] = number
        return same_name

    def _read_images(self, entries: list) -> set[int]:
        """Fill `_images`; return the ids of those that are left out."""
        left_out = set()
        for number, entry in self._numbered("image", entries):
            sides, name = (entry.get("height"), entry.get("width")), entry.get("file_name")
            height, width = map(_whole, sides)
            name = name.replace("\\", "/") if isinstance(name, str) else name  # from Windows
            if number in self._images:
                self._note(f"image {number} has the id of an earlier one")
            elif not (0 < (height or 0) < 65536 and 0 < (width or 0) < 65536):
                self._note(f"image {number} has the size {sides}, expected height and width")
                left_out.add(number)
            elif not _is_plain_name(name):
                what = f"has the file name {entry.get('file_name')!r}, expected one in its folder"
                self._note(f"image {number} {what}")
                left_out.add(number)
            else:
                known = {"id": number, "height": height, "width": width, "file_name": name}
                self._images[number] = {**entry, **known}
        return left_out

    def _read_annotations(self, entries: list, same_name: dict, left_out: set) -> None:
        """Fill `_annotations`; of images that are left out it is said already."""
        seen = set()
        for number, entry in self._numbered("annotation", entries):
            image, category = _whole(entry.get("image_id")), _whole(entry.get("category_id"))
            crowd = entry.get("iscrowd") or 0  # optional
            crowd = _whole(int(crowd) if isinstance(crowd, bool) else crowd)
            if image not in self._images:
                if image not in left_out:
                    what = f"belongs to image {entry.get('image_id')!r}, which is not listed"
                    self._note(f"annotation {number} {what}")
            elif category not in same_name:
                what = f"has the category {entry.get('category_id')!r}, which is not listed"
                self._note(f"annotation {number} {what}")
            elif crowd not in (0, 1):
                self._note(f"annotation {number} has iscrowd {entry['iscrowd']!r}, expected 0 or 1")
            else:
                if number in seen:
                    self._note(f"annotation {number} has the id of an earlier one; both are used")
                seen.add(number)
                known = {"id": number, "image_id": image, "iscrowd": crowd}
                known["category_id"] = same_name[category]
                self._annotations[image].append({"bbox": None, **entry, **known})

    def _numbered(self, kind: str, entries: list) -> Iterator[tuple[int | str, dict]]:
        """Yield the entries of one list of the JSON file with their ids.

        Only messages need the id of an annotation, so that may be a text, or missing.
        """
        for position, entry in enumerate(entries):
            number = _whole(entry.get("id")) if isinstance(entry, dict) else None
            if number is None and kind == "annotation" and isinstance(entry, dict):
                number = f"number {position}"
            if number is None:
                self._note(f"{kind} number {position} is no object with an id, a whole number")
            else:
                yield number, entry

    def _note(self, problem: str) -> None:
        self.problems.append(f"{self.annotations_path}: {problem}")

    def print_problems(self, most: int = 5) -> None:
        """Print the first few problems, and how many more there are; nothing if all is well."""
        for problem in self.problems[:most]:
            print(problem)
        if len(self.problems) > most:
            print(f"… and {len(self.problems) - most} more; `tutorial data check coco` lists all")

    def image_ids(self, category: str | None = None) -> list[int]:
        """Return the ids of all images, or of those with an object of a category, in order.

        Raises InputError if the category is unknown.
        """
        if category is None:
            return sorted(self._images)
        self._category(category)  # raises if it is unknown, also where there are no images
        return [n for n in sorted(self._images) if self.annotations(n, category)]

    def entry(self, image_id: int) -> dict:
        """Return the entry of an image in the JSON file."""
        return self._images[image_id]

    def annotations(self, image_id: int, category: str | None = None) -> list[dict]:
        """Return the annotations of an image, of one category if it is named."""
        found = self._annotations.get(image_id, [])
        if category is None:
            return found
        wanted = self._category(category)
        return [annotation for annotation in found if annotation["category_id"] == wanted]

    def _category(self, name: str) -> int:
        """Return the id of a category; upper case and spaces in its name do not matter."""
        if _key(name) not in self._ids:
            check_choice("category", name, self.categories)
        return self._ids[_key(name)]

    def image_path(self, image_id: int) -> Path:
        """Return the path of an image."""
        return self.folder / self._images[image_id]["file_name"]

    def mask(self, annotation: dict) -> np.ndarray:
        """Decode one annotation: bool (height, width); see `run_lengths`."""
        return self._recipe(annotation["image_id"], ()).mask(annotation)

    def recipe(self, image_id: int, categories: Sequence[str]) -> CocoRecipe:
        """Return what has to be read and drawn for one sample, without doing it.

        The categories get the labels 1, 2, 3, …; all else is 0, background. Raises InputError if a
        category is unknown or named twice, or there are more than 254.
        """
        if len(categories) >= VOID:
            raise InputError(
                f"{len(categories)} categories are named; choose at most {VOID - 1}, since a "
                f"label is one byte, in which 0 is background and {VOID} void"
            )
        if len({_key(name) for name in categories}) < len(categories):
            raise InputError(f"a category is named twice: {', '.join(categories)}")
        numbered = enumerate(categories, start=1)
        labeled = [(n, a) for n, name in numbered for a in self.annotations(image_id, name)]
        return self._recipe(image_id, labeled)

    def _recipe(self, image_id: int, labeled: Iterable[tuple[int, dict]]) -> CocoRecipe:
        entry, path = self._images[image_id], self.image_path(image_id)
        shape = entry["height"], entry["width"]
        return CocoRecipe(image_id, path, shape, tuple(labeled), str(self.annotations_path))

    def read(self, image_id: int, categories: Sequence[str]) -> Sample:
        """Read one image and draw its label map.

        Raises InputError if the image is missing, damaged or not of the size that is annotated.
        """
        return self.recipe(image_id, categories).read()

    def samples(self, image_ids: Iterable[int], categories: Sequence[str]) -> Iterator[Sample]:
        """Read several images with their label maps, one after the other."""
        for image_id in image_ids:
            yield self.read(image_id, categories)

    def check(self, image_ids: Iterable[int], categories: Sequence[str] = ()) -> Iterator[str]:
        """Read several images; yield a line for each thing in them that is damaged.

        Of the annotations, those of some categories are examined, or all if none is named.
        """
        wanted = {self._category(name) for name in categories or self.categories}
        for image_id in image_ids:
            found = [(1, a) for a in self.annotations(image_id) if a["category_id"] in wanted]
            for problem in self._recipe(image_id, found).problems():
                yield f"image {image_id}: {problem}"


@dataclass(frozen=True)
class CocoRecipe:
    """All that one sample is made from; small enough to hand to another process.

    Attributes:
        shape: (height, width) in the JSON file.
        annotations: Pairs of a label and an annotation, in the order in which they are drawn.
        source: The JSON file, for messages.
    """

    image_id: int
    path: Path
    shape: tuple[int, int]
    annotations: tuple[tuple[int, dict], ...]
    source: str

    @property
    def id(self) -> str:
        return self.path.stem

    @property
    def files(self) -> tuple[Path, ...]:
        return (self.path,)

    def labels(self) -> np.ndarray:
        """Draw the label map: uint8 (height, width).

        Crowds, whose boundaries COCO annotates only roughly, become 255, void.
        """
        labels = np.zeros(self.shape, np.uint8)
        for label, annotation in self.annotations:
            labels[self.mask(annotation)] = VOID if annotation["iscrowd"] else label
        return labels

    def mask(self, annotation: dict) -> np.ndarray:
        """Decode one annotation: bool (height, width); see `run_lengths`."""
        return coco_mask.decode(self._run_lengths(annotation)).astype(bool)

    def _run_lengths(self, annotation: dict) -> dict:
        where, box = f"{self.source}: annotation {annotation['id']}", annotation.get("bbox")
        runs = run_lengths(annotation.get("segmentation"), *self.shape, where)
        # A box without an outline, or an outline in other units or as pairs of numbers, would
        # become background without a word.
        if not coco_mask.area(runs) and not _is_tiny(box):
            raise InputError(
                f"{where} marks no pixel of the image, but its box is {box}; "
                "expected an outline x, y, x, y, … in pixels"
            )
        return runs

    def read(self) -> Sample:
        """Read the image and draw its label map; see `CocoSplit.read`."""
        image = self._image()  # first: a wrong size in the JSON file may fill the memory
        return Sample(self.id, image, self.labels(), self.path)

    def _image(self) -> np.ndarray:
        image = read_photograph(self.path)
        check_size(self.path, image, self.shape)
        return image

    def problems(self) -> Iterator[str]:
        """Yield a line for each thing that keeps this sample from being read: all, not one."""
        try:
            self._image()
        except InputError as problem:
            yield str(problem)
        for _, annotation in self.annotations:
            try:
                self._run_lengths(annotation)
            except InputError as problem:
                yield str(problem)


def run_lengths(segmentation, height: int, width: int, where: str) -> dict:
    """Return COCO's polygons or run lengths in pycocotools' form, from which it decodes a mask.

    Several polygons are parts of one object. Polygons of fewer than three points enclose nothing,
    and are passed over. Run lengths come as numbers or as COCO's text. `where` names file and id,
    for the message. Raises InputError if it is neither, or its run lengths do not fill the image.
    """
    if not isinstance(segmentation, list):
        return _checked_runs(segmentation, height, width, where)
    polygons = [_checked_polygon(polygon, where) for polygon in segmentation]
    polygons = [polygon for polygon in polygons if len(polygon) >= 6]
    if not polygons:
        return coco_mask.encode(np.zeros((height, width), np.uint8, order="F"))
    return coco_mask.merge(coco_mask.frPyObjects(polygons, height, width))


def _checked_polygon(polygon, where: str) -> list[float]:
    """Return x, y, x, y, … as pycocotools wants them: whole pairs of finite numbers.

    An odd last number is dropped. Coordinates far outside the image are moved to just outside,
    because pycocotools would walk all the way there.
    """
    far = 1e5
    if not isinstance(polygon, list):
        raise InputError(f"{where} holds a polygon that is no list; mend it")
    if not all(isinstance(v, int | float) and abs(v) < math.inf for v in polygon):
        raise InputError(f"{where} holds a polygon of something else than numbers; mend it")
    return [float(min(max(v, -far), far)) for v in polygon[: len(polygon) // 2 * 2]]


def _checked_runs(segmentation, height: int, width: int, where: str) -> dict:
    """Return run lengths, given as numbers or as text, in pycocotools' own form."""
    counts = segmentation.get("counts") if isinstance(segmentation, dict) else None
    if not isinstance(counts, list | str):
        raise InputError(f"{where} holds neither polygons nor run lengths; remove or mend it")
    size, found = [height, width], segmentation.get("size")
    if not isinstance(found, list) or list(map(_whole, found)) != size:
        raise InputError(f"{where} holds run lengths for {found!r}, its image is {size}; mend it")
    if isinstance(counts, str):  # what is beyond ASCII is no text of COCO
        numbers = _uncompressed(counts.encode()) if counts.isascii() else []
    else:
        numbers = list(map(_whole, counts))
    if None in numbers or min(numbers, default=0) < 0 or sum(numbers) != height * width:
        raise InputError(f"{where} holds run lengths that do not fill the image; mend it")
    if isinstance(counts, str):
        return {"size": size, "counts": counts.encode()}
    return coco_mask.frPyObjects({"size": size, "counts": numbers}, height, width)


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
        if more:
            return []  # the last number is cut off
        counts.append(value + (counts[-2] if len(counts) > 2 else 0))
    return counts


def _is_tiny(box) -> bool:
    """Return whether a box, [x, y, width, height], is less than two pixels wide or high."""
    known = isinstance(box, list) and len(box) == 4
    return known and all(isinstance(v, int | float) for v in box) and min(box[2:]) < 2


def _whole(value) -> int | None:
    """Return a whole number that a JSON file may hold as 5, 5.0 or "5"; None for all else."""
    if isinstance(value, str) and re.fullmatch(r"\s*-?[0-9]{1,18}\s*", value):
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if type(value) is int else None  # True is none


def _key(name: str) -> str:
    """Return what is equal for two spellings of a category: `Traffic  light`, `traffic light`."""
    return unicodedata.normalize("NFC", " ".join(name.split()).casefold())


def _is_plain_name(name) -> bool:
    """Return whether a file name stays in its folder; the JSON may come from anywhere."""
    if not isinstance(name, str) or not name or BAD_CHARACTERS.search(name):
        return False
    path = PurePosixPath(name)
    return not path.is_absolute() and ".." not in path.parts


def _followed(path: Path) -> Path:
    """Follow a link that lies there as a text file, as git leaves it where links are unknown."""
    if path.is_file() and path.stat().st_size < 4096:
        target = path.parent / path.read_text(encoding="utf-8", errors="replace").strip()
        if target.is_dir():
            return target
    return path


def _load(path: Path) -> dict:
    """Read an annotations file."""
    try:
        dataset = json.loads(read_text(path))
    except FileNotFoundError:
        there = ", ".join(sorted(found.name for found in path.parent.glob("*.*"))) or "none"
        raise InputError(
            f"{path} is missing; give the folder that holds annotations/, train2017/ and val2017/ "
            f"as data_dir, or see data/README.md; annotations that are there: {there}"
        ) from None
    except InputError:
        raise
    except (ValueError, RecursionError) as error:  # the last: nested without end
        raise InputError(f"{path} is not JSON ({error}); export or download it anew") from None
    parts = dataset if isinstance(dataset, dict) else {}
    lists = ("images", "annotations", "categories")
    missing = sorted(part for part in lists if not isinstance(parts.get(part), list))
    if missing:
        raise InputError(f"{path} lacks {', '.join(missing)}; expected COCO instances")
    return dataset
