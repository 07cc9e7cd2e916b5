"""Working copies of the chapters, so that a learner predicts before the output is visible.

`notebooks/` stores every chapter with its outputs, and git watches it. A learner works in `work/`,
which git ignores: copies without outputs, and a page that lists them. A copy follows its chapter
until the learner changes or runs it; from then on it is never written again.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from tutorial_lib import CHECKOUT
from tutorial_lib.errors import write_atomically
from tutorial_tools import canonical, report, runner

WORK = CHECKOUT / "work"
START_PAGE = "START.md"
VERSIONS = ".versions.json"  # by file name, the digest of each copy as it was written


@dataclass
class Copy:
    """A learner's copy of a chapter.

    Attributes:
        chapter: The stored notebook that it was made from.
        state: What the learner has done in it, in a few words.
        outdated: Whether the learner has changed it, and the chapter has changed since.
    """

    path: Path
    chapter: Path
    state: str
    outdated: bool


def working_copy(notebook: dict) -> str:
    """Return a stored notebook as a learner begins with it: without outputs."""
    code = {"execution_count": None, "outputs": []}
    cells = [
        cell | code if cell["cell_type"] == "code" else cell
        for cell in json.loads(canonical.canonical(notebook))["cells"]
    ]
    return json.dumps(notebook | {"cells": cells}, indent=1, ensure_ascii=False) + "\n"


def prepare(folder: Path = WORK) -> list[Copy]:
    """Make the copies that are missing, update those nobody has changed, and list all.

    Raises InputError if there are no stored notebooks.
    """
    versions = report.read_json(folder / VERSIONS) or {}
    copies = []
    for chapter in runner.find_notebooks():
        path, new = folder / chapter.name, working_copy(report.read_json(chapter))
        mine, known = _read(path), versions.get(chapter.name)
        untouched = not _has_run(mine) and _digest(mine) in (known, _digest(json.loads(new)))
        if not path.exists() or untouched:
            # Written only when it differs: JupyterLab asks about files that change on the disk.
            if _digest(mine) != _digest(json.loads(new)):
                write_atomically(path, new)
            versions[chapter.name] = _digest(json.loads(new))
            mine, untouched = json.loads(new), True
        outdated = not untouched and known != _digest(json.loads(new))
        copies.append(Copy(path, chapter, _state(mine, untouched), outdated))
    write_atomically(folder / VERSIONS, json.dumps(versions, indent=1))
    write_atomically(folder / START_PAGE, start_page(copies))
    return copies


def fresh_copies(names: Iterable[str], folder: Path = WORK) -> list[Path]:
    """Write new copies of chapters beside the learner's own, and return their paths.

    Raises InputError if a name fits no chapter.
    """
    written = []
    for chapter in runner.find_notebooks(names):
        number, path = 1, folder / f"{chapter.stem}_fresh.ipynb"
        while path.exists():
            number += 1
            path = path.with_name(f"{chapter.stem}_fresh{number}.ipynb")
        write_atomically(path, working_copy(report.read_json(chapter)))
        written.append(path)
    return written


def start_page(copies: Iterable[Copy]) -> str:
    """Return the page that JupyterLab opens with: the chapters, their times and states."""
    rows = []
    for copy in copies:
        first = "".join(report.read_json(copy.chapter)["cells"][0]["source"])
        title = first.splitlines()[0].lstrip("# ")
        time = re.search(r"\*\*How long it takes\.\*\*\s*(.+)", first)
        state = copy.state
        if copy.outdated:
            state += f"; a newer version is available: `tutorial lab --fresh {copy.path.name[:2]}`"
        row = (copy.path.name[:2], f"[{title}]({copy.path.name})", time[1] if time else "", state)
        rows.append(f"| {' | '.join(row)} |")
    text = resources.files("tutorial_tools").joinpath("start.md").read_text("utf-8")
    return text.replace("TABLE", "\n".join(rows))


def open_lab(options: Iterable[str] = (), folder: Path = WORK) -> int:
    """Open JupyterLab at the start page; on Windows return its exit status when it ends.

    Our settings show Markdown files rendered, and ask for no news from the network.
    """
    settings = str(resources.files("tutorial_tools").joinpath("jupyter"))
    paths = [settings, *filter(None, [os.environ.get("JUPYTER_CONFIG_PATH")])]
    page = f"/lab/tree/{folder.name}/{START_PAGE}"
    command = [sys.executable, "-m", "jupyterlab", f"--LabApp.default_url={page}"]
    command += [f"--ServerApp.root_dir={folder.parent}", *options]
    environment = os.environ | {"JUPYTER_CONFIG_PATH": os.pathsep.join(paths)}
    if os.name == "posix":  # JupyterLab takes the place of this process, signals included
        os.execve(sys.executable, command, environment)
    return subprocess.run(command, env=environment).returncode


def _read(path: Path) -> dict:
    """Return a learner's notebook, an empty dict if it is missing or is none."""
    notebook = report.read_json(path)
    try:
        _digest(notebook), _state(notebook, untouched=False)
    except (AttributeError, KeyError, TypeError):
        return {}
    return notebook


def _digest(notebook: dict) -> str:
    """Return a digest of what a learner can change: the kinds and the sources of the cells."""
    cells = [(c["cell_type"], "".join(c["source"])) for c in notebook.get("cells", [])]
    return hashlib.sha256(json.dumps(cells).encode()).hexdigest()


def _code_cells(notebook: dict) -> list[dict]:
    return [cell for cell in notebook.get("cells", []) if cell["cell_type"] == "code"]


def _has_run(notebook: dict) -> bool:
    return any(cell["execution_count"] or cell["outputs"] for cell in _code_cells(notebook))


def _state(notebook: dict, untouched: bool) -> str:
    """Describe a copy: how many cells have run, and how many exercises pass."""
    if untouched:
        return "not started"
    if not notebook:
        return "cannot be read"
    cells = _code_cells(notebook)
    run = sum(bool(cell["execution_count"]) for cell in cells)
    exercises = sum(canonical.is_solution(cell) for cell in cells)
    solved = sum(
        "".join(output.get("text", "")).startswith("✓")
        for cell in cells
        if not canonical.is_solution(cell)
        for output in cell["outputs"]
    )
    return f"{run} of {len(cells)} cells run, {solved} of {exercises} exercises solved"
