"""Networks trained on ImageNet as the backbone of an FCN.

A laptop that cannot train the paper's VGG-16 on photographs can train a MobileNet (Howard et al.,
"MobileNets: Efficient Convolutional Neural Networks for Mobile Vision Applications", 2017) from
`keras.applications`, or EfficientNet-Lite0, whose weights are installed with this project.
"""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import keras
from keras import layers, ops

from tutorial_lib.errors import InputError, check_choice
from tutorial_lib.models import fcn, vgg
from tutorial_lib.models.efficientnet_lite import FEATURE_BLOCKS, build_efficientnet_lite0

# Those that read colors from -1 to 1, as all our networks do.
KERAS_APPLICATIONS = {
    "mobilenet": "MobileNet",
    "mobilenet_v2": "MobileNetV2",
    "resnet50_v2": "ResNet50V2",
    "xception": "Xception",
}
VGGS = {"vgg16": 16, "vgg19": 19}
BACKBONES = (*KERAS_APPLICATIONS, *VGGS, "efficientnet_lite0")

NORM = 10.0  # of a pixel's feature vector after `l2_normalize`
WIDTHS = {"1_0": 1.0, "7_5": 0.75, "5_0": 0.5, "2_5": 0.25}  # as Keras writes them in file names


def load_backbone(name: str, weights: str | Path | None = "imagenet", **options) -> keras.Model:
    """Return the backbone of an FCN: feature maps at strides 8, 16 and 32 for any image size.

    The feature maps at strides 8 and 16 are L2-normalized, the one at stride 32 gets a
    `GlobalContext`. Neither has weights. A VGG comes as the classifier that it is, because
    `fcn.build_fcn` convolutionalizes its fully connected layers.

    Args:
        name: One of `BACKBONES`.
        weights: "imagenet" downloads them, or takes those that are installed; a path reads a
            published file, without the top (a VGG: with it); None initializes randomly.
        options: Passed on to Keras, for example `alpha=0.25` for a MobileNet of a quarter of the
            width. The default is the width that the name of a published file tells.

    Raises:
        InputError: if the name is unknown, or the weights are missing or do not fit.
    """
    check_choice("backbone", name, BACKBONES)
    if name in VGGS:
        if weights is None:
            return vgg.build_vgg(VGGS[name], imagenet_colors=True, **options)
        return vgg.load_imagenet_vgg(VGGS[name], weights)
    if name == "efficientnet_lite0":
        model = build_efficientnet_lite0(False, "package" if weights == "imagenet" else weights)
        inputs, maps = model.inputs[0], dict(zip(FEATURE_BLOCKS, model.outputs, strict=True))
    else:
        inputs, maps = fcn.feature_maps(_without_top(name, weights, **options))
    outputs = [L2Normalization(name=f"normalize_{stride}")(maps[stride]) for stride in (8, 16)]
    outputs.append(GlobalContext(name="context")(maps[32]))
    return keras.Model(inputs, outputs, name=name)


def _without_top(name: str, weights: str | Path | None, **options) -> keras.Model:
    """Return a network of keras.applications without its top, for images of any size."""
    if weights not in (None, "imagenet") and not Path(weights).is_file():
        raise InputError(f"{weights} is missing: the weights of {name}, without its top")
    if name == "mobilenet" and (width := published_width(weights)):
        options.setdefault("alpha", width)
    build = getattr(keras.applications, KERAS_APPLICATIONS[name])
    file = None if weights is None else str(weights)
    try:
        with warnings.catch_warnings():  # Keras warns of dozens of layers before it gives up
            warnings.simplefilter("ignore")
            return build(include_top=False, weights=file, input_shape=(None, None, 3), **options)
    except ValueError as error:
        reason = str(error).strip().splitlines()[0]
        raise InputError(
            f"the weights {weights} do not fit {name} with {options}: {reason}"
        ) from None
    except Exception as error:  # Keras raises plain exceptions when a download fails
        reason = " ".join(str(error).split())[:120]
        raise InputError(f"cannot load the weights of {name} ({reason}); give a file") from None


def published_width(weights: str | Path | None) -> float | None:
    """Return a MobileNet's width from the name of its file, or None if the name does not tell.

    Keras publishes, for example, "mobilenet_2_5_224_tf_no_top.h5" with a width of 0.25.
    """
    published = re.match(r"mobilenet_(\d_\d)_", Path(weights or "").name)
    return WIDTHS.get(published[1]) if published else None


def l2_normalize(x):
    """Scale the feature vector of each pixel, the last axis, to the L2 norm `NORM`.

    The feature maps of a network differ in scale by orders of magnitude, so that without this one
    of them would dominate the sum. Liu, Rabinovich & Berg, "ParseNet: Looking Wider to See
    Better", 2015, section 3, where the norm is learned.
    """
    return NORM * ops.normalize(x, axis=-1)


@keras.saving.register_keras_serializable("tutorial_lib")
class L2Normalization(layers.Layer):
    """Apply `l2_normalize` to a feature map."""

    def call(self, x):
        return l2_normalize(x)


@keras.saving.register_keras_serializable("tutorial_lib")
class GlobalContext(layers.Layer):
    """Concatenate to each pixel's features the mean of the whole feature map (ParseNet).

    The rest of an image tells a lot about the object at one pixel, and the global mean is what an
    ImageNet classifier decides by. Both halves are L2-normalized; the channels double.
    """

    def call(self, x):
        mean = ops.broadcast_to(ops.mean(x, axis=(1, 2), keepdims=True), ops.shape(x))
        return ops.concatenate([l2_normalize(x), l2_normalize(mean)], axis=-1)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], 2 * input_shape[-1])
