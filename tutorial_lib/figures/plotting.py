"""Figures with one palette, one look, and alt text for each.

Make a figure with `figure`, draw on it with matplotlib's methods, and display it with `show`, which
asks for the alt text. No figure touches pyplot's global state, so one that is not shown costs
nothing.
"""

from __future__ import annotations

import base64
import html
import io
import math
import os
import textwrap
from collections.abc import Callable, Sequence

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from tutorial_lib.errors import InputError
from tutorial_lib.figures.fingerprint import describe

# Blue input and green output, as the convolution literature draws them. Each pair of colors
# differs in lightness too, so that the figures survive gray print and color blindness.
PALETTE = {
    "input": "#3B7DD8",
    "output": "#2BA58C",
    "kernel": "#1E3A5F",
    "accent": "#E8743B",
    "highlight": "#F2B134",
    "truth": "#E3178A",
    "muted": "#9AA5B1",
    "ink": "#22303C",
    "void": "#E0E0C0",
}
# For curves and scatter plots, in this order.
CYCLE = [PALETTE[name] for name in ("input", "accent", "output", "kernel", "highlight", "muted")]

STYLE = {
    "font.size": 10,
    "font.family": "DejaVu Sans",  # ships with matplotlib, so it is the same everywhere
    "text.color": PALETTE["ink"],
    "axes.labelcolor": PALETTE["ink"],
    "axes.edgecolor": PALETTE["muted"],
    "axes.titlesize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.prop_cycle": matplotlib.cycler(color=CYCLE),
    "xtick.color": PALETTE["ink"],
    "ytick.color": PALETTE["ink"],
    "legend.frameon": False,
    "image.interpolation": "nearest",
}
DPI = 144
DISPLAY_DPI = 96  # CSS pixels per inch: figures are drawn finer than they are displayed
PHOTO_DPI = 120  # photographs gain little from more, and would make notebooks large
DRAWING_COLORS = 32  # enough for the drawings of a sliding kernel

_written_for_these_data = True


def written_for(these_data: bool) -> None:
    """Set whether titles and alt texts from here on describe the data in use.

    A title states what its figure shows, which need not hold for other data. There, figures have
    no title, and their alt text says which data it describes.
    """
    global _written_for_these_data
    _written_for_these_data = these_data


def figure(rows: int = 1, cols: int = 1, *, title: str, size=None, **subplots):
    """Make a figure with a title.

    Args:
        rows, cols: The grid of axes.
        title: One sentence above the whole figure.
        size: (width, height) in inches; by default 2.4 inches per axes plus the title.
        subplots: Passed to `Figure.subplots`, e.g. `sharey=True`.

    Returns:
        (figure, axes): axes is a single Axes for a 1×1 grid, else an array of them.
    """
    size = size or (min(2.4 * cols + 0.4, 9.5), 2.4 * rows + 0.6)
    with matplotlib.rc_context(STYLE):
        fig = Figure(figsize=size, layout="constrained")
        axes = fig.subplots(rows, cols, **subplots)
    if _written_for_these_data:
        lines = textwrap.wrap(title, max(20, int(10.2 * size[0])))  # what fits in
        fig.suptitle("\n".join(lines), fontsize=12, fontweight="bold", color=PALETTE["ink"])
    return fig, axes


def to_png(fig: Figure, dpi: int = DPI) -> bytes:
    """Render a figure as PNG; the same figure gives the same bytes."""
    buffer = io.BytesIO()
    with matplotlib.rc_context(STYLE):
        fig.savefig(buffer, dpi=dpi, facecolor="white", metadata={"Software": None})
    # A figure is opaque: without the alpha channel it takes a sixth less room. One with photographs
    # takes a quarter of it with a palette, whose errors of three gray levels nobody sees.
    image = Image.open(buffer).convert("RGB")
    smaller = io.BytesIO()
    (quantize_photo(image) if dpi < DPI else image).save(smaller, "PNG", optimize=True)
    return smaller.getvalue()


def show(
    fig: Figure,
    *,
    alt: str,
    dpi: int = DPI,
    interactive: Callable[[str, str], dict] | None = None,
    drawn: Sequence[str] = (),
) -> None:
    """Display a figure in the notebook with its alt text and a description of what is drawn.

    Every figure, animation and widget of the notebooks is displayed here.

    Args:
        alt: One sentence for a reader who cannot see the figure.
        dpi: Pixels per inch that are stored.
        interactive: For an animation or a widget: maps the figure's PNG, as base64, and the alt
            text to a MIME bundle. The figure stands in for it in print and without scripts.
        drawn: What `describe` says of the figures in that bundle.

    Raises:
        InputError: if `alt` is empty or only repeats the title.
    """
    if len(alt.split()) < 4 or alt.strip() == fig.get_suptitle().strip():
        raise InputError(
            "a figure needs alt text: one sentence for a reader who cannot see what it shows"
        )
    from IPython import display

    if not _written_for_these_data:
        alt = f"Drawn from your own data. From the data that come with the notebook: {alt}"
    png, known = to_png(fig, dpi), {"drawn": [*describe(fig), *drawn]}
    if interactive is None:
        width = round(fig.get_figwidth() * DISPLAY_DPI)
        if "JPY_SESSION_NAME" in os.environ:  # JupyterLab reads alt text in HTML only
            source = f"data:image/png;base64,{base64.b64encode(png).decode()}"
            element = f'<img src="{source}" alt="{html.escape(alt)}" width="{width}">'
            display.display(display.HTML(element, metadata=known))
        else:
            display.display(display.Image(png, format="png", width=width, alt=alt, metadata=known))
        return
    if dpi == DPI:  # a drawing; at lower resolutions there are photographs or decoded images
        smaller = io.BytesIO()  # a palette takes a third of the bytes
        quantize(Image.open(io.BytesIO(png))).save(smaller, "PNG", optimize=True)
        png = smaller.getvalue()
    encoded = base64.b64encode(png).decode()
    bundle = {"image/png": encoded, **interactive(encoded, alt)}
    display.display(bundle, raw=True, metadata={"image/png": {"alt": alt, **known}})


def quantize(image: Image.Image, colors: int = DRAWING_COLORS, kmeans: int = 0) -> Image.Image:
    """Reduce an image to a palette of its own."""
    # Maximum coverage keeps the small yellow weights, which other methods lose in the blue.
    method = Image.Quantize.MAXCOVERAGE
    return image.convert("RGB").quantize(colors, method, kmeans, dither=Image.Dither.NONE)


def quantize_photo(image: Image.Image) -> Image.Image:
    """Reduce an RGB image with photographs to a palette of 256 colors.

    The palette is chosen from every third pixel of every third row. All pixels would give errors
    that are smaller by a tenth, and take fifteen times as long.
    """
    sides = [-(-side // 3) for side in image.size]
    sample = image.resize(sides, Image.Resampling.NEAREST)
    return image.quantize(palette=quantize(sample, 256, kmeans=1), dither=Image.Dither.NONE)


def bare(ax) -> None:
    """Remove the frame and ticks of an axes that shows an image."""
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_visible(False)


def show_images(
    images: Sequence[np.ndarray],
    captions: Sequence[str] | None = None,
    *,
    title: str,
    alt: str,
    rows: Sequence[str] = (),
    columns: int | None = None,
    cell: float = 1.9,
    vmin: float | None = None,
    vmax: float | None = None,
    bar: str = "",
) -> None:
    """Show images in a grid.

    Args:
        images: HW or HWC arrays; uint8, or floats in [0, 1] for color.
        captions: One short text per image, or only those of the first row as column headings.
        title, alt: As for `figure` and `show`.
        rows: One short text per row, at its left.
        columns: Images per row; by default all, up to five.
        cell: Width of one image in inches.
        vmin, vmax: Black and white, for images without color channels.
        bar: What the gray values are; draws a color bar beside the last image.
    """
    columns = columns or min(len(images), 5)
    count = math.ceil(len(images) / columns)
    shape = np.shape(images[0])
    height = cell * shape[0] / shape[1]
    width = cell * columns + (0.4 if rows else 0.2)
    size = (width, (height + (0.3 if captions else 0.05)) * count + 0.45)
    if captions and len(captions) <= columns:  # they are column headings
        size = (width, size[1] - 0.25 * (count - 1))
    fig, axes = figure(count, columns, title=title, size=size, squeeze=False)
    for ax in axes.flat:
        bare(ax)
    for ax, image in zip(axes.flat, images, strict=False):
        ax.imshow(np.squeeze(image), cmap="gray", vmin=vmin, vmax=vmax)
    for ax, caption in zip(axes.flat, captions or [], strict=False):
        ax.set_title(caption, fontsize=9)
    for ax, name in zip(axes[:, 0], rows, strict=False):
        ax.set_ylabel(name, fontsize=9)
    if bar:
        fig.colorbar(
            axes.flat[len(images) - 1].images[0], ax=axes, label=bar, shrink=0.75, pad=0.01
        )
    show(fig, alt=alt, dpi=PHOTO_DPI)


def overlay(
    image: np.ndarray, mask: np.ndarray, color: str = PALETTE["truth"], alpha: float = 0.55
) -> np.ndarray:
    """Return a copy of a uint8 HWC image with the nonzero pixels of an HW mask tinted."""
    tint = np.array(matplotlib.colors.to_rgb(color)) * 255
    covered = (np.asarray(mask) != 0)[..., None]
    mixed = np.where(covered, (1 - alpha) * image + alpha * tint, image)
    return np.rint(mixed).astype(np.uint8)


def faded(image: np.ndarray) -> np.ndarray:
    """Return a uint8 HWC image in pale gray, on which any tint keeps its color."""
    gray = np.asarray(image) @ [0.299, 0.587, 0.114]
    return np.repeat(np.uint8(np.rint(90 + 0.6 * gray))[..., None], 3, axis=-1)
