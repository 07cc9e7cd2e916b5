"""Fully convolutional networks: a classifier turned into a net that labels every pixel.

Long, Shelhamer & Darrell, "Fully Convolutional Networks for Semantic Segmentation", CVPR 2015.
"""

from __future__ import annotations

import keras
import numpy as np
from keras import layers, ops

from tutorial_lib.errors import check_choice

STRIDES = (32, 16, 8)


def convolutionalize(classifier: keras.Model, padding: str = "valid") -> keras.Model:
    """Turn the fully connected layers of a VGG into convolutions (section 3.1).

    A fully connected layer over a map of h×w×c numbers *is* a convolution with a kernel of h×w
    that finds room in one place only. Nothing is learned anew: weights and biases are those of
    the classifier, in another shape.

    Args:
        classifier: As built by `vgg.build_vgg`, without batch normalization.
        padding: "valid" reproduces the classifier: an input of its size gives one score. "same"
            gives one score for each 32×32 cell of the input.

    Returns:
        A model from float32 (batch, height, width, 3), any size, to a map of scores.
    """
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
    """Build FCN-32s, FCN-16s or FCN-8s on a classifier (section 4.2, figure 3).

    The classifier's own score layer is dropped. All score layers, 1×1 convolutions without ReLU,
    start at zero: the net begins by calling everything equally likely, and a finer net begins
    where the coarser one ended.

    Args:
        classifier: As built by `vgg.build_vgg`, trained.
        stride: 32, 16 or 8: pixels between the finest scores that are used.
        classes: Number of classes, the background counted as one.

    Returns:
        A model from float32 (batch, height, width, 3), sides multiples of 32, to logits
        (batch, height, width, classes).

    Raises:
        InputError: if the stride is none of the three.
    """
    check_choice("stride", stride, STRIDES)
    body = convolutionalize(classifier, padding="same")
    scores = score_layer(body.get_layer("fc7_dropout").output, classes, "score_fc7")
    for step, name in ((16, "pool4"), (8, "pool3")):
        if stride <= step:
            scores = BilinearUpsampling(2, name=f"upsample_to_{name}")(scores)
            skip = score_layer(body.get_layer(name).output, classes, f"score_{name}")
            scores = layers.Add(name=f"fuse_{name}")([scores, skip])
    logits = BilinearUpsampling(stride, name=f"upsample_{stride}", dtype="float32")(scores)
    return keras.Model(body.inputs[0], logits, name=f"fcn{stride}s")


def score_layer(x, classes: int, name: str):
    """Apply a 1×1 convolution that starts at zero, without ReLU: scores may be negative."""
    return layers.Conv2D(classes, 1, kernel_initializer="zeros", name=name)(x)


def warm_start(finer: keras.Model, coarser: keras.Model) -> keras.Model:
    """Give a net the weights of the layers that it shares by name with another; returns it."""
    shared = {layer.name: layer for layer in coarser.layers if layer.weights}
    for layer in finer.layers:
        if layer.name in shared:
            layer.set_weights(shared[layer.name].get_weights())
    return finer


def bilinear_kernel(factor: int) -> np.ndarray:
    """Return the kernel with which a transposed convolution interpolates: a product of two tents.

    Returns:
        float32 (2 factor, 2 factor), for a whole even factor. Along each axis, weights that are
        `factor` apart add up to one.
    """
    distance = np.abs(np.arange(2 * factor) - (factor - 0.5))
    tent = 1 - distance / factor
    return np.outer(tent, tent).astype(np.float32)


def interpolation_matrix(size: int, factor: int):
    """Return the matrix of a transposed convolution of a line with a tent, `factor` as stride.

    It is what C^T of notebook 02 is for `bilinear_kernel`, along one axis. The line is continued
    by its end values; without that the tents would fall off to zero at the picture's rim.

    Returns:
        float32 tensor (factor · size, size); each row adds up to one.
    """
    centers = ops.cast(ops.arange(size), "float32")
    pixels = (ops.cast(ops.arange(factor * size), "float32") + 0.5) / factor - 0.5
    pixels = ops.clip(pixels, 0.0, ops.cast(size - 1, "float32"))
    return ops.relu(1 - ops.abs(pixels[:, None] - centers[None]))


@keras.saving.register_keras_serializable("tutorial_lib")
class BilinearUpsampling(layers.Layer):
    """Enlarge maps by a transposed convolution with a bilinear kernel.

    The kernel is fixed: the paper found that learning it gains next to nothing. Channels do not
    mix, and the kernel is a product of two tents, so the layer is two small matrix products, one
    for each axis, and not a convolution with a kernel of 2 factor × 2 factor × C × C.
    """

    def __init__(self, factor: int, **kwargs):
        """Make the layer.

        Args:
            factor: How many times larger, whole and even.
            kwargs: As for every Keras layer.
        """
        super().__init__(**kwargs)
        self.factor = factor

    def call(self, x):
        height, width = ops.shape(x)[1:3]
        down = interpolation_matrix(height, self.factor)
        across = interpolation_matrix(width, self.factor)
        return ops.einsum("ih,bhjc->bijc", down, ops.einsum("jw,bhwc->bhjc", across, x))

    def compute_output_shape(self, input_shape):
        batch, height, width, channels = input_shape
        sides = [None if side is None else side * self.factor for side in (height, width)]
        return (batch, *sides, channels)

    def get_config(self):
        return {**super().get_config(), "factor": self.factor}
