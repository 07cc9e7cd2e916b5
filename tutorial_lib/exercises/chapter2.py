"""Checks of notebook 02, transposed convolution."""

from __future__ import annotations

import numpy as np

from tutorial_lib import convolution
from tutorial_lib.exercises import Wrong, answered, array, exercise, expect, number, pair


@exercise("2.1")
def stamping_by_hand(answer) -> str:
    if np.ndim(answer) != 1:
        raise Wrong("Answer with a list of numbers, e.g. [1, 2, 3].")
    hints = {
        (3, 5): "That is the convolution, which gathers; stamping makes the line longer.",
        (1, 1, 2, 2, 3, 3): "You stamped with stride 2; with stride 1 neighboring stamps overlap "
        "and add up.",
    }
    otherwise = "Write the three stamps [1, 1], [2, 2], [3, 3] one place apart and add."
    if len(answer) != 4:
        otherwise = "The output has s (i - 1) + k = 1·2 + 2 = 4 entries."
    expect(tuple(answer), (1, 3, 5, 3), hints, otherwise)
    return "One stamp reaches each end, and two reach each place between."


@exercise("2.2")
def padding_for_doubling(answer) -> str:
    hints = {
        2: "p is cut off at both ends: solve 2·6 + 4 - 2p = 14.",
        0: "Without padding the output has 2·6 + 4 = 16 pixels, two too many.",
    }
    otherwise = "Solve s (i - 1) + k - 2p = o for p, with i=7, k=4, s=2, o=14."
    expect(number(answer), 1, hints, otherwise)
    return "k=4, s=2, p=1 doubles any size: a popular choice for generators."


@exercise("2.3")
def unet_upconvolution(answer) -> str:
    size, stamps = pair(answer, "size, stamps")
    if np.shape(size) == (2,) and size[0] == size[1]:
        size = size[0]
    hints = {58: "Between 28 stamps there are 27 steps: s (i - 1) + k, not s i + k."}
    expect(number(size), 56, hints, "The size is s (i - 1) + k with i=28, k=2, s=2.")
    expect(number(stamps), 1, {}, "Stamps of 2×2 that are 2 apart: do they overlap at all?")
    return "There is no overlap, so counting gives no checkerboard, and nothing is smoothed."


@exercise("2.4")
def transposed_size(function) -> str:
    cases = [(4, 3, 1, 0, 0), (4, 3, 2, 0, 0), (5, 4, 3, 1, 0), (4, 3, 2, 0, 1), (6, 5, 4, 2, 3)]
    for i, k, s, p, extra in cases:
        got = answered(function(i, k, s, p, extra))
        expected = convolution.transposed_output_size(i, k, s, p, 1, extra)
        mistakes = {
            s * i + k - 2 * p + extra: "between i stamps there are i - 1 steps, not i.",
            expected + p: "you are off: you forgot that padding is cut off on both sides.",
            expected + 4 * p: "padding makes the output of a transposed convolution smaller.",
            expected + 2 * p: "you forgot the padding, which is cut off.",
            expected - 2 * extra: "output padding makes the output larger.",
            i - 1 + k - 2 * p + extra: "you forgot the stride: stamps are s apart.",
            expected - extra: "you forgot the output padding; it is added at the end.",
            (i + 2 * p - k) // s + 1: "that is the direct convolution, which shrinks its input.",
        }
        if got != expected:
            hint = mistakes.get(got, f"the size is {expected}, not {got}.")
            raise Wrong(f"For i={i}, k={k}, s={s}, p={p}, output_padding={extra}: {hint}")
    return "It is the direct convolution's formula, solved for its input."


@exercise("2.5")
def bilinear_of_32(answer) -> str:
    numbers, stamps = pair(answer, "numbers, stamps")
    hints = {32 * 32: "The tent falls to zero at the *next* input: it is 2·32 pixels wide."}
    expect(number(numbers), 64 * 64, hints, "The kernel is 2f × 2f with f = 32.")
    hints = {2: "Two along each axis; an image has two axes."}
    otherwise = "Along one axis 64 / 32 = 2 tents overlap; in an image that is 2·2."
    expect(number(stamps), 4, hints, otherwise)
    return "Four corners, weighted by nearness: bilinear interpolation."


@exercise("2.6")
def own_stamping(function) -> str:
    rng = np.random.default_rng(0)
    for i, k, s in [(3, 2, 2), (3, 3, 2), (4, 3, 1), (2, 2, 3)]:
        x, w = rng.integers(-4, 5, (i, i)), rng.integers(-4, 5, (k, k))
        got, expected = array(function(x.copy(), w.copy(), s)), _stamp(x, w, s)
        if got.shape != expected.shape:
            raise Wrong(
                f"For i={i}, k={k}, s={s} the output has s (i - 1) + k = {len(expected)} rows and "
                f"columns; yours has the shape {got.shape}."
            )
        if not np.allclose(got, expected):
            raise Wrong(f"For i={i}, k={k}, s={s} {_wrong_stamps(got, x, w, s)}")
    if not np.allclose(function(np.ones((1, 1), int), np.full((1, 1), 0.5), 1), 0.5):
        raise Wrong("For integer pixels and weights of 1/2: your output cuts off the fractions.")
    return "A transposed convolution is no more than these three lines of loop."


def _stamp(x, w, s) -> np.ndarray:
    kernel = w[..., None, None]
    # Without "VALID": there Keras makes room for gaps after the last stamp.
    return convolution.conv2d_transpose(x[None, ..., None], kernel, s, 0)[0, ..., 0]


def _wrong_stamps(got: np.ndarray, x, w, s: int) -> str:
    overwritten = np.zeros_like(got)
    for row, column in np.ndindex(x.shape):
        top, left = row * s, column * s
        overwritten[top : top + len(w), left : left + len(w)] = x[row, column] * w
    if np.allclose(got, overwritten):
        return "later stamps overwrite earlier ones; where they overlap, add: +=."
    if np.allclose(got, _stamp(x, w[::-1, ::-1], s)):
        return "you rotated the kernel; stamping uses it as it is, gathering rotates it."
    if np.allclose(got, _stamp(np.ones_like(x), w, s)):
        return "your stamps are all alike; multiply each with its input."
    return "the shape is right, but the numbers are not. Stamp a single input first."
