"""Checks of notebook 03, the autoencoder."""

from __future__ import annotations

import numpy as np

from tutorial_lib.exercises import Wrong, answered, exercise


@exercise("3.1")
def decoder_parameters(answer) -> str:
    hints = {
        7 * 7 * 2 * 64: "You left the biases out: one for each of the 64 output channels.",
        7 * 7 * 64 + 64: "Each kernel reads both numbers of the code.",
        7 * 7 * 2 * 64 + 2: "There is one bias for each output channel, not for each input.",
    }
    if answer in hints:
        raise Wrong(hints[answer])
    if answer != 6336:
        raise Wrong("It has (k² · inputs + 1) · outputs parameters, like a direct convolution.")
    return "Two numbers decide, through these weights, about 7·7·64 others."


@exercise("3.2")
def most_frequent(answer_and_labels) -> str:
    answer, labels = answer_and_labels
    answer = float(answered(answer))
    expected = np.bincount(labels).max() / len(labels)
    if np.isclose(answer, np.bincount(labels).max()):
        raise Wrong("That is a number of digits; divide it by how many there are.")
    if np.isclose(answer, 1 / 3) and not np.isclose(expected, 1 / 3):
        raise Wrong("The three digits are not equally frequent among these labels; count them.")
    if not np.isclose(answer, expected):
        raise Wrong("Count each digit among `labels` and divide the largest count by all.")
    return "A classifier has to beat that before it says anything."


@exercise("3.3")
def between(answer_and_tools) -> str:
    answer, decode, middles = answer_and_tools
    answer = np.asarray(answered(answer))
    if answer.shape != (28, 28):
        raise Wrong(
            f"The shape is {answer.shape}; take the one picture's one channel: [0, ..., 0]."
        )
    right = decode((middles[1] + middles[6]) / 2)[0, ..., 0]
    blended = (decode(middles[1])[0, ..., 0] + decode(middles[6])[0, ..., 0]) / 2
    if np.allclose(answer, right, atol=1e-4):
        return "Averaging codes is not averaging pictures: nothing is doubly exposed."
    if np.allclose(answer, blended, atol=1e-4):
        raise Wrong("You averaged two pictures; average the two codes, then decode once.")
    raise Wrong("Half way between two points a and b is (a + b) / 2; decode that.")


@exercise("3.4")
def pca_needed(tools) -> str:
    function, train, test, error = tools
    answer = answered(function())
    mean = train.mean(axis=0)
    axes = np.linalg.svd(train - mean, full_matrices=False)[2]

    def beats(k: int) -> bool:
        rebuilt = (test - mean) @ axes[:k].T @ axes[:k] + mean
        return float(np.mean((rebuilt - test) ** 2)) < error

    if not isinstance(answer, int | np.integer):
        raise Wrong("Return a whole number of components.")
    if not beats(int(answer)):
        raise Wrong(f"With {answer} components PCA is still worse than the net.")
    if answer > 1 and beats(int(answer) - 1):
        raise Wrong(f"{answer} components beat the net, but {answer - 1} do too; find the fewest.")
    return "So many straight directions does it take to replace two bent ones."
