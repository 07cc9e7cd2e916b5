"""A convolutional autoencoder with a bottleneck of a few numbers, and two relatives of it."""

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


def build_autoencoder(latent_dim: int = 2) -> keras.Model:
    """Join encoder and decoder.

    Args:
        latent_dim: How many numbers the encoder may keep of a digit.

    Returns:
        A model that maps float32 (batch, 28, 28, 1) in [0, 1] to its reconstruction of the same
        shape. Its layers "encoder" and "decoder" are models themselves.
    """
    encoder, decoder = build_encoder(latent_dim), build_decoder(latent_dim)
    digit = keras.Input((28, 28, 1), name="digit")
    return keras.Model(digit, decoder(encoder(digit)), name="autoencoder")


def build_denoiser(latent_dim: int = 8, noise: float = 0.5) -> keras.Model:
    """Put Gaussian noise before an autoencoder, while it trains; its targets stay clean.

    Vincent et al., "Extracting and composing robust features with denoising autoencoders", ICML
    2008.

    Args:
        latent_dim: As for `build_autoencoder`.
        noise: Standard deviation of what is added to each pixel; ink lies between 0 and 1.

    Returns:
        A model like `build_autoencoder`'s. Outside training it adds no noise.
    """
    return keras.Sequential(
        [
            keras.Input((28, 28, 1), name="digit"),
            layers.GaussianNoise(noise, name="noise"),
            build_autoencoder(latent_dim),
        ],
        name="denoiser",
    )


def build_skip_autoencoder(latent_dim: int = 2) -> keras.Model:
    """Lead the first feature map around the bottleneck, to the last layer of the decoder.

    Returns:
        A model like `build_autoencoder`'s. Its layer "encoder" maps a digit to (code, fine map
        14×14×32), its layer "decoder" maps such a pair to a digit.
    """
    down, up = build_encoder(latent_dim), build_decoder(latent_dim)
    encoder = keras.Model(
        down.inputs[0], [down.outputs[0], down.get_layer("conv1").output], name="encoder"
    )
    code = keras.Input((1, 1, latent_dim), name="code")
    fine = keras.Input((14, 14, 32), name="fine")
    coarse = up.get_layer("up2")(up.get_layer("up1")(code))
    both = layers.Concatenate(name="skip")([coarse, fine])
    last = layers.Conv2DTranspose(1, 3, strides=2, padding="same", activation="sigmoid", name="up3")
    decoder = keras.Model([code, fine], last(both), name="decoder")
    digit = keras.Input((28, 28, 1), name="digit")
    return keras.Model(digit, decoder(encoder(digit)), name="skip_autoencoder")
