"""The composed scenes: the same everywhere, and in the formats of COCO and VOC."""

import dataclasses
import hashlib
import os

import numpy as np
import pytest
from pycocotools.coco import COCO

from tutorial_lib.data import cache, pictograms, scenes
from tutorial_lib.data.coco import CocoSplit
from tutorial_lib.data.voc import CLASSES, VocTree, colormap
from tutorial_lib.errors import InputError
from tutorial_lib.training.pretrain import OBJECT_SPEC

COCO_SPEC, VOC_SPEC = pictograms.COCO_SPEC, pictograms.VOC_SPEC
# sha256 over image and labels of two scenes. They hold on every machine with the locked versions;
# whoever changes the pixels on purpose raises pictograms.VERSION and writes new ones.
HASHES = {
    "coco": "214a512f0d8ca31cc1e503e57ba5e42e7bc3e4d4a3b9905bbe0b5a8da63a4a37",
    "voc": "f408e8e7c764b7b24e1393fae89bfadccf23328105a44a9e03298e4a530267eb",
    "pictures": "49cd713de0768d86b894501d400266fd414174944cf30ffe288fbb2baa57488d",
}
SPECS = {"coco": COCO_SPEC, "voc": VOC_SPEC, "pictures": OBJECT_SPEC}


def digest(spec, seed=3, indices=(0, 11)):
    total = hashlib.sha256()
    for index in indices:
        scene = pictograms.compose(spec, seed, index)
        total.update(scene.image.tobytes() + scene.labels.tobytes())
    return total.hexdigest()


@pytest.mark.parametrize("name", SPECS)
def test_scenes_are_the_same_on_every_machine(name):
    assert digest(SPECS[name]) == HASHES[name]


def test_every_seed_and_index_has_its_own_scene():
    digests = {digest(COCO_SPEC, seed, [index]) for seed in (0, 1) for index in range(5)}
    assert len(digests) == 10


@pytest.mark.parametrize("category", pictograms.LOOKS)
def test_all_twenty_voc_classes_can_be_composed(category):
    spec = dataclasses.replace(VOC_SPEC, categories=(category,), objects=(1, 1), distractors=(0, 0))
    scene = pictograms.compose(spec, 0, 1)
    assert [instance.category for instance in scene.instances] == [category]
    label = CLASSES.index(category)
    assert set(np.unique(scene.labels)) == {0, label, 255}


def test_every_glyph_is_in_the_font():
    for name in [
        *pictograms.DISTRACTORS,
        *(n for look in pictograms.LOOKS.values() for n in look.glyphs),
    ]:
        points = np.concatenate(pictograms.glyph(name).outer)
        assert np.isclose(np.ptp(points, axis=0).max(), 1)


def test_labels_follow_the_visible_masks():
    for index in range(20):
        scene = pictograms.compose(COCO_SPEC, 0, index)
        assert scene.image.dtype == scene.labels.dtype == np.uint8
        assert scene.image.shape[:2] == scene.labels.shape
        union = np.zeros(scene.labels.shape, bool)
        for instance in scene.instances:
            assert not (union & instance.mask).any()  # nothing is visible twice
            union |= instance.mask
            label = CLASSES.index(instance.category)
            inside = instance.mask & (scene.labels != 255)
            assert (scene.labels[inside] == label).all()
        assert not scene.labels[~union & (scene.labels != 255)].any()


def test_about_half_of_the_scenes_hold_the_wanted_class():
    scenes = [pictograms.compose(COCO_SPEC, 0, index) for index in range(120)]
    share = np.mean([any(i.category == "cat" for i in s.instances) for s in scenes])
    assert 0.35 < share < 0.65


@pytest.fixture(scope="module")
def coco_root(tmp_path_factory):
    return scenes.coco_tree(seed=1, train=45, val=3, home=tmp_path_factory.mktemp("coco"))


def test_the_coco_tree_is_coco(coco_root):
    path = coco_root / "annotations" / "instances_train2017.json"
    tree = COCO(str(path))
    assert len(tree.getImgIds()) == 45
    assert {c["id"]: c["name"] for c in tree.loadCats(tree.getCatIds())}[17] == "cat"
    assert len(pictograms.COCO_SPEC.categories) >= 8
    overlaps = []
    for image_id in tree.getImgIds():
        scene = pictograms.compose(COCO_SPEC, 1, image_id - 1)
        annotations = tree.imgToAnns[image_id]
        assert len(annotations) == len(scene.instances)
        for annotation, instance in zip(annotations, scene.instances, strict=True):
            mask = tree.annToMask(annotation).astype(bool)
            overlaps.append((mask & instance.mask).sum() / (mask | instance.mask).sum())
            assert annotation["area"] == instance.mask.sum()
            left, top, width, height = annotation["bbox"]
            assert (
                instance.mask[top : top + height, left : left + width].sum() == annotation["area"]
            )
    assert np.mean(overlaps) > 0.97
    crowds = [a for a in tree.dataset["annotations"] if a["iscrowd"]]
    assert crowds and all(isinstance(a["segmentation"]["counts"], list) for a in crowds)


def test_our_reader_reads_the_coco_tree(coco_root):
    split = CocoSplit(coco_root, "train")
    for image_id in split.image_ids("cat")[:5]:
        sample = split.read(image_id, ["cat"])
        scene = pictograms.compose(COCO_SPEC, 1, image_id - 1)
        cats = sum((i.mask for i in scene.instances if i.category == "cat"), np.zeros((), bool))
        certain = sample.labels != 255
        assert np.mean((sample.labels == 1)[certain] != cats[certain]) < 0.01


def test_the_voc_tree_is_voc(tmp_path):
    tree = VocTree(scenes.voc_tree(seed=1, train=4, val=2, home=tmp_path))
    assert len(tree.ids("train")) == 4 and len(tree.ids("trainval")) == 6
    for index, sample in enumerate(tree.samples("trainval")):
        scene = pictograms.compose(VOC_SPEC, 1, index)
        assert np.array_equal(sample.labels, scene.labels)
        assert np.abs(sample.image.astype(int) - scene.image).mean() < 4  # JPEG
    from PIL import Image

    with Image.open(tree.labels_path(tree.ids("train")[0])) as image:
        assert image.mode == "P"
        palette = np.array(image.getpalette()).reshape(-1, 3)
    assert np.array_equal(palette, colormap()[: len(palette)])


def test_a_tree_is_made_once_and_again_when_it_is_damaged(tmp_path):
    make = lambda: scenes.voc_tree(seed=2, train=2, val=1, home=tmp_path)  # noqa: E731
    folder = make()
    image = next(folder.glob("VOC2012/JPEGImages/*.jpg"))
    good, stamp = image.read_bytes(), image.stat().st_mtime_ns
    make()
    assert image.stat().st_mtime_ns == stamp
    for damage in (lambda: image.write_bytes(b"x"), image.unlink):
        damage()
        assert cache.damaged_files(folder) == [image.relative_to(folder).as_posix()]
        make()
        assert image.read_bytes() == good
    assert [path.name for path in folder.parent.iterdir()] == ["VOCdevkit"]  # nothing half-made


def test_two_makings_give_the_same_bytes(tmp_path):
    one, two = (scenes.coco_tree(0, 2, 1, home=tmp_path / name) for name in "ab")
    assert (one / cache.MANIFEST).read_bytes() == (two / cache.MANIFEST).read_bytes()


def test_a_place_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "cache").write_text("a file in the way")
    with pytest.raises(InputError, match="set TUTORIAL_DATA to a folder that can be written"):
        scenes.coco_tree(0, 1, 1, home=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


def test_an_error_while_building_leaves_nothing(tmp_path):
    def build(folder):
        (folder / "half").write_text("half")
        raise OSError(28, "No space left on device")

    with pytest.raises(InputError, match="No space left on device"):
        cache.cached_folder(tmp_path / "tree", build)
    assert not list(tmp_path.iterdir())


def test_an_unfinished_folder_is_removed_when_it_is_a_day_old(tmp_path):
    young, old, other = (
        tmp_path / f".{name}.partial" for name in ("tree.abcd_123", "tree.abcd_456", "tree-2.abcd")
    )
    for path in (young, old, other):
        path.mkdir()
        if path != young:
            os.utime(path, (0, 0))
    cache.cached_folder(tmp_path / "tree", lambda folder: None)
    assert set(tmp_path.iterdir()) == {tmp_path / "tree", young, other}


def test_the_members_of_a_group_touch():
    spec = dataclasses.replace(COCO_SPEC, groups=1.0, objects=(1, 1), distractors=(0, 0))
    gaps, sizes = [], set()
    for index in range(24):
        found = pictograms.compose(spec, 1, index).instances
        edges = sorted(np.flatnonzero(one.mask.any(axis=0))[[0, -1]].tolist() for one in found)
        sizes.add(len(edges))
        gaps += [b[0] - a[1] for a, b in zip(edges[:-1], edges[1:], strict=True)]
    assert max(sizes) > 2 and np.mean(np.array(gaps) <= 1) > 0.8
