"""Pictures of a kernel that slides: input blue, output green, as in Dumoulin & Visin's guide.

A transposed convolution is drawn as the direct convolution over a zero-inserted input that it
equals, so one `Slide` describes both.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.patches import Rectangle

from tutorial_lib import convolution, plotting
from tutorial_lib.plotting import PALETTE

GAP = 1.2  # cells between the input and the output
MARGIN = 1.2  # cells to the right of the output, before the next picture


@dataclass(frozen=True)
class Slide:
    """A square kernel sliding over a square input.

    Attributes:
        real: bool (n, n): which cells of the padded input are pixels; the others are zeros.
        kernel, stride, dilation: Of the sliding kernel.
        output: Side of the output.
    """

    real: np.ndarray
    kernel: int
    stride: int
    dilation: int
    output: int

    def window(self, step: int) -> list[tuple[int, int]]:
        """Return the cells (row, column) of the padded input that output number `step` reads."""
        row, column = divmod(step, self.output)
        reach = range(0, self.kernel * self.dilation, self.dilation)
        return [(row * self.stride + a, column * self.stride + b) for a in reach for b in reach]


def slide(i: int, k: int, s: int = 1, p: int = 0, d: int = 1) -> Slide:
    """Describe a convolution of an i×i input; arguments and errors as for `output_size`."""
    output = convolution.output_size(i, k, s, p, d)
    return Slide(np.pad(np.ones((i, i), bool), p), k, s, d, output)


def transposed_slide(i: int, k: int, s: int = 1, p: int = 0, output_padding: int = 0) -> Slide:
    """Describe a transposed convolution of an i×i input as a convolution with stride 1.

    s - 1 zeros stand between the pixels and k - 1 - p around them; output padding adds more at
    the end. Arguments and errors as for `transposed_output_size`, and p at most k - 1.
    """
    output = convolution.transposed_output_size(i, k, s, p, 1, output_padding)
    spread = convolution.insert_zeros(np.ones((1, i, i, 1), bool), s)[0, ..., 0]
    around = (k - 1 - p, k - 1 - p + output_padding)
    return Slide(np.pad(spread, around), k, 1, 1, output)


def draw_step(ax, sliding: Slide, step: int, input_values=None, output_values=None) -> None:
    """Draw one position of the kernel: the input left, the output right.

    Args:
        ax: The axes, which loses its frame.
        sliding: What slides.
        step: Number of the output cell, row by row.
        input_values: Numbers to write into the cells of the padded input, (n, n).
        output_values: Numbers for the output cells computed so far, (output, output).
    """
    side = len(sliding.real)
    window = set(sliding.window(step))
    for row, column in np.ndindex(side, side):
        real = sliding.real[row, column]
        _cell(
            ax,
            row,
            column,
            fill=PALETTE["input"] if real else "white",
            shaded=(row, column) in window,
            dashed=not real,
            text=None if input_values is None else f"{input_values[row, column]:g}",
        )
    left, top = side + GAP, (side - sliding.output) / 2
    for number, (row, column) in enumerate(np.ndindex(sliding.output, sliding.output)):
        done = number <= step
        _cell(
            ax,
            top + row,
            left + column,
            fill=PALETTE["output"] if done else "white",
            shaded=number == step,
            text=f"{output_values[row, column]:g}" if done and output_values is not None else None,
        )
    ax.set_xlim(-0.1, left + sliding.output + MARGIN)
    ax.set_ylim(max(side, top + sliding.output) + 0.1, min(0, top) - 0.1)
    ax.set_aspect("equal")
    plotting.bare(ax)


def film_strip(
    sliding: Slide,
    steps,
    *,
    title: str,
    alt: str,
    input_values=None,
    output_values=None,
) -> None:
    """Show some positions of the kernel side by side.

    Args:
        sliding: What slides.
        steps: Numbers of the output cells to show.
        title, alt: As for `plotting.figure` and `plotting.show`.
        input_values, output_values: As for `draw_step`.
    """
    side = len(sliding.real)
    width = side + GAP + sliding.output + MARGIN
    panel = min(9.4 / len(steps), 3.2)
    height = panel * max(side, sliding.output) / width
    size = (panel * len(steps) + 0.2, height + 0.75)
    fig, axes = plotting.figure(1, len(steps), title=title, size=size, squeeze=False)
    for ax, step in zip(axes[0], steps, strict=True):
        draw_step(ax, sliding, step, input_values, output_values)
        row, column = divmod(step, sliding.output)
        ax.set_title(f"output ({row}, {column})", fontsize=9)
    plotting.show(fig, alt=alt)


def _cell(ax, row, column, *, fill, shaded, dashed=False, text=None) -> None:
    """Draw one cell; a shaded one lies under the kernel."""
    ax.add_patch(
        Rectangle(
            (column, row),
            1,
            1,
            facecolor=fill,
            edgecolor=PALETTE["muted"] if dashed else PALETTE["ink"],
            linestyle=":" if dashed else "-",
            linewidth=0.8,
            alpha=0.85,
        )
    )
    if shaded:
        ax.add_patch(Rectangle((column, row), 1, 1, facecolor=PALETTE["kernel"], alpha=0.45, lw=0))
    if text is not None:
        color = "white" if shaded or fill != "white" else PALETTE["ink"]
        ax.text(column + 0.5, row + 0.5, text, ha="center", va="center", color=color, fontsize=8)
