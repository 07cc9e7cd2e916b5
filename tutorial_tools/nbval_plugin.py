"""A pytest plugin: nbval compares the texts of a notebook, this compares the pictures too.

It refines nbval's cell class. Pictures, those inside HTML too, are compared as
images, with a tolerance, and their sizes and alt texts exactly; a picture that fails leaves the
expected one, the actual one and their difference side by side under `build/figures`. What goes to
stderr does not count. A slow machine gets a minute, not five seconds, to deliver an output that is
already computed; and a kernel that died is noticed at once, not when its cell's time is up.

Cells with a tag such as `numbers-within-5%` print measured numbers: those may differ from the
stored ones by that much, the text around them may not.

Cells with the tag `figure-trained` show a trained net, whose pictures differ from one processor to
the next: they are compared after averaging over blocks, and may differ by a share of the contrast
that they have. An empty figure differs by all of it, an unrelated one by more. A tag such as
`figure-within-30%` says how large that share may be. The texts, colors and marks of a figure, which
`plotting.show` stores with it, must be the same in any case, and no color may come or go, unless
the tag `colors-vary` says that the net chooses them.
"""

from __future__ import annotations

import queue
import re
import time
from pathlib import Path

import pytest
from nbformat import NotebookNode
from nbval.plugin import IPyNbCell

from tutorial_lib.notebook import is_record
from tutorial_tools.image_diff import EMBEDDED, compare_pictures, pictures

NUMBERS_TAG = re.compile(r"numbers-within-(\d+)%")
# A number on its own: not the 2 of "conv2d", nor part of a longer one.
NUMBER = re.compile(r"(?<![\w.])[-+]?\d+(?:,\d{3})*(?:\.\d+)?(?:e[-+]?\d+)?(?![\w])")
COLORS_TAG = "colors-vary"
TRAINED_TAG = re.compile(r"figure-trained|figure-within-(\d+)%")
TRAINED_TOLERANCE = 0.8  # share of the expected picture's own contrast, unless a tag says less
OUTPUT_TIMEOUT = 60  # seconds
PULSE = 2  # seconds between two looks whether the kernel is alive


def pytest_itemcollected(item: pytest.Item) -> None:
    """Refine each notebook cell that nbval has collected.

    Its class is exchanged on the finished item: nbval makes its cells itself and has no hook.
    """
    if isinstance(item, IPyNbCell):
        item.__class__ = CheckedCell
        item.output_timeout = OUTPUT_TIMEOUT


class CheckedCell(IPyNbCell):
    """nbval's cell, comparing pictures too."""

    def runtest(self) -> None:
        kernel = self.parent.kernel
        await_reply = type(kernel).await_reply

        def await_reply_of_the_living(msg_id, timeout):
            deadline = time.monotonic() + timeout
            while True:
                try:
                    left = deadline - time.monotonic()
                    return await_reply(kernel, msg_id, timeout=min(PULSE, max(left, 0)))
                except queue.Empty:
                    if not kernel.is_alive():
                        self.raise_cell_error("The kernel died while it executed this cell.")
                    if time.monotonic() >= deadline:
                        raise

        kernel.await_reply = await_reply_of_the_living
        super().runtest()

    def compare_outputs(self, test, ref, skip_compare=None) -> bool:
        test, ref = without_volatile(test), without_volatile(ref)
        tags = self.cell.metadata.get("tags", [])
        if tolerance := numbers_tolerance(tags):
            test = with_close_numbers(test, ref, tolerance)
        same = super().compare_outputs(without_embedded(test), without_embedded(ref), skip_compare)
        measured: dict[str, float] = {}
        problems = compare_pictures(
            pictures(ref),
            pictures(test),
            picture_tolerance(tags),
            self.picture_path,
            measured,
            colors_vary=COLORS_TAG in tags,
        )
        # pytest writes these into its JUnit file: `benchmarks/robustness.py` reads them there.
        self.user_properties += [(name, f"{value:.4f}") for name, value in measured.items()]
        self.comparison_traceback.extend(problems)
        return same and not problems

    def picture_path(self, number: int) -> Path:
        """Return where the evidence of a failing picture goes."""
        name = f"{self.path.stem}-cell-{self.cell_num}-{number}.png"
        return self.config.rootpath / "build" / "figures" / name


def without_volatile(outputs: list) -> list:
    """Leave out what differs between machines: warnings on stderr, and recorded measurements."""
    return [
        output for output in outputs if output.get("name") != "stderr" and not is_record(output)
    ]


def numbers_tolerance(tags: list[str]) -> float:
    """Return the share by which numbers in a cell's text may differ; 0 unless a tag allows it."""
    percents = [int(match[1]) for tag in tags if (match := NUMBERS_TAG.fullmatch(tag))]
    return max(percents, default=0) / 100


def picture_tolerance(tags: list[str]) -> float | None:
    """Return the share of contrast by which pictures may differ; None if they are drawings."""
    found = [match for tag in tags if (match := TRAINED_TAG.fullmatch(tag))]
    shares = [int(match[1]) / 100 for match in found if match[1]]
    return min(shares, default=TRAINED_TOLERANCE) if found else None


def with_close_numbers(test: list, ref: list, tolerance: float) -> list:
    """Return the outputs `test` with each number that is close to its counterpart replaced by it.

    What is then left to differ is too far off, or is not a number.
    """
    close = []
    for new, old in zip(test, ref, strict=False):
        if "text" in new and "text" in old:
            new = NotebookNode(new | {"text": adopt_numbers(new["text"], old["text"], tolerance)})
        close.append(new)
    return close + test[len(close) :]


def adopt_numbers(new: str, old: str, tolerance: float) -> str:
    """Replace numbers in `new` by those of `old` that stand in their place and are close."""
    expected = iter(NUMBER.findall(old))

    def adopt(match: re.Match) -> str:
        stored = next(expected, match[0])
        difference = abs(as_float(match[0]) - as_float(stored))
        return stored if difference <= tolerance * abs(as_float(stored)) else match[0]

    return NUMBER.sub(adopt, new)


def as_float(number: str) -> float:
    return float(number.replace(",", ""))


def without_embedded(outputs: list) -> list:
    """Replace pictures inside HTML by a word: they are compared as pictures, not as text."""
    plain = []
    for output in outputs:
        data = dict(output.get("data", {}))
        if "text/html" in data:
            data["text/html"] = EMBEDDED.sub("picture", "".join(data["text/html"]))
        plain.append(NotebookNode(output | {"data": data}) if "data" in output else output)
    return plain
