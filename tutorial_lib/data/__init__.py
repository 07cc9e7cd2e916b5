"""Data sets: where they lie, how they are made, read and converted."""

from __future__ import annotations

import os
from pathlib import Path


def data_home() -> Path:
    """Return the folder for downloads and caches.

    That is `TUTORIAL_DATA` if it is set, else `data/` of the checkout that this library was
    installed from, else `~/.cache/fcn-tutorials`.
    """
    if chosen := os.environ.get("TUTORIAL_DATA"):
        return Path(chosen).expanduser()
    checkout = Path(__file__).resolve().parents[2]
    if (checkout / "pyproject.toml").is_file():
        return checkout / "data"
    return Path.home() / ".cache" / "fcn-tutorials"
