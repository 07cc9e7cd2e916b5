"""Checks of notebook 03, the autoencoder."""

from __future__ import annotations

import numpy as np
from sklearn.decomposition import PCA

from tutorial_lib.exercises import Wrong, answered, exercise, number, pair


@exercise("3.1")
def decoder_parameters(answer) -> str:
    answer = number(answer)
    hints = {
        7 * 7 * 2 * 64: "You left the biases out: one for each of the 64 output channels.",
        7 * 7 * 64 + 64: "Each kernel reads both numbers of the code.",
        7 * 7 * 2 * 64 + 7 * 7 * 64: "A bias belongs to a channel, not to each of its pixels.",
        (7 * 7 * 64 + 1) * 2: "That is the encoder's last layer. This one reads 2 channels and "
        "writes 64, with one bias for each output channel.",
        (7 * 2 + 1) * 64: "The kernel is 7 high and 7 wide.",
    }
    if answer in hints:
        raise Wrong(hints[answer])
    if answer != 6336:
        raise Wrong("It has (k² · inputs + 1) · outputs parameters, like a direct convolution.")
    return "Through these weights, two numbers decide about 7·7·64 others."


@exercise("3.2")
def larger_canvas(answer) -> str:
    down, up = pair(answer, "codes, pixels")
    hints = {
        2: "The map in front of the last layer doubles to 14×14, but a 7×7 kernel has more than "
        "2 places on it: it moves by one.",
        1: "One place is all there is on a 7×7 map; this map is larger.",
        14: "That is the map that the last layer reads; one layer is missing.",
        7: "14 - 7 is how far the kernel can move; it has one place more than that.",
    }
    if (down, up) == (56, 8):
        raise Wrong("Codes first, then pixels: the other way round.")
    if down in hints:
        raise Wrong(hints[down])
    if down == 64:
        raise Wrong("There are 64 codes in all; how many along one side?")
    if down != 8:
        raise Wrong("Two layers halve 56, and 7×7 without padding leaves i - 7 + 1.")
    if up == 28:
        raise Wrong("28×28 came out of a single code; here the decoder reads a map of them.")
    if up != 56:
        raise Wrong("The decoder's first layer gives (8 - 1) + 7, and two layers double that.")
    return "A net without dense layers takes any size: notebook 05 lives on that."


@exercise("3.3")
def pca_needed(answer_and_data) -> str:
    answer, train, test, error = answer_and_data
    answer = answered(answer)
    most = min(len(train), train[0].size)
    if isinstance(answer, bool) or not isinstance(answer, int | np.integer):
        raise Wrong("Give a whole number of components.")
    if not 1 <= answer <= most:
        raise Wrong(f"A number of components lies between 1 and {most}.")

    train, test = (images.reshape(len(images), -1) for images in (train, test))

    def beats(k: int) -> bool:
        pca = PCA(k, svd_solver="covariance_eigh").fit(train)
        return float(np.mean((pca.inverse_transform(pca.transform(test)) - test) ** 2)) < error

    if not beats(answer):
        raise Wrong(f"With {answer} components PCA is still worse than the net; it needs more.")
    if answer > 1 and beats(answer - 1):
        raise Wrong(f"{answer} components beat the net, but {answer - 1} do too; find the fewest.")
    return "That many straight directions does it take to replace two bent ones."


@exercise("3.4")
def half_way(answer_and_tools) -> str:
    answer, decode, middles = answer_and_tools
    answer = np.asarray(answered(answer))
    if answer.shape != (28, 28):
        raise Wrong(
            f"The shape is {answer.shape}; `decode` returns a batch, take its first picture."
        )
    half = (middles[1] + middles[6]) / 2
    right, by_place = decode(half)[0], decode(np.array([0.5, 0]))[0]
    blended = (decode(middles[1])[0] + decode(middles[6])[0]) / 2
    if np.allclose(answer, right, atol=1e-4):
        return "Averaging codes is not averaging pictures: nothing is doubly exposed."
    if np.allclose(answer, blended, atol=1e-4):
        raise Wrong("You averaged two pictures; average the two codes, then decode once.")
    if np.allclose(answer, decode((middles[6] - middles[1]) / 2)[0], atol=1e-4):
        raise Wrong("Half of the difference is half the way, but from where? Add the start.")
    if np.allclose(answer, by_place, atol=1e-4):
        raise Wrong("(0.5, 0) is a place on the map; `decode` takes a code.")
    if np.allclose(answer, decode(2 * half)[0], atol=1e-4):
        raise Wrong("That is the sum of the two codes; half way lies their mean.")
    raise Wrong("Half way between two points a and b is (a + b) / 2; decode that.")


@exercise("3.5")
def how_often_odd_is_higher(function) -> str:
    cases = [([1, 2, 3], [2.5]), ([1, 2], [3, 4, 5]), ([4, 5], [1, 2, 3]), ([0, 1, 1], [1, 2])]
    if not callable(function):
        raise Wrong("Hand over the function itself, not what it returns.")
    try:
        found = [answered(function(np.array(usual), np.array(odd))) for usual, odd in cases]
    except ValueError as error:
        if "broadcast" not in str(error):
            raise
        raise Wrong(
            "The two need not be equally many: pair every odd one with every usual."
        ) from None
    if any(value is None for value in found):
        raise Wrong("Your function returns nothing; return a number.")
    if any(np.ndim(value) for value in found):
        raise Wrong("That is a whole array; average over all pairs to get one number.")
    strict = [np.mean(np.less.outer(usual, odd)) for usual, odd in cases]
    loose = [np.mean(np.less_equal.outer(usual, odd)) for usual, odd in cases]
    right = np.mean([strict, loose], axis=0)
    if np.allclose(found, right):
        return "A number that needs no threshold, and does not mind how many odd ones there are."
    if np.allclose(found, [1 - value for value in right]):
        raise Wrong("You counted how often the usual one is higher; an odd one should be.")
    if np.allclose(found, strict) or np.allclose(found, loose):
        raise Wrong("Where both score the same, count one half.")
    if np.allclose(found[1:3], [6, 0]):
        raise Wrong("That is a number of pairs; divide it by how many pairs there are.")
    raise Wrong("Compare every odd one with every usual one: `np.less.outer(usual, odd)`.")
