"""A convolutional autoencoder with a bottleneck of a few numbers."""

from __future__ import annotations

import keras
from keras import layers


def build_encoder(latent_dim: int = 2) -> keras.Model:
    """Build the way down: 28×28×1 → 14×14×32 → 7×7×64 → 1×1×latent_dim.

    The last kernel covers the whole map, so it has room in one place only.
    """
    return keras.Sequential(
        [
            keras.Input((28, 28, 1), name="digit"),
            layers.Conv2D(32, 3, strides=2, padding="same", activation="relu", name="conv1"),
            layers.Conv2D(64, 3, strides=2, padding="same", activation="relu", name="conv2"),
            layers.Conv2D(latent_dim, 7, padding="valid", name="latent"),
        ],
        name="encoder",
    )


def build_decoder(latent_dim: int = 2) -> keras.Model:
    """Build the way up, the encoder's mirror image: 1×1×latent_dim → 7×7×64 → 14×14×32 → 28×28×1.

    Each transposed convolution has the kernel, stride and padding of the convolution that it
    answers to. The last activation keeps the ink between 0 and 1.
    """
    return keras.Sequential(
        [
            keras.Input((1, 1, latent_dim), name="code"),
            layers.Conv2DTranspose(64, 7, padding="valid", activation="relu", name="up1"),
            layers.Conv2DTranspose(32, 3, strides=2, padding="same", activation="relu", name="up2"),
            layers.Conv2DTranspose(
                1, 3, strides=2, padding="same", activation="sigmoid", name="up3"
            ),
        ],
        name="decoder",
    )


def build_autoencoder(latent_dim: int = 2) -> tuple[keras.Model, keras.Model, keras.Model]:
    """Build encoder and decoder, and join them.

    Args:
        latent_dim: How many numbers the encoder may keep of a digit.

    Returns:
        (encoder, decoder, autoencoder). The autoencoder maps float32 (batch, 28, 28, 1) in [0, 1]
        to its reconstruction of the same shape, and shares its weights with the other two.
    """
    encoder, decoder = build_encoder(latent_dim), build_decoder(latent_dim)
    digit = keras.Input((28, 28, 1), name="digit")
    return encoder, decoder, keras.Model(digit, decoder(encoder(digit)), name="autoencoder")
