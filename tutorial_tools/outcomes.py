"""What an executed notebook says: cell by cell its times, checks, pictures, metrics and errors."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

from tutorial_lib.notebook import RECORD_TYPE

MADE_BY_PAPERMILL = {"papermill-error-cell-tag", "injected-parameters"}
VERDICT = re.compile(r"([✓✗○]) Exercise (\S+):")
TRUTH = re.compile(r"\b(?:True|False)\b")
DEVICE = re.compile(r"^\w+ profile on (.+?) · Python", re.M)
ANSI = re.compile(r"(?:\x1b|#x1B)\[[0-9;]*m")  # pytest writes it in the second way into XML
ENDS = ("start_time", "end_time")  # of a cell, as papermill notes them
KEPT_TRACEBACK = 40  # lines, from the end
THUMBNAIL = (320, 240)  # pixels at most


def load(path: Path) -> dict:
    """Return a notebook as JSON has it; one without cells if nothing was written yet."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {"cells": []}  # the kernel did not even start


def read_cells(
    executed: dict, stored: dict, memory: Callable[[float, float], int] | None = None
) -> list[dict]:
    """Describe each code cell of an executed notebook.

    Args:
        executed: The notebook that papermill wrote, complete or partial.
        stored: The notebook it was made from: its outputs say what is expected.
        memory: `memory(start, end)` returns the kernel's peak in bytes between two times, given
            in seconds since 1970.

    Returns:
        One dict a code cell: position (from 1, prose counted), id, prompt (the number in
        `In [ ]`), first_line, source (a hash), status ("completed", "failed", "running" or
        "not run"), seconds, megabytes, checks, pictures, metrics, error.
    """
    # Without papermill's own additions, the cells are those of the stored notebook in order.
    kept = [
        c for c in executed["cells"] if not MADE_BY_PAPERMILL & set(c["metadata"].get("tags", []))
    ]
    return [
        {"position": position, "id": was.get("id", f"#{position}"), **read_cell(cell, was, memory)}
        for position, (cell, was) in enumerate(zip(kept, stored["cells"], strict=False), start=1)
        if cell["cell_type"] == "code"
    ]


def read_cell(cell: dict, stored: dict, memory: Callable | None = None) -> dict:
    """Describe one code cell; arguments and result as in `read_cells`, without its place."""
    record = cell["metadata"].get("papermill", {})
    status = "failed" if record.get("exception") else record.get("status", "pending")
    source = "".join(cell["source"])
    outputs = cell.get("outputs", [])
    span = [datetime.fromisoformat(record[k]).timestamp() for k in ENDS if record.get(k)]
    return {
        "prompt": cell.get("execution_count"),
        "first_line": source.split("\n")[0],
        "source": short_hash(source.encode()),
        "status": "not run" if status == "pending" else status,
        "seconds": round(record.get("duration") or 0.0, 3),
        "megabytes": round(memory(*span) / 1e6) if memory and len(span) == len(ENDS) else 0,
        "checks": checks(outputs, stored.get("outputs", [])),
        "pictures": [description for description, _ in pictures(outputs)],
        "metrics": metrics(outputs),
        "error": traceback(outputs),
    }


def lines(outputs: list) -> list[str]:
    """Return the lines that a cell printed or ended in."""
    texts = [
        "".join(output.get("text", "") or output.get("data", {}).get("text/plain", ""))
        for output in outputs
        if output.get("name") != "stderr"
    ]
    return [line.strip() for text in texts for line in text.splitlines()]


def checks(outputs: list, stored: list) -> list[dict]:
    """Return what a cell decided: verdicts on exercises, and lines with "True" or "False".

    Such a line passes if it decides as the stored one in its place does; without stored outputs,
    if it does not say "False".

    Returns:
        One dict a line: text; exercise (its number, or ""); passed (None: not answered yet).
    """
    found = []
    decided = [words for line in lines(stored) if (words := decision(line))]
    actual = [(line, words) for line in lines(outputs) if (words := decision(line))]
    comparable = len(decided) == len(actual)
    for number, (line, words) in enumerate(actual):
        verdict = VERDICT.match(line)
        passed = words == decided[number] if comparable else not {"False", "✗"} & set(words)
        if words == ["○"]:
            passed = None
        found.append({"text": line, "exercise": verdict[2] if verdict else "", "passed": passed})
    return found


def decision(line: str) -> list[str]:
    """Return the words of a line that decide something: its mark, or its "True" and "False"."""
    verdict = VERDICT.match(line)
    return [verdict[1]] if verdict else TRUTH.findall(line)


def pictures(outputs: list) -> Iterator[tuple[dict, bytes]]:
    """Yield the PNG pictures of a cell: what is known of each (hash, alt), and its bytes."""
    for output in outputs:
        if encoded := output.get("data", {}).get("image/png"):
            content = base64.b64decode("".join(encoded))
            alt = output.get("metadata", {}).get("image/png", {}).get("alt", "")
            yield {"hash": short_hash(content), "alt": alt}, content


def metrics(outputs: list) -> dict:
    """Return what a cell recorded: name → value."""
    records = [output.get("data", {}).get(RECORD_TYPE) for output in outputs]
    return {record["name"]: record["data"] for record in records if record}


def traceback(outputs: list) -> str:
    """Return the end of the traceback that a cell left, without colors; empty if there is none."""
    for output in outputs:
        if output.get("output_type") == "error":
            text = ANSI.sub("", "\n".join(output["traceback"]))
            return "\n".join(text.splitlines()[-KEPT_TRACEBACK:])
    return ""


def device(executed: dict) -> str:
    """Return what the notebook's banner says it ran on; empty if it has none."""
    for cell in executed["cells"]:
        if match := DEVICE.search("\n".join(lines(cell.get("outputs", [])))):
            return match[1]
    return ""


def save_thumbnails(executed: dict, folder: Path) -> None:
    """Save a small copy of each picture as `<hash>.jpg`; what is there already stays."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    for cell in executed["cells"]:
        for description, content in pictures(cell.get("outputs", [])):
            path = folder / f"{description['hash']}.jpg"
            if not path.exists():
                image = Image.open(io.BytesIO(content)).convert("RGB")
                image.thumbnail(THUMBNAIL)
                image.save(path, quality=82)


def short_hash(content: bytes) -> str:
    """Return enough of a sha256 to tell things apart, as hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()[:16]


def failed_checks(cells: list[dict]) -> list[dict]:
    """Return the checks that did not come out as they should."""
    return [check for cell in cells for check in cell["checks"] if check["passed"] is False]


def tally(entry: dict) -> dict:
    """Count what one notebook did: each value is (good, all)."""
    cells = entry["cells"]
    checks = [check for cell in cells for check in cell["checks"]]
    # An exercise is first open, then solved: its last verdict counts.
    exercises = {check["exercise"]: check["passed"] for check in checks if check["exercise"]}
    facts = [check["passed"] for check in checks if not check["exercise"]]
    return {
        "cells": (sum(cell["status"] == "completed" for cell in cells), len(cells)),
        "exercises": (sum(passed is True for passed in exercises.values()), len(exercises)),
        "facts": (sum(facts), len(facts)),
        "pictures": sum(len(cell["pictures"]) for cell in cells),
    }


def metrics_of(entry: dict) -> dict:
    """Return all that a notebook recorded: name → value."""
    return {name: value for cell in entry["cells"] for name, value in cell["metrics"].items()}
