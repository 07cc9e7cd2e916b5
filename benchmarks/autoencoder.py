"""The published autoencoder against PCA with two components: error, and the digits' neighbors.

    python benchmarks/autoencoder.py                     # the bundled digits, seeds 0, 1 and 2
    python benchmarks/autoencoder.py --mnist DIRECTORY   # all of MNIST; it holds mnist.npz
    python benchmarks/autoencoder.py 0 --epochs 12

Both are trained on digits 1, 5 and 6 and scored on the same test digits. By default the number of
epochs is that of notebook 03's full profile.
"""

from __future__ import annotations

import argparse
import functools
import time
from types import SimpleNamespace

import numpy as np
from sklearn.decomposition import PCA
from sklearn.neighbors import KNeighborsClassifier

from tutorial_lib import notebook
from tutorial_lib.data.digits import load_digits, scaled

NEIGHBORS = 15
EPOCHS = {"bundled": 64, "mnist": 40}


def flat(images) -> np.ndarray:
    return images.reshape(len(images), -1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--mnist", metavar="DIRECTORY", help="take all of MNIST from here")
    parser.add_argument("--epochs", type=int)
    options = parser.parse_args()
    notebook.start("quick")
    from tutorial_lib.models.autoencoder import build_autoencoder
    from tutorial_lib.training.autoencoder import apply, reconstruction_errors, train_autoencoder

    dataset = "mnist" if options.mnist else "bundled"
    digits = load_digits(dataset, options.mnist or "", digits=[1, 5, 6])
    train, test = map(scaled, (digits.train_images, digits.test_images))
    epochs = options.epochs or EPOCHS[dataset]

    def quality(encode, reconstruct) -> tuple[float, float]:
        """Return the mean squared error on the test digits, and the accuracy of neighbors."""
        classifier = KNeighborsClassifier(NEIGHBORS).fit(flat(encode(train)), digits.train_labels)
        accuracy = classifier.score(flat(encode(test)), digits.test_labels)
        return float(np.mean(reconstruction_errors(reconstruct, test))), accuracy

    print(f"{len(train):,} training digits, {len(test):,} test digits, {epochs} epochs\n")
    print("| | error | below PCA | by neighbors | seconds |\n|---|---|---|---|---|")
    pca = PCA(2, svd_solver="covariance_eigh").fit(flat(train))
    linear, accuracy = quality(
        lambda x: pca.transform(flat(x)),
        lambda x: pca.inverse_transform(pca.transform(flat(x))).reshape(x.shape),
    )
    print(f"| PCA | {linear:.4f} | | {accuracy:.1%} | |", flush=True)
    for seed in options.seeds:
        notebook.start("quick", seed=seed)
        network, start = build_autoencoder(latent_dim=2), time.perf_counter()
        train_autoencoder(
            network, train, test, SimpleNamespace(epochs=epochs, batch_size=32, learning_rate=3e-3)
        )
        seconds = time.perf_counter() - start
        encode = functools.partial(apply, network.get_layer("encoder"))
        error, accuracy = quality(encode, network)
        below = f"{1 - error / linear:.0%}"
        print(
            f"| seed {seed} | {error:.4f} | {below} | {accuracy:.1%} | {seconds:.0f} |", flush=True
        )


if __name__ == "__main__":
    main()
