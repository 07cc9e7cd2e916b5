"""Downloading on bad days: nothing half-made, nothing unchecked, nothing given up too early."""

import concurrent.futures
import dataclasses
import hashlib
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import textwrap
import threading
import time
import zipfile

import numpy as np
import pytest
from click.testing import CliRunner
from misbehaving import running
from PIL import Image

from tutorial_lib.data import archives, download, registry, voc
from tutorial_lib.data.download import Patience, RemoteFile
from tutorial_lib.data.voc import VocTree, label_png
from tutorial_lib.errors import InputError
from tutorial_tools.cli import main

QUICK = Patience(tries=3, first_wait=0.01, longest_wait=0.05, timeout=5)
BODY = bytes(range(256)) * 800
LENGTH = len(BODY)


@pytest.fixture
def server():
    with running() as server:
        server.files["/file"] = BODY
        yield server


def remote(server, *paths, size=LENGTH, checksum=True):
    digest = "sha256:" + hashlib.sha256(BODY).hexdigest() if checksum else ""
    return RemoteFile("d/file", tuple(server.url + p for p in paths or ("/file",)), size, digest)


def fetched(server, tmp_path, mishaps, **options):
    server.mishaps["/file"] = list(mishaps)
    path = tmp_path / "d" / "file"
    moved = []
    download.download(remote(server, **options), path, QUICK, moved.append)
    assert path.read_bytes() == BODY
    assert [p.name for p in path.parent.iterdir()] == ["file"]
    assert sum(moved) == len(BODY)
    return server.requests["/file"]


@pytest.mark.parametrize(
    ("mishaps", "requests"),
    [
        ([], 1),
        (["drop"], 2),
        (["drop"] * 6, 7),  # more often than three times, but each brings something
        (["wrong"], 2),
        ([503, 500, "drop"], 4),
        ([(429, "0.01"), 429], 3),
        ([(503, "Wed, 21 Oct 2015 07:28:00 GMT")], 2),
        (["drop", "ignore-range"], 2),
        (["drop", "shifted"], 3),
        (["drop", 416], 3),
        (["drop", "wrong"], 3),
    ],
)
def test_it_arrives_in_the_end(server, tmp_path, mishaps, requests):
    assert fetched(server, tmp_path, mishaps) == requests


def test_a_broken_download_is_taken_up_where_it_broke(server, tmp_path):
    fetched(server, tmp_path, ["drop"])
    assert server.ranges == [None, f"bytes={len(BODY) // 2}-"]


def test_without_a_checksum_it_begins_afresh(server, tmp_path):
    fetched(server, tmp_path, ["drop", "drop"], size=None, checksum=False)
    assert server.ranges == [None, None, None]


def test_a_part_of_an_earlier_run_is_used(server, tmp_path):
    path = tmp_path / "d" / "file"
    path.parent.mkdir()
    download.part_path(path).write_bytes(BODY[:1000])
    fetched(server, tmp_path, [])
    assert server.ranges == ["bytes=1000-"]


@pytest.mark.parametrize("content", [b"another file" * 99, BODY + b"too long", BODY[::-1]])
def test_a_part_that_belongs_to_something_else_does_no_harm(server, tmp_path, content):
    path = tmp_path / "d" / "file"
    path.parent.mkdir()
    download.part_path(path).write_bytes(content)
    fetched(server, tmp_path, [])


def test_the_waiting_time_that_a_server_asks_for_is_kept(server, tmp_path):
    server.mishaps["/file"] = [(429, "0.4")]
    start = time.monotonic()
    patience = dataclasses.replace(QUICK, longest_wait=2)
    download.download(remote(server), tmp_path / "file", patience)
    assert time.monotonic() - start >= 0.4


def test_waits_double(server, tmp_path):
    server.mishaps["/file"] = [500, 500, 500]
    start = time.monotonic()
    download.download(remote(server), tmp_path / "file", Patience(5, 0.1, 5, 5))
    assert 0.7 * 0.75 <= time.monotonic() - start < 3


@pytest.mark.parametrize(
    ("mishaps", "options", "message"),
    [
        ([404], {}, "answered 404"),
        ([403], {}, "answered 403"),
        ([500] * 3, {}, "answered 500, 3 times in a row"),
        (["wrong"] * 3, {}, "another checksum, 3 times"),
        (["html"], {}, "offers 26 bytes instead of 204,800"),
        (["long"], {}, "offers 204,804 bytes"),
        (["drop"] * 3, {"checksum": False}, "broke off after 102,400 of 204,800 bytes"),
    ],
)
def test_what_does_not_come_is_explained_in_one_line(server, tmp_path, mishaps, options, message):
    server.mishaps["/file"] = mishaps
    path = tmp_path / "d" / "file"
    with pytest.raises(InputError, match=message) as caught:
        download.download(remote(server, **options), path, QUICK)
    assert "\n" not in str(caught.value) and f"put it at {path}" in str(caught.value)
    assert not path.exists()


def test_a_server_that_is_not_there(tmp_path):
    file = RemoteFile("x", ("http://127.0.0.1:9/x",), 1)
    with pytest.raises(InputError, match="the connection failed .ConnectionError., 3 times"):
        download.download(file, tmp_path / "x", QUICK)
    assert not list(tmp_path.iterdir())


def test_mirrors_are_tried_in_turn(server, tmp_path):
    server.mishaps["/dead"] = [500] * 9
    file = remote(server, "/none", "/dead", "/file")
    assert download.download(file, tmp_path / "file", QUICK).read_bytes() == BODY
    assert server.requests == {"/none": 1, "/dead": 3, "/file": 1}


@pytest.mark.parametrize("refusal", [404, "html", 503, 416])
def test_a_refusal_leaves_the_part_of_an_earlier_run(server, tmp_path, refusal):
    path = tmp_path / "d" / "file"
    path.parent.mkdir()
    download.part_path(path).write_bytes(BODY[:-1000])
    server.files["/bad"], moved = BODY, []
    server.mishaps["/bad"] = [refusal] * 3
    with pytest.raises(InputError):
        download.download(remote(server, "/bad"), path, QUICK)
    assert download.part_path(path).read_bytes() == BODY[:-1000]
    server.mishaps["/bad"] = [refusal] * 3
    download.download(remote(server, "/bad", "/file"), path, QUICK, moved.append)
    assert server.ranges[-1] == f"bytes={LENGTH - 1000}-" and sum(moved) == LENGTH


@pytest.mark.parametrize("checksum", [True, False])
def test_an_interrupted_download_keeps_what_a_checksum_vouches_for(server, tmp_path, checksum):
    path, stop = tmp_path / "d" / "file", threading.Event()
    file = remote(server, "/file", "/other", checksum=checksum)
    with pytest.raises(InputError, match="interrupted"):
        download.download(file, path, QUICK, lambda count: count > 0 and stop.set(), stop=stop)
    assert server.requests == {"/file": 1}, "another mirror was asked after the interruption"
    assert [p.name for p in path.parent.iterdir()] == [".file.part"] * checksum
    assert download.download(file, path, QUICK).read_bytes() == BODY
    if checksum:
        assert server.ranges[-1].startswith("bytes=")


@pytest.mark.parametrize("mishap", ["drop", 404])
def test_what_nothing_vouches_for_does_not_stay(server, tmp_path, mishap):
    server.mishaps["/file"] = [mishap] * 3
    with pytest.raises(InputError):
        download.download(remote(server, size=None, checksum=False), tmp_path / "file", QUICK)
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(sys.platform == "win32", reason="Windows locks what is open by itself")
@pytest.mark.parametrize("checksum", [True, False])
def test_the_second_of_two_downloads_waits_for_the_first(server, tmp_path, checksum):
    begun, go_on = threading.Event(), threading.Event()
    file, path = remote(server, checksum=checksum), tmp_path / "file"

    def slow(count):
        begun.set()
        go_on.wait(10)

    with concurrent.futures.ThreadPoolExecutor() as pool:
        first = pool.submit(download.download, file, path, QUICK, slow)
        begun.wait(10)
        second = pool.submit(download.download, file, path, QUICK)
        with pytest.raises(TimeoutError):
            second.result(0.5)
        go_on.set()
        assert first.result(10).read_bytes() == second.result(10).read_bytes() == BODY
    assert server.requests == {"/file": 1}
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("headers", "message"),
    [
        ({"Location": "http://127.0.0.1/\xe9"}, "not valid .Unicode"),
        ({"Location": "http://[::1"}, "not valid"),
        ({"Content-Encoding": "gzip"}, "sends it packed .gzip."),
        ({"Content-Type": "text/html; charset=utf-8"}, "a web page"),
        ({"Content-Length": "\xb2"}, ""),
    ],
)
def test_an_odd_answer_costs_that_mirror_only(server, tmp_path, headers, message):
    server.files["/odd"] = BODY
    server.mishaps["/odd"] = [headers] * 2
    file = remote(server, "/odd", "/file", size=None, checksum=False)
    assert download.download(file, tmp_path / "file", QUICK).read_bytes() == BODY
    if message:  # else it was no reason to refuse
        with pytest.raises(InputError, match=message):
            download.download(dataclasses.replace(file, mirrors=file.mirrors[:1]), tmp_path / "x")
        assert server.requests["/odd"] == 2


def test_an_archive_that_a_server_calls_packed_is_taken_as_it_is(server, tmp_path):
    fetched(server, tmp_path, [{"Content-Encoding": "x-gzip"}])


@pytest.mark.parametrize("address", ["127.0.0.1/file", "ftp://127.0.0.1/file", "http://"])
def test_an_address_that_is_none_is_tried_once(tmp_path, address):
    start = time.monotonic()
    with pytest.raises(InputError, match="address, .* is not valid"):
        download.download(RemoteFile("x", (address,)), tmp_path / "x")
    assert time.monotonic() - start < 1


def test_amazons_tag_stands_in_for_a_checksum(server, tmp_path):
    server.amazon = True
    assert fetched(server, tmp_path, ["wrong", "drop"], size=None, checksum=False) == 3


def test_a_folder_that_cannot_be_written(server, tmp_path):
    (tmp_path / "d").write_text("a file in the way")
    with pytest.raises(InputError, match="cannot write"):
        download.download(remote(server), tmp_path / "d" / "file", QUICK)


def many(server, count=20):
    for n in range(count):
        server.files[f"/{n}"] = bytes([n]) * 1000
    return [RemoteFile(f"many/{n}", (f"{server.url}/{n}",), 1000) for n in range(count)]


def test_mnist_is_fetched_once_and_again_when_damaged(server, tmp_path, monkeypatch):
    file = dataclasses.replace(remote(server), target="mnist/mnist.npz")
    offered = dataclasses.replace(registry.DATASETS["mnist"], files=(file,))
    monkeypatch.setitem(registry.DATASETS, "mnist", offered)
    options = registry.Options(home=tmp_path, patience=QUICK, echo=lambda line: None)
    path = tmp_path / "mnist" / "mnist.npz"
    for damage in (None, None, b"damaged"):
        if damage:
            path.write_bytes(damage)
        assert registry.fetch("mnist", options) == [path] and path.read_bytes() == BODY
    assert server.requests["/file"] == 2


def test_many_files_at_once_say_what_they_will_cost(server, tmp_path):
    files, lines = many(server), []
    for n in (3, 8, 9):
        server.mishaps[f"/{n}"] = [429, "drop"]
    download.fetch_all(files, tmp_path, patience=QUICK, echo=lines.append)
    assert lines == ["20 files to fetch, 20 kB", "20 files fetched"]
    (tmp_path / "many" / "5").unlink()
    (tmp_path / "many" / "6").write_bytes(b"cut")
    server.requests.clear()
    lines.clear()
    download.fetch_all(files, tmp_path, patience=QUICK, echo=lines.append)
    assert lines[0] == "2 files to fetch, 2 kB; 18 here already"
    assert set(server.requests) == {"/5", "/6"}
    lines.clear()
    download.fetch_all(files, tmp_path, patience=QUICK, echo=lines.append)
    assert lines == ["20 files here already, nothing to fetch"]


def test_what_fails_does_not_stop_the_others(server, tmp_path):
    files = many(server)
    for n in range(7):
        del server.files[f"/{n}"]
    with pytest.raises(InputError, match="7 of 20 files could not be fetched") as caught:
        download.fetch_all(files, tmp_path, patience=QUICK, echo=str)
    assert "and 2 more" in str(caught.value)
    assert len(list((tmp_path / "many").iterdir())) == 13


def test_a_disk_that_is_too_small_is_noticed_before(server, tmp_path):
    with pytest.raises(InputError, match="are needed, .* free"):
        download.fetch_all([RemoteFile("x", (server.url,), 1 << 60)], tmp_path, echo=str)
    assert not server.requests


def test_what_is_here_already_needs_no_room(server, tmp_path, monkeypatch):
    download.part_path(tmp_path / "d" / "file").parent.mkdir()
    download.part_path(tmp_path / "d" / "file").write_bytes(BODY[:-1000])
    disk = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: disk._replace(free=1000))
    download.fetch_all([remote(server)], tmp_path, patience=QUICK, echo=str)
    assert (tmp_path / "d" / "file").read_bytes() == BODY


def test_without_a_network_it_ends_after_a_few_files(tmp_path):
    files = [RemoteFile(f"many/{n}", (f"http://127.0.0.1:9/{n}",)) for n in range(1000)]
    patience, start = dataclasses.replace(QUICK, first_wait=0.1, longest_wait=0.1), time.monotonic()
    with pytest.raises(InputError, match="no server answers, for 3 files in a row") as caught:
        download.fetch_all(files, tmp_path, patience=patience, echo=str)
    assert "\n" not in str(caught.value) and time.monotonic() - start < 10
    assert not list((tmp_path / "many").iterdir())


def test_a_server_that_is_there_for_some_files_is_a_network(server, tmp_path):
    files = many(server, 4)
    gone = [RemoteFile(f"gone/{n}", ("http://127.0.0.1:9/",)) for n in range(2)]
    mixed = [*gone, files[0], *gone, files[1]]
    with pytest.raises(InputError, match="4 of 6 files could not be fetched"):
        download.fetch_all(mixed, tmp_path, workers=1, patience=QUICK, echo=str)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows sends no SIGINT to one process")
def test_an_interruption_ends_it_soon_even_if_the_server_stalls(server, tmp_path):
    server.mishaps["/file"] = ["stall"]
    source = f"""
        import signal, sys
        from pathlib import Path
        from tutorial_lib.data.download import RemoteFile, fetch_all
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's "&" ignores it
        mirrors = ("{server.url}/file", "{server.url}/other")
        fetch_all([RemoteFile("x", mirrors)], Path(sys.argv[1]))
    """
    command = [sys.executable, "-c", textwrap.dedent(source), str(tmp_path)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    while not server.requests:
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    assert "KeyboardInterrupt" in process.communicate(timeout=15)[1].decode()
    assert server.requests == {"/file": 1}


def test_a_killed_download_leaves_no_file_under_the_name_and_goes_on(server, tmp_path):
    server.files["/file"] = body = os.urandom(30_000_000)
    checksum = "sha256:" + hashlib.sha256(body).hexdigest()
    source = f"""
        import sys
        from pathlib import Path
        from tutorial_lib.data.download import RemoteFile, download
        file = RemoteFile("x", ("{server.url}/file",), {len(body)}, "{checksum}")
        import os, signal
        def moved(count, seen=[0]):
            seen[0] += count
            if seen[0] > 10_000_000:
                os.kill(os.getpid(), signal.SIGKILL)
        download(file, Path(sys.argv[1]), moved=moved)
    """
    path = tmp_path / "x"
    command = [sys.executable, "-c", textwrap.dedent(source), str(path)]
    assert subprocess.run(command, capture_output=True).returncode == -9
    assert not path.exists() and download.part_path(path).stat().st_size > 1_000_000
    file = RemoteFile("x", (f"{server.url}/file",), len(body), checksum)
    assert download.download(file, path, QUICK).read_bytes() == body
    assert server.ranges[-1].startswith("bytes=")


# ------------------------------------------------------------------ archives


def tar_of(path, members, mode="w:gz"):
    with tarfile.open(path, mode) as tar:
        for member, content in members:
            info = tarfile.TarInfo(member) if isinstance(member, str) else member
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def zip_of(path, members):
    with zipfile.ZipFile(path, "w") as file:
        for member, content in members:
            file.writestr(member, content)
    return path


def link(kind):
    info = tarfile.TarInfo("inside")
    info.type, info.linkname = kind, "/etc/passwd"
    return info


@pytest.mark.parametrize("make", [tar_of, zip_of])
def test_unpacking(tmp_path, make):
    archive = make(tmp_path / ("a.tgz" if make is tar_of else "a.zip"), [("a/b.txt", b"text")])
    (path,) = archives.unpack(archive, tmp_path / "out")
    assert path == tmp_path / "out" / "a" / "b.txt" and path.read_bytes() == b"text"
    assert archives.unpack(archive, tmp_path / "none", lambda name: None) == []


@pytest.mark.parametrize("make", [tar_of, zip_of])
@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil", "C:/evil", "a\\..\\evil"])
def test_no_member_leads_outside(tmp_path, make, name):
    archive = make(tmp_path / ("a.tgz" if make is tar_of else "a.zip"), [(name, b"x")])
    with pytest.raises(InputError, match="leads elsewhere"):
        archives.unpack(archive, tmp_path / "out")
    assert not (tmp_path / "evil").exists() and not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE]
)
def test_links_and_devices_are_refused(tmp_path, kind):
    archive = tar_of(tmp_path / "a.tgz", [(link(kind), b"")])
    with pytest.raises(InputError, match="link or device"):
        archives.unpack(archive, tmp_path / "out")


def test_links_in_zips_are_refused(tmp_path):
    info = zipfile.ZipInfo("inside")
    info.external_attr = 0o120777 << 16
    archive = zip_of(tmp_path / "a.zip", [(info, b"/etc/passwd")])
    with pytest.raises(InputError, match="link or device"):
        archives.unpack(archive, tmp_path / "out")


@pytest.mark.parametrize("make", [tar_of, zip_of])
def test_too_much_and_twice(tmp_path, make):
    archive = make(tmp_path / ("a.tgz" if make is tar_of else "a.zip"), [("a", bytes(5000))])
    with pytest.raises(InputError, match="more than 4,999 bytes"):
        archives.unpack(archive, tmp_path / "out", limit=4999)
    with pytest.raises(InputError, match="twice"):
        twice = tar_of(tmp_path / "b.tgz", [("a", b"1"), ("a", b"2")])
        archives.unpack(twice, tmp_path / "out2")


def test_a_size_that_lies_is_found_out(tmp_path):
    archive = zip_of(tmp_path / "a.zip", [("a", bytes(100_000))])
    member = archives.Member("a", 10, lambda: zipfile.ZipFile(archive).open("a"))
    with pytest.raises(InputError, match="larger than it says"):
        archives._write(member, tmp_path / "out" / "a", archive)
    assert not list((tmp_path / "out").iterdir())


@pytest.mark.parametrize("cut", [0.3, 0.9])
def test_a_damaged_archive_leaves_no_half_file(tmp_path, cut):
    members = [(f"f{n}", os.urandom(20_000)) for n in range(5)]
    archive = tar_of(tmp_path / "a.tgz", members)
    archive.write_bytes(archive.read_bytes()[: int(archive.stat().st_size * cut)])
    with pytest.raises(InputError, match="is damaged"):
        archives.unpack(archive, tmp_path / "out")
    for path in (tmp_path / "out").glob("*"):
        assert path.stat().st_size == 20_000
    (tmp_path / "no.zip").write_bytes(b"no archive")
    with pytest.raises(InputError, match="is damaged"):
        archives.unpack(tmp_path / "no.zip", tmp_path / "out")


REFUSED = [
    (link(tarfile.SYMTYPE), "link or device"),
    ("../evil", "leads elsewhere"),
    ("a", "holds a twice"),
    ("a/b", "holds a as a file and as a folder"),
    ("c", "holds c as a file and as a folder"),
]


@pytest.mark.parametrize("make", [tar_of, zip_of])
@pytest.mark.parametrize(("last", "message"), REFUSED)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_what_is_refused_at_the_end_leaves_nothing(tmp_path, make, last, message):
    if not isinstance(last, str) and make is zip_of:
        last = zipfile.ZipInfo("inside")
        last.external_attr = 0o120777 << 16
    path = tmp_path / ("a.tgz" if make is tar_of else "a.zip")
    archive = make(path, [("a", b"1"), ("c/d", b"2"), (last, b"")])
    with pytest.raises(InputError, match=message):
        archives.unpack(archive, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", ["gz", "bz2", "xz"])
@pytest.mark.parametrize("place", [3, 0.01, 0.5, 0.9, -6])
def test_one_damaged_byte_of_a_packed_archive_is_noticed(tmp_path, kind, place):
    members = [(f"f{n}", os.urandom(20_000)) for n in range(3)]
    archive = tar_of(tmp_path / f"a.tar.{kind}", members, f"w:{kind}")
    content = bytearray(archive.read_bytes())
    content[int(place * len(content)) if isinstance(place, float) else place] ^= 255
    archive.write_bytes(content)
    with pytest.raises(InputError, match="is damaged") as caught:
        archives.unpack(archive, tmp_path / "out")
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()


def test_a_folder_in_place_of_an_archive_or_a_file_in_place_of_a_folder(tmp_path):
    with pytest.raises(InputError, match="cannot read .*directory"):
        archives.unpack(tmp_path, tmp_path / "out")
    archive = tar_of(tmp_path / "a.tgz", [("a/b", b"text")])
    (tmp_path / "a").write_text("the reader's own")
    with pytest.raises(InputError, match="cannot write"):
        archives.unpack(archive, tmp_path)
    assert (tmp_path / "a").read_text() == "the reader's own"


# ------------------------------------------------------------------ the data sets


def jpeg(width=12, height=8):
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), (90, 10, 200)).save(buffer, "JPEG")
    return buffer.getvalue()


def replaced(monkeypatch, name, body, **changes):
    """Let a data set expect these bytes instead of the real ones."""
    dataset = registry.DATASETS[name]
    digest = "sha256:" + hashlib.sha256(body).hexdigest()
    file = dataclasses.replace(dataset.files[0], size=len(body), checksum=digest, mirrors=())
    monkeypatch.setitem(registry.DATASETS, name, dataclasses.replace(dataset, files=(file,)))
    return "/" + file.target


@pytest.fixture
def coco_server(server, tmp_path, monkeypatch):
    """Serve a COCO of eight pictures, five with a cat, one of them also with a dog."""
    tree = {
        "categories": [{"id": 17, "name": "cat"}, {"id": 18, "name": "dog"}],
        "images": [
            {"id": n, "file_name": f"{n:012d}.jpg", "height": 8, "width": 12,
             "coco_url": f"{server.url}/pictures/{n}.jpg"}
            for n in range(8)
        ],
        "annotations": [
            {"id": n, "image_id": image, "category_id": category, "iscrowd": 0, "segmentation": []}
            for n, (image, category) in enumerate([(n, 17) for n in range(5)] + [(4, 18), (6, 18)])
        ],
    }  # fmt: skip
    for n in range(8):
        server.files[f"/pictures/{n}.jpg"] = jpeg()
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for split in ("train", "val"):
            file.writestr(f"annotations/instances_{split}2017.json", json.dumps(tree))
            file.writestr(f"annotations/captions_{split}2017.json", "{}")
    for name in ("coco", "coco-cats"):
        server.files[replaced(monkeypatch, name, buffer.getvalue())] = buffer.getvalue()
    monkeypatch.setattr(registry, "COCO_HOSTS", (server.url, server.url))
    return server


def options(server, tmp_path, **changes):
    lines = []
    return lines, registry.Options(
        home=tmp_path, mirrors=(server.url,), patience=QUICK, echo=lines.append, **changes
    )


def test_coco_cats_fetches_only_the_pictures_with_cats(coco_server, tmp_path):
    coco_server.mishaps.update({"/pictures/1.jpg": [429, "drop"], "/pictures/3.jpg": ["wrong"]})
    lines, how = options(coco_server, tmp_path, splits=("train",))
    registry.fetch("coco-cats", how)
    names = sorted(p.name for p in (tmp_path / "coco" / "train2017").iterdir())
    assert names == [f"{n:012d}.jpg" for n in range(5)]
    assert not list((tmp_path / "coco" / "annotations").glob("captions*"))
    assert "train: 5 pictures with cat" in lines
    assert "5 files to fetch, about 817 kB" in lines
    coco_server.requests.clear()
    registry.fetch("coco-cats", how)
    assert not coco_server.requests


def test_other_categories_splits_and_a_limit(coco_server, tmp_path):
    _, how = options(coco_server, tmp_path, categories=("dog",), splits=("val",))
    registry.fetch("coco", how)
    assert len(list((tmp_path / "coco" / "val2017").iterdir())) == 2
    _, how = options(coco_server, tmp_path, categories=("cat", "dog"), splits=("train",), limit=3)
    registry.fetch("coco", how)
    assert len(list((tmp_path / "coco" / "train2017").iterdir())) == 3
    with pytest.raises(InputError, match="choose one of cat, dog"):
        registry.fetch("coco", dataclasses.replace(how, categories=("unicorn",)))


@pytest.mark.parametrize("body", [b"<html>no</html>", jpeg(5, 5), jpeg()[:-200]])
def test_a_picture_that_is_none_is_not_taken(coco_server, tmp_path, body):
    coco_server.files["/pictures/2.jpg"] = body
    _, how = options(coco_server, tmp_path)
    with pytest.raises(InputError, match="1 of 5 files could not be fetched.*no good.*By hand"):
        registry.fetch("coco-cats", dataclasses.replace(how, splits=("train",)))
    assert len(list((tmp_path / "coco" / "train2017").iterdir())) == 4


def test_the_command_fetches_and_explains(coco_server, tmp_path, monkeypatch):
    monkeypatch.setenv("TUTORIAL_DATA", str(tmp_path))
    arguments = ["data", "fetch", "coco-cats", "--mirror", coco_server.url, "--split", "val"]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 0, result.output
    assert "5 files to fetch" in result.output
    result = CliRunner().invoke(main, ["data", "list"])
    assert "coco-cats" in result.output and "voc2012" in result.output
    result = CliRunner().invoke(main, ["data", "fetch", "nothing"])
    assert result.exit_code == 1 and "choose one of mnist, coco" in result.output


def test_the_list_says_how_much_of_coco_is_here(coco_server, tmp_path, monkeypatch):
    def listed(name):
        lines = CliRunner().invoke(main, ["data", "list"]).output.splitlines()
        return next(line for line in lines if line.startswith(f"{name} "))

    monkeypatch.setenv("TUTORIAL_DATA", str(tmp_path))
    monkeypatch.setattr(registry, "COCO_PICTURES", {"train": 8, "val": 8})
    assert "are here" not in listed("coco") and "20 GB" in listed("coco")
    _, how = options(coco_server, tmp_path, splits=("val",))
    registry.fetch("coco-cats", how)
    for name in ("coco", "coco-cats"):
        part = "annotations are here, and pictures: 5 of 8 for val; `tutorial data fetch coco"
        assert part in listed(name)
    registry.fetch("coco", dataclasses.replace(how, splits=("train", "val")))
    for name in ("coco", "coco-cats"):
        assert listed(name).endswith("(here)")
    assert "fetch voc2012" in listed("voc2012")


@pytest.fixture
def voc_server(server, monkeypatch):
    """Serve a VOC of two training pictures and one to validate on, and an SBD of three others."""

    def mat(labels):
        from scipy.io import savemat

        buffer = io.BytesIO()
        part = {"Segmentation": labels, "Boundaries": 0, "CategoriesPresent": 0}
        savemat(buffer, {"GTcls": part})
        return buffer.getvalue()

    root = "VOCdevkit/VOC2012"
    lists = {"train": "a\nb\n", "val": "v\n", "trainval": "a\nb\nv\n"}
    members = [(f"{root}/ImageSets/Segmentation/{k}.txt", v.encode()) for k, v in lists.items()]
    for name in ("a", "b", "v", "c", "d"):
        members.append((f"{root}/JPEGImages/{name}.jpg", jpeg()))
        if name in "abv":
            png = label_png(np.full((8, 12), 8, np.uint8))
            members.append((f"{root}/SegmentationClass/{name}.png", png))
    members.append((f"{root}/Annotations/a.xml", b"<not needed/>"))
    base = "benchmark_RELEASE/dataset"
    other = [(f"{base}/train.txt", b"b\nc\nv\n"), (f"{base}/val.txt", b"d\ne\n")]
    for number, name in enumerate("bcdev"):
        labels = np.full((8, 12), number, np.uint8)
        other += [(f"{base}/cls/{name}.mat", mat(labels)), (f"{base}/img/{name}.jpg", jpeg())]
        other.append((f"{base}/inst/{name}.mat", b"not needed"))
    for name, content in (("voc2012", members), ("sbd", other)):
        buffer = io.BytesIO()
        with tarfile.open(fileobj=buffer, mode="w") as tar:
            for member, data in content:
                info = tarfile.TarInfo(member)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        server.files[replaced(monkeypatch, name, buffer.getvalue())] = buffer.getvalue()
    return server


def test_voc_and_sbd(voc_server, tmp_path):
    _, how = options(voc_server, tmp_path)
    with pytest.raises(InputError, match="run `tutorial data fetch voc2012` first"):
        registry.fetch("sbd", how)
    registry.fetch("voc2012", how)
    tree = VocTree(tmp_path / "voc")
    assert tree.has("train") and not tree.has("train_aug")
    registry.fetch("sbd", how)
    assert tree.has("train_aug") and tree.ids("train") == ["a", "b"]
    # VOC's and SBD's pictures, without the one that VOC validates on.
    assert tree.ids("train_aug") == ["a", "b", "c", "d", "e"]
    found = [int(tree.read(name).labels[0, 0]) for name in tree.ids("train_aug")]
    assert found == [8, 8, 1, 2, 3]  # VOC's own mask wins where there are two
    assert not list(tree.check("train_aug"))
    assert not (tree.root / "Annotations").exists()
    assert not list(tmp_path.rglob("*.part"))
    voc_server.requests.clear()
    registry.fetch("voc2012", how)
    registry.fetch("sbd", how)
    assert not voc_server.requests


@pytest.mark.parametrize("content", [b"", b"MATLAB 5.0", os.urandom(400)])
def test_a_damaged_mat_file_is_one_line(tmp_path, content):
    (tmp_path / "x.mat").write_bytes(content)
    with pytest.raises(InputError, match="holds no GTcls.Segmentation"):
        voc.read_sbd_mask(tmp_path / "x.mat")
    with pytest.raises(InputError, match="is missing"):
        voc.read_sbd_mask(tmp_path / "y.mat")


def test_a_palette_by_other_rules_is_named(tmp_path):
    from tutorial_lib.data.voc import read_labels

    labels = np.full((4, 4), 8, np.uint8)
    (tmp_path / "good.png").write_bytes(label_png(labels))
    read_labels(tmp_path / "good.png")
    picture = Image.fromarray(labels, mode="P")
    picture.putpalette([7] * 768)
    picture.save(tmp_path / "bad.png")
    with pytest.raises(InputError, match="paints class 8 in another color"):
        read_labels(tmp_path / "bad.png")
