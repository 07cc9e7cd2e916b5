"""Do two runs in a row give the same notebooks, apart from times?

    python benchmarks/repeatability.py 01 02

Executes each notebook twice, as `make run` does, and compares the executed files bit by bit after
leaving out what `make refresh` leaves out too, times, editor state, widgets, measurements, and
what no check compares: the banner, and rates that a clock measured. Scenes and records come from
the cache, and some nets with the project; each run trains all others anew.
Exits with 1 if a cell differs, and names it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.copies import link_caches, notebook_path  # noqa: E402, the folder is not installed
from tutorial_tools import canonical, runner


def executed(path: Path, output: Path) -> dict:
    """Execute a notebook; return it in its canonical form.

    Raises:
        SystemExit: if it does not run to its end.
    """
    result = runner.execute(path, output, {}, runner.CELL_TIMEOUT)
    if result.status != "passed":
        raise SystemExit(f"{result.name}: {result.summary()}")
    print(f"{result.name}: {result.summary()}", flush=True)
    return json.loads(canonical.canonical(json.loads(output.read_text(encoding="utf-8"))))


def differing_cells(first: dict, second: dict) -> list[str]:
    """Return the ids of the compared cells that are not the same in two executed notebooks."""
    return [
        old["id"]
        for old, new in zip(first["cells"], second["cells"], strict=True)
        if old != new and "nbval-ignore-output" not in old["metadata"].get("tags", [])
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("chapters", nargs="*", default=["01", "02", "03", "04", "05"])
    status = 0
    with tempfile.TemporaryDirectory() as folder:
        homes = [Path(folder) / name for name in ("first", "second")]
        for home in homes:
            link_caches(home)
        for number in parser.parse_args().chapters:
            path, runs = notebook_path(number), []
            for home in homes:
                os.environ["TUTORIAL_DATA"] = str(home)
                runs.append(executed(path, home / path.name))
            cells = differing_cells(*runs)
            status |= bool(cells)
            verdict = f"differs in {', '.join(cells)}" if cells else "the same twice"
            print(f"{path.stem}: {verdict}", flush=True)
    sys.exit(status)


if __name__ == "__main__":
    main()
