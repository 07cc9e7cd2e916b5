"""A kernel that slides: film strips, animations, and a player in the notebook.

The colors are those of Dumoulin & Visin's guide (arXiv:1603.07285): input blue, output green,
zeros white with a dotted rim, pale blue where they stand between pixels. A transposed convolution
can be watched in two ways that give the same numbers: as a convolution over a zero-inserted input
(`transposed_slide`), and as stamping (`stamping_slide`).
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import PolyCollection
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from PIL import Image

from tutorial_lib import convolution
from tutorial_lib.errors import InputError
from tutorial_lib.figures import player, plotting
from tutorial_lib.figures.plotting import PALETTE

GAP = 1.4  # cells between the input and the output
HEADROOM = 0.9  # cells above a grid, for its label
INCHES_A_CELL = 0.33
INSERTED = to_rgb("#E3EBF7")  # zeros between pixels
MAX_WIDTH = 6.2  # inches; larger grids get smaller cells

# The fifteen animations of the guide: i, k, s, p, d of the direct convolution. Those whose names
# end in _transposed run the same convolution backward.
GUIDE = {
    "no_padding_no_strides": {"i": 4, "k": 3},
    "arbitrary_padding_no_strides": {"i": 5, "k": 4, "p": 2},
    "same_padding_no_strides": {"i": 5, "k": 3, "p": 1},
    "full_padding_no_strides": {"i": 5, "k": 3, "p": 2},
    "no_padding_strides": {"i": 5, "k": 3, "s": 2},
    "padding_strides": {"i": 5, "k": 3, "s": 2, "p": 1},
    "padding_strides_odd": {"i": 6, "k": 3, "s": 2, "p": 1},
}
GUIDE |= {f"{name}_transposed": geometry for name, geometry in GUIDE.items()}
GUIDE["dilation"] = {"i": 7, "k": 3, "d": 2}


@dataclass(frozen=True)
class Numbers:
    """What is written into the cells.

    Attributes:
        inputs: (n, n), for the left grid.
        weights: (k · k,), in the order in which the kernel's cells are read.
        outputs: (steps, output, output), for the right grid after each step; NaN is blank.
    """

    inputs: np.ndarray
    weights: np.ndarray
    outputs: np.ndarray


@dataclass(frozen=True)
class Slide:
    """A kernel on its way over a square input: what it reads and writes at each step.

    Attributes:
        pixels: bool (n, n): which cells of the left grid are pixels; the others are zeros.
        output: Side of the right grid.
        reads, writes: A step each, the (row, column) cells of the left and of the right grid.
        story: What moves, in one sentence, for a reader who cannot see it.
        labels: What stands above the two grids.
        gathers: Whether a step fills one output from many inputs, or the other way round.
        numbers: What is written into the cells, if anything.
    """

    pixels: np.ndarray
    output: int
    reads: Sequence[np.ndarray]
    writes: Sequence[np.ndarray]
    story: str
    labels: tuple[str, str]
    gathers: bool
    numbers: Numbers | None = None

    def __len__(self) -> int:
        return len(self.reads)

    @property
    def extent(self) -> tuple[float, float]:
        """The width and height of both grids together, in cells."""
        side = len(self.pixels)
        return side + GAP + self.output + 0.2, max(side, self.output) + HEADROOM + 0.1

    def caption(self, step: int) -> str:
        """Say what happens at a step, with the arithmetic if there are numbers."""
        if not self.gathers:
            row, column = self.reads[step][0]
            if self.numbers is None:
                return f"input ({row}, {column}) stamps the kernel"
            return f"input ({row}, {column}) stamps {self.numbers.inputs[row, column]:g} × kernel"
        row, column = self.writes[step][0]
        caption = f"output ({row}, {column})"
        if self.numbers is None:
            return caption
        values = self.numbers.inputs[tuple(self.reads[step].T)]
        terms = zip(values, self.numbers.weights, strict=True)
        products = " + ".join(f"{value:g}·{weight:g}" for value, weight in terms)
        return f"{caption} = {products} = {self.numbers.outputs[step][row, column]:g}"


def slide(i, k, s: int = 1, p=0, d: int = 1) -> Slide:
    """Describe a convolution.

    Args:
        i: Input size, or the input itself, (i, i), to see its numbers.
        k: Kernel size, or the kernel itself, (k, k).
        s, d: Stride and dilation.
        p: Zeros at each end, (before, after), or "SAME" for TensorFlow's rule.

    Raises:
        InputError: as `convolution.output_size`, or if only one of input and kernel has numbers.
    """
    (i, x), (k, w) = _sized(i), _sized(k)
    before, after = _rim(p, i, k, s, d)
    output = convolution.output_size(i + before + after, k, s, 0, d)  # raises if it does not fit
    pixels = np.pad(np.ones((i, i), bool), (before, after))
    reads, writes = _windows(output, k, s, d)
    numbers = None
    if _have_numbers(x, w):
        y = convolution.conv2d(_as_image(x), _as_kernel(w), s, ((before, after),) * 2, d)[0, ..., 0]
        numbers = Numbers(np.pad(x, (before, after)), w.ravel(), _appearing(y))
    story = (
        f"{_kernel_words(k, d).capitalize()} moves over {_square(i)} input"
        f"{_rim_words(before, after)}, {_count(s, 'cell')} a step; {_stops_words(len(reads))} it "
        f"fills one cell of the {output} by {output} output."
    )
    labels = _labels(i, len(pixels), output)
    return Slide(pixels, output, reads, writes, story, labels, True, numbers)


def transposed_slide(i, k, s: int = 1, p: int = 0, d: int = 1, output_padding: int = 0) -> Slide:
    """Describe a transposed convolution as a convolution with stride 1 over inserted zeros.

    s - 1 zeros stand between the pixels and d (k - 1) - p around them; output padding adds more
    at the end. The kernel is turned by 180°. Arguments are as for `slide`, all of the direct
    convolution that it is the transpose of.

    Raises:
        InputError: as `convolution.transposed_output_size`, or if p cuts off more than the zeros
            around the input.
    """
    (i, x), (k, w) = _sized(i), _sized(k)
    output = convolution.transposed_output_size(i, k, s, p, d, output_padding)
    before = d * (k - 1) - p
    if before < 0:
        raise InputError(f"p={p} is too much to be drawn; use at most d (k - 1) = {d * (k - 1)}")
    after = before + output_padding
    pixels = convolution.insert_zeros(np.ones((1, i, i, 1), bool), s)[0, ..., 0]
    reads, writes = _windows(output, k, 1, d)
    numbers = None
    if _have_numbers(x, w):
        y = convolution.conv2d_transpose(_as_image(x), _as_kernel(w), s, p, d, output_padding)[
            0, ..., 0
        ]
        spread = convolution.insert_zeros(_as_image(x), s)[0, ..., 0]
        numbers = Numbers(np.pad(spread, (before, after)), w[::-1, ::-1].ravel(), _appearing(y))
    zeros = "a zero" if s == 2 else f"{s - 1} zeros"
    between = f" spread out with {zeros} between neighbors," if s > 1 else ""
    story = (
        f"{_kernel_words(k, d).capitalize()} moves over {_square(i)} input{between}"
        f"{_rim_words(before, after)}, one cell a step; {_stops_words(len(reads))} it fills one "
        f"cell of the {output} by {output} output."
    )
    pixels = np.pad(pixels, (before, after))
    labels = _labels(i, len(pixels), output)
    return Slide(pixels, output, reads, writes, story, labels, True, numbers)


def stamping_slide(i, k, s: int = 1, p: int = 0, d: int = 1, output_padding: int = 0) -> Slide:
    """Describe a transposed convolution as stamping: each input pixel adds a scaled kernel.

    What padding cuts off falls outside the output. Arguments are as for `transposed_slide`.

    Raises:
        InputError: as `convolution.transposed_output_size`.
    """
    (i, x), (k, w) = _sized(i), _sized(k)
    output = convolution.transposed_output_size(i, k, s, p, d, output_padding)
    reads = [np.array([cell]) for cell in np.ndindex(i, i)]
    stamps = [cell[0] * s - p + d * np.array(list(np.ndindex(k, k))) for cell in reads]
    writes = [cells[((cells >= 0) & (cells < output)).all(axis=1)] for cells in stamps]
    numbers = None
    if _have_numbers(x, w):
        partial = np.zeros((i * i, i * i))
        partial[np.tril_indices(i * i)] = 1  # step t has seen the first t + 1 pixels
        seen = (partial * x.ravel()).reshape(-1, i, i, 1)
        y = convolution.conv2d_transpose(seen, _as_kernel(w), s, p, d, output_padding)[..., 0]
        blank = np.cumsum([_covered(cells, output) for cells in writes], axis=0) == 0
        numbers = Numbers(x, w.ravel(), np.where(blank, np.nan, y))
    story = (
        f"Each cell of {_square(i)} input in turn stamps {_kernel_words(k, d)} onto the {output} "
        f"by {output} output, {_count(s, 'cell')} from the last; where stamps overlap, they add up."
    )
    labels = _labels(i, i, output)
    return Slide(np.ones((i, i), bool), output, reads, writes, story, labels, False, numbers)


def guide_slide(name: str) -> Slide:
    """Describe one of the fifteen animations of the guide.

    Raises:
        InputError: if the guide has none of that name.
    """
    if name not in GUIDE:
        raise InputError(f"the guide has no animation {name!r}; it has {', '.join(GUIDE)}")
    geometry = {"s": 1, "p": 0, "d": 1} | GUIDE[name]
    if not name.endswith("_transposed"):
        return slide(**geometry)
    i, k, s, p, d = (geometry.pop(letter) for letter in "ikspd")
    forgotten = (i + 2 * p - d * (k - 1) - 1) % s
    return transposed_slide(convolution.output_size(i, k, s, p, d), k, s, p, d, forgotten)


class Stage:
    """The two grids of a `Slide` on an axes; `show(step)` moves the kernel.

    The artists are made once and recolored, so a step costs milliseconds.
    """

    def __init__(self, ax, sliding: Slide, cell: float = INCHES_A_CELL):
        self.sliding = sliding
        side, output = len(sliding.pixels), sliding.output
        height = max(side, output)
        whole = np.ones((output, output), bool)
        self.left = _Grid(ax, (0, (height - side) / 2), sliding.pixels, "input", cell)
        self.right = _Grid(ax, (side + GAP, (height - output) / 2), whole, "output", cell)
        (self.beams,) = ax.plot([], [], color=PALETTE["muted"], linewidth=0.8, zorder=0)
        for grid, label in zip((self.left, self.right), sliding.labels, strict=True):
            grid.label(ax, label)
        ax.set_xlim(-0.1, side + GAP + output + 0.1)
        ax.set_ylim(height + 0.1, -HEADROOM)
        ax.set_aspect("equal")
        plotting.bare(ax)

    def show(self, step: int) -> None:
        """Draw the kernel at a step, and the output as far as it is done."""
        sliding = self.sliding
        reads, writes = sliding.reads[step], sliding.writes[step]
        done = sum(_covered(cells, sliding.output) for cells in sliding.writes[: step + 1]) > 0
        left = _covered(reads, len(sliding.pixels))
        right = _covered(writes, sliding.output)
        self.left.paint(sliding.pixels, left)
        self.right.paint(done, right)
        self.beams.set_data(*self._beams(reads, writes))
        if sliding.numbers is not None:
            self.left.write(sliding.numbers.inputs, white=left | sliding.pixels)
            self.right.write(sliding.numbers.outputs[step], white=done)
            if sliding.gathers:
                self.left.annotate(reads, sliding.numbers.weights)

    def _beams(self, reads, writes):
        """Return two lines, from the corners of what is read to those of what is written."""
        if len(writes) == 0:  # a stamp that was cut off as a whole
            return [], []
        (_, right), (left, _) = self.left.edges(reads), self.right.edges(writes)
        xs = [right[0][0], left[0][0], np.nan, right[1][0], left[1][0]]
        ys = [right[0][1], left[0][1], np.nan, right[1][1], left[1][1]]
        return xs, ys


class _Grid:
    """A square grid of cells, `cell` inches wide, with the upper left corner at `origin`."""

    def __init__(self, ax, origin, pixels: np.ndarray, role: str, cell: float):
        self.font = min(8.0, 0.34 * 72 * cell)  # points
        self.ax, self.origin, self.side, self.role = ax, np.array(origin), len(pixels), role
        self.empty = np.ones((*pixels.shape, 3))
        rows, columns = np.nonzero(pixels)
        between = slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1)
        self.empty[between] = INSERTED if not pixels.all() else 1
        square = np.array([(0, 0), (1, 0), (1, 1), (0, 1)])
        cells = [self.origin + (column, row) + square for row, column in np.ndindex(pixels.shape)]
        flat = pixels.ravel()
        self.cells = PolyCollection(
            cells,
            edgecolors=np.where(flat, PALETTE["ink"], PALETTE["muted"]),
            linestyles=["-" if pixel else ":" for pixel in flat],
            linewidths=0.8,
        )
        ax.add_collection(self.cells)
        self.texts: list = []
        self.notes: list = []

    def label(self, ax, text: str) -> None:
        x, y = self.origin + (self.side / 2, -0.15)
        # The white box keeps the beams from crossing the words.
        box = {"facecolor": "white", "edgecolor": "none", "pad": 1}
        style = {"ha": "center", "va": "bottom", "fontsize": 8.5, "color": PALETTE["ink"]}
        ax.text(x, y, text, bbox=box, **style)

    def edges(self, cells: np.ndarray):
        """Return the (upper, lower) corners of the left and of the right edge around `cells`."""
        (top, left), (bottom, right) = cells.min(axis=0), cells.max(axis=0) + 1
        at = [[self.origin + (x, y) for y in (top, bottom)] for x in (left, right)]
        return at[0], at[1]

    def paint(self, filled: np.ndarray, shaded: np.ndarray) -> None:
        """Color the cells: filled or empty, darker where shaded."""
        colors = np.where(filled[..., None], to_rgb(PALETTE[self.role]), self.empty)
        dark = 0.3 * colors + 0.7 * np.array(to_rgb(PALETTE["kernel"]))
        self.cells.set_facecolor(np.where(shaded[..., None], dark, colors).reshape(-1, 3))

    def write(self, values: np.ndarray, white: np.ndarray) -> None:
        """Write a number into each cell, white where the cell is dark; NaN leaves it blank."""
        if not self.texts:
            for row, column in np.ndindex(values.shape):
                x, y = self.origin + (column + 0.5, row + 0.5)
                self.texts.append(
                    self.ax.text(x, y, "", ha="center", va="center", fontsize=self.font)
                )
        for text, value, light in zip(self.texts, values.ravel(), white.ravel(), strict=True):
            text.set_text("" if np.isnan(value) else f"{value:g}")
            text.set_color("white" if light else PALETTE["ink"])

    def annotate(self, cells: np.ndarray, weights: np.ndarray) -> None:
        """Write a weight small into the lower right corner of each of the cells."""
        if not self.notes:
            style = {"ha": "right", "va": "bottom", "fontsize": 0.8 * self.font}
            style["color"] = PALETTE["highlight"]
            self.notes = [self.ax.text(0, 0, f"{weight:g}", **style) for weight in weights]
        for note, (row, column) in zip(self.notes, cells, strict=True):
            note.set_position(self.origin + (column + 0.94, row + 0.96))


def film_strip_png(sliding: Slide, title: str) -> bytes:
    """Return some steps side by side, for print and wherever nothing can move: a PNG in few colors.

    Args:
        sliding: What slides; three or four of its steps are shown, from the first to the last.
        title: As for `plotting.figure`.
    """
    png = plotting.to_png(_strip(sliding, title))
    return player.few_colors(Image.open(io.BytesIO(png)))


def play(sliding: Slide, *, title: str, alt: str | None = None) -> None:
    """Show an animation with buttons; a film strip stands for it where nothing can move.

    It needs no network and no kernel: its pictures and a small script are part of the notebook.
    In print, and where scripts are not run, there is the film strip.

    Args:
        sliding: What slides.
        title: One sentence above it.
        alt: For a reader who cannot see it; the default says what moves.
    """
    shown = " Each cell shows its number." if sliding.numbers else ""
    alt = alt or f"Animation: {sliding.story}{shown}"
    captions = [sliding.caption(step) for step in range(len(sliding))]
    strip = film_strip_png(sliding, title)
    player.play_frames(_frames(sliding), captions, strip, title=title, alt=alt)


def save_gif(sliding: Slide, path: str | Path) -> None:
    """Save an animation as GIF; `path` appears only when the whole file is there."""
    player.save_gif(_frames(sliding), path)


def draw_step(sliding: Slide, step: int) -> Figure:
    """Return a figure of one step, without a title."""
    fig, stage = _set_up(sliding)
    stage.show(step)
    return fig


def _strip(sliding: Slide, title: str) -> Figure:
    width, height = sliding.extent
    panels = 4 if width < 12 else 3  # more would be too small to read
    steps = np.unique(np.linspace(0, len(sliding) - 1, panels).round().astype(int))
    panel = min(9.4 / len(steps), 3.2)
    size = (panel * len(steps) + 0.2, panel * height / width + 0.65)
    fig, axes = plotting.figure(1, len(steps), title=title, size=size, squeeze=False)
    for ax, step in zip(axes[0], steps, strict=True):
        Stage(ax, sliding, panel / width).show(step)
        ax.set_title(f"step {step + 1} of {len(sliding)}", fontsize=9)
    return fig


def _set_up(sliding: Slide) -> tuple[Figure, Stage]:
    """Return a figure that holds nothing but the two grids."""
    width, height = sliding.extent
    scale = min(INCHES_A_CELL, MAX_WIDTH / width)
    fig = Figure(figsize=(width * scale, height * scale), dpi=plotting.DPI)
    return fig, Stage(fig.add_axes((0, 0, 1, 1)), sliding, scale)


def _frames(sliding: Slide) -> list[np.ndarray]:
    """Return the pixels of each step, uint8 (height, width, 3)."""
    fig, stage = _set_up(sliding)
    canvas = FigureCanvasAgg(fig)
    frames = []
    for step in range(len(sliding)):
        stage.show(step)
        canvas.draw()
        frames.append(np.array(canvas.buffer_rgba())[..., :3])
    return frames


def _sized(value) -> tuple[int, np.ndarray | None]:
    """Return a size and the numbers, if there are any."""
    if np.ndim(value) == 0:
        return int(value), None
    value = np.asarray(value)
    if value.ndim != 2 or value.shape[0] != value.shape[1]:
        raise InputError(f"expected a size or a square array, got the shape {value.shape}")
    return len(value), value


def _have_numbers(x, w) -> bool:
    if (x is None) != (w is None):
        raise InputError("give numbers for both the input and the kernel, or sizes for both")
    return x is not None


def _rim(p, i: int, k: int, s: int, d: int) -> tuple[int, int]:
    if isinstance(p, str):
        if p.upper() != "SAME":
            raise InputError(f"p={p!r} is not known; use a number, (before, after) or 'SAME'")
        return convolution.same_padding(i, k, s, d)
    before, after = (p, p) if np.ndim(p) == 0 else p
    if min(before, after) < 0:
        raise InputError(f"p={p} is impossible; padding is 0 or more")
    return before, after


def _windows(output: int, k: int, s: int, d: int):
    """Return which cells each output cell reads, and the output cells, row by row."""
    reach = d * np.array(list(np.ndindex(k, k)))
    places = [np.array([cell]) for cell in np.ndindex(output, output)]
    return [cell * s + reach for cell in places], places


def _as_image(x: np.ndarray) -> np.ndarray:
    return x[None, ..., None]


def _as_kernel(w: np.ndarray) -> np.ndarray:
    return w[..., None, None]


def _appearing(y: np.ndarray) -> np.ndarray:
    """Return y as it fills up: at step t only the first t + 1 cells are numbers."""
    seen = np.tril(np.ones((y.size, y.size), bool)).reshape(-1, *y.shape)
    return np.where(seen, y, np.nan)


def _covered(cells: np.ndarray, side: int) -> np.ndarray:
    """Return a bool (side, side) that is true on the cells."""
    covered = np.zeros((side, side), bool)
    covered[tuple(np.reshape(cells, (-1, 2)).T)] = True
    return covered


def _labels(i: int, side: int, o: int) -> tuple[str, str]:
    """Return what stands above the grids; `side` counts the zeros too."""
    zeros = f", with zeros {side}×{side}" if side > i else ""
    return f"input {i}×{i}{zeros}", f"output {o}×{o}"


def _square(n: int) -> str:
    """Return "a 5 by 5", with the article that the number asks for."""
    return f"{'an' if n in (8, 11, 18) else 'a'} {n} by {n}"


def _kernel_words(k: int, d: int) -> str:
    return f"{_square(k)} kernel" + (f" whose cells stand {d} apart" if d > 1 else "")


def _count(n: int, thing: str) -> str:
    return f"{n} {thing}s" if n != 1 else f"one {thing}"


def _stops_words(steps: int) -> str:
    return f"at each of its {steps} stops" if steps > 1 else "at its only stop"


def _rim_words(before: int, after: int) -> str:
    if before == after:
        rings = "a ring" if before == 1 else f"{before} rings"
        return f" framed by {rings} of zeros" if before else ""
    zeros = "row and column" if after == 1 else "rows and columns"
    return f" with {before} rows and columns of zeros before it and {after} {zeros} after it"
