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
that they have. An empty figure differs by all of it, an unrelated one by more.
"""

from __future__ import annotations

import base64
import io
import queue
import re
import time
from pathlib import Path

import numpy as np
import pytest
from nbformat import NotebookNode
from nbval.plugin import IPyNbCell
from PIL import Image

from tutorial_lib.notebook import is_record

IMAGE_TYPES = ("image/png", "image/jpeg")
EMBEDDED = re.compile(r"data:image/\w+;base64,([A-Za-z0-9+/=]+)")
TOLERANCE = 2.0  # root mean square over all pixels and channels, in gray levels of 0 to 255
NUMBERS_TAG = re.compile(r"numbers-within-(\d+)%")
# A number on its own: not the 2 of "conv2d", nor part of a longer one.
NUMBER = re.compile(r"(?<![\w.])[-+]?\d+(?:,\d{3})*(?:\.\d+)?(?:e[-+]?\d+)?(?![\w])")
TRAINED_TAG = "figure-trained"
TRAINED_BLOCK = 12  # pixels; about the size of a letter
TRAINED_TOLERANCE = 0.8  # share of the expected picture's own contrast
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
        if not super().compare_outputs(without_embedded(test), without_embedded(ref), skip_compare):
            return False
        trained = TRAINED_TAG in tags
        problems = compare_pictures(pictures(ref), pictures(test), trained, self.picture_path)
        self.comparison_traceback.extend(problems)
        return not problems

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


def pictures(outputs: list) -> list[tuple[np.ndarray, str]]:
    """Return the pictures among a cell's outputs, each as RGB pixels with its alt text.

    The alt text of a picture inside HTML is left out here: it is compared with the HTML.
    """
    found = []
    for output in outputs:
        data = output.get("data", {})
        for kind in IMAGE_TYPES:
            if kind in data:
                alt = output.get("metadata", {}).get(kind, {}).get("alt", "")
                found.append((decode("".join(data[kind])), alt))
        for encoded in EMBEDDED.findall("".join(data.get("text/html", ""))):
            found.append((decode(encoded), ""))
    return found


def decode(encoded: str) -> np.ndarray:
    """Return a base64 picture as RGB pixels."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded))).convert("RGB"))


def compare_pictures(expected: list, actual: list, trained: bool, evidence_path) -> list[str]:
    """Compare the pictures of one cell.

    Args:
        expected, actual: As `pictures` returns them.
        trained: Compare as pictures of trained nets.
        evidence_path: Called with the number of a failing picture, says where its evidence goes.

    Returns:
        One line a problem; empty if all agree.
    """
    if len(expected) != len(actual):
        return [f"expected {len(expected)} pictures, got {len(actual)}"]
    measure, limit = (
        (blurred_distance, TRAINED_TOLERANCE) if trained else (pixel_distance, TOLERANCE)
    )
    problems = []
    for number, ((old, old_alt), (new, new_alt)) in enumerate(zip(expected, actual, strict=True)):
        if old_alt != new_alt:
            problems.append(f"picture {number}: alt text was {old_alt!r}, now {new_alt!r}")
        if old.shape != new.shape:
            problems.append(f"picture {number}: size was {old.shape[:2]}, now {new.shape[:2]}")
        elif (distance := measure(old, new)) > limit:
            path = evidence_path(number)
            save_evidence(old, new, path)
            problems.append(
                f"picture {number} differs by {distance:.2f}, allowed is {limit:g}: see {path}"
            )
    return problems


def pixel_distance(old: np.ndarray, new: np.ndarray) -> float:
    """Return the root mean square difference of two pictures in gray levels."""
    return float(np.sqrt(np.mean((old.astype(float) - new) ** 2)))


def blurred_distance(old: np.ndarray, new: np.ndarray) -> float:
    """Return the difference of two blurred pictures as a share of the contrast of the first."""
    old, new = block_means(old, TRAINED_BLOCK), block_means(new, TRAINED_BLOCK)
    contrast = np.sqrt(np.mean((old - old.mean(axis=(0, 1))) ** 2))
    return float(np.sqrt(np.mean((old - new) ** 2)) / max(contrast, 1.0))


def block_means(image: np.ndarray, block: int) -> np.ndarray:
    """Average an image over square blocks; what does not fill a block is left out."""
    rows, columns = image.shape[0] // block, image.shape[1] // block
    whole = image[: rows * block, : columns * block].astype(float)
    return whole.reshape(rows, block, columns, block, -1).mean(axis=(1, 3))


def save_evidence(old: np.ndarray, new: np.ndarray, path: Path) -> None:
    """Save expected, actual and difference side by side as one PNG."""
    difference = 255 - np.abs(old.astype(int) - new).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.hstack([old, new, difference])).save(path)
