"""A pytest plugin that `mutations.py` uses: it writes down what each compared cell shows."""

from __future__ import annotations

import json
import os
from pathlib import Path

# Environment variable: the file. It gets a JSON list a cell: id, what is visible, outputs.
OUTPUTS = "MUTATIONS_OUTPUTS"


def pytest_runtest_setup(item) -> None:
    from tutorial_tools.nbval_plugin import CheckedCell

    if not hasattr(CheckedCell, "compared"):
        CheckedCell.compared = CheckedCell.compare_outputs
        CheckedCell.compare_outputs = write_down


def write_down(self, test, ref, skip_compare=None) -> bool:
    from tutorial_tools.canonical import canonical_output

    with Path(os.environ[OUTPUTS]).open("a", encoding="utf-8") as file:
        row = [self.cell["id"], visible(test), [canonical_output(output) for output in test]]
        file.write(json.dumps(row, sort_keys=True) + "\n")
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
