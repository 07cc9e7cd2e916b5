"""Copies of the project in which a notebook can be checked, and tables in the documentation."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable
from pathlib import Path

from tutorial_lib.data import data_home

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "checking.md"


def notebook_path(number: str) -> Path:
    """Return the stored notebook whose name begins with a number.

    Raises:
        SystemExit: if there is none.
    """
    for path in sorted((ROOT / "notebooks").glob(f"{number}*.ipynb")):
        return path
    raise SystemExit(f"no notebook begins with {number}")


def copy_project(folder: Path, notebooks: Iterable[str]) -> None:
    """Copy what the check of some notebooks needs into an empty folder; no caches."""
    (folder / "notebooks").mkdir(parents=True)
    for name in notebooks:
        shutil.copy(ROOT / "notebooks" / f"{name}.ipynb", folder / "notebooks")
    shutil.copy(ROOT / "pyproject.toml", folder)
    no_caches = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "tutorial_lib", folder / "tutorial_lib", ignore=no_caches)
    shutil.copytree(ROOT / "data" / "checkpoints", folder / "data" / "checkpoints")


def link_caches(target: Path) -> None:
    """Give a data folder the scenes and records of ours, but no net that was trained here."""
    (target / "cache").mkdir(parents=True, exist_ok=True)
    for place in (data_home() / "cache").glob("*"):
        if place.name.startswith(("scenes-", "records-")):
            (target / "cache" / place.name).symlink_to(place.resolve())


def put(section: str, text: str, page: Path = PAGE) -> None:
    """Put a text between the marks of a section of a page, in the place of what was there.

    Raises:
        SystemExit: if the page has no such marks.
    """
    begin, end = (f"<!-- {word} {section} -->" for word in ("begin", "end"))
    old = page.read_text(encoding="utf-8")
    if old.count(begin) != 1 or old.count(end) != 1:
        raise SystemExit(f"{page} has no marks {begin} and {end}")
    pattern = re.escape(begin) + ".*" + re.escape(end)
    new = re.sub(pattern, lambda _: f"{begin}\n\n{text.strip()}\n\n{end}", old, flags=re.DOTALL)
    page.write_text(new, encoding="utf-8")
    print(f"written into {page.relative_to(ROOT)}")
