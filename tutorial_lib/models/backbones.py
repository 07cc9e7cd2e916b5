"""Nets of `keras.applications` as bodies for an FCN, in place of VGG, or as a U-Net's way down.

A laptop that cannot train the paper's VGG-16 on photographs can train a MobileNet (Howard et al.,
"MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications", 2017).
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import keras
from keras import layers, ops

from tutorial_lib.errors import InputError, check_choice
from tutorial_lib.models import fcn

# Those that read colors from -1 to 1, as all our nets do.
BACKBONES = {
    "mobilenet": "MobileNet",
    "mobilenet_v2": "MobileNetV2",
    "resnet50_v2": "ResNet50V2",
    "xception": "Xception",
}

LENGTH = 10.0  # of a pixel's vector of channels
WIDTHS = {("1", "0"): 1.0, ("7", "5"): 0.75, ("5", "0"): 0.5, ("2", "5"): 0.25}  # in file names


def load_backbone(
    name: str, weights: str | Path | None = "imagenet", *, context: bool = True, **options
) -> keras.Model:
    """Return a net without its top, for pictures of any size.

    Args:
        name, weights, options: As for `load_without_top`.
        context: Prepare the maps that an FCN reads, by `with_context`.

    Raises:
        InputError: if the name is unknown, or the weights are missing or those of another net.
    """
    model = load_without_top(name, weights, **options)
    return with_context(model) if context else model


def load_without_top(
    name: str, weights: str | Path | None = "imagenet", size: int | None = None, **options
) -> keras.Model:
    """Return a net as keras.applications builds it, without its top.

    Args:
        name: One of `BACKBONES`.
        weights: "imagenet" downloads them; a path takes them from a file, as keras.applications
            publishes them (without the top); None starts from chance.
        size: Side of its pictures in pixels; None: they may have any size.
        options: Passed on, e.g. `alpha=0.25` for a MobileNet of a quarter of the width. If it is
            not given, it is what `published_width` reads.

    Raises:
        InputError: if the name is unknown, or the weights are missing or those of another net.
    """
    check_choice("backbone", name, BACKBONES)
    build = getattr(keras.applications, BACKBONES[name])
    from_file = weights not in (None, "imagenet")
    if from_file and not Path(weights).is_file():
        raise InputError(f"{weights} is missing: the weights of {name}, without its top")
    if name == "mobilenet" and (width := published_width(weights)):
        options.setdefault("alpha", width)
    online = None if from_file else weights
    try:
        model = build(include_top=False, weights=online, input_shape=(size, size, 3), **options)
        if from_file:
            with warnings.catch_warnings():  # dozens before the one error that matters
                warnings.simplefilter("ignore")
                model.load_weights(str(weights))
    except OSError as error:
        reason = " ".join(str(error).split())[:120]
        raise InputError(f"the weights of {name} cannot be had ({reason}); give a file") from None
    except ValueError as error:
        first = str(error).strip().splitlines()[0]
        raise InputError(
            f"the weights {weights} do not fit {name} with {options}: {first}"
        ) from None
    return model


def published_width(weights: str | Path | None) -> float | None:
    """Read a MobileNet's width out of the name of its file, "mobilenet_2_5_224_tf_no_top.h5" say.

    None if the name does not tell.
    """
    published = re.match(r"mobilenet_(\d)_(\d)_", Path(weights or "").name)
    return WIDTHS.get(published.group(1, 2)) if published else None


def with_context(model: keras.Model) -> keras.Model:
    """Return a net whose maps at strides 8, 16 and 32 fit together, the last with `GlobalContext`.

    Everything that is added is computed, nothing of it learned.
    """
    inputs, maps = fcn.feature_maps(model)
    outputs = [FixedLength(name=f"length_{step}")(maps[step]) for step in (8, 16)]
    outputs.append(GlobalContext(name="context")(maps[32]))
    return keras.Model(inputs, outputs, name=model.name)


def fixed_length(x):
    """Scale each pixel's vector of channels, the last axis, to the length `LENGTH`.

    The maps of a net differ in size by orders of magnitude, and in one map some pixels shout. Liu,
    Rabinovich & Berg, "ParseNet: Looking Wider to See Better", 2015, section 3. They learn the
    length; here it stays.
    """
    return LENGTH * ops.normalize(x, axis=-1)


@keras.saving.register_keras_serializable("tutorial_lib")
class FixedLength(layers.Layer):
    """Apply `fixed_length` to a map."""

    def call(self, x):
        return fixed_length(x)


@keras.saving.register_keras_serializable("tutorial_lib")
class GlobalContext(layers.Layer):
    """Give every pixel of a map the mean of the whole map as well, in channels of its own.

    What lies in a picture's middle says much about what its corners can be, and the mean is what
    ImageNet's classifiers judge a picture by. From (batch, height, width, channels) to twice the
    channels, either half of a `fixed_length`. ParseNet, as there.
    """

    def call(self, x):
        mean = ops.broadcast_to(ops.mean(x, axis=(1, 2), keepdims=True), ops.shape(x))
        return ops.concatenate([fixed_length(x), fixed_length(mean)], axis=-1)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], 2 * input_shape[-1])
