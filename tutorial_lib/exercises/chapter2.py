"""Checks of notebook 02, transposed convolution."""

from __future__ import annotations

import numpy as np

from tutorial_lib import convolution
from tutorial_lib.exercises import Wrong, answered, array, exercise, expect_close, number


@exercise("2.1")
def own_scattering(function) -> str:
    rng = np.random.default_rng(0)
    for i, k, s in [(3, 2, 2), (3, 3, 2), (4, 3, 1), (2, 2, 3)]:
        x, w = rng.integers(-4, 5, (i, i)), rng.integers(-4, 5, (k, k))
        got, expected = array(function(x.copy(), w.copy(), s)), _scatter(x, w, s)
        if got.shape != expected.shape:
            raise Wrong(
                f"For i={i}, k={k}, s={s} the output has s (i - 1) + k = {len(expected)} rows and "
                f"columns; yours has the shape {got.shape}."
            )
        if not np.allclose(got, expected):
            raise Wrong(f"For i={i}, k={k}, s={s} {_wrong_sums(got, x, w, s)}")
    if not np.allclose(function(np.ones((1, 1), int), np.full((1, 1), 0.5), 1), 0.5):
        raise Wrong("For integer pixels and weights of 1/2: your output cuts off the fractions.")
    return "Without padding and channels, a transposed convolution is this loop."


@exercise("2.2")
def mirrored_sizes(answer) -> str:
    try:
        extras = [number(answered(extra)) for extra in answer]
    except TypeError:
        raise Wrong("Answer with a list of three numbers, such as [0, 0, 0].") from None
    if len(extras) != 3 or not set(extras) <= {0, 1}:
        raise Wrong("Answer with three numbers, one per layer; with stride 2 each is 0 or 1.")
    size, sizes = 6, [44, 22, 11, 6]
    for layer, (extra, wanted) in enumerate(zip(extras, sizes[2::-1], strict=True)):
        reached = convolution.transposed_output_size(size, 3, 2, 1, 1, int(extra))
        if reached != wanted:
            raise Wrong(
                f"The encoder's sizes are 44, 22, 11, 6. Layer {layer + 1} of your decoder goes "
                f"from {size} to {reached} pixels, not to {wanted}."
            )
        size = reached
    return "With these settings, only odd sizes, such as 11, are reached without output padding."


@exercise("2.3")
def own_transposed_convolution(function) -> str:
    rng = np.random.default_rng(0)
    for i, k, s, p, e in [(3, 3, 2, 0, 0), (3, 4, 2, 1, 0), (4, 3, 2, 1, 1), (3, 3, 3, 1, 2)]:
        x, w = rng.integers(1, 5, (i, i)), rng.integers(1, 5, (k, k))
        got = array(function(x.copy(), w.copy(), s, p, e))
        expected = _scatter(x, w, s, p, e)
        case = f"For i={i}, k={k}, s={s}, p={p}, e={e}"
        if got.shape != expected.shape:
            raise Wrong(f"{case} {_wrong_size(got.shape, len(expected), p, e)}")
        if not np.allclose(got, expected):
            raise Wrong(f"{case} {_wrong_crop(got, x, w, s, p, e)}")
    return "With channels and a bias it would be the ConvTranspose2d of PyTorch."


@exercise("2.4")
def triangle_of_three(answer) -> str:
    kernel = array(answer)
    if kernel.shape in [(6, 6), (6,)]:
        raise Wrong("For an odd factor the peak is on a pixel: 2f - 1 = 5 weights, not 2f = 6.")
    if kernel.ndim == 1:
        raise Wrong("That is one axis; the kernel is the product of two triangles, `np.outer`.")
    if kernel.shape != (5, 5) or kernel.dtype.kind not in "iuf":
        raise Wrong(f"The kernel should be an array of 5×5 numbers; yours has {kernel.shape}.")
    right = np.outer(*[[1 / 3, 2 / 3, 1, 2 / 3, 1 / 3]] * 2)
    hints = {
        "The peak should be 1, so that each input keeps its value: divide the kernel by 9.": (
            9 * right
        ),
        "You divided by the sum; but an input should keep its value, so the peak should be 1.": (
            right / 9
        ),
        "Your triangle is zero at its ends; it should become zero one pixel further out.": (
            np.outer(*[[0, 0.5, 1, 0.5, 0]] * 2)
        ),
    }
    otherwise = "Along each axis the weights fall from 1 in the middle to 0 three pixels away."
    if kernel[2, 2] == 1 and np.isclose(kernel[0, 0], 1):
        otherwise = "Equal weights repeat each input; they should fall toward the neighbors."
    sums = _phase_sums(kernel, 3)
    if not np.allclose(sums, 1) and np.allclose(kernel, kernel.T):
        otherwise += f" Weights three apart add up to 1; your sums are {_listed(sums)}."
    expect_close(kernel, right, hints, otherwise)
    return "Each input keeps its value; the pixels between two inputs mix them in thirds."


@exercise("2.5")
def own_depth_to_space(function) -> str:
    for height, width, r in [(2, 3, 2), (3, 2, 3)]:
        x = np.arange(height * width * r * r).reshape(height, width, r * r)
        got, expected = array(function(x.copy(), r)), _depth_to_space(x, r)
        case = f"For x of shape {x.shape} and r={r}"
        if got.shape != expected.shape:
            raise Wrong(f"{case} the result has the shape {expected.shape}, not {got.shape}.")
        blocks = x.reshape(height, width, r, r)
        hints = {
            f"{case} you did not move anything: the axes row, column, a, b must become row, a, "
            "column, b before the last reshape.": x.reshape(expected.shape),
            f"{case} you exchanged a and b: channel ra + b goes to row a, column b of its block.": (
                _depth_to_space(blocks.swapaxes(2, 3).reshape(x.shape), r)
            ),
            f"{case} you made one large image per channel and put them side by side; the values of "
            "one pixel belong beside each other.": (
                blocks.transpose(2, 0, 3, 1).reshape(expected.shape)
            ),
        }
        otherwise = f"{case} the first block should be {expected[:r, :r].tolist()}."
        expect_close(got, expected, hints, otherwise)
    return "No weights, no arithmetic: the values only change places."


@exercise("2.6")
def kernel_without_pattern(answer) -> str:
    kernel = array(answer)
    if kernel.shape != (3, 3) or kernel.dtype.kind not in "iuf":
        raise Wrong(f"The kernel should be an array of 3×3 numbers; yours has {kernel.shape}.")
    if np.any(np.isclose(kernel, 0)):
        raise Wrong("One of your weights is zero.")
    sums = _phase_sums(kernel, 2)
    if not np.allclose(sums, sums[0, 0]):
        raise Wrong(
            f"Your phase sums are {_listed(sums)}; they should be equal. The four corners form "
            "one phase, the middle alone another."
        )
    if np.isclose(sums[0, 0], 0):
        raise Wrong("All your phase sums are zero, so a constant image becomes black.")
    return f"All four phase sums are {sums[0, 0]:g}, although 2 does not divide 3."


@exercise("2.7")
def dots_along_horizontal_edges(answer) -> str:
    kernel = array(answer)
    if kernel.shape != (4, 4) or kernel.dtype.kind not in "iuf":
        raise Wrong(f"The kernel should be an array of 4×4 numbers; yours has {kernel.shape}.")
    sums = _phase_sums(kernel, 2)
    if not np.allclose(sums, sums[0, 0]) or np.isclose(sums[0, 0], 0):
        raise Wrong(f"Your phase sums are {_listed(sums)}; they should be equal, and not zero.")
    first, second = kernel[::2].sum(axis=0), kernel[1::2].sum(axis=0)  # by row phase
    if not np.allclose(first, second):
        column = np.argmin(np.isclose(first, second))
        raise Wrong(
            f"Your kernel leaves dots along vertical edges: the sums within column {column} are "
            f"{first[column]:.3g} and {second[column]:.3g} for the two row phases."
        )
    if np.allclose(kernel[:, ::2].sum(axis=1), kernel[:, 1::2].sum(axis=1)):
        raise Wrong(
            "Your kernel leaves no dots along horizontal edges either. Which sums within a row "
            "have to differ for that?"
        )
    return "The columns decide about vertical edges, and the rows about horizontal ones."


def _scatter(x, w, s, p=0, e=0) -> np.ndarray:
    image, kernel = x[None, ..., None], w[..., None, None]
    return convolution.conv2d_transpose(image, kernel, s, p, output_padding=e)[0, ..., 0]


def _phase_sums(w: np.ndarray, s: int) -> np.ndarray:
    return np.array([[w[a::s, b::s].sum() for b in range(s)] for a in range(s)])


def _listed(sums: np.ndarray) -> str:
    return ", ".join(f"{value:.3g}" for value in sums.ravel())


def _depth_to_space(x: np.ndarray, r: int) -> np.ndarray:
    height, width, _ = x.shape
    return x.reshape(height, width, r, r).transpose(0, 2, 1, 3).reshape(height * r, width * r)


def _wrong_sums(got: np.ndarray, x, w, s: int) -> str:
    overwritten = np.zeros_like(got)
    for row, column in np.ndindex(x.shape):
        top, left = row * s, column * s
        overwritten[top : top + len(w), left : left + len(w)] = x[row, column] * w
    if np.allclose(got, overwritten):
        return "later kernels overwrite earlier ones; where they overlap, add: +=."
    if np.allclose(got, _scatter(x, w[::-1, ::-1], s)):
        return "you rotated the kernel; scattering uses it as it is, gathering rotates it."
    if np.allclose(got, _scatter(np.ones_like(x), w, s)):
        return "you add the same kernel everywhere; multiply it by the input first."
    return "the shape is right, but the numbers are not. Scatter a single input first."


def _wrong_size(shape: tuple, o: int, p: int, e: int) -> str:
    if p and shape == (o + 2 * p,) * 2:
        return "you forgot the padding: it removes p pixels on each side."
    if p and shape == (o + p,) * 2:
        return "padding removes p pixels on both sides, not on one."
    if p and shape == (o + 4 * p,) * 2:
        return "padding makes the output of a transposed convolution smaller, not larger."
    if e and shape == (o - e,) * 2:
        return "you forgot the output padding; it adds e rows and columns at the end."
    return f"the output should have the shape {(o, o)}; yours has {shape}."


def _wrong_crop(got: np.ndarray, x, w, s: int, p: int, e: int) -> str:
    complete = _scatter(x, w, s)
    o = len(got) - e
    if e and np.allclose(got, np.pad(complete[p : p + o, p : p + o], (0, e))):
        return "your added rows are zero, but padding removed rows there: keep those first."
    if e and np.allclose(got, np.pad(complete[p : p + o, p : p + o], (e, 0))):
        return "you added rows at the beginning; output padding adds them at the end."
    if p and np.allclose(got, np.pad(complete, (0, e))[: len(got), : len(got)]):
        return "you removed rows at the end only; padding removes p on each side."
    return (
        _wrong_sums(got, x, w, s)
        if p == e == 0
        else ("the shape is right, but the numbers are not. Scatter first, then crop.")
    )
