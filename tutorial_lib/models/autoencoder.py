"""The convolutional autoencoder of notebook 03, whose bottleneck has room for a few numbers."""

from __future__ import annotations

import keras
from keras import layers


def build_encoder(latent_dim: int = 2) -> keras.Model:
    """Build the encoder, for a digit 28×28×1 → 14×14×32 → 7×7×64 → 1×1×latent_dim.

    The last kernel has as many rows and columns as its input then, so it fits in one position. On
    a larger image it fits in many, and the output is a map of codes.
    """
    return keras.Sequential(
        [
            keras.Input((None, None, 1), name="image"),
            layers.Conv2D(32, 3, strides=2, padding="same", activation="relu", name="conv1"),
            layers.Conv2D(64, 3, strides=2, padding="same", activation="relu", name="conv2"),
            layers.Conv2D(latent_dim, 7, padding="valid", name="latent"),
        ],
        name="encoder",
    )


def build_decoder(latent_dim: int = 2) -> keras.Model:
    """Build the decoder, the encoder's mirror image: 1×1×latent_dim → 7×7×64 → 14×14×32 → 28×28×1.

    Each transposed convolution has the kernel size, stride and padding of its counterpart in the
    encoder. The sigmoid keeps the brightness of each output pixel between 0 and 1.
    """
    return keras.Sequential(
        [
            keras.Input((None, None, latent_dim), name="code"),
            layers.Conv2DTranspose(64, 7, padding="valid", activation="relu", name="up1"),
            layers.Conv2DTranspose(32, 3, strides=2, padding="same", activation="relu", name="up2"),
            layers.Conv2DTranspose(
                1, 3, strides=2, padding="same", activation="sigmoid", name="up3"
            ),
        ],
        name="decoder",
    )


def build_autoencoder(latent_dim: int = 2) -> keras.Model:
    """Join an encoder and a decoder; `latent_dim` is the number of channels between them.

    The model maps float32 (batch, height, width, 1) in [0, 1] to its reconstruction. Its layers
    "encoder" and "decoder" are models themselves.
    """
    return keras.Sequential(
        [build_encoder(latent_dim), build_decoder(latent_dim)], name="autoencoder"
    )
