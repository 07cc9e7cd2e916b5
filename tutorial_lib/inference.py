"""Prediction for pictures of any size."""

from __future__ import annotations

import numpy as np

from tutorial_lib.data.images import normalize
from tutorial_lib.errors import InputError


def predict_any_size(model, image: np.ndarray, multiple: int = 32) -> np.ndarray:
    """Label every pixel of a picture.

    The picture is continued to the next multiple by its edge values, the logits are cropped back.
    Nothing is resized, so no pixel is blurred on the way in or out.

    Args:
        model: From float32 (1, height, width, 3) to logits of the same height and width.
        image: uint8 (height, width, 3), RGB.
        multiple: What the sides of the model's input must be multiples of.

    Returns:
        Logits, float32 (height, width, classes).

    Raises:
        InputError: if the image is not uint8 of three channels.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise InputError(
            f"expected a uint8 image (height, width, 3), got {image.dtype} {image.shape}"
        )
    height, width = image.shape[:2]
    spare = [(-side) % multiple for side in (height, width)]
    before = [side // 2 for side in spare]
    padding = [(b, s - b) for b, s in zip(before, spare, strict=True)]
    padded = np.pad(normalize(image), [*padding, (0, 0)], mode="edge")
    logits = np.asarray(model(padded[None], training=False))[0]
    return logits[before[0] : before[0] + height, before[1] : before[1] + width]
