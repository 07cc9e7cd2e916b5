"""Datasets: where they are stored, and how they are made, read and converted."""

from __future__ import annotations

import os
from pathlib import Path

from tutorial_lib import CHECKOUT
from tutorial_lib.errors import InputError


def data_home() -> Path:
    """Return the absolute path of the folder for downloads and caches.

    This is `TUTORIAL_DATA` if it is set, else `data/` of the checkout that this library was
    installed from, else `~/.cache/fcn-tutorials`. A relative `TUTORIAL_DATA` counts from the
    working directory of the process. Raises InputError if `TUTORIAL_DATA` is not a usable path.
    """
    if chosen := os.environ.get("TUTORIAL_DATA"):
        return absolute(chosen, "TUTORIAL_DATA")
    if (CHECKOUT / "pyproject.toml").is_file():
        return CHECKOUT / "data"
    return Path.home() / ".cache" / "fcn-tutorials"


def absolute(text: str, name: str) -> Path:
    """Return the absolute path for one that a user gave as an option or variable `name`.

    Raises InputError if there is no such user, or the links in the path form a loop.
    """
    try:
        return Path(text).expanduser().resolve()
    except (RuntimeError, OSError) as error:  # a loop of links is an OSError since Python 3.13
        raise InputError(f"{name}={text!r} cannot be used ({error}); choose another path") from None
