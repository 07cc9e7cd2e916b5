"""The report of a run: what broke, and each notebook by cells.

In the folder of the report lie `index.html` for people and `report.json` for programs. The page
also shows the tests if pytest left its JUnit file, `tests.xml`.
"""

from __future__ import annotations

import datetime
import functools
import json
import os
import platform
import re
import subprocess
import time
from dataclasses import asdict
from importlib import metadata, resources
from pathlib import Path
from xml.etree import ElementTree

from tutorial_lib import CHECKOUT
from tutorial_lib.errors import InputError, write_atomically
from tutorial_lib.notebook import RECORD_TYPE

PACKAGES = (
    "tensorflow", "keras", "numpy", "scipy", "pillow", "matplotlib", "scikit-image", "pycocotools",
    "mlxtend", "qtawesome", "papermill", "nbclient", "ipykernel",
)  # fmt: skip

MADE_BY_PAPERMILL = {"papermill-error-cell-tag", "injected-parameters"}
DEVICE = re.compile(r"^\w+ profile on (.+?) · Python", re.M)
ANSI = re.compile(r"(?:\x1b|#x1B)\[[0-9;]*m")  # pytest writes it in the second way into XML
NBVAL = "Notebook cell execution failed"  # how nbval's messages begin, whatever failed
KEPT_TRACEBACK = 40  # lines, from the end


# Reading an executed notebook


def read_json(path: Path) -> dict:
    """Return the object in a JSON file; an empty dict if the file is missing or damaged."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def read_cells(executed: dict) -> list[dict]:
    """Describe each code cell of a notebook that papermill executed, completely or partially.

    A dict per cell has: position (counted from 1, text cells included), first_line, status
    ("completed", "failed", "running" or "not run"), seconds, metrics, error.
    """
    # Without papermill's own additions, the cells are those of the stored notebook in order.
    cells = executed.get("cells", [])
    kept = [c for c in cells if not MADE_BY_PAPERMILL & set(c["metadata"].get("tags", []))]
    return [
        {"position": position, **_read_cell(cell)}
        for position, cell in enumerate(kept, start=1)
        if cell["cell_type"] == "code"
    ]


def _read_cell(cell: dict) -> dict:
    record = cell["metadata"].get("papermill", {})
    # After a cell that took too long, papermill marks the others as completed.
    status = record.get("status", "pending") if record.get("start_time") else "pending"
    status = "failed" if record.get("exception") else status
    outputs = cell.get("outputs", [])
    records = [output.get("data", {}).get(RECORD_TYPE) for output in outputs]
    return {
        "first_line": "".join(cell["source"]).split("\n")[0],
        "status": "not run" if status == "pending" else status,
        "seconds": round(record.get("duration") or 0.0, 3),
        "metrics": {record["name"]: record["data"] for record in records if record},
        "error": _traceback(outputs),
    }


def _printed(outputs: list) -> str:
    """Return what a cell printed or ended in, without what went to stderr."""
    return "\n".join(
        "".join(output.get("text", "") or output.get("data", {}).get("text/plain", "")).rstrip()
        for output in outputs
        if output.get("name") != "stderr"
    )


def _traceback(outputs: list) -> str:
    for output in outputs:
        if output.get("output_type") == "error":
            text = ANSI.sub("", "\n".join(output["traceback"]))
            return "\n".join(text.splitlines()[-KEPT_TRACEBACK:])
    return ""


def device_of(executed: dict) -> str:
    """Return the device that the notebook's banner names; empty if there is no banner."""
    outputs = [output for cell in executed.get("cells", []) for output in cell.get("outputs", [])]
    match = DEVICE.search(_printed(outputs))
    return match[1] if match else ""


def metrics_of(entry: dict) -> dict:
    """Return all that a notebook recorded: name → value."""
    return {name: value for cell in entry["cells"] for name, value in cell["metrics"].items()}


def shown(value) -> str:
    """Return a metric as people read it."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


# Reading the results of pytest


def read_tests(folder: Path) -> dict | None:
    """Read `tests.xml`, the JUnit file that pytest left in the report's folder.

    None if there is no such file, or it is damaged; otherwise a dict: when, seconds (by the clock),
    tests, skipped, failures (dicts: name, message, text, evidence: names of images in `figures`
    beside the report's folder), files (dicts: name, tests, seconds (summed over workers), slowest;
    longest first).
    """
    try:
        suite = next(ElementTree.parse(folder / "tests.xml").getroot().iter("testsuite"))
    except (OSError, ElementTree.ParseError, StopIteration):
        return None
    evidence = sorted(path.name for path in (folder.parent / "figures").glob("*.png"))
    cases: dict[str, list[tuple[float, str]]] = {}
    failures, skipped = [], 0
    for case in suite.iter("testcase"):
        file, name = place_of(case.get("classname", ""), case.get("name", ""))
        cases.setdefault(file, []).append((float(case.get("time", 0)), name))
        skipped += case.find("skipped") is not None
        for problem in [*case.findall("failure"), *case.findall("error")]:
            text = ANSI.sub("", problem.text or "")
            message = _headline(ANSI.sub("", problem.get("message", "")) or text)[:300]
            seen = [name for name in evidence if name in text]
            failure = {"name": f"{file}: {name}", "message": message, "text": text}
            failures.append(failure | {"evidence": seen})
    files = [
        {"name": name, "tests": len(ran), "seconds": sum(s for s, _ in ran), "slowest": max(ran)}
        for name, ran in cases.items()
    ]
    return {
        "when": suite.get("timestamp", "")[:19],
        "seconds": float(suite.get("time", 0)),
        "tests": sum(map(len, cases.values())),
        "skipped": skipped,
        "failures": failures,
        "files": sorted(files, key=lambda file: -file["seconds"]),
    }


def place_of(classname: str, name: str) -> tuple[str, str]:
    """Return file and name of a test; nbval's cells are numbered as everywhere in the report."""
    file = classname.removesuffix(".ipynb").replace(".", "/")
    if not classname.endswith(".ipynb"):
        return file, name
    number = int(name.removeprefix("Cell "))
    positions = _code_positions(CHECKOUT / f"{file}.ipynb")
    return file, f"cell {positions[number]}" if number < len(positions) else name


@functools.cache
def _code_positions(path: Path) -> list[int]:
    """Return the positions of the code cells among all cells of a notebook, counted from 1."""
    cells = enumerate(read_json(path).get("cells", []), start=1)
    return [position for position, cell in cells if cell["cell_type"] == "code"]


def _headline(message: str) -> str:
    """Return the one line of a failure's message that says most."""
    lines = [line.strip() for line in message.splitlines() if line.strip()] or ["failed"]
    if lines[0] != NBVAL:
        return lines[0]
    found = lines[lines.index("Traceback:") + 1 :] if "Traceback:" in lines else lines
    new, old = (next((x[2:] for x in found if x.startswith(sign)), "") for sign in ("- ", "+ "))
    return f"says `{new}`, stored is `{old}`" if new or old else found[-1]


# Writing the report


class Report:
    """The report of one run, written anew whenever something happened."""

    def __init__(self, folder: Path, results: list):
        """Note the circumstances of this run.

        Args:
            folder: Made if it is missing.
            results: One `runner.Result` per notebook; read anew at each `write`.
        """
        self.folder, self.results = folder, results
        self.run, self._start = circumstances(), time.perf_counter()

    def write(self) -> None:
        """Write all files of the report; raise InputError if the folder cannot be written."""
        entries = [asdict(result) for result in self.results]
        for entry in entries:
            entry["output"] = Path(os.path.relpath(entry["output"], self.folder)).as_posix()
        report = {
            **self.run,
            "finished": _now(),
            # By the clock: notebooks may run side by side.
            "seconds": round(time.perf_counter() - self._start, 1),
            "notebooks": entries,
        }
        text = json.dumps(report, indent=1, ensure_ascii=False) + "\n"
        try:
            write_atomically(self.folder / "report.json", text)
            write_page(self.folder)
        except OSError as error:
            reason = f"cannot write {self.folder} ({error.strerror})"
            raise InputError(f"{reason}; choose another folder with --output") from None


def circumstances() -> dict:
    """Return when, where and with which versions this process runs."""
    import psutil

    installed = {found.name.lower(): found.version for found in metadata.distributions()}
    return {
        "started": _now(),
        "commit": _git("rev-parse", "--short=12", "HEAD") or "unknown",
        "edited": bool(_git("status", "--porcelain", "--untracked-files=no")),
        "machine": (
            f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, "
            f"{psutil.virtual_memory().total / 1e9:.0f} GB"
        ),
        "python": platform.python_version(),
        "packages": {name: installed.get(name, "missing") for name in PACKAGES},
    }


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def _git(*arguments: str) -> str:
    """Return what git prints about the checkout; empty without git or without a checkout."""
    command = ["git", "-C", str(CHECKOUT), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def problems(report: dict, tests: dict | None) -> list[dict]:
    """List everything that is broken: where (an anchor of the page), name, text."""
    found = [
        {"where": entry["name"], "name": entry["name"], "text": entry["error"]}
        for entry in report.get("notebooks", [])
        if entry["status"] == "failed"
    ]
    return found + [
        {"where": f"test-{number}", "name": failure["name"], "text": failure["message"]}
        for number, failure in enumerate(tests["failures"] if tests else [])
    ]


def verdict(report: dict, tests: dict | None) -> tuple[str, str]:
    """Return the overall state ("passed", "failed" or "incomplete") and one sentence about it."""
    entries = report.get("notebooks", [])
    passed = [entry["status"] for entry in entries].count("passed")
    parts = [f"{passed} of {len(entries)} notebooks ran to their end"] if entries else []
    for entry in entries:
        if entry["status"] == "interrupted":
            parts.append(f"{entry['name']} was interrupted in {entry['error'].rpartition(':')[0]}")
        if entry["status"] == "running":
            parts.append(f"{entry['name']} is running, unless the run was killed")
    if tests:
        ran = tests["tests"] - tests["skipped"]
        parts.append(f"{ran - len(tests['failures'])} of {ran} tests passed")
    sentence = ", ".join(parts)
    if broken := problems(report, tests):
        return "failed", f"{len(broken)} problem{'s' * (len(broken) > 1)}: {sentence}"
    return ("passed" if passed == len(entries) else "incomplete"), sentence


def _read_both(folder: Path) -> tuple[dict, dict | None]:
    report, tests = read_json(folder / "report.json"), read_tests(folder)
    if not report and not tests:
        raise InputError(f"no report in {folder}; `tutorial run` or `make test` writes one")
    return report, tests


def write_page(folder: Path) -> None:
    """Write `index.html` from the other files in a report's folder.

    Raises InputError if neither notebooks nor tests were run.
    """
    import jinja2

    report, tests = _read_both(folder)
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"shown": shown, "code": _with_code}
    environment.globals["metrics"] = metrics_of
    source = resources.files("tutorial_tools").joinpath("report.html").read_text(encoding="utf-8")
    state, sentence = verdict(report, tests)
    broken = problems(report, tests)
    page = environment.from_string(source).render(
        report=report, tests=tests, state=state, sentence=sentence, problems=broken
    )
    write_atomically(folder / "index.html", page)


def _with_code(text: str):
    """Return a text as HTML, with what stands between backticks set as code."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"`([^`]*)`", r"<code>\1</code>", str(escape(text))))


def summary(folder: Path) -> str:
    """Return the report as a few lines of text: where the time went, and what is broken."""
    report, tests = _read_both(folder)
    rows = []
    for entry in report.get("notebooks", []):
        slowest = max(entry["cells"], key=lambda cell: cell["seconds"], default=None)
        note = f"cell {slowest['position']}, {slowest['seconds']:.1f} s" if slowest else ""
        rows.append((f"{entry['seconds']:7.1f} s", f"run {entry['name']}", entry["status"], note))
    for file in tests["files"] if tests else []:
        seconds, name = file["slowest"]
        note = f"{name[:60]}, {seconds:.1f} s"
        rows.append((f"{file['seconds']:7.1f} s", file["name"], f"{file['tests']} tests", note))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    table = [
        "  ".join(text.ljust(width) for text, width in zip(row, [*widths, 0], strict=True)).rstrip()
        for row in rows
    ]
    state, sentence = verdict(report, tests)
    broken = [f"  {one['name']}: {one['text']}" for one in problems(report, tests)]
    return "\n".join(["Where the time went:", *table, "", f"{state}: {sentence}", *broken])
