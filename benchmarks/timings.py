"""Where does the time of `make test` go? A table from what pytest left behind.

    make test && python benchmarks/timings.py --write

Reads build/report/tests.xml, prints Markdown and, with `--write`, puts it into docs/checking.md.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.copies import put  # noqa: E402, the folder is not installed
from tutorial_tools import junit

SHORT = 5  # seconds; files that take less share a row


def table(tests: dict) -> str:
    """Return the times by file as Markdown, the longest first."""
    rows = ["| file | tests | seconds | of which the slowest |", "|---|---:|---:|---|"]
    files = tests["files"]
    for file in files:
        if file["seconds"] >= SHORT:
            slowest, name = file["slowest"]
            cells = f"{file['name']} | {file['tests']} | {file['seconds']:.0f}"
            rows.append(f"| {cells} | {slowest:.0f}, `{name}` |")
    rest = [file for file in files if file["seconds"] < SHORT]
    if rest:
        counted, seconds = (sum(file[key] for file in rest) for key in ("tests", "seconds"))
        rows.append(f"| {len(rest)} others | {counted} | {seconds:.0f} | |")
    total = sum(file["seconds"] for file in files)
    counted = sum(file["tests"] for file in files)
    rows.append(f"| **all** | {counted} | {total:.0f} | {tests['seconds']:.0f} by the clock |")
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--report", type=Path, default=ROOT / "build" / "report")
    parser.add_argument("--write", action="store_true", help="put it into docs/checking.md")
    options = parser.parse_args()
    tests = junit.read_tests(options.report)
    if tests is None:
        raise SystemExit(f"no tests.xml in {options.report}; `make test` writes one")
    text = table(tests)
    print(text)
    if options.write:
        put("timings", text)


if __name__ == "__main__":
    main()
