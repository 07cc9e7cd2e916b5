"""Fully convolutional networks: a classifier turned into a network that labels every pixel.

Long, Shelhamer & Darrell, "Fully Convolutional Networks for Semantic Segmentation", CVPR 2015.
"""

from __future__ import annotations

import keras
import numpy as np
from keras import layers, ops

from tutorial_lib.errors import InputError, check_choice, check_whole_number

STRIDES = (32, 16, 8)


def convolutionalize(classifier: keras.Model, padding: str = "valid") -> keras.Model:
    """Turn the fully connected layers of a VGG into convolutions (section 3.1).

    A fully connected layer on a feature map of h×w×c *is* a convolution whose h×w kernel fits in
    one place only. The weights and biases are those of the classifier, in another shape.

    Args:
        classifier: As built by `vgg.build_vgg`, without batch normalization.
        padding: "valid" reproduces the classifier: an input of its size gives one score per class.
            "same" gives one for each 32×32 cell of the input.

    Returns:
        A model from float32 (batch, height, width, 3), any size, to a map of scores.

    Raises:
        InputError: if the classifier is no VGG, or the padding is unknown.
    """
    check_choice("padding", padding, ("valid", "same"))
    if not _has_flatten(classifier):
        raise InputError("only a VGG can be convolutionalized; build one with vgg.build_vgg")
    x = inputs = keras.Input((None, None, classifier.input_shape[-1]), name="image")
    height, width, channels = classifier.get_layer("flatten").input.shape[1:]
    new_weights = {}
    for layer in classifier.layers[1:]:
        if isinstance(layer, layers.Flatten):
            continue
        if isinstance(layer, layers.Dense):
            kernel, bias = layer.get_weights()
            size = (height, width) if layer.name == "fc6" else (1, 1)
            new_weights[layer.name] = [kernel.reshape(*size, -1, layer.units), bias]
            layer = layers.Conv2D(
                layer.units, size, padding=padding, activation=layer.activation, name=layer.name
            )
        else:
            new_weights[layer.name] = layer.get_weights()
            layer = layer.__class__.from_config(layer.get_config())
        x = layer(x)
    model = keras.Model(inputs, x, name=f"{classifier.name}_convolutional")
    for name, weights in new_weights.items():
        model.get_layer(name).set_weights(weights)
    return model


def build_fcn(classifier: keras.Model, stride: int = 32, classes: int = 21) -> keras.Model:
    """Build FCN-32s, FCN-16s or FCN-8s on a classifier (Long et al., CVPR 2015, section 4.2).

    The classifier's own score layer is dropped. All new score layers start at zero: the network
    begins with equal scores for all classes, and a finer network begins close to where the coarser
    one ended, but not exactly there, because two bilinear steps do not equal one.

    Args:
        classifier: As built by `vgg.build_vgg`, or a backbone from `backbones.load_backbone`.
        stride: 32, 16 or 8: the stride in pixels of the finest scores that are used.
        classes: Number of classes, the background included.

    Returns:
        A model from float32 (batch, height, width, 3), sides multiples of 32, to logits
        (batch, height, width, classes).

    Raises:
        InputError: if the stride is none of the three, or the classifier cannot be used.
    """
    check_choice("stride", stride, STRIDES)
    inputs, maps = feature_maps(classifier)
    scores = score_layer(maps[32], classes, "score_fc7")
    for step, name in ((16, "pool4"), (8, "pool3")):
        if stride <= step:
            scores = upsample(scores, 2, f"upsample_to_{name}")
            skip = score_layer(maps[step], classes, f"score_{name}")
            scores = layers.Add(name=f"fuse_{name}")([scores, skip])
    logits = upsample(scores, stride, f"upsample_{stride}", dtype="float32")
    return keras.Model(inputs, logits, name=f"fcn{stride}s")


def upsample(x, factor: int, name: str | None = None, dtype: str | None = None):
    """Upsample a feature map by bilinear interpolation; see `BilinearUpsampling`."""
    check_whole_number("factor", factor, 1, 1024)
    return BilinearUpsampling(factor, name=name, dtype=dtype)(x)


@keras.saving.register_keras_serializable("tutorial_lib")
class BilinearUpsampling(layers.Layer):
    """Upsample a feature map by bilinear interpolation, whatever its size.

    This equals a transposed convolution of each channel with `bilinear_kernel(factor)`, after one
    pixel of replicate padding. The kernel is a product of two triangles, one for each axis, so two
    matrix products do the same work. The paper lets the network learn this kernel in part, and
    gains next to nothing from it. `keras.layers.UpSampling2D` gives the same values, but with
    bilinear interpolation it cannot be compiled for images whose size is not known beforehand.
    """

    def __init__(self, factor: int, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, x):
        height, width = ops.shape(x)[1:3]
        channels = x.shape[-1]
        rows = interpolation_matrix(height, self.factor)
        columns = interpolation_matrix(width, self.factor)
        x = ops.matmul(rows, ops.reshape(x, (-1, height, width * channels)))
        return ops.matmul(columns, ops.reshape(x, (-1, height * self.factor, width, channels)))

    def compute_output_shape(self, input_shape):
        batch, height, width, channels = input_shape
        sides = [None if side is None else side * self.factor for side in (height, width)]
        return (batch, *sides, channels)

    def get_config(self):
        return {**super().get_config(), "factor": self.factor}


def interpolation_matrix(size: int, factor: int):
    """Return the matrix that interpolates `size` numbers linearly, replicating the outer ones.

    It is a float32 tensor (factor · size, size), each row of which adds up to one.
    """
    centers = ops.cast(ops.arange(size), "float32")
    pixels = (ops.cast(ops.arange(factor * size), "float32") + 0.5) / factor - 0.5
    pixels = ops.clip(pixels, 0.0, ops.cast(size - 1, "float32"))
    return ops.relu(1 - ops.abs(pixels[:, None] - centers[None]))


def score_layer(x, classes: int, name: str):
    """Apply a 1×1 convolution that starts at zero, without ReLU: scores may be negative."""
    check_whole_number("classes", classes, 1, 65_535)
    return layers.Conv2D(classes, 1, kernel_initializer="zeros", name=name)(x)


def feature_maps(classifier: keras.Model):
    """Return the input of a network and a dictionary of its feature maps at strides 8, 16 and 32.

    Of a VGG those are pool3, pool4 and fc7, as in the paper; of any other network the deepest
    feature map at each stride. Raises InputError if there is none at one of the strides, or the
    network takes one size only.
    """
    if _has_flatten(classifier):
        backbone = convolutionalize(classifier, padding="same")
        names = {8: "pool3", 16: "pool4", 32: "fc7_dropout"}
        return backbone.inputs[0], {
            step: backbone.get_layer(name).output for step, name in names.items()
        }
    backbone = keras.models.clone_model(classifier)  # FCN-32s, 16s and 8s must not share weights
    backbone.set_weights(classifier.get_weights())
    outputs = [layer.output for layer in backbone.layers]
    probe = keras.KerasTensor((1, 256, 256, classifier.input_shape[-1]))
    try:
        shapes = keras.Model(backbone.inputs, outputs).compute_output_spec(probe)
    except ValueError:
        reason = f"{classifier.name} does not take images of 256×256 pixels"
        raise InputError(f"{reason}; build it for any size") from None
    maps = {
        256 // s.shape[1]: o
        for s, o in zip(shapes, outputs, strict=True)
        if s.shape[1:3] in [(256 // step, 256 // step) for step in STRIDES]
    }
    if set(maps) != set(STRIDES):
        raise InputError(
            f"{classifier.name} has no feature maps at strides 8, 16 and 32; choose another network"
        )
    return backbone.inputs[0], maps


def warm_start(finer: keras.Model, coarser: keras.Model) -> keras.Model:
    """Copy the weights of all layers whose names two networks share; return the finer network.

    Raises InputError if layers of one name have weights of different shapes.
    """
    _has_flatten(finer), _has_flatten(coarser)  # both are networks
    shared = {layer.name: layer for layer in coarser.layers if layer.weights}
    for layer in finer.layers:
        if layer.name in shared:
            try:
                layer.set_weights(shared[layer.name].get_weights())
            except ValueError:
                raise InputError(
                    f"layer {layer.name} has different shapes in {finer.name} and {coarser.name}; "
                    "build both for the same classes"
                ) from None
    return finer


def bilinear_kernel(factor: int) -> np.ndarray:
    """Return the kernel with which a transposed convolution interpolates bilinearly.

    It is the product of two triangle functions, float32 (2 factor, 2 factor). Along each axis,
    weights that are `factor` apart add up to one. Raises InputError if the factor is not even: then
    its kernel has no alignment to the pixel.
    """
    check_whole_number("factor", factor, 2, 1024)
    if factor % 2:
        raise InputError(f"factor={factor} must be even; choose {factor - 1} or {factor + 1}")
    distance = np.abs(np.arange(2 * factor) - (factor - 0.5))
    triangle = 1 - distance / factor
    return np.outer(triangle, triangle).astype(np.float32)


def _has_flatten(network: keras.Model) -> bool:
    """Return whether a network has fully connected layers, as VGG does."""
    if not isinstance(network, keras.Model):
        raise InputError(f"expected a Keras model, got {type(network).__name__}")
    return any(isinstance(layer, layers.Flatten) for layer in network.layers)
