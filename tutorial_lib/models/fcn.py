"""Fully convolutional networks: a classifier turned into a net that labels every pixel.

Long, Shelhamer & Darrell, "Fully Convolutional Networks for Semantic Segmentation", CVPR 2015.
"""

from __future__ import annotations

import keras
import numpy as np
from keras import layers, ops

from tutorial_lib.errors import InputError, check_choice

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


def build_fcn(
    classifier: keras.Model, stride: int = 32, classes: int = 21, learned: bool = False
) -> keras.Model:
    """Build FCN-32s, FCN-16s or FCN-8s on a classifier (section 4.2, figure 3).

    The classifier's own score layer is dropped. All score layers, 1×1 convolutions without ReLU,
    start at zero: the net begins by calling everything equally likely, and a finer net begins
    where the coarser one ended.

    Args:
        classifier: As built by `vgg.build_vgg`, or a backbone as of `backbones.load_backbone`.
        stride: 32, 16 or 8: pixels between the finest scores that are used.
        classes: Number of classes, the background counted as one.
        learned: Let the net learn the kernels that enlarge, from a bilinear start.

    Returns:
        A model from float32 (batch, height, width, 3), sides multiples of 32, to logits
        (batch, height, width, classes).

    Raises:
        InputError: if the stride is none of the three.
    """
    check_choice("stride", stride, STRIDES)
    inputs, maps = feature_maps(classifier)
    scores = score_layer(maps[32], classes, "score_fc7")
    for step, name in ((16, "pool4"), (8, "pool3")):
        if stride <= step:
            scores = BilinearUpsampling(2, learned, name=f"upsample_to_{name}")(scores)
            skip = score_layer(maps[step], classes, f"score_{name}")
            scores = layers.Add(name=f"fuse_{name}")([scores, skip])
    enlarge = BilinearUpsampling(stride, learned, name=f"upsample_{stride}", dtype="float32")
    return keras.Model(inputs, enlarge(scores), name=f"fcn{stride}s")


def feature_maps(classifier: keras.Model):
    """Return the input of a net and its maps at strides 8, 16 and 32.

    Of a VGG those are pool3, pool4 and fc7, as in the paper; of any other net the deepest map at
    each stride.

    Raises:
        InputError: if the net has no map at one of the strides, or takes one size only.
    """
    if any(isinstance(layer, layers.Flatten) for layer in classifier.layers):
        body = convolutionalize(classifier, padding="same")
        names = {8: "pool3", 16: "pool4", 32: "fc7_dropout"}
        return body.inputs[0], {step: body.get_layer(name).output for step, name in names.items()}
    body = keras.models.clone_model(classifier)  # three nets on one backbone must not share it
    body.set_weights(classifier.get_weights())
    outputs = [layer.output for layer in body.layers]
    probe = keras.KerasTensor((1, 256, 256, classifier.input_shape[-1]))
    try:
        shapes = keras.Model(body.inputs, outputs).compute_output_spec(probe)
    except ValueError:
        reason = f"{classifier.name} does not take pictures of 256×256 pixels"
        raise InputError(f"{reason}; build it for any size") from None
    maps = {
        256 // s.shape[1]: o
        for s, o in zip(shapes, outputs, strict=True)
        if s.shape[1:3] in [(256 // step, 256 // step) for step in STRIDES]
    }
    if set(maps) != set(STRIDES):
        raise InputError(
            f"{classifier.name} has no maps at strides 8, 16 and 32; it cannot be used"
        )
    return body.inputs[0], maps


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

    Channels do not mix, and the kernel is a product of two tents, so the layer is two small matrix
    products, one for each axis, and not a convolution with a kernel of 2 factor × 2 factor × C × C.
    The kernel is fixed unless `learned`: the paper found that learning it gains next to nothing.
    A learned one is still a product of two lines, one pair for each channel.
    """

    def __init__(self, factor: int, learned: bool = False, **kwargs):
        """Make the layer.

        Args:
            factor: How many times larger, whole and even.
            learned: Whether the kernel is trained; it starts as the fixed one.
            kwargs: As for every Keras layer.
        """
        super().__init__(**kwargs)
        self.factor = factor
        self.learned = learned

    def build(self, input_shape):
        if self.learned:
            tent = np.sqrt(np.diag(bilinear_kernel(self.factor)))[:, None]
            self.lines = self.add_weight(
                shape=(2, 2 * self.factor, input_shape[-1]),
                initializer=lambda shape, dtype=None: ops.broadcast_to(
                    ops.cast(tent, dtype), shape
                ),
                name="lines",
            )
        super().build(input_shape)

    def call(self, x):
        height, width = ops.shape(x)[1:3]
        if self.learned:
            # The kernel reaches one cell beyond the rim: continue the map by its rim there.
            x = ops.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="symmetric")
            down, across = (
                self._learned_matrix(line, size)
                for line, size in ((self.lines[0], height), (self.lines[1], width))
            )
            return ops.einsum("ihc,bhjc->bijc", down, ops.einsum("jwc,bhwc->bhjc", across, x))
        down = interpolation_matrix(height, self.factor)
        across = interpolation_matrix(width, self.factor)
        # Rows first, with columns and channels as one long axis: no transposition is needed.
        channels = x.shape[-1]
        x = ops.matmul(down, ops.reshape(x, (-1, height, width * channels)))
        return ops.matmul(across, ops.reshape(x, (-1, height * self.factor, width, channels)))

    def _learned_matrix(self, line, size: int):
        """Return a line's matrices, (factor · size, size + 2, channels)."""
        pixels, cells = ops.arange(self.factor * size), ops.arange(size + 2)
        taps = pixels[:, None] + 3 * self.factor // 2 - self.factor * cells[None]
        inside = ops.logical_and(taps >= 0, taps < 2 * self.factor)
        values = ops.take(line, ops.clip(taps, 0, 2 * self.factor - 1), axis=0)
        return values * ops.cast(inside, line.dtype)[..., None]

    def compute_output_shape(self, input_shape):
        batch, height, width, channels = input_shape
        sides = [None if side is None else side * self.factor for side in (height, width)]
        return (batch, *sides, channels)

    def get_config(self):
        return {**super().get_config(), "factor": self.factor, "learned": self.learned}
