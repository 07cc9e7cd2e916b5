"""What a figure holds besides its data, as text: titles, labels, legends, colors, marks.

Figures of trained networks differ between processors, so their images are compared with a
tolerance. This text does not differ: `plotting.show` stores it with the image, and the check of the
notebooks compares it exactly and can say what changed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import matplotlib.collections
import matplotlib.image
import matplotlib.lines
import matplotlib.patches
import matplotlib.text
import matplotlib.ticker
import numpy as np
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

MOST_COLORS = 12  # more than that are data
MEASURED = "measured"  # the gid of a text whose numbers differ between machines


def describe(fig: Figure) -> list[str]:
    """Return one line per text and per type of mark, the same on every machine.

    Measured values are left out: limits, ticks and color ranges only appear if they are round
    numbers, the number of marks does not appear, and numbers in a text with the gid "measured" are
    replaced by #.
    """
    texts = dict.fromkeys([fig.get_suptitle(), *(text.get_text() for text in fig.texts)])
    lines = [f"figure: {text}" for text in texts]
    for number, ax in enumerate(fig.axes, start=1):
        lines += [f"{number} {line}" for line in dict.fromkeys(_describe_axes(ax))]
    return lines


def _describe_axes(ax) -> Iterator[str]:
    texts = {f"title {side}": ax.get_title(side) for side in ("left", "center", "right")}
    texts |= {"title center": _words(ax.title)}
    texts |= {"x": _words(ax.xaxis.label), "y": _words(ax.yaxis.label)}
    yield from (f"{name}: {text}" for name, text in texts.items() if text)
    if legend := ax.get_legend():
        yield from (f"legend: {text.get_text()}" for text in legend.get_texts())
        if legend.get_frame_on():
            yield "legend in a frame"
    yield from sorted({f"text: {_words(text)}" for text in ax.texts})
    for name, axis in (("x", ax.xaxis), ("y", ax.yaxis)):
        yield from _describe_axis(ax, name, axis)
    marks = (*ax.lines, *ax.patches, *ax.collections, *ax.images)
    yield from sorted({_describe_mark(mark) for mark in marks})


def _words(text: matplotlib.text.Text) -> str:
    """Return a text, without its numbers if they were measured."""
    words = text.get_text()
    return re.sub(r"\d+(\.\d+)?", "#", words) if text.get_gid() == MEASURED else words


def _describe_axis(ax, name: str, axis) -> Iterator[str]:
    if axis.get_scale() != "linear":
        yield f"{name} scale: {axis.get_scale()}"
    if not getattr(ax, f"get_autoscale{name}_on")():
        yield from _numbers(f"{name} limits", axis.get_view_interval())
    formatter, locator = axis.get_major_formatter(), axis.get_major_locator()
    if isinstance(locator, matplotlib.ticker.FixedLocator) and len(locator.locs):
        if isinstance(formatter, matplotlib.ticker.ScalarFormatter):
            yield from _numbers(f"{name} ticks", locator.locs)
        else:
            yield f"{name} ticks: {' '.join(map(str, formatter.format_ticks(locator.locs)))}"


def _numbers(name: str, values: Iterable[float]) -> Iterator[str]:
    """Yield a line with numbers, unless they follow from data and so have more than 3 decimals."""
    values = [float(value) for value in values]
    if all(value == round(value, 3) for value in values):
        yield f"{name}: {' '.join(f'{value:g}' for value in values)}"


def _describe_mark(mark) -> str:
    if isinstance(mark, matplotlib.lines.Line2D):
        style = f"{mark.get_linestyle()} {mark.get_linewidth():g}"
        marker = f"{mark.get_marker()} {mark.get_markersize():g}"
        return f"line {_hex([mark.get_color()], mark.get_alpha())} {style}, marker {marker}"
    if isinstance(mark, matplotlib.image.AxesImage):
        rows, columns, *channels = mark.get_array().shape
        line = f"image {columns}×{rows}, {mark.get_interpolation()}"
        if channels:
            return line
        return " ".join([f"{line}, {mark.get_cmap().name}", *_numbers("from", mark.get_clim())])
    name = type(mark).__name__
    if isinstance(mark, matplotlib.collections.Collection):
        widths = {f"{width:g}" for width in np.round(mark.get_linewidths(), 3)}
        colors = f"{_hex(mark.get_facecolors())} {_hex(mark.get_edgecolors())}"
        if mark.get_array() is not None:
            colors = mark.get_cmap().name
        return f"{name} {colors} {' '.join(sorted(widths))}"
    if isinstance(mark, matplotlib.patches.Patch):
        colors = f"{_hex([mark.get_facecolor()])} {_hex([mark.get_edgecolor()])}"
        return f"{name} {colors} {mark.get_linestyle()} {mark.get_linewidth():g}"
    return name


def _hex(colors, alpha: float | None = None) -> str:
    """Return colors as sorted hexadecimal texts."""
    pairs = [color if alpha is None else (color, alpha) for color in colors]
    found = {to_hex(color, keep_alpha=True) for color in pairs}
    return " ".join(sorted(found)) if len(found) <= MOST_COLORS else "many colors"
