"""What several scripts of this directory share."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

from tutorial_lib.data import data_home
from tutorial_tools import canonical, report, runner


def best_times(contestants: dict[str, Callable], rounds: int) -> dict[str, float]:
    """Return the shortest of several times of each contestant in seconds.

    The contestants take turns, so that a busy moment of the machine does not hit only one of them.
    """
    times: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds):
        for name, run in contestants.items():
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    return {name: min(measured) for name, measured in times.items()}


def row(name: str, values, digits: int = 3) -> str:
    """Return one row of a Markdown table."""
    return f"| {name} | " + " | ".join(f"{value:.{digits}f}" for value in values) + " |"


def notebook_path(number: str) -> Path:
    """Return the stored notebook whose name begins with a number."""
    (path,) = runner.find_notebooks([number])
    return path


def link_caches(target: Path) -> None:
    """Give another data directory our scenes and records, but no network that was trained here."""
    (target / "cache").mkdir(parents=True, exist_ok=True)
    for place in (data_home() / "cache").glob("*"):
        if place.name.startswith(("scenes-", "records-")):
            (target / "cache" / place.name).symlink_to(place.resolve())


def execute(path: Path, output: Path) -> dict:
    """Execute a notebook as `make run` does; return it in the form that git stores, or exit."""
    result = runner.execute(path, output, {}, runner.CELL_TIMEOUT)
    if result.status != "passed":
        raise SystemExit(f"{result.name}: {result.summary()}")
    return json.loads(canonical.canonical(report.read_json(output)))


def differing_cells(first: dict, second: dict) -> list[str]:
    """Return the ids of the compared cells whose outputs differ between two executions."""
    return [
        old["id"]
        for old, new in zip(first["cells"], second["cells"], strict=True)
        if old.get("outputs") != new.get("outputs")
        and "nbval-ignore-output" not in old["metadata"].get("tags", [])
    ]
