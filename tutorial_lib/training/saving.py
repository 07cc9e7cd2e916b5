"""A trained segmentation net in one file, with what is needed to use it on a photograph."""

from __future__ import annotations

import json
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from tutorial_lib.crf import refine_scores
from tutorial_lib.errors import InputError
from tutorial_lib.inference import predict_at_scale

USE = "tutorial.json"  # beside Keras's own members of the archive, which is a ZIP


@dataclass(frozen=True)
class Net:
    """A net and how to use it.

    Attributes:
        model: From float32 (batch, height, width, 3), -1 to 1, to logits of each pixel.
        classes: Names in the order of the logits, the background first.
        short_side: Shorter side, in pixels, of the pictures that it was trained on.
        multiple: What the sides of its input must be multiples of.
    """

    model: keras.Model
    classes: tuple[str, ...]
    short_side: int
    multiple: int = 32

    def labels(self, image: np.ndarray, crf: bool = False) -> np.ndarray:
        """Label a photograph of any size: uint8 (height, width).

        Args:
            image: What `inference.as_rgb` reads.
            crf: Let a fully connected CRF draw the outlines along the picture's edges.
        """
        refine = refine_scores if crf else None
        return predict_at_scale(self.model, image, self.short_side, self.multiple, refine)


def save_net(
    model: keras.Model, path: Path, classes: Sequence[str], short_side: int, multiple: int = 32
) -> None:
    """Save a trained net: the whole file, or none of it.

    Args:
        model, classes, short_side, multiple: As of `Net`.
        path: Its name ends in .keras.

    Raises:
        InputError: if the file cannot be written.
    """
    use = {"classes": list(classes), "short_side": short_side, "multiple": multiple}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=path.parent) as folder:
            partial = Path(folder) / "net.keras"
            model.save(partial)
            with zipfile.ZipFile(partial, "a") as archive:
                archive.writestr(USE, json.dumps(use))
            partial.replace(path)
    except OSError as error:
        raise InputError(f"cannot write {path} ({error.strerror}); choose another folder") from None


def load_net(path: str | Path) -> Net:
    """Load what `save_net` wrote.

    Raises:
        InputError: if the file is missing or is no such net.
    """

    path = Path(path)
    if not path.is_file():
        raise InputError(
            f"{path} is missing: a net that was trained on photographs. Notebook 05 makes it, with "
            "`tutorial run 05 -p dataset voc -p backbone mobilenet`; or name another with --model"
        )
    try:
        with zipfile.ZipFile(path) as archive:
            use = json.loads(archive.read(USE))
        if any(int(use[name]) != use[name] or use[name] < 1 for name in ("short_side", "multiple")):
            raise ValueError("no number of pixels")
        model = keras.saving.load_model(path, compile=False)
        return Net(model, tuple(use["classes"]), use["short_side"], use["multiple"])
    except Exception:  # what Keras, HDF5 and the ZIP's reader raise at damage is of every kind
        raise InputError(
            f"{path} is no net that this tutorial saved; notebook 05 makes one"
        ) from None
