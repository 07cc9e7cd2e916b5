"""Frames become an animation: a GIF, or a player in HTML that needs no network and no kernel."""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Iterator, Sequence
from importlib import resources
from pathlib import Path
from string import Template

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from tutorial_lib.errors import InputError, write_atomically
from tutorial_lib.figures import plotting

STEP_MS, LAST_MS = 700, 1800  # how long an animation shows a frame, and how long the last one
MAX_FRAMES = 400  # nobody watches more than five minutes of a kernel that slides
MAX_PIXELS = 160e6  # of all frames together; each takes one byte
MAX_REEL_WIDTH = 8192  # pixels; some browsers do not draw wider images
SAMPLED = 32  # frames that the palette is chosen from


def show_frames(
    frames: Sequence[np.ndarray],
    captions: Sequence[str],
    strip: Figure,
    *,
    title: str,
    alt: str,
) -> None:
    """Show frames as an animation with buttons; a figure stands in for it where nothing moves.

    Args:
        frames: uint8 (height, width, 3), all of one size.
        captions: One line per frame.
        strip: That figure; `title` and `alt` are as for `plotting.figure` and `plotting.show`.

    Raises:
        InputError: if the frames are too many, or too large together.
    """
    height, width = _checked_size(frames)
    columns = min(len(frames), max(1, MAX_REEL_WIDTH // width))
    reel = None
    # Frames side by side compress well: what does not move repeats within each line of pixels.
    for step, frame in enumerate(quantized(frames)):
        if reel is None:
            reel = Image.new("P", (columns * width, -(-len(frames) // columns) * height))
            reel.putpalette(frame.getpalette())
        reel.paste(frame, (step % columns * width, step // columns * height))
    buffer = io.BytesIO()
    reel.save(buffer, "PNG", optimize=True)

    def bundle(png: str, alt: str) -> dict[str, str]:
        page = fill_template(
            "player.html",
            title=html.escape(title),
            alt=html.escape(alt),
            strip=png,
            reel=base64.b64encode(buffer.getvalue()).decode(),
            columns=columns,
            frame_width=width,
            frame_height=height,
            width=round(width * plotting.DISPLAY_DPI / plotting.DPI),
            captions=json.dumps(list(captions), ensure_ascii=False).replace("<", "\\u003c"),
            step_ms=STEP_MS,
            last_ms=LAST_MS,
        )
        return {"text/html": page, "text/plain": f"<animation: {title}>"}

    plotting.show(strip, alt=alt, interactive=bundle)


def fill_template(name: str, **values) -> str:
    """Return an HTML file that lies beside this module with its `$names` replaced."""
    text = resources.files("tutorial_lib.figures").joinpath(name).read_text("utf-8")
    return Template(text).substitute(values)


def write_gif(frames: Sequence[np.ndarray], path: str | Path) -> None:
    """Write frames to a GIF that plays twice; `path` appears only when the file is complete.

    Raises InputError if the frames are too many, or too large together.
    """
    _checked_size(frames)
    images = quantized(frames)
    durations = [STEP_MS] * (len(frames) - 1) + [LAST_MS]
    gif = io.BytesIO()
    next(images).save(gif, "GIF", save_all=True, append_images=images, duration=durations, loop=1)
    write_atomically(Path(path), gif.getvalue())


def check_frames(count: int) -> None:
    """Raise InputError if an animation of so many frames is too long."""
    if count > MAX_FRAMES:
        raise InputError(
            f"an animation has at most {MAX_FRAMES} steps, and this one would have {count:,}; use "
            "a smaller input, or a larger stride where it makes the output smaller"
        )


def quantized(frames: Sequence[np.ndarray]) -> Iterator[Image.Image]:
    """Yield frames reduced to one palette, which is chosen from up to `SAMPLED` of them."""
    chosen = np.linspace(0, len(frames) - 1, min(SAMPLED, len(frames))).round().astype(int)
    sample = {n: frames[n] for n in chosen}
    palette = plotting.quantize(Image.fromarray(np.vstack(list(sample.values()))))
    known = np.reshape(palette.getpalette(), (-1, 3))
    # Pillow maps an image to a given palette only roughly, so we look up the nearest color.
    nearest = np.full(1 << 24, -1, np.int16)
    for n in range(len(frames)):
        pixels = (sample.pop(n) if n in sample else frames[n]) @ np.array([1 << 16, 1 << 8, 1])
        for color in np.unique(pixels[nearest[pixels] < 0]):
            parts = color >> 16, color >> 8 & 255, color & 255
            nearest[color] = np.argmin(np.sum((known - parts) ** 2, axis=1))
        image = Image.fromarray(nearest[pixels].astype(np.uint8)).convert("P")
        image.putpalette(palette.getpalette())
        yield image


def _checked_size(frames: Sequence[np.ndarray]) -> tuple[int, int]:
    """Return the height and width of the frames, which fit into the bounds."""
    check_frames(len(frames))
    height, width, _ = frames[0].shape
    if len(frames) * height * width > MAX_PIXELS:
        raise InputError(
            f"an animation has at most {MAX_PIXELS / 1e6:.0f} million pixels, and {len(frames)} "
            f"frames of {width}×{height} have more; use a smaller input"
        )
    return height, width
