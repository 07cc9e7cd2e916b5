"""The offline bundle holds the right wheels for each system and installs without an index."""

import io
import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from tutorial_lib import CHECKOUT
from tutorial_lib.data.cache import file_hash
from tutorial_lib.errors import InputError
from tutorial_tools import bundle

LOCK = """\
any==1.0 \\
    --hash=sha256:{any}
{more}"""
SETUP = "from setuptools import setup\nsetup(name='source', version='2.0', py_modules=['source'])\n"


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A folder of tiny packages in place of an index, named where a user would name it."""
    folder = tmp_path / "index"
    folder.mkdir()
    for tag in ("any-1.0-py3-none-any", "win-1.0-cp312-cp312-win_amd64"):
        name = tag.split("-")[0]
        with zipfile.ZipFile(folder / f"{tag}.whl", "w") as wheel:
            info = f"{name}-1.0.dist-info"
            wheel.writestr(f"{name}.py", "")
            wheel.writestr(
                f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
            )
            tags = tag.split("-", 2)[2]
            wheel.writestr(
                f"{info}/WHEEL", f"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: {tags}\n"
            )
            wheel.writestr(f"{info}/RECORD", "")
    with tarfile.open(folder / "source-2.0.tar.gz", "w:gz") as archive:
        for name, text in (("setup.py", SETUP), ("source.py", "")):
            entry = tarfile.TarInfo(f"source-2.0/{name}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", folder.as_uri())
    return folder


@pytest.fixture
def checkout(tmp_path, monkeypatch, index):
    """A function that makes a project with a lock file of our own, in place of this one."""
    project, home = tmp_path / "project", tmp_path / "home"
    monkeypatch.setattr(bundle, "CHECKOUT", project)
    monkeypatch.setattr(bundle, "PROJECT", ["requirements.lock", "notebooks"])
    monkeypatch.setattr(bundle, "make_scenes", lambda: [home / "cache" / "scenes"])
    monkeypatch.setenv("TUTORIAL_DATA", str(home))
    for file in ("project/notebooks/01.ipynb", "home/cache/scenes/1.png", "project/build/site/i"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text("{}", encoding="utf-8")

    def lock(**more):
        lines = []
        for line, file in more.values():
            lines.append(f"{line} \\\n    --hash=sha256:{file_hash(index / file)}\n")
        hashes = {"any": file_hash(index / "any-1.0-py3-none-any.whl"), "more": "".join(lines)}
        (project / "requirements.lock").write_text(LOCK.format(**hashes), encoding="utf-8")

    return lock


WINDOWS = ("win==1.0 ; sys_platform == 'win32'", "win-1.0-cp312-cp312-win_amd64.whl")
SOURCE = ("source==2.0", "source-2.0.tar.gz")


def test_a_bundle_installs_without_an_index(checkout, tmp_path, monkeypatch):
    checkout(source=SOURCE, windows=WINDOWS)
    out, said = tmp_path / "out", []
    bundle.make(out, ["linux-x86_64", "windows-amd64"], ["3.12"], said.append)
    assert {path.name.split("-")[0] for path in (out / "wheels").iterdir()} == {
        "any", "source", "win",
    }  # fmt: skip
    for file in ("notebooks/01.ipynb", "data/cache/scenes/1.png", "site/i"):
        assert (out / file).is_file()
    assert "will have about 1,700 MB" in said[0] and said[-1] == f"{out} has 0 MB"
    monkeypatch.setenv("PIP_FIND_LINKS", "wheels")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--require-hashes"]
    command += ["--target", "installed", "-r", "requirements.lock"]
    done = subprocess.run(command, cwd=out, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    installed = {path.name for path in (out / "installed").glob("*.py")}
    assert {"any.py", "source.py"} <= installed


def test_a_missing_wheel_is_one_line_and_leaves_nothing(checkout, tmp_path):
    checkout(windows=("win==1.0", WINDOWS[1]))
    with pytest.raises(InputError, match="no wheel of win==1.0 for linux-x86_64, Python 3.12"):
        bundle.make(tmp_path / "new" / "out.zip", ["linux-x86_64"], ["3.12"])
    assert list((tmp_path / "new").iterdir()) == []


def test_a_wrong_hash_is_refused(checkout, index, tmp_path):
    checkout()
    with (index / "any-1.0-py3-none-any.whl").open("ab") as wheel:
        wheel.write(b"changed")
    with pytest.raises(InputError, match="HASHES"):
        bundle.make(tmp_path / "out", ["macos-arm64"], ["3.13"])


def test_a_zip_holds_one_folder(checkout, tmp_path):
    checkout()
    bundle.make(tmp_path / "class.zip", ["macos-arm64"], ["3.11", "3.13"])
    with zipfile.ZipFile(tmp_path / "class.zip") as archive:
        names = set(archive.namelist())
        script = archive.read("class/start.cmd")
    assert {"class/start.sh", "class/wheels/any-1.0-py3-none-any.whl"} <= names
    assert b"for %%v in (3.11 3.13) do (\r\n" in script
    with pytest.raises(InputError, match="exists"):
        bundle.make(tmp_path / "class.zip")


@pytest.mark.parametrize(("platforms", "pythons"), [(["dos"], ["3.12"]), ([], ["3.8"])])
def test_what_is_not_known_is_refused(tmp_path, platforms, pythons):
    with pytest.raises(InputError, match="is not known; choose one of"):
        bundle.make(tmp_path / "out", platforms, pythons)


def test_the_lock_is_read_for_another_system():
    lock = (CHECKOUT / "requirements.lock").read_text(encoding="utf-8")
    names = {
        name: {line.split("==")[0] for line in bundle.requirements(lock, name, "3.12.0")}
        for name in bundle.PLATFORMS
    }
    assert "colorama" in names["windows-amd64"] and "pexpect" not in names["windows-amd64"]
    assert "appnope" in names["macos-arm64"] and "pexpect" in names["linux-aarch64"]
    for line in bundle.requirements(lock, "linux-x86_64", "3.11.2"):
        assert ";" not in line and "--hash=sha256:" in line


def test_everything_that_git_brings_is_in_the_bundle():
    if not (CHECKOUT / ".git").exists():
        pytest.skip("not a git checkout")
    listed = subprocess.run(
        ["git", "ls-files"], cwd=CHECKOUT, capture_output=True, text=True, check=True
    ).stdout.splitlines()
    here = [Path(path) for path in listed if not path.startswith(".")]
    missing = [path for path in here if not any(map(path.is_relative_to, bundle.PROJECT))]
    assert listed and not missing


def test_the_start_script_says_which_python_it_needs(tmp_path):
    bundle._write_start_scripts(tmp_path, ["3.1"])
    done = subprocess.run(["sh", tmp_path / "start.sh"], capture_output=True, text=True)
    assert done.returncode == 1 and "for Python 3.1." in done.stdout
