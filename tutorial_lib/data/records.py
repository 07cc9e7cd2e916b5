"""TFRecord files in, a tf.data pipeline out.

A record is one `tf.train.Example` with these features:

    version  int64   RECORD_VERSION
    id       bytes   name of the sample in its source
    image    bytes   the picture as JPEG, as it was; RGB or gray
    labels   bytes   the label map as gray PNG: class numbers, 255 void

Encoded pictures, not raw pixels: a record is about as large as the file that it came from.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from tutorial_lib.data import data_home
from tutorial_lib.data.cache import cached_folder
from tutorial_lib.data.images import VOID, Sample
from tutorial_lib.errors import InputError

RECORD_VERSION = 1
INDEX = "index.json"
FEATURES = {
    "version": tf.io.FixedLenFeature([], tf.int64),
    "id": tf.io.FixedLenFeature([], tf.string),
    "image": tf.io.FixedLenFeature([], tf.string),
    "labels": tf.io.FixedLenFeature([], tf.string),
}


def cached_records(
    name: str, sources: Iterable[Path], samples: Callable[[], Iterable[Sample]], shards: int = 4
) -> Path:
    """Convert samples to records, unless that was done before; return their folder.

    Args:
        name: Start of the folder's name; name in it all that the labels depend on.
        sources: The files that the samples are made from: when one of them changes in size or
            time, the records are made again.
        samples: Called to read the samples when records have to be made.
        shards: Number of files.

    Raises:
        InputError: if a source is missing, a sample is damaged, or the cache cannot be written.
    """
    digest = hashlib.sha256(f"{RECORD_VERSION} {shards}".encode())
    for path in sources:
        try:
            state = path.stat()
        except OSError:
            raise InputError(f"{path} is missing; see data/README.md for the layout") from None
        digest.update(f"{path.resolve()} {state.st_size} {state.st_mtime_ns}".encode())
    folder = data_home() / "cache" / f"records-{name}-{digest.hexdigest()[:12]}"
    return cached_folder(folder, lambda partial: write_records(samples(), partial, shards))


def write_records(samples: Iterable[Sample], folder: Path, shards: int = 4) -> int:
    """Write samples into `shards` files, dealt out in turn, and an index; return their number.

    Raises:
        InputError: if there are no samples.
    """
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"{shard:05d}-of-{shards:05d}.tfrecord" for shard in range(shards)]
    writers = [tf.io.TFRecordWriter(str(folder / name)) for name in names]
    counts = [0] * shards
    try:
        for number, sample in enumerate(samples):
            writers[number % shards].write(encode(sample))
            counts[number % shards] += 1
    finally:
        for writer in writers:
            writer.close()
    if not sum(counts):
        raise InputError("there are no samples to convert; is the split empty?")
    index = {"version": RECORD_VERSION, "shards": dict(zip(names, counts, strict=True))}
    (folder / INDEX).write_text(json.dumps(index, indent=1), encoding="utf-8")
    return sum(counts)


def encode(sample: Sample) -> bytes:
    """Return a sample as a serialized `tf.train.Example`."""

    def text(value: bytes) -> tf.train.Feature:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    features = {
        "version": tf.train.Feature(int64_list=tf.train.Int64List(value=[RECORD_VERSION])),
        "id": text(sample.id.encode()),
        "image": text(jpeg_bytes(sample)),
        "labels": text(png_bytes(sample.labels)),
    }
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


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
    """Return a label map as gray PNG."""
    buffer = io.BytesIO()
    Image.fromarray(labels).save(buffer, "PNG")
    return buffer.getvalue()


def decode(record: tf.Tensor) -> dict[str, tf.Tensor]:
    """Return id (string), image (uint8 HWC) and labels (uint8 HW) of a serialized record."""
    example = tf.io.parse_single_example(record, FEATURES)
    return {
        "id": example["id"],
        "image": tf.io.decode_jpeg(example["image"], channels=3, dct_method="INTEGER_ACCURATE"),
        "labels": tf.io.decode_png(example["labels"], channels=1)[..., 0],
    }


def read_records(folder: Path, shuffle_seed: int | None = None) -> tf.data.Dataset:
    """Read records: a dataset of dicts as `decode` returns them.

    Args:
        folder: As written by `write_records`.
        shuffle_seed: Shuffle, anew in each epoch, but the same way for the same seed; None keeps
            the order of the files.

    Raises:
        InputError: if the folder holds no records of this version.
    """
    index = read_index(folder)
    files = tf.data.Dataset.from_tensor_slices([str(folder / name) for name in index["shards"]])
    dataset = files.interleave(
        tf.data.TFRecordDataset,
        cycle_length=len(index["shards"]),
        num_parallel_calls=tf.data.AUTOTUNE,
    )
    if shuffle_seed is not None:
        dataset = dataset.shuffle(count(folder), seed=shuffle_seed)
    dataset = dataset.map(decode, num_parallel_calls=tf.data.AUTOTUNE)
    return dataset.apply(tf.data.experimental.assert_cardinality(count(folder)))


def read_index(folder: Path) -> dict:
    """Return the index of a folder of records.

    Raises:
        InputError: if it is missing or of another version.
    """
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise InputError(f"{folder} holds no {INDEX}; convert the data set again") from None
    if index.get("version") != RECORD_VERSION:
        raise InputError(f"{folder} has records of another version; convert the data set again")
    return index


def count(folder: Path) -> int:
    """Return the number of records in a folder."""
    return sum(read_index(folder)["shards"].values())


def fit_inside(image: tf.Tensor, labels: tf.Tensor, size: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Scale a picture and its labels so that the longer side is `size` pixels.

    Labels are class numbers, so they take the nearest one: between cat (17) and void (255) lies no
    third thing, and an average of the two would be a label of nothing.

    Returns:
        image float32 from -1 (black) to 1 (white), labels uint8.
    """
    shape = tf.shape(image)[:2]
    scale = size / tf.reduce_max(shape)
    target = tf.maximum(1, tf.cast(tf.round(tf.cast(shape, tf.float64) * scale), tf.int32))
    image = tf.image.resize(image, target, antialias=True) / 127.5 - 1.0
    labels = tf.image.resize(labels[..., None], target, method="nearest")[..., 0]
    return tf.clip_by_value(image, -1.0, 1.0), labels


def mirror_pad(image: tf.Tensor, size: int) -> tf.Tensor:
    """Center a picture on a square of `size` pixels and continue it by mirroring.

    The U-Net paper extrapolates the border region so; mirroring goes on as often as needed, so
    that even a thin picture fills the square.
    """
    for axis in (0, 1):
        length = tf.shape(image)[axis]
        positions = tf.range(size) - (size - length) // 2
        # Reflected without repeating the edge pixel, positions have the period 2 (length - 1).
        period = tf.maximum(2 * (length - 1), 1)
        positions = tf.math.floormod(positions, period)
        image = tf.gather(image, tf.minimum(positions, period - positions), axis=axis)
    return image


def void_pad(labels: tf.Tensor, size: int) -> tf.Tensor:
    """Center a label map on a square of `size` pixels; what is outside is void."""
    shape = tf.shape(labels)
    before = (size - shape) // 2
    padding = tf.stack([before, size - shape - before], axis=1)
    return tf.pad(labels, padding, constant_values=VOID)


def augment(image: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor):
    """Mirror left to right and change the brightness and contrast, at random by `seed` (int64 [2]).

    Whatever moves pixels moves picture and labels together.
    """
    flip, gain, shift = tf.unstack(tf.random.stateless_uniform([3], seed))
    image = tf.cond(flip < 0.5, lambda: tf.reverse(image, [1]), lambda: image)
    labels = tf.cond(flip < 0.5, lambda: tf.reverse(labels, [1]), lambda: labels)
    image = image * (0.7 + 0.6 * gain) + 0.6 * (shift - 0.5)
    return tf.clip_by_value(image, -1.0, 1.0), labels


def random_crop(image: tf.Tensor, labels: tf.Tensor, size: int, seed: tf.Tensor):
    """Scale a picture by 0.75 to 1.33 at random and cut out a square; `seed` is int64 [2].

    Where the picture is smaller than the square, it is filled up with gray, the labels with void.
    """
    draw = tf.random.stateless_uniform([3], seed)
    scale = 0.75 * (1.33 / 0.75) ** draw[0]
    target = tf.cast(tf.round(tf.cast(tf.shape(labels), tf.float32) * scale), tf.int32)
    image = tf.image.resize(image, target, antialias=True)
    labels = tf.image.resize(labels[..., None], target, method="nearest")[..., 0]
    lacking = tf.maximum(size - target, 0)
    padding = tf.stack([lacking // 2, lacking - lacking // 2], axis=1)
    image = tf.pad(image, tf.concat([padding, [[0, 0]]], axis=0))
    labels = tf.pad(labels, padding, constant_values=VOID)
    room = tf.cast(tf.shape(labels) - size + 1, tf.float32)
    top, left = tf.unstack(tf.cast(draw[1:] * room, tf.int32))
    return image[top : top + size, left : left + size], labels[top : top + size, left : left + size]


def segmentation_batches(
    folder: Path,
    input_size: int,
    output_size: int,
    batch_size: int,
    seed: int | None = None,
) -> tf.data.Dataset:
    """Return batches to train or score a net whose output is smaller than its input.

    The picture is scaled to fit into the output square, and mirrored out to the input square
    around it; labels and output cover the same pixels.

    Args:
        folder: Records.
        input_size, output_size: Sides of the net's input and output in pixels.
        batch_size: The last batch may be smaller.
        seed: Shuffle and augment by it; None for scoring.

    Returns:
        Pairs of image float32 (batch, input_size, input_size, 3) and labels uint8
        (batch, output_size, output_size).
    """

    def prepare(sample, seeds):
        image, labels = fit_inside(sample["image"], sample["labels"], output_size)
        if seed is not None:
            image, labels = augment(image, labels, seeds)
        image = tf.ensure_shape(mirror_pad(image, input_size), (input_size, input_size, 3))
        labels = tf.ensure_shape(void_pad(labels, output_size), (output_size, output_size))
        return image, labels

    return _batches(folder, prepare, batch_size, seed)


def crop_batches(folder: Path, size: int, batch_size: int, seed: int) -> tf.data.Dataset:
    """Return shuffled, augmented batches to train a net whose output is as large as its input.

    Each picture is scaled by chance, mirrored by chance, and cut to a square.

    Args:
        folder: Records.
        size: Side of the square in pixels.
        batch_size: The last batch may be smaller.
        seed: Shuffle and augment by it.

    Returns:
        Pairs of image float32 (batch, size, size, 3) and labels uint8 (batch, size, size).
    """

    def prepare(sample, seeds):
        image = tf.cast(sample["image"], tf.float32) / 127.5 - 1.0
        image, labels = random_crop(image, sample["labels"], size, seeds)
        image, labels = augment(image, labels, seeds + 1)
        return tf.ensure_shape(image, (size, size, 3)), tf.ensure_shape(labels, (size, size))

    return _batches(folder, prepare, batch_size, seed)


def _batches(folder: Path, prepare: Callable, batch_size: int, seed: int | None):
    """Shuffle, prepare in parallel, batch, prefetch.

    A running number seeds what `prepare` does by chance: it is another one in every epoch, but the
    same in every run.
    """
    numbers = tf.data.Dataset.random(seed=seed or 0)
    dataset = tf.data.Dataset.zip(read_records(folder, shuffle_seed=seed), numbers)
    dataset = dataset.map(
        lambda sample, number: prepare(sample, tf.stack([number, seed or 0])),
        num_parallel_calls=tf.data.AUTOTUNE,
    )
    return dataset.batch(batch_size).prefetch(tf.data.AUTOTUNE)
