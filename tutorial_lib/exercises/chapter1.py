"""Checks of notebook 01, convolution arithmetic."""

from __future__ import annotations

import numpy as np

from tutorial_lib import convolution
from tutorial_lib.exercises import Wrong, answered, exercise


@exercise("1.1")
def one_output_pixel(answer) -> str:
    hints = {
        7: "That window starts at x[2, 1]: rows come first.",
        11: "That window starts at x[1, 1]; one more to the right.",
        9: "There are nine ones, but each is multiplied with the pixel under it.",
    }
    if answer in hints:
        raise Wrong(hints[answer])
    if answer != 16:
        raise Wrong("Add up the nine numbers of the window x[1:4, 2:5].")
    return "Nine products, one sum. Divided by nine it would be a blur."


@exercise("1.2")
def alexnet(answer) -> str:
    if answer == 53:
        raise Wrong("You counted the steps; the starting position is one more output.")
    if isinstance(answer, float) and answer != int(answer):
        raise Wrong("A size is whole: the kernel cannot stop half way. Round down before adding 1.")
    if answer == 55:
        raise Wrong("55 is in the paper, but does not follow from 224 pixels without padding.")
    if answer != 54:
        raise Wrong("Put i=224, k=11, s=4, p=0 into ⌊(i + 2p - k) / s⌋ + 1.")
    return "The paper's maps are 55 wide: it must have padded, or used 227 pixels."


@exercise("1.3")
def same_output_size(function) -> str:
    for i, s in [(6, 2), (5, 2), (7, 3), (4, 4), (9, 1)]:
        expected, got = -(-i // s), answered(function(i, s))
        if got == i // s != expected:
            raise Wrong(f"For i={i}, s={s} you rounded down; SAME rounds up.")
        if got == i // s + 1 != expected:
            raise Wrong(f"For i={i}, s={s} there is no remainder, so nothing is to be added.")
        if got != expected:
            raise Wrong(f"For i={i}, s={s} the output has {expected} pixels, not {got}.")
    return "The size of the kernel plays no part."


@exercise("1.4")
def parameters(answer) -> str:
    hints = {
        3 * 3 * 64 * 128: "You left the biases out: one for each output channel.",
        3 * 3 * 128: "Each kernel reads all 64 input channels.",
        (3 * 3 * 64 + 64) * 128: "There is one bias for each output channel, not for each input.",
        (3 * 64 + 1) * 128: "A 3×3 kernel has nine cells, not three.",
    }
    if answer in hints:
        raise Wrong(hints[answer])
    if answer != 73856:
        raise Wrong("Each of the 128 kernels has 3·3·64 weights and one bias.")
    return "The same for a stamp and for a poster."


@exercise("1.5")
def receptive_fields(answer) -> str:
    plain, dilated = answer
    if plain == 14:
        raise Wrong("Each layer adds 2 to a field that starts at 1: 14 layers see 29 pixels.")
    if plain != 15:
        raise Wrong("A 3×3 convolution with stride 1 adds 2 pixels to the field, starting from 1.")
    if dilated != 4:
        raise Wrong("A dilation of d makes the layer add 2d: 1 + 2 + 4 + 8 + 16.")
    return "Dilations that double make the field grow exponentially with depth."


@exercise("1.6")
def own_convolution(function) -> str:
    rng = np.random.default_rng(0)
    for i, k, s, p in [(5, 3, 1, 0), (5, 3, 1, 1), (6, 3, 2, 0), (7, 4, 2, 2), (4, 1, 3, 0)]:
        x, w = rng.integers(-4, 5, (i, i)), rng.integers(-4, 5, (k, k))
        given = x.copy(), w.copy()
        got = np.asarray(answered(function(x, w, s, p)))
        case = f"For i={i}, k={k}, s={s}, p={p}"
        if not (np.array_equal(x, given[0]) and np.array_equal(w, given[1])):
            raise Wrong(f"{case} your function changed its input; work on a copy.")
        expected = _convolve(x, w, s, p)
        if got.shape != expected.shape:
            raise Wrong(f"{case} {_wrong_size(got.shape, i, k, s, p)}")
        if not np.allclose(got, expected):
            raise Wrong(f"{case} {_wrong_values(got, x, w, s, p)}")
    return "You have written a convolution layer. All that is missing is channels, and training."


def _convolve(x, w, s, p) -> np.ndarray:
    return convolution.conv2d(x[None, ..., None], w[..., None, None], s, p)[0, ..., 0]


def _wrong_size(shape: tuple, i: int, k: int, s: int, p: int) -> str:
    o = convolution.output_size(i, k, s, p)
    if shape == (convolution.output_size(i + p, k, s),) * 2:
        return "you are off: you forgot that padding counts on both sides."
    if shape == (i + 2 * p - k + 1,) * 2:
        return "your output has one row for every place of the kernel; skip to every s-th."
    if shape == (o - 1, o - 1):
        return "you are off by one: steps plus the starting position make ⌊...⌋ + 1 outputs."
    return f"the output should have the shape {(o, o)}; yours has {shape}."


def _wrong_values(got: np.ndarray, x, w, s: int, p: int) -> str:
    mistakes = {
        "you flipped the kernel: that is the convolution of mathematics.": (x, w[::-1, ::-1]),
        "rows and columns of the kernel are exchanged.": (x, w.T),
        "rows and columns of the input are exchanged.": (x.T, w),
    }
    for hint, arrays in mistakes.items():
        if np.allclose(got, _convolve(*arrays, s, p)):
            return hint
    if p and np.allclose(got, _convolve(np.pad(x, p, mode="edge"), w, s, 0)):
        return "you repeated the rim; padding adds zeros."
    if np.allclose(got, _convolve(x, w, 1, p)[: len(got), : len(got)]):
        return "the windows stand one pixel apart; they should stand s pixels apart."
    return "the shape is right, but the numbers are not. Check your first output on paper."
