"""Segmentations drawn on their images, with a legend and the score of each."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.patches import Patch

from tutorial_lib.data.images import VOID
from tutorial_lib.data.voc import CLASSES
from tutorial_lib.figures import plotting
from tutorial_lib.metrics import ConfusionMatrix

# VOC's own colors are too dark to be seen on an image, or told apart. None for the background.
COLORS = (
    None, "#1F77E0", "#8C564B", "#E86CC8", "#17BECF", "#2CA02C", "#FF7F0E", "#D62728", "#8A4FFF",
    "#BCBD22", "#00A896", "#7F5A2A", "#FFD21F", "#A0522D", "#FF4F00", "#FF5FA2", "#6AA84F",
    "#5CCBFF", "#C27BA0", "#45818E", "#A6E02B",
)  # fmt: skip


def tinted(
    image: np.ndarray, labels: np.ndarray, truth: np.ndarray | None = None, void: str = "#FFFFFF"
) -> np.ndarray:
    """Return an image in pale gray, each pixel tinted in the color of its class.

    Args:
        image: uint8 (height, width, 3).
        labels: Classes (height, width).
        truth: Labels whose void pixels, the true boundaries, are drawn, too.
        void: Color of void.
    """
    result = plotting.faded(image)
    for number in range(1, len(CLASSES)):
        result = plotting.overlay(result, labels == number, COLORS[number], alpha=0.65)
    unlabeled = (labels == VOID) | (False if truth is None else truth == VOID)
    return plotting.overlay(result, unlabeled, void, alpha=1)


def image_iou(labels: np.ndarray, predictions: np.ndarray) -> float:
    """Return the mean IoU on one image, over the classes that are labeled in it.

    A class that is only predicted is left out: one stray pixel of it would add a zero to the mean.
    """
    matrix = ConfusionMatrix(len(CLASSES)).update(labels, predictions)
    return float(matrix.iou()[matrix.counts.any(axis=1)].mean())


def show_segmentations(
    images: Sequence[np.ndarray],
    segmentations: Mapping[str, Sequence[np.ndarray]],
    *,
    title: str,
    alt: str,
    classes: Sequence[str],
    truths: Sequence[np.ndarray] | None = None,
    across: bool = False,
    cell: float = 1.5,
    void: str = "#FFFFFF",
) -> None:
    """Show images and segmentations of them side by side, with a legend of the classes.

    Args:
        images: uint8 (height, width, 3), all of one aspect ratio.
        segmentations: Heading → the labels (height, width) of each image.
        title, alt: As for `plotting.figure` and `plotting.show`.
        classes: Names that may be in the legend; it has those that occur in a segmentation.
        truths: Labels of each image. Their void pixels are drawn, and each segmentation that
            differs from them gets its `image_iou`.
        across: One column per image; by default one row per image.
        cell: Width of one image in inches.
        void: Color of void.
    """
    columns = [("image", images), *segmentations.items()]
    rows, cols = len(images), len(columns)
    height = cell * images[0].shape[0] / images[0].shape[1]
    caption = 0.0 if truths is None else 0.2
    grid = (cols, rows) if across else (rows, cols)
    found = {number for maps in segmentations.values() for y in maps for number in np.unique(y)}
    classes = [name for name in classes if CLASSES.index(name) in found]
    names = textwrap.wrap("  ".join(classes), int(8 * cell * grid[1])) or [""]
    size = (cell * grid[1] + 0.2, (height + caption) * grid[0] + 0.75 + 0.22 * len(names))
    fig, axes = plotting.figure(*grid, title=title, size=size, squeeze=False)
    axes = axes.T if across else axes
    for column, (heading, maps) in enumerate(columns):
        for row, (image, labels) in enumerate(zip(images, maps, strict=True)):
            ax = axes[row, column]
            plotting.bare(ax)
            truth = None if truths is None else truths[row]
            ax.imshow(image if maps is images else tinted(image, labels, truth, void))
            if row == 0:
                (ax.set_ylabel if across else ax.set_title)(heading, fontsize=9)
            if maps is not images and truth is not None and labels is not truth:
                score = f"mean IoU {image_iou(truth, labels):.2f}"
                ax.set_xlabel(score, fontsize=9, gid="measured")
    handles = [Patch(color=to_rgb(COLORS[CLASSES.index(name)]), label=name) for name in classes]
    fig.legend(
        handles=handles, loc="outside lower center", ncols=max(1, -(-len(classes) // len(names))),
        fontsize=9, handlelength=1, columnspacing=1,
    )  # fmt: skip
    plotting.show(fig, alt=alt, dpi=plotting.PHOTO_DPI)
