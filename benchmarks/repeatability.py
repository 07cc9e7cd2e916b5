"""Do two runs in a row give the same notebooks, apart from times?

    python benchmarks/repeatability.py 01 02

Executes each notebook twice, as `make run` does, and compares the outputs of all cells that
`make test` compares, bit by bit. Scenes and records come from the cache; every network that does
not come with the project is trained anew in each run. Exits with 1 and names the cells if any
differ.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from common import differing_cells, execute, link_caches, notebook_path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("chapters", nargs="*", default=["01", "02", "03", "04", "05"])
    status = 0
    with tempfile.TemporaryDirectory() as name:
        homes = [Path(name) / run for run in ("first", "second")]
        for home in homes:
            link_caches(home)
        for number in parser.parse_args().chapters:
            path, runs = notebook_path(number), []
            for home in homes:
                os.environ["TUTORIAL_DATA"] = str(home)
                runs.append(execute(path, home / path.name))
            cells = differing_cells(*runs)
            status |= bool(cells)
            verdict = f"differs in {', '.join(cells)}" if cells else "the same twice"
            print(f"{path.stem}: {verdict}", flush=True)
    sys.exit(status)


if __name__ == "__main__":
    main()
