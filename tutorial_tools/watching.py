"""What kernels do beside printing: the memory they hold, and the data sets they use."""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from tutorial_lib.data import LEDGER, data_home


class MemoryWatch(threading.Thread):
    """Looks ten times a second how much memory the processes started since then hold.

    Used as a context manager around the life of a kernel. What comes and goes within a tenth of
    a second is missed.
    """

    INTERVAL = 0.1  # seconds
    SEARCH = 10  # looks between two searches for new processes

    def __init__(self):
        super().__init__(daemon=True)
        self.samples: list[tuple[float, int]] = [(0.0, 0)]  # (seconds since 1970, bytes)
        self._ended = threading.Event()

    def __enter__(self) -> MemoryWatch:
        import psutil

        self._me = psutil.Process()
        self._others = set(self._me.children(recursive=True))
        self.start()
        return self

    def __exit__(self, *error) -> None:
        self._ended.set()
        self.join()

    def run(self) -> None:
        looks, watched = 0, set()
        while not self._ended.wait(self.INTERVAL):
            if looks % self.SEARCH == 0:
                watched = set(self._me.children(recursive=True)) - self._others
            looks += 1
            self.samples.append((time.time(), sum(map(self._bytes_of, watched))))

    @staticmethod
    def _bytes_of(process) -> int:
        import psutil

        try:
            return process.memory_info().rss
        except psutil.Error:
            return 0  # it has ended

    def peak(self, start: float, end: float) -> int:
        """Return the most that was held from `start` to `end`, in bytes.

        In a shorter span than that between two looks, it is what the last look before saw.
        """
        before = max(sample for sample in self.samples if sample[0] <= end)
        return max([before[1], *(held for when, held in self.samples if start <= when <= end)])


@contextlib.contextmanager
def ledger(used: dict[str, str]) -> Iterator[None]:
    """Fill `used` with the data sets that kernels started inside say they use: name → sha256."""
    from tutorial_lib.data.cache import MANIFEST, file_hash

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ledger"
        os.environ[LEDGER] = str(path)
        try:
            yield
        finally:
            del os.environ[LEDGER]
        noted = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    files = {path for path in map(Path, noted) if path.is_file()}
    whole = {path.parent for path in files if path.name == MANIFEST}
    for file in sorted(files):
        # A manifest vouches for all files below it.
        if file.name == MANIFEST or not whole & set(file.parents):
            used[data_name(file.parent if file.name == MANIFEST else file)] = file_hash(file)


def data_name(path: Path) -> str:
    """Name a data set by its place in the data folder, or by its last two names elsewhere."""
    if path.is_relative_to(data_home()):
        return path.relative_to(data_home()).as_posix()
    return "/".join(path.parts[-2:])
