"""A pytest plugin that `mutations.py` uses: it writes down what each compared cell shows."""

from __future__ import annotations

import json
import os
from pathlib import Path

OUTPUTS = "MUTATIONS_OUTPUTS"  # environment variable: the file, one JSON list a cell


def pytest_runtest_setup(item) -> None:
    from tutorial_lib.checking import CheckedCell

    if not hasattr(CheckedCell, "compared"):
        CheckedCell.compared = CheckedCell.compare_outputs
        CheckedCell.compare_outputs = write_down


def write_down(self, test, ref, skip_compare=None) -> bool:
    with Path(os.environ[OUTPUTS]).open("a", encoding="utf-8") as file:
        file.write(json.dumps([self.cell["id"], *visible(test)], sort_keys=True) + "\n")
    return self.compared(test, ref, skip_compare)


def visible(outputs: list[dict]) -> tuple[str, list]:
    """Return the text that a cell printed, however it was cut into messages, and its displays."""
    from tutorial_lib.notebook import is_record

    printed = "".join("".join(o["text"]) for o in outputs if o.get("name") == "stdout")
    displays = [
        (dict(o["data"]), o.get("metadata")) for o in outputs if "data" in o and not is_record(o)
    ]
    for data, _ in displays:
        data.pop("application/vnd.jupyter.widget-view+json", None)
    return printed, displays
