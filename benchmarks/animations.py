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

from tutorial_lib.convolution import output_size
from tutorial_lib.figures import animation, plotting

DIRECTORY = Path("build/animations")
# i, k, s and p of seven direct convolutions, of which the guide shows the transposed ones too.
GUIDE = {
    "no_padding_no_strides": (4, 3, 1, 0),
    "arbitrary_padding_no_strides": (5, 4, 1, 2),
    "same_padding_no_strides": (5, 3, 1, 1),
    "full_padding_no_strides": (5, 3, 1, 2),
    "no_padding_strides": (5, 3, 2, 0),
    "padding_strides": (5, 3, 2, 1),
    "padding_strides_odd": (6, 3, 2, 1),
}


def guide() -> dict[str, animation.Slide]:
    slides = {name: animation.slide(*sizes) for name, sizes in GUIDE.items()}
    for name, (i, k, s, p) in GUIDE.items():
        unread = (i + 2 * p - k) % s  # rows that the direct convolution never reads
        slides[f"{name}_transposed"] = animation.transposed_slide(
            output_size(i, k, s, p), k, s, p, output_padding=unread
        )
    return slides | {"dilation": animation.slide(7, 3, d=2)}


def drawn_anew(sliding: animation.Slide) -> bytes:
    """Make the GIF by drawing every frame from nothing, in full color."""
    width, height = sliding.extent
    frames = []
    for step in range(len(sliding)):
        fig = Figure(figsize=(width / 3, height / 3), dpi=plotting.DPI)
        canvas = FigureCanvasAgg(fig)
        animation.SlideView(fig.add_axes((0, 0, 1, 1)), sliding).show_step(step)
        canvas.draw()
        frames.append(Image.fromarray(np.array(canvas.buffer_rgba())[..., :3]))
    buffer = io.BytesIO()
    frames[0].save(buffer, "GIF", save_all=True, append_images=frames[1:], loop=0)
    return buffer.getvalue()


def main() -> None:
    start = time.perf_counter()
    for name, sliding in guide().items():
        animation.save_gif(sliding, DIRECTORY / f"{name}.gif")
    ours = time.perf_counter() - start
    written = sum(path.stat().st_size for path in DIRECTORY.glob("*.gif"))
    start = time.perf_counter()
    size = sum(len(drawn_anew(sliding)) for sliding in guide().values())
    anew = time.perf_counter() - start
    print(f"fifteen animations: {ours:.1f} s, {written / 1e3:.0f} kB")
    print(f"drawn anew:         {anew:.1f} s, {size / 1e3:.0f} kB")
    print(f"{anew / ours:.1f} times faster, {size / written:.1f} times smaller")


if __name__ == "__main__":
    main()
