"""The pictures of notebook 03: the map of codes, what it decodes to, and a walk across it."""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import resources
from string import Template

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import ListedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from PIL import Image

from tutorial_lib.figures import player, plotting
from tutorial_lib.figures.fingerprint import describe
from tutorial_lib.figures.plotting import PALETTE
from tutorial_lib.latent_codes import nearest

# What is drawn of the map at least: x from, x to, y from, y to. The bundled digits fit into it,
# so that pictures of two runs can be laid on top of each other.
WINDOW = (-0.6, 1.8, -0.8, 1.0)
STEP = 0.2  # a larger window is larger by whole steps
MARKS = "os^Dvp*Xhd"
X_LABEL, Y_LABEL = "from the ones to the sixes", "toward the fives"
RULES = np.arange(-8, 8.5, 0.5)  # where the map to click on has lines
LETTER = 0.085  # inches that a letter beside a row of digits takes
NUMBERED = {
    "color": "white",
    "fontweight": "bold",
    "bbox": {"boxstyle": "circle", "facecolor": PALETTE["truth"], "edgecolor": "white"},
}
WALK_MS = 160
WALK_COLORS, GRAYS = 256, 16


@dataclass(frozen=True)
class Sheet:
    """What a decoder draws at the points of a grid on the map.

    Attributes:
        xs, ys: The grid's columns and rows, both rising.
        images: float (rows, columns, 28, 28).
        known: bool (rows, columns): whether the code of a training digit lies near.
        cell: Distance of two neighbors on the grid.
        window: The edges of what is drawn: x from, x to, y from, y to.
    """

    xs: np.ndarray
    ys: np.ndarray
    images: np.ndarray
    known: np.ndarray
    cell: float
    window: tuple[float, float, float, float]


def window(points: np.ndarray) -> tuple[float, float, float, float]:
    """Return `WINDOW`, or as much more as it takes to see 98 % of points (n, 2) along each axis."""
    low, high = np.percentile(points, [1, 99], axis=0)
    low, high = np.floor(low / STEP) * STEP, np.ceil(high / STEP) * STEP
    left, right, bottom, top = WINDOW
    return min(left, low[0]), max(right, high[0]), min(bottom, low[1]), max(top, high[1])


def sheet(decode: Callable, known: np.ndarray, cell: float = 0.2) -> Sheet:
    """Decode a grid of points of the map.

    Args:
        decode: From map points (n, 2) to pictures (n, 28, 28) or (n, 28, 28, 1).
        known: (n, 2), where the training digits lie on the map. A point is known if one of them
            lies within its cell, or as near as the cell's corners.
        cell: Distance of two points.
    """
    edges = window(known)
    xs, ys = (
        start + cell * (np.arange(round((stop - start) / cell)) + 0.5)
        for start, stop in (edges[:2], edges[2:])
    )
    points = np.stack(np.meshgrid(xs, ys), axis=-1).reshape(-1, 2)
    images = np.reshape(decode(points), (len(ys), len(xs), 28, 28))
    _, distances = nearest(points, known, 1)
    near = distances[:, 0].reshape(len(ys), len(xs)) <= cell / np.sqrt(2)
    return Sheet(xs, ys, images, near, cell, edges)


def show_map(
    points: np.ndarray,
    labels: np.ndarray,
    *,
    title: str,
    alt: str,
    under: Sheet | None = None,
    size: tuple[float, float] = (7.4, 6.2),
) -> None:
    """Show digits as points of the map, over what the decoder draws there.

    Args:
        points: (n, 2) on the map.
        labels: (n,) their digits.
        title, alt: As for `plotting.figure` and `plotting.show`.
        under: Drawn below the points. Where no training digit is near, the paper is tinted.
        size: Width and height in inches.
    """
    fig, ax = plotting.figure(title=title, size=size)
    if under is not None:
        draw_sheet(ax, under)
    draw_points(ax, points, labels, small=under is not None)
    _frame(ax, under.window if under is not None else window(points))
    ax.legend(
        ncols=3,
        loc="lower right",
        bbox_to_anchor=(1, 1),
        handletextpad=0,
        borderaxespad=0,
        frameon=False,
        markerscale=1.6 if under is not None else 1.2,
        title="digit",
        fontsize=11,
    )
    plotting.show(fig, alt=alt, dpi=plotting.PHOTO_DPI if under is not None else plotting.DPI)


def draw_points(ax, points: np.ndarray, labels: np.ndarray, small: bool = False) -> None:
    """Draw one mark a digit, in the color and shape of its kind; the first kind lies on top."""
    for number, digit in enumerate(np.unique(labels)):
        ax.scatter(
            *points[labels == digit].T,
            marker=MARKS[number],
            s=12 if small else 22,
            color=plotting.CYCLE[number % len(plotting.CYCLE)],
            edgecolors="white",
            linewidths=0.4,
            alpha=0.85,
            zorder=2 - number / 10,
            label=str(digit),
        )


def draw_sheet(ax, drawn: Sheet) -> None:
    """Draw the decoded digits in their places, dark ink on white; on tinted paper where unknown."""
    paper = np.where(drawn.known[..., None], 1.0, np.array(to_rgb(PALETTE["void"])))
    ink = np.array(to_rgb(PALETTE["ink"]))
    depth = 0.75 * np.clip(drawn.images, 0, 1)[..., None]
    cells = (1 - depth) * paper[:, :, None, None] + depth * ink
    # Rows of the grid rise, rows of a picture fall.
    picture = cells[::-1].transpose(0, 2, 1, 3, 4)
    picture = picture.reshape(len(drawn.ys) * 28, len(drawn.xs) * 28, 3)
    ax.imshow(np.clip(picture, 0, 1), extent=drawn.window, interpolation="antialiased", zorder=0)


def _frame(ax, edges: Sequence[float]) -> None:
    """Give an axes the map's window and labels."""
    left, right, low, high = edges
    ax.set(xlim=(left, right), ylim=(low, high), xlabel=X_LABEL, ylabel=Y_LABEL, aspect="equal")


def show_walk(
    walk: np.ndarray,
    pictures: np.ndarray,
    points: np.ndarray,
    labels: np.ndarray,
    *,
    title: str,
    alt: str,
) -> None:
    """Show a walk across the map as an animation: where you are, and what is decoded there.

    Args:
        walk: (n, 2) on the map.
        pictures: (n, 28, 28), decoded along the walk.
        points, labels: Digits to show on the map.
        title, alt: As for `plotting.figure` and `plotting.show`; alt is for the film strip too.
    """
    shares = np.linspace(0, 100, len(walk)).round().astype(int)
    captions = [f"{share} % of the way" for share in shares]
    chosen = np.linspace(0, len(walk) - 1, 7).round().astype(int)
    fig, axes = plotting.figure(1, 7, title=title, size=(9.2, 1.95))
    for ax, step in zip(axes, chosen, strict=True):
        plotting.bare(ax)
        ax.imshow(pictures[step], cmap="gray", vmin=0, vmax=1)
        ax.set_title(f"{shares[step]} %", fontsize=9)
    strip = plotting.to_png(fig, dpi=plotting.PHOTO_DPI)
    frames, drawn = _walk_frames(walk, pictures, points, labels)
    player.play_frames(
        frames,
        captions,
        strip,
        title=title,
        alt=alt,
        step_ms=WALK_MS,
        colors=WALK_COLORS,
        drawn=[*describe(fig), *drawn],
    )


def _walk_frames(walk, pictures, points, labels) -> tuple[list[np.ndarray], list[str]]:
    """Return the pixels of each step, and what is drawn; all is drawn once, and then moved."""
    with rc_context(plotting.STYLE):
        fig = Figure(figsize=(6.6, 3.1), dpi=plotting.DPI, layout="constrained")
        left, right = fig.subplots(1, 2, width_ratios=(1.2, 1))
        draw_points(left, points, labels, small=True)
        _frame(left, window(points))
        left.legend(loc="upper right", fontsize=9, handletextpad=0, markerscale=1.5)
        left.plot(*walk.T, color=PALETTE["ink"], linewidth=1)
        (here,) = left.plot([], [], "o", color=PALETTE["truth"], markersize=9)
        plotting.bare(right)
        picture = right.imshow(pictures[0], cmap="gray", vmin=0, vmax=1)
        canvas = FigureCanvasAgg(fig)
        frames = []
        for point, image in zip(walk, pictures, strict=True):
            here.set_data(*point[:, None])
            picture.set_data(image)
            canvas.draw()
            frames.append(_rounded(np.array(canvas.buffer_rgba())[..., :3]))
    return frames, describe(fig)


def _rounded(pixels: np.ndarray) -> np.ndarray:
    """Round grays to 16 levels and the rest to ten a channel: all fit into one palette."""
    gray = np.ptp(pixels, axis=-1, keepdims=True) == 0
    step = np.where(gray, 255 / (GRAYS - 1), 255 / 9)
    return np.rint(np.rint(pixels / step) * step).astype(np.uint8)


def show_digits(rows: Sequence | dict[str, Sequence], captions=None, *, title: str, alt: str):
    """Show rows of digits, all of one length, on one scale from 0 to 1.

    Args:
        rows: Each a sequence of arrays (28, 28) or (28, 28, 1); a dict names them, at their left.
        captions: A short text above each column.
        title, alt: As for `plotting.figure` and `plotting.show`.
    """
    names, rows = zip(*rows.items(), strict=True) if isinstance(rows, dict) else (None, rows)
    margin = 0.1 + (LETTER * max(map(len, names)) if names else 0)
    cell = min(1.25, (9 - margin) / len(rows[0]))
    size = (cell * len(rows[0]) + margin, cell * len(rows) + (0.65 if captions else 0.4))
    fig, axes = plotting.figure(len(rows), len(rows[0]), title=title, size=size, squeeze=False)
    for place, row in zip(axes, rows, strict=True):
        for ax, image in zip(place, row, strict=True):
            plotting.bare(ax)
            ax.imshow(np.reshape(image, (28, 28)), cmap="gray", vmin=0, vmax=1)
    for ax, name in zip(axes[:, 0], names or (), strict=bool(names)):
        ax.set_ylabel(name, rotation=0, ha="right", va="center")
    for ax, caption in zip(axes[0], captions or (), strict=bool(captions)):
        ax.set_title(caption, fontsize=9)
    plotting.show(fig, alt=alt, dpi=plotting.PHOTO_DPI)


def show_signs(points: np.ndarray, labels: np.ndarray, *, title: str, alt: str) -> None:
    """Show digits as points of a plane, each drawn as its own sign.

    Args:
        points: (n, 2).
        labels: (n,) from 0 to 9. A large sign marks the median of each kind.
        title, alt: As for `plotting.figure` and `plotting.show`.
    """
    width, height = np.ptp(points, axis=0)
    fig, ax = plotting.figure(title=title, size=(np.clip(5.2 * width / height + 1, 4.5, 7.4), 6.2))
    kinds = np.unique(labels)
    middles = np.array([np.median(points[labels == digit], axis=0) for digit in kinds])
    for digit, middle in zip(kinds, middles, strict=True):
        color = plotting.CYCLE[digit % 4]  # the dark ones; the signs themselves tell kinds apart
        own = points[labels == digit]
        ax.scatter(*own.T, marker=f"${digit}$", s=34, color=color, linewidths=0)
        near = kinds[np.hypot(*(middles - middle).T) < height / 30]  # itself among them
        ax.annotate(
            str(digit),
            middle,
            ha="center" if len(near) == 1 else "right" if digit == near[0] else "left",
            va="center",
            color=color,
            fontsize=20,
            fontweight="bold",
            path_effects=[withStroke(linewidth=4, foreground="white")],
            zorder=3,
        )
    ax.set(aspect="equal", xlabel="first number of the code", ylabel="second number of the code")
    plotting.show(fig, alt=alt)


def show_rivals(
    pca: np.ndarray, nets: dict[int, float], *, title: str, alt: str, limit: int = 100
) -> list[int]:
    """Show the errors of nets beside the curve of PCA, and where PCA draws level.

    Args:
        pca: (k + 1,), the error with 0, 1, …, k components, falling to 0.
        nets: Numbers that a net keeps → its error.
        title, alt: As for `plotting.figure` and `plotting.show`.
        limit: How many components the curve shows at most.

    Returns:
        For each net the fewest components with which PCA has a smaller error.
    """
    level = [int(np.argmax(pca < error)) for error in nets.values()]
    # Where the curve has the net's error: between two whole numbers of components.
    ends = [
        np.interp(error, pca[[k, k - 1]], [k, k - 1])
        for error, k in zip(nets.values(), level, strict=True)
    ]
    fig, ax = plotting.figure(title=title, size=(6.4, 3.4))
    shown = pca[1 : limit + 1]
    ax.plot(range(1, len(shown) + 1), shown, label="PCA")
    ax.plot(nets.keys(), nets.values(), "s-", label="net")
    ax.hlines(nets.values(), nets.keys(), ends, colors=PALETTE["ink"], linestyles=":", zorder=1)
    ticks = [2**n for n in range(int(np.log2(len(shown))) + 1)]
    ax.set(xscale="log", ylim=(0, None), xlabel="numbers kept of each digit")
    ax.set(xticks=ticks, xticklabels=ticks, ylabel="mean squared error")
    ax.minorticks_off()
    ax.legend(frameon=False)
    plotting.show(fig, alt=alt)
    return level


def show_neighbors(
    queries: np.ndarray, groups: dict[str, np.ndarray], *, title: str, alt: str
) -> None:
    """Show pictures, and beside each its neighbors of one sort or another.

    Args:
        queries: (n, 28, 28, 1).
        groups: Heading → (n, k, 28, 28, 1).
        title, alt: As for `plotting.figure` and `plotting.show`.
    """
    widths = [1.0]
    for group in groups.values():
        widths += [0.35] + [1.0] * group.shape[1]  # a gap before each group
    height = 0.8 * len(queries) + 0.75
    fig, axes = plotting.figure(
        len(queries), len(widths), title=title, size=(9.2, height), width_ratios=widths
    )
    for ax in axes.flat:
        plotting.bare(ax)
    for row, query in enumerate(queries):
        shown = {0: query}
        column = 1
        for heading, group in groups.items():
            for number, neighbor in enumerate(group[row], start=column + 1):
                shown[number] = neighbor
            if row == 0:
                axes[0, column + (group.shape[1] + 1) // 2].set_title(heading, fontsize=9)
            column += group.shape[1] + 1
        for number, image in shown.items():
            axes[row, number].imshow(image[..., 0], cmap="gray", vmin=0, vmax=1)
    axes[0, 0].set_title("test digit", fontsize=9)
    plotting.show(fig, alt=alt, dpi=plotting.PHOTO_DPI)


def show_picker(
    points: np.ndarray, labels: np.ndarray, drawn: Sheet, *, title: str, alt: str
) -> None:
    """Show the map to click on, and the digit that the decoder draws at that point.

    The digits of a grid are drawn beforehand and are part of the notebook, as is a small script;
    it needs no kernel. Where scripts are not run, there is a picture.

    Args:
        points, labels: Digits to show on the map.
        drawn: What the decoder draws, on a fine grid.
        title, alt: As for `plotting.figure` and `plotting.show`.
    """
    from IPython.display import display

    ground = _bare_map(points, labels, drawn)
    still = _picker_fallback(points, labels, drawn, title)
    fallback = plotting.to_png(still, dpi=plotting.PHOTO_DPI)
    bundle = {
        "text/html": picker_html(ground, labels, drawn, fallback, title, alt),
        "image/png": base64.b64encode(fallback).decode(),
        "text/plain": f"<a map to click on: {title}>",
    }
    known = {"alt": alt, "drawn": [*describe(still), *describe(ground)]}
    display(bundle, raw=True, metadata={"image/png": known})


def picker_html(ground: Figure, labels, drawn: Sheet, fallback: bytes, title: str, alt: str) -> str:
    """Return the picker of `show_picker` as one piece of HTML that needs nothing else."""
    template = Template(
        resources.files("tutorial_lib.figures").joinpath("picker.html").read_text("utf-8")
    )
    rows, columns = drawn.known.shape
    return template.substitute(
        title=html.escape(title),
        alt=html.escape(alt),
        fallback=base64.b64encode(fallback).decode(),
        ground=base64.b64encode(plotting.to_png(ground)).decode(),
        reel=base64.b64encode(_reel(drawn)).decode(),
        window=json.dumps(drawn.window),
        rows=rows,
        columns=columns,
        shown=round(plotting.DISPLAY_DPI / plotting.DPI, 4),
        marks=_legend(labels),
    )


def _legend(labels) -> str:
    """Return the marks of `draw_points` and what they stand for, as HTML."""
    return " ".join(
        f'<span><span style="color: {plotting.CYCLE[n % len(plotting.CYCLE)]}">'
        f"{'●■▲◆▼'[n % 5]}</span> {digit}</span>"
        for n, digit in enumerate(np.unique(labels))
    )


def _reel(drawn: Sheet) -> bytes:
    """Return all digits of a sheet as one gray PNG, the highest row first."""
    gray = np.rint(255 * np.clip(drawn.images[::-1], 0, 1)).astype(np.uint8)
    gray = gray.transpose(0, 2, 1, 3).reshape(len(drawn.ys) * 28, len(drawn.xs) * 28)
    buffer = io.BytesIO()
    Image.fromarray(gray // GRAYS * 17).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _bare_map(points, labels, drawn: Sheet) -> Figure:
    """Draw the points on ruled paper, tinted where no training digit is near.

    It reaches to the very edge of the window.
    """
    left, right, low, high = drawn.window
    with rc_context(plotting.STYLE):
        fig = Figure(figsize=(4.8, 4.8 * (high - low) / (right - left)))
        ax = fig.add_axes((0, 0, 1, 1))
        tint = ListedColormap([PALETTE["void"], "white"])
        ax.imshow(drawn.known[::-1], tint, vmin=0, vmax=1, extent=drawn.window, aspect="auto")
        draw_points(ax, points, labels, small=True)
        ax.set(xlim=(left, right), ylim=(low, high))
        ax.axis("off")
        rule = {"color": PALETTE["muted"], "linewidth": 0.5, "zorder": 1}
        note = {"color": PALETTE["ink"], "fontsize": 8, "zorder": 1}
        for at in RULES[(left < RULES) & (right > RULES)]:
            ax.axvline(at, **rule)
            ax.annotate(f"{at:g}", (at, low), (3, 3), textcoords="offset points", **note)
        for at in RULES[(low < RULES) & (high > RULES)]:
            ax.axhline(at, **rule)
            ax.annotate(f"{at:g}", (left, at), (3, 3), textcoords="offset points", **note)
        return fig


def _picker_fallback(points, labels, drawn: Sheet, title: str) -> Figure:
    """Draw five points on the map and what is decoded there."""
    spots = [(0.05, 0.05), (0.55, 0.05), (1.05, 0.05), (0.65, 0.35), (0.65, 0.85)]
    fig, axes = plotting.figure(1, 6, title=title, size=(9.2, 2.6), width_ratios=[2] + [1] * 5)
    draw_points(axes[0], points, labels, small=True)
    left, right, low, high = drawn.window
    axes[0].set(xlim=(left, right), ylim=(low, high), aspect="equal")
    for number, ((x, y), ax) in enumerate(zip(spots, axes[1:], strict=True), start=1):
        row, column = np.abs(drawn.ys - y).argmin(), np.abs(drawn.xs - x).argmin()
        ax.imshow(drawn.images[row, column], cmap="gray", vmin=0, vmax=1)
        spot = drawn.xs[column], drawn.ys[row]
        ax.set_title(f"{number}: ({spot[0]:.2f}, {spot[1]:.2f})", fontsize=9)
        plotting.bare(ax)
        axes[0].annotate(str(number), spot, ha="center", va="center", fontsize=8, **NUMBERED)
    return fig
