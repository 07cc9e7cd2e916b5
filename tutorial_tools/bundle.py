"""One folder, or a zip archive, from which a class installs and works without a network.

The lock file names every package with its hashes, so pip can fetch the wheels of any system from
here. It looks for them wherever the user's own settings of pip say.
"""

from __future__ import annotations

import itertools
import platform as host
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable
from importlib import resources
from pathlib import Path

from packaging.markers import default_environment
from packaging.requirements import Requirement

from tutorial_lib import CHECKOUT
from tutorial_lib.data.cache import file_hash
from tutorial_lib.errors import InputError, check_choice

PROJECT = """
    CITATION.cff CONTRIBUTING.md LICENSE Makefile README.md environment.yml postBuild
    pyproject.toml requirements.lock benchmarks data/README.md data/checkpoints deploy docs
    notebooks tests tutorial_lib tutorial_tools
""".split()
PYTHONS = ("3.11", "3.12", "3.13")
# What pip and the markers of a lock file call a system, and how many MB its wheels have together.
PLATFORMS = {
    "linux-x86_64": ("linux", "Linux", "x86_64", 900),
    "linux-aarch64": ("linux", "Linux", "aarch64", 600),
    "macos-arm64": ("darwin", "Darwin", "arm64", 510),
    "windows-amd64": ("win32", "Windows", "AMD64", 650),
}
OTHER_FILES = 150  # MB: notebooks, networks, scenes and site


def make(
    out: Path,
    platforms: Iterable[str] = (),
    pythons: Iterable[str] = (),
    echo: Callable[[str], None] = print,
    progress: bool = False,
) -> None:
    """Write the bundle: project, wheels, scenes, site and start scripts.

    Args:
        out: The folder to make, or a file that ends in .zip.
        platforms: Keys of `PLATFORMS`; by default the system that this runs on.
        pythons: Versions such as 3.12; by default the version that this runs on.

    Raises:
        InputError: if `out` exists, a disk is too small, or a package has no wheel for a platform.
            Nothing is left behind then.
    """
    here = f"{host.system()}-{host.machine()}".lower().replace("darwin", "macos")
    platforms = [check_choice("platform", name, PLATFORMS) for name in platforms or [here]]
    this = ".".join(host.python_version_tuple()[:2])
    pythons = [check_choice("python", version, PYTHONS) for version in pythons or [this]]
    if out.exists():
        raise InputError(f"{out} exists; remove it or choose another name")
    needed = OTHER_FILES + len(pythons) * sum(PLATFORMS[name][-1] for name in platforms)
    echo(f"{out} will have about {needed:,} MB")
    out.parent.mkdir(parents=True, exist_ok=True)
    zipped = out.suffix.lower() == ".zip"
    free = shutil.disk_usage(out.parent).free // 10**6
    if free < needed * (1 + zipped):
        raise InputError(f"{out.parent} has only {free:,} MB free; choose a place with more")
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as holder:
        whole = folder = Path(holder) / (out.stem if zipped else out.name)
        _copy_project(folder)
        for name, python in itertools.product(platforms, pythons):
            echo(f"fetching the wheels for {name}, Python {python}")
            fetch_wheels(folder, name, python, progress)
        for tree in make_scenes():
            cache = next(place for place in tree.parents if place.name == "cache")
            shutil.copytree(tree, folder / "data" / "cache" / tree.relative_to(cache))
        _add_site(folder / "site", echo)
        _write_start_scripts(folder, pythons)
        if zipped:
            whole = Path(shutil.make_archive(f"{holder}/archive", "zip", holder, folder.name))
        whole.replace(out)
    files = [path for path in (out, *out.rglob("*")) if path.is_file()]
    echo(f"{out} has {sum(path.stat().st_size for path in files) / 1e6:,.0f} MB")


def make_scenes() -> list[Path]:
    """Return the folders of the scenes that chapters 04 and 05 use, after making those missing."""
    from tutorial_lib import notebook

    with notebook.native_notes_silenced():
        from tutorial_lib.data import scenes
        from tutorial_lib.training.fcn_stages import QUICK

    voc = scenes.voc_tree(train=QUICK["scenes"], val=QUICK["validation"])
    return [scenes.coco_tree(train=960, val=360), voc]


def requirements(lock: str, platform: str, python: str) -> list[str]:
    """Return what a platform installs of a lock file, a package with its hashes on each line.

    pip would evaluate the markers for the system that it runs on, so they are evaluated here and
    left out.

    Args:
        platform: A key of `PLATFORMS`.
        python: A full version such as 3.12.4.
    """
    system, name, machine, _ = PLATFORMS[platform]
    environment = default_environment() | {
        "sys_platform": system, "platform_system": name, "platform_machine": machine,
        "os_name": "nt" if system == "win32" else "posix",
        "python_version": python.rpartition(".")[0], "python_full_version": python,
    }  # fmt: skip
    chosen = []
    for line in re.sub(r"\\\s*\n", " ", lock).splitlines():
        stated, *hashes = line.split("--hash=")
        if stated.strip() and not stated.startswith("#"):
            package = Requirement(stated)
            if not package.marker or package.marker.evaluate(environment):
                hashes = [f"--hash={one.strip()}" for one in hashes]
                chosen.append(" ".join([f"{package.name}{package.specifier}", *hashes]))
    return chosen


def fetch_wheels(folder: Path, platform: str, python: str, progress: bool = False) -> None:
    """Put the wheels that `requirements.lock` in a folder names into `wheels/` beside it.

    A package that has no wheel is built here if nothing in it is compiled, and the hash of the new
    wheel is added to the lock file. Raises InputError if a package has no wheel for the platform,
    or pip fails for another reason.
    """
    lock, wheels = folder / "requirements.lock", folder / "wheels"
    system, _, machine, _ = PLATFORMS[platform]
    tags = {"win32": ["win_amd64"], "darwin": ["macosx_14_0_arm64"]}.get(system) or [
        *(f"manylinux_2_{minor}_{machine}" for minor in range(28, 4, -1)),
        *(f"manylinux{year}_{machine}" for year in (2014, 2010, 1)),
    ]
    options = ["--dest", wheels, "--find-links", wheels, "--only-binary=:all:"]
    options += ["--implementation=cp", *(f"--platform={tag}" for tag in tags)]
    # The lock may name other versions for the first patch of a Python than for the last.
    for full in (f"{python}.0", f"{python}.99"):
        while True:
            wanted = requirements(lock.read_text(encoding="utf-8"), platform, full)
            error = _pip("download", wanted, [*options, f"--python-version={full}"], progress)
            if not error:
                break
            missing = re.search(r"No matching distribution found for (\S+)", error)
            if not missing:
                raise InputError(f"pip failed for {platform}, Python {python}: {error}")
            if not _build_wheel(missing[1], wanted, lock, wheels):
                raise InputError(
                    f"pip finds no wheel of {missing[1]} for {platform}, Python {python}; choose "
                    "another platform or Python, or look at the network and the settings of pip"
                )


def _build_wheel(pin: str, wanted: list[str], lock: Path, wheels: Path) -> bool:
    """Build a package's wheel from its source; return whether that made one for all systems."""
    lines = [line for line in wanted if line.split()[0] == pin]
    with tempfile.TemporaryDirectory() as folder:
        options = ["--wheel-dir", folder, "--no-binary=:all:", "--no-build-isolation"]
        error = _pip("wheel", lines, options)
        built = list(Path(folder).glob("*-none-any.whl"))
        if error or not built:
            return False
        hashed = f"    --hash=sha256:{file_hash(built[0])} \\\n"
        shutil.move(built[0], wheels)
    text = lock.read_text(encoding="utf-8")
    text = re.sub(rf"^{re.escape(pin)}\s[^\n]*\n", rf"\g<0>{hashed}", text, flags=re.M)
    lock.write_text(text, encoding="utf-8")
    return True


def _pip(command: str, wanted: list[str], options: list, progress: bool = False) -> str:
    """Run pip, and return its last error, an empty text if all went well."""
    with tempfile.TemporaryDirectory() as temporary:
        listed = Path(temporary) / "requirements.txt"
        listed.write_text("\n".join(wanted), encoding="utf-8")
        common = ["--no-deps", "--require-hashes", "--disable-pip-version-check"]
        common += [] if progress else ["--quiet"]
        call = [sys.executable, "-m", "pip", command, "-r", listed, *common, *options]
        done = subprocess.run(call, stderr=subprocess.PIPE, text=True)
    lines = done.stderr.strip().splitlines() or ["no message"]
    errors = [line for line in lines if line.startswith("ERROR: ")] or lines
    return errors[-1].removeprefix("ERROR: ") if done.returncode else ""


def _add_site(folder: Path, echo: Callable[[str], None]) -> None:
    """Build the site into a folder; if that fails, copy the one that was built before."""
    command = [sys.executable, CHECKOUT / "docs" / "build_site.py", "--output", folder]
    former = CHECKOUT / "build" / "site"
    if subprocess.run(command, capture_output=True).returncode == 0:
        return
    if former.is_dir():
        shutil.copytree(former, folder)
    else:
        echo("the site cannot be built here and is left out; `make site` says why")


def _copy_project(folder: Path) -> None:
    for name in PROJECT:
        source, copy = CHECKOUT / name, folder / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            leave_out = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints", ".*cache")
            shutil.copytree(source, copy, ignore=leave_out)
        else:
            shutil.copy2(source, copy)
    (folder / "wheels").mkdir()


def _write_start_scripts(folder: Path, pythons: list[str]) -> None:
    for name, newline in (("start.sh", "\n"), ("start.cmd", "\r\n")):
        text = resources.files("tutorial_tools").joinpath("offline", name).read_text("utf-8")
        text = text.replace("PYTHONS", " ".join(pythons))
        (folder / name).write_text(text, encoding="utf-8", newline=newline)
    (folder / "start.sh").chmod(0o755)
