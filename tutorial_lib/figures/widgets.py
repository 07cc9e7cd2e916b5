"""Sliders that change a drawing, in HTML that needs no network and no kernel.

Where no script runs and in print, a figure of some settings stands in for them.
"""

from __future__ import annotations

import html
import json

from matplotlib.figure import Figure

from tutorial_lib.figures import animation, player, plotting

LABELS_AND_RANGES = {
    "i": ("input i", 1, 10),
    "k": ("kernel k", 1, 6),
    "s": ("stride s", 1, 4),
    "p": ("padding p", 0, 4),
    "d": ("dilation d", 1, 3),
    "e": ("output padding", 0, 3),
}


def explore_convolution(i: int = 6, k: int = 3, s: int = 2, p: int = 1) -> None:
    """Show sliders for a convolution, its size formula with numbers, and the sliding kernel."""
    _show_slide("convolution", animation.slide(i, k, s, p), {"i": i, "k": k, "s": s, "p": p})


def explore_transposed(i: int = 3, k: int = 3, s: int = 2, p: int = 1) -> None:
    """Show sliders for a transposed convolution, as a convolution over inserted zeros."""
    sliding = animation.transposed_slide(i, k, s, p)
    _show_slide("transposed convolution", sliding, {"i": i, "k": k, "s": s, "p": p, "e": 0})


def explore_overlap(k: int = 3, s: int = 2) -> None:
    """Show sliders for the copies of a kernel in a transposed convolution, and their sums."""
    title = "Overlap of the copies of a kernel"
    fig, axes = plotting.figure(2, 4, title=title, size=(8.3, 3.1))
    for row, stride in zip(axes, (2, 3), strict=True):
        for ax, kernel in zip(row, (2, 3, 4, 6), strict=True):
            rows = -(-kernel // stride) + 1  # strips in the same row do not touch
            for n in range(-3, 12):
                strip = {"left": stride * n, "align": "edge", "height": 0.7}
                ax.barh(-(n % rows), kernel, color=plotting.PALETTE["input"], **strip)
            ax.vlines(range(13), -3.3, 1, color=plotting.PALETTE["muted"], linewidth=0.7)
            ax.set(xlim=(0, 12), ylim=(-3.3, 1))
            ax.set_title(f"kernel {kernel}, stride {stride}", fontsize=9)
            plotting.bare(ax)
    alt = (
        "Eight panels, kernels 2, 3, 4 and 6 with strides 2 and 3: strips as long as the kernel, "
        "each one stride to the right of the one before, over a grid of output pixels."
    )
    _show("overlap", {"k": k, "s": s}, fig, title, alt)


def _show_slide(kind: str, sliding: animation.Slide, start: dict[str, int]) -> None:
    title = f"A {kind} of your own"
    strip, alt = animation.film_strip(sliding, title), f"Film strip: {sliding.description}"
    _show(kind, start | {"d": 1}, strip, title, alt)


def _show(kind: str, start: dict[str, int], strip: Figure, title: str, alt: str) -> None:
    """Display sliders with their first values, and `strip` where no script runs."""
    sliders = ""
    for name, value in start.items():
        label, low, high = LABELS_AND_RANGES[name]
        sliders += (
            f'<label>{label} <input type="range" min="{low}" max="{high}" value="{value}" '
            f'data-name="{name}" data-lm-suppress-shortcuts="true"><output></output></label>\n'
        )
    colors = plotting.PALETTE | {"inserted": animation.INSERTED, "under": "#25487A"}

    def bundle(png: str, alt: str) -> dict[str, str]:
        page = player.fill_template(
            "explorer.html",
            kind=kind,
            title=html.escape(title),
            alt=html.escape(alt),
            strip=png,
            sliders=sliders,
            colors=json.dumps(colors),
            step_ms=player.STEP_MS,
        )
        return {"text/html": page, "text/plain": f"<sliders: {title}>"}

    plotting.show(strip, alt=alt, interactive=bundle)
