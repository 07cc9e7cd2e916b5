"""An FCN for photographs: EfficientNet-Lite0, frozen, with score layers trained on few images."""

from __future__ import annotations

import keras
import numpy as np
from keras import layers, ops

from tutorial_lib.models import fcn
from tutorial_lib.models.backbones import GlobalContext, L2Normalization
from tutorial_lib.models.efficientnet_lite import build_efficientnet_lite0

# The classes of ImageNet, as half-open ranges, that show an object of each class of VOC or what
# such objects have on: a person is no class of ImageNet, but a suit is.
IMAGENET_CLASSES = {
    "aeroplane": [(404, 405), (895, 896)],
    "bicycle": [(444, 445), (671, 672)],
    "bird": [(7, 25), (80, 101), (127, 147)],
    "boat": [(472, 473), (484, 485), (510, 511), (554, 555), (576, 577), (625, 626), (628, 629),
             (724, 725), (780, 781), (814, 815), (871, 872), (914, 915)],
    "bottle": [(440, 441), (720, 721), (737, 738), (898, 899), (901, 902), (907, 908)],
    "bus": [(654, 655), (779, 780), (874, 875)],
    "car": [(407, 408), (436, 437), (468, 469), (511, 512), (609, 610), (627, 628), (656, 657),
            (661, 662), (717, 718), (734, 735), (751, 752), (817, 818)],
    "cat": [(281, 286)],
    "chair": [(423, 424), (559, 560), (765, 766), (857, 858)],
    "cow": [(345, 348)],
    "diningtable": [(532, 533)],
    "dog": [(151, 269)],
    "horse": [(339, 340)],
    "motorbike": [(665, 666), (670, 671)],
    "person": [(400, 401), (433, 434), (445, 446), (452, 453), (515, 516), (518, 519), (568, 569),
               (601, 602), (608, 609), (610, 611), (614, 615), (617, 618), (655, 656), (697, 698),
               (735, 736), (834, 835), (841, 843), (869, 870), (906, 907), (981, 984)],
    "pottedplant": [(580, 581), (738, 739)],
    "sheep": [(348, 350)],
    "sofa": [(831, 832)],
    "train": [(466, 467), (547, 548), (565, 566), (705, 706), (820, 821), (829, 830)],
    "tvmonitor": [(527, 528), (620, 621), (664, 665), (681, 682), (782, 783), (851, 852)],
}  # fmt: skip


@keras.saving.register_keras_serializable("tutorial_lib")
class ClassEvidence(layers.Layer):
    """From scores of ImageNet's classes at each position to log-probabilities of VOC's classes.

    The probability of a VOC class is the sum over its classes of ImageNet. The output has two
    channels per class: one for the position, and one for the whole image.
    """

    def call(self, scores):
        groups = np.zeros((1000, len(IMAGENET_CLASSES)), "float32")
        for column, ranges in enumerate(IMAGENET_CLASSES.values()):
            for first, end in ranges:
                groups[first:end, column] = 1

        def evidence(x):
            # From about -1 for a probability of zero to 1 for a probability of one.
            return ops.log(ops.matmul(ops.softmax(x), groups) + np.exp(-10)) / 5 + 1

        whole = evidence(ops.mean(scores, axis=(1, 2), keepdims=True))
        here = evidence(scores)
        return ops.concatenate([here, ops.broadcast_to(whole, ops.shape(here))], axis=-1)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], 2 * len(IMAGENET_CLASSES))


def photo_backbone(hidden: int = 256, dropout: float = 0.5) -> keras.Model:
    """Return the backbone of an FCN for photographs; only its last convolution is trained.

    The feature maps at strides 8 and 16 are L2-normalized. The one at stride 32 is a convolution
    with `hidden` channels over the normalized features, their mean over the image, and the
    evidence of the ImageNet classifier for each class of VOC. Shown in notebook 05, *An FCN for
    photographs*.

    Raises:
        InputError: if the package with the weights is not installed.
    """
    classifier = build_efficientnet_lite0()
    maps = {8: "block4_add", 16: "block10_add", 32: "block15_project_norm"}
    maps = {stride: classifier.get_layer(name).output for stride, name in maps.items()}
    kernel, bias = classifier.get_layer("logits").get_weights()
    to_scores = layers.Conv2D(1000, 1, name="imagenet_scores")
    evidence = ClassEvidence(name="evidence")(to_scores(classifier.get_layer("head_relu").output))
    to_scores.set_weights([kernel[None, None], bias])
    x = layers.Concatenate(name="features")([GlobalContext(name="context")(maps[32]), evidence])
    x = layers.Conv2D(hidden, 1, activation="relu", name="score_hidden")(x)
    x = layers.Dropout(dropout, name="dropout")(x)
    finer = [L2Normalization(name=f"normalize_{stride}")(maps[stride]) for stride in (8, 16)]
    return keras.Model(classifier.inputs[0], [*finer, x], name="photo_backbone")


def build_photo_fcn(stride: int = 8) -> keras.Model:
    """Build FCN-32s, FCN-16s or FCN-8s for photographs and VOC's 21 classes.

    Raises InputError if the stride is none of the three, or as for `photo_backbone`.
    """
    return fcn.build_fcn(photo_backbone(), stride)
