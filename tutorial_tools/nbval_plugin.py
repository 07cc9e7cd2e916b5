"""A pytest plugin that refines how nbval compares the outputs of a notebook with the stored ones.

Images are compared as images, with a tolerance, and their sizes and alt texts exactly. What goes
to stderr does not count. A slow machine gets a minute, not five seconds, to deliver an output that
is already computed, and a kernel that died is noticed at once, not when its cell's time is up.

The tag `numbers-within-5%` of a cell lets the numbers in its text differ by that much, but not the
words around them. The tag `figure-trained` marks figures that show a trained network, which differ
from one processor to the next: they are compared after averaging over blocks, and may differ by a
share of their contrast, which a tag such as `figure-within-30%` states. The texts, colors and
marks of a figure, which `plotting.show` stores with it, must always be the same, and no color may
appear or disappear, unless the tag `colors-vary` allows it. CONTRIBUTING.md lists all tags.
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
from tutorial_tools.image_diff import EMBEDDED, blurred_distance, compare_images, output_images

NUMBERS_TAG = re.compile(r"numbers-within-(\d+)%")
# A number on its own: not the 2 of "conv2d", nor part of a longer one.
NUMBER = re.compile(r"(?<![\w.])[-+]?\d+(?:,\d{3})*(?:\.\d+)?(?:e[-+]?\d+)?(?![\w])")
COLORS_TAG = "colors-vary"
TRAINED_TAG = re.compile(r"figure-trained|figure-within-(\d+)%")
TRAINED_TOLERANCE = 0.8  # share of the expected image's own contrast, unless a tag says less
OUTPUT_TIMEOUT = 60  # seconds
PULSE = 2  # seconds between two checks that the kernel is alive


def pytest_itemcollected(item: pytest.Item) -> None:
    """Refine each notebook cell that nbval has collected.

    Its class is exchanged on the finished item, because nbval has no hook for another class.
    """
    if isinstance(item, IPyNbCell):
        item.__class__ = CheckedCell
        item.output_timeout = OUTPUT_TIMEOUT


class CheckedCell(IPyNbCell):
    """nbval's cell, with images and tolerances."""

    def runtest(self) -> None:
        kernel = self.parent.kernel
        await_reply = type(kernel).await_reply

        def await_reply_of_living_kernel(msg_id, timeout):
            deadline = time.monotonic() + timeout
            while True:
                left = max(deadline - time.monotonic(), 0)
                try:
                    return await_reply(kernel, msg_id, timeout=min(PULSE, left))
                except queue.Empty:
                    if not kernel.is_alive():
                        self.raise_cell_error("The kernel died while it executed this cell.")
                    if not left:
                        raise

        kernel.await_reply = await_reply_of_living_kernel
        super().runtest()

    def compare_outputs(self, test, ref, skip_compare=None) -> bool:
        test, ref = _without_volatile(test), _without_volatile(ref)
        tags = self.cell.metadata.get("tags", [])
        if tolerance := _numbers_tolerance(tags):
            test = _with_close_numbers(test, ref, tolerance)
        plain_test, plain_ref = _without_embedded(test), _without_embedded(ref)
        same = super().compare_outputs(plain_test, plain_ref, skip_compare)
        stored, shown, share = output_images(ref), output_images(test), image_tolerance(tags)
        vary = COLORS_TAG in tags
        problems = compare_images(stored, shown, share, self.evidence_path, colors_vary=vary)
        self.comparison_traceback.extend(problems)
        if share is not None:  # for benchmarks/robustness.py: how far figures of networks differ
            for number, pair in enumerate(zip(stored, shown, strict=False)):
                if pair[0].pixels.shape == pair[1].pixels.shape:
                    distance = blurred_distance(*(image.pixels for image in pair))
                    self.user_properties.append((f"figure {number}", f"{distance:.4f}"))
        return same and not problems

    def evidence_path(self, number: int) -> Path:
        """Return where the evidence of a failing image goes."""
        name = f"{self.path.stem}-cell-{self.cell_num}-{number}.png"
        return self.config.rootpath / "build" / "figures" / name


def _without_volatile(outputs: list) -> list:
    """Leave out what differs between machines: warnings on stderr, and recorded measurements."""
    return [
        output for output in outputs if output.get("name") != "stderr" and not is_record(output)
    ]


def _numbers_tolerance(tags: list[str]) -> float:
    """Return the share by which numbers in a cell's text may differ; 0 unless a tag allows it."""
    percents = [int(match[1]) for tag in tags if (match := NUMBERS_TAG.fullmatch(tag))]
    return max(percents, default=0) / 100


def image_tolerance(tags: list[str]) -> float | None:
    """Return the share of contrast by which images may differ; None if they are drawings."""
    found = [match for tag in tags if (match := TRAINED_TAG.fullmatch(tag))]
    shares = [int(match[1]) / 100 for match in found if match[1]]
    return min(shares, default=TRAINED_TOLERANCE) if found else None


def _with_close_numbers(test: list, ref: list, tolerance: float) -> list:
    """Return the outputs `test` with each number that is close to its counterpart replaced by it.

    What still differs then is too far off, or is not a number.
    """
    close = []
    for new, old in zip(test, ref, strict=False):
        if "text" in new and "text" in old:
            text = adopt_numbers(new["text"], old["text"], tolerance)
            # A number with fewer digits moves the spaces beside it.
            text = old["text"] if text.split() == old["text"].split() else text
            new = NotebookNode(new | {"text": text})
        close.append(new)
    return close + test[len(close) :]


def adopt_numbers(new: str, old: str, tolerance: float) -> str:
    """Replace numbers in `new` by those of `old` in the same place if they are close."""
    expected = iter(NUMBER.findall(old))

    def adopt(match: re.Match) -> str:
        stored = next(expected, match[0])
        value, target = (float(number.replace(",", "")) for number in (match[0], stored))
        return stored if abs(value - target) <= tolerance * abs(target) else match[0]

    return NUMBER.sub(adopt, new)


def _without_embedded(outputs: list) -> list:
    """Replace images inside HTML by a word: they are compared as images, not as text."""
    plain = []
    for output in outputs:
        data = dict(output.get("data", {}))
        if "text/html" in data:
            data["text/html"] = EMBEDDED.sub("image", "".join(data["text/html"]))
        plain.append(NotebookNode(output | {"data": data}) if "data" in output else output)
    return plain
