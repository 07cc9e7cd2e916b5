"""Folders that are made once, verified by hash, and made again when they are damaged."""

from __future__ import annotations

import contextlib
import glob
import hashlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from tutorial_lib.data import absolute, data_home
from tutorial_lib.errors import InputError

MANIFEST = "MANIFEST.json"
ELSEWHERE = "free some space there, or set TUTORIAL_DATA to a folder that can be written"
DAY = 24 * 60 * 60  # seconds


def cached_folder(folder: Path, build: Callable[[Path], None]) -> Path:
    """Return `folder`, after building it if it is missing, incomplete or damaged.

    It is built under a temporary name, gets a manifest with the sha256 of every file, and is then
    renamed, so a folder under its final name is complete even if a build was killed. When several
    processes need it at once, one builds it and the others wait.

    Args:
        folder: The final path. If it lies in the data folder, a complete folder at the same place
            in `TUTORIAL_SHARED` is returned instead: a data folder that is only read, for example
            one that all learners on a server share.
        build: Called with an empty folder to fill.

    Raises:
        InputError: if the folder cannot be written.
    """
    places, shared = [folder], os.environ.get("TUTORIAL_SHARED")
    if shared and folder.is_relative_to(data_home()):
        places.append(absolute(shared, "TUTORIAL_SHARED") / folder.relative_to(data_home()))
    for place in places:
        if not damaged_files(place):
            return place
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _one_at_a_time(folder.with_name(f".{folder.name}.lock")):
            _build(folder, build)
    except OSError as error:
        if damaged_files(folder):  # else another process was faster
            raise cannot_write(folder, error) from None
    return folder


@contextlib.contextmanager
def _one_at_a_time(path: Path) -> Iterator[None]:
    """Wait until no other process has locked a file, and lock it.

    The system releases the lock of a process that ends, however it ends. Where there are no such
    locks, on Windows and on some network drives, nobody waits, and the first to finish provides
    the folder.
    """
    with path.open("w") as file:
        with contextlib.suppress(ImportError, OSError):
            import fcntl

            fcntl.lockf(file, fcntl.LOCK_EX)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):  # Windows keeps a file that others have opened
                path.unlink()


def _build(folder: Path, build: Callable[[Path], None]) -> None:
    """Build a folder under a temporary name and rename it, unless it is complete by now."""
    if damaged_files(folder):
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

    Raises InputError if it is missing or its SHA-256 is another.
    """
    if not path.is_file() or file_hash(path) != sha256:
        fault = "damaged" if path.is_file() else "missing"
        raise InputError(f"{path} is {fault}; restore it with git, or use `tutorial pretrain`")


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
