"""The bundled scenes on disk, as a real COCO tree and a real VOC tree.

They are written in the very formats of the originals, so that one reader serves both and a
notebook has no second path for bundled data.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import joblib
import numpy as np
from PIL import Image

from tutorial_lib.data import data_home, pictograms
from tutorial_lib.data.cache import cached_folder
from tutorial_lib.data.pictograms import COCO_SPEC, VOC_SPEC, Instance, SceneSpec
from tutorial_lib.data.voc import label_png
from tutorial_lib.errors import InputError

JPEG_QUALITY = 92
WORTH_PROCESSES = 200  # scenes; making fewer takes less time than starting the processes

# COCO's own id, name and supercategory of each class that PASCAL VOC has too.
COCO_CATEGORIES = {
    "person": (1, "person", "person"), "bicycle": (2, "bicycle", "vehicle"),
    "car": (3, "car", "vehicle"), "motorbike": (4, "motorcycle", "vehicle"),
    "aeroplane": (5, "airplane", "vehicle"), "bus": (6, "bus", "vehicle"),
    "train": (7, "train", "vehicle"), "boat": (9, "boat", "vehicle"),
    "bird": (16, "bird", "animal"), "cat": (17, "cat", "animal"),
    "dog": (18, "dog", "animal"), "horse": (19, "horse", "animal"),
    "sheep": (20, "sheep", "animal"), "cow": (21, "cow", "animal"),
    "bottle": (44, "bottle", "kitchen"), "chair": (62, "chair", "furniture"),
    "sofa": (63, "couch", "furniture"), "pottedplant": (64, "potted plant", "furniture"),
    "diningtable": (67, "dining table", "furniture"), "tvmonitor": (72, "tv", "electronic"),
}  # fmt: skip
CROWD_EVERY = 40  # one scene in so many has an object annotated as a crowd, by run lengths


def coco_tree(
    seed: int = 0,
    train: int = 400,
    val: int = 100,
    spec: SceneSpec = COCO_SPEC,
    home: Path | None = None,
) -> Path:
    """Return the folder of a COCO tree of scenes; made at the first call, then reused.

    It holds `train2017/`, `val2017/` and `annotations/instances_{train,val}2017.json`.

    Args:
        train, val: Number of scenes in each split; no scene is in both.
        home: Folder for caches; by default `data_home()`.

    Raises:
        InputError: if a number is negative or the folder cannot be written.
    """

    def build(folder: Path) -> None:
        (folder / "annotations").mkdir()
        for split, indices in _splits(train, val).items():
            _write_coco_split(folder, f"{split}2017", spec, seed, indices)

    return cached_folder(_place("scenes-coco", seed, train, val, spec, home), build)


def voc_tree(
    seed: int = 0,
    train: int = 400,
    val: int = 100,
    spec: SceneSpec = VOC_SPEC,
    home: Path | None = None,
) -> Path:
    """Return a `VOCdevkit` folder of scenes; made at the first call, then reused.

    It holds `VOC2012/` with `JPEGImages/`, `SegmentationClass/` and
    `ImageSets/Segmentation/{train,val,trainval}.txt`. Arguments and errors as for `coco_tree`.
    """

    def build(folder: Path) -> None:
        _write_voc(folder / "VOC2012", spec, seed, _splits(train, val))

    return cached_folder(_place("scenes-voc", seed, train, val, spec, home) / "VOCdevkit", build)


def _splits(train: int, val: int) -> dict[str, range]:
    return {"train": range(train), "val": range(train, train + val)}


def _place(kind: str, seed: int, train: int, val: int, spec: SceneSpec, home: Path | None) -> Path:
    """Return a folder name that differs whenever the content would."""
    if min(seed, train, val) < 0:
        raise InputError(f"seed, train and val must not be negative: {seed}, {train}, {val}")
    recipe = [pictograms.VERSION, seed, train, val, dataclasses.asdict(spec)]
    digest = hashlib.sha256(json.dumps(recipe).encode()).hexdigest()[:12]
    return (home or data_home()) / "cache" / f"{kind}-{digest}"


def _write_coco_split(folder: Path, split: str, spec: SceneSpec, seed: int, indices) -> None:
    (folder / split).mkdir()
    images, annotations = [], []
    write = functools.partial(_write_coco_scene, folder / split, spec, seed)
    for image, found in _in_parallel(write, indices):
        images.append(image)
        for annotation in found:
            annotations.append({"id": len(annotations) + 1, **annotation})
    tree = {
        "info": {"description": "Composed scenes of pictograms", "year": 2026, "version": "1.0"},
        "licenses": [{"id": 1, "name": "Apache-2.0 (glyphs), see data/README.md", "url": ""}],
        "images": images,
        "annotations": annotations,
        "categories": [
            {"id": number, "name": name, "supercategory": above}
            for number, name, above in COCO_CATEGORIES.values()
        ],
    }
    path = folder / "annotations" / f"instances_{split}.json"
    path.write_text(json.dumps(tree), encoding="utf-8")


def _write_coco_scene(folder: Path, spec: SceneSpec, seed: int, index: int):
    """Write one image; return its entry and its annotations, still without ids."""
    scene = pictograms.compose(spec, seed, index)
    image_id = index + 1  # COCO has no image 0
    file_name = f"{image_id:012d}.jpg"
    _save_jpeg(scene.image, folder / file_name)
    height, width = scene.labels.shape
    image = {
        "id": image_id, "file_name": file_name, "height": height, "width": width, "license": 1,
    }  # fmt: skip
    crowds = index % CROWD_EVERY == CROWD_EVERY - 1
    return image, [
        _annotation(instance, image_id, crowds and instance is scene.instances[0])
        for instance in scene.instances
    ]


def _in_parallel(function: Callable, jobs: Sequence) -> Iterator:
    """Call a function for each job on all cores; results come in order.

    A scene depends on its index alone, so it does not matter which process makes it.
    """
    workers = -1 if len(jobs) >= WORTH_PROCESSES else 1
    with joblib.Parallel(workers, return_as="generator") as parallel:
        yield from parallel(joblib.delayed(function)(job) for job in jobs)


def _annotation(instance: Instance, image_id: int, crowd: bool) -> dict:
    """Describe one object as COCO does; what can be seen of it counts, not what is hidden."""
    rows, columns = np.nonzero(instance.mask)
    left, top = int(columns.min()), int(rows.min())
    return {
        "image_id": image_id,
        "category_id": COCO_CATEGORIES[instance.category][0],
        "iscrowd": int(crowd),
        "area": int(instance.mask.sum()),
        "bbox": [left, top, int(columns.max()) + 1 - left, int(rows.max()) + 1 - top],
        "segmentation": uncompressed_run_lengths(instance.mask)
        if crowd
        else visible_polygons(instance),
    }


def uncompressed_run_lengths(mask: np.ndarray) -> dict:
    """Return COCO's uncompressed run lengths: column by column, zeros first."""
    flat = np.concatenate([[False], mask.ravel(order="F")])
    changes = np.flatnonzero(flat[1:] != flat[:-1])
    counts = np.diff(np.concatenate([[0], changes, [mask.size]]))
    return {"counts": counts.tolist(), "size": list(mask.shape)}


def visible_polygons(instance: Instance) -> list[list[float]]:
    """Return COCO's polygons [x0, y0, x1, y1, …] of what can be seen of an object.

    If all of it can, they are the glyph's polygons; else the border of the visible part is
    traced. Parts of fewer than three points are left out, as COCO cannot hold them.
    """
    from skimage.measure import approximate_polygon, find_contours

    height, width = instance.mask.shape
    outline = np.concatenate(instance.outline)
    inside = (outline >= 0).all() and (outline <= [width, height]).all()
    whole = pictograms.cover_of(instance.outline, instance.mask.shape) > 127
    if inside and np.array_equal(whole, instance.mask):
        parts = list(instance.outline)
    else:
        # A frame of zeros closes contours at the image's edge; half a pixel leads from pixel
        # centers, where the tracing works, to pixel corners, where COCO counts from.
        framed = np.pad(instance.mask, 1)
        parts = [
            approximate_polygon(contour, 0.4)[:-1, ::-1] - 0.5
            for contour in find_contours(framed.astype(float), 0.5)
            if _signed_area(contour) > 0  # holes run the other way round
        ]
    return [[round(float(v), 2) for v in part.ravel()] for part in parts if len(part) >= 3]


def _signed_area(contour: np.ndarray) -> float:
    y, x = contour.T
    return float(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1]))


def _write_voc(root: Path, spec: SceneSpec, seed: int, splits: dict[str, range]) -> None:
    for name in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation"):
        (root / name).mkdir(parents=True)
    both = range(splits["val"].stop)
    list(_in_parallel(functools.partial(_write_voc_scene, root, spec, seed), both))
    for split, indices in {**splits, "trainval": both}.items():
        names = "".join(f"{_voc_name(index)}\n" for index in indices)
        (root / "ImageSets" / "Segmentation" / f"{split}.txt").write_text(names, encoding="utf-8")


def _write_voc_scene(root: Path, spec: SceneSpec, seed: int, index: int) -> None:
    scene, name = pictograms.compose(spec, seed, index), _voc_name(index)
    _save_jpeg(scene.image, root / "JPEGImages" / f"{name}.jpg")
    (root / "SegmentationClass" / f"{name}.png").write_bytes(label_png(scene.labels))


def _voc_name(index: int) -> str:
    return f"2012_{index:06d}"


def _save_jpeg(image: np.ndarray, path: Path) -> None:
    Image.fromarray(image).save(path, quality=JPEG_QUALITY, subsampling=0)
