"""The report of a run: one page for people, the same as JSON for programs."""

from __future__ import annotations

import datetime
import html
import json
import os
import platform
from dataclasses import asdict
from importlib import metadata, resources
from pathlib import Path
from string import Template

from tutorial_lib.files import write_atomically

REPORTED_PACKAGES = ("tensorflow", "keras", "numpy", "matplotlib", "papermill", "pycocotools")


def write(folder: Path, results: list, parameters: dict[str, str]) -> None:
    """Write `report.json` and `index.html`.

    Args:
        folder: Made if it is missing.
        results: One `execution.Result` a notebook.
        parameters: What the notebooks were run with.
    """
    report = {
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "python": platform.python_version(),
        "packages": {name: metadata.version(name) for name in REPORTED_PACKAGES},
        "parameters": parameters,
        "seconds": round(sum(result.seconds for result in results), 1),
        "notebooks": [asdict(result) for result in results],
    }
    write_atomically(folder / "report.json", json.dumps(report, indent=1, ensure_ascii=False))
    write_atomically(folder / "index.html", page(report))


def page(report: dict) -> str:
    """Lay a report out as one HTML page that needs nothing else."""
    template = resources.files("tutorial_lib").joinpath("report.html").read_text(encoding="utf-8")
    versions = ", ".join(f"{name} {version}" for name, version in report["packages"].items())
    chosen = ", ".join(f"{name}={value}" for name, value in report["parameters"].items())
    return Template(template).substitute(
        finished=report["finished"],
        machine=html.escape(f"{report['machine']} · Python {report['python']}"),
        versions=html.escape(versions),
        parameters=html.escape(chosen) or "the notebooks' own",
        seconds=f"{report['seconds']:.0f}",
        rows="\n".join(row(entry) for entry in report["notebooks"]),
    )


def row(entry: dict) -> str:
    """Return the table row of one notebook; its note is the error or the slowest cell."""
    note = entry["error"]
    if not note and entry["cells"]:
        slowest = max(entry["cells"], key=lambda cell: cell["seconds"])
        note = f"slowest: cell {slowest['position']}, {slowest['seconds']:.1f} s"
    columns = [
        entry["name"],
        entry["status"],
        f"{entry['seconds']:.0f} s",
        str(len(entry["cells"])),
        note,
    ]
    cells = "".join(f"<td>{html.escape(column)}</td>" for column in columns)
    return f'<tr class="{entry["status"].replace(" ", "-")}">{cells}</tr>'
