"""The published autoencoder against PCA with two components: error, and the digits' neighbors.

    python benchmarks/autoencoder.py                     # the bundled digits, seeds 0, 1 and 2
    python benchmarks/autoencoder.py --mnist FOLDER      # all of MNIST; FOLDER holds mnist.npz
    python benchmarks/autoencoder.py 0 --epochs 12

Digits 1, 5 and 6, tested on digits that neither has seen. Both stand beside each other on the same
test digits, so the ratio says something whatever the machine is. By default as many passes as the
full profile of notebook 03 makes.
"""

from __future__ import annotations

import argparse
import time
from types import SimpleNamespace

from tutorial_lib import notebook

notebook.start("quick")

import numpy as np  # noqa: E402

from tutorial_lib import latent_codes
from tutorial_lib.data.digits import load_digits, scaled
from tutorial_lib.models.autoencoder import build_autoencoder
from tutorial_lib.training.autoencoder import errors, fit, run

NEIGHBORS = 15
PASSES = {"bundled": 64, "mnist": 40}


def quality(encode, decode_encode, train, test, digits) -> tuple[float, float]:
    """Return the mean squared error on the test digits, and the accuracy of neighbors."""
    accuracy = latent_codes.neighbor_accuracy(
        encode(test).reshape(len(test), -1), digits.test_labels,
        encode(train).reshape(len(train), -1), digits.train_labels, k=NEIGHBORS,
    )  # fmt: skip
    return float(np.mean(errors(decode_encode, test))), accuracy


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("seeds", nargs="*", type=int, default=[0, 1, 2])
    parser.add_argument("--mnist", metavar="FOLDER", help="take all of MNIST from this folder")
    parser.add_argument("--epochs", type=int, help="passes over the training digits")
    options = parser.parse_args()
    dataset = "mnist" if options.mnist else "bundled"
    digits = load_digits(dataset, options.mnist or "", digits=[1, 5, 6])
    train, test = map(scaled, (digits.train_images, digits.test_images))
    epochs = options.epochs or PASSES[dataset]
    print(f"{len(train):,} digits to train on, {len(test):,} to test on, {epochs} passes\n")
    print("| | error | below PCA | by neighbors | seconds |\n|---|---|---|---|---|")
    pca = latent_codes.Pca.fit(train, 2)
    linear, accuracy = quality(pca.encode, pca, train, test, digits)
    print(f"| PCA | {linear:.4f} | | {accuracy:.1%} | |", flush=True)
    for seed in options.seeds:
        notebook.start("quick", seed=seed)
        net, start = build_autoencoder(latent_dim=2), time.perf_counter()
        fit(net, train, test, SimpleNamespace(epochs=epochs, batch_size=32, learning_rate=3e-3))
        seconds = time.perf_counter() - start
        encoder = net.get_layer("encoder")
        error, accuracy = quality(lambda x, e=encoder: run(e, x), net, train, test, digits)
        print(
            f"| seed {seed} | {error:.4f} | {1 - error / linear:.0%} | {accuracy:.1%} "
            f"| {seconds:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
