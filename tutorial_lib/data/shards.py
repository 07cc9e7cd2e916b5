"""TFRecord files, written and checked without TensorFlow, so that processes start quickly.

A file is one record after the other: length (8 bytes), its checksum (4), contents, their checksum
(4), all little-endian, as `tf.io.TFRecordWriter` writes them. The checksum is CRC-32C, rotated by
15 bits and shifted by a constant.
"""

from __future__ import annotations

import concurrent.futures
import concurrent.futures.process
import hashlib
import json
import multiprocessing
import os
import signal
import struct
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import google_crc32c

from tutorial_lib.data.cache import file_hash
from tutorial_lib.data.encoding import PACKING, RECORD_VERSION, Encoded, Recipe, encoded, serialized
from tutorial_lib.errors import InputError, write_atomically

HEADER, FOOTER = 12, 4  # bytes around the contents of a record
LOOK_EACH = 0.2  # seconds between two looks at how far the processes are


@dataclass(frozen=True)
class Shard:
    """One file to write.

    Attributes:
        path: Its name.
        samples: What goes in.
        tolerant: Leave damaged samples out.
    """

    path: Path
    samples: tuple[Recipe | Encoded, ...]
    tolerant: bool = False

    def key(self) -> str:
        """Return a digest of what goes in: when it changes, the file has to be written anew."""
        text = f"{RECORD_VERSION} {PACKING} {self.tolerant} {self.samples!r}"
        digest = hashlib.sha256(text.encode())
        for sample in self.samples:
            for path in getattr(sample, "files", ()):
                digest.update(_file_state(path).encode())
        return digest.hexdigest()

    @property
    def state_path(self) -> Path:
        """Where it is noted that the file is whole, until the index says so."""
        return self.path.with_suffix(".done.json")


def _file_state(path: Path) -> str:
    """Return what changes when a file does."""
    try:
        state = path.stat()
    except OSError:
        return "none;"
    return f"{state.st_size} {state.st_mtime_ns};"


def write_shards(shards: Sequence[Shard], workers: int, written: Callable[[int], object]) -> None:
    """Write files, one process each, as many at a time as there are workers.

    Args:
        shards: What to write.
        workers: Processes; with one, it is done here.
        written: Called with the number of samples that were dealt with since the last call.

    Raises:
        InputError: if a sample is damaged that may not be left out, or a process was killed.
        OSError: if a file cannot be written.
    """
    workers = min(workers, len(shards))
    if workers <= 1:
        for shard in shards:
            write_shard(shard, written)
        return
    # Started afresh, for the threads of a TensorFlow in this process would not survive a fork.
    context = multiprocessing.get_context("spawn")
    counter, stop = context.Value("Q"), context.Event()
    arguments = (workers, context, _start_process, (counter, stop))
    with concurrent.futures.ProcessPoolExecutor(*arguments) as pool:
        try:
            waiting = [pool.submit(_write_in_process, shard) for shard in shards]
            seen = 0
            while waiting:
                done, waiting = concurrent.futures.wait(
                    waiting, LOOK_EACH, concurrent.futures.FIRST_EXCEPTION
                )
                written(counter.value - seen)
                seen = counter.value
                for future in done:
                    future.result()  # raises what went wrong
        except concurrent.futures.process.BrokenProcessPool:
            raise InputError(
                "a process was killed while it wrote records, perhaps for lack of memory; do the "
                "same again with fewer workers, and it goes on"
            ) from None
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)


def write_shard(shard: Shard, written: Callable[[int], object]) -> None:
    """Write one file under a temporary name, rename it, and note that it is whole.

    Raises:
        InputError: if a sample is damaged that may not be left out.
        OSError: if the file cannot be written.
    """
    part = shard.path.with_name(f".{shard.path.name}.part")
    problems, count, digest = [], 0, hashlib.sha256()
    key = shard.key()  # of the files as they are before they are read
    try:
        with part.open("wb") as file:
            for sample in shard.samples:
                try:
                    record = framed(serialized(encoded(sample)))
                except InputError as problem:
                    if not shard.tolerant:
                        raise
                    problems.append(str(problem))
                else:
                    file.write(record)
                    digest.update(record)
                    count += 1
                written(1)
            size = file.tell()
        state = {"key": key, "records": count, "bytes": size, "sha256": digest.hexdigest()}
        part.replace(shard.path)
        write_atomically(shard.state_path, json.dumps(state | {"problems": problems}))
    finally:
        part.unlink(missing_ok=True)


def finished(shard: Shard) -> dict | None:
    """Return records, bytes, sha256 and problems of a file that is there and whole, else None."""
    try:
        state = json.loads(shard.state_path.read_text(encoding="utf-8"))
        same = state["key"] == shard.key() and state["bytes"] == shard.path.stat().st_size
        return state if same and file_hash(shard.path) == state["sha256"] else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def framed(record: bytes) -> bytes:
    """Return a record as it stands in a file: between its length and its checksum."""
    length = struct.pack("<Q", len(record))
    return b"".join([length, _checksum(length), record, _checksum(record)])


def damaged_records(path: Path, expected: int) -> list[str]:
    """Read a file; return a line for each record that is corrupt, with its number and position.

    After a corrupt length nothing more can be found; after corrupt contents the next record can.
    """
    damage, number = [], 0
    with path.open("rb") as file:
        while header := file.read(HEADER):
            number += 1
            where = f"record {number}, at byte {file.tell() - len(header):,},"
            length = int.from_bytes(header[:8], "little")
            if header[8:] != _checksum(header[:8]):
                return [*damage, f"{where} is cut off or has a corrupt length"]
            body = file.read(length + FOOTER)
            if len(body) < length + FOOTER:
                return [*damage, f"{where} is cut off"]
            if body[length:] != _checksum(body[:length]):
                damage.append(f"{where} is corrupt")
    if number != expected:
        damage.append(f"{number} records instead of {expected}")
    return damage or ["its bytes have changed since it was written"]


def _checksum(content: bytes) -> bytes:
    crc = google_crc32c.value(content)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


# ---------------------------------------------------------------- in a process of its own

_counter = _stop = None  # shared with the process that asked


class _Stopped(Exception):
    """The others were told to stop."""


def _start_process(counter, stop) -> None:
    global _counter, _stop
    _counter, _stop = counter, stop
    keep_memory()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that asked is told, and tells us
    threading.Thread(target=_end_with_parent, daemon=True).start()


def keep_memory() -> None:
    """Have the memory of one picture used again for the next, a quarter faster on Linux.

    The C library returns large blocks to the system when they are freed, and gets them back page
    by page. When it frees a larger one than ever, up to 32 MiB, it keeps all up to that size
    (`man mallopt`, M_MMAP_THRESHOLD).
    """
    bytearray(31 << 20)


def _end_with_parent() -> None:
    """End at once when the process that asked was killed: it may be restarted and write, too."""
    multiprocessing.parent_process().join()
    os._exit(1)


def _write_in_process(shard: Shard) -> None:
    write_shard(shard, _count)


def _count(samples: int) -> None:
    with _counter.get_lock():
        _counter.value += samples
    if _stop.is_set():
        raise _Stopped
