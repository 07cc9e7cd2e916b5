"""The report of a run: what broke, what changed since the last run, and all figures behind it.

In the folder of the report lie `index.html` for people, `report.json` for programs and
`notebooks.xml`, the same as JUnit, for continuous integration. `history.json` keeps the last
record of each notebook with the same parameters: that is what the next run is compared with. If
pytest left its own JUnit file there, `tests.xml`, the page shows it too.
"""

from __future__ import annotations

import datetime
import json
import os
import platform
import re
import subprocess
from dataclasses import asdict
from importlib import metadata, resources
from pathlib import Path

from tutorial_lib import CHECKOUT
from tutorial_lib.errors import InputError, write_atomically
from tutorial_tools import junit, outcomes
from tutorial_tools.comparison import changes, environment_changes, shown
from tutorial_tools.outcomes import failed_checks, metrics_of, tally

PACKAGES = (
    "tensorflow", "keras", "numpy", "scipy", "pillow", "matplotlib", "scikit-image", "pycocotools",
    "mlxtend", "qtawesome", "papermill", "nbclient", "ipykernel",
)  # fmt: skip

FORMAT = 1  # of the entries in `history.json`; raise it when they change


class Report:
    """The report of one run, written anew whenever something happened."""

    def __init__(self, folder: Path, results: list):
        """Remember what the run before said.

        Args:
            folder: Made if it is missing.
            results: One `execution.Result` a notebook; read anew at each `write`.
        """
        self.folder, self.results = folder, results
        self.run = circumstances()
        kept = read_json(folder / "history.json") or {}
        # What an earlier version of this module wrote cannot be compared with.
        self.history = kept["notebooks"] if kept.get("format") == FORMAT else {}

    def write(self) -> None:
        """Write all files of the report.

        Raises:
            InputError: if the folder cannot be written.
        """
        entries = [asdict(result) for result in self.results]
        history = dict(self.history)
        environment: dict[str, None] = {}
        for entry in entries:
            entry["output"] = Path(os.path.relpath(entry["output"], self.folder)).as_posix()
            ended = entry["status"] not in ("not run", "running")
            before = self.history.get(key(entry)) if ended else None
            entry["compared"] = before["run"]["started"] if before else ""
            entry["changes"] = changes(entry, before) if before else []
            if before:
                environment |= dict.fromkeys(environment_changes(self.run, before["run"]))
            if ended:
                history[key(entry)] = {"run": self.run, **entry}
        report = {
            **self.run,
            "finished": now(),
            "parameters": {k: v for entry in entries for k, v in entry["parameters"].items()},
            "seconds": round(sum(entry["seconds"] for entry in entries), 1),
            "changes": list(environment),
            "notebooks": entries,
        }
        try:
            self._save_thumbnails(entries, history)
            write_atomically(
                self.folder / "history.json", as_json({"format": FORMAT, "notebooks": history})
            )
            write_atomically(self.folder / "report.json", as_json(report))
            write_atomically(self.folder / "notebooks.xml", junit.notebooks_xml(report))
            write_page(self.folder)
        except OSError as error:
            reason = f"cannot write {self.folder} ({error.strerror})"
            raise InputError(f"{reason}; choose another folder with --output") from None

    def _save_thumbnails(self, entries: list[dict], history: dict) -> None:
        """Keep the small pictures of this run and of what the next is compared with."""
        place = self.folder / "pictures"
        for result in self.results:
            if result.cells:
                outcomes.save_thumbnails(outcomes.load(Path(result.output)), place)
        known = [*entries, *history.values(), *self.history.values()]
        wanted = {p["hash"] for entry in known for c in entry["cells"] for p in c["pictures"]}
        for path in place.glob("*.jpg"):
            if path.stem not in wanted:
                path.unlink()


def key(entry: dict) -> str:
    """Name what an entry may be compared with: the same notebook with the same parameters."""
    return f"{entry['name']} {json.dumps(entry['parameters'], sort_keys=True)}"


def circumstances() -> dict:
    """Say when, where and with what this process runs."""
    import psutil

    return {
        "started": now(),
        "commit": git("rev-parse", "--short=12", "HEAD") or "unknown",
        "edited": bool(git("status", "--porcelain", "--untracked-files=no")),
        "machine": (
            f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, "
            f"{psutil.virtual_memory().total / 1e9:.0f} GB"
        ),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in PACKAGES},
    }


def now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")


def version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "missing"


def git(*arguments: str) -> str:
    """Return what git says of the checkout; nothing if it is none, or there is no git."""
    command = ["git", "-C", str(CHECKOUT), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""


def read_json(path: Path) -> dict | None:
    """Return what a JSON file holds; None if it is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def as_json(value: dict) -> str:
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


def problems(report: dict | None, tests: dict | None) -> list[dict]:
    """List all that is broken, one line each: where (an anchor), name, text."""
    found = []
    for entry in (report or {"notebooks": []})["notebooks"]:
        if entry["status"] == "failed":
            found.append({"where": entry["name"], "name": entry["name"], "text": entry["error"]})
        for cell in entry["cells"]:
            where = f"{entry['name']}-{cell['position']}"
            for check in failed_checks([cell]):
                text = f"cell {cell['position']} says `{check['text']}`"
                found.append({"where": where, "name": entry["name"], "text": text})
    for number, failure in enumerate((tests or {"failures": []})["failures"]):
        found.append(
            {"where": f"test-{number}", "name": failure["name"], "text": failure["message"]}
        )
    return found


def verdict(report: dict | None, tests: dict | None) -> tuple[str, str]:
    """Return the state of all ("passed", "failed" or "incomplete") and one sentence on it."""
    entries = report["notebooks"] if report else []
    passed = sum(entry["status"] == "passed" for entry in entries)
    said = [f"{passed} of {len(entries)} notebooks ran to their end"] if entries else []
    for entry in entries:
        if entry["status"] == "interrupted":
            said.append(f"{entry['name']} was interrupted in {entry['error'].rpartition(':')[0]}")
        if entry["status"] == "running":
            said.append(f"{entry['name']} is running, unless the run was killed")
    if tests:
        ran = tests["tests"] - tests["skipped"]
        said.append(f"{ran - len(tests['failures'])} of {ran} tests passed")
    sentence = ", ".join(said)
    if broken := problems(report, tests):
        return "failed", f"{len(broken)} problem{'s' * (len(broken) > 1)}: {sentence}"
    return ("passed" if passed == len(entries) else "incomplete"), sentence


def write_page(folder: Path) -> None:
    """Write `index.html` from the other files in a report's folder.

    Raises:
        InputError: if neither notebooks nor tests were run.
    """
    import jinja2

    report, tests = read_both(folder)
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"shown": shown, "code": with_code}
    source = resources.files("tutorial_tools").joinpath("report.html").read_text(encoding="utf-8")
    state, sentence = verdict(report, tests)
    page = environment.from_string(source).render(
        report=report,
        tests=tests,
        state=state,
        sentence=sentence,
        problems=problems(report, tests),
        tally=tally,
        metrics=metrics_of,
        failed_checks=failed_checks,
    )
    write_atomically(folder / "index.html", page)


def with_code(text: str):
    """Return a text as HTML, with what stands between backticks set as code."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"`([^`]*)`", r"<code>\1</code>", str(escape(text))))


def read_both(folder: Path) -> tuple[dict | None, dict | None]:
    """Return the reports on the notebooks and on the tests; one of them may be missing."""
    report, tests = read_json(folder / "report.json"), junit.read_tests(folder)
    if not report and not tests:
        raise InputError(f"no report in {folder}; `tutorial run` or `make test` writes one")
    return report, tests


def summary(folder: Path) -> str:
    """Return the report as a few lines of text: where the time went, and what is broken."""
    report, tests = read_both(folder)
    rows = []
    for entry in report["notebooks"] if report else []:
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
