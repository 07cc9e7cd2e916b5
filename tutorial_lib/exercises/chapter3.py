"""Checks of notebook 03, the autoencoder."""

from __future__ import annotations

import numpy as np
from sklearn.decomposition import PCA

from tutorial_lib.exercises import (
    Wrong,
    answered,
    array,
    exercise,
    expect,
    expect_close,
    number,
    pair,
)


@exercise("3.1")
def mirrored_decoder(decoder) -> str:
    if not callable(decoder):
        raise Wrong("Answer with a Keras model, for example a keras.Sequential.")
    try:
        size = answered(decoder(np.zeros((1, 1, 1, 2), "float32"))).shape
    except ValueError as error:
        raise Wrong(f"It does not accept codes of shape (1, 1, 2): {error}") from None
    hints = {
        31: 'Without padding="same", the last two layers give 15 and 31 pixels.',
        4: 'The first layer needs padding="valid", with which one code becomes 7×7 values.',
        7: "The last two layers need strides=2, or 7×7 stays 7×7.",
        14: "The sizes should be 7, 14 and 28: one layer with strides=2 is missing.",
    }
    expect(size[1], 28, hints, f"From one code it makes {size[1]}×{size[2]} pixels, not 28×28.")
    if size[-1] != 1:
        raise Wrong(f"The image has one channel, gray; yours has {size[-1]}.")
    weighted = [layer for layer in getattr(decoder, "layers", ()) if layer.weights]
    kernels = [tuple(layer.kernel.shape) for layer in weighted if hasattr(layer, "kernel")]
    if kernels != [(7, 7, 64, 2), (3, 3, 32, 64), (3, 3, 1, 32)]:
        raise Wrong(
            "The size is right. The kernels should mirror the encoder's: 7×7 with 64 filters, 3×3 "
            "with 32 and 3×3 with 1, all in Conv2DTranspose layers."
        )
    activations = [layer.activation.__name__ for layer in weighted]
    if activations != ["relu", "relu", "sigmoid"]:
        raise Wrong(f"The shapes are right. The activations are {', '.join(activations)}.")
    return "It has 25,089 parameters, and every kernel has the shape of the encoder's counterpart."


@exercise("3.2")
def pca_components(answer_and_data) -> str:
    answer, train, test, error = answer_and_data
    answer = answered(answer)
    train, test = (images.reshape(len(images), -1) for images in (train, test))
    most = min(train.shape)
    if isinstance(answer, bool) or not isinstance(answer, int | np.integer):
        raise Wrong("Give an integer, the number of components.")
    if not 1 <= answer <= most:
        raise Wrong(f"A number of components lies between 1 and {most}.")

    def pca_error(k: int) -> float:
        pca = PCA(k, svd_solver="covariance_eigh").fit(train)
        return float(np.mean((pca.inverse_transform(pca.transform(test)) - test) ** 2))

    found, fewer = pca_error(answer), pca_error(answer - 1) if answer > 1 else np.inf
    ours = f"that of the network is {error:.4f}"
    if found >= error:
        raise Wrong(f"With {answer} components the error of PCA is {found:.4f}; {ours}. Use more.")
    if fewer < error:
        raise Wrong(
            f"{answer} components are enough, but with {answer - 1} the error of PCA is "
            f"{fewer:.4f}; {ours}. Find the fewest."
        )
    return f"With {answer} components the error of PCA is {found:.4f}; {ours}."


@exercise("3.3")
def better_code(answer_and_tools) -> str:
    answer, decode, target, encoded = answer_and_tools
    answer = np.asarray(answered(answer), np.float64)
    if answer.shape != (2,):
        raise Wrong(f"A code has the shape (2,); yours has {answer.shape}.")

    def error(code) -> float:
        return float(np.mean((np.reshape(decode(code[None]), (28, 28)) - target) ** 2))

    yours, ours = error(answer), error(np.asarray(encoded, np.float64))
    found = f"Your code has the error {yours:.4f}, the encoder's code {ours:.4f}"
    if yours > 1.001 * ours:
        raise Wrong(f"{found}. Compare the errors of many codes.")
    if yours > 0.999 * ours:
        raise Wrong(f"{found}, which is the same; there are better codes.")
    return f"{found}."


@exercise("3.4")
def divergence_from_the_prior(function) -> str:
    if not callable(function):
        raise Wrong("Pass the function itself, not what it returns.")
    mean = np.array([[0.0, 0.0], [1.0, -2.0], [0.5, 0.0]])
    log_variance = np.array([[0.0, 0.0], [0.2, 1.0], [-1.4, 0.3]])
    found = array(function(mean, log_variance))
    if found.shape != (3,):
        raise Wrong(
            "Three digits with two numbers each should give the shape (3,), one divergence per "
            f"digit, not {found.shape}. Sum over the last axis."
        )
    variance = np.exp(log_variance)
    terms = mean**2 + variance - 1 - log_variance
    hints = {
        "The factor of one half is missing.": terms.sum(axis=1),
        "Sum over the two numbers of a code instead of averaging.": terms.mean(axis=1) / 2,
        "Square the means.": (terms - mean**2 + mean).sum(axis=1) / 2,
        "The second argument is the logarithm of the variance. Its exponential is the variance.": (
            (mean**2 + variance**2 - 1 - 2 * log_variance).sum(axis=1) / 2
        ),
    }
    otherwise = "Compare your terms with the formula: mean squared, plus variance, minus 1, minus "
    expect_close(found, terms.sum(axis=1) / 2, hints, otherwise + "the logarithm of the variance.")
    return "It is 0 where the distribution of a code is the prior itself, and positive elsewhere."


@exercise("3.5")
def area_under_the_curve(function) -> str:
    cases = [([1, 2, 3], [2.5]), ([1, 2], [3, 4, 5]), ([4, 5], [1, 2, 3]), ([0, 1, 1], [1, 2])]
    if not callable(function):
        raise Wrong("Pass the function itself, not what it returns.")
    try:
        found = [array(function(np.array(normal), np.array(unusual))) for normal, unusual in cases]
    except ValueError as error:
        if "broadcast" not in str(error):
            raise
        raise Wrong("Pair every anomaly with every normal image, whatever their numbers.") from None
    if any(value.ndim for value in found):
        raise Wrong("That is a whole array; average over all pairs to get one number.")
    strict = np.array([np.mean(np.less.outer(normal, unusual)) for normal, unusual in cases])
    loose = np.array([np.mean(np.less_equal.outer(normal, unusual)) for normal, unusual in cases])
    right = (strict + loose) / 2
    ties = strict if np.allclose(found, strict) else loose
    hints = {
        "You counted how often the normal image has the higher score, not the anomaly.": 1 - right,
        "Where both score the same, count one half.": ties,
        "That is a number of pairs; divide it by how many pairs there are.": (
            right * [len(normal) * len(unusual) for normal, unusual in cases]
        ),
    }
    otherwise = "Compare every anomaly with every normal image: `np.less.outer(normal, unusual)`."
    expect_close(found, right, hints, otherwise)
    return "This number needs no threshold, and does not depend on how many anomalies there are."


class _Recorder:
    """Takes the place of a network and notes how it is trained."""

    compiled = fitted = None
    history = {"loss": [3.0, 2.0, 1.0, 0.5], "val_loss": [3.0, 2.0, 1.5, 1.2]}

    def compile(self, optimizer="rmsprop", loss=None, **options):
        self.compiled = {"optimizer": optimizer, "loss": loss, **options}

    def fit(self, x=None, y=None, batch_size=None, epochs=1, **options):
        self.fitted = {"x": x, "y": y, "epochs": epochs, **options}
        return self


@exercise("3.6")
def training_on_pairs(function) -> str:
    if not callable(function):
        raise Wrong("Pass the function itself, not what it returns.")
    pairs = [tuple(np.full((n, 2, 2, 1), n + c) for c in (0.1, 0.2)) for n in (3, 2)]
    network = _Recorder()
    losses = answered(function(network, *pairs, 4))
    if network.fitted is None:
        raise Wrong("The network was not trained: call network.compile and then network.fit.")
    if network.compiled is None:
        raise Wrong("Call network.compile, with an optimizer and a loss, before network.fit.")
    loss = network.compiled.get("loss")
    if "mse" not in str(loss) and "mean" not in str(getattr(loss, "name", loss)):
        raise Wrong('The loss should be the mean squared error, "mse".')
    x, y = network.fitted.get("x"), network.fitted.get("y")
    if x is pairs[0][1] and y is pairs[0][0]:
        raise Wrong("Inputs and targets are exchanged: the noisy images go in.")
    if y is x or y is None:
        raise Wrong("The targets should be the clean images, not the noisy ones.")
    if x is not pairs[0][0] or y is not pairs[0][1]:
        raise Wrong("Train on the training pair: fit(noisy, clean, ...).")
    validation = network.fitted.get("validation_data")
    if validation is None or validation[0] is not pairs[1][0] or validation[1] is not pairs[1][1]:
        raise Wrong("Pass the validation pair to fit as validation_data.")
    if network.fitted.get("epochs") != 4:
        raise Wrong("Train for as many epochs as the function's argument says.")
    if losses is not network.history["val_loss"]:
        raise Wrong(
            'Return the validation loss of each epoch, .history["val_loss"] of what fit returns.'
        )
    return "With noisy inputs and clean targets, the same two calls train a denoiser."


@exercise("3.7")
def larger_canvas(answer) -> str:
    down, up = map(number, pair(answer, "codes, pixels"))
    if (down, up) == (56, 8):
        raise Wrong("Codes first, then pixels: the other way round.")
    hints = {
        2: "The feature map in front of the last layer doubles to 14×14, but a 7×7 kernel has more "
        "than 2 places on it: it moves by one.",
        1: "There is only one place on a 7×7 feature map; this feature map is larger.",
        14: "That is the feature map that the last layer reads; one layer is missing.",
        7: "14 - 7 is how far the kernel can move; it has one place more than that.",
        64: "There are 64 codes in all; how many along one side?",
    }
    expect(down, 8, hints, "Two layers halve 56, and 7×7 without padding leaves i - 7 + 1.")
    hints = {28: "28×28 came out of a single code; here the decoder reads an array of them."}
    otherwise = "The decoder's first layer gives (8 - 1) + 7, and two layers double that."
    expect(up, 56, hints, otherwise)
    return "A network without dense layers takes larger images, too. Notebook 05 builds on that."


@exercise("3.8")
def tied_weights(function) -> str:
    from keras import ops

    from tutorial_lib.models.autoencoder import build_encoder

    if not callable(function):
        raise Wrong("Pass the function itself, not what it returns.")
    encoder, rng = build_encoder(2), np.random.default_rng(0)
    encoder.set_weights([rng.normal(scale=0.2, size=w.shape) for w in encoder.get_weights()])
    biases = [rng.normal(size=n).astype("float32") for n in (64, 32, 1)]
    code = rng.normal(size=(2, 1, 1, 2)).astype("float32")

    def decoded(*activations, use=1.0):
        x = code
        for name, bias, activation in zip(
            ("latent", "conv2", "conv1"), biases, activations, strict=True
        ):
            stride, padding = (1, "valid") if name == "latent" else (2, "same")
            x = ops.conv_transpose(x, encoder.get_layer(name).kernel, stride, padding)
            x = activation(x + use * bias)
        return ops.convert_to_numpy(x)

    found = ops.convert_to_numpy(answered(function(code, encoder, biases)))
    if found.shape != (2, 28, 28, 1):
        raise Wrong(f"Two codes should give the shape (2, 28, 28, 1), not {found.shape}.")
    same = lambda x: x  # noqa: E731
    hints = {
        "Add the biases.": decoded(ops.relu, ops.relu, ops.sigmoid, use=0.0),
        "The last activation, a sigmoid, is missing.": decoded(ops.relu, ops.relu, same),
        "The first two layers need a ReLU.": decoded(same, same, ops.sigmoid),
        "The last layer has a sigmoid, not a ReLU.": decoded(ops.relu, ops.relu, ops.relu),
    }
    otherwise = "The shape is right. Use the kernels of latent, conv2 and conv1, in this order."
    expect_close(found, decoded(ops.relu, ops.relu, ops.sigmoid), hints, otherwise, atol=1e-4)
    return "The decoder now has 97 parameters of its own, its biases; the kernels are shared."
