"""Checks of notebook 02, transposed convolution."""

from __future__ import annotations

import numpy as np

from tutorial_lib import convolution
from tutorial_lib.exercises import Wrong, answered, exercise


@exercise("2.1")
def stamping(answer) -> str:
    answer = list(answer)
    if answer == [3, 5]:
        raise Wrong("That is the convolution, which gathers; stamping makes the line longer.")
    if answer == [1, 1, 2, 2, 3, 3]:
        raise Wrong("You stamped with stride 2; with stride 1 neighboring stamps overlap and add.")
    if len(answer) != 4:
        raise Wrong("The output has s (i - 1) + k = 1·2 + 2 = 4 entries.")
    if answer != [1, 3, 5, 3]:
        raise Wrong("Write the three stamps [1, 1], [2, 2], [3, 3] one place apart and add.")
    return "Ends are reached by one stamp, the middle by two."


@exercise("2.2")
def padding_for_doubling(answer) -> str:
    if answer == 2:
        raise Wrong("p is cut off at both ends: solve 2·6 + 4 - 2p = 14.")
    if answer == 0:
        raise Wrong("Without padding the output has 2·6 + 4 = 16 pixels, two too many.")
    if answer != 1:
        raise Wrong("Solve s (i - 1) + k - 2p = o for p, with i=7, k=4, s=2, o=14.")
    return "k=4, s=2, p=1 doubles any size: generators are full of it."


@exercise("2.3")
def unet_upconvolution(answer) -> str:
    size, stamps = answer
    if size == 57:
        raise Wrong("s (i - 1) + k is 2·27 + 2, not 2·28 + 1.")
    if size != 56:
        raise Wrong("The size is s (i - 1) + k with i=28, k=2, s=2.")
    if stamps != 1:
        raise Wrong("Stamps of 2×2 that stand 2 apart: do they overlap at all?")
    return "No overlap, so no checkerboard from counting, and no smoothing either."


@exercise("2.5")
def bilinear_of_32(answer) -> str:
    numbers, stamps = answer
    if numbers == 32 * 32:
        raise Wrong("The tent falls to zero at the *next* input: it is 2·32 pixels wide.")
    if numbers != 64 * 64:
        raise Wrong("The kernel is 2f × 2f with f = 32.")
    if stamps == 2:
        raise Wrong("Two along each axis; a picture has two axes.")
    if stamps != 4:
        raise Wrong("Along one axis 64 / 32 = 2 tents overlap; in a picture that is 2·2.")
    return "Four corners, weighted by nearness: bilinear interpolation."


@exercise("2.4")
def size_of_the_output(function) -> str:
    for i, k, s, p, extra in [(4, 3, 1, 0, 0), (4, 3, 2, 0, 0), (5, 4, 3, 1, 0), (7, 4, 2, 1, 1)]:
        got = answered(function(i, k, s, p, extra))
        expected = convolution.transposed_output_size(i, k, s, p, 1, extra)
        mistakes = {
            s * i + k - 2 * p + extra: "between i stamps there are i - 1 steps, not i.",
            expected + p: "you are off: you forgot that padding is cut off on both sides.",
            expected + 4 * p: "padding makes the output of a transposed convolution smaller.",
            expected - extra: "you forgot the output padding; it is added at the end.",
            (i + 2 * p - k) // s + 1: "that is the direct convolution, which goes down.",
        }
        if got != expected:
            hint = mistakes.get(got, f"the size is {expected}, not {got}.")
            raise Wrong(f"For i={i}, k={k}, s={s}, p={p}, output_padding={extra}: {hint}")
    return "It is the direct convolution's formula, solved for its input."


@exercise("2.6")
def own_stamping(function) -> str:
    rng = np.random.default_rng(0)
    for i, k, s in [(3, 2, 2), (3, 3, 2), (4, 3, 1), (2, 2, 3)]:
        x, w = rng.integers(-4, 5, (i, i)), rng.integers(-4, 5, (k, k))
        got = np.asarray(answered(function(x.copy(), w.copy(), s)))
        expected = _stamp(x, w, s)
        if got.shape != expected.shape:
            raise Wrong(
                f"For i={i}, k={k}, s={s} the output has s (i - 1) + k = {len(expected)} rows and "
                f"columns; yours has the shape {got.shape}."
            )
        if not np.allclose(got, expected):
            raise Wrong(f"For i={i}, k={k}, s={s} {_wrong_stamps(got, x, w, s)}")
    return "Three lines of loop: that is all there is to a transposed convolution."


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
        return "you turned the kernel; stamping uses it as it is, gathering turns it."
    if np.allclose(got, _stamp(np.ones_like(x), w, s)):
        return "your stamps are all alike; multiply each with its input."
    return "the shape is right, but the numbers are not. Stamp a single input first."
