"""Reading pictures and masks from disk, with errors that name the file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from tutorial_lib.errors import InputError


def read_image(path: Path) -> np.ndarray:
    """Read a photograph as uint8 (height, width, 3), RGB; gray and CMYK ones are converted.

    Raises:
        InputError: if the file is missing or cannot be decoded to its end.
    """
    try:
        with Image.open(path) as picture:
            return np.asarray(picture.convert("RGB"))
    except FileNotFoundError:
        raise InputError(f"{path} is missing; see data/README.md for the layout") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"{path} cannot be decoded ({error}); replace the file") from None


def read_labels(path: Path) -> np.ndarray:
    """Read a label PNG, palette or gray, as uint8 (height, width) of class numbers.

    Raises:
        InputError: if the file is missing, damaged, or holds colors instead of class numbers.
    """
    try:
        with Image.open(path) as picture:
            if picture.mode not in ("P", "L"):
                raise InputError(
                    f"{path} holds {picture.mode} colors; expected class numbers (palette or gray)"
                )
            return np.array(picture)
    except FileNotFoundError:
        raise InputError(f"{path} is missing; see data/README.md for the layout") from None
    except (OSError, SyntaxError) as error:
        raise InputError(f"{path} cannot be decoded ({error}); replace the file") from None


def check_same_size(image_path: Path, image: np.ndarray, labels: np.ndarray) -> None:
    """Raise InputError if a label map does not fit its picture."""
    if image.shape[:2] != labels.shape:
        raise InputError(
            f"{image_path} is {image.shape[1]}×{image.shape[0]} pixels, its mask "
            f"{labels.shape[1]}×{labels.shape[0]}; replace one of the two"
        )
