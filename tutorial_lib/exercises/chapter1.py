"""Checks of notebook 01, convolution arithmetic."""

from __future__ import annotations

import numpy as np

from tutorial_lib import convolution
from tutorial_lib.exercises import Wrong, answered, array, exercise, expect, number, pair


@exercise("1.1")
def one_output_pixel(answer) -> str:
    hints = {
        7: "That window starts at x[2, 1]: rows come first.",
        11: "That window starts at x[1, 1]; one more to the right.",
        15: "Rows and columns count from zero; that window starts at x[0, 1].",
        9: "There are nine ones, but each is multiplied with the pixel under it.",
    }
    expect(number(answer), 16, hints, "Add up the nine numbers of the window x[1:4, 2:5].")
    return "Nine products, one sum. Divided by nine it would be a blur."


@exercise("1.2")
def alexnet(answer) -> str:
    answer = number(answer)
    if isinstance(answer, float) and answer != int(answer):
        raise Wrong("A size is an integer: the kernel cannot stop halfway. Round down, then add 1.")
    hints = {
        53: "You counted the steps; the starting position is one more output.",
        55: "55 is in the paper, but 213 / 4 rounded down gives 53 steps, not 54.",
    }
    expect(answer, 54, hints, "Put i=224, k=11, s=4, p=0 into ⌊(i + 2p - k) / s⌋ + 1.")
    return "The feature maps in the paper are 55 wide: it must have padded, or used 227 pixels."


@exercise("1.3")
def same_output_size(function) -> str:
    for i, s in [(6, 2), (5, 2), (7, 3), (8, 3), (10, 4), (4, 4), (9, 1)]:
        expected, got = -(-i // s), answered(function(i, s))
        if got == i // s != expected:
            raise Wrong(f"For i={i}, s={s} you rounded down; SAME rounds up.")
        if got == i // s + 1 != expected:
            raise Wrong(f"For i={i}, s={s} there is no remainder, so nothing is to be added.")
        if got != expected:
            raise Wrong(f"For i={i}, s={s} the output has {expected} pixels, not {got}.")
    return "The kernel size does not matter."


@exercise("1.4")
def parameters(answer) -> str:
    hints = {
        3 * 3 * 64 * 128 + 64: "There is one bias for each of the 128 outputs, not the 64 inputs.",
        3 * 3 * 64 * 128: "You left the biases out: one for each output channel.",
        3 * 3 * 128: "Each kernel reads all 64 input channels.",
        (3 * 3 * 64 + 64) * 128: "There is one bias for each output channel, not for each input.",
        (3 * 64 + 1) * 128: "A 3×3 kernel has nine cells, not three.",
    }
    otherwise = "Each of the 128 kernels has 3·3·64 weights and one bias."
    expect(number(answer), 73856, hints, otherwise)
    return "The number is the same for every image size."


@exercise("1.5")
def receptive_fields(answer) -> str:
    plain, dilated = pair(answer, "plain layers, dilated layers")
    if (plain, dilated) == (4, 15):
        raise Wrong("The other way round: plain layers first.")
    hints = {14: "Each layer adds 2 to a field that starts at 1: 14 layers see 29 pixels."}
    otherwise = "A 3×3 convolution with stride 1 adds 2 pixels to the field, starting from 1."
    expect(number(plain), 15, hints, otherwise)
    expect(number(dilated), 4, {}, "A dilation of d makes the layer add 2d: 1 + 2 + 4 + 8 + 16.")
    return "Dilations that double make the receptive field grow exponentially with depth."


@exercise("1.6")
def own_convolution(function) -> str:
    rng = np.random.default_rng(0)
    for i, k, s, p in [(5, 3, 1, 0), (6, 3, 1, 3), (6, 3, 2, 0), (7, 4, 2, 2), (4, 1, 3, 0)]:
        x, w = rng.integers(-4, 5, (i, i)), rng.integers(-4, 5, (k, k))
        case = f"For i={i}, k={k}, s={s}, p={p}"
        given = x.copy(), w.copy()
        got, expected = array(function(*given, s, p)), _convolve(x, w, s, p)
        if not (np.array_equal(x, given[0]) and np.array_equal(w, given[1])):
            raise Wrong(f"{case} your function changed its input; work on a copy.")
        if got.shape != expected.shape:
            raise Wrong(f"{case} {_wrong_size(got.shape, i, k, s, p)}")
        if not np.allclose(got, expected):
            raise Wrong(f"{case} {_wrong_values(got, x, w, s, p)}")
    if not np.allclose(function(np.ones((2, 2), int), np.full((2, 2), 0.125), 1, 0), 0.5):
        raise Wrong("For integer pixels and weights of 1/8: your output cuts off the fractions.")
    return "You have written a convolution layer. All that is missing is channels, and training."


def _convolve(x, w, s, p) -> np.ndarray:
    return convolution.conv2d(x[None, ..., None], w[..., None, None], s, p)[0, ..., 0]


def _wrong_size(shape: tuple, i: int, k: int, s: int, p: int) -> str:
    o = convolution.output_size(i, k, s, p)
    if p and shape == (convolution.output_size(i + p, k, s),) * 2:
        return "you are off: you forgot that padding counts on both sides."
    if p and shape == (convolution.output_size(i, k, s),) * 2:
        return "your output is as large as without padding; add the zeros first."
    if s > 1 and shape == (i + 2 * p - k + 1,) * 2:
        return "your output has one row for every place of the kernel; skip to every s-th."
    if shape == (o - 1, o - 1):
        return "you are off by one: steps plus the starting position make ⌊...⌋ + 1 outputs."
    return f"the output should have the shape {(o, o)}; yours has {shape}."


def _wrong_values(got: np.ndarray, x, w, s: int, p: int) -> str:
    mistakes = {
        "rows and columns of the output are exchanged.": _convolve(x, w, s, p).T,
        "you flipped the kernel: that is the convolution of mathematics.": (
            _convolve(x, w[::-1, ::-1], s, p)
        ),
        "rows and columns of the kernel are exchanged.": _convolve(x, w.T, s, p),
        "rows and columns of the input are exchanged.": _convolve(x.T, w, s, p),
        "you repeated the border; padding adds zeros.": (
            _convolve(np.pad(x, p, mode="edge"), w, s, 0)
        ),
        "all your zeros are on one side; half of them belong on the other.": (
            _convolve(np.pad(x, ((0, 2 * p), (0, 2 * p))), w, s, 0)
        ),
        "the windows are one pixel apart; they should be s pixels apart.": (
            _convolve(x, w, 1, p)[: len(got), : len(got)]
        ),
    }
    for hint, wrong in mistakes.items():
        if np.allclose(got, wrong):
            return hint
    return "the shape is right, but the numbers are not. Check your first output on paper."
