"""A U-Net whose encoder was pretrained on ImageNet: EfficientNet-Lite0.

The idea is that of Iglovikov & Shvets, "TernausNet: U-Net with VGG11 Encoder Pre-Trained on
ImageNet for Image Segmentation", 2018.
"""

from __future__ import annotations

import keras
from keras import layers

from tutorial_lib.models.fcn import upsample
from tutorial_lib.models.photo_fcn import photo_backbone

# The last feature map of the encoder at each stride, and what stride 32 offers to an FCN.
SKIPS = {16: "block10_add", 8: "block4_add", 4: "block2_add", 2: "block0_project_norm"}
BOTTOM = "features"


def build_pretrained_unet(filters: int = 96, dropout: float = 0.3) -> keras.Model:
    """Build a U-Net on EfficientNet-Lite0 for images whose sides are multiples of 32.

    The encoder is frozen. Its batch normalizations keep their statistics, because a few photographs
    give no better ones. The decoder ends at half the resolution, and the logits are upsampled.

    Args:
        filters: Channels of the decoder at stride 16; each finer level has half as many, at least
            16.
        dropout: Share of the features at the bottom that a training step drops.

    Returns:
        A model from float32 (batch, height, width, 3) to logits (batch, height, width, 1). The
        names of the decoder's layers begin with "decoder".

    Raises:
        InputError: if the package with the encoder's weights is not installed.
    """
    encoder = photo_backbone()
    encoder.trainable = False
    x = layers.Dropout(dropout, name="decoder_dropout")(encoder.get_layer(BOTTOM).output)
    for level, (stride, name) in enumerate(SKIPS.items()):
        width = max(16, filters // 2**level)
        x = layers.Conv2DTranspose(width, 2, 2, name=f"decoder{stride}_up")(x)
        skip = encoder.get_layer(name).output
        x = layers.Concatenate(name=f"decoder{stride}_skip")([x, skip])
        x = layers.Conv2D(
            width,
            3,
            padding="same",
            use_bias=False,
            kernel_initializer="he_normal",
            name=f"decoder{stride}_conv",
        )(x)
        x = layers.BatchNormalization(momentum=0.9, name=f"decoder{stride}_norm")(x)
        x = layers.ReLU(name=f"decoder{stride}_relu")(x)
    logits = layers.Conv2D(1, 1, dtype="float32", name="decoder_logits")(x)
    return keras.Model(encoder.inputs[0], upsample(logits, 2, "upsample"), name="pretrained_unet")
