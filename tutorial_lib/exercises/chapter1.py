"""Checks of notebook 01, convolution arithmetic."""

from __future__ import annotations

import numpy as np

from tutorial_lib import convolution
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


@exercise("1.1")
def output_pixel(function) -> str:
    rng = np.random.default_rng(0)
    for shape, kernel, row, column in [
        ((5, 5), (3, 3), 1, 2),
        ((6, 4), (2, 3), 1, 0),
        ((5, 6), (2, 2), 2, 1),
    ]:
        x, w = rng.integers(1, 9, shape), rng.integers(1, 9, kernel)
        got, y = array(function(x, w, row, column)), _valid(x, w)
        case = f"For a {shape[0]}×{shape[1]} input and row {row}, column {column}"
        if got.ndim:
            raise Wrong(f"{case} you return the shape {got.shape}; add the products up.")
        mistakes = {
            "you flipped the kernel: that is the convolution of mathematics.": _valid(
                x, w[::-1, ::-1]
            )[row, column],
            "you averaged; the output is the sum of the products.": y[row, column] / w.size,
            "you added up the window; multiply it by the kernel first.": _valid(x, np.ones_like(w))[
                row, column
            ],
            "you used the first window; start it at x[row, column].": y[0, 0],
        }
        if column < y.shape[0] and row < y.shape[1]:
            mistakes["you exchanged rows and columns."] = y[column, row]
        otherwise = f"{case} the output is {y[row, column]}, not {got}."
        hints = {f"{case} {hint}": wrong for hint, wrong in mistakes.items()}
        expect_close(got, y[row, column], hints, otherwise)
    return "A convolution computes this sum at every position."


@exercise("1.2")
def diagonal_kernel(answer) -> str:
    kernel = array(answer)
    if kernel.shape != (3, 3) or kernel.dtype.kind not in "iuf":
        raise Wrong(f"The kernel should be an array of 3×3 numbers; yours has {kernel.shape}.")
    if not np.isclose(kernel.sum(), 0):
        raise Wrong(
            f"On a constant image of ones it outputs {kernel.sum():g}, the sum of its weights; "
            "make them add up to 0."
        )
    distance = np.arange(3) - np.arange(3)[:, None]  # of each pixel from the diagonal
    edges = [np.clip((distance - shift + 1) / 2, 0, 1) for shift in range(-3, 4)]
    outputs = np.array([[(kernel * e).sum(), (kernel * e[:, ::-1]).sum()] for e in edges])
    wanted, other = (column[np.abs(column).argmax()] for column in outputs.T)
    if np.isclose(wanted, 0) and not np.isclose(other, 0):
        raise Wrong("It detects the other diagonal; mirror it from left to right.")
    if not np.isclose(other, 0):
        raise Wrong(
            f"On the other diagonal edge it outputs {other:g}, not 0; the weights on each line "
            "that is parallel to the other diagonal must add up to 0."
        )
    wanted = wanted if wanted <= 0 else outputs[:, 0].min()
    if wanted < -1e-9 or np.allclose(outputs[:, 0], 0):
        raise Wrong(
            f"Where the upper right is brighter it outputs {wanted:g}; it should be positive. "
            "Weights there should be positive, those in the lower left negative."
        )
    return "Its weights add up to 0, so adding a constant to all pixels does not change the output."


@exercise("1.3")
def alexnet(answer) -> str:
    size, zeros = pair(answer, "size, zeros")
    size, zeros = number(size), number(zeros)
    if size != int(size):
        raise Wrong("A size is an integer: the kernel cannot stop halfway. Round down, then add 1.")
    hints = {
        53: "You counted the steps; the starting position is one more output.",
        55: "55 is in the paper, but 213 / 4 rounded down gives 53 steps, not 54.",
    }
    expect(size, 54, hints, "Put i=224, k=11, s=4, p=0 into ⌊(i + 2p - k) / s⌋ + 1.")
    hints = {
        2: "With 2 zeros the kernel takes ⌊215 / 4⌋ = 53 steps; 54 are needed.",
        4: "4 zeros do, but fewer do too: they need not be the same at both ends.",
        6: "That is the most that gives 55; look for the least.",
    }
    expect(zeros, 3, hints, "For 55 outputs the kernel takes 54 steps: 224 + zeros - 11 ≥ 54·4.")
    return "224 + 3 = 227, the input size that the implementation of AlexNet in Caffe uses."


@exercise("1.4")
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
        mistakes = _mistakes(len(expected), x, w, s, p)
        hints = {f"{case} {hint}": wrong for hint, wrong in mistakes.items()}
        otherwise = "the shape is right, but the numbers are not. Check your first output on paper."
        expect_close(got, expected, hints, f"{case} {otherwise}")
    if not np.allclose(function(np.ones((2, 2), int), np.full((2, 2), 0.125), 1, 0), 0.5):
        raise Wrong("For integer pixels and weights of 1/8: your output cuts off the fractions.")
    return "You have written a convolution. A layer adds channels, dilation, a bias and training."


@exercise("1.5")
def aligned_padding(function) -> str:
    for i, k, s in [(32, 3, 2), (32, 7, 2), (33, 3, 2), (32, 3, 1), (30, 5, 4), (9, 1, 2)]:
        before, after = pair(answered(function(i, k, s)), "before, after")
        case, o = f"For i={i}, k={k}, s={s}", -(-i // s)
        center = (k - 1) // 2 - before
        if (before, after) == convolution.same_padding(i, k, s) and center:
            raise Wrong(
                f"{case} you have the padding of SAME, {before, after}; its output 0 is centered "
                f"on pixel {center}, that of the shortcut on pixel 0."
            )
        if center:
            raise Wrong(f"{case} output 0 is centered on pixel {center}, not on pixel 0.")
        size = (i + before + after - k) // s + 1
        if size != o:
            raise Wrong(f"{case} the output has {size} pixels, that of the shortcut {o}.")
        if after != max((o - 1) * s + k - i - before, 0):
            raise Wrong(f"{case} a padding of {after} after the image is more than needed.")
    return (
        "Alignment needs (k - 1) / 2 zeros before the image. 'same' often adds fewer there, for "
        "example 0 instead of 1 for i=8, k=3, s=2, which shifts one branch by an input pixel."
    )


@exercise("1.6")
def pointwise_convolution(function) -> str:
    rng = np.random.default_rng(0)
    x, w, b = rng.integers(-4, 5, (3, 5, 2)), rng.integers(-4, 5, (2, 4)), np.arange(1, 5)
    got, expected = array(function(x, w, b)), np.einsum("hwc,co->hwo", x, w) + b
    if got.shape != expected.shape:
        raise Wrong(f"For x {x.shape} and w {w.shape} the output is {expected.shape}: {got.shape}.")
    hints = {
        "You left the bias out.": expected - b,
        "You subtracted the bias.": expected - 2 * b,
    }
    expect_close(got, expected, hints, "Each pixel is a vector of channels; multiply it by w.")
    return "This line implements the score layer of a fully convolutional network."


@exercise("1.7")
def dilated_stack(answer) -> str:
    dilations = array(answer)
    if dilations.ndim != 1 or dilations.dtype.kind not in "iu" or np.any(dilations < 1):
        raise Wrong("Answer with a list of dilations, such as [1, 1]; each is at least 1.")
    if len(dilations) > 3:
        raise Wrong(f"You use {len(dilations)} layers; three are enough.")
    reached = {0}
    for d in dilations.tolist():
        reached = {place + offset for place in reached for offset in (-2 * d, -d, 0, d, 2 * d)}
    field = max(reached) - min(reached) + 1
    if field < 101:
        raise Wrong(f"Your receptive field is {field}: each layer adds 4d to a field of 1.")
    if len(reached) < field:
        gaps = field - len(reached)
        raise Wrong(f"Your field spans {field} pixels, but {gaps} of them are never read.")
    return (
        f"The receptive field of this stack is {field} pixels; "
        "three layers without dilation have 13."
    )


def _valid(x: np.ndarray, w: np.ndarray) -> np.ndarray:
    return _convolve(x, w, 1, 0)


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


def _mistakes(o: int, x, w, s: int, p: int) -> dict[str, np.ndarray]:
    return {
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
            _convolve(x, w, 1, p)[:o, :o]
        ),
    }
