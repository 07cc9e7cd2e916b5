"""The checks of `tutorial doctor`: does this machine have what the notebooks need?"""

from __future__ import annotations

import shutil
import sys
import tempfile
from dataclasses import dataclass
from importlib import metadata

NEEDED_DISK = 4  # GB: environment, caches and executed notebooks
NEEDED_MEMORY = 4  # GB: the largest notebook in the quick profile


@dataclass(frozen=True)
class Finding:
    """The result of one check: its name, whether it passed, and what to know or do."""

    name: str
    good: bool
    text: str


def examine() -> list[Finding]:
    """Run all checks; a check that raises an error is itself a bad finding."""
    findings = []
    for check in (python, packages, device, kernel, memory, disk, data_folder):
        try:
            findings.append(check())
        except Exception as error:  # whatever is broken here is what the user wants to know
            text = f"{type(error).__name__}: {error}"
            findings.append(Finding(check.__name__, False, text))
    return findings


def python() -> Finding:
    """Check that TensorFlow has wheels for this Python."""
    version = ".".join(map(str, sys.version_info[:3]))
    good = (3, 11) <= sys.version_info[:2] <= (3, 13)
    return Finding("python", good, version if good else f"{version}; install Python 3.11 to 3.13")


def packages() -> Finding:
    """Check that all packages in pyproject.toml are installed."""
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
    return Finding("packages", True, "all installed")


def device() -> Finding:
    """Name the device that TensorFlow will use."""
    from tutorial_lib import notebook

    return Finding("device", True, notebook.banner("any"))


def kernel() -> Finding:
    """Check that the notebooks' kernel exists and runs this Python."""
    from jupyter_client.kernelspec import KernelSpecManager

    command = KernelSpecManager().get_kernel_spec("python3").argv[0]
    # Jupyter reads a bare name as "the Python that Jupyter itself runs on".
    good = command in ("python", "python3", sys.executable)
    # Installing the package again would not help: pip skips a package that is installed.
    remedy = "run `python -m ipykernel install --sys-prefix --name python3` with this Python"
    text = "python3 is this Python" if good else f"it is {command}; {remedy}"
    return Finding("kernel", good, text)


def memory() -> Finding:
    """Check that there is enough memory for the quick profile."""
    import psutil

    gigabytes = psutil.virtual_memory().total / 1e9
    text = f"{gigabytes:.0f} GB of the {NEEDED_MEMORY} GB needed"
    return Finding("memory", gigabytes >= NEEDED_MEMORY, text)


def disk() -> Finding:
    """Check that there is enough free space for the caches."""
    from tutorial_lib.data import data_home

    home = data_home()
    place = home if home.exists() else home.parent
    gigabytes = shutil.disk_usage(place).free / 1e9
    text = f"{gigabytes:.0f} GB free, {NEEDED_DISK} GB needed"
    return Finding("disk", gigabytes >= NEEDED_DISK, text)


def data_folder() -> Finding:
    """Check that the data folder can be written."""
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
