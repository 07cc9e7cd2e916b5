"""The readers on a sample of the real COCO and VOC.

`TUTORIAL_REAL_DATA` names a folder with `coco/`, `voc_cats_as_coco/` and `VOCdevkit/`; without it
these tests are skipped.
"""

from pathlib import Path

import numpy as np
import pytest
from helpers import REAL, needs_real_data
from pycocotools.coco import COCO

from tutorial_lib.data import records
from tutorial_lib.data.coco import CocoSplit
from tutorial_lib.data.images import read_photograph
from tutorial_lib.data.voc import VocTree
from tutorial_lib.errors import InputError

pytestmark = needs_real_data


@pytest.mark.parametrize("split", ["train", "val"])
def test_every_annotation_is_drawn_as_pycocotools_draws_it(split):
    tree = CocoSplit(REAL / "coco", split, strict=True)
    official, crowds = COCO(str(tree.annotations_path)), 0
    for image_id in tree.image_ids():
        for annotation in tree.annotations(image_id):
            expected = official.annToMask(annotation).astype(bool)
            assert np.array_equal(tree.mask(annotation), expected), annotation["id"]
            crowds += annotation["iscrowd"]
    assert crowds >= 4


def test_no_image_is_damaged():
    for name, categories in (("coco", ["person", "cat"]), ("voc_cats_as_coco", ["cat"])):
        for split in ("train", "val"):
            tree = CocoSplit(REAL / name, split)
            assert list(tree.check(tree.image_ids(), categories)) == []


def test_voc_has_the_colors_of_the_bit_rule():
    tree = VocTree(REAL / "VOCdevkit")
    assert list(tree.check("val")) == []


def test_records_of_real_photographs_are_the_files_themselves(tmp_path):
    tree = CocoSplit(REAL / "voc_cats_as_coco", "val")
    recipes = [tree.recipe(number, ["cat"]) for number in tree.image_ids("cat")]
    assert records.write_records(recipes, tmp_path, shards=3) == 79
    photographs = sum(recipe.path.stat().st_size for recipe in recipes)
    raw = sum(4 * np.prod(recipe.shape) for recipe in recipes)
    written = sum(path.stat().st_size for path in tmp_path.glob("*.tfrecord"))
    assert written < 1.1 * photographs and raw > 6 * written
    assert not records.find_damage(tmp_path)


CASES = REAL.parent / "cases"


@pytest.mark.skipif(not CASES.is_dir(), reason="no folder `cases` beside TUTORIAL_REAL_DATA")
def test_every_case_is_read_or_refused_in_one_line():
    refused = set()
    for folder in filter(Path.is_dir, CASES.iterdir()):
        try:
            if folder.name.startswith("coco"):
                split = CocoSplit(folder, "train")
                split.read(
                    split.image_ids()[0], list(split.categories)
                ) if not split.problems else 0
            elif folder.name.startswith("voc"):
                tree = VocTree(folder)
                tree.read(tree.ids("train")[0])
            else:
                read_photograph(next(p for p in folder.iterdir() if p.name != "README"))
        except InputError as error:
            assert "\n" not in str(error)
            refused.add(folder.name)
    assert refused == {
        "coco-300-categories", "coco-cp1252", "photo-dng", "voc-adaptive", "voc-binary-255",
        "voc-default-split", "voc-two-columns",
    }  # fmt: skip
