"""What goes into a record, as bytes: made without TensorFlow, so that processes start quickly."""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from PIL import Image

from tutorial_lib.data.images import Sample, is_plain_jpeg

RECORD_VERSION = 2  # of the schema; see `records`
# Goes up when the same sample gives other bytes that any reader of the schema still understands:
# then records that lie in a cache, or are half written, are made anew.
PACKING = 4
# What follows 0xff in a JPEG: the end; what stands alone, in pixels and for restarts; or a marker
# with a length.
END = b"\xd9"
ALONE = frozenset(bytes([n]) for n in (0, *range(0xD0, 0xD8), 0xFF))


class Recipe(Protocol):
    """What a sample can be read from, in any process: `CocoRecipe`, `VocRecipe`.

    If it has `files`, their paths, the sample is read anew when one of them has changed.
    """

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


def jpeg_bytes(sample: Sample) -> bytes:
    """Return the picture as JPEG: its file as it is, or encoded if it has none that is sound."""
    if sample.path is not None and sample.path.suffix.lower() in (".jpg", ".jpeg"):
        if is_plain_jpeg(sample.path):
            content = sample.path.read_bytes()
            if reaches_its_end(content):
                return content
    buffer = io.BytesIO()
    Image.fromarray(sample.image).save(buffer, "JPEG", quality=95, subsampling=0)
    return buffer.getvalue()


def reaches_its_end(jpeg: bytes) -> bool:
    """Say whether the markers of a JPEG lead to the one that ends it.

    Pillow stops reading when it has all pixels. TensorFlow goes on to the end, and refuses a file
    where a damaged byte among the pixels has made a marker that leads beyond it.
    """
    place = 2
    while place := jpeg.find(0xFF, place) + 1:
        marker = jpeg[place : place + 1]
        if marker == END:
            return True
        if marker not in ALONE:
            place += 1 + int.from_bytes(jpeg[place + 1 : place + 3], "big")
    return False


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


def serialized(sample: Encoded) -> bytes:
    """Return a sample as a serialized `tf.train.Example`, byte for byte as TensorFlow writes it.

    This is the wire format of Protocol Buffers, whose compiled messages come with TensorFlow only:
    an Example has one field, the features; these map names to lists of bytes or of integers.
    """
    features = {
        "id": _field(1, _field(1, sample.id.encode())),
        "image": _field(1, _field(1, sample.image)),
        "labels": _field(1, _field(1, sample.labels)),
        "version": _field(3, _field(1, _varint(RECORD_VERSION))),
    }
    entries = [_field(1, name.encode()) + _field(2, value) for name, value in features.items()]
    return _field(1, b"".join(_field(1, entry) for entry in entries))


def _field(number: int, content: bytes) -> bytes:
    """Return a field whose wire type is 2: its length, and so many bytes."""
    return b"".join([_varint(number << 3 | 2), _varint(len(content)), content])


def _varint(value: int) -> bytes:
    """Return a whole number in groups of seven bits, the lowest first; all but the last marked."""
    groups = bytearray()
    while value > 127:
        groups.append(value & 127 | 128)
        value >>= 7
    return bytes([*groups, value])
