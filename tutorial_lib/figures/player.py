"""A player for pictures that move: one piece of HTML that needs no network and no kernel."""

from __future__ import annotations

import base64
import html
import io
import json
from collections.abc import Sequence
from importlib import resources
from pathlib import Path
from string import Template

import numpy as np
from PIL import Image

from tutorial_lib.errors import write_atomically
from tutorial_lib.figures import plotting

STEP_MS, LAST_MS = 700, 1800  # how long an animation rests on a frame, and on the last one
COLORS = 32  # of the palette that all frames share
MAX_REEL_WIDTH = 8192  # pixels; wider pictures are more than some browsers draw


def play_frames(
    frames: Sequence[np.ndarray],
    captions: Sequence[str],
    strip: bytes,
    *,
    title: str,
    alt: str,
    step_ms: int = STEP_MS,
    colors: int = COLORS,
    drawn: Sequence[str] = (),
) -> None:
    """Show pictures as an animation with buttons; a still picture stands in where nothing moves.

    That is in print, and wherever scripts are not run.

    Args:
        frames: uint8 (height, width, 3), all of one size.
        captions: A line for each frame.
        strip: The still picture, as PNG.
        title, alt: One sentence above it, and one for a reader who cannot see it.
        step_ms: How long a frame is shown, in milliseconds.
        colors: How many colors all frames share.
        drawn: What is drawn, as `describing.describe` says it, for pictures that differ from one
            processor to the next; see `pictures.Picture`.
    """
    from IPython.display import display

    bundle = {
        "text/html": player_html(frames, captions, strip, title, alt, step_ms, colors),
        "image/png": base64.b64encode(strip).decode(),
        "text/plain": f"<animation: {title}>",
    }
    known = {"alt": alt, "drawn": list(drawn)} if drawn else {"alt": alt}
    display(bundle, raw=True, metadata={"image/png": known})


def player_html(
    frames: Sequence[np.ndarray],
    captions: Sequence[str],
    strip: bytes,
    title: str,
    alt: str,
    step_ms: int = STEP_MS,
    colors: int = COLORS,
) -> str:
    """Return the player of `play_frames` as HTML."""
    template = Template(
        resources.files("tutorial_lib.figures").joinpath("player.html").read_text("utf-8")
    )
    height, width, _ = frames[0].shape
    columns = min(len(frames), max(1, MAX_REEL_WIDTH // width))
    return template.substitute(
        title=html.escape(title),
        alt=html.escape(alt),
        strip=base64.b64encode(strip).decode(),
        reel=base64.b64encode(few_colors(reel(frames, columns), colors)).decode(),
        columns=columns,
        frame_width=width,
        frame_height=height,
        width=round(width * plotting.DISPLAY_DPI / plotting.DPI),
        captions=json.dumps(list(captions), ensure_ascii=False).replace("<", "\\u003c"),
        step_ms=step_ms,
        last_ms=LAST_MS,
    )


def save_gif(frames: Sequence[np.ndarray], path: str | Path) -> None:
    """Save frames as a GIF that runs forever; `path` appears only when the whole file is there."""
    height, width, _ = frames[0].shape
    whole = quantized(reel(frames, columns=1), COLORS)
    images = [whole.crop((0, n * height, width, (n + 1) * height)) for n in range(len(frames))]
    durations = [STEP_MS] * (len(frames) - 1) + [LAST_MS]
    gif = io.BytesIO()
    images[0].save(gif, "GIF", save_all=True, append_images=images[1:], duration=durations, loop=0)
    write_atomically(Path(path), gif.getvalue())


def reel(frames: Sequence[np.ndarray], columns: int) -> Image.Image:
    """Lay frames out in rows of `columns`.

    Side by side they compress well: what does not move repeats within each line of pixels.
    """
    missing = -len(frames) % columns
    padded = [*frames, *[np.zeros_like(frames[0])] * missing]
    rows = [np.hstack(padded[n : n + columns]) for n in range(0, len(padded), columns)]
    return Image.fromarray(np.vstack(rows))


def few_colors(image: Image.Image, colors: int = COLORS) -> bytes:
    """Return a drawing as PNG with a small palette, a third as large."""
    buffer = io.BytesIO()
    quantized(image, colors).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def quantized(image: Image.Image, colors: int) -> Image.Image:
    """Reduce an image to a palette."""
    # Maximum coverage keeps the small yellow weights, which other methods drown in the blue.
    return image.convert("RGB").quantize(
        colors, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE
    )
