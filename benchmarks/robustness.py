"""Do the notebooks still say what they say elsewhere? Their check under one change at a time.

    python benchmarks/robustness.py 01 02
    python benchmarks/robustness.py 03 --only "SSE4.1" "oneDNN off"
    python benchmarks/robustness.py 04 --tag

Checks notebooks as `make test` does under variants of processor, threads and language, prints a
Markdown table, and exits with 1 if a check failed. It also measures how far the figures of trained
networks differ from the stored ones, at most over all variants. `--tag` writes tags such as
`figure-within-30%` into the notebooks, with room for three times the measured distance.
"""

from __future__ import annotations

import argparse
import math
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from xml.etree import ElementTree

from common import link_caches, notebook_path

from tutorial_lib import CHECKOUT
from tutorial_tools import canonical, report

LIMITS = ["TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS"]
LIMITS += ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"]
VARIANTS = {  # environment variables
    "as it is": {},
    "oneDNN off": {"TF_ENABLE_ONEDNN_OPTS": "0"},
    "AVX2": {"ONEDNN_MAX_CPU_ISA": "AVX2"},
    "SSE4.1": {"ONEDNN_MAX_CPU_ISA": "SSE41"},
    "1 thread": dict.fromkeys(LIMITS, "1"),
    "2 threads": dict.fromkeys(LIMITS, "2"),
    "time zone of Kathmandu": {"TZ": "Asia/Kathmandu"},
    "Turkish locale": {"LC_ALL": "tr_TR.UTF-8", "LANG": "tr_TR.UTF-8"},
    "C locale": {"LC_ALL": "C", "LANG": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "another hash seed": {"PYTHONHASHSEED": "7"},
}
ROOM, LEAST, MOST = 3, 5, 80  # of the tags: factor, and percent
TAG = re.compile(r"figure-trained|figure-within-\d+%")


def check(environment: dict[str, str], path: Path) -> tuple[str, dict[str, float]]:
    """Check a notebook; return the verdict, and the largest distance of a figure by cell."""
    with tempfile.TemporaryDirectory() as name:
        link_caches(Path(name) / "data")
        results = Path(name) / "result.xml"
        command = [sys.executable, "-m", "pytest", "--nbval", "-q", "-p", "no:cacheprovider"]
        start = time.monotonic()
        done = subprocess.run(
            [*command, "--junitxml", results, path],
            cwd=CHECKOUT,
            env=os.environ | environment | {"TUTORIAL_DATA": f"{name}/data"},
            stdout=subprocess.PIPE,
        )
        minutes = f"{(time.monotonic() - start) / 60:.1f} min"
        failed, distances = read_results(results)
    if done.returncode == 0:
        return f"passed, {minutes}", distances
    sys.stderr.buffer.write(done.stdout)
    return f"**failed** in {', '.join(failed) or 'no cell of its own'}, {minutes}", distances


def read_results(path: Path) -> tuple[list[str], dict[str, float]]:
    """Return from pytest's JUnit file what failed, and the largest distance of a figure by cell."""
    failed, distances = [], {}
    for case in ElementTree.parse(path).iter("testcase") if path.exists() else ():
        if case.find("failure") is not None or case.find("error") is not None:
            failed.append(case.get("name", ""))
        if found := [float(each.get("value", 0)) for each in case.iter("property")]:
            distances[case.get("name", "")] = max(found)
    return failed, distances


def trained_figures(notebook: dict, distances: dict[str, float]) -> dict[str, float]:
    """Return the distances by cell id, of those cells that show a trained network."""
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    cells = {name: code[int(name.removeprefix("Cell "))] for name in distances}
    return {
        cell["id"]: distances[name]
        for name, cell in cells.items()
        if any(TAG.fullmatch(tag) for tag in cell["metadata"].get("tags", []))
    }


def percent(distance: float) -> int:
    """Return the tolerance for a measured distance, in steps of five percent."""
    return min(MOST, max(LEAST, 5 * math.ceil(round(ROOM * distance * 20, 6))))


def write_tags(path: Path, largest: dict[str, float]) -> None:
    """Tag each figure of a trained network with its own tolerance."""
    notebook = report.read_json(path)
    for cell in notebook["cells"]:
        if cell["id"] in largest:
            tags = [tag for tag in cell["metadata"]["tags"] if not TAG.fullmatch(tag)]
            cell["metadata"]["tags"] = [*tags, f"figure-within-{percent(largest[cell['id']])}%"]
    path.write_text(canonical.canonical(notebook), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("chapters", nargs="+", help="e.g. 01 02")
    parser.add_argument("--only", nargs="*", choices=VARIANTS, default=list(VARIANTS))
    parser.add_argument("--tag", action="store_true", help="write tolerances into the notebooks")
    options = parser.parse_args()
    passed = True
    print("| notebook | variant | |\n|---|---|---|")
    for path in map(notebook_path, options.chapters):
        notebook, largest = report.read_json(path), {}
        for name in options.only:
            verdict, distances = check(VARIANTS[name], path)
            passed &= verdict.startswith("passed")
            print(f"| {path.stem} | {name} | {verdict} |", flush=True)
            for cell_id, distance in trained_figures(notebook, distances).items():
                largest[cell_id] = max(distance, largest.get(cell_id, 0))
        for cell_id, distance in largest.items():
            tag = f"figure-within-{percent(distance)}%"
            print(f"{cell_id}: {distance:.2f}, so {tag}", file=sys.stderr)
        if options.tag:
            write_tags(path, largest)
    sys.exit(not passed)


if __name__ == "__main__":
    main()
