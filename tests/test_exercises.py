"""The exercises: the usual mistakes are named.

The notebooks store that each blank is open and each solution right, and nbval executes both.
"""

import keras
import numpy as np
import pytest
from scipy import signal
from sklearn.decomposition import PCA
from sklearn.metrics import roc_auc_score

from tutorial_lib import exercises
from tutorial_lib.convolution import same_padding
from tutorial_lib.crf import softmax
from tutorial_lib.errors import InputError
from tutorial_lib.models import autoencoder, fcn


def my_conv2d(x, w, s, p):
    return signal.correlate2d(np.pad(x, p), w, mode="valid")[::s, ::s]


def output_window(x, w, row, column):
    return x[row : row + len(w), column : column + len(w[0])] * w


def scatter2d(x, w, s, add=True):
    y = np.zeros((s * (len(x) - 1) + len(w),) * 2)
    for row, column in np.ndindex(x.shape):
        place = slice(row * s, row * s + len(w)), slice(column * s, column * s + len(w))
        y[place] = add * y[place] + x[row, column] * w
    return y


def transpose2d(x, w, s, p, e):
    size = s * (len(x) - 1) + len(w) - 2 * p + e
    return np.pad(scatter2d(x, w, s), (0, e))[p : p + size, p : p + size]


def added_rows(x, w, s, p, e, before=False):
    y = scatter2d(x, w, s)
    return np.pad(y[p : len(y) - p, p : len(y) - p], (e, 0) if before else (0, e))


def cropped_at_the_end(x, w, s, p, e):
    size = len(transpose2d(x, w, s, p, e))
    return np.pad(scatter2d(x, w, s), (0, e))[:size, :size]


def blocks(x, r, axes=(0, 2, 1, 3)):
    height, width, _ = x.shape
    return x.reshape(height, width, r, r).transpose(axes).reshape(height * r, width * r)


def product(*line):
    return np.outer(line, line)


UNEVEN = product(0.25, 0.75, 0.75, 0.25) + 0.1 * np.outer([1, -1, 1, -1], [1, 0, -1, 0])


def in_place(x, w, s, p):
    y = my_conv2d(x, w, s, p)
    x[0, 0] += 1
    return y


def padded_once(x, w, s, p):
    return my_conv2d(np.pad(x, ((p, 0), (p, 0))), w, s, 0)


def decode_run_lengths(counts, height, width):
    flat = np.concatenate([np.full(n, k % 2) for k, n in enumerate(counts)])
    return flat.reshape((height, width), order="F")


def resized(image, labels, size):
    rows, columns = (np.arange(n) * m // n for n, m in zip(size, labels.shape, strict=True))
    return image[rows][:, columns] / 2 + 0.3, labels[rows][:, columns]


def pooled(hits, unions, draws):
    """Return the pooled IoU of each network (2, samples) on resampled sets of images."""
    return hits[:, draws].sum(axis=-1) / unions[:, draws].sum(axis=-1)


def soft_dice(overlap, predicted, true):
    return 2 * np.sum(overlap) / (np.sum(predicted) + np.sum(true))


def iou(found, true):
    return np.sum(found & true) / np.sum(found | true)


# Something that three straight directions describe better than two, and a decoder that bends.
DIGITS = tuple(np.random.default_rng(seed).random((20, 4, 7, 1)) for seed in (0, 1))


def pca_error(components):
    train, test = (images.reshape(20, -1) for images in DIGITS)
    pca = PCA(components, svd_solver="full").fit(train)
    return np.mean((pca.inverse_transform(pca.transform(test)) - test) ** 2)


ERROR = (pca_error(2) + pca_error(3)) / 2
RAMP = np.linspace(0, 3, 784).reshape(28, 28)


def auc(usual, odd):
    truth = [0] * len(usual) + [1] * len(odd)
    return roc_auc_score(truth, np.concatenate([usual, odd]))


def bend(codes):
    codes = np.reshape(codes, (-1, 2))
    return np.tanh(codes[:, :1, None] * RAMP) + codes[:, 1:, None] ** 2


TARGET = bend([0.4, 0.3])[0]


def decoder_of(*filters, padding="same", strides=2, first="valid", last="sigmoid"):
    options = {"strides": strides, "padding": padding}
    stack = [
        keras.Input((None, None, 2)),
        keras.layers.Conv2DTranspose(filters[0], 7, padding=first, activation="relu"),
    ]
    for n in filters[1:]:
        activation = last if n == filters[-1] else "relu"
        stack.append(keras.layers.Conv2DTranspose(n, 3, **options, activation=activation))
    return keras.Sequential(stack)


def divergence(mean, log_variance):
    return np.sum(mean**2 + np.exp(log_variance) - 1 - log_variance, axis=-1) / 2


def train_pairs(model, training, validation, epochs, loss="mse", **changed):
    x, y = training
    if loss:
        model.compile("adam", loss=loss)
    options = {"x": x, "y": y, "validation_data": validation, "epochs": epochs} | changed
    return model.fit(**options).history["val_loss"]


def tied_decoder(code, encoder, biases, last=keras.ops.sigmoid, inner=keras.ops.relu, use=1):
    x = code
    for name, bias in zip(("latent", "conv2", "conv1"), biases, strict=True):
        stride, padding = (1, "valid") if name == "latent" else (2, "same")
        x = keras.ops.conv_transpose(x, encoder.get_layer(name).kernel, stride, padding)
        x = (last if name == "conv1" else inner)(x + use * bias)
    return x


def fused_scores(fc7, pool4):
    coarse = fcn.upsample(fcn.score_layer(fc7, 21, "score_fc7"), 2)
    return coarse, fcn.score_layer(pool4, 21, "score_pool4")


def fused_with_relu(fc7, pool4):
    return fcn.upsample(sum(keras.ops.relu(x) for x in fused_scores(fc7, pool4)), 16)


def fused_late(fc7, pool4):
    scores = fcn.score_layer(fc7, 21, "score_fc7"), fcn.score_layer(pool4, 21, "score_pool4")
    return fcn.upsample(scores[0], 32) + fcn.upsample(scores[1], 16)


def mean_iou(counts, hits):
    union = counts.sum(axis=0) + counts.sum(axis=1) - hits
    return np.mean(hits[union > 0] / union[union > 0])


def padded(model, image):
    bottom, right = -image.shape[0] % 32, -image.shape[1] % 32
    return model(np.pad(image, ((0, bottom), (0, right), (0, 0)), mode="edge")[None])[0]


def shifted(model, image):
    bottom, right = -image.shape[0] % 32, -image.shape[1] % 32
    larger = np.pad(image, ((bottom, 0), (right, 0), (0, 0)), mode="edge")
    return model(larger[None])[0][: image.shape[0], : image.shape[1]]


def others(kernel):
    return kernel - np.diag(np.diag(kernel))


def one_by_one(scores, kernel):
    q = softmax(scores)
    for i in range(len(q)):
        q[i] = softmax(scores[i] + others(kernel)[i] @ q)
    return q


WRONG = [
    ("1.1", lambda x, w, r, c: output_window(x, w, r, c), "add the products up"),
    ("1.1", lambda x, w, r, c: output_window(x, w, r, c).mean(), "you averaged"),
    ("1.1", lambda x, w, r, c: output_window(x, w, 0, 0).sum(), "the first window"),
    ("1.1", lambda x, w, r, c: output_window(x, w, c, r).sum(), "exchanged rows and columns"),
    ("1.1", lambda x, w, r, c: output_window(x, np.ones_like(w), r, c).sum(), "by the kernel"),
    ("1.1", lambda x, w, r, c: output_window(x, w[::-1, ::-1], r, c).sum(), "flipped"),
    ("1.2", np.ones((3, 3)), "outputs 9"),
    ("1.2", np.ones(9), "array of 3×3"),
    ("1.2", np.array([[1, 1, 0], [1, 0, -1], [0, -1, -1]]), "other diagonal; mirror"),
    ("1.2", np.array([[0, -1, -1], [1, 0, -1], [1, 1, 0]]), "should be positive"),
    ("1.2", np.array([[-1, 0, 1]] * 3), "On the other diagonal edge"),
    ("1.3", (53, 3), "starting position"),
    ("1.3", (54.25, 3), "Round down"),
    ("1.3", (55, 3), "rounded down"),
    ("1.3", (54, 4), "fewer do too"),
    ("1.3", (54, 2), "54 are needed"),
    ("1.3", 54, "Answer with a pair"),
    ("1.5", same_padding, "padding of SAME"),
    ("1.5", lambda i, k, s: (0, 0), "centered on pixel 1"),
    ("1.5", lambda i, k, s: ((k - 1) // 2, (k - 1) // 2), "more than needed"),
    ("1.5", lambda i, k, s: ((k - 1) // 2, 0), "the output has"),
    ("1.6", lambda x, w, b: x @ w, "left the bias out"),
    ("1.6", lambda x, w, b: x @ w - b, "subtracted"),
    ("1.6", lambda x, w, b: (x @ w + b).sum(axis=2), "the output is (3, 5, 4)"),
    ("1.6", lambda x, w, b: 2 * (x @ w + b), "vector of channels"),
    ("1.7", [1, 1, 1], "receptive field is 13"),
    ("1.7", [1, 6, 25], "20 of them are never read"),
    ("1.7", [1] * 15, "three are enough"),
    ("1.7", 4, "list of dilations"),
    ("1.4", padded_once, "counts on both sides"),
    ("1.4", lambda x, w, s, p: my_conv2d(x, w, s, 0), "as large as without padding"),
    ("1.4", lambda x, w, s, p: my_conv2d(x, w, s, p).T, "of the output are exchanged"),
    (
        "1.4",
        lambda x, w, s, p: my_conv2d(np.pad(x, ((0, 2 * p), (0, 2 * p))), w, s, 0),
        "are on one side",
    ),
    ("1.4", lambda x, w, s, p: my_conv2d(x, w, s, p).astype(int), "cuts off"),
    ("1.4", lambda x, w, s, p: None, "returns nothing"),
    ("1.4", lambda x, w, s, p: my_conv2d(x, w, 1, p), "skip to every s-th"),
    ("1.4", lambda x, w, s, p: my_conv2d(x, w, s, p)[1:, 1:], "starting position"),
    ("1.4", lambda x, w, s, p: my_conv2d(x, w, s, p)[0], "should have the shape (3, 3)"),
    ("1.4", lambda x, w, s, p: my_conv2d(x, w[::-1, ::-1], s, p), "flipped the kernel"),
    ("1.4", lambda x, w, s, p: my_conv2d(x, w.T, s, p), "of the kernel are exchanged"),
    ("1.4", lambda x, w, s, p: my_conv2d(x.T, w, s, p), "of the input are exchanged"),
    ("1.4", lambda x, w, s, p: my_conv2d(np.pad(x, p, "edge"), w, s, 0), "adds zeros"),
    (
        "1.4",
        lambda x, w, s, p: my_conv2d(x, w, 1, p)[tuple([slice(len(my_conv2d(x, w, s, p)))] * 2)],
        "one pixel apart",
    ),
    ("1.4", lambda x, w, s, p: 2 * my_conv2d(x, w, s, p), "Check your first output"),
    ("1.4", in_place, "changed its input"),
    ("2.1", lambda x, w, s: scatter2d(x, w, s, add=False), "overwrite"),
    ("2.1", lambda x, w, s: scatter2d(x, w[::-1, ::-1], s), "rotated the kernel"),
    ("2.1", lambda x, w, s: scatter2d(np.ones_like(x), w, s), "by the input first"),
    ("2.1", lambda x, w, s: scatter2d(x, w, s).astype(int), "cuts off"),
    ("2.1", lambda x, w, s: None, "returns nothing"),
    ("2.1", lambda x, w, s: scatter2d(x, w, s + 1), "rows and columns; yours"),
    ("2.1", lambda x, w, s: scatter2d(x, w, s).T, "Scatter a single input"),
    ("2.2", [0, 0, 0], "Layer 2 of your decoder goes from 11 to 21"),
    ("2.2", [1, 1, 0], "Layer 1 of your decoder goes from 6 to 12"),
    ("2.2", [0, 1], "one per layer"),
    ("2.2", [0, 1, 2], "each is 0 or 1"),
    ("2.2", 1, "list of three"),
    ("2.3", lambda x, w, s, p, e: np.pad(scatter2d(x, w, s), (0, e)), "forgot the padding"),
    ("2.3", lambda x, w, s, p, e: transpose2d(x, w, s, p, 0), "forgot the output padding"),
    ("2.3", lambda x, w, s, p, e: np.pad(scatter2d(x, w, s), (0, e))[p:, p:], "on both sides"),
    ("2.3", lambda x, w, s, p, e: np.pad(scatter2d(x, w, s), (p, p + e)), "smaller, not larger"),
    ("2.3", added_rows, "keep those first"),
    ("2.3", lambda *a: added_rows(*a, before=True), "at the beginning"),
    ("2.3", cropped_at_the_end, "at the end only"),
    ("2.3", lambda x, w, s, p, e: transpose2d(x, w[::-1, ::-1], s, p, e), "rotated the kernel"),
    ("2.3", lambda x, w, s, p, e: transpose2d(x, w, s, p, e)[:1], "yours has (1,"),
    ("2.4", product(0.25, 0.75, 1, 1, 0.75, 0.25), "on a pixel"),
    ("2.4", np.array([1, 2, 3, 2, 1]) / 3, "one axis"),
    ("2.4", np.ones((3, 3)), "array of 5×5"),
    ("2.4", product(1, 2, 3, 2, 1), "divide the kernel by 9"),
    ("2.4", product(1, 2, 3, 2, 1) / 81, "divided by the sum"),
    ("2.4", product(0, 0.5, 1, 0.5, 0), "one pixel further out"),
    ("2.4", product(1, 1, 1, 1, 1), "Equal weights"),
    ("2.4", product(0.2, 0.6, 1, 0.6, 0.2), "your sums are 0.64"),
    ("2.5", lambda x, r: x.reshape(len(x) * r, -1), "did not move anything"),
    ("2.5", lambda x, r: blocks(x, r, (0, 3, 1, 2)), "exchanged a and b"),
    ("2.5", lambda x, r: blocks(x, r, (2, 0, 3, 1)), "one large image per channel"),
    ("2.5", lambda x, r: blocks(x, r)[::-1], "the first block should be"),
    ("2.5", lambda x, r: blocks(x, r).T, "not (6, 4)"),
    ("2.6", np.ones((3, 3)), "phase sums are 4, 2, 2, 1"),
    ("2.6", product(0, 1, 0), "is zero"),
    ("2.6", np.ones((2, 2)), "array of 3×3"),
    ("2.6", product(1, 1e-9, -1), "is zero|become"),
    ("2.7", np.ones((3, 3)), "array of 4×4"),
    ("2.7", np.eye(4), "phase sums are 2, 0, 0, 2"),
    ("2.7", UNEVEN, "sums within column 0 are 0.45 and 0.05"),
    ("2.7", product(1, 3, 3, 1), "along horizontal edges either"),
    ("3.1", 6336, "Keras model"),
    ("3.1", decoder_of(64, 32, 1, padding="valid"), "15 and 31"),
    ("3.1", decoder_of(64, 32, 1, first="same"), 'padding="valid"'),
    ("3.1", decoder_of(64, 32, 1, strides=1), "strides=2, or 7×7"),
    ("3.1", decoder_of(64, 1), "one layer with strides=2 is missing"),
    ("3.1", decoder_of(64, 32, 16, 1), "56×56"),
    ("3.1", decoder_of(64, 32, 2), "one channel"),
    ("3.1", decoder_of(32, 16, 1), "mirror the encoder's"),
    ("3.1", decoder_of(64, 32, 1, last=None), "linear"),
    ("3.1", autoencoder.build_decoder(3), "does not accept"),
    ("3.2", (2, *DIGITS, ERROR), f"that of the network is {ERROR:.4f}. Use more"),
    ("3.2", (4, *DIGITS, ERROR), f"with 3 the error of PCA is {pca_error(3):.4f}"),
    ("3.2", (-1, *DIGITS, ERROR), "between 1 and 20"),
    ("3.2", (3.0, *DIGITS, ERROR), "Give an integer"),
    ("3.3", (np.zeros((1, 2)), bend, TARGET, np.array([0.5, 0.2])), "shape (2,)"),
    ("3.3", (np.array([9.0, 9.0]), bend, TARGET, np.array([0.5, 0.2])), "many codes"),
    ("3.3", (np.array([0.5, 0.2]), bend, TARGET, np.array([0.5, 0.2])), "which is the same"),
    ("3.4", 0.5, "function itself"),
    ("3.4", lambda m, v: divergence(m, v).sum(), "one divergence per"),
    ("3.4", lambda m, v: 2 * divergence(m, v), "one half"),
    ("3.4", lambda m, v: divergence(m, v) / 2, "instead of averaging"),
    ("3.4", lambda m, v: divergence(0, v) + m.sum(axis=-1) / 2, "Square"),
    ("3.4", lambda m, v: divergence(m, 2 * v), "logarithm of the variance"),
    ("3.4", lambda m, v: divergence(m, v) + 1, "Compare your terms"),
    ("3.5", 0.95, "function itself"),
    ("3.5", lambda usual, odd: None, "returns nothing"),
    ("3.5", lambda usual, odd: np.less.outer(usual, odd), "average over all pairs"),
    ("3.5", lambda usual, odd: np.mean(odd > usual), "every anomaly with every normal"),
    ("3.5", lambda usual, odd: np.mean(odd > usual.mean()), "Compare every anomaly"),
    ("3.5", lambda usual, odd: auc(odd, usual), "not the anomaly"),
    ("3.5", lambda usual, odd: np.mean(np.less.outer(usual, odd)), "one half"),
    ("3.5", lambda usual, odd: auc(usual, odd) * usual.size * odd.size, "divide"),
    ("3.6", [1.0], "function itself"),
    ("3.6", lambda model, *rest: [1.0], "not trained"),
    ("3.6", lambda *a: train_pairs(*a, loss=None), "before network.fit"),
    ("3.6", lambda *a: train_pairs(*a, loss="binary_crossentropy"), "mse"),
    ("3.6", lambda m, t, v, e: train_pairs(m, t[::-1], v, e), "exchanged"),
    ("3.6", lambda m, t, v, e: train_pairs(m, (t[0], t[0]), v, e), "not the noisy ones"),
    ("3.6", lambda m, t, v, e: train_pairs(m, v, v, e), "training pair"),
    ("3.6", lambda *a: train_pairs(*a, validation_data=None), "validation_data"),
    ("3.6", lambda m, t, v, e: train_pairs(m, t, v, 1), "as many epochs"),
    ("3.6", lambda *a: train_pairs(*a)[-1], "val_loss"),
    ("3.7", 8, "pair"),
    ("3.7", (56, 8), "other way round"),
    ("3.7", (64, 56), "along one side"),
    ("3.7", (50, 56), "Two layers halve"),
    ("3.7", (2, 56), "moves by one"),
    ("3.7", (7, 56), "one place more"),
    ("3.7", (14, 56), "one layer is missing"),
    ("3.7", (8, 28), "an array of them"),
    ("3.7", (8, 64), "two layers double"),
    ("3.8", np.zeros(3), "function itself"),
    ("3.8", lambda c, e, b: tied_decoder(c, e, b, use=0), "Add the biases"),
    ("3.8", lambda c, e, b: tied_decoder(c, e, b, last=lambda x: x), "sigmoid"),
    ("3.8", lambda c, e, b: tied_decoder(c, e, b, inner=lambda x: x), "need a ReLU"),
    ("3.8", lambda c, e, b: tied_decoder(c, e, b, last=keras.ops.relu), "not a ReLU"),
    ("3.8", lambda c, e, b: tied_decoder(c, e, b) ** 2, "in this order"),
    ("3.8", lambda c, e, b: tied_decoder(c, e, b)[..., 0], "Two codes"),
    ("4.1", lambda c, h, w: 1 - decode_run_lengths(c, h, w), "The first count is one of zeros"),
    ("4.1", lambda c, h, w: decode_run_lengths(c, w, h).T, "You went along the rows"),
    ("4.1", lambda c, h, w: 1 - decode_run_lengths(c, w, h).T, "zeros, and the runs go down"),
    ("4.1", lambda c, h, w: decode_run_lengths(c, h, w).T, "3 rows; transpose"),
    ("4.1", lambda c, h, w: decode_run_lengths(c, h, w).T.ravel(), "should have the shape (3, 4)"),
    ("4.1", lambda c, h, w: np.zeros((h, w)), "the first column is [0, 0, 0]"),
    (
        "4.1",
        lambda c, h, w: decode_run_lengths(c[:-1] + [0] * (len(c) > 5), h, w),
        "raised|first column",
    ),
    ("4.1", lambda c, h, w: None, "returns nothing"),
    ("4.2", lambda i, y, s: resized(i, y, s)[0], "Return a pair"),
    ("4.2", lambda i, y, s: (i, y), "should have the shape"),
    ("4.2", lambda i, y, s: (resized(i, y, s)[0], np.full(s, 128)), "label 128"),
    ("4.2", lambda i, y, s: (resized(i, y, s)[0], np.zeros(s, int)), "are lost"),
    ("4.2", lambda i, y, s: (i[:5, :6], resized(i, y, s)[1]), "should be interpolated"),
    ("4.2", lambda i, y, s: None, "returns nothing"),
    (
        "4.6",
        lambda t, p: np.mean([iou((p[i] == 1) & (t[i] < 9), t[i] == 1) for i in (0, 1)]),
        "mean",
    ),
    ("4.6", lambda t, p: iou(p == 1, t == 1), "Void pixels count"),
    ("4.6", lambda t, p: iou(p == 1, t > 0), "255 for cat"),
    ("4.6", lambda t, p: soft_dice(p * (t == 1), p * (t < 9), t == 1), "the Dice"),
    ("4.6", lambda t, p: np.mean((p == t)[t < 9]), "pixel accuracy"),
    ("4.6", lambda t, p: p, "one number"),
    (
        "4.7",
        lambda h, u, d: np.diff(-np.percentile(pooled(h, u, d), [2.5, 97.5], axis=1)).ravel(),
        "each resampled set first",
    ),
    (
        "4.7",
        lambda h, u, d: np.percentile(np.subtract(*(h / u)[:, d].mean(-1)), [2.5, 97.5]),
        "sum up the drawn images",
    ),
    (
        "4.7",
        lambda h, u, d: np.percentile(np.subtract(*pooled(h, u, d)[::-1]), [2.5, 97.5]),
        "sign is reversed",
    ),
    ("4.7", lambda h, u, d: np.percentile(np.subtract(*pooled(h, u, d)), [5, 95]), "holds 90%"),
    (
        "4.7",
        lambda h, u, d: np.percentile(np.subtract(*pooled(h, u, d)), [97.5, 2.5]),
        "smaller percentile first",
    ),
    ("4.7", lambda h, u, d: pooled(h, u, d)[0], "two numbers"),
    ("4.7", lambda h, u, d: np.percentile(h[0] / u[0], [2.5, 97.5]), "Each row of draws"),
    ("4.3", lambda size, depth: 12 * 2**depth - 8, "subtract it"),
    ("4.3", lambda size, depth: size - 184, "depth of 4 only"),
    ("4.3", lambda size, depth: size - 8 * 2**depth + 8, "at the bottleneck"),
    ("4.3", lambda size, depth: size - 8 * depth - 4, "of their own level"),
    ("4.3", lambda size, depth: size, "the output has 100"),
    ("4.3", lambda size, depth: (size, depth), "one number"),
    ("4.4", lambda skip, x: skip, "should have the shape"),
    ("4.4", lambda skip, x: np.concatenate([x, skip[2:6, 3:7]], axis=-1), "come first"),
    ("4.4", lambda skip, x: np.concatenate([skip[:4, :4], x], axis=-1), "upper left corner"),
    ("4.4", lambda skip, x: np.concatenate([skip[2:6, 2:6], x], axis=-1), "may differ"),
    ("4.4", lambda skip, x: np.zeros((4, 4, 5)), "rows 2 to 5"),
    ("4.5", lambda t, p: soft_dice(p * (t == 1), p, t == 1), "Void pixels count"),
    ("4.5", lambda t, p: soft_dice(p * (t > 0), p, t > 0), "You took 255 for cat"),
    ("4.5", lambda t, p: soft_dice(p * t, p, t), "255 is a number"),
    (
        "4.5",
        lambda t, p: np.sum(p * (t == 1)) / np.sum(np.maximum(p, t == 1)[t < 9]),
        "the IoU|3/6",
    ),
    ("4.5", lambda t, p: soft_dice(p * (t == 1), p * (t < 9), t == 1) / 2, "counts twice"),
    ("4.5", lambda t, p: 1 - soft_dice(p * (t == 1), p * (t < 9), t == 1), "the loss"),
    ("4.5", lambda t, p: np.sum(p * (t == 1)) / np.sum(t == 1), "the recall"),
    ("4.5", lambda t, p: (t == 1) & (p == 1), "one number for the two maps"),
    ("4.5", lambda t, p: 2 / 6, "3/6.5"),
    ("4.5", lambda t, p: None, "returns nothing"),
    ("5.1", lambda m, h, w: m, "shape (24, 5)"),
    ("5.1", lambda m, h, w: m.reshape(w, h, -1, m.shape[1]), "Rows come first"),
    ("5.1", lambda m, h, w: m.reshape(-1, h, w, m.shape[1]).transpose(1, 2, 0, 3), "channels last"),
    ("5.1", lambda m, h, w: m.reshape(h, w, -1, m.shape[1])[::-1, ::-1], "does not flip"),
    ("5.2", lambda fc7, pool4: fcn.upsample(fused_scores(fc7, pool4)[1], 16), "Two score layers"),
    ("5.2", lambda fc7, pool4: sum(fused_scores(fc7, pool4)), "(None, 160, 160, 21) is needed"),
    ("5.2", fused_with_relu, "ReLU"),
    ("5.2", fused_late, "Add the scores first"),
    ("5.3", lambda counts: np.diag(counts) / (counts.sum(0) + counts.sum(1)), "single number|one"),
    (
        "5.3",
        lambda counts: np.mean(mean_iou(counts, np.diag(counts)) * 0.75),
        "does not count as 0",
    ),
    ("5.3", lambda counts: np.trace(counts) / counts.sum(), "pixel accuracy"),
    ("5.3", lambda counts: float("nan"), "0/0"),
    ("5.3", lambda counts: 1.5 * mean_iou(counts, np.diag(counts)), "only predicted"),
    ("5.4", lambda model, image: padded(model, image), "has the shape"),
    ("5.4", lambda model, image: model(image[None])[0], "multiples of 32"),
    ("5.4", shifted, "still shifted"),
    ("5.5", lambda s, k: softmax(s + k @ softmax(s)), "diagonal"),
    ("5.5", lambda s, k: softmax(s + others(k) @ s), "not over their logits"),
    ("5.5", lambda s, k: softmax(others(k) @ softmax(s)), "logits are missing"),
    ("5.5", lambda s, k: softmax(softmax(s) + others(k) @ softmax(s)), "not to the probabilities"),
    ("5.5", lambda s, k: softmax(s - others(k) @ softmax(s)), "do not subtract"),
    ("5.5", lambda s, k: s + others(k) @ softmax(s), "must add up to 1"),
    ("5.5", lambda s, k: softmax((s + others(k) @ softmax(s)).T).T, "over the pixels"),
    ("5.5", one_by_one, "at the same time"),
    ("5.5", lambda s, k: softmax(s).argmax(-1), "has the shape"),
    ("5.6", lambda d, w: d < w, "edge is hard"),
    ("5.6", lambda d, w: w - d, "clip it"),
    ("5.6", lambda d, w: 1 - np.clip(w - d, 0, 1), "reversed"),
    ("5.6", lambda d, w: np.clip(1 - d / w, 0, 1), "whole contour"),
    ("5.6", lambda d, w: np.clip(w + 1 - d, 0, 1), "outside the contour"),
    ("5.6", lambda d, w: np.clip(6 - d, 0, 1), "any width"),
    ("5.6", lambda d, w: d > 2, "alpha is 1 at"),
    ("5.6", lambda d, w: 0, "shape"),
]


@pytest.mark.parametrize(("name", "answer", "hint"), WRONG)
def test_usual_mistakes_are_named(name, answer, hint):
    verdict = exercises.grade(name, answer)
    assert verdict.state == "wrong"
    assert any(part in verdict.message for part in hint.split("|")), verdict.message


@pytest.mark.parametrize("name", sorted({name for name, *_ in WRONG}))
def test_nonsense_does_not_crash(name):
    assert exercises.grade(name, "nonsense").state == "wrong"


def test_code_that_raises_is_quoted():
    verdict = exercises.grade("1.5", lambda i, k, s: i / 0)
    assert verdict.state == "wrong" and "ZeroDivisionError" in verdict.message


def test_unknown_exercise():
    with pytest.raises(InputError, match="there is no exercise '9.9'"):
        exercises.grade("9.9", 1)


def test_check_prints_one_line(capsys):
    exercises.check("2.2", [0, 1, 1])
    exercises.check("2.2", ...)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("✓ Exercise 2.2: right.")
    assert lines[1].startswith("○ Exercise 2.2: not answered yet.")
