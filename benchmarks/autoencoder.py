"""The autoencoder of notebook 03 beside PCA: reconstruction error, and the classes of neighbors.

    python benchmarks/autoencoder.py                       # the bundled digits, seeds 0, 1 and 2
    python benchmarks/autoencoder.py --mnist DIRECTORY     # all of MNIST; it holds mnist.npz
    python benchmarks/autoencoder.py 0 --updates 18800     # another length of training
    python benchmarks/autoencoder.py --loss binary_crossentropy
    python benchmarks/autoencoder.py --last 7 linear       # 7×7 kernel, no activation at the end

Both are trained on digits 1, 5 and 6 and evaluated on the same test digits.
"""

from __future__ import annotations

import argparse
import math
import time
from types import SimpleNamespace

import numpy as np
from sklearn.decomposition import PCA
from sklearn.neighbors import KNeighborsClassifier

from tutorial_lib import notebook
from tutorial_lib.data.digits import load_digits, scaled

NEIGHBORS = 5
UPDATES = {"bundled": 1740, "mnist": 18800}
BATCH_SIZE = 32


def flat(images) -> np.ndarray:
    return images.reshape(len(images), -1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--mnist", metavar="DIRECTORY", help="take all of MNIST from here")
    parser.add_argument("--updates", type=int, help="optimizer steps, rounded to whole epochs")
    parser.add_argument("--loss", default="mse")
    parser.add_argument("--last", nargs=2, metavar=("KERNEL", "ACTIVATION"))
    options = parser.parse_args()
    notebook.start("quick")
    import keras

    from tutorial_lib.models.autoencoder import build_autoencoder
    from tutorial_lib.training.autoencoder import train_autoencoder

    dataset = "mnist" if options.mnist else "bundled"
    digits = load_digits(dataset, options.mnist or "", digits=[1, 5, 6])
    train, val, test = map(scaled, (digits.train_images, digits.val_images, digits.test_images))
    steps = math.ceil(len(train) / BATCH_SIZE)
    epochs = max(1, round((options.updates or UPDATES[dataset]) / steps))

    def quality(encode, reconstruct) -> tuple[float, float, float]:
        """Return the mean squared error on training and test digits, and neighbors' accuracy."""
        errors = [float(np.mean((reconstruct(x) - x) ** 2)) for x in (train, test)]
        classifier = KNeighborsClassifier(NEIGHBORS).fit(flat(encode(train)), digits.train_labels)
        return *errors, classifier.score(flat(encode(test)), digits.test_labels)

    def row(name, errors, accuracy, rest=("", "")) -> None:
        cells = [f"{error:.4f}" for error in errors] + [f"{accuracy:.1%}", *rest]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)

    print(f"{len(train):,} training, {len(test):,} test digits, {epochs * steps:,} updates\n")
    print("| | training | test | by neighbors | below PCA | seconds |\n|---|---|---|---|---|---|")
    pca = PCA(2, svd_solver="covariance_eigh").fit(flat(train))
    *linear, accuracy = quality(
        lambda x: pca.transform(flat(x)),
        lambda x: pca.inverse_transform(pca.transform(flat(x))).reshape(x.shape),
    )
    row("PCA", linear, accuracy)
    for seed in options.seeds:
        notebook.start("quick", seed=seed)
        network, start = build_autoencoder(latent_dim=2), time.perf_counter()
        if options.last:
            kernel, activation = options.last
            decoder = network.get_layer("decoder")
            decoder.pop()
            decoder.add(
                keras.layers.Conv2DTranspose(
                    1, int(kernel), strides=2, padding="same", activation=activation
                )
            )
        settings = {"epochs": epochs, "batch_size": BATCH_SIZE, "learning_rate": 3e-3}
        train_autoencoder(network, train, val, SimpleNamespace(**settings, loss=options.loss))
        seconds = time.perf_counter() - start
        *errors, accuracy = quality(
            lambda x, network=network: network.get_layer("encoder").predict(x, verbose=0),
            lambda x, network=network: network.predict(x, verbose=0),
        )
        row(
            f"seed {seed}", errors, accuracy, (f"{1 - errors[1] / linear[1]:.0%}", f"{seconds:.0f}")
        )


if __name__ == "__main__":
    main()
