"""An FCN for photographs: score layers on a frozen ImageNet classifier.

Two things come from EfficientNet-Lite0, which was trained on 1.2 million photographs: its feature
maps, and its own predictions. ImageNet has 118 breeds of dog and three kinds of cattle, so the
classifier, made fully convolutional, already finds dogs and cows in places where a few hundred
photographs with masks could not teach the difference.
"""

from __future__ import annotations

import keras
import numpy as np
from keras import layers, ops

from tutorial_lib.errors import check_choice
from tutorial_lib.models.backbones import GlobalContext, L2Normalization
from tutorial_lib.models.efficientnet_lite import FEATURE_BLOCKS, build_efficientnet_lite0
from tutorial_lib.models.fcn import STRIDES, score_layer, upsample

# For each class of VOC, the classes of ImageNet that show it. "person" has three, all of them by
# what the person does; other classes have near relatives where ImageNet lacks the class itself.
IMAGENET_CLASSES = {
    "aeroplane": (404, 895, 908),
    "bicycle": (444, 671, 880),
    "bird": (*range(7, 25), *range(80, 101), *range(127, 147)),
    "boat": (403, 472, 484, 510, 554, 576, 625, 628, 724, 780, 814, 833, 871, 914),
    "bottle": (440, 720, 737, 898, 907),
    "bus": (654, 779, 874),
    "car": (407, 436, 468, 511, 609, 627, 656, 661, 751, 817),
    "cat": tuple(range(281, 286)),
    "chair": (423, 559, 765, 857),
    "cow": (345, 346, 347),
    "diningtable": (532,),
    "dog": tuple(range(151, 269)),
    "horse": (339,),
    "motorbike": (665, 670),
    "person": (981, 982, 983),
    "pottedplant": (738,),
    "sheep": (348, 349),
    "sofa": (831,),
    "train": (466, 547, 565, 705, 820, 829),
    "tvmonitor": (664, 782, 851),
}
HIDDEN = 256


def build_classifier_map(weights="package") -> keras.Model:
    """Return EfficientNet-Lite0 made fully convolutional: 1,000 logits for each 32×32 cell.

    The classifier averages its last feature map and applies a fully connected layer to the mean.
    Both are linear, so the same layer applied to each cell as a 1×1 convolution gives logits whose
    mean over the map are the classifier's.

    Args:
        weights: As for `build_efficientnet_lite0`.

    Returns:
        A model from float32 (batch, height, width, 3), -1 to 1, any size, to five outputs: the
        feature maps at strides 8, 16 and 32, and the logits (batch, height/32, width/32, 1000).
    """
    classifier = build_efficientnet_lite0(True, weights)
    dense = classifier.get_layer("logits")
    kernel, bias = dense.get_weights()
    convolution = layers.Conv2D(1000, 1, name="logits_map")
    logits = convolution(classifier.get_layer("head_relu").output)
    convolution.set_weights([kernel[None, None], bias])
    maps = [_block_output(classifier, block) for block in FEATURE_BLOCKS.values()]
    return keras.Model(classifier.inputs, [*maps, logits], name="efficientnet_lite0_map")


def build_features(weights="package") -> keras.Model:
    """Return the frozen part of the FCN: three feature maps, from which score layers predict.

    Returns:
        A model from float32 (batch, height, width, 3), -1 to 1, sides multiples of 32, to feature
        maps at strides 8 (40 channels), 16 (112) and 32 (700: the features, their mean over the
        image, and `ClassEvidence`).
    """
    classifier = build_classifier_map(weights)
    fine, middle, coarse, logits = classifier.outputs
    maps = [
        L2Normalization(name="normalize_8")(fine),
        L2Normalization(name="normalize_16")(middle),
        layers.Concatenate(name="features_32")(
            [GlobalContext(name="context")(coarse), ClassEvidence(name="evidence")(logits)]
        ),
    ]
    model = keras.Model(classifier.inputs, maps, name="photo_features")
    model.trainable = False
    return model


def build_scores(classes: int = 21, hidden: int = HIDDEN, dropout: float = 0.5) -> keras.Model:
    """Return the trained part of the FCN: scores at strides 32, 16 and 8 from the feature maps.

    At stride 32 a hidden layer of 1×1 convolutions stands beside the linear one: 21 classes are not
    separated by planes in feature space. The skip connections are linear, as in the paper.
    """
    fine, middle, coarse = (keras.Input((None, None, channels)) for channels in (40, 112, 700))
    x = layers.Dropout(dropout, name="drop_features")(coarse)
    x = layers.Conv2D(hidden, 1, activation="relu", kernel_initializer="he_normal", name="hidden")(
        x
    )
    x = layers.Dropout(dropout, name="drop_hidden")(L2Normalization(name="normalize_hidden")(x))
    linear = score_layer(coarse, classes, "score_linear")
    scores = {32: layers.Add(name="score_32")([linear, score_layer(x, classes, "score_hidden")])}
    for stride, features in ((16, middle), (8, fine)):
        coarser = upsample(scores[2 * stride], 2, f"upsample_to_{stride}")
        skip = score_layer(features, classes, f"score_skip_{stride}")
        scores[stride] = layers.Add(name=f"fuse_{stride}")([coarser, skip])
    return keras.Model([fine, middle, coarse], [scores[s] for s in STRIDES], name="photo_scores")


def join(features: keras.Model, scores: keras.Model, stride: int = 8) -> keras.Model:
    """Return FCN-32s, FCN-16s or FCN-8s: the features, the scores at one stride, upsampled.

    Returns:
        A model from float32 (batch, height, width, 3), -1 to 1, sides multiples of 32, to logits
        (batch, height, width, classes).
    """
    check_choice("stride", stride, STRIDES)
    chosen = scores(features.outputs)[STRIDES.index(stride)]
    logits = upsample(chosen, stride, f"upsample_{stride}", dtype="float32")
    return keras.Model(features.inputs, logits, name=f"photo_fcn{stride}s")


@keras.saving.register_keras_serializable("tutorial_lib")
class ClassEvidence(layers.Layer):
    """Turn a map of ImageNet logits into evidence for the twenty classes of VOC, without weights.

    For each class the probabilities of its ImageNet classes are added up; the evidence is the
    logarithm. There are three of them: at this place, in the mean of the whole image, and at the
    place of the image where it is highest. The output has 60 channels.
    """

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        groups = np.zeros((1000, len(IMAGENET_CLASSES)), np.float32)
        for column, members in enumerate(IMAGENET_CLASSES.values()):
            groups[list(members), column] = 1
        self.groups = groups

    def call(self, logits):
        here = self._evidence(logits)
        whole = self._evidence(ops.mean(logits, axis=(1, 2), keepdims=True))
        highest = ops.max(here, axis=(1, 2), keepdims=True)
        same = ops.zeros_like(here)
        return ops.concatenate([here, whole + same, highest + same], axis=-1)

    def _evidence(self, logits):
        probabilities = ops.matmul(ops.softmax(logits, axis=-1), self.groups)
        # Scaled to about the size of the L2-normalized features beside it.
        return 0.75 * (ops.clip(ops.log(probabilities + 1e-9), -12.0, 0.0) + 8.0)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], 3 * len(IMAGENET_CLASSES))


def _block_output(classifier: keras.Model, block: int):
    """Return the output of an inverted bottleneck: of its sum if it has one."""
    names = [layer.name for layer in classifier.layers]
    last = f"block{block}_add" if f"block{block}_add" in names else f"block{block}_project_norm"
    return classifier.get_layer(last).output
