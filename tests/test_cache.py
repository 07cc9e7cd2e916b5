"""Cached folders when several processes need one at once, and when a server shares them."""

import os
import signal
import subprocess
import sys
import textwrap

import pytest

from tutorial_lib.data.cache import MANIFEST, cached_folder

SOURCE = """
    import os, sys, time
    from pathlib import Path
    from tutorial_lib.data.cache import cached_folder

    def build(folder):
        (home / f"build-{os.getpid()}").touch()
        time.sleep(float(sys.argv[2]))
        (folder / "file").write_text("whole")

    home = Path(sys.argv[1])
    print(cached_folder(home / "cache" / "tree", build))
"""


def start(home, seconds):
    command = [sys.executable, "-c", textwrap.dedent(SOURCE), str(home), str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such locks")


def test_processes_that_need_a_folder_at_once_build_it_once(tmp_path):
    processes = [start(tmp_path, 1) for _ in range(8)]
    said = [process.communicate(timeout=60)[0].strip() for process in processes]
    assert said == [str(tmp_path / "cache" / "tree")] * 8
    assert len(list(tmp_path.glob("build-*"))) == 1
    assert list((tmp_path / "cache").iterdir()) == [tmp_path / "cache" / "tree"]


def test_whoever_waits_for_a_process_that_is_killed_builds_the_folder(tmp_path):
    slow = start(tmp_path, 600)
    while not list(tmp_path.glob("build-*")):
        assert slow.poll() is None
    waiting = [start(tmp_path, 0) for _ in range(2)]
    os.kill(slow.pid, signal.SIGKILL)
    slow.communicate()
    assert {process.communicate(timeout=60)[0].strip() for process in waiting} == {
        str(tmp_path / "cache" / "tree")
    }
    assert len(list(tmp_path.glob("build-*"))) == 2


def test_a_shared_folder_is_used_as_long_as_it_is_whole(tmp_path, monkeypatch):
    shared, home = tmp_path / "shared" / "cache" / "tree", tmp_path / "home"
    cached_folder(shared, lambda folder: (folder / "file").write_text("shared"))
    monkeypatch.setenv("TUTORIAL_DATA", str(home))
    monkeypatch.setenv("TUTORIAL_SHARED", str(tmp_path / "shared"))
    mine = home / "cache" / "tree"

    def build(folder):
        (folder / "file").write_text("mine")

    assert cached_folder(mine, build) == shared and not home.exists()
    elsewhere = tmp_path / "elsewhere"
    assert cached_folder(elsewhere, build) == elsewhere
    (shared / "file").write_text("changed")
    assert cached_folder(mine, build) == mine
    assert (mine / MANIFEST).is_file() and (shared / "file").read_text() == "changed"
