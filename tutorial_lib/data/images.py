"""Images and their label maps: reading photographs, cutting, scaling and normalizing."""

from __future__ import annotations

import contextlib
import functools
import io
import warnings
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, ImageCms

from tutorial_lib.errors import InputError

VOID = 255  # the label of pixels that count nowhere
LARGEST = 100_000_000  # pixels of a photograph; more would need more than a gigabyte to decode
RAW_SUFFIXES = frozenset(
    ".3fr .arw .cr2 .cr3 .crw .dng .erf .iiq .kdc .mrw .nef .nrw .orf .pef .raf .rw2 .sr2 .srf"
    " .srw .x3f".split()
)
DNG_VERSION, NEW_SUBFILE_TYPE, SUB_IFDS = 50706, 254, 330  # TIFF tags
SENSOR_BITS = (8, 10, 12, 14, 16)
TRANSPOSITIONS = {  # how to turn pixels upright, by EXIF orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}

SIDEWAYS = [TRANSPOSITIONS[n] for n in (5, 6, 7, 8)]  # they exchange height and width


@dataclass(frozen=True)
class Sample:
    """One photograph with its labels.

    Attributes:
        id: Name without suffix.
        image: uint8 (height, width, 3), RGB.
        labels: uint8 (height, width), class numbers, 255 void.
        path: The photograph's file, if there is one.
    """

    id: str
    image: np.ndarray
    labels: np.ndarray
    path: Path | None = None


def read_photograph(path: str | Path) -> np.ndarray:
    """Read any photograph as uint8 (height, width, 3), RGB in the sRGB color space, upright.

    A camera that was held sideways notes that in the file instead of turning the pixels (EXIF); we
    turn them. Colors are converted by the file's ICC profile, deep gray values are scaled by their
    range, and transparent images are laid on white. Of an animation we take the first frame. Raises
    InputError if the file is missing, damaged, a raw camera file or larger than 100 megapixels.
    """
    with opened(Path(path)) as image:
        return _as_rgb(upright(image))


def check_size(path: Path, image: np.ndarray, size: tuple[int, int]) -> None:
    """Compare the (height, width) of a photograph with that of its annotation.

    Raises InputError if they differ; it says so if the EXIF orientation of the file is the reason.
    """
    if image.shape[:2] == tuple(size):
        return
    with opened(path) as file:
        sideways = _transposition(file) in SIDEWAYS
    (height, width), (tall, wide) = image.shape[:2], size
    hint = "replace one of the two"
    if sideways and (height, width) == (wide, tall):
        hint = (
            "the mask was made without the file's EXIF orientation: save the image without that, "
            "or turn the mask"
        )
    raise InputError(f"{path} is {width}×{height} pixels, its mask {wide}×{tall}; {hint}")


def is_plain_jpeg(path: Path) -> bool:
    """Return whether any JPEG decoder gets from the file the pixels of `read_photograph`.

    That is so without EXIF orientation, CMYK colors or a color profile other than sRGB.
    """
    with opened(path) as image:
        plain = image.format == "JPEG" and image.mode in ("RGB", "L")
        return plain and _transposition(image) is None and _to_srgb(image) is None


@contextlib.contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """Open an image file with Pillow; whatever is wrong with it is one line that names the file."""
    if path.suffix.lower() in RAW_SUFFIXES and path.is_file():
        raise _raw_file(path)
    try:
        with warnings.catch_warnings():
            # Pillow warns of large images, for which we have a limit of our own, and of odd tags.
            warnings.simplefilter("ignore")
            image = Image.open(path)
        with image:
            image.filename = ""  # or Pillow maps it into memory, and garbles sideways gray TIFFs
            tags = getattr(image, "tag_v2", {})
            preview = SUB_IFDS in tags and tags.get(NEW_SUBFILE_TYPE, 0) & 1
            if DNG_VERSION in tags or preview:
                raise _raw_file(path)
            if image.width * image.height > LARGEST:
                raise Image.DecompressionBombError
            yield image
    except InputError:
        raise
    except (FileNotFoundError, NotADirectoryError):
        raise InputError(
            f"{path} is missing; give the name of a photograph, or put it there (data/README.md "
            "shows the layout of data sets)"
        ) from None
    except Image.DecompressionBombError:
        raise InputError(f"{path} is too large; scale it down to 100 megapixels") from None
    except Exception as error:  # damaged bytes make Pillow raise whatever they run into
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        reason = reason or type(error).__name__
        raise InputError(f"{path} cannot be decoded ({reason}); give a JPEG or PNG file") from None


def _raw_file(path: Path) -> InputError:
    return InputError(f"{path} is a raw camera file; convert it to JPEG or PNG first")


def upright(image: Image.Image) -> Image.Image:
    """Return an image turned as its EXIF orientation says."""
    with warnings.catch_warnings(action="ignore"):
        image.load()  # of a TIFF, Pillow turns the pixels itself, and warns of odd tags
    turn = _transposition(image)
    return image if turn is None else image.transpose(turn)


def _transposition(image: Image.Image) -> Image.Transpose | None:
    """Return how to turn an image upright, None if it is or its EXIF data are damaged.

    ImageOps.exif_transpose would also write the other tags anew, and fail at one that a careless
    program mistyped.
    """
    with warnings.catch_warnings(action="ignore"), contextlib.suppress(Exception):
        return TRANSPOSITIONS.get(image.getexif().get(ExifTags.Base.Orientation))
    return None


def _as_rgb(image: Image.Image) -> np.ndarray:
    """Return a Pillow image of any mode as uint8 (height, width, 3), sRGB."""
    if image.mode in ("I", "F") or image.mode.startswith("I;16"):
        values = np.asarray(image)
        transparent = image.info.get("transparency")  # one gray value, of the file's depth
        opaque = np.full(values.shape, True) if transparent is None else values != transparent
        return as_rgb(np.dstack([_as_bytes(values), np.uint8(255) * opaque]))
    alpha = None
    if image.has_transparency_data or image.mode == "La":
        image = image.convert("LA" if image.mode in ("L", "LA", "La") else "RGBA")
        alpha = np.asarray(image.getchannel("A"))
    transform = _to_srgb(image)
    if transform is None:
        colors = image.convert("RGB")
    else:
        colors = transform.apply(image.convert(transform.input_mode))
    return np.asarray(colors) if alpha is None else as_rgb(np.dstack([colors, alpha]))


def _as_bytes(values: np.ndarray) -> np.ndarray:
    """Return gray values of 16 or 32 bits as uint8.

    The file does not say which number is white. Of 16 bits cameras use 10, 12, 14 or all; we take
    the fewest that hold the largest value. Of 32 bits white is 1 (floats only) or 255 if none is
    larger, else the largest value. What is negative or no finite number is black.
    """
    if values.dtype.kind == "u":
        bits = next(b for b in SENSOR_BITS if int(values.max()) < 2**b)
        return (values.astype(np.uint16) >> (bits - 8)).astype(np.uint8)
    usual = (1, 255) if values.dtype.kind == "f" else (255,)
    values = np.where(np.isfinite(values), values, 0).clip(0).astype(float)
    white = next((white for white in usual if values.max() <= white), values.max())
    return np.rint(values / white * 255).astype(np.uint8)


def _to_srgb(image: Image.Image) -> ImageCms.ImageCmsTransform | None:
    """Return the transform from an image's color profile to sRGB, None if there is none to do."""
    mode = image.mode if image.mode in ("L", "CMYK") else "L" if image.mode == "LA" else "RGB"
    profile = image.info.get("icc_profile")
    return _transform(profile, mode) if isinstance(profile, bytes) else None


@functools.lru_cache(maxsize=16)
def _transform(profile: bytes, mode: str) -> ImageCms.ImageCmsTransform | None:
    """Build the transform from a profile to sRGB; None if it changes nothing or is unusable."""
    levels = np.linspace(0, 255, 6).astype(np.uint8)
    colors = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(-1, 6, 3)
    probe = Image.fromarray(colors).convert(mode)
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        target = ImageCms.createProfile("sRGB")
        transform = ImageCms.buildTransform(source, target, mode, "RGB")
        change = np.asarray(transform.apply(probe)).astype(int) - np.asarray(probe.convert("RGB"))
    except (ImageCms.PyCMSError, OSError, ValueError):
        return None  # damaged, or for another kind of colors than the file holds
    return transform if np.abs(change).max() > 4 else None  # variants of sRGB differ by rounding


def as_rgb(image: np.ndarray) -> np.ndarray:
    """Return an image array as uint8 (height, width, 3).

    It may be uint8 or uint16; (height, width) gray, or with 1 (gray), 2 (gray and opacity), 3 (RGB)
    or 4 (RGB and opacity) channels. What is transparent becomes white. Raises InputError if it is
    none of these, or has no pixels.
    """
    image = np.asarray(image)
    channels = image.shape[2] if image.ndim == 3 else 1 if image.ndim == 2 else 0
    known = image.dtype in (np.uint8, np.uint16) and channels in (1, 2, 3, 4)
    if not known or not image.size:
        raise InputError(
            f"expected a uint8 image (height, width, 3), got {image.dtype} {image.shape}"
        )
    if image.dtype == np.uint16:
        image = (image >> 8).astype(np.uint8)
    image = image.reshape(*image.shape[:2], channels)
    colors = image[..., :3] if channels > 2 else np.repeat(image[..., :1], 3, axis=2)
    if channels in (2, 4):
        alpha = image[..., -1:] / np.float32(255)
        colors = np.rint(colors * alpha + 255 * (1 - alpha)).astype(np.uint8)
    return colors


def showcase(samples: Iterable[Sample], label: int, size: int) -> Sample:
    """Return a square crop, `size` pixels wide, of the sample that shows a class best.

    That is the sample with the most pixels of the class, preferably among those whose border does
    not cut the object off.
    """

    def rank(sample: Sample) -> tuple[bool, int]:
        mask = sample.labels == label
        cut_off = any(side.any() for side in (mask[0], mask[-1], mask[:, 0], mask[:, -1]))
        return not cut_off and mask.any(), mask.sum()

    best = max(samples, key=rank)
    return crop_around(best, best.labels == label, size)


def crop_around(sample: Sample, mask: np.ndarray, size: int) -> Sample:
    """Cut out a square, `size` pixels wide, with the mask as near to its center as possible.

    Where the image is smaller than the square, all of it stays. If the mask, bool (height, width),
    is empty, we crop at the center of the image.
    """
    window = []
    for axis, side in enumerate(mask.shape):
        found = np.flatnonzero(mask.any(axis=1 - axis))
        first, last = (found[0], found[-1]) if found.size else (0, side - 1)
        start = np.clip((first + last + 1 - size) // 2, 0, max(side - size, 0))
        window.append(slice(start, start + size))
    return Sample(sample.id, sample.image[tuple(window)], sample.labels[tuple(window)])


def normalize(image: np.ndarray) -> np.ndarray:
    """Map uint8 colors to float32 from -1 (black) to 1 (white), as all our networks expect."""
    return image.astype(np.float32) / 127.5 - 1


def to_uint8(image: np.ndarray) -> np.ndarray:
    """Map float32 from -1 to 1 back to uint8 colors for display: the inverse of `normalize`."""
    return np.uint8(np.rint((np.asarray(image) + 1) * 127.5))


def center_crop(images: np.ndarray, size: int | tuple[int, int]) -> np.ndarray:
    """Cut out the center of images, e.g. the part of a network's input that its output covers.

    Args:
        images: (batch, height, width, channels).
        size: Side of the square, or (height, width).
    """
    height, width = (size, size) if isinstance(size, int) else size
    top, left = (images.shape[1] - height) // 2, (images.shape[2] - width) // 2
    return images[:, top : top + height, left : left + width]


def mosaic(samples: Sequence[Sample]) -> Sample:
    """Join four samples into one, two by two, each cut to the smallest side of all.

    Raises InputError if there are not four.
    """
    if len(samples) != 4:
        raise InputError(f"a mosaic is made of four samples, not of {len(samples)}")
    side = min(min(sample.labels.shape) for sample in samples)

    def joined(arrays: Sequence[np.ndarray]) -> np.ndarray:
        a, b, c, d = (array[:side, :side] for array in arrays)
        return np.concatenate([np.concatenate([a, b], axis=1), np.concatenate([c, d], axis=1)])

    image, labels = joined([s.image for s in samples]), joined([s.labels for s in samples])
    return Sample("mosaic", image, labels)


def resize_short_side(sample: Sample, short_side: int) -> Sample:
    """Scale a sample down so that its shorter side is `short_side` pixels; never up.

    The image is averaged. Each label is that of the nearest pixel, because the mean of two class
    numbers is another class.
    """
    height, width = sample.labels.shape
    if min(height, width) <= short_side:
        return sample
    scale = short_side / min(height, width)
    size = round(width * scale), round(height * scale)
    image = Image.fromarray(sample.image).resize(size, Image.Resampling.BOX)
    labels = Image.fromarray(sample.labels).resize(size, Image.Resampling.NEAREST)
    return Sample(sample.id, np.asarray(image), np.asarray(labels))
