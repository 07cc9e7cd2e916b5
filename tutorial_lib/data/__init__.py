"""Data sets: where they lie, how they are made, read and converted."""

from __future__ import annotations

import os
from pathlib import Path

from tutorial_lib import CHECKOUT
from tutorial_lib.errors import InputError

LEDGER = "TUTORIAL_LEDGER"  # environment variable: where to note which data was used


def data_home() -> Path:
    """Return the folder for downloads and caches.

    That is `TUTORIAL_DATA` if it is set, else `data/` of the checkout that this library was
    installed from, else `~/.cache/fcn-tutorials`. The path is absolute; a relative one counts from
    where the process works.

    Raises:
        InputError: if `TUTORIAL_DATA` is no path.
    """
    if chosen := os.environ.get("TUTORIAL_DATA"):
        return absolute(chosen, "TUTORIAL_DATA")
    if (CHECKOUT / "pyproject.toml").is_file():
        return CHECKOUT / "data"
    return Path.home() / ".cache" / "fcn-tutorials"


def absolute(text: str, name: str) -> Path:
    """Return the absolute path that a user's text means.

    Args:
        text: A path; it may be relative, or begin with `~`.
        name: What the user gave it as.

    Raises:
        InputError: if it means none: there is no such user, or its links run in a circle.
    """
    try:
        return Path(text).expanduser().resolve()
    except (RuntimeError, OSError) as error:  # the circle is an OSError since Python 3.13
        raise InputError(
            f"{name}={text!r} cannot be used ({error}); choose another place"
        ) from None


def note_use(path: Path) -> None:
    """Note that the data set which `path` identifies is in use, for a run that keeps a ledger.

    Args:
        path: The manifest, archive or annotations of the set: if it is the same, so is the set.
    """
    if ledger := os.environ.get(LEDGER):
        with Path(ledger).open("a", encoding="utf-8") as file:
            file.write(f"{Path(path).absolute()}\n")
