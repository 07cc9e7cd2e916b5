"""Trained networks on disk.

Where a file stands for itself, it is a `.keras` file with one member more: Keras's file is a ZIP of
architecture, weights and optimizer state, and `tutorial.json` holds how to use the network on
photographs (`save_network`), or where to go on (`EpochCheckpoint`). Where the code that builds the
network is at hand (`load_layers`, `load_or_train`), an `.npz` of the trained weights is enough.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import inspect
import io
import json
import math
import re
import shutil
import tempfile
import textwrap
import warnings
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np

from tutorial_lib import CHECKOUT
from tutorial_lib.crf import refine_scores
from tutorial_lib.data import data_home
from tutorial_lib.data.cache import cannot_write, check_shipped
from tutorial_lib.errors import InputError, check_whole_number, write_atomically
from tutorial_lib.inference import predict_at_scale

FACTS = "tutorial.json"
# Networks whose training takes longer than a reader should wait, in git; made by
# `tutorial pretrain`. Those that were trained here lie in a data folder.
SHIPPED = CHECKOUT / "data" / "checkpoints" / "notebooks"
CACHED = Path("cache", "trained")


def save(model: keras.Model, path: Path, **facts) -> None:
    """Write a model and facts about it, which JSON can hold, as one file: all of it or nothing.

    Raises InputError if the file cannot be written.
    """
    try:
        with tempfile.TemporaryDirectory() as folder:
            whole = Path(folder, "network.keras")
            model.save(whole)
            with zipfile.ZipFile(whole, "a") as archive:
                archive.writestr(FACTS, json.dumps(facts))
            write_atomically(path, whole.read_bytes())
    except OSError as error:
        raise cannot_write(path, error) from None


def read_facts(path: Path) -> dict:
    """Return the facts that `save` stored.

    Raises InputError if the file is missing, damaged, or was not written by `save`.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.testzip() is None:
                return json.loads(archive.read(FACTS))
    except Exception:  # the ZIP's reader raises errors of every kind
        pass
    raise InputError(f"{path} is damaged, or this tutorial did not save it; delete it, train anew")


def restore(model: keras.Model, path: Path) -> dict:
    """Load weights, and the optimizer's state if the model is compiled; return the facts.

    Raises InputError if the file is damaged, or is that of another network or optimizer.
    """
    facts = read_facts(path)
    try:
        with warnings.catch_warnings():
            # Of an optimizer that does not fit, Keras only warns.
            warnings.simplefilter("error", UserWarning)
            model.load_weights(path)
    except Exception:
        raise InputError(
            f"{path} belongs to another network or optimizer; delete it, or build the same network"
        ) from None
    return facts


@dataclass(frozen=True)
class SegmentationNetwork:
    """A trained network and how to use it on photographs.

    Attributes:
        model: From float32 (batch, height, width, 3), -1 to 1, to logits of each pixel.
        classes: Names in the order of the logits, the background first.
        short_side: Shorter side, in pixels, of the images that it was trained on.
    """

    model: keras.Model
    classes: tuple[str, ...]
    short_side: int

    def segment(self, image: np.ndarray, crf: bool = False) -> np.ndarray:
        """Return the class of each pixel of an RGB photograph of any size, uint8 (height, width).

        Args:
            image: uint8 (height, width, 3), as from `inference.read_photograph`.
            crf: Align the boundaries with the image's edges by a fully connected CRF.
        """
        refine = refine_scores if crf else None
        return predict_at_scale(self.model, image, self.short_side, refine)


def save_network(model: keras.Model, path: Path, classes: Sequence[str], short_side: int) -> None:
    """Save a trained network for `load_network`; the arguments are those of the class above.

    Raises InputError if the file cannot be written.
    """
    save(model, path, classes=list(classes), short_side=short_side)


def load_network(path: str | Path) -> SegmentationNetwork:
    """Load what `save_network` wrote.

    Raises InputError if the file is missing or is no such network.
    """
    if not Path(path).is_file():
        raise InputError(
            f"{path} is missing: a network that was trained on photographs. Notebook 05 makes it, "
            "with `tutorial run 05 -p dataset voc -p backbone efficientnet_lite0`; or name another "
            "with --model"
        )
    try:
        facts = read_facts(path)
        classes, short_side = tuple(facts["classes"]), facts["short_side"]
        check_whole_number("short_side", short_side)
        model = keras.saving.load_model(path, compile=False)
        if (model.input_shape[3], model.output_shape[3]) != (3, len(classes)):
            raise ValueError("it predicts other classes, or reads other images")
        return SegmentationNetwork(model, classes, short_side)
    except Exception:  # Keras raises errors of every kind
        raise InputError(
            f"{path} is damaged, or not a segmentation network that this tutorial saved; "
            "notebook 05 makes one"
        ) from None


def save_layers(network: keras.Model, prefix: str, path: Path) -> None:
    """Write the weights of the layers whose names begin with a prefix, in half precision.

    Where all other layers are frozen, this is a small file. Raises InputError if the file cannot be
    written.
    """
    arrays = {
        f"{layer.name}/{number}": weights.astype("float16")
        for layer in network.layers
        if layer.name.startswith(prefix)
        for number, weights in enumerate(layer.get_weights())
    }
    _write_arrays(path, arrays)


def _write_arrays(path: Path, arrays: dict) -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    try:
        write_atomically(path, buffer.getvalue())
    except OSError as error:
        raise cannot_write(path, error) from None


def load_layers(network: keras.Model, prefix: str, path: Path, sha256: str) -> None:
    """Load the weights that `save_layers` wrote.

    Raises InputError if the file is missing or its SHA-256 is another.
    """
    check_shipped(path, sha256)
    with np.load(path, allow_pickle=False) as arrays:
        for layer in network.layers:
            if not layer.name.startswith(prefix):
                continue
            count = len(layer.get_weights())
            stored = [arrays[f"{layer.name}/{number}"] for number in range(count)]
            layer.set_weights([weights.astype("float32") for weights in stored])


def load_or_train(
    name: str,
    build: Callable,
    fit: Callable,
    data: Sequence[np.ndarray | Path],
    settings: SimpleNamespace,
    *,
    retrain: bool = False,
    **options,
):
    """Return a trained network and the history of its training, from disk if it was made before.

    Args:
        name: Begins the name of the file in which the network is kept.
        build: `build(**options)` returns the network, a `keras.Model`.
        fit: `fit(network, *data, settings)` trains it and returns a history that JSON can hold.
        data: What the network is trained and measured on: arrays, or folders of records.
        settings: Numbers, texts and `fcn_stages.Stage`s; `settings.seed` fixes every random choice.
        retrain: Train, whatever is on disk.

    Raises:
        InputError: if the file cannot be written.
    """
    keras.utils.set_random_seed(settings.seed)
    network = build(**options)
    file = f"{name}-{fingerprint(network, fit, data, settings)[:12]}.npz"
    for folder in () if retrain else (data_home() / CACHED, SHIPPED):
        with contextlib.suppress(InputError):  # missing or damaged
            return network, load_trained(network, folder / file)
    if not retrain:
        print(f"{name}: no stored network fits these settings, so one is trained now")
    history = fit(network, *data, settings)
    save_trained(network, data_home() / CACHED / file, history)
    return network, history


def save_trained(network: keras.Model, path: Path, history: dict) -> None:
    """Write the weights of all layers that are not frozen, and the history of the training.

    Raises InputError if the file cannot be written.
    """
    arrays = {
        f"{place}/{number}": weights
        for place, layer in enumerate(network.layers)
        if layer.trainable
        for number, weights in enumerate(layer.get_weights())
    }
    _write_arrays(path, arrays | {"history": json.dumps(history)})


def load_trained(network: keras.Model, path: Path) -> dict:
    """Load what `save_trained` wrote into a network of the same architecture; return the history.

    Raises InputError if the file is missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            stored = dict(arrays)  # reads and checks everything before a weight is set
        for place, layer in enumerate(network.layers):
            if f"{place}/0" in stored:
                count = len(layer.get_weights())
                layer.set_weights([stored[f"{place}/{number}"] for number in range(count)])
        return json.loads(stored["history"].item())
    except Exception:  # NumPy and the ZIP's reader raise errors of every kind
        raise InputError(f"{path} is missing or damaged; delete it, train anew") from None


def fingerprint(network: keras.Model, fit: Callable, data, settings: SimpleNamespace) -> str:
    """Return the sha256 of all that decides how a network comes out of its training.

    These are its architecture, the code of `fit` without comments and docstrings, the settings,
    and every byte of the data. What `fit` calls is not included. Nor are the initial weights: if
    `build` loads some, put their `weights_digest` into the settings.
    """
    code = ast.parse(textwrap.dedent(inspect.getsource(fit)))
    for node in ast.walk(code):
        if isinstance(node, ast.FunctionDef) and ast.get_docstring(node):
            del node.body[0]
    # Keras numbers the layers that have no name of their own, counting all that were ever made.
    architecture = re.sub(r'"([a-z][a-z0-9_]*?)_\d+"', r'"\1"', network.to_json())
    chosen = json.dumps(vars(settings), sort_keys=True, default=vars)
    digest = hashlib.sha256("\n".join((architecture, ast.unparse(code), chosen)).encode())
    for array in _arrays(data):
        digest.update(f"{array.dtype.str} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def _arrays(data: Iterable[np.ndarray | Path]) -> Iterator[np.ndarray]:
    """Return arrays as they are, and the images and labels of each folder of records.

    The bytes of a record may differ between computers, because they are compressed.
    """
    from tutorial_lib.data.records import read_records

    for part in data:
        if isinstance(part, Path):
            for record in read_records(part).as_numpy_iterator():
                yield from (record["image"], record["labels"])
        else:
            yield part


def weights_digest(model: keras.Model) -> str:
    """Return the sha256 of a network's weights."""
    digest = hashlib.sha256()
    for weights in model.get_weights():
        digest.update(np.ascontiguousarray(weights).data)
    return digest.hexdigest()


def ship(pattern: str, home: Path) -> list[Path]:
    """Replace the networks in git whose names fit a pattern by those in the cache of `home`."""
    for old in SHIPPED.glob(pattern):
        old.unlink()
    SHIPPED.mkdir(parents=True, exist_ok=True)
    return [Path(shutil.copy(path, SHIPPED)) for path in sorted((home / CACHED).glob(pattern))]


class EpochCheckpoint(keras.callbacks.Callback):
    """Saves all that the next step depends on after each epoch, so that training can go on.

    Keras's `BackupAndRestore` does not save the state of random generators, for example those of
    dropout, so it would not end with the same bits. The batches of an epoch depend on its number
    alone, so they need no saving. `history` has for each name one number per epoch since the first.
    """

    def __init__(self, path: Path | None = None):
        """Save to `path`, `*.keras`; None saves nothing."""
        super().__init__()
        self.path, self.history = path, {}

    def restore(self, model: keras.Model) -> int:
        """Put a compiled model into the state of the checkpoint; return how many epochs are done.

        Raises InputError if the checkpoint is damaged, or is that of another network or optimizer.
        """
        if self.path is None or not self.path.exists():
            return 0
        if not model.optimizer.built:
            model.optimizer.build(model.trainable_variables)
        facts = restore(model, self.path)
        self.history = facts["history"]
        for variable, value in zip(_generators(model), facts["generators"], strict=True):
            variable.assign(value)
        return len(self.history.get("loss", []))

    def on_train_begin(self, logs=None) -> None:
        self._save()  # if that is impossible, it is better found out before an epoch is spent

    def on_epoch_end(self, epoch: int, logs=None) -> None:
        check_finite(logs["loss"])
        # Several GPUs: Keras adds up the mean losses of all devices.
        devices = self.model.distribute_strategy.num_replicas_in_sync
        for name, value in logs.items():
            self.history.setdefault(name, []).append(float(value) / devices)
        self._save()

    def _save(self) -> None:
        if self.path is not None:
            states = [variable.numpy().tolist() for variable in _generators(self.model)]
            save(self.model, self.path, history=self.history, generators=states)


def check_finite(loss: float) -> None:
    """Raise InputError if a training loss is infinite or not a number."""
    if not math.isfinite(loss):
        raise InputError(
            f"the training loss is {loss}: a label is neither a class nor 255 (void), or the "
            "learning rate is too high"
        )


def _generators(model: keras.Model) -> list:
    """Return the states of a model's random generators, which are no weights to Keras."""
    return [v for v in model.variables if v.path.endswith("seed_generator_state")]
