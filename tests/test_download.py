"""Downloads from servers that fail: no half file, no wrong bytes, and as few bytes as possible."""

import contextlib
import dataclasses
import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import textwrap
import zipfile
from urllib.parse import quote

import numpy as np
import pytest
from helpers import one_line, run
from misbehaving import running
from PIL import Image

from tutorial_lib.data import download
from tutorial_lib.data.download import RemoteFile, fetch_files
from tutorial_lib.data.voc import VocTree, label_png, read_sbd_mask
from tutorial_lib.errors import InputError

BODY = bytes(range(256)) * 800


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setattr("pooch.core.time.sleep", lambda seconds: None)
    with running() as server:
        server.files["/file"] = BODY
        yield server


def remote(server, *paths, body=BODY):
    digest = "sha256:" + hashlib.sha256(body).hexdigest()
    return RemoteFile(
        "d/file", tuple(server.url + p for p in paths or ["/file"]), len(body), digest
    )


def jpeg(width=12, height=8):
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (90, 10, 200)).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("part", "mishaps", "requests"),
    [
        (b"", [], 1),
        (b"", ["drop", "drop"], 3),
        (b"", ["wrong"], 2),
        (b"", [503, 429, "drop"], 4),
        (b"", ["drop", "ignore-range"], 2),
        (b"", ["drop", "shifted"], 3),
        (BODY[:1000], [], 1),
        (b"another file", [], 2),
        (BODY[::-1], [], 1),
        (BODY + b"more", [], 1),
    ],
)
def test_a_file_arrives_in_the_end(server, tmp_path, part, mishaps, requests):
    server.mishaps["/file"] = list(mishaps)
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / ".file.part").write_bytes(part)
    (path,) = fetch_files([remote(server)], tmp_path)
    assert path == tmp_path / "d" / "file" and path.read_bytes() == BODY
    assert list(path.parent.iterdir()) == [path]
    assert server.requests["/file"] == requests
    resumable = "drop" in mishaps or 0 < len(part) < len(BODY)
    assert any(server.ranges) == resumable, "only what is there in part is resumed"


@pytest.mark.parametrize(
    ("mishaps", "message"),
    [
        ([404], "answered 404"),
        ([503] * 9, "answered 503"),
        (["wrong"] * 9, "wrong bytes twice"),
        (["html"], "a web page instead"),
        (["long"], "offers 204,804 bytes instead of 204,800"),
    ],
)
def test_a_failure_is_one_line_and_keeps_the_part(server, tmp_path, mishaps, message):
    server.mishaps["/file"] = mishaps
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / ".file.part").write_bytes(BODY[:1000])
    one_line(lambda: fetch_files([remote(server)], tmp_path), f"{message}.* be put there by hand")
    left = [] if "wrong" in message else [".file.part"]
    assert [path.name for path in (tmp_path / "d").iterdir()] == left


def test_mirrors_are_tried_in_turn(server, tmp_path):
    server.mishaps["/dead"] = [500] * 9
    file = remote(server, "/none", "/dead", "/file")
    file = dataclasses.replace(file, mirrors=("http://127.0.0.1:9/", "no address", *file.mirrors))
    (path,) = fetch_files([file], tmp_path, mirrors=[f"{server.url}/own/"])
    assert path.read_bytes() == BODY
    assert list(server.requests) == ["/own/d/file", "/none", "/dead", "/file"]


def test_a_folder_that_cannot_be_written(server, tmp_path):
    (tmp_path / "d").write_text("a file in the way")
    with pytest.raises(InputError, match="cannot write"):
        fetch_files([remote(server)], tmp_path)


def images(server, count):
    for n in range(count):
        server.files[f"/{n}"] = jpeg(n + 1)
    return [
        RemoteFile(f"many/{n}", (f"{server.url}/{n}",), image_size=(n + 1, 8)) for n in range(count)
    ]


def test_only_missing_and_damaged_files_are_fetched_and_the_amount_comes_first(server, tmp_path):
    files, lines = images(server, 20), []
    server.mishaps |= {"/3": [429, "drop"], "/8": ["drop"]}
    fetch_files(files, tmp_path, echo=lines.append, estimate=1000)
    (tmp_path / "many" / "5").unlink()
    (tmp_path / "many" / "6").write_bytes(jpeg(7)[:-200])
    server.requests.clear()
    fetch_files(files, tmp_path, echo=lines.append, estimate=1000)
    assert set(server.requests) == {"/5", "/6"}
    assert lines == [
        "files to fetch: 20 (20.0kB), here already: 0",
        "files fetched: 20",
        "files to fetch: 2 (2.00kB), here already: 18",
        "files fetched: 2",
    ]


def test_a_failure_does_not_stop_the_other_files(server, tmp_path):
    files = images(server, 20)
    for n in range(5):
        del server.files[f"/{n}"]
    server.files |= {"/5": jpeg(5), "/6": jpeg(7)[:-200]}
    with pytest.raises(InputError, match="7 of 20 files could not.*and 2 more"):
        fetch_files(files, tmp_path)
    assert len(list((tmp_path / "many").iterdir())) == 13


def test_an_image_is_only_replaced_by_one_that_fits(server, tmp_path):
    (file,) = images(server, 1)
    mine = tmp_path / "many" / "0"
    mine.parent.mkdir()
    mine.write_bytes(b"a photograph of the user")
    server.mishaps["/0"] = [404]
    with pytest.raises(InputError, match="1 of 1 files could not be fetched"):
        fetch_files([file], tmp_path)
    assert mine.read_bytes() == b"a photograph of the user"
    fetch_files([file], tmp_path)
    assert mine.read_bytes() == server.files["/0"] and len(list(mine.parent.iterdir())) == 1


@pytest.mark.parametrize("name", ["a b", "a#b", "a%41", "a?b", "\u00fc"])
def test_names_are_quoted_in_the_addresses_of_mirrors(server, tmp_path, name):
    server.files[f"/many/{quote(name)}"] = jpeg(1)
    file = RemoteFile(f"many/{name}", (), image_size=(1, 8))
    fetch_files([file], tmp_path, mirrors=[server.url])
    assert (tmp_path / "many" / name).is_file()


def test_without_a_network_most_files_are_not_tried(server, tmp_path):
    files = images(server, 200)
    server.files.clear()
    with pytest.raises(InputError, match="200 of 200 files could not be fetched"):
        fetch_files(files, tmp_path)
    assert len(server.requests) < 100


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no SIGINT to one process")
@pytest.mark.parametrize("mishap", ["stall", None])
def test_an_interruption_ends_soon_and_keeps_what_came(server, tmp_path, mishap):
    server.mishaps["/file"] = [mishap]
    body = server.files["/file"] = BODY * 1000
    source = f"""
        import signal, sys
        from pathlib import Path
        from tutorial_lib.data.download import RemoteFile, fetch_files
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's "&" ignores it
        fetch_files([{remote(server, "/file", "/other", body=body)}], Path(sys.argv[1]))
    """
    command = [sys.executable, "-c", textwrap.dedent(source), str(tmp_path)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    part = tmp_path / "d" / ".file.part"
    while not server.requests or (mishap is None and not part.exists()):
        assert process.poll() is None
    process.send_signal(signal.SIGINT)
    assert "KeyboardInterrupt" in process.communicate(timeout=15)[1].decode()
    assert server.requests == {"/file": 1} and not (tmp_path / "d" / "file").exists()
    (path,) = fetch_files([remote(server, body=body)], tmp_path)
    assert path.read_bytes() == body
    if mishap is None:
        assert server.ranges[-1].startswith("bytes=")


def archive_of(path, members):
    """Write an archive with members from name to content; in a tar, "link" is a symbolic link."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w") as file:
            for name, content in members.items():
                file.writestr(name, content)
    else:
        with tarfile.open(path, "w:gz" if path.suffix == ".gz" else "w") as tar:
            for name, content in members.items():
                info = tarfile.TarInfo(name)
                info.size = len(content)
                if name == "link":
                    info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
                tar.addfile(info, io.BytesIO(content))
    return path


@pytest.mark.parametrize("suffix", ["zip", "tar", "gz"])
def test_selected_files_are_unpacked(tmp_path, suffix):
    archive = archive_of(tmp_path / f"a.{suffix}", {"a/b": b"text", "c": b"not selected"})
    download.unpack(archive, tmp_path / "out", {"a/b": "x/y"}.get)
    files = [path for path in (tmp_path / "out").rglob("*") if path.is_file()]
    assert files == [tmp_path / "out" / "x" / "y"] and files[0].read_bytes() == b"text"


@pytest.mark.parametrize("suffix", ["zip", "tar"])
@pytest.mark.parametrize("name", ["../evil", "a/../../evil", "{}/evil", "link"])
def test_no_link_and_nothing_outside_the_folder_is_unpacked(tmp_path, suffix, name):
    archive = archive_of(tmp_path / f"a.{suffix}", {name.format(tmp_path): b""})
    with contextlib.suppress(InputError):
        download.unpack(archive, tmp_path / "out", str)
    inside = set((tmp_path / "out").rglob("*"))
    assert set(tmp_path.rglob("*")) - inside == {archive, tmp_path / "out"}
    assert not any(path.is_symlink() for path in inside)


@pytest.mark.parametrize("suffix", ["zip", "tar", "gz"])
def test_a_damaged_archive_leaves_nothing(tmp_path, suffix):
    archive = archive_of(tmp_path / f"a.{suffix}", {f"f{n}": os.urandom(20_000) for n in range(5)})
    archive.write_bytes(archive.read_bytes()[:70_000])
    one_line(lambda: download.unpack(archive, tmp_path / "out", str), "is damaged")
    assert not list((tmp_path / "out").iterdir())


def replaced(monkeypatch, server, name, body):
    """Serve a dataset with other bytes from the mirror, under the path of the data folder."""
    how = {"mirrors": (), "size": len(body), "checksum": remote(server, body=body).checksum}
    file = dataclasses.replace(download.DATASETS[name], **how)
    monkeypatch.setitem(download.DATASETS, name, file)
    server.files["/" + file.target] = body


@pytest.fixture
def coco_server(server, tmp_path, monkeypatch):
    """Serve a COCO of eight images, five with a cat, one of these and another one with a dog."""
    tree = {
        "categories": [{"id": 17, "name": "cat"}, {"id": 18, "name": "dog"}],
        "images": [
            {"id": n, "file_name": f"{n:012d}.jpg", "height": 8, "width": 12,
             "coco_url": f"{server.url}/images/{n}.jpg"}
            for n in range(8)
        ],
        "annotations": [
            {"id": n, "image_id": image, "category_id": category, "iscrowd": 0, "segmentation": []}
            for n, (image, category) in enumerate([(n, 17) for n in range(5)] + [(4, 18), (6, 18)])
        ],
    }  # fmt: skip
    for n in range(8):
        server.files[f"/images/{n}.jpg"] = jpeg()
    names = ["annotations/instances_train2017.json", "annotations/instances_val2017.json", "other"]
    archive = archive_of(tmp_path / "a.zip", dict.fromkeys(names, json.dumps(tree))).read_bytes()
    for name in ("coco", "coco-cats"):
        replaced(monkeypatch, server, name, archive)
    monkeypatch.setenv("TUTORIAL_DATA", str(tmp_path / "home"))
    return server


def test_the_command_fetches_only_the_images_with_cats(coco_server, tmp_path):
    coco_server.mishaps["/images/3.jpg"] = ["wrong"]
    arguments = ["data", "fetch", "coco-cats", "--mirror", coco_server.url, "--split", "train"]
    result = run(*arguments)
    assert result.exit_code == 0, result.output
    assert "train: 5 images with cat\nfiles to fetch: 5 (818kB)" in result.output
    names = sorted(path.name for path in (tmp_path / "home" / "coco").rglob("*.*"))
    assert names == [*(f"{n:012d}.jpg" for n in range(5)), "annotations_trainval2017.zip",
                     "instances_train2017.json"]  # fmt: skip
    coco_server.requests.clear()
    assert run(*arguments).exit_code == 0 and not coco_server.requests
    result = run("data", "list")
    assert "coco-cats  COCO 2017" in result.output and "5 of 123,287 images" in result.output
    assert "(not here; `tutorial data fetch voc2012`" in result.output
    result = run("data", "fetch", "imagenet")
    assert result.exit_code == 1 and "choose one of mnist, coco" in result.output


def test_other_categories_splits_and_a_limit(coco_server, tmp_path):
    how = {"mirrors": [coco_server.url], "home": tmp_path}
    download.fetch("coco", categories=["dog"], splits=["val"], **how)
    assert len(list((tmp_path / "coco" / "val2017").iterdir())) == 2
    download.fetch("coco", categories=["cat", "dog"], splits=["train"], limit=3, **how)
    assert len(list((tmp_path / "coco" / "train2017").iterdir())) == 3
    with pytest.raises(InputError, match="choose one of cat, dog"):
        download.fetch("coco", categories=["unicorn"], **how)


def test_voc_and_sbd(server, tmp_path, monkeypatch):
    from scipy.io import savemat

    def mat(number):
        buffer = io.BytesIO()
        savemat(buffer, {"GTcls": {"Segmentation": np.full((8, 12), number, np.uint8)}})
        return buffer.getvalue()

    root, base = "VOCdevkit/VOC2012", "benchmark_RELEASE/dataset"
    lists = {"train": b"a\nb\n", "val": b"v\n", "trainval": b"a\nb\nv\n"}
    voc = {f"{root}/ImageSets/Segmentation/{key}.txt": value for key, value in lists.items()}
    voc |= {f"{root}/JPEGImages/{name}.jpg": jpeg() for name in "abvcd"}
    mask = label_png(np.full((8, 12), 8, np.uint8))
    voc |= {f"{root}/SegmentationClass/{name}.png": mask for name in "abv"}
    voc[f"{root}/Annotations/a.xml"] = b"<not needed/>"
    sbd = {f"{base}/train.txt": b"b\nc\nv\n", f"{base}/val.txt": b"d\ne\n"}
    sbd |= {f"{base}/cls/{name}.mat": mat(number) for number, name in enumerate("bcdev")}
    sbd |= {f"{base}/img/{name}.jpg": jpeg() for name in "bcdev"}
    replaced(monkeypatch, server, "voc2012", archive_of(tmp_path / "a.tar", voc).read_bytes())
    replaced(monkeypatch, server, "sbd", archive_of(tmp_path / "b.gz", sbd).read_bytes())

    how = {"mirrors": [server.url], "home": tmp_path / "home"}
    with pytest.raises(InputError, match="run `tutorial data fetch voc2012` first"):
        download.fetch("sbd", **how)
    download.fetch("voc2012", **how)
    tree = VocTree(tmp_path / "home" / "voc")
    assert tree.ids("train") == ["a", "b"] and not (tree.root / "Annotations").exists()
    download.fetch("sbd", **how)
    # VOC's and SBD's images, without the one in VOC's validation set.
    assert tree.ids("train_aug") == ["a", "b", "c", "d", "e"]
    found = [int(tree.read(name).labels[0, 0]) for name in tree.ids("train_aug")]
    assert found == [8, 8, 1, 2, 3]  # VOC's own mask is read where there are two
    assert not list(tree.check("train_aug"))
    server.requests.clear()
    download.fetch("voc2012", **how)
    download.fetch("sbd", **how)
    assert not server.requests and download.what_is_here("sbd", tmp_path / "home") == "here"


@pytest.mark.parametrize("content", [b"", b"MATLAB 5.0", bytes(range(200))])
def test_a_damaged_mask_of_sbd_is_one_line(tmp_path, content):
    (tmp_path / "x.mat").write_bytes(content)
    with pytest.raises(InputError, match="holds no GTcls.Segmentation"):
        read_sbd_mask(tmp_path / "x.mat")
    with pytest.raises(InputError, match="is missing"):
        read_sbd_mask(tmp_path / "y.mat")
