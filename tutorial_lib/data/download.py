"""Downloading that survives a bad network.

A file appears under its own name only when it is whole and was checked; until then it grows under
a hidden name beside it. A connection that breaks is taken up where it broke if a checksum can
vouch for the joined parts, and begun afresh otherwise. Servers that are busy are given time, those
that have not got the file are passed over for the next mirror. What a server answers says nothing
about the bytes that came before: a part is thrown away only when it proved wrong, or when nothing
can vouch for it.
"""

from __future__ import annotations

import contextlib
import datetime
import email.utils
import hashlib
import multiprocessing.pool
import os
import random
import shutil
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tutorial_lib.errors import InputError

CHUNK = 1 << 16
LARGEST = 64 << 30  # bytes: more than any file here; a server that sends without end is cut off
BUSY = (408, 425, 429, 500, 502, 503, 504)  # answers that may be better next time
LISTED = 5  # failures that are quoted in full
OFFLINE = 3  # files in a row for which no server answers at all, and the rest is not tried
GRACE = 2.0  # seconds that downloads under way have to end after Ctrl-C


@dataclass(frozen=True)
class RemoteFile:
    """One file to fetch.

    Attributes:
        target: Where it belongs below the data folder, with forward slashes.
        mirrors: Addresses, tried in this order.
        size: In bytes; None if nobody published it.
        checksum: "sha256:…" or "md5:…" of the whole file; empty if nobody published one.
        check: Looks at the finished file, and raises InputError if it is not what it should be.
    """

    target: str
    mirrors: tuple[str, ...]
    size: int | None = None
    checksum: str = ""
    check: Callable[[Path], None] | None = None


@dataclass(frozen=True)
class Patience:
    """How long to try.

    Attributes:
        tries: Attempts in a row that bring nothing before a mirror is given up.
        first_wait, longest_wait: Seconds; the wait doubles from the one to the other.
        timeout: Seconds without a byte after which a connection counts as dead.
    """

    tries: int = 5
    first_wait: float = 1.0
    longest_wait: float = 60.0
    timeout: float = 30.0


class Unreachable(InputError):
    """No server answered at all."""


class _Hopeless(Exception):
    """This mirror will not deliver, however often it is asked."""


class _Interrupted(Exception):
    """The download was told to stop."""


class _Hiccup(Exception):
    """It may work next time. `wait`: seconds that the server asked for, if it did."""

    def __init__(self, message: str, wait: float | None = None):
        super().__init__(message)
        self.wait = wait


class _Useless(_Hiccup):
    """What is on the disk is not the beginning of the file; it is thrown away."""


class _NoRange(_Hiccup):
    """The server does not go on where the part ends; the next try asks for the whole file."""


def download(
    file: RemoteFile,
    path: Path,
    patience: Patience = Patience(),
    moved: Callable[[int], None] = lambda count: None,
    session=None,
    stop: threading.Event | None = None,
) -> Path:
    """Download one file to `path`: the whole file, or nothing under that name.

    Args:
        file: What to fetch; its `target` is not used here.
        path: Where it goes.
        patience: How often to try, and how long to wait in between.
        moved: Called with the number of bytes that arrived; negative when some were thrown away.
        session: A `requests.Session` to reuse connections of.
        stop: When it is set, the download ends soon, with InputError.

    Raises:
        InputError: if no mirror delivers the file, or it cannot be written. The message says
            what each mirror answered, and where to put the file by hand. It is Unreachable if
            none answered anything.
    """
    import requests

    session = session or requests.Session()
    stop = stop or threading.Event()
    meter, failures = _Meter(moved), []
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _alone(part_path(path), bool(file.checksum), stop):
            if is_whole(file, path):
                return path  # another process was faster
            for mirror in file.mirrors:
                try:
                    _from_mirror(mirror, file, path, patience, meter, session, stop)
                    return path
                except _Hopeless as reason:
                    failures.append(f"{mirror}: {reason}")
    except _Interrupted:
        raise InputError(f"{path.name} was interrupted; fetch it again") from None
    except OSError as error:
        raise InputError(
            f"cannot write {path} ({error.strerror or error}); free some space, or set "
            "TUTORIAL_DATA to a folder that can be written"
        ) from None
    raise (InputError if meter.answered else Unreachable)(
        f"no mirror delivered {path.name} ({'; '.join(failures)}); try again later, or fetch it "
        f"by hand and put it at {path}"
    )


@contextlib.contextmanager
def _alone(part: Path, keep: bool, stop: threading.Event):
    """Hold a part for this download alone, as long as another has it wait, and clean up after it.

    Args:
        part: Its name.
        keep: Leave what came, if the file was not finished: it can be taken up later.
        stop: When it is set, the waiting ends with _Interrupted.
    """
    while True:
        with part.open("ab") as held:
            if os.name == "nt":
                held.close()  # nothing can be renamed there while it is open
            if _lock(held, part):
                try:
                    yield
                finally:
                    if _is_at(held, part) and not (keep and _length(part)):
                        part.unlink(missing_ok=True)
                return
        if stop.wait(0.2):
            raise _Interrupted


def _lock(held, part: Path) -> bool:
    """Try to lock an open part; the lock ends with the process, however that ends."""
    try:
        import fcntl

        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):  # Windows, and file systems without locks
        return True
    return _is_at(held, part)  # else the other download has just finished


def _is_at(held, part: Path) -> bool:
    """Say whether an open file still has its name."""
    try:
        return held.closed or os.path.samestat(os.fstat(held.fileno()), part.stat())
    except FileNotFoundError:
        return False


def _from_mirror(mirror, file, path, patience, meter, session, stop) -> None:
    """Try one mirror until the file is there or nothing moves any more."""
    part = part_path(path)
    if file.checksum:
        meter.add(_length(part))
    fruitless, afresh = 0, False
    while True:
        before = _length(part) if file.checksum else 0
        start = 0 if afresh else before
        try:
            _receive(mirror, file, part, start, patience, meter, session, stop)
            _verify(file, part)
            part.replace(path)
            return
        except _Hopeless:
            meter.reset()
            raise
        except _Hiccup as reason:
            hiccup = reason
        afresh = isinstance(hiccup, _NoRange)
        if isinstance(hiccup, _Useless):
            part.write_bytes(b"")
            meter.reset()
        fruitless = 0 if file.checksum and _length(part) > before else fruitless + 1
        if fruitless >= patience.tries:
            meter.reset()
            raise _Hopeless(f"{hiccup}, {fruitless} times in a row")
        wait = hiccup.wait
        if wait is None:
            # Some chance keeps a class of thirty from knocking again in step.
            jitter = random.SystemRandom().uniform(0.75, 1.25)
            wait = patience.first_wait * 2 ** max(0, fruitless - 1) * jitter
        if stop.wait(min(wait, patience.longest_wait)):
            raise _Interrupted


def _receive(mirror, file, part, start, patience, meter, session, stop) -> None:
    """Ask once, from byte `start` on, and write to the part what arrives."""
    import requests
    import urllib3

    if start and file.size is not None and start >= file.size:
        return  # all of it arrived in an earlier run: check it
    headers = {"Accept-Encoding": "identity", "User-Agent": "fcn-tutorials"}
    if start:
        headers["Range"] = f"bytes={start}-"
    try:
        with session.get(mirror, headers=headers, stream=True, timeout=patience.timeout) as answer:
            meter.answered = True
            start = _judge(answer, file, start)
            if not start:
                meter.reset()
            _copy(answer, file, part, start, meter, stop)
    except ValueError as error:  # of many kinds: a missing scheme, bytes that are no text, …
        reason = f"its address, or what it answered, is not valid ({type(error).__name__})"
        raise _Hopeless(reason) from None
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise _Hiccup(f"the connection failed ({type(error).__name__})") from None


def _judge(answer, file: RemoteFile, start: int) -> int:
    """Look at the answer's status and headers; return the byte at which its body begins."""
    status, headers = answer.status_code, answer.headers
    if status in BUSY:
        raise _Hiccup(f"answered {status}", _asked_wait(headers.get("Retry-After")))
    if status == 416:
        raise _NoRange("has fewer bytes than the part that is here")
    if status not in (200, 206):
        raise _Hopeless(f"answered {status}")
    packed = headers.get("Content-Encoding", "identity")
    if packed != "identity" and not file.checksum:
        raise _Hopeless(f"sends it packed ({packed}), which nobody asked for")
    if headers.get("Content-Type", "").startswith("text/html"):
        raise _Hopeless("sends a web page instead of the file")
    if status == 206 and not headers.get("Content-Range", "").startswith(f"bytes {start}-"):
        raise _NoRange("continued at another byte than it was asked to")
    start = start if status == 206 else 0
    promised = _promised(answer)
    if file.size is not None and promised is not None and start + promised != file.size:
        raise _Hopeless(f"offers {start + promised:,} bytes instead of {file.size:,}")
    return start


def _copy(answer, file: RemoteFile, part: Path, start: int, meter, stop) -> None:
    """Write the body to the part, and compare it with what the headers promised."""
    promised, count = _promised(answer), 0
    limit = file.size if file.size is not None else LARGEST
    md5 = hashlib.md5(usedforsecurity=False)
    answer.raw.enforce_content_length = False  # we count ourselves, and keep what came
    with part.open("ab" if start else "wb") as out:
        # As they are: some servers call a .tgz packed by themselves.
        for chunk in answer.raw.stream(CHUNK, decode_content=False):
            count += len(chunk)
            if start + count > limit:
                raise _Hopeless(f"sends more than {limit:,} bytes")
            out.write(chunk)
            md5.update(chunk)
            meter.add(len(chunk))
            if stop.is_set():
                raise _Interrupted
    whole = file.size if file.size is not None else promised and start + promised
    if whole is not None and start + count != whole:
        raise _Hiccup(f"broke off after {start + count:,} of {whole:,} bytes")
    # Amazon's storage, where COCO lies, tags a file that was uploaded in one piece with its md5.
    tag = answer.headers.get("ETag", "").strip('"')
    is_md5 = len(tag) == 32 and answer.headers.get("Server") == "AmazonS3"
    if is_md5 and not start and tag != md5.hexdigest():
        raise _Useless("sent bytes that do not match its own tag")


def _verify(file: RemoteFile, part: Path) -> None:
    """Check a finished part."""
    if file.checksum and file_digest(part, file.checksum) != file.checksum:
        raise _Useless("sent a file with another checksum")
    try:
        if file.check:
            file.check(part)
    except InputError as error:
        raise _Useless(f"sent a file that is no good ({error})") from None


class _Meter:
    """Reports bytes, takes them back when they are thrown away, and notes if any server answers."""

    def __init__(self, moved: Callable[[int], None]):
        self.moved, self.count, self.answered = moved, 0, False

    def add(self, count: int) -> None:
        self.count += count
        self.moved(count)

    def reset(self) -> None:
        self.moved(-self.count)
        self.count = 0


def file_digest(path: Path, like: str) -> str:
    """Return a file's checksum in the form "algorithm:digits", by the algorithm of `like`."""
    algorithm = like.partition(":")[0]
    with path.open("rb") as file:
        return f"{algorithm}:{hashlib.file_digest(file, algorithm).hexdigest()}"


def is_whole(file: RemoteFile, path: Path) -> bool:
    """Say whether a file is there, with the size, checksum and content that are known of it."""
    if not path.is_file() or (file.size is not None and path.stat().st_size != file.size):
        return False
    if file.checksum and file_digest(path, file.checksum) != file.checksum:
        return False
    try:
        if file.check:
            file.check(path)
    except InputError:
        return False
    return True


def part_path(path: Path) -> Path:
    """Return the hidden name under which a file grows."""
    return path.with_name(f".{path.name}.part")


def with_mirrors(file: RemoteFile, bases: Iterable[str]) -> RemoteFile:
    """Put mirrors of the reader's own before the known ones: base address + "/" + target."""
    own = tuple(f"{base.rstrip('/')}/{file.target}" for base in bases)
    return replace(file, mirrors=own + file.mirrors)


def fetch_all(
    files: Sequence[RemoteFile],
    home: Path,
    *,
    workers: int = 8,
    patience: Patience = Patience(),
    echo: Callable[[str], None] = print,
    progress: bool = False,
    estimate: float = 0,
) -> list[Path]:
    """Download several files at once; what is there already and whole is left alone.

    Args:
        files: What to fetch.
        home: The data folder that their targets are relative to.
        workers: Downloads at a time.
        patience: As for `download`.
        echo: Called with a line that says how much there is to do, and one at the end.
        progress: Show a bar.
        estimate: Bytes to expect of a file whose size is not known.

    Raises:
        InputError: if some files could not be fetched; the others are there. Also if the disk is
            too small for all of them, or there is no network, which ends it early.
    """
    missing = [file for file in files if not is_whole(file, home / file.target)]
    total = sum(file.size or estimate for file in missing)
    here = len(files) - len(missing)
    known = all(file.size is not None for file in missing)
    if not missing:
        echo(f"{_files(here)} here already, nothing to fetch")
        return [home / file.target for file in files]
    echo(
        f"{_files(len(missing))} to fetch, {'' if known else 'about '}{human(total)}"
        + (f"; {here:,} here already" if here else "")
    )
    parts = sum(_length(part_path(home / file.target)) for file in missing if file.checksum)
    _check_room(home, total - parts)
    failures = _fetch_in_parallel(missing, home, workers, patience, progress, total)
    if failures:
        more = f"; and {len(failures) - LISTED} more" if len(failures) > LISTED else ""
        raise InputError(
            f"{len(failures)} of {_files(len(missing))} could not be fetched; run the command "
            f"again, what is here stays: {'; '.join(failures[:LISTED])}{more}"
        )
    echo(f"{_files(len(missing))} fetched")
    return [home / file.target for file in files]


def _fetch_in_parallel(missing, home, workers, patience, progress, total) -> list[str]:
    """Return what went wrong, one text a file."""
    from tqdm import tqdm

    stop = threading.Event()
    local = threading.local()
    failures = []
    bar = tqdm(total=total, unit="B", unit_scale=True, disable=not progress, leave=False)

    def fetch(file: RemoteFile) -> InputError | None:
        import requests

        if not hasattr(local, "session"):  # a session belongs to one thread
            local.session = requests.Session()
        if not stop.is_set():
            try:
                target = home / file.target
                download(file, target, patience, bar.update, local.session, stop)
            except InputError as error:
                return error
        return None

    # Its threads are daemons: a server that stalls does not keep the program from ending.
    with bar, multiprocessing.pool.ThreadPool(workers) as pool:
        results = pool.imap_unordered(fetch, missing)
        try:
            for error in _until_offline(results):
                failures.append(str(error))
        except BaseException:  # Ctrl-C too: what is under way stops, what is queued never starts
            stop.set()
            with contextlib.suppress(multiprocessing.TimeoutError, StopIteration):
                while True:
                    results.next(GRACE)
            raise
    return failures


def _until_offline(results: Iterable[InputError | None]) -> Iterator[InputError]:
    """Pass the failures on, and raise InputError when it seems that there is no network."""
    unreachable = 0
    for error in results:
        unreachable = unreachable + 1 if isinstance(error, Unreachable) else 0
        if unreachable >= OFFLINE:
            raise InputError(
                f"no server answers, for {unreachable} files in a row; look at your connection "
                f"and run the command again, what is here stays: {error}"
            )
        if error:
            yield error


def _check_room(home: Path, total: float) -> None:
    folder = home
    while not folder.exists():
        folder = folder.parent
    free = shutil.disk_usage(folder).free
    if total > free:
        raise InputError(
            f"{human(total)} are needed, {folder} has {human(free)} free; set TUTORIAL_DATA to a "
            "folder with more room"
        )


def human(count: float) -> str:
    """Write a number of bytes for people: "253 MB"."""
    for unit in ("B", "kB", "MB"):
        if count < 1000:
            return f"{count:.0f} {unit}"
        count /= 1000
    return f"{count:.1f} GB"


def _files(count: int) -> str:
    return f"{count:,} file{'' if count == 1 else 's'}"


def _asked_wait(value: str | None) -> float | None:
    """Read Retry-After: seconds, or a date."""
    if not value:
        return None
    with contextlib.suppress(ValueError):
        return max(0.0, float(value))
    with contextlib.suppress(ValueError, TypeError):
        then = email.utils.parsedate_to_datetime(value)
        return max(0.0, (then - datetime.datetime.now(datetime.UTC)).total_seconds())
    return None


def _promised(answer) -> int | None:
    length = answer.headers.get("Content-Length", "")
    return int(length) if length.isascii() and length.isdigit() else None


def _length(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
