"""Unpacking archives from the network without trusting them.

Only plain files are written, only below the folder that was named, and only so many bytes. Links,
devices, absolute paths, ".." and drive letters are refused before anything is written, and so is a
packed tar archive that is damaged: it is read to its end first.
"""

from __future__ import annotations

import lzma
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tutorial_lib.errors import InputError

DAMAGED = (
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    RuntimeError,
    ValueError,
)


@dataclass(frozen=True)
class Member:
    """A plain file in an archive.

    Attributes:
        name: Its checked relative path, with forward slashes.
        size: In bytes, as the archive declares.
        open: Opens it for reading.
    """

    name: str
    size: int
    open: Callable


def unpack(
    archive: Path,
    folder: Path,
    select: Callable[[str], str | None] = lambda name: name,
    limit: int = 8 << 30,
    step: Callable[[int], None] = lambda count: None,
) -> list[Path]:
    """Unpack a tar or zip archive, file by file; each appears under its name when it is whole.

    Args:
        archive: A .tar, .tar.gz, .tgz or .zip file.
        folder: Where its files go.
        select: From a member's name to the name below `folder`; None leaves the member out.
        limit: Most bytes that all selected files together may have.
        step: Called with the size of each file that was written.

    Returns:
        The paths written, in the archive's order.

    Raises:
        InputError: if the archive is damaged, tries to write outside the folder, holds a link or
            device, names a file twice, or is larger than the limit.
    """
    with ExitStack() as stack:
        chosen = _chosen(list(_members(archive, stack)), archive, select)
        if sum(member.size for member in chosen.values()) > limit:
            raise InputError(f"{archive} unpacks to more than {limit:,} bytes; not unpacked")
        for name, member in chosen.items():
            _write(member, folder / name, archive)
            step(member.size)
    return [folder / name for name in chosen]


def _chosen(members: list[Member], archive: Path, select) -> dict[str, Member]:
    """Return the members to unpack by the names that they get."""
    chosen = {}
    for member in members:
        if (name := select(member.name)) is not None:
            name = checked_name(name, archive)
            if name in chosen:
                raise InputError(f"{archive} holds {name} twice; fetch it again")
            chosen[name] = member
    folders = {str(folder) for name in chosen for folder in PurePosixPath(name).parents}
    if both := sorted(folders & chosen.keys()):
        raise InputError(f"{archive} holds {both[0]} as a file and as a folder; not unpacked")
    return chosen


def checked_name(name: str, archive: Path) -> str:
    """Return a relative path that stays below its folder, on every system.

    Raises:
        InputError: if it would not.
    """
    path = PurePosixPath(name)
    bad = path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name or "\0" in name
    if bad or not path.parts:
        raise InputError(f"{archive} holds the path {name!r}, which leads elsewhere; not unpacked")
    return str(path)


def _members(archive: Path, stack: ExitStack) -> Iterator[Member]:
    """Yield the plain files; pass folders over; refuse everything else."""
    try:
        if archive.suffix.lower() == ".zip":
            yield from _zip_members(stack.enter_context(zipfile.ZipFile(archive)), archive)
        else:
            yield from _tar_members(stack.enter_context(tarfile.open(archive)), archive)
    except FileNotFoundError:
        raise InputError(f"{archive} is missing") from None
    except InputError:
        raise
    except DAMAGED as error:
        raise _damaged(archive, error) from None
    except OSError as error:
        if error.strerror is None:  # not the system's: gzip and bz2 find damage
            raise _damaged(archive, error) from None
        raise InputError(f"cannot read {archive} ({error.strerror})") from None


def _tar_members(tar: tarfile.TarFile, archive: Path) -> Iterator[Member]:
    for entry in tar:
        if entry.isdir():
            checked_name(entry.name, archive)
        elif not entry.isreg():
            raise InputError(f"{archive} holds a link or device, {entry.name!r}; not unpacked")
        else:
            name = checked_name(entry.name, archive)
            yield Member(name, entry.size, lambda entry=entry: tar.extractfile(entry))
    while tar.fileobj.read(1 << 20):  # the checksum of what was packed comes last
        pass


def _zip_members(file: zipfile.ZipFile, archive: Path) -> Iterator[Member]:
    for entry in file.infolist():
        name = checked_name(entry.filename, archive)
        kind = entry.external_attr >> 16 & 0o170000  # the file type of Unix, 0 if made elsewhere
        if entry.is_dir():
            continue
        if kind not in (0, 0o100000):
            raise InputError(f"{archive} holds a link or device, {name!r}; not unpacked")
        yield Member(name, entry.file_size, lambda entry=entry: file.open(entry))


def _write(member: Member, path: Path, archive: Path) -> None:
    """Copy one member; a declared size that lies is found out before the disk is full."""
    part = path.with_name(f".{path.name}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with member.open() as source, part.open("wb") as out:
            shutil.copyfileobj(_Bounded(source, member, archive), out, 1 << 20)
        if part.stat().st_size != member.size:
            raise InputError(f"{archive} is damaged: {member.name} is cut short; fetch it again")
        part.replace(path)
    except DAMAGED as error:
        if isinstance(error, InputError):
            raise
        raise _damaged(archive, error) from None
    except OSError as error:
        if error.strerror is None:  # of a member that bz2 packed
            raise _damaged(archive, error) from None
        raise InputError(f"cannot write {path} ({error.strerror})") from None
    finally:
        if part.exists():  # its folder may be a file
            part.unlink()


class _Bounded:
    """Reads no more than a member declared."""

    def __init__(self, source, member: Member, archive: Path):
        self.source, self.left = source, member.size
        self.message = f"{archive}: {member.name} is larger than it says; not unpacked any further"

    def read(self, count: int) -> bytes:
        data = self.source.read(count)
        self.left -= len(data)
        if self.left < 0:
            raise InputError(self.message)
        return data


def _damaged(archive: Path, error: Exception) -> InputError:
    return InputError(f"{archive} is damaged ({' '.join(str(error).split())}); fetch it again")
