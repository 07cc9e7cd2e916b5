"""How long do animations take, beside drawing every frame anew? And how large are the files?

    python benchmarks/animations.py

Writes the fifteen animations of Dumoulin and Visin's guide to convolution arithmetic to
build/animations as GIF. The alternative is matplotlib alone: new axes for each frame.
"""

from __future__ import annotations

import io
import time
from pathlib import Path

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from tutorial_lib.figures import animation, plotting

DIRECTORY = Path("build/animations")


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


def main() -> None:
    start = time.perf_counter()
    for name in animation.GUIDE:
        animation.save_gif(animation.guide_slide(name), DIRECTORY / f"{name}.gif")
    ours = time.perf_counter() - start
    written = sum(path.stat().st_size for path in DIRECTORY.glob("*.gif"))
    start = time.perf_counter()
    size = sum(len(drawn_anew(animation.guide_slide(name))) for name in animation.GUIDE)
    anew = time.perf_counter() - start
    print(f"fifteen animations: {ours:.1f} s, {written / 1e3:.0f} kB")
    print(f"drawn anew:         {anew:.1f} s, {size / 1e3:.0f} kB")
    print(f"{anew / ours:.1f} times faster, {size / written:.1f} times smaller")


if __name__ == "__main__":
    main()
