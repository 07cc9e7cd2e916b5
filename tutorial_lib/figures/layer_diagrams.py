"""Diagrams of layers: which input values an output value of a convolution depends on, and how.

All take `title` and `alt` as `plotting.figure` and `plotting.show` do.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.colors import to_rgb
from matplotlib.patches import Polygon, Rectangle

from tutorial_lib.convolution import output_size, transposed_output_size
from tutorial_lib.figures import plotting
from tutorial_lib.figures.plotting import PALETTE

SLANT = np.array([[1.0, 0.0], [0.45, 0.5]])  # of a plane: where its columns and its rows run
WEIGHTS = tuple(PALETTE[name] for name in ("input", "accent", "output", "truth"))
CHANNELS = ("#C44536", "#3F8F4F", "#3B6FD8")  # red, green and blue, dark enough for white paper


def show_channels(*, title: str, alt: str) -> None:
    """Show how two kernels of 3×3 turn three input channels of 5×5 into two feature maps."""
    fig, ax = plotting.figure(title=title, size=(6.6, 4.0))
    side, kernel, out, height = 5, 3, 3, 3.6
    window = [(row, column) for row in range(kernel) for column in range(kernel)]
    for number, color in enumerate(CHANNELS):
        _plane(ax, (0, number * height), side, color, {cell: 0.85 for cell in window})
    for number in range(2):
        y = 1.0 + number * 5.4
        for part, color in enumerate(CHANNELS):
            _plane(ax, (9.6, y + part * 1.25), kernel, color, {cell: 0.85 for cell in window})
        _plane(ax, (16.6, y + 0.9), out, PALETTE["output"], {(0, 0): 0.95})
        for channel in range(3):
            start = channel * height + 0.75
            # From the right edge of the plane, which is slanted.
            edge = side + 0.9 * SLANT[1, 0] / SLANT[1, 1]
            _arrow(ax, (edge, start), (9.3, y + 0.6 + 1.25 * channel), PALETTE["muted"])
        _arrow(ax, (14.3, y + 1.7), (16.4, y + 1.7), PALETTE["ink"])
        ax.text(15.3, y + 1.3, "sum\n+ bias", ha="center", va="bottom", fontsize=9)
        ax.text(9.3, y - 0.15, f"kernel {number + 1}: {kernel}×{kernel}×3", fontsize=9)
        ax.text(16.6, y + 0.6, f"feature map {number + 1}", fontsize=9)
    ax.text(0, -0.3, f"input: {side}×{side}×3", fontsize=9)
    ax.set_xlim(-0.2, 22)
    ax.set_ylim(11.0, -1.0)
    plotting.bare(ax)
    plotting.show(fig, alt=alt)


def show_receptive_fields(
    stacks: dict[str, Sequence[tuple[int, int, int]]], size: int, *, title: str, alt: str
) -> None:
    """Show, along one axis, which values of each layer the middle output value depends on.

    Args:
        stacks: One panel each, caption → (kernel, stride, dilation) of each layer, first first.
        size: Of the input.

    Raises:
        InputError: if the kernels do not fit.
    """
    height = 0.45 + 0.52 * max(len(stack) for stack in stacks.values())
    fig, axes = plotting.figure(
        len(stacks),
        title=title,
        size=(6.6, 0.5 + len(stacks) * height),
        squeeze=False,
        height_ratios=[1.3 * len(stack) + 1 for stack in stacks.values()],  # equal cells
    )
    for ax, (caption, stack) in zip(axes.flat, stacks.items(), strict=True):
        _draw_stack(ax, stack, size)
        ax.set_title(caption, fontsize=10)
        ax.set_xlim(-3.2 - size * 0.08, size + 0.2)
        plotting.bare(ax)
    plotting.show(fig, alt=alt)


def show_gather_and_scatter(
    signal: Sequence[int], x: Sequence[int], w: Sequence[int], stride: int, *, title: str, alt: str
) -> None:
    """Show a convolution and its transpose along one axis, with the sum of each output.

    Args:
        signal: Input of the convolution, on the left.
        x: Input of the transposed convolution, on the right.
        w, stride: The kernel and its stride, the same for both.
    """
    k = len(w)
    outputs = output_size(len(signal), k, stride)
    gathered = [(n, n * stride + u, u) for n in range(outputs) for u in range(k)]
    scattered = [(m * stride + u, m, u) for m in range(len(x)) for u in range(k)]
    rows = max(len(signal), transposed_output_size(len(x), k, stride))
    fig, axes = plotting.figure(1, 2, title=title, size=(6.8, 0.42 * rows + 1.0))
    _draw_links(axes[0], signal, w, gathered, "gather: convolution")
    _draw_links(axes[1], x, w, scattered, "scatter: transposed convolution")
    for ax in axes:
        ax.set_xlim(-0.6, 7.2)
        ax.set_ylim(rows - 0.4, -1.2)
        plotting.bare(ax)
    plotting.show(fig, alt=alt)


def _draw_links(ax, x: Sequence[int], w: Sequence[int], links, caption: str) -> None:
    """Draw inputs, outputs and `links` (output, input, weight number) between them, with sums."""
    terms = {}
    for output, source, u in links:
        terms.setdefault(output, []).append(f"{w[u]}·{x[source]}")
    middle = (len(x) - len(terms)) / 2  # moves the shorter column down
    tops = max(-middle, 0), max(middle, 0)
    for output, source, u in links:
        ends = [0.45, 2.15], [tops[0] + source, tops[1] + output]
        ax.plot(*ends, color=WEIGHTS[u % len(WEIGHTS)], linewidth=1.6, zorder=1)
    box = {"boxstyle": "square,pad=0.3", "edgecolor": PALETTE["ink"], "linewidth": 0.8}
    style = {"ha": "center", "va": "center", "fontsize": 10, "color": "white"}
    for place, value in enumerate(x):
        ax.text(0.2, tops[0] + place, value, bbox=box | {"facecolor": PALETTE["kernel"]}, **style)
    for place, products in sorted(terms.items()):
        total = sum(w[u] * x[source] for output, source, u in links if output == place)
        text = " + ".join(products) + f" = {total}"
        ax.text(2.3, tops[1] + place, text, va="center", fontsize=10, color=PALETTE["ink"])
    ax.text(0.2, -0.95, "input", ha="center", fontsize=9)
    ax.text(2.3, -0.95, "output", fontsize=9)
    for u, weight in enumerate(w):
        ax.plot([], [], color=WEIGHTS[u % len(WEIGHTS)], linewidth=1.6, label=f"weight {weight}")
    ax.legend(loc="upper right", fontsize=9, handlelength=1.2, borderaxespad=0, frameon=False)
    ax.set_title(caption, fontsize=10)


def _draw_stack(ax, stack, size: int) -> None:
    """Draw the input at the bottom, each layer above, and lines to what a marked cell reads."""
    sizes, centers = [size], [np.arange(size) + 0.5]
    for k, s, d in stack:
        sizes.append(output_size(sizes[-1], k, s, 0, d))
        first = d * (k - 1) / 2  # the middle of the first window, in cells of the layer below
        index = first + s * np.arange(sizes[-1])
        centers.append(np.interp(index, np.arange(sizes[-2]), centers[-1]))
    marked = {sizes[-1] // 2}
    for layer in range(len(stack), -1, -1):
        y = 1.3 * layer
        role = "input" if layer == 0 else "output"
        for cell, x in enumerate(centers[layer]):
            color = PALETTE[role] if cell in marked else "white"
            box = {"facecolor": color, "edgecolor": PALETTE["ink"], "linewidth": 0.7, "zorder": 2}
            ax.add_patch(Rectangle((x - 0.4, y - 0.3), 0.8, 0.6, **box))
        label = "input" if layer == 0 else f"layer {layer}"
        ax.text(-0.6, y, label, ha="right", va="center", fontsize=9)
        if layer == 0:
            break
        k, s, d = stack[layer - 1]
        below = set()
        for cell in marked:
            for read in cell * s + d * np.arange(k):
                below.add(int(read))
                ends = [centers[layer][cell], centers[layer - 1][read]], [y - 0.3, y - 1.0]
                ax.plot(*ends, color=PALETTE["kernel"], linewidth=0.7, zorder=1)
        marked = below
    ax.set_ylim(-0.5, 1.3 * len(stack) + 0.5)


def _plane(ax, corner, side: int, color: str, opacity: dict) -> None:
    """Draw a slanted square of cells; `opacity` gives that of the cells that stand out."""
    for row in range(side):
        for column in range(side):
            cell = np.array([(0, 0), (1, 0), (1, 1), (0, 1)]) + (column, row)
            place = np.array(corner) + cell @ SLANT
            alpha = opacity.get((row, column), 0.25)
            style = {"edgecolor": PALETTE["ink"], "linewidth": 0.6}
            ax.add_patch(Polygon(place, facecolor=(*to_rgb(color), alpha), **style))


def _arrow(ax, start, end, color: str) -> None:
    style = {"arrowstyle": "-|>", "color": color, "linewidth": 1.0, "shrinkA": 0, "shrinkB": 0}
    ax.annotate("", end, start, arrowprops=style)
