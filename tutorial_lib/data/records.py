"""Records: images and label maps in TFRecord files, a few large files instead of many small ones.

A TFRecord file is a sequence of byte strings. Each of ours is one `tf.train.Example` with these
features:

    version  int64   RECORD_VERSION
    id       bytes   the name of the sample in its source
    image    bytes   the image as JPEG, RGB or gray
    labels   bytes   the label map as 8-bit gray PNG: class numbers, 255 for void

Both stay compressed, so a record is about as large as the files that it came from. `pipeline` makes
training batches from records.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import re
import shutil
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

import numpy as np
import tensorflow as tf
from PIL import Image

from tutorial_lib.data import data_home
from tutorial_lib.data.cache import cached_folder, cannot_write, file_hash
from tutorial_lib.data.images import Sample, is_plain_jpeg
from tutorial_lib.errors import InputError, write_atomically

RECORD_VERSION = 2  # of the features above
# Increase this when the same sample gives other bytes that `decode` still understands. Records in a
# cache, and unfinished ones, are then made again.
ENCODING = 5
INDEX = "index.json"
UNFINISHED = "unfinished-records"  # the directory in which shards wait until all are complete
SHARD = re.compile(r"\d{5,}-of-\d{5,}\.tfrecord")
FEATURES = {name: tf.io.FixedLenFeature([], tf.string) for name in ("id", "image", "labels")}
SHUFFLE_BUFFER = 4096  # records
SHARDS = 4


def encode_example(sample: Sample) -> bytes:
    """Return a sample as a serialized `tf.train.Example`."""

    def bytes_feature(value: bytes) -> tf.train.Feature:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    version = tf.train.Int64List(value=[RECORD_VERSION])
    features = {
        "version": tf.train.Feature(int64_list=version),
        "id": bytes_feature(sample.id.encode()),
        "image": bytes_feature(jpeg_bytes(sample)),
        "labels": bytes_feature(png_bytes(sample.labels)),
    }
    example = tf.train.Example(features=tf.train.Features(feature=features))
    return example.SerializeToString(deterministic=True)


def decode(record: tf.Tensor) -> dict[str, tf.Tensor]:
    """Return id (string), image (uint8 HWC) and labels (uint8 HW) of a serialized example."""
    example = tf.io.parse_single_example(record, FEATURES)
    return {
        "id": example["id"],
        "image": decode_jpeg(example["image"]),
        "labels": tf.squeeze(tf.io.decode_png(example["labels"], channels=1), axis=-1),
    }


def decode_jpeg(content: tf.Tensor) -> tf.Tensor:
    """Decode a JPEG to uint8 (height, width, 3), pixel for pixel as Pillow does.

    Whether a file is complete is checked at conversion. A damaged byte behind the last pixel, which
    Pillow never reads, is no reason to stop a training, so TensorFlow may ignore it.
    """
    exact = {"dct_method": "INTEGER_ACCURATE", "try_recover_truncated": True}
    return tf.io.decode_jpeg(content, channels=3, **exact)


def jpeg_bytes(sample: Sample) -> bytes:
    """Return the image as JPEG: the bytes of its file where possible, else encoded."""
    if sample.path is not None and is_plain_jpeg(sample.path):
        return sample.path.read_bytes()
    buffer = io.BytesIO()
    Image.fromarray(sample.image).save(buffer, "JPEG", quality=95, subsampling=0)
    return buffer.getvalue()


def png_bytes(labels: np.ndarray) -> bytes:
    """Return a label map, uint8 (height, width), as 8-bit gray PNG.

    Higher compression levels save a third of the bytes and take up to twice as long to decode.
    """
    if labels.dtype != np.uint8 or labels.ndim != 2:
        raise InputError(f"expected a uint8 label map, got {labels.dtype} {labels.shape}")
    buffer = io.BytesIO()
    Image.fromarray(labels).save(buffer, "PNG", compress_level=3)
    return buffer.getvalue()


def cached_records(name: str, sources: Iterable[Path], samples: Callable[[], Iterable]) -> Path:
    """Convert samples to records in the cache, unless they are there already; return their folder.

    Args:
        name: Start of the folder's name; name in it everything that the labels depend on.
        sources: The files that the samples are read from. When the size or time of one changes,
            the records are made again.
        samples: Called for the samples when records have to be made.

    Raises:
        InputError: if a source is missing, a sample is damaged, or the cache cannot be written.
    """
    digest = hashlib.sha256(f"{RECORD_VERSION} {ENCODING} {SHARDS}".encode())
    for path in sources:
        try:
            digest.update(f"{path.resolve()} {_file_state(path)}".encode())
        except OSError:
            raise InputError(f"{path} is missing; see data/README.md for the layout") from None
    folder = data_home() / "cache" / f"records-{name}-{digest.hexdigest()[:12]}"
    return cached_folder(folder, lambda partial: write_records(samples(), partial))


def write_records(
    samples: Iterable,
    folder: Path,
    shards: int = SHARDS,
    workers: int = 1,
    *,
    tolerant: bool = False,
    left_out: Sequence[str] = (),
    progress: bool = False,
) -> int:
    """Write samples to `shards` files and an index; return the number of records.

    Sample n goes into file n modulo `shards`. The bytes do not depend on the number of workers.
    After an interruption the same call writes only the files that are missing. Older records in the
    folder are replaced when all new files are complete.

    Args:
        samples: `Sample`s, or recipes such as `CocoSplit.recipe`, whose `read` returns one and
            whose `files` are what it reads.
        workers: Threads; each writes one file at a time. Most of the time goes into decoding JPEG
            and compressing PNG, where Pillow does not hold Python's lock.
        tolerant: Skip damaged samples and list them in the index under "problems"; otherwise the
            first one raises an error.
        left_out: What the reader has left out already, one line per entry; listed first.

    Raises:
        InputError: if there are no samples, one is damaged, or the folder cannot be written or
            holds anything except records.
    """
    from tqdm import tqdm

    # Samples in memory are encoded one by one, so that not all of their pixels have to be held.
    samples = [encode_example(s) if isinstance(s, Sample) else s for s in samples]
    _old_shards(folder)  # raises an error before the work if the folder holds anything else
    number = max(1, min(shards, len(samples)))
    unfinished, stop = folder / UNFINISHED, threading.Event()
    try:
        unfinished.mkdir(parents=True, exist_ok=True)
        with (
            tqdm(total=len(samples), unit=" images", disable=not progress, leave=False) as bar,
            ThreadPoolExecutor(max(1, workers)) as pool,
        ):
            paths = [unfinished / f"{n:05d}-of-{number:05d}.tfrecord" for n in range(number)]
            tasks = [
                pool.submit(_write_shard, path, samples[n::number], tolerant, stop, bar.update)
                for n, path in enumerate(paths)
            ]
            try:
                for task in as_completed(tasks):
                    task.result()  # raises the error of the thread
            finally:
                stop.set()  # after an error or Ctrl-C the other threads stop, too
        states = {path.name: task.result() for path, task in zip(paths, tasks, strict=True)}
        return _put_in_place(folder, states, left_out)
    except tf.errors.OpError as error:  # the errors of TensorFlow's writer
        raise cannot_write(folder, OSError(error.message)) from None
    except OSError as error:
        raise cannot_write(folder, error) from None
    finally:
        with contextlib.suppress(OSError):  # finished files stay there for the next call
            unfinished.rmdir()


def _write_shard(path: Path, samples: Sequence, tolerant: bool, stop, written) -> dict:
    """Write one file, unless an earlier call has finished it; return what the index needs."""
    key, state_path = _key(samples, tolerant), path.with_suffix(".json")
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        state = json.loads(state_path.read_text(encoding="utf-8"))
        if state["key"] == key and state["sha256"] == file_hash(path):
            written(len(samples))
            return state
    partial, count, problems = path.with_name(f".{path.name}.part"), 0, []
    try:
        with tf.io.TFRecordWriter(str(partial)) as writer:
            for sample in samples:
                if stop.is_set():
                    return {}
                try:
                    encoded = isinstance(sample, bytes)
                    writer.write(sample if encoded else encode_example(sample.read()))
                    count += 1
                except InputError as problem:
                    if not tolerant:
                        raise
                    problems.append(str(problem))
                written(1)
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)
    state = {"records": count, "bytes": path.stat().st_size, "sha256": file_hash(path)}
    state |= {"key": key, "problems": problems}
    write_atomically(state_path, json.dumps(state))
    return state


def _key(samples: Sequence, tolerant: bool) -> str:
    """Return a digest of everything that the bytes of a file of records depend on."""
    digest = hashlib.sha256(f"{RECORD_VERSION} {ENCODING} {tolerant}".encode())
    for sample in samples:
        digest.update(sample if isinstance(sample, bytes) else repr(sample).encode())
        for path in getattr(sample, "files", ()):
            with contextlib.suppress(OSError):  # `read` reports a missing file
                digest.update(_file_state(path).encode())
    return digest.hexdigest()


def _file_state(path: Path) -> str:
    """Return a text that changes when the file does."""
    state = path.stat()
    return f"{state.st_size} {state.st_mtime_ns}"


def _old_shards(folder: Path) -> list[Path]:
    """Return the files of records that are in a folder already, of any version.

    Raises InputError if the folder holds anything else, which is not ours to replace.
    """
    if not {path.name for path in folder.glob("[!.]*")} - {UNFINISHED}:
        return []
    try:
        names = list(json.loads((folder / INDEX).read_text(encoding="utf-8"))["shards"])
        if all(map(SHARD.fullmatch, names)):
            return [folder / name for name in names]
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise InputError(f"{folder} holds files other than records; give a new or an empty folder")


def _put_in_place(folder: Path, states: dict[str, dict], left_out: Sequence[str]) -> int:
    """Replace older records by complete files; return the number of records.

    The index is written first. If this is interrupted, readers therefore notice that files are
    missing, and the next conversion knows what to replace.
    """
    keys = ("records", "bytes", "sha256")
    problems = [*left_out, *(line for state in states.values() for line in state["problems"])]
    index = {
        "version": RECORD_VERSION,
        "records": sum(state["records"] for state in states.values()),
        "shards": {name: {key: state[key] for key in keys} for name, state in states.items()},
        "problems": problems,
    }
    if not index["records"]:
        shutil.rmtree(folder / UNFINISHED)
        if not problems:
            raise InputError("there are no samples to convert; is the split empty?")
        raise InputError(f"all samples were left out ({len(problems)} problems): {problems[0]}")
    for old in _old_shards(folder):
        old.unlink(missing_ok=True)
    write_atomically(folder / INDEX, json.dumps(index, indent=1))
    for name in states:
        (folder / UNFINISHED / name).replace(folder / name)
    shutil.rmtree(folder / UNFINISHED)
    return index["records"]


def read_index(folder: Path) -> dict:
    """Return the index of a folder of records.

    Raises InputError if it is missing, damaged or of another version.
    """
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        shards = list(index["shards"].values())
        numbers = [index["records"], *(n for s in shards for n in (s["records"], s["bytes"]))]
        valid = index["version"] == RECORD_VERSION and shards
        valid = valid and all(type(n) is int for n in numbers)
        valid = valid and index["records"] == sum(shard["records"] for shard in shards)
        valid = valid and all(map(SHARD.fullmatch, index["shards"]))
    except (OSError, ValueError, AttributeError, KeyError, TypeError):
        valid = False
    if not valid:
        raise InputError(
            f"{folder / INDEX} is missing, damaged or of another version; "
            "convert the data set again"
        )
    return index


def count(folder: Path) -> int:
    """Return the number of records in a folder."""
    return read_index(folder)["records"]


def read_records(folder: Path, shuffle_seed=None, repeats: tf.Tensor | None = None):
    """Read records: a dataset of dicts as `decode` returns them.

    Files are read and decoded in parallel, in an order that is the same in every run.

    Args:
        folder: As written by `write_records`.
        shuffle_seed: Shuffle with this seed, an integer or an int64 tensor; None keeps the order of
            the files. Use another seed in each epoch.
        repeats: int64 (records,), how often each record comes, in the order of the files; see
            `pipeline.draw_repeats`. The sum must be the number of records.

    Raises:
        InputError: if the folder holds no records of this version, or a file is incomplete.
    """
    index = read_index(folder)
    for name, shard in index["shards"].items():
        size = (folder / name).stat().st_size if (folder / name).is_file() else 0
        if size != shard["bytes"]:
            raise InputError(
                f"{folder / name} is missing or incomplete ({size:,} of {shard['bytes']:,} bytes); "
                "convert the data set again"
            )
    files = tf.data.Dataset.from_tensor_slices([str(folder / name) for name in index["shards"]])
    dataset = files.interleave(
        tf.data.TFRecordDataset,
        cycle_length=len(index["shards"]),
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )
    if repeats is not None:
        dataset = dataset.enumerate().flat_map(
            lambda place, record: tf.data.Dataset.from_tensors(record).repeat(repeats[place])
        )
    if shuffle_seed is not None:
        buffer = min(index["records"], SHUFFLE_BUFFER)
        dataset = dataset.shuffle(buffer, seed=shuffle_seed, reshuffle_each_iteration=False)
    dataset = dataset.map(decode, num_parallel_calls=tf.data.AUTOTUNE)
    return dataset.apply(tf.data.experimental.assert_cardinality(index["records"]))


def find_damage(folder: Path) -> list[str]:
    """Return one line for each damaged file of records, with the number of its first bad record.

    Raises InputError if there is no index of this version.
    """
    damage = []
    for name, shard in read_index(folder)["shards"].items():
        path, number = folder / name, 0
        if not path.is_file():
            damage.append(f"{name} is missing")
        elif file_hash(path) != shard.get("sha256"):
            try:  # TensorFlow compares the checksum of each record
                for _ in tf.data.TFRecordDataset(str(path)):
                    number += 1
                damage.append(f"{name} has changed; its {number} records can be read")
            except tf.errors.DataLossError:
                damage.append(f"{name}: record {number + 1} is corrupt or incomplete")
    return damage
