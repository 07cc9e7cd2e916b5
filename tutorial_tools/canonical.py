"""The one form that a notebook has in git: outputs stored, everything volatile left out.

The pre-commit hook runs `python -m tutorial_tools.canonical PATH…`, which converts notebooks to
this form and fails if one was in another. It needs nothing but Python.
"""

from __future__ import annotations

import base64
import json
import re
import sys
from pathlib import Path

from tutorial_lib import CHECKOUT
from tutorial_lib.errors import InputError, write_atomically
from tutorial_lib.notebook import is_record
from tutorial_tools import report, runner

KEPT_CELL_METADATA = ("tags", "jupyter", "slideshow")
# JupyterLab shows the first line of a folded cell, so it must not be the answer.
SOLUTION_LINE = "# Solution: click to open\n"
NOTEBOOK_METADATA = {
    "kernelspec": {
        "display_name": "Python 3 (ipykernel)",
        "language": "python",
        "name": "python3",
    },
    "language_info": {"name": "python"},
}


def canonical(notebook: dict) -> str:
    """Return the one text that a notebook has in git.

    It has the sources, outputs, execution counts, tags and folded cells, without what changes
    from run to run or from editor to editor: times, editor state, and the measurements of
    `notebook.record`. Every solution is folded, whatever its author has left open.
    """
    cells = []
    for cell in notebook["cells"]:
        clean = {
            "cell_type": cell["cell_type"],
            "id": cell["id"],
            "metadata": {k: v for k, v in cell["metadata"].items() if k in KEPT_CELL_METADATA},
            "source": _as_lines(cell["source"]),
        }
        if cell["cell_type"] == "code":
            if is_solution(cell):
                _fold(clean)
            clean["execution_count"] = cell["execution_count"]
            clean["outputs"] = [canonical_output(o) for o in cell["outputs"] if not is_record(o)]
        cells.append(clean)
    whole = {"cells": cells, "metadata": NOTEBOOK_METADATA, "nbformat": 4, "nbformat_minor": 5}
    return json.dumps(whole, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def is_solution(cell: dict) -> bool:
    """Return whether a cell is tagged as the solution of an exercise."""
    return "solution" in cell["metadata"].get("tags", [])


def _fold(cell: dict) -> None:
    """Hide the source and the outputs of a code cell; both open with a click."""
    tags = cell["metadata"]["tags"]
    cell["metadata"] |= {
        "tags": tags if "hide-input" in tags else [*tags, "hide-input"],
        "jupyter": {"source_hidden": True, "outputs_hidden": True},
    }
    if cell["source"][:1] != [SOLUTION_LINE]:
        cell["source"].insert(0, SOLUTION_LINE)


def canonical_output(output: dict) -> dict:
    """Return an output with its texts split into lines, as Jupyter stores them."""
    clean = dict(output)
    if "text" in clean:
        clean["text"] = _as_lines(clean["text"])
    if "data" in clean:
        clean["data"] = {
            kind: value if kind.endswith("json") or kind == "image/png" else _as_lines(value)
            for kind, value in clean["data"].items()
        }
    return clean


def _as_lines(text: str | list[str]) -> list[str]:
    """Split a text after its line breaks, because diffs of notebooks are read line by line."""
    return "".join(text).splitlines(keepends=True)


def refresh(
    path: Path, timeout: int = runner.CELL_TIMEOUT, progress: bool = False
) -> runner.Result:
    """Execute a notebook with its own parameters and store the outputs in it.

    Nothing is written unless every cell ran and none of them wrote to stderr, because a warning is
    either worth a sentence in the text or has to be fixed. The images that open the notebook, which
    are in docs/ for the README and the site, are replaced too.
    """
    output = CHECKOUT / "build" / "refresh" / path.name
    result = runner.execute(path, output, {}, timeout, progress)
    if result.status == "passed":
        notebook = report.read_json(output)
        if warning := _first_stderr(notebook):
            result.status, result.error = "failed", warning
        else:
            old, new = report.read_json(path), canonical(notebook)
            write_atomically(path, new)
            _replace_opening_images(path, old, json.loads(new))
    return result


def _replace_opening_images(path: Path, old: dict, new: dict) -> None:
    """Replace each image in docs/ that was an output of the old notebook by the new output."""
    places = {content: place for place, content in png_outputs(old).items()}
    for target in re.findall(r"\]\((\.\./docs/[^)]+\.png)\)", "".join(old["cells"][0]["source"])):
        file = (path.parent / target).resolve()
        place = places.get(file.read_bytes()) if file.is_file() else None
        if place in (drawn := png_outputs(new)):
            write_atomically(file, drawn[place])


def png_outputs(notebook: dict) -> dict[tuple[str, int], bytes]:
    """Return the PNG outputs of a notebook by cell id and number of the output."""
    return {
        (cell["id"], number): base64.b64decode("".join(output["data"]["image/png"]))
        for cell in notebook["cells"]
        for number, output in enumerate(cell.get("outputs", []))
        if "image/png" in output.get("data", {})
    }


def _first_stderr(notebook: dict) -> str:
    """Return one line on the first text that went to stderr, or an empty string."""
    for position, cell in enumerate(notebook["cells"], start=1):
        for output in cell.get("outputs", []):
            if output.get("name") == "stderr":
                text = runner.one_line("".join(output["text"]))
                return f"cell {position} wrote to stderr: {text}"
    return ""


def bring_into_form(path: Path) -> bool:
    """Write a notebook in its canonical form; return whether it was in another one.

    Raises InputError if it cannot be read or written, or is not a notebook of format 4.5.
    """
    try:
        old = path.read_text(encoding="utf-8")
        new = canonical(json.loads(old))
        if new != old:
            write_atomically(path, new)
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        message = f"{path} is not a notebook of format 4.5; save it anew in JupyterLab"
        raise InputError(message) from None
    return new != old


def main(arguments: list[str]) -> int:
    """Bring the named notebooks into their form; return 1 if any was in another one or broken."""
    status = 0
    for path in map(Path, arguments):
        try:
            if bring_into_form(path):
                print(f"{path}: brought into canonical form; add it to the commit")
                status = 1
        except InputError as error:
            print(f"Error: {error}", file=sys.stderr)
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
