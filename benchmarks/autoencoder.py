"""The autoencoder of notebook 03 beside PCA, with other data, more updates or another last layer.

    python benchmarks/autoencoder.py                       # the bundled digits
    python benchmarks/autoencoder.py --mnist DIRECTORY     # all of MNIST; it holds mnist.npz
    python benchmarks/autoencoder.py --mnist DIRECTORY --count 900 --updates 18800
    python benchmarks/autoencoder.py --last 7 linear       # 7×7 kernel, no activation at the end
    python benchmarks/autoencoder.py --tied                # the decoder has the encoder's kernels

Both are trained on digits 1, 5 and 6 and evaluated on the same validation and test digits.
"""

from __future__ import annotations

import argparse

import numpy as np
from common import row
from sklearn.decomposition import PCA

from tutorial_lib import notebook
from tutorial_lib.data.digits import load_digits, scaled

BATCH_SIZE = 32


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("seeds", nargs="*", type=int, default=[0])
    parser.add_argument("--mnist", metavar="DIRECTORY", help="take all of MNIST from here")
    parser.add_argument("--count", type=int, help="train on the first digits only")
    parser.add_argument("--updates", type=int, default=1740, help="rounded to whole epochs")
    parser.add_argument("--last", nargs=2, metavar=("KERNEL", "ACTIVATION"))
    parser.add_argument("--tied", action="store_true")
    options = parser.parse_args()
    notebook.start("quick")
    from keras.layers import Conv2DTranspose

    from tutorial_lib.models.autoencoder import build_autoencoder
    from tutorial_lib.training.autoencoder import train_autoencoder

    source = ("mnist", options.mnist) if options.mnist else ("bundled",)
    digits = load_digits(*source, digits=[1, 5, 6])
    train, val, test = map(scaled, (digits.train_images, digits.val_images, digits.test_images))
    train = train[: options.count]
    steps = -(-len(train) // BATCH_SIZE)
    epochs = max(1, round(options.updates / steps))

    def errors(reconstruct) -> list[float]:
        return [float(np.mean((reconstruct(x) - x) ** 2)) for x in (train, val, test)]

    print(f"{len(train):,} training, {len(test):,} test digits, {epochs * steps:,} updates\n")
    print("| | training | validation | test |\n|---|---|---|---|")
    pca = PCA(2, svd_solver="covariance_eigh").fit(train.reshape(len(train), -1))

    def project(x):
        return pca.inverse_transform(pca.transform(x.reshape(len(x), -1))).reshape(x.shape)

    print(row("PCA", errors(project), 4))
    for seed in options.seeds:
        notebook.start("quick", seed=seed)
        network = build_autoencoder(latent_dim=2)
        if options.last:
            decoder, (kernel, activation) = network.get_layer("decoder"), options.last
            decoder.pop()
            decoder.add(Conv2DTranspose(1, int(kernel), 2, "same", activation=activation))
        network = tied(network) if options.tied else network
        settings = {"epochs": epochs, "batch_size": BATCH_SIZE, "learning_rate": 3e-3}
        # Validation after each of hundreds of epochs would take long; it is measured at the end.
        train_autoencoder(network, train, val[:1], argparse.Namespace(**settings, loss="mse"))
        found = errors(lambda x, network=network: network.predict(x, verbose=0))
        print(row(f"seed {seed}", found, 4), flush=True)


def tied(network):
    """Return an autoencoder whose decoder has its encoder's kernels, and biases of its own."""
    import keras

    class Tied(keras.Model):
        def build(self, shape):
            self.encoder = network.get_layer("encoder")
            self.biases = [self.add_weight((n,), "zeros") for n in (64, 32, 1)]

        def call(self, x):
            x = self.encoder(x)
            for n, layer in enumerate(self.encoder.layers[::-1]):
                x = keras.ops.conv_transpose(x, layer.kernel, layer.strides, layer.padding)
                x = keras.activations.get("sigmoid" if n == 2 else "relu")(x + self.biases[n])
            return x

    return Tied()


if __name__ == "__main__":
    main()
