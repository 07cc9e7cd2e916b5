"""Folders that are made once, verified by hash, and made again when they are damaged."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from tutorial_lib.errors import InputError

MANIFEST = "MANIFEST.json"
ELSEWHERE = "free some space there, or set TUTORIAL_DATA to a folder that can be written"
DAY = 24 * 60 * 60  # seconds


def cached_folder(folder: Path, build: Callable[[Path], None]) -> Path:
    """Return `folder`, after building it if it is missing, incomplete or damaged.

    It is built under a temporary name, gets a manifest with the sha256 of every file, and is then
    renamed, so a folder under its final name is complete even if a build was killed. When several
    processes build it at once, the first to finish provides it.

    Args:
        folder: The final path.
        build: Called with an empty folder to fill.

    Raises:
        InputError: if the folder cannot be written.
    """
    if not damaged_files(folder):
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _remove_abandoned(folder)
        partial = Path(tempfile.mkdtemp(".partial", f".{folder.name}.", folder.parent))
        try:
            build(partial)
            hashes = {name: file_hash(partial / name) for name in _files(partial)}
            (partial / MANIFEST).write_text(json.dumps(hashes, indent=0), encoding="utf-8")
            partial.chmod(0o755)  # mkdtemp makes it private
            if damaged_files(folder):
                shutil.rmtree(folder, ignore_errors=True)
                partial.replace(folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        if damaged_files(folder):  # else another process was faster
            raise cannot_write(folder, error) from None
    return folder


def damaged_files(folder: Path) -> list[str]:
    """Return the names of missing, changed and surplus files, an empty list if all is well."""
    try:
        hashes = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        expected = set(hashes) | {MANIFEST}
    except (OSError, ValueError, TypeError):
        return [MANIFEST]
    present = set(_files(folder))
    same = expected & present - {MANIFEST}
    changed = {name for name in same if file_hash(folder / name) != hashes[name]}
    return sorted(changed | (expected ^ present))


def file_hash(path: Path) -> str:
    """Return the sha256 of a file as hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_shipped(path: Path, sha256: str) -> None:
    """Check that a file that git brings is the one that this code was tested with.

    Raises:
        InputError: if it is missing or its SHA-256 is another.
    """
    if not path.is_file() or file_hash(path) != sha256:
        fault = "damaged" if path.is_file() else "missing"
        raise InputError(f"{path} is {fault}; restore it with git, or run `tutorial pretrain`")


def _files(folder: Path) -> list[str]:
    """Return the relative names of all files below a folder, with forward slashes, sorted."""
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def _remove_abandoned(folder: Path) -> None:
    """Remove the temporary folders of builds that were killed, once they are a day old."""
    for path in folder.parent.glob(f".{glob.escape(folder.name)}.*.partial"):
        with contextlib.suppress(FileNotFoundError):  # another process may have removed it
            if time.time() - path.stat().st_mtime > DAY:
                shutil.rmtree(path, ignore_errors=True)


def cannot_write(place: Path, error: OSError, advice: str = ELSEWHERE) -> InputError:
    """Return the error that tells the user that a place cannot be written."""
    return InputError(f"cannot write {place} ({error.strerror or error}); {advice}")
