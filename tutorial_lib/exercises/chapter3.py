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
def decoder_parameters(answer) -> str:
    hints = {
        7 * 7 * 2 * 64: "You left the biases out: one for each of the 64 output channels.",
        7 * 7 * 64 + 64: "Each kernel reads both numbers of the code.",
        7 * 7 * 2 * 64 + 7 * 7 * 64: "A bias belongs to a channel, not to each of its pixels.",
        (7 * 7 * 64 + 1) * 2: "That is the encoder's last layer. This one reads 2 channels and "
        "writes 64, with one bias for each output channel.",
        (7 * 2 + 1) * 64: "The kernel is 7 high and 7 wide.",
    }
    otherwise = "It has (k² · inputs + 1) · outputs parameters, like a direct convolution."
    expect(number(answer), 6336, hints, otherwise)
    return "Through these weights, two numbers decide about 7·7·64 others."


@exercise("3.2")
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
    return "A network without dense layers takes any size. Notebook 05 builds on that."


@exercise("3.3")
def pca_components(answer_and_data) -> str:
    answer, train, test, error = answer_and_data
    answer = answered(answer)
    train, test = (images.reshape(len(images), -1) for images in (train, test))
    most = min(train.shape)
    if isinstance(answer, bool) or not isinstance(answer, int | np.integer):
        raise Wrong("Give an integer, the number of components.")
    if not 1 <= answer <= most:
        raise Wrong(f"A number of components lies between 1 and {most}.")

    def beats(k: int) -> bool:
        pca = PCA(k, svd_solver="covariance_eigh").fit(train)
        return float(np.mean((pca.inverse_transform(pca.transform(test)) - test) ** 2)) < error

    if not beats(answer):
        raise Wrong(f"With {answer} components PCA is still worse than the network; use more.")
    if answer > 1 and beats(answer - 1):
        raise Wrong(f"{answer} components are enough, but {answer - 1} do too; find the fewest.")
    return "So many linear directions are needed to replace two nonlinear ones."


@exercise("3.4")
def halfway(answer_and_tools) -> str:
    answer, decode, means = answer_and_tools
    answer = np.asarray(answered(answer))
    if answer.shape != (28, 28):
        raise Wrong(f"The shape is {answer.shape}; `decode` returns a batch, take its first image.")
    half = (means[1] + means[6]) / 2
    hints = {
        "You averaged two images; average the two codes, then decode once.": (
            (decode(means[1])[0] + decode(means[6])[0]) / 2
        ),
        "Half of the difference is half the way, but from where? Add the start.": (
            decode((means[6] - means[1]) / 2)[0]
        ),
        "(0.5, 0) is a point of the figure; `decode` takes a code.": decode(np.array([0.5, 0]))[0],
        "That is the sum of the two codes; their mean is halfway.": decode(2 * half)[0],
    }
    otherwise = "Halfway between two points a and b is (a + b) / 2; decode that."
    expect_close(answer, decode(half)[0], hints, otherwise, atol=1e-4)
    return "The mean of two codes is not the mean of two images: it decodes to a single digit."


@exercise("3.5")
def area_under_the_curve(function) -> str:
    cases = [([1, 2, 3], [2.5]), ([1, 2], [3, 4, 5]), ([4, 5], [1, 2, 3]), ([0, 1, 1], [1, 2])]
    if not callable(function):
        raise Wrong("Pass the function itself, not what it returns.")
    try:
        found = [array(function(np.array(usual), np.array(odd))) for usual, odd in cases]
    except ValueError as error:
        if "broadcast" not in str(error):
            raise
        raise Wrong("The two may differ in length: pair every odd one with every usual.") from None
    if any(value.ndim for value in found):
        raise Wrong("That is a whole array; average over all pairs to get one number.")
    strict = np.array([np.mean(np.less.outer(usual, odd)) for usual, odd in cases])
    loose = np.array([np.mean(np.less_equal.outer(usual, odd)) for usual, odd in cases])
    right = (strict + loose) / 2
    ties = strict if np.allclose(found, strict) else loose
    hints = {
        "You counted how often the usual one is higher; an odd one should be.": 1 - right,
        "Where both score the same, count one half.": ties,
        "That is a number of pairs; divide it by how many pairs there are.": (
            right * [len(usual) * len(odd) for usual, odd in cases]
        ),
    }
    otherwise = "Compare every odd one with every usual one: `np.less.outer(usual, odd)`."
    expect_close(found, right, hints, otherwise)
    return "This number needs no threshold, and does not depend on how many odd ones there are."
