"""What `tutorial doctor` looks at: does this machine have what the notebooks need?"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata

NEEDED_DISK = 4  # GB: environment, caches and executed notebooks
NEEDED_MEMORY = 4  # GB: the largest notebook in the quick profile


@dataclass(frozen=True)
class Finding:
    """One thing looked at: its name, whether it is good, and what to know or do."""

    name: str
    good: bool
    text: str


def examine() -> list[Finding]:
    """Look at everything; a check that breaks is itself a bad finding."""
    checks = [python, packages, device, kernel, memory, disk, data_folder]
    return [_safely(check) for check in checks]


def _safely(check: Callable[[], Finding]) -> Finding:
    try:
        return check()
    except Exception as error:  # whatever is broken here is what the user wants to know
        return Finding(check.__name__, False, f"{type(error).__name__}: {error}")


def python() -> Finding:
    """Is this a Python that TensorFlow has wheels for?"""
    version = ".".join(map(str, sys.version_info[:3]))
    good = (3, 11) <= sys.version_info[:2] <= (3, 13)
    return Finding("python", good, version if good else f"{version}; install Python 3.11 to 3.13")


def packages() -> Finding:
    """Are all the packages there that pyproject.toml asks for?"""
    from packaging.requirements import Requirement

    missing = []
    for requirement in map(Requirement, metadata.requires("fcn-tutorials") or []):
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            continue
        try:
            metadata.version(requirement.name)
        except metadata.PackageNotFoundError:
            missing.append(requirement.name)
    if missing:
        return Finding("packages", False, f"missing: {', '.join(missing)}; run `make -B install`")
    return Finding("packages", True, "all there")


def device() -> Finding:
    """What will TensorFlow compute on?"""
    from tutorial_lib import notebook

    return Finding("device", True, notebook.banner("any"))


def kernel() -> Finding:
    """Does the notebooks' kernel exist, and does it run this very Python?"""
    from jupyter_client.kernelspec import KernelSpecManager

    command = KernelSpecManager().get_kernel_spec("python3").argv[0]
    # Jupyter reads a bare name as "the Python that Jupyter itself runs on".
    good = command in ("python", "python3", sys.executable)
    # pip leaves alone what is there, so installing again would not mend it.
    mend = "run `python -m ipykernel install --sys-prefix --name python3` with this Python"
    return Finding("kernel", good, "python3 is this Python" if good else f"it is {command}; {mend}")


def memory() -> Finding:
    """Is there enough memory for the quick profile?"""
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return Finding("memory", True, "cannot be measured on this system")
    gigabytes = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 1e9
    good = gigabytes >= NEEDED_MEMORY
    return Finding("memory", good, f"{gigabytes:.0f} GB of the {NEEDED_MEMORY} GB needed")


def disk() -> Finding:
    """Is there enough room for the caches?"""
    from tutorial_lib.data import data_home

    home = data_home()
    place = home if home.exists() else home.parent
    gigabytes = shutil.disk_usage(place).free / 1e9
    good = gigabytes >= NEEDED_DISK
    return Finding("disk", good, f"{gigabytes:.0f} GB free, {NEEDED_DISK} GB needed")


def data_folder() -> Finding:
    """Can data be written where it belongs?"""
    from tutorial_lib.data import data_home

    home = data_home()
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=home):
            pass
    except OSError as error:
        reason = f"{home} cannot be written ({error.strerror}); set TUTORIAL_DATA to another folder"
        return Finding("data folder", False, reason)
    return Finding("data folder", True, str(home))
