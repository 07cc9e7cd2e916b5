"""What can be downloaded, from where, and what must arrive."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tutorial_lib.data import data_home
from tutorial_lib.data.cache import file_hash
from tutorial_lib.errors import InputError, check_choice


@dataclass(frozen=True)
class RemoteFile:
    """One file to fetch.

    Attributes:
        target: Where it belongs below the data folder.
        mirrors: Addresses, tried in this order.
        sha256: Of the whole file.
        size: In bytes.
    """

    target: str
    mirrors: tuple[str, ...]
    sha256: str
    size: int


@dataclass(frozen=True)
class RemoteDataset:
    """A data set with its terms of use."""

    title: str
    license: str
    files: tuple[RemoteFile, ...]


DATASETS = {
    "mnist": RemoteDataset(
        title="MNIST, 70,000 handwritten digits (LeCun, Cortes & Burges)",
        license="CC BY-SA 3.0",
        files=(
            RemoteFile(
                target="mnist/mnist.npz",
                mirrors=(
                    "https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz",
                    "https://s3.amazonaws.com/img-datasets/mnist.npz",
                ),
                sha256="731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1",
                size=11_490_434,
            ),
        ),
    ),
}


def fetch(
    name: str,
    home: Path | None = None,
    echo: Callable[[str], None] = print,
    progress: bool = False,
) -> list[Path]:
    """Download a data set, file by file; what is there already and whole is left alone.

    A file appears under its name only after its hash was checked.

    Args:
        name: A key of `DATASETS`.
        home: The data folder; by default `data_home()`.
        echo: Called with one line for each file.
        progress: Show a bar over the bytes.

    Raises:
        InputError: if the name is unknown, no mirror delivers, or the folder cannot be written.
    """
    check_choice("data set", name, DATASETS)
    home = home or data_home()
    paths = []
    for file in DATASETS[name].files:
        path = home / file.target
        if path.is_file() and file_hash(path) == file.sha256:
            echo(f"{path} is there already")
        else:
            echo(f"fetching {path} ({file.size / 1e6:.1f} MB)")
            _fetch_file(file, path, progress)
        paths.append(path)
    return paths


def _fetch_file(file: RemoteFile, path: Path, progress: bool) -> None:
    """Try the mirrors in turn. pooch downloads to a temporary name and checks the hash."""
    import logging

    import pooch

    pooch.get_logger().setLevel(logging.WARNING)
    failures = []
    for mirror in file.mirrors:
        try:
            pooch.retrieve(
                mirror,
                known_hash=f"sha256:{file.sha256}",
                fname=path.name,
                path=path.parent,
                progressbar=progress,
            )
            return
        except Exception as error:  # requests, urllib3 and pooch each have errors of their own
            failures.append(f"{mirror}: {' '.join(str(error).split())[:120]}")
    raise InputError(
        f"no mirror delivered {path.name} ({'; '.join(failures)}); "
        f"fetch it by hand and put it at {path}"
    )
