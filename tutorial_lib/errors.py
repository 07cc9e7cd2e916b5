"""The one error that is meant for the reader, and files that are whole or not there."""

from __future__ import annotations

import json
import os
from numbers import Integral
from pathlib import Path


class InputError(ValueError):
    """What the user gave cannot be used.

    The message is one line that says what was expected and what to do. Notebooks and the
    `tutorial` command show that line alone, without a traceback.
    """

    def __str__(self) -> str:
        return " ".join(super().__str__().splitlines())  # the name of a file may hold a line break

    def _render_traceback_(self) -> list[str]:
        """Called by IPython in place of its own traceback."""
        return [f"{type(self).__name__}: {self}"]


def _shown(value) -> str:
    """Return a value as a short text on one line."""
    try:
        return " ".join(repr(value).split())[:80]
    except ValueError:  # Python refuses to write out a number of thousands of digits
        return "a huge number"


def check_choice(name: str, value, choices):
    """Return `value` if it is one of `choices`.

    Raises InputError if it is not; the message lists the choices.
    """
    # 8.0 and True equal whole numbers, but no choice is a float or a truth value.
    if isinstance(value, bool | float) or value not in choices:
        known = ", ".join(map(str, choices)) or "(there are none)"
        raise InputError(f"{name}={_shown(value)} is not known; choose one of {known}")
    return value


def read_text(path: Path) -> str:
    """Read a text in UTF-8, UTF-16 or UTF-32, with or without a byte order mark.

    Raises FileNotFoundError if the file is missing, and InputError if it cannot be read or is no
    such text.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        if not path.exists():  # it may be expected below a file
            raise FileNotFoundError(path) from None
        reason = f"{path} cannot be read ({error.strerror})"
        raise InputError(f"{reason}; expected a text file") from None
    if content.startswith((b"\x1f\x8b", b"PK\x03\x04")):
        raise InputError(f"{path} is compressed; unpack it, and give the text file this name")
    try:
        return content.decode(json.detect_encoding(content)).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise InputError(
            f"{path}, line {line}, is no text in UTF-8 (byte {content[error.start]:#04x}, as in "
            "Windows-1252, say); save the file in UTF-8"
        ) from None


def check_whole_number(name: str, value, least: int = 1, most: int = 2**31 - 1) -> int:
    """Return `value` as an int if it is a whole number in the range.

    Raises InputError if it is not, for example a float, a bool or a text.
    """
    whole = isinstance(value, Integral) and not isinstance(value, bool)
    if whole and least <= value <= most:
        return int(value)
    raise InputError(
        f"{name}={_shown(value)} is impossible; choose a whole number from {least} to {most}"
    )


def write_atomically(path: Path, content: str | bytes) -> None:
    """Write a file so that it is either the old one or the new one, never half of it.

    Args:
        path: Its folder is made if it is missing.
        content: A text, written as UTF-8, or bytes.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}.part")  # two processes may write
    try:
        partial.write_bytes(content.encode() if isinstance(content, str) else content)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
