"""A pytest plugin: nbval compares the texts of a notebook, this compares the pictures too.

It refines nbval's cell class in three ways. Pictures, those inside HTML too, are compared as
images, with a tolerance, and their sizes and alt texts exactly; a picture that fails leaves the
expected one, the actual one and their difference side by side under `build/figures`. What goes to
stderr does not count. And a slow machine gets a minute, not five seconds, to deliver an output
that is already computed.

Cells with the tag `figure-trained` show a trained net, whose pictures differ from one processor to
the next: they are compared after averaging over blocks, and may differ by a share of the contrast
that they have. An empty figure differs by all of it, an unrelated one by more.
"""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import numpy as np
import pytest
from nbformat import NotebookNode
from nbval.plugin import IPyNbCell
from PIL import Image

IMAGE_TYPES = ("image/png", "image/jpeg")
EMBEDDED = re.compile(r"data:image/\w+;base64,([A-Za-z0-9+/=]+)")
TOLERANCE = 2.0  # root mean square over all pixels and channels, in gray levels of 0 to 255
TRAINED_TAG = "figure-trained"
TRAINED_BLOCK = 12  # pixels; about the size of a letter
TRAINED_TOLERANCE = 0.8  # share of the expected picture's own contrast
OUTPUT_TIMEOUT = 60  # seconds


def pytest_itemcollected(item: pytest.Item) -> None:
    """Refine each notebook cell that nbval has collected.

    Its class is exchanged on the finished item: nbval makes its cells itself and has no hook.
    """
    if isinstance(item, IPyNbCell):
        item.__class__ = CheckedCell
        item.output_timeout = OUTPUT_TIMEOUT


class CheckedCell(IPyNbCell):
    """nbval's cell, comparing pictures too."""

    def compare_outputs(self, test, ref, skip_compare=None) -> bool:
        test, ref = without_stderr(test), without_stderr(ref)
        if not super().compare_outputs(without_embedded(test), without_embedded(ref), skip_compare):
            return False
        trained = TRAINED_TAG in self.cell.metadata.get("tags", [])
        problems = compare_pictures(pictures(ref), pictures(test), trained, self.picture_path)
        self.comparison_traceback.extend(problems)
        return not problems

    def picture_path(self, number: int) -> Path:
        """Return where the evidence of a failing picture goes."""
        name = f"{self.path.stem}-cell-{self.cell_num}-{number}.png"
        return self.config.rootpath / "build" / "figures" / name


def without_stderr(outputs: list) -> list:
    """Leave out what was written to stderr: warnings differ between machines."""
    return [output for output in outputs if output.get("name") != "stderr"]


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
