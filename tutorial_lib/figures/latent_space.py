"""The figures of notebook 03: digits in rows, codes on planes, images decoded from codes.

All that show something take `title` and `alt` as `plotting.figure` and `plotting.show` do.
"""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib import rc_context
from matplotlib.colors import ListedColormap, to_rgb
from matplotlib.figure import Figure
from matplotlib.patches import Circle
from matplotlib.patheffects import withStroke
from PIL import Image
from sklearn.neighbors import NearestNeighbors

from tutorial_lib.errors import InputError
from tutorial_lib.figures import player, plotting
from tutorial_lib.figures.fingerprint import describe
from tutorial_lib.figures.plotting import PALETTE

# The least that is drawn: x from, x to, y from, y to. The bundled digits fit into it, so that
# figures of two runs can be compared.
LIMITS = (-0.6, 1.8, -0.8, 1.0)
ALIGNED_AXES = "from the mean of the ones to that of the sixes", "toward the fives"
DIGIT_SIDE = 28  # pixels of a digit
GRAYS = 16
# One color and one marker per class, the same in every figure. Among all colors of middle lightness
# these differ most, for color-blind readers too, from the blue, orange and green of 1, 5 and 6.
CLASS_COLORS = [
    "#7614D8", "#3B7DD8", "#F04BDD", "#89003B", "#C4C427",
    "#E8743B", "#2BA58C", "#624E14", "#8585A6", "#004E4E",
]  # fmt: skip
MARKERS, HTML_MARKERS = "DovPXs^*pd", "◆●▼✚✖■▲★⬟♦"
NAMED = {
    "ha": "center",
    "va": "center",
    "fontsize": 17,
    "fontweight": "bold",
    "path_effects": [withStroke(linewidth=4, foreground="white")],
    "zorder": 3,
}
SPOTS = (-0.15, 0.15), (0.15, 0.15), (0.55, 0.25), (0.55, 0.55), (1.45, 0.65)
NUMBERED = {
    "color": "white",
    "fontweight": "bold",
    "bbox": {"boxstyle": "circle", "facecolor": PALETTE["truth"], "edgecolor": "white"},
}


@dataclass(frozen=True)
class Alignment:
    """An affine map that lays latent codes out in the same way after every training.

    Training with another seed rotates, mirrors, shifts and scales the latent space. Aligned, the
    first of three anchors lies at (0, 0), the second at (1, 0), and the third above them. Shapes
    stay as they are, since all lengths are scaled alike.

    Attributes:
        origin: The code at (0, 0).
        axes: (2, 2): the code differences that (1, 0) and (0, 1) stand for.
    """

    origin: np.ndarray
    axes: np.ndarray

    @classmethod
    def fit(cls, origin, right, above) -> Alignment:
        """Align by three codes; raise InputError if they lie on one line."""
        origin, right, above = (np.asarray(code, np.float64) for code in (origin, right, above))
        x = right - origin
        y = np.array([-x[1], x[0]])
        side = y @ (above - origin)
        if not abs(side) > 1e-9:
            raise InputError("the three codes lie on one line; use three that do not")
        return cls(origin, np.stack([x, y * np.sign(side)]))

    def transform(self, codes: np.ndarray) -> np.ndarray:
        """Map codes (n, 2) to points of the figure."""
        return (codes - self.origin) @ np.linalg.inv(self.axes)

    def inverse_transform(self, points) -> np.ndarray:
        """Map points (n, 2) of the figure to codes."""
        return np.asarray(points) @ self.axes + self.origin


@dataclass(frozen=True)
class LatentGrid:
    """Images that are decoded at the points of a grid in latent space.

    Attributes:
        xs, ys: The columns and rows, both ascending.
        images: float (rows, columns, 28, 28).
        near_data: bool (rows, columns): whether the code of a training digit lies nearby.
        limits: What is drawn: x from, x to, y from, y to.
    """

    xs: np.ndarray
    ys: np.ndarray
    images: np.ndarray
    near_data: np.ndarray
    limits: tuple[float, float, float, float]

    def tiled(self, images: np.ndarray) -> np.ndarray:
        """Return (rows, columns, 28, 28, …) as one image, the highest row first."""
        rows, columns, *_, channels = (*images.shape, 1)[:5]
        return (
            images[::-1].swapaxes(1, 2).reshape(rows * DIGIT_SIDE, columns * DIGIT_SIDE, channels)
        )


def limits_of(points: np.ndarray) -> tuple[float, float, float, float]:
    """Return `LIMITS`, extended in steps of 0.2 to hold 98 % of points (n, 2) along each axis."""
    low, high = np.percentile(points, [1, 99], axis=0)
    low, high = np.floor(low / 0.2) * 0.2, np.ceil(high / 0.2) * 0.2
    left, right, bottom, top = LIMITS
    return min(left, low[0]), max(right, high[0]), min(bottom, low[1]), max(top, high[1])


def decode_grid(
    decode: Callable, known: np.ndarray, cell: float = 0.2, limits: Sequence[float] | None = None
) -> LatentGrid:
    """Decode the points of a grid.

    Args:
        decode: Maps points (n, 2) to images (n, 28, 28) or (n, 28, 28, 1).
        known: (n, 2), the points of the training digits. A grid point is near them if one lies
            within its cell, or as near as the cell's corners.
        cell: Distance of two points of the grid.
        limits: x from, x to, y from, y to; by default those that `limits_of` finds.
    """
    limits = limits or limits_of(known)
    xs, ys = (
        start + cell * (np.arange(round((stop - start) / cell)) + 0.5)
        for start, stop in (limits[:2], limits[2:])
    )
    points = np.stack(np.meshgrid(xs, ys), axis=-1).reshape(-1, 2)
    images = np.reshape(decode(points), (len(ys), len(xs), DIGIT_SIDE, DIGIT_SIDE))
    distances, _ = NearestNeighbors(n_neighbors=1).fit(known).kneighbors(points)
    near = distances.reshape(len(ys), len(xs)) <= cell / np.sqrt(2)
    return LatentGrid(xs, ys, images, near, limits)


def show_latent_space(
    points: np.ndarray,
    labels: np.ndarray,
    *,
    grid: LatentGrid,
    title: str,
    alt: str,
    circles=(),
    axes=ALIGNED_AXES,
) -> None:
    """Show digits with labels (n,) as points (n, 2), over a grid of decoded images.

    Grid cells without a training digit nearby are tinted. `circles` are radii of circles around the
    origin, and `axes` the labels of the two axes.
    """
    fig, ax = plotting.figure(title=title, size=(7.4, 6.2))
    _draw_grid(ax, grid)
    _draw_points(ax, points, labels)
    for radius in circles:
        ax.add_patch(Circle((0, 0), radius, fill=False, color=PALETTE["ink"], linestyle="--"))
    left, right, low, high = grid.limits
    ax.set(xlim=(left, right), ylim=(low, high), aspect="equal", xlabel=axes[0], ylabel=axes[1])
    legend = {"loc": "lower right", "bbox_to_anchor": (1, 1), "borderaxespad": 0, "fontsize": 11}
    legend |= {"ncols": 3, "handletextpad": 0, "markerscale": 1.6}
    for handle in ax.legend(title="digit", frameon=False, **legend).legend_handles:
        handle.set_alpha(1)
    plotting.show(fig, alt=alt, dpi=plotting.PHOTO_DPI)


def _draw_points(ax, points: np.ndarray, labels: np.ndarray, size=7, alpha=0.45) -> None:
    """Draw one marker per digit, with color and shape by class; the first class lies on top."""
    for number, digit in enumerate(np.unique(labels)):
        ax.scatter(
            *points[labels == digit].T,
            marker=MARKERS[digit],
            s=size,
            color=CLASS_COLORS[digit],
            edgecolors="white",
            linewidths=0.4,
            alpha=alpha,
            zorder=2 - number / 10,
            label=str(digit),
        )


def _draw_grid(ax, grid: LatentGrid) -> None:
    """Draw the decoded digits in their places, dark ink on white, tinted far from the data."""
    paper = np.where(grid.near_data[..., None], 1.0, np.array(to_rgb(PALETTE["void"])))
    depth = 0.75 * np.clip(grid.images, 0, 1)[..., None]
    cells = (1 - depth) * paper[:, :, None, None] + depth * np.array(to_rgb(PALETTE["ink"]))
    image = np.clip(grid.tiled(cells), 0, 1)
    ax.imshow(image, extent=grid.limits, interpolation="antialiased", zorder=0)


def show_digits(rows: Sequence | dict[str, Sequence], captions=None, *, title: str, alt: str):
    """Show rows of digits, all of one length, on one scale from 0 to 1.

    Args:
        rows: Sequences of arrays (28, 28) or (28, 28, 1); a dict adds a name at the left of each.
        captions: A short text above each column.
    """
    names, rows = zip(*rows.items(), strict=True) if isinstance(rows, dict) else (None, rows)
    left = 0.1 + (0.085 * max(map(len, names)) if names else 0)  # inches
    cell = min(1.25, (9 - left) / len(rows[0]))
    size = (cell * len(rows[0]) + left, cell * len(rows) + (0.65 if captions else 0.4))
    fig, axes = plotting.figure(len(rows), len(rows[0]), title=title, size=size, squeeze=False)
    for place, row in zip(axes, rows, strict=True):
        for ax, image in zip(place, row, strict=True):
            plotting.bare(ax)
            ax.imshow(np.reshape(image, (DIGIT_SIDE, DIGIT_SIDE)), cmap="gray", vmin=0, vmax=1)
    for ax, name in zip(axes[:, 0], names or (), strict=bool(names)):
        ax.set_ylabel(name, rotation=0, ha="right", va="center")
    for ax, caption in zip(axes[0], captions or (), strict=bool(captions)):
        ax.set_title(caption, fontsize=9)
    plotting.show(fig, alt=alt, dpi=plotting.PHOTO_DPI)


def show_planes(
    planes: dict[str, np.ndarray],
    labels: np.ndarray,
    *,
    limits: Sequence[float],
    title: str,
    alt: str,
    axes=ALIGNED_AXES,
) -> None:
    """Show codes of the same digits side by side, each class in a color of its own.

    Args:
        planes: Name → points (n, 2).
        labels: (n,), 0 to 9. Each class is named at the mean of its points.
        limits: x from, x to, y from, y to.
        axes: Labels of the horizontal and of the vertical axis.
    """
    size = (4.6 * len(planes) + 0.2, 4.4)
    fig, grid = plotting.figure(1, len(planes), title=title, size=size, squeeze=False)
    for ax, (name, points) in zip(grid.flat, planes.items(), strict=True):
        _draw_points(ax, points, labels, size=20, alpha=0.7)
        ax.set(xlim=limits[:2], ylim=limits[2:], aspect="equal")
        ax.set(title=name, xlabel=axes[0], ylabel=axes[1])
        ax.locator_params(nbins=5)
        for digit in np.unique(labels):
            mean = points[labels == digit].mean(axis=0)
            ax.text(*mean, str(digit), color=CLASS_COLORS[digit], **NAMED)
    plotting.show(fig, alt=alt)


def show_classes(
    planes: dict[str, np.ndarray], labels: np.ndarray, *, title: str, alt: str
) -> None:
    """Show codes of many classes, one panel per class, with the other classes in gray.

    Args:
        planes: Name → points (n, 2). Each fills rows of its own.
        labels: (n,), 0 to 9.
    """
    classes, columns = np.unique(labels), 5
    rows = -(-len(classes) // columns)
    size = (1.75 * columns + 0.3, 1.75 * rows * len(planes) + 0.4)
    fig, grid = plotting.figure(rows * len(planes), columns, title=title, size=size, squeeze=False)
    for part, (name, points) in enumerate(planes.items()):
        for number, ax in enumerate(grid[part * rows : (part + 1) * rows].flat):
            plotting.bare(ax)
            if number >= len(classes):
                continue
            ours = labels == classes[number]
            ax.scatter(*points[~ours].T, s=3, color=PALETTE["muted"], alpha=0.3, linewidths=0)
            color = CLASS_COLORS[classes[number]]
            ax.scatter(*points[ours].T, s=9, color=color, alpha=0.8, linewidths=0)
            ax.set_title(f"{name}: {classes[number]}", fontsize=10, pad=3)
    plotting.show(fig, alt=alt)


def show_pca_comparison(
    pca: np.ndarray, networks: dict[int, float], *, title: str, alt: str
) -> list[float]:
    """Show the errors of networks beside the curve of PCA, and where the two are equal.

    Args:
        pca: The error with 0, 1, … components, falling.
        networks: Size of the code → error of the network.

    Returns:
        For each network the number of components with which PCA has the same error, interpolated.
    """
    fewest = [int(np.argmax(pca < error)) for error in networks.values()]
    # Where the curve has the network's error: between two whole numbers of components.
    ends = [
        float(np.interp(error, pca[[k, k - 1]], [k, k - 1]))
        for error, k in zip(networks.values(), fewest, strict=True)
    ]
    fig, ax = plotting.figure(title=title, size=(6.4, 3.4))
    shown = pca[1:101]
    ax.plot(range(1, len(shown) + 1), shown, label="PCA")
    ax.plot(networks.keys(), networks.values(), "s-", label="network")
    heights, starts = networks.values(), networks.keys()
    ax.hlines(heights, starts, ends, colors=PALETTE["ink"], linestyles=":", zorder=1)
    ticks = [2**n for n in range(int(np.log2(len(shown))) + 1)]
    ax.set(xscale="log", ylim=(0, None), xlabel="numbers per code")
    ax.set(xticks=ticks, xticklabels=ticks, ylabel="mean squared error")
    ax.minorticks_off()
    ax.legend(frameon=False)
    plotting.show(fig, alt=alt)
    return ends


def show_picker(
    points: np.ndarray, labels: np.ndarray, grid: LatentGrid, *, title: str, alt: str
) -> None:
    """Show the latent space to click on, and beside it the image that is decoded at that point.

    The images of a fine grid and a small script are part of the notebook, so no kernel is needed.
    Where scripts are not run, a figure of five points stands in.
    """
    gray = np.rint(255 * np.clip(grid.tiled(grid.images)[..., 0], 0, 1)).astype(np.uint8)
    reel = io.BytesIO()
    Image.fromarray(gray // GRAYS * 17).save(reel, "PNG", optimize=True)
    plane = _bare_plane(points, labels, grid)

    def bundle(png: str, alt: str) -> dict[str, str]:
        page = player.fill_template(
            "picker.html",
            title=html.escape(title),
            alt=html.escape(alt),
            fallback=png,
            ground=base64.b64encode(plotting.to_png(plane)).decode(),
            reel=base64.b64encode(reel.getvalue()).decode(),
            limits=json.dumps(grid.limits),
            rows=len(grid.ys),
            columns=len(grid.xs),
            shown=round(plotting.DISPLAY_DPI / plotting.DPI, 4),
            markers=" ".join(
                f'<span><span style="color: {CLASS_COLORS[digit]}">{HTML_MARKERS[digit]}</span> '
                f"{digit}</span>"
                for digit in np.unique(labels)
            ),
        )
        return {"text/html": page, "text/plain": f"<a latent space to click on: {title}>"}

    still = _numbered_spots(points, labels, grid, title)
    plotting.show(still, alt=alt, dpi=plotting.PHOTO_DPI, interactive=bundle, drawn=describe(plane))


def _bare_plane(points, labels, grid: LatentGrid) -> Figure:
    """Draw the points on ruled paper, tinted far from the data, to the very edge of the figure."""
    left, right, low, high = grid.limits
    with rc_context(plotting.STYLE):
        fig = Figure(figsize=(4.8, 4.8 * (high - low) / (right - left)))
        ax = fig.add_axes((0, 0, 1, 1))
        tint = ListedColormap([PALETTE["void"], "white"])
        ax.imshow(grid.near_data[::-1], tint, vmin=0, vmax=1, extent=grid.limits, aspect="auto")
        _draw_points(ax, points, labels)
        ax.set(xlim=(left, right), ylim=(low, high))
        ax.axis("off")
        name = {"textcoords": "offset points", "color": PALETTE["ink"], "fontsize": 9, "zorder": 3}
        across, upward = ALIGNED_AXES
        ax.annotate(f"{across} →", (right, low), (-4, 16), ha="right", **name)
        ax.annotate(f"{upward} →", (left, high), (30, -4), va="top", rotation=90, **name)
        rule = {"color": PALETTE["muted"], "linewidth": 0.5, "zorder": 1}
        note = {"xytext": (3, 3), "textcoords": "offset points", "color": PALETTE["ink"]}
        note |= {"fontsize": 8, "zorder": 1}
        for at in np.arange(-8, 8.5, 0.5):
            if left < at < right:
                ax.axvline(at, **rule)
                ax.annotate(f"{at:g}", (at, low), **note)
            if low < at < high:
                ax.axhline(at, **rule)
                ax.annotate(f"{at:g}", (left, at), **note)
        return fig


def _numbered_spots(points, labels, grid: LatentGrid, title: str) -> Figure:
    """Draw five points in latent space and the images decoded there."""
    fig, axes = plotting.figure(1, 6, title=title, size=(9.2, 2.6), width_ratios=[2] + [1] * 5)
    _draw_points(axes[0], points, labels)
    left, right, low, high = grid.limits
    axes[0].set(xlim=(left, right), ylim=(low, high), aspect="equal")
    axes[0].set_xlabel("from the ones to the sixes", fontsize=9)
    axes[0].set_ylabel(ALIGNED_AXES[1], fontsize=9)
    for number, ((x, y), ax) in enumerate(zip(SPOTS, axes[1:], strict=True), start=1):
        row, column = np.abs(grid.ys - y).argmin(), np.abs(grid.xs - x).argmin()
        ax.imshow(grid.images[row, column], cmap="gray", vmin=0, vmax=1)
        spot = grid.xs[column], grid.ys[row]
        ax.set_title(f"{number}: ({spot[0]:.2f}, {spot[1]:.2f})", fontsize=9)
        plotting.bare(ax)
        axes[0].annotate(str(number), spot, ha="center", va="center", fontsize=8, **NUMBERED)
    return fig
