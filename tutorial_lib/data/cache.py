"""Folders that are made once, checked by hash, and made again when they are damaged."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tutorial_lib.data import note_use
from tutorial_lib.errors import InputError

MANIFEST = "MANIFEST.json"
DAY = 24 * 60 * 60  # seconds


def cached_folder(folder: Path, build: Callable[[Path], None]) -> Path:
    """Return `folder`, after making it if it is missing, incomplete or damaged.

    It is built under a temporary name beside its place, gets a manifest with the sha256 of every
    file, and is then renamed. So a folder under its final name is complete, whatever happened
    while it was made, and two processes may make the same one at once. What processes that were
    killed left of it is removed.

    Args:
        folder: Where the result belongs.
        build: Called with an empty folder to fill.

    Raises:
        InputError: if the place cannot be written.
    """
    note_use(folder / MANIFEST)
    if not damaged_files(folder):
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(folder)
        partial = _temporary(folder)
    except OSError as error:
        raise cannot_write(folder.parent, error) from None
    try:
        build(partial)
        hashes = {name: file_hash(partial / name) for name in _files(partial)}
        (partial / MANIFEST).write_text(json.dumps(hashes, indent=0), encoding="utf-8")
        partial.chmod(0o755)  # mkdtemp makes it private
        _put_in_place(partial, folder)
    except OSError as error:
        raise cannot_write(folder, error) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def damaged_files(folder: Path) -> list[str]:
    """Return the names of the files that are missing, changed or surplus; empty if all is well."""
    try:
        hashes = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        expected = set(hashes) | {MANIFEST}
    except (OSError, ValueError, TypeError):
        return [MANIFEST]
    present = set(_files(folder))
    changed = {
        n for n in expected & present if n != MANIFEST and file_hash(folder / n) != hashes[n]
    }
    return sorted(changed | (expected ^ present))


def file_hash(path: Path) -> str:
    """Return the sha256 of a file as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _files(folder: Path) -> list[str]:
    """Return the relative names of all files below a folder, with forward slashes, sorted."""
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def _temporary(folder: Path) -> Path:
    """Make a folder beside another, with a name that tells whose it is."""
    prefix = f".{folder.name}-{_machine()}.{os.getpid()}-"
    return Path(tempfile.mkdtemp(prefix=prefix, dir=folder.parent))


def _remove_abandoned(folder: Path) -> None:
    """Remove temporary folders that nobody will finish: old ones, and those of dead processes."""
    import psutil

    pattern = re.compile(rf"\.{re.escape(folder.name)}-(\w+)\.(\d+)-\w{{8}}")
    for path in list(folder.parent.iterdir()):
        if match := pattern.fullmatch(path.name):
            machine, process = match.groups()
            dead = machine == _machine() and not psutil.pid_exists(int(process))
            # Of a process on another machine that shares the disk only the time is known.
            if dead or _age(path) > DAY:
                shutil.rmtree(path, ignore_errors=True)


def _age(path: Path) -> float:
    """Return the seconds since something was put into a folder, 0 if it has just vanished."""
    try:
        return time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return 0


def _machine() -> str:
    return re.sub(r"\W", "_", platform.node()) or "_"


def _put_in_place(partial: Path, folder: Path) -> None:
    """Rename a finished folder, moving a damaged one out of the way first."""
    if folder.exists():
        if not damaged_files(folder):
            return  # another process was faster
        old = _temporary(folder)
        folder.replace(old / "damaged")
        shutil.rmtree(old, ignore_errors=True)
    try:
        partial.replace(folder)
    except OSError:
        if damaged_files(folder):
            raise


def cannot_write(place: Path, error: OSError) -> InputError:
    """Return what to tell the user when a place cannot be written."""
    return InputError(
        f"cannot write {place} ({error.strerror or error}); free some space there, or set "
        "TUTORIAL_DATA to a folder that can be written"
    )
