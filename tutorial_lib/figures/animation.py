"""Animations of a kernel that slides over an input, as a player, a GIF or a film strip.

The colors are those of Dumoulin & Visin's guide (arXiv:1603.07285): input blue, output green, zeros
white with a dotted border, pale blue where they are inserted between pixels. Two views of a
transposed convolution give the same numbers: a convolution over a zero-inserted input
(`transposed_slide`), and stamping (`stamping_slide`), which with numbers also shows the kernel and
what each step adds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgb, to_rgba_array
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke

from tutorial_lib import convolution
from tutorial_lib.errors import InputError
from tutorial_lib.figures import player, plotting
from tutorial_lib.figures.plotting import PALETTE

GAP = 1.4  # cells between the input and the output
HEADROOM = 0.9  # cells above a grid, for its label
INCHES_PER_CELL = 0.33
INCHES_PER_NUMBER = 0.44  # of cells with numbers
INSERTED = "#D3E1F5"  # zeros between pixels
WEIGHT = "#FFDD88"  # of the kernel's numbers
SQUARE = np.array([(0, 0), (1, 0), (1, 1), (0, 1)])
MAX_WIDTH = 6.2  # inches; larger grids get smaller cells
MAX_SIDE = 64  # cells along a grid; smaller ones could not be told apart


@dataclass(frozen=True)
class Slide:
    """A kernel that slides over a square input: which cells it reads and writes at each step.

    Attributes:
        pixels: bool (n, n): which cells of the left grid are pixels; the others are zeros.
        output: Side of the right grid.
        reads, writes: One array per step, the (row, column) cells of the left and right grid.
        description: One sentence for a reader who cannot see the animation.
        labels: The texts above the two grids, the right one when all steps are done.
        gathers: Whether a step computes one output from many inputs, or the reverse.
        values: (n, n), the numbers in the left grid, if numbers are shown.
        weights: (k · k,), in the order in which a step reads cells.
        results: (steps, output, output), the right grid after each step; NaN is blank.
    """

    pixels: np.ndarray
    output: int
    reads: Sequence[np.ndarray]
    writes: Sequence[np.ndarray]
    description: str
    labels: tuple[str, str]
    gathers: bool
    values: np.ndarray | None = None
    weights: np.ndarray | None = None
    results: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.reads)

    @property
    def extent(self) -> tuple[float, float]:
        """The width and height of both grids together, in cells."""
        side, between = len(self.pixels), self.kernel + GAP if self.kernel else 0
        height = max(side, self.kernel, self.output)
        return side + GAP + between + self.output + 0.2, height + HEADROOM + 0.1

    @property
    def kernel(self) -> int:
        """The side of the kernel between the two grids: it is there if its numbers are stamped."""
        return 0 if self.gathers or self.weights is None else math.isqrt(len(self.weights))

    def caption(self, step: int) -> str:
        """Describe a step, with its arithmetic if there are numbers."""
        if not self.gathers:
            row, column = self.reads[step][0]
            kernel = "the" if self.values is None else f"{self.values[row, column]:g} ×"
            return f"input ({row}, {column}) stamps {kernel} kernel"
        row, column = self.writes[step][0]
        caption = f"output ({row}, {column})"
        if self.values is None:
            return caption
        terms = zip(self.values[tuple(self.reads[step].T)], self.weights, strict=True)
        products = " + ".join(f"{value:g}·{weight:g}" for value, weight in terms)
        return f"{caption} = {products} = {self.results[step][row, column]:g}"


def slide(i, k, s: int = 1, p: int = 0, d: int = 1) -> Slide:
    """Describe a convolution.

    Args:
        i: Input size, or the input itself, (i, i), to show its numbers.
        k: Kernel size, or the kernel itself, (k, k).
        s, p, d: Stride, padding at each end, dilation.

    Raises:
        InputError: as `convolution.output_size`, if only one of input and kernel has numbers, or
            if a grid is too large to be drawn.
    """
    i, x, k, w = _sizes_and_numbers(i, k)
    output = convolution.output_size(i, k, s, p, d)  # raises if it does not fit
    _check_drawable(i + 2 * p, output * output, x)
    pixels, y = np.ones((i, i), bool), None
    if x is not None:
        y = convolution.conv2d(x[None, ..., None], w[..., None, None], s, p, d)
    return _gathering(i, "", pixels, x, k, w, y, output, s, (p, p), d)


def transposed_slide(i, k, s: int = 1, p: int = 0, d: int = 1, output_padding: int = 0) -> Slide:
    """Describe a transposed convolution as a convolution with stride 1 over inserted zeros.

    There are s - 1 zeros between the pixels and d (k - 1) - p around them; output padding adds more
    at the end. The kernel is rotated by 180°. Arguments are as for `slide`, and those of the direct
    convolution that it is the transpose of. Raises InputError as `slide` and
    `convolution.transposed_output_size` do, or if p removes more than the zeros around the input.
    """
    i, x, k, w = _sizes_and_numbers(i, k)
    output = convolution.transposed_output_size(i, k, s, p, d, output_padding)
    before = d * (k - 1) - p
    if before < 0:
        raise InputError(f"p={p} is too much to be drawn; use at most d (k - 1) = {d * (k - 1)}")
    padding = before, before + output_padding
    _check_drawable(s * (i - 1) + 1 + sum(padding), output * output, x)
    pixels, y = convolution.insert_zeros(np.ones((1, i, i, 1), bool), s)[0, ..., 0], None
    if x is not None:
        image, kernel = x[None, ..., None], w[..., None, None]
        y = convolution.conv2d_transpose(image, kernel, s, p, d, output_padding)
        x, w = convolution.insert_zeros(image, s)[0, ..., 0], w[::-1, ::-1]
    zeros = "a zero" if s == 2 else f"{s - 1} zeros"
    inserted = f" with {zeros} between neighbors" if s > 1 else ""
    return _gathering(i, inserted, pixels, x, k, w, y, output, 1, padding, d)


def _gathering(i, inserted: str, pixels, x, k, w, y, output, s, padding, d) -> Slide:
    """Return the slide of a kernel over `pixels`, and over their numbers `x` if there are any."""
    window = d * np.array(list(np.ndindex(k, k)))
    writes = [np.array([cell]) for cell in np.ndindex(output, output)]
    reads = [cell * s + window for cell in writes]
    numbers = ()
    if y is not None:  # at step t the first t + 1 results are known
        known = np.tri(y.size, dtype=bool).reshape(-1, output, output)
        numbers = np.pad(x, padding), w.ravel(), np.where(known, y[..., 0], np.nan)
    before, after = padding
    padded = f", padded by {before}" if before else ""
    if before != after:
        padded = f", padded by {before} above and left and by {after} below and right"
    description = (
        f"A kernel of {_kernel_words(k, d)} slides over an input of {i}×{i}{inserted}{padded}, "
        f"with stride {s}; at each position it gives one value of the output."
    )
    pixels = np.pad(pixels, padding)
    labels = _labels(i, len(pixels), output)
    return Slide(pixels, output, reads, writes, description, labels, True, *numbers)


def stamping_slide(i, k, s: int = 1, p: int = 0, d: int = 1, output_padding: int = 0) -> Slide:
    """Describe a transposed convolution as stamping: each input pixel adds a scaled kernel.

    What padding removes lies outside the output. Arguments are as for `transposed_slide`. Raises
    InputError as `slide` and `convolution.transposed_output_size` do.
    """
    i, x, k, w = _sizes_and_numbers(i, k)
    output = convolution.transposed_output_size(i, k, s, p, d, output_padding)
    _check_drawable(max(i, output, k), i * i, x)
    reads = [np.array([cell]) for cell in np.ndindex(i, i)]
    stamps = [cell[0] * s - p + d * np.array(list(np.ndindex(k, k))) for cell in reads]
    writes = [cells[((cells >= 0) & (cells < output)).all(axis=1)] for cells in stamps]
    numbers = ()
    if x is not None:
        seen = (np.tri(i * i) * x.ravel()).reshape(-1, i, i, 1)  # step t adds pixel t
        y = convolution.conv2d_transpose(seen, w[..., None, None], s, p, d, output_padding)[..., 0]
        blank = np.cumsum([_covered(cells, output) for cells in writes], axis=0) == 0
        numbers = x, w.ravel(), np.where(blank, np.nan, y)
    description = (
        f"Each pixel of an input of {i}×{i} in turn stamps a kernel of {_kernel_words(k, d)} onto "
        f"the {output}×{output} output, with stride {s}; where stamps overlap, they add up."
    )
    labels, pixels = _labels(i, i, output), np.ones((i, i), bool)
    return Slide(pixels, output, reads, writes, description, labels, False, *numbers)


class SlideView:
    """The two grids of a `Slide` on an axes; `show_step(step)` moves the kernel.

    Cells of the output appear when they are written, and its size stands above it after the last
    step only, so that a reader who is asked to predict the size does not see it before. The artists
    are made once and recolored, so that a step takes milliseconds.
    """

    def __init__(self, ax, sliding: Slide, cell: float = INCHES_PER_CELL):
        self.sliding = sliding
        side, output, kernel = len(sliding.pixels), sliding.output, sliding.kernel
        height = max(side, output, kernel)
        numbers = sliding.values is not None
        self.left = _Grid(ax, (0, (height - side) / 2), sliding.pixels, "input", cell, numbers)
        right = side + GAP
        if kernel:
            whole = np.ones((kernel, kernel), bool)
            place = right, (height - kernel) / 2
            self.middle = _Grid(ax, place, whole, "kernel", cell, numbers)
            self.middle.label("kernel")
            self.middle.paint(whole, ~whole)
            self.middle.write(sliding.weights.reshape(kernel, kernel), white=whole)
            sign = {"ha": "center", "va": "center", "fontsize": 12, "color": PALETTE["ink"]}
            ax.text(right - GAP / 2, height / 2, "×", **sign)
            right += kernel + GAP
        whole = np.ones((output, output), bool)
        self.right = _Grid(ax, (right, (height - output) / 2), whole, "output", cell, numbers)
        (self.beams,) = ax.plot([], [], color=PALETTE["kernel"], linewidth=0.9, zorder=3)
        self.left.label(sliding.labels[0])
        self.size = self.right.label("")
        ax.set_xlim(-0.1, right + output + 0.1)
        ax.set_ylim(height + 0.1, -HEADROOM)
        ax.set_aspect("equal")
        plotting.bare(ax)

    def show_step(self, step: int) -> None:
        """Draw the kernel at a step, and the output so far."""
        sliding = self.sliding
        reads, writes = sliding.reads[step], sliding.writes[step]
        done = _covered(np.concatenate(sliding.writes[: step + 1]), sliding.output)
        left, right = _covered(reads, len(sliding.pixels)), _covered(writes, sliding.output)
        last = step == len(sliding) - 1
        self.size.set_text(sliding.labels[1] if last else "output")
        self.left.paint(sliding.pixels, left)
        self.right.paint(done, right, visible=done | last)
        window, place = self.left.outline(reads), self.right.outline(writes)
        if sliding.kernel:
            window = self.middle.outline(np.array(list(np.ndindex((sliding.kernel,) * 2))))
        if len(writes):
            # From the right corners of what is read to the left corners of what is written.
            lines = window[1], place[0], (np.nan, np.nan), window[2], place[3]
            self.beams.set_data(*np.transpose(lines))
        else:  # padding removed the whole stamp
            self.beams.set_data([], [])
        if sliding.values is not None:
            self.left.write(sliding.values, white=left | sliding.pixels)
            self.right.write(sliding.results[step], white=done)
            if sliding.gathers:
                self.left.annotate(reads, [f"{weight:g}" for weight in sliding.weights])
            else:
                before = np.nan_to_num(sliding.results[step - 1]) if step else 0
                added = np.nan_to_num(sliding.results[step]) - before
                self.right.annotate(writes, [f"{value:+g}" for value in added[tuple(writes.T)]], 1)


class _Grid:
    """A square grid of cells, `cell` inches wide, with the upper left corner at `origin`."""

    def __init__(self, ax, origin, pixels: np.ndarray, role: str, cell: float, numbers: bool):
        self.font = min(10.0, 0.4 * 72 * cell)  # points
        self.ax, self.origin, self.side = ax, np.array(origin), len(pixels)
        # Darker under white numbers, so that they can be read.
        light, dark = np.array(to_rgb(PALETTE[role])), np.array(to_rgb(PALETTE["kernel"]))
        self.color = 0.65 * light + 0.35 * dark if numbers else light
        self.empty = np.ones((*pixels.shape, 3))
        rows, columns = np.nonzero(pixels)
        between = slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1)
        self.empty[between] = to_rgb(INSERTED) if not pixels.all() else 1
        flat = pixels.ravel()
        self.edges = to_rgba_array(np.where(flat, PALETTE["ink"], PALETTE["muted"]))
        self.cells = PolyCollection(
            [self.origin + (column, row) + SQUARE for row, column in np.ndindex(pixels.shape)],
            linestyles=["-" if pixel else ":" for pixel in flat],
            linewidths=0.8,
        )
        ax.add_collection(self.cells)
        (self.window,) = ax.plot([], [], color=PALETTE["accent"], linewidth=2, zorder=4)
        self.texts: list = []
        self.notes: list = []

    def label(self, text: str):
        """Write a text above all grids, where no connecting line passes, and return it."""
        style = {"ha": "left", "va": "bottom", "fontsize": 8.5, "color": PALETTE["ink"]}
        return self.ax.text(self.origin[0], -0.15, text, **style)

    def outline(self, cells: np.ndarray) -> np.ndarray:
        """Draw a line around all of `cells`, and return its corners, clockwise from upper left.

        Around a dilated kernel it shows the effective size.
        """
        if not len(cells):
            self.window.set_data([], [])
            return np.empty((0, 2))
        start, end = cells.min(axis=0)[::-1], cells.max(axis=0)[::-1] + 1
        corners = self.origin + start + SQUARE * (end - start)
        self.window.set_data(*corners[[0, 1, 2, 3, 0]].T)
        return corners

    def paint(self, filled: np.ndarray, shaded: np.ndarray, visible=True) -> None:
        """Color the cells: filled or empty, darker where shaded, and only where visible."""
        colors = np.where(filled[..., None], self.color, self.empty)
        # Dark enough for light numbers even where a zero lies under the kernel.
        dark = 0.2 * colors + 0.8 * np.array(to_rgb(PALETTE["kernel"]))
        self.colors = np.where(shaded[..., None], dark, colors).reshape(-1, 3)
        seen = np.broadcast_to(visible, filled.shape).ravel()
        self.cells.set_facecolor(np.column_stack([self.colors, seen]))
        self.cells.set_edgecolor(self.edges * np.column_stack([np.ones((len(seen), 3)), seen]))

    def write(self, values: np.ndarray, white: np.ndarray) -> None:
        """Write a number into each cell, white where the cell is dark; NaN leaves it blank."""
        if not self.texts:
            style = {"ha": "center", "va": "center", "fontsize": self.font}
            self.texts = [self.ax.text(0, 0, "", zorder=4, **style) for _ in values.flat]
        places = np.ndindex(values.shape)
        cells = zip(self.texts, places, values.flat, white.flat, self.colors, strict=True)
        for text, place, value, light, color in cells:
            text.set_position(self.origin + np.add(place[::-1], 0.5))
            text.set_text("" if np.isnan(value) else f"{value:g}")
            text.set_color("white" if light else PALETTE["ink"])
            # The connecting lines pass behind the numbers and keep clear of them.
            text.set_path_effects([withStroke(linewidth=3, foreground=color)])

    def annotate(self, cells: np.ndarray, texts: Sequence[str], size: float = 0.9) -> None:
        """Write a text into the lower right of each of the cells, and move its number away."""
        style = {"ha": "right", "va": "bottom", "fontsize": size * self.font}
        style |= {"color": WEIGHT, "fontweight": "bold"}
        while len(self.notes) < len(cells):
            self.notes.append(self.ax.text(0, 0, "", **style))
        for note in self.notes[len(cells) :]:
            note.set_text("")
        for note, text, (row, column) in zip(self.notes, texts, cells, strict=False):
            note.set_text(text)
            note.set_position(self.origin + (column + 0.94, row + 0.98))
            self.texts[row * self.side + column].set_position(
                self.origin + (column + 0.3, row + 0.33)
            )


class _Frames(Sequence):
    """The pixels of each step, uint8 (height, width, 3), drawn when they are asked for."""

    def __init__(self, sliding: Slide):
        fig, self.view = _set_up(sliding)
        self.canvas = FigureCanvasAgg(fig)

    def __len__(self) -> int:
        return len(self.view.sliding)

    def __getitem__(self, step: int) -> np.ndarray:
        self.view.show_step(step)
        self.canvas.draw()
        return np.array(self.canvas.buffer_rgba())[..., :3]


def play(sliding: Slide, *, title: str) -> None:
    """Show an animation with buttons; a film strip stands in for it where nothing can move.

    It needs no network and no kernel: its frames and a small script are part of the notebook.
    Raises InputError if the animation would be too long or too large.
    """
    shown = " Each cell shows its number." if sliding.values is not None else ""
    alt = f"Animation: {sliding.description}{shown}"
    captions = [sliding.caption(step) for step in range(len(sliding))]
    player.show_frames(_Frames(sliding), captions, film_strip(sliding, title), title=title, alt=alt)


def save_gif(sliding: Slide, path: str | Path) -> None:
    """Save an animation as GIF; raise InputError if it would be too long or too large."""
    player.write_gif(_Frames(sliding), path)


def film_strip(sliding: Slide, title: str) -> Figure:
    """Return a figure of the first step and a later one, which does not show the size yet."""
    width, height = sliding.extent
    numbers = sliding.values is not None
    steps = np.unique([0, (len(sliding) if numbers else sliding.output) // 2])
    # Many cells with numbers would be too small to read side by side.
    above = numbers and width > 12
    panel = 4.6 if above else 3.3
    rows, columns = (len(steps), 1) if above else (1, len(steps))
    size = (panel * columns + 0.2, (panel * height / width + 0.25) * rows + 0.4)
    fig, axes = plotting.figure(rows, columns, title=title, size=size, squeeze=False)
    for ax, step in zip(axes.flat, steps, strict=True):
        SlideView(ax, sliding, panel / width).show_step(step)
        ax.set_title(f"step {step + 1}", fontsize=9)
    return fig


def _set_up(sliding: Slide) -> tuple[Figure, SlideView]:
    """Return a figure that holds nothing but the two grids."""
    width, height = sliding.extent
    cell = INCHES_PER_CELL if sliding.values is None else INCHES_PER_NUMBER
    scale = min(cell, MAX_WIDTH / width)
    fig = Figure(figsize=(width * scale, height * scale), dpi=plotting.DPI)
    return fig, SlideView(fig.add_axes((0, 0, 1, 1)), sliding, scale)


def _sizes_and_numbers(i, k):
    """Return the size and, if given, the numbers of the input, and the same of the kernel."""
    found = []
    for value in (i, k):
        numbers = None if np.ndim(value) == 0 else np.asarray(value)
        if numbers is not None and (numbers.ndim != 2 or len(set(numbers.shape)) > 1):
            raise InputError(f"expected a size or a square array, got the shape {numbers.shape}")
        found += [value if numbers is None else len(numbers), numbers]
    if (found[1] is None) != (found[3] is None):
        raise InputError("give numbers for both the input and the kernel, or sizes for both")
    return found


def _check_drawable(side: int, steps: int, numbers) -> None:
    """Raise InputError before large grids, or numbers for too many steps, take all memory."""
    if side > MAX_SIDE:
        raise InputError(
            f"a grid of {side:,}×{side:,} cells cannot be drawn, at most {MAX_SIDE}×{MAX_SIDE}; "
            "use a smaller input, kernel or padding"
        )
    if numbers is not None:
        player.check_frames(steps)


def _covered(cells: np.ndarray, side: int) -> np.ndarray:
    """Return a bool (side, side) that is true on the cells."""
    covered = np.zeros((side, side), bool)
    covered[tuple(cells.T)] = True
    return covered


def _labels(i: int, side: int, o: int) -> tuple[str, str]:
    """Return the texts above the grids; `side` includes the zeros."""
    zeros = f", with zeros {side}×{side}" if side > i else ""
    return f"input {i}×{i}{zeros}", f"output {o}×{o}"


def _kernel_words(k: int, d: int) -> str:
    return f"{k}×{k}" + (f" with dilation {d}" if d > 1 else "")
