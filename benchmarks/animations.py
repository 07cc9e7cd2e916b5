"""How long do the fifteen animations of the guide take? And what do they look like?

    python benchmarks/animations.py

They are written to build/animations as GIF, with a contact sheet. The alternative is how one would
do it with matplotlib alone: clear the axes and draw anew for each frame.
"""

from __future__ import annotations

import io
import time
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from tutorial_lib.errors import write_atomically
from tutorial_lib.figures import animation, plotting

FOLDER = Path("build/animations")
COLUMNS = 3


def drawn_anew(sliding: animation.Slide) -> bytes:
    """Make the GIF by drawing every frame from nothing, in full color."""
    width, height = sliding.extent
    frames = []
    for step in range(len(sliding)):
        fig = Figure(figsize=(width / 3, height / 3), dpi=plotting.DPI)
        canvas = FigureCanvasAgg(fig)
        animation.Stage(fig.add_axes((0, 0, 1, 1)), sliding).show(step)
        canvas.draw()
        frames.append(Image.fromarray(np.array(canvas.buffer_rgba())[..., :3]))
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:], loop=0)
    return buffer.getvalue()


def contact_sheet() -> Figure:
    """Return one figure with the middle step of all animations, drawn at one scale."""
    slides = {name: animation.guide_slide(name) for name in animation.GUIDE}
    width, height = np.max([sliding.extent for sliding in slides.values()], axis=0)
    rows = -(-len(slides) // COLUMNS)
    title = "The fifteen animations of the guide, half way"
    fig, axes = plotting.figure(rows, COLUMNS, title=title, size=(9.5, 2.1 * rows + 0.4))
    for ax, (name, sliding) in zip(axes.flat, slides.items(), strict=True):
        animation.Stage(ax, sliding, 3 / width).show(len(sliding) // 2)
        ax.set_xlim(-0.1, width)
        ax.set_ylim(ax.get_ylim()[1] + height, ax.get_ylim()[1])
        ax.set_title(name.replace("_", " "), fontsize=8)
    return fig


def main() -> None:
    start = time.perf_counter()
    for name in animation.GUIDE:
        animation.save_gif(animation.guide_slide(name), FOLDER / f"{name}.gif")
    ours = time.perf_counter() - start
    start = time.perf_counter()
    size = sum(len(drawn_anew(animation.guide_slide(name))) for name in animation.GUIDE)
    anew = time.perf_counter() - start
    written = sum(path.stat().st_size for path in FOLDER.glob("*.gif"))
    print(f"fifteen animations: {ours:.1f} s, {written / 1e3:.0f} kB")
    print(f"drawn anew:         {anew:.1f} s, {size / 1e3:.0f} kB")
    print(f"{anew / ours:.1f} times faster, {size / written:.1f} times smaller")
    write_atomically(FOLDER / "contact_sheet.png", plotting.to_png(contact_sheet()))


if __name__ == "__main__":
    main()
