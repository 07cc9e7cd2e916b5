"""What goes into a record, as bytes: made without TensorFlow, so that processes start quickly."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from PIL import Image

from tutorial_lib.data.images import Sample
from tutorial_lib.errors import InputError

# Goes up when the same sample gives other bytes that any reader of the schema still understands:
# then records that lie in a cache, or are half written, are made anew.
PACKING = 3


class Recipe(Protocol):
    """What a sample can be read from, in any process: `CocoRecipe`, `VocRecipe`."""

    def read(self) -> Sample:
        """Read it; InputError if it is damaged."""


@dataclass(frozen=True, repr=False)
class Encoded:
    """A sample as it is stored.

    Attributes:
        id: Its name.
        image: JPEG.
        labels: PNG.
    """

    id: str
    image: bytes
    labels: bytes

    def __repr__(self) -> str:
        return f"Encoded({self.id!r}, {zlib.crc32(self.image)}, {zlib.crc32(self.labels)})"


def encoded(sample: Recipe | Sample | Encoded) -> Encoded:
    """Read and encode one sample.

    Raises:
        InputError: if it is damaged.
    """
    if isinstance(sample, Encoded):
        return sample
    sample = sample if isinstance(sample, Sample) else sample.read()
    return Encoded(sample.id, jpeg_bytes(sample), png_bytes(sample.labels))


def encoded_or_problem(sample: Recipe | Sample | Encoded) -> Encoded | str:
    """As `encoded`, but return what is wrong with a damaged sample instead of raising it."""
    try:
        return encoded(sample)
    except InputError as problem:
        return str(problem)


def jpeg_bytes(sample: Sample) -> bytes:
    """Return the picture as JPEG: its file as it is, or encoded if it has none of that kind."""
    if sample.path is not None and sample.path.suffix.lower() in (".jpg", ".jpeg"):
        with Image.open(sample.path) as picture:
            if picture.format == "JPEG" and picture.mode in ("RGB", "L"):
                return sample.path.read_bytes()
    buffer = io.BytesIO()
    Image.fromarray(sample.image).save(buffer, "JPEG", quality=95, subsampling=0)
    return buffer.getvalue()


def png_bytes(labels: np.ndarray) -> bytes:
    """Return a label map as gray PNG, packed so that it is decoded quickly.

    Label maps are flat and gain nothing from the filters that photographs gain from; Pillow cannot
    be asked to leave them out, so the three chunks of the file are put together here. At level 3
    zlib copies whole rows from the row above. Its run-length strategy, made for such rows, takes
    half the bytes, but decodes at half the speed: each byte waits for the one before it. And with
    the fixed Huffman code no table has to be built for so few bytes.
    """
    height, width = labels.shape
    rows = np.zeros((height, width + 1), np.uint8)  # each row starts with its filter: 0, none
    rows[:, 1:] = labels
    packer = zlib.compressobj(level=3, strategy=zlib.Z_FIXED)

    def chunk(kind: bytes, content: bytes) -> bytes:
        check = zlib.crc32(kind + content)
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", check)

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    content = packer.compress(rows.tobytes()) + packer.flush()
    return b"".join(
        [b"\x89PNG\r\n\x1a\n", chunk(b"IHDR", header), chunk(b"IDAT", content), chunk(b"IEND", b"")]
    )
