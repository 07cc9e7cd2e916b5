"""Nets that are trained once, and loaded as long as nothing that made them has changed."""

from __future__ import annotations

import hashlib
import inspect
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np

from tutorial_lib import CHECKOUT
from tutorial_lib.data import data_home
from tutorial_lib.data.cache import cached_folder, damaged_files

# Nets whose training takes longer than a reader should wait, in git; `tutorial pretrain 03`.
SHIPPED = CHECKOUT / "data" / "checkpoints" / "nets"
CACHED = Path("cache", "nets")  # in a data folder: those that were trained here
WEIGHTS, RECORD = "weights.npz", "record.json"


def load_or_train(
    name: str,
    build: Callable,
    fit: Callable,
    data: tuple[np.ndarray, ...],
    settings: SimpleNamespace,
    *,
    retrain: bool = False,
    **options,
):
    """Return a trained net and the record of its training.

    Both come from disk if the same code made them from the same data; else they are made now.

    Args:
        name: Begins the name of the folder in which the net is kept.
        build: `build(**options)` returns the net, a `keras.Model`.
        fit: `fit(net, *data, settings)` trains it and returns a record that JSON can hold.
        data: What the net is trained and measured on.
        settings: Numbers and texts; `settings.seed` fixes every random choice.
        retrain: Train, whatever lies on disk.

    Raises:
        InputError: if the cache cannot be written.
    """
    import keras

    folder = f"{name}-{made_of(build, fit, data, settings, options)[:12]}"
    cached = data_home() / CACHED / folder
    whole = [place for place in (cached, SHIPPED / folder) if not damaged_files(place)]
    keras.utils.set_random_seed(settings.seed)
    net = build(**options)
    if retrain or not whole:
        shutil.rmtree(cached, ignore_errors=True)
        whole = [cached_folder(cached, lambda place: _save(net, fit(net, *data, settings), place))]
    with np.load(whole[0] / WEIGHTS, allow_pickle=False) as weights:
        net.set_weights(list(weights.values()))
    return net, json.loads((whole[0] / RECORD).read_text(encoding="utf-8"))


def made_of(build: Callable, fit: Callable, data, settings: SimpleNamespace, options: dict) -> str:
    """Return the sha256 of all that decides what a net will be, as hexadecimal digits.

    These are the source of the two functions with all that stands beside them in their modules,
    the settings, and every byte of the data. A changed comment counts as a change: training once
    too often costs a minute, a net that is not what it seems costs a day.
    """
    digest = hashlib.sha256()
    for function in (build, fit):
        digest.update(source(function).encode())
    names = [build.__name__, fit.__name__]
    digest.update(json.dumps([names, options, vars(settings)], sort_keys=True).encode())
    for array in data:
        digest.update(f"{array.dtype.str} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def ship(pattern: str, home: Path) -> list[Path]:
    """Replace the nets in git whose folder names fit a pattern by those in the cache of `home`."""
    for old in SHIPPED.glob(pattern):
        shutil.rmtree(old)
    made = sorted((home / CACHED).glob(pattern))
    return [Path(shutil.copytree(folder, SHIPPED / folder.name)) for folder in made]


def source(function: Callable) -> str:
    """Return the source of a function's module, or of the function if a notebook defines it."""
    module = inspect.getmodule(function)
    whole = module is not None and getattr(module, "__file__", None)
    return inspect.getsource(module if whole else function)


def _save(net, record, folder: Path) -> None:
    """Write the weights without the optimizer, and the record on one line, which Git leaves alone.

    Keras's own format would hold the optimizer's moments too, twice the size of the weights.
    """
    np.savez_compressed(folder / WEIGHTS, *net.get_weights())
    (folder / RECORD).write_text(json.dumps(record), encoding="utf-8")
