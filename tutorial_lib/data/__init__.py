"""Data sets: where they lie, how they are made, read and converted."""

from __future__ import annotations

import os
from pathlib import Path

LEDGER = "TUTORIAL_LEDGER"  # environment variable: where to note which data was used


def data_home() -> Path:
    """Return the folder for downloads and caches.

    That is `TUTORIAL_DATA` if it is set, else `data/` of the checkout that this library was
    installed from, else `~/.cache/fcn-tutorials`. The path is absolute; a relative one counts from
    where the process works.
    """
    if chosen := os.environ.get("TUTORIAL_DATA"):
        return Path(chosen).expanduser().resolve()
    checkout = Path(__file__).resolve().parents[2]
    if (checkout / "pyproject.toml").is_file():
        return checkout / "data"
    return Path.home() / ".cache" / "fcn-tutorials"


def note_use(path: Path) -> None:
    """Note that the data set which `path` identifies is in use, for a run that keeps a ledger.

    Args:
        path: The manifest, archive or annotations of the set: if it is the same, so is the set.
    """
    if ledger := os.environ.get(LEDGER):
        with Path(ledger).open("a", encoding="utf-8") as file:
            file.write(f"{Path(path).absolute()}\n")
