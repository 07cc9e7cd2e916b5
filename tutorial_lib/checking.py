"""A pytest plugin: nbval compares the texts of a notebook, this compares the pictures too.

It refines nbval's cell class in three ways. Pictures are compared as images, with a tolerance,
and their sizes and alt texts exactly; a picture that fails leaves the expected one, the actual
one and their difference side by side under `build/figures`. What goes to stderr does not count.
And a slow machine gets a minute, not five seconds, to deliver an output that is already computed.

Cells with the tag `figure-trained` show a trained net, whose pictures differ a little from one
processor to the next: they are compared after averaging over blocks, with a wide tolerance, 30
gray levels or what another tag says: `figure-tolerance-60`.
"""

from __future__ import annotations

import base64
import io
from pathlib import Path

import numpy as np
import pytest
from nbval.plugin import IPyNbCell
from PIL import Image

IMAGE_TYPES = ("image/png", "image/jpeg")
TOLERANCE = 2.0  # root mean square over all pixels and channels, in gray levels of 0 to 255
TRAINED_TAG = "figure-trained"
TOLERANCE_TAG = "figure-tolerance-"
TRAINED_BLOCK = 12  # pixels; about the size of a letter
TRAINED_TOLERANCE = 30.0
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
        if not super().compare_outputs(test, ref, skip_compare):
            return False
        tolerance = trained_tolerance(self.cell.metadata.get("tags", []))
        problems = compare_pictures(pictures(ref), pictures(test), tolerance, self.picture_path)
        self.comparison_traceback.extend(problems)
        return not problems

    def picture_path(self, number: int) -> Path:
        """Return where the evidence of a failing picture goes."""
        name = f"{self.path.stem}-cell-{self.cell_num}-{number}.png"
        return self.config.rootpath / "build" / "figures" / name


def without_stderr(outputs: list) -> list:
    """Leave out what was written to stderr: warnings differ between machines."""
    return [output for output in outputs if output.get("name") != "stderr"]


def pictures(outputs: list) -> list[tuple[np.ndarray, str]]:
    """Return the pictures among a cell's outputs, each as RGB pixels with its alt text."""
    found = []
    for output in outputs:
        for kind in IMAGE_TYPES:
            if kind in output.get("data", {}):
                data = base64.b64decode("".join(output["data"][kind]))
                pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
                found.append((pixels, output.get("metadata", {}).get(kind, {}).get("alt", "")))
    return found


def trained_tolerance(tags: list[str]) -> float | None:
    """Return the tolerance for a trained net's pictures that a cell's tags ask for, or None."""
    for tag in tags:
        if tag.startswith(TOLERANCE_TAG):
            return float(tag.removeprefix(TOLERANCE_TAG))
    return TRAINED_TOLERANCE if TRAINED_TAG in tags else None


def compare_pictures(
    expected: list, actual: list, tolerance: float | None, evidence_path
) -> list[str]:
    """Compare the pictures of one cell.

    Args:
        expected, actual: As `pictures` returns them.
        tolerance: For pictures of trained nets, compared by blocks; None compares tightly.
        evidence_path: Called with the number of a failing picture, says where its evidence goes.

    Returns:
        One line a problem; empty if all agree.
    """
    if len(expected) != len(actual):
        return [f"expected {len(expected)} pictures, got {len(actual)}"]
    problems = []
    for number, ((old, old_alt), (new, new_alt)) in enumerate(zip(expected, actual, strict=True)):
        if old_alt != new_alt:
            problems.append(f"picture {number}: alt text was {old_alt!r}, now {new_alt!r}")
        if old.shape != new.shape:
            problems.append(f"picture {number}: size was {old.shape[:2]}, now {new.shape[:2]}")
            continue
        distance, limit = picture_distance(old, new, tolerance)
        if distance > limit:
            path = evidence_path(number)
            save_evidence(old, new, path)
            problems.append(
                f"picture {number} differs by {distance:.1f} gray levels, allowed are {limit:g}: "
                f"see {path}"
            )
    return problems


def picture_distance(
    old: np.ndarray, new: np.ndarray, tolerance: float | None
) -> tuple[float, float]:
    """Return how far two pictures of one size are apart, and how far they may be."""
    block = 1 if tolerance is None else TRAINED_BLOCK
    difference = block_means(old, block) - block_means(new, block)
    distance = float(np.sqrt(np.mean(difference**2)))
    return distance, TOLERANCE if tolerance is None else tolerance


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
