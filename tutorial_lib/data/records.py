"""TFRecord files in, a tf.data pipeline out.

A record is one `tf.train.Example` with these features:

    version  int64   RECORD_VERSION
    id       bytes   name of the sample in its source
    image    bytes   the picture as JPEG, as it was; RGB or gray
    labels   bytes   the label map as gray PNG of 8 bits: class numbers, 255 void

Encoded pictures, not raw pixels: a record is about as large as the file that it came from.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import shutil
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import tensorflow as tf

from tutorial_lib.data import data_home
from tutorial_lib.data.cache import cached_folder, cannot_write, file_hash
from tutorial_lib.data.encoding import PACKING, RECORD_VERSION, Recipe, encoded
from tutorial_lib.data.images import VOID, Sample
from tutorial_lib.data.shards import Shard, damaged_records, finished, write_shards
from tutorial_lib.errors import InputError, write_atomically

INDEX = "index.json"
UNFINISHED = "unfinished-records"  # within a folder: where new ones lie until they are whole
SHARD = re.compile(r"\d{5,}-of-\d{5,}\.tfrecord")
FEATURES = {
    "version": tf.io.FixedLenFeature([], tf.int64),
    "id": tf.io.FixedLenFeature([], tf.string),
    "image": tf.io.FixedLenFeature([], tf.string),
    "labels": tf.io.FixedLenFeature([], tf.string),
}
SHUFFLED = 4096  # most records that wait in memory to be drawn from


def cached_records(
    name: str,
    sources: Iterable[Path],
    samples: Callable[[], Iterable[Recipe | Sample]],
    shards: int = 4,
    workers: int = 1,
) -> Path:
    """Convert samples to records, unless that was done before; return their folder.

    Args:
        name: Start of the folder's name; name in it all that the labels depend on.
        sources: The files that the samples are made from: when one of them changes in size or
            time, the records are made again.
        samples: Called to get the samples, or their recipes, when records have to be made.
        shards: Number of files.
        workers: Processes, at most one a file.

    Raises:
        InputError: if a source is missing, a sample is damaged, or the cache cannot be written.
    """
    digest = hashlib.sha256(f"{RECORD_VERSION} {PACKING} {shards}".encode())
    for path in sources:
        try:
            state = path.stat()
        except OSError:
            raise InputError(f"{path} is missing; see data/README.md for the layout") from None
        digest.update(f"{path.resolve()} {state.st_size} {state.st_mtime_ns}".encode())
    folder = data_home() / "cache" / f"records-{name}-{digest.hexdigest()[:12]}"
    return cached_folder(folder, lambda partial: write_records(samples(), partial, shards, workers))


def write_records(
    samples: Iterable[Recipe | Sample],
    folder: Path,
    shards: int = 4,
    workers: int = 1,
    *,
    tolerant: bool = False,
    progress: bool = False,
) -> int:
    """Write samples into `shards` files, dealt out in turn, and an index; return their number.

    The bytes of the files depend on the samples and the number of shards alone, not on the number
    of workers. Shards are kept apart until all are whole, and then take the place of older records.
    If the conversion is interrupted, the same call goes on with the shards that are missing.

    Args:
        samples: The samples, or their recipes.
        folder: Where to write.
        shards: Number of files.
        workers: Processes; each writes one file at a time, so more than there are files are idle.
        tolerant: Leave out damaged samples, and list them in the index under "problems", instead
            of stopping at the first one.
        progress: Show a bar.

    Raises:
        InputError: if there are no samples, one is damaged, or the folder cannot be written or
            holds something else than records.
    """
    from tqdm import tqdm

    # Samples that come with their pixels are encoded one by one, so that they need not all be held.
    samples = [encoded(s) if isinstance(s, Sample) else s for s in samples]
    if not samples:
        raise InputError("there are no samples to convert; is the split empty?")
    _old_shards(folder)  # refuses a folder that holds something else, before the work
    number = max(1, min(shards, len(samples)))
    unfinished = folder / UNFINISHED
    parts = [
        Shard(unfinished / f"{n:05d}-of-{number:05d}.tfrecord", tuple(samples[n::number]), tolerant)
        for n in range(number)
    ]
    try:
        unfinished.mkdir(parents=True, exist_ok=True)
        with tqdm(total=len(samples), unit=" pictures", disable=not progress, leave=False) as bar:
            todo = [part for part in parts if finished(part) is None]
            bar.update(len(samples) - sum(len(part.samples) for part in todo))
            write_shards(todo, workers, bar.update)
        return _put_in_place(folder, parts)
    except OSError as error:
        raise cannot_write(folder, error) from None
    finally:
        with contextlib.suppress(OSError):  # what is in it is needed to go on
            unfinished.rmdir()


def _old_shards(folder: Path) -> list[Path]:
    """Return the files of the records that lie in a folder already, of any version.

    Raises:
        InputError: if something else lies there, which is not ours to replace.
    """
    if not {path.name for path in folder.glob("[!.]*")} - {UNFINISHED}:
        return []
    try:
        names = list(json.loads((folder / INDEX).read_text(encoding="utf-8"))["shards"])
        if all(map(SHARD.fullmatch, names)):
            return [folder / name for name in names]
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise InputError(f"{folder} holds something else than records; give a new or an empty folder")


def _put_in_place(folder: Path, parts: list[Shard]) -> int:
    """Replace older records by the parts, which are whole, and return the number of records.

    The index always names every file of records in the folder, so whatever interrupts this, it is
    noticed when they are read, and the next conversion knows what to replace.

    Raises:
        InputError: if there are none.
    """
    texts = {part.path.name: part.state_path.read_text(encoding="utf-8") for part in parts}
    states = {name: json.loads(text) for name, text in texts.items()}
    count = sum(state["records"] for state in states.values())
    problems = [line for state in states.values() for line in state["problems"]]
    if not count:
        shutil.rmtree(folder / UNFINISHED)
        raise InputError(f"none of {len(problems)} samples could be read; the first: {problems[0]}")
    index = {
        "version": RECORD_VERSION,
        "records": count,
        "shards": {
            name: {key: state[key] for key in ("records", "bytes", "sha256")}
            for name, state in states.items()
        },
        "problems": problems,
    }
    for old in _old_shards(folder):
        old.unlink(missing_ok=True)
    write_atomically(folder / INDEX, json.dumps(index, indent=1))
    for part in parts:
        part.path.replace(folder / part.path.name)
    shutil.rmtree(folder / UNFINISHED)
    return count


def decode(record: tf.Tensor) -> dict[str, tf.Tensor]:
    """Return id (string), image (uint8 HWC) and labels (uint8 HW) of a serialized record."""
    example = tf.io.parse_single_example(record, FEATURES)
    return {
        "id": example["id"],
        "image": tf.io.decode_jpeg(example["image"], channels=3, dct_method="INTEGER_ACCURATE"),
        "labels": tf.squeeze(tf.io.decode_png(example["labels"], channels=1), axis=-1),
    }


def read_records(folder: Path, shuffle_seed=None, shard: tuple[int, int] = (0, 1), chances=None):
    """Read records: a dataset of dicts as `decode` returns them.

    The files are read several at a time and decoded in parallel, in an order that is the same in
    every run.

    Args:
        folder: As written by `write_records`.
        shuffle_seed: Shuffle by it, a whole number or an int64 tensor; None keeps the order of
            the files. Another epoch wants another seed.
        shard: (i, n) keeps the records i, i + n, i + 2n, … of that order: the share of the i-th of
            n machines.
        chances: float (records,), how often each one is wanted in proportion to the others, in
            the order of the files: some then come several times, some not at all, as many in all
            as without. Only with a seed, which decides about the fractions.

    Raises:
        InputError: if the folder holds no records of this version, or a file of it is truncated.
    """
    dataset = _serialized(folder, shuffle_seed, chances)
    if shard != (0, 1):
        dataset = dataset.shard(shard[1], shard[0])
    dataset = dataset.map(decode, num_parallel_calls=tf.data.AUTOTUNE)
    kept = len(range(shard[0], count(folder), shard[1]))
    return dataset.apply(tf.data.experimental.assert_cardinality(kept))


def _serialized(folder: Path, shuffle_seed=None, chances=None) -> tf.data.Dataset:
    """Read the records of all shards as bytes."""
    index = read_index(folder)
    files = tf.data.Dataset.from_tensor_slices([str(folder / name) for name in index["shards"]])
    dataset = files.interleave(
        tf.data.TFRecordDataset,
        cycle_length=len(index["shards"]),
        num_parallel_calls=tf.data.AUTOTUNE,
        deterministic=True,
    )
    if chances is not None:
        times = _times(chances, shuffle_seed)
        dataset = dataset.enumerate().flat_map(
            lambda place, record: tf.data.Dataset.from_tensors(record).repeat(times[place])
        )
    if shuffle_seed is not None:
        buffer = min(count(folder), SHUFFLED)
        dataset = dataset.shuffle(buffer, seed=shuffle_seed, reshuffle_each_iteration=False)
    return dataset


def _times(chances: np.ndarray, seed) -> tf.Tensor:
    """Return how often each record is drawn, int64 (records,), as many as there are in all.

    Systematic sampling: the chances lie on a line end to end, and points at equal distances, the
    first one by chance, are dropped on it. So a record's number is never more than one off its
    share.
    """
    share = np.asarray(chances, float) / np.sum(chances) * len(chances)
    ends = tf.constant(np.append(0.0, np.cumsum(share)[:-1]), tf.float64)
    first = tf.random.stateless_uniform([], [seed, 3], dtype=tf.float64)
    points = tf.concat([tf.math.ceil(ends - first), [len(chances)]], axis=0)
    return tf.cast(points[1:] - points[:-1], tf.int64)


def class_pixels(folder: Path) -> np.ndarray:
    """Count the pixels of each label in each record.

    Args:
        folder: Records.

    Returns:
        int64 (records, 256), in the order of the files; the last column counts void.
    """
    samples = read_records(folder).as_numpy_iterator()
    return np.array([np.bincount(s["labels"].ravel(), minlength=VOID + 1) for s in samples])


def rarities(pixels: np.ndarray) -> np.ndarray:
    """Return how rare the rarest class of each record is: 1 / (share of records that show it).

    Args:
        pixels: As of `class_pixels`.

    Returns:
        float64 (records,); 1 for a record whose labels are all void.
    """
    shown = pixels[:, :VOID] > 0
    shares = np.maximum(shown.mean(axis=0), 1e-9)
    return np.max(np.where(shown, 1 / shares, 1.0), axis=1)


def thinning(pixels: np.ndarray, power: float) -> np.ndarray:
    """Return which share of each class's pixels to keep, so that the classes become more equal.

    A loss over what is kept is, on average, a loss in which each class has the weight
    1 / frequency^power. By another name, that lets the net expect classes as often as with
    frequencies to the power of 1 - `power`.

    Args:
        pixels: As of `class_pixels`.
        power: 0 keeps all; 1 makes all classes as frequent as the rarest.

    Returns:
        float64 (256,): 1 for the rarest class, void, and what does not occur.
    """
    totals = pixels.sum(axis=0).astype(float)
    totals[VOID] = 0
    found = totals > 0
    shares = np.ones(VOID + 1)
    shares[found] = (totals[found].min() / totals[found]) ** power
    return shares


def read_index(folder: Path) -> dict:
    """Return the index of a folder of records.

    Raises:
        InputError: if it is missing, damaged or of another version, or a file is missing or not
            as long as it says.
    """
    index = listed(folder)
    for name, shard in index["shards"].items():
        path = folder / name
        size = path.stat().st_size if path.is_file() else None
        if size != shard["bytes"]:
            state = "is missing" if size is None else f"has {size:,} bytes"
            raise InputError(
                f"{path} {state}, its index says {shard['bytes']:,}; convert the data set again"
            )
    return index


def listed(folder: Path) -> dict:
    """Return what the index of a folder says, without a look at the files that it names.

    Raises:
        InputError: if it is missing, damaged or of another version.
    """
    try:
        index = json.loads((folder / INDEX).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise InputError(f"{folder} holds no {INDEX}; convert the data set again") from None
    if not isinstance(index, dict) or index.get("version") != RECORD_VERSION:
        raise InputError(f"{folder} has records of another version; convert the data set again")
    try:
        numbers = [entry[key] for entry in index["shards"].values() for key in ("bytes", "records")]
        whole = numbers and all(type(n) is int for n in [*numbers, index["records"]])
    except (AttributeError, KeyError, TypeError):
        whole = False
    if not whole:
        raise InputError(f"{folder / INDEX} is damaged; convert the data set again")
    return index


def count(folder: Path) -> int:
    """Return the number of records in a folder."""
    return sum(shard["records"] for shard in read_index(folder)["shards"].values())


def find_damage(folder: Path) -> list[str]:
    """Read every record and return a line for each that is corrupt, with its file and position.

    The lengths in a file lead from one record to the next, so after a corrupt length nothing
    more of that file can be found; after corrupt contents the next record can.

    Raises:
        InputError: if there is no index of this version.
    """
    damage = []
    for name, shard in listed(folder)["shards"].items():
        path = folder / name
        if not path.is_file():
            damage.append(f"{name} is missing")
        elif path.stat().st_size != shard["bytes"] or file_hash(path) != shard.get("sha256"):
            damage += [f"{name}: {line}" for line in damaged_records(path, shard["records"])]
    return damage


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
    height, width = tf.shape(image)[0], tf.shape(image)[1]
    return mirror_window(image, -((size - height) // 2), -((size - width) // 2), size)


def mirror_window(image: tf.Tensor, top: tf.Tensor, left: tf.Tensor, size: int) -> tf.Tensor:
    """Cut out the square of `size` pixels whose corner lies at row `top`, column `left`.

    What lies outside the picture is its mirror image.
    """
    for axis, start in ((0, top), (1, left)):
        length = tf.shape(image)[axis]
        # Reflected without repeating the edge pixel, positions have the period 2 (length - 1).
        period = tf.maximum(2 * (length - 1), 1)
        positions = tf.math.floormod(tf.range(size) + start, period)
        image = tf.gather(image, tf.minimum(positions, period - positions), axis=axis)
    return image


def void_window(labels: tf.Tensor, top: tf.Tensor, left: tf.Tensor, size: int) -> tf.Tensor:
    """Cut the same square as `mirror_window` out of a label map; what is outside is void."""
    for axis, start in ((0, top), (1, left)):
        length = tf.shape(labels)[axis]
        positions = tf.range(size) + start
        inside = (positions >= 0) & (positions < length)
        labels = tf.gather(labels, tf.clip_by_value(positions, 0, length - 1), axis=axis)
        inside = inside[:, None] if axis == 0 else inside[None]
        labels = tf.where(inside, labels, tf.cast(VOID, labels.dtype))
    return labels


def augment(image: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor):
    """Mirror left to right and change the brightness and contrast, at random by `seed` (int64 [2]).

    Whatever moves pixels moves picture and labels together.
    """
    flip, gain, shift = tf.unstack(tf.random.stateless_uniform([3], seed))
    image = tf.cond(flip < 0.5, lambda: tf.reverse(image, [1]), lambda: image)
    labels = tf.cond(flip < 0.5, lambda: tf.reverse(labels, [1]), lambda: labels)
    image = image * (0.7 + 0.6 * gain) + 0.6 * (shift - 0.5)
    return tf.clip_by_value(image, -1.0, 1.0), labels


def random_crop(
    image: tf.Tensor, labels: tf.Tensor, size: int, seed: tf.Tensor, scales=(0.75, 1.33)
):
    """Scale a picture at random, (least, most), and cut out a square; `seed` is int64 [2].

    Where the picture is smaller than the square, it is filled up with gray, the labels with void.
    """
    draw = tf.random.stateless_uniform([3], seed)
    scale = scales[0] * (scales[1] / scales[0]) ** draw[0]
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


def random_view(image: tf.Tensor, labels: tf.Tensor, output_size: int, scales, seed: tf.Tensor):
    """Scale a picture at random and choose where it lies in the output square.

    Args:
        image, labels: As decoded.
        output_size: Side of the output square.
        scales: (least, most): 1 lets the picture fit into the square exactly.
        seed: int64 [2].

    Returns:
        (image float32, labels uint8, top, left): the scaled picture, and the corner of the output
        square in it. The corner is negative where the square reaches beyond the picture.
    """
    draw = tf.random.stateless_uniform([3], seed)
    scale = scales[0] * (scales[1] / scales[0]) ** draw[0]
    side = tf.cast(tf.round(output_size * scale), tf.int32)
    image, labels = fit_inside(image, labels, side)
    room = tf.cast(output_size - tf.shape(labels), tf.float32)  # negative: the picture is larger
    top, left = tf.unstack(tf.cast(tf.round(-room * draw[1:]), tf.int32))
    return image, labels, top, left


def segmentation_batches(
    folder: Path,
    input_size: int,
    output_size: int,
    batch_size: int,
    seed: int | None = None,
    *,
    scales: tuple[float, float] | None = None,
    epochs: tuple[int, int] | None = None,
    shard: tuple[int, int] = (0, 1),
) -> tf.data.Dataset:
    """Return batches to train or score a net whose output is smaller than its input.

    The picture is scaled to fit into the output square, and mirrored out to the input square
    around it; labels and output cover the same pixels.

    Args:
        folder: Records.
        input_size, output_size: Sides of the net's input and output in pixels.
        batch_size: The last batch of an epoch may be smaller.
        seed: Shuffle and augment by it; None for scoring.
        scales: Also scale by chance, (least, most), and shift; only with a seed.
        epochs: (first, end): one stream of all these epochs. What epoch 7 holds does not depend
            on where the stream began, so training can be taken up again.
        shard: (i, n): every n-th picture, from the i-th on, as `read_records`. `batch_size` is
            then that of one machine, and incomplete batches are dropped.

    Returns:
        Pairs of image float32 (batch, input_size, input_size, 3) and labels uint8
        (batch, output_size, output_size).
    """
    border = (input_size - output_size) // 2

    def prepare(sample, seeds):
        if seed is not None and scales:
            image, labels, top, left = random_view(
                sample["image"], sample["labels"], output_size, scales, seeds + 7
            )
        else:
            image, labels = fit_inside(sample["image"], sample["labels"], output_size)
            top, left = tf.unstack(-((output_size - tf.shape(labels)) // 2))
        if seed is not None:
            image, labels = augment(image, labels, seeds)
        image = mirror_window(image, top - border, left - border, input_size)
        labels = void_window(labels, top, left, output_size)
        image = tf.ensure_shape(image, (input_size, input_size, 3))
        return image, tf.ensure_shape(labels, (output_size, output_size))

    return _batches(folder, prepare, batch_size, seed, epochs, shard)


def crop_batches(
    folder: Path,
    size: int,
    batch_size: int,
    seed: int,
    *,
    scales: tuple[float, float] = (0.75, 1.33),
    chances: np.ndarray | None = None,
    keep: np.ndarray | None = None,
    epochs: tuple[int, int] | None = None,
    shard: tuple[int, int] = (0, 1),
) -> tf.data.Dataset:
    """Return shuffled, augmented batches to train a net whose output is as large as its input.

    Each picture is scaled by chance, mirrored by chance, and cut to a square.

    Args:
        folder: Records.
        size: Side of the square in pixels.
        batch_size: The last batch may be smaller.
        seed: Shuffle and augment by it.
        scales: (least, most) factor by which a picture is scaled by chance.
        chances: Show some pictures more often than others, as `read_records`.
        keep: float (256,), the share of the pixels of each class that keep their label, as of
            `thinning`; the others, chosen by chance, become void. Most pixels are background, and
            a net that is trained on all of them says so when in doubt; mean IoU gives the
            background no more weight than any class.
        epochs, shard: As for `segmentation_batches`.

    Returns:
        Pairs of image float32 (batch, size, size, 3) and labels uint8 (batch, size, size).
    """

    def prepare(sample, seeds):
        image = tf.cast(sample["image"], tf.float32) / 127.5 - 1.0
        image, labels = random_crop(image, sample["labels"], size, seeds, scales)
        image, labels = augment(image, labels, seeds + 1)
        if keep is not None:
            labels = thin_out(labels, keep, seeds + 2)
        return tf.ensure_shape(image, (size, size, 3)), tf.ensure_shape(labels, (size, size))

    return _batches(folder, prepare, batch_size, seed, epochs, shard, chances)


def thin_out(labels: tf.Tensor, keep: np.ndarray, seed: tf.Tensor) -> tf.Tensor:
    """Turn pixels into void by chance, all but a share of each class; `seed` is int64 [2]."""
    shares = tf.gather(tf.constant(keep, tf.float32), tf.cast(labels, tf.int32))
    kept = tf.random.stateless_uniform(tf.shape(labels), seed) < shares
    return tf.where(kept, labels, tf.cast(VOID, labels.dtype))


def _batches(folder: Path, prepare: Callable, batch_size: int, seed, epochs, shard, chances=None):
    """Shuffle, prepare in parallel, batch, prefetch.

    What `prepare` does by chance is seeded by the epoch and by the place in it.
    """

    def one_epoch(epoch) -> tf.data.Dataset:
        order = None if seed is None else epoch * 1_000_003 + seed
        if not tf.executing_eagerly():
            # Of the graph of this function alone. Without it the order would depend on the
            # program's seed as well, and shuffling by a tensor would fail where that is 0.
            tf.random.set_seed(1)
        places = tf.data.Dataset.range(shard[0], count(folder), shard[1])
        dataset = tf.data.Dataset.zip(read_records(folder, order, shard, chances), places)
        dataset = dataset.map(
            lambda sample, place: prepare(sample, tf.stack([epoch * 1_000_003 + place, seed or 0])),
            num_parallel_calls=tf.data.AUTOTUNE,
        )
        return dataset.batch(batch_size, drop_remainder=shard != (0, 1))

    if epochs is not None:
        stream = tf.data.Dataset.range(*epochs).flat_map(one_epoch)
        return stream.prefetch(tf.data.AUTOTUNE)
    if seed is None:
        return one_epoch(tf.constant(0, tf.int64)).prefetch(tf.data.AUTOTUNE)
    # Whoever iterates once more gets the next epoch, as Keras does when it fits.
    passes = _Counter()
    numbers = tf.data.Dataset.from_generator(passes, output_signature=tf.TensorSpec([], tf.int64))
    length = -(-count(folder) // batch_size)
    stream = numbers.flat_map(one_epoch).prefetch(tf.data.AUTOTUNE)
    return stream.apply(tf.data.experimental.assert_cardinality(length))


class _Counter:
    """Yields one number a call, counting up: which pass over the data this is."""

    def __init__(self):
        self.epoch = -1

    def __call__(self) -> Iterator[int]:
        self.epoch += 1
        yield self.epoch
