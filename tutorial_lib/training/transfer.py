"""Transfer learning on few photographs, with an encoder that was pretrained on ImageNet."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import keras

from tutorial_lib import CHECKOUT
from tutorial_lib.data import pipeline, records
from tutorial_lib.data.coco import CocoSplit
from tutorial_lib.models.pretrained_unet import build_pretrained_unet
from tutorial_lib.training import loop, losses
from tutorial_lib.training.checkpoints import load_layers, save_layers

CHECKPOINT = CHECKOUT / "data/checkpoints/unet_cats.npz"
CHECKPOINT_SHA256 = "8ad10d15fa9484c39fa9e80d9b7da03e37e2b0d9d35e1a1b936bc05f5310134c"
BATCH_SIZE = 8
DECODER = "decoder"  # how the names of the trained layers begin


def train_decoder(
    network: keras.Model, folder: Path, *, size: int, epochs: int, seed: int
) -> dict[str, list[float]]:
    """Train the decoder of a U-Net with a frozen encoder, and return the losses by epoch.

    The arguments are those of `fit`.
    """
    for layer in network.layers:
        layer.trainable = layer.name.startswith(DECODER)
    return fit(network, folder, keras.optimizers.AdamW, size=size, epochs=epochs, seed=seed)


def fit(
    network: keras.Model, folder: Path, optimizer: Callable, *, size: int, epochs: int, seed: int
) -> dict[str, list[float]]:
    """Train what is not frozen in a U-Net, and return the losses by epoch.

    Images are randomly scaled by 0.7 to 1.8, shifted, flipped and recolored.

    Args:
        folder: Records.
        optimizer: Called with a learning-rate schedule and `weight_decay`.
        size: Side of the training images in pixels, a multiple of 32.
        seed: For the order of the images and their augmentation.
    """
    steps = -(-records.count(folder) // BATCH_SIZE)
    schedule = loop.warmup_cosine(2e-3, epochs * steps)
    network.compile(optimizer(schedule, weight_decay=1e-2), loss=losses.cross_entropy_and_dice)

    def stream(first: int, end: int):
        return pipeline.segmentation_batches(
            folder, size, size, BATCH_SIZE, seed, scales=(0.7, 1.8), epochs=(first, end)
        )

    return loop.train(network, stream, epochs=epochs, steps=steps)


def load_cat_network() -> keras.Model:
    """Return a U-Net for cats in photographs, with the decoder that comes along.

    Raises InputError if the checkpoint is missing or is not the one that this code was tested with,
    or the package with the encoder's weights is not installed.
    """
    network = build_pretrained_unet()
    load_layers(network, DECODER, CHECKPOINT, CHECKPOINT_SHA256)
    return network


def train_cat_checkpoint(data: Iterable[Path], seed: int, echo: Callable = print) -> None:
    """Train the decoder on the cats of several COCO folders, and write `CHECKPOINT`.

    Raises InputError if a file is missing or damaged.
    """
    splits = [CocoSplit(root, "train") for root in data]
    sources = [split.image_path(i) for split in splits for i in split.image_ids("cat")]
    folder = records.cached_records(
        "cats",
        sources,
        lambda: (split.read(i, ["cat"]) for split in splits for i in split.image_ids("cat")),
    )
    echo(f"{records.count(folder)} photographs")
    keras.utils.set_random_seed(seed)
    network = build_pretrained_unet()
    train_decoder(network, folder, size=384, epochs=60, seed=seed)
    save_layers(network, DECODER, CHECKPOINT)
