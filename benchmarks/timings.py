"""Where does the time of `make test` go? A Markdown table from what pytest left behind.

make test; python benchmarks/timings.py
"""

from __future__ import annotations

import sys
from collections import defaultdict
from pathlib import Path
from xml.etree import ElementTree

RESULTS = Path(__file__).resolve().parents[1] / "build" / "report" / "tests.xml"
SHORT = 5  # seconds; files that take less share a row


def table(path: Path) -> str:
    """Return the times by file as Markdown, the longest first."""
    suite = next(ElementTree.parse(path).iter("testsuite"))
    files = defaultdict(list)
    for case in suite.iter("testcase"):
        name = case.get("classname", "").removesuffix(".ipynb").replace(".", "/")
        files[name].append((float(case.get("time", 0)), case.get("name", "")))
    totals = {name: sum(seconds for seconds, _ in cases) for name, cases in files.items()}
    order = sorted(files, key=totals.get, reverse=True)
    rows = ["| file | tests | seconds | of which the slowest |", "|---|---:|---:|---|"]
    for name in (name for name in order if totals[name] >= SHORT):
        seconds, slowest = max(files[name])
        rows.append(
            f"| {name} | {len(files[name])} | {totals[name]:.0f} | {seconds:.0f}, `{slowest}` |"
        )
    rest = [name for name in order if totals[name] < SHORT]
    count, seconds = sum(len(files[name]) for name in rest), sum(totals[name] for name in rest)
    rows.append(f"| {len(rest)} others | {count} | {seconds:.0f} | |")
    count, clock = sum(map(len, files.values())), float(suite.get("time", 0))
    rows.append(f"| **all** | {count} | {sum(totals.values()):.0f} | {clock:.0f} by the clock |")
    return "\n".join(rows)


if __name__ == "__main__":
    if not RESULTS.is_file():
        sys.exit(f"{RESULTS} does not exist; `make test` writes it")
    print(table(RESULTS))
