"""Convolution arithmetic: sizes, NumPy reference operators with gradients, the matrix.

Sizes follow Dumoulin & Visin, "A guide to convolution arithmetic for deep learning", 2016
(arXiv:1603.07285). As in every deep learning library, "convolution" means cross-correlation: the
kernel is not flipped.

Images are NHWC. Kernels are laid out as in Keras: (height, width, in, out) for a convolution,
(height, width, out, in) for a transposed one, so that the very array of a convolution serves its
transpose.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from tutorial_lib.errors import InputError

Padding = str | int | Sequence
Pair = int | tuple[int, int]


def output_size(i: int, k: int, s: int = 1, p: int = 0, d: int = 1) -> int:
    """Return the output size of a convolution along one axis.

    o = ⌊(i + 2p - k - (k - 1)(d - 1)) / s⌋ + 1 (Dumoulin & Visin, relationship 15).

    Args:
        i: Input size.
        k: Kernel size.
        s: Stride.
        p: Zeros added at each end.
        d: Dilation: distance between neighboring kernel elements; 1 is an ordinary kernel.

    Raises:
        InputError: if a size, stride or dilation is below 1, or the kernel does not fit.
    """
    _check(i=i, k=k, s=s, d=d)
    if p < 0:
        raise InputError(f"p={p} is impossible; padding is 0 or more")
    reach = d * (k - 1) + 1
    if reach > i + 2 * p:
        raise InputError(
            f"a kernel that reaches over {reach} pixels does not fit into {i} + 2·{p}; "
            "use a larger input, more padding or a smaller kernel"
        )
    return (i + 2 * p - reach) // s + 1


def transposed_output_size(
    i: int, k: int, s: int = 1, p: int = 0, d: int = 1, output_padding: int = 0
) -> int:
    """Return the output size of a transposed convolution along one axis.

    o = s (i - 1) + d (k - 1) + 1 - 2p + output_padding. All parameters are those of the direct
    convolution that it is the transpose of: this o is an input size that the direct convolution
    maps to i. With stride s there are s of them; `output_padding` picks one.

    Raises:
        InputError: if a size, stride or dilation is below 1, the output padding is not between 0
            and s - 1, or nothing would be left.
    """
    _check(i=i, k=k, s=s, d=d)
    if p < 0:
        raise InputError(f"p={p} is impossible; padding is 0 or more")
    if not 0 <= output_padding < s:
        raise InputError(f"output_padding={output_padding} must lie between 0 and s - 1 = {s - 1}")
    size = s * (i - 1) + d * (k - 1) + 1 - 2 * p + output_padding
    if size < 1:
        raise InputError(f"with p={p} nothing is left of the output; use less padding")
    return size


def same_padding(i: int, k: int, s: int = 1, d: int = 1) -> tuple[int, int]:
    """Return the zeros (before, after) that TensorFlow's "SAME" adds along one axis.

    They make the output ⌈i / s⌉ long. If their number is odd, the extra zero goes to the end.
    """
    _check(i=i, k=k, s=s, d=d)
    total = max((-(-i // s) - 1) * s + d * (k - 1) + 1 - i, 0)
    return total // 2, total - total // 2


def conv2d(
    x: np.ndarray, w: np.ndarray, stride: Pair = 1, padding: Padding = "VALID", dilation: Pair = 1
) -> np.ndarray:
    """Convolve images with kernels (cross-correlation, as in deep learning).

    Args:
        x: (batch, height, width, in).
        w: (kernel height, kernel width, in, out).
        stride, dilation: One number, or one for each axis.
        padding: "VALID", "SAME" with TensorFlow's rule, a number of zeros for all sides, or
            ((top, bottom), (left, right)).

    Returns:
        (batch, out height, out width, out), of the inputs' type.

    Raises:
        InputError: if shapes do not match or the kernel does not fit.
    """
    _check_arrays(x, w)
    if x.shape[3] != w.shape[2]:
        raise InputError(f"x has {x.shape[3]} channels, but w is made for {w.shape[2]}")
    stride, dilation = _pair(stride), _pair(dilation)
    pads = _pads(padding, x.shape[1:3], w.shape[:2], stride, dilation)
    windows = _windows(np.pad(x, ((0, 0), *pads, (0, 0))), w.shape[:2], stride, dilation)
    # One product of two matrices: each row a window, each column a kernel.
    return np.tensordot(windows, w, axes=([4, 5, 3], [0, 1, 2]))


def conv2d_grad(
    x: np.ndarray,
    w: np.ndarray,
    upstream: np.ndarray,
    stride: Pair = 1,
    padding: Padding = "VALID",
    dilation: Pair = 1,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the gradients of `sum(upstream * conv2d(x, w))` with respect to x and to w.

    The first is a transposed convolution of `upstream`; the second correlates x with it.
    """
    _check_arrays(x, w)
    stride, dilation = _pair(stride), _pair(dilation)
    pads = _pads(padding, x.shape[1:3], w.shape[:2], stride, dilation)
    windows = _windows(np.pad(x, ((0, 0), *pads, (0, 0))), w.shape[:2], stride, dilation)
    to_x = _scatter(upstream, w, x.shape[1:3], stride, pads, dilation)
    to_w = np.tensordot(windows, upstream, axes=([0, 1, 2], [0, 1, 2])).transpose(1, 2, 0, 3)
    return to_x, to_w


def conv2d_transpose(
    x: np.ndarray,
    w: np.ndarray,
    stride: Pair = 1,
    padding: Padding = "VALID",
    dilation: Pair = 1,
    output_padding: Pair = 0,
) -> np.ndarray:
    """Apply the transpose of a convolution: each input pixel stamps a scaled kernel.

    Args:
        x: (batch, height, width, in).
        w: (kernel height, kernel width, out, in).
        stride, dilation: Those of the direct convolution.
        padding: As for `conv2d`, meant for the direct convolution: what it would have added is
            cut off. "SAME" makes the output stride × input; "VALID" cuts nothing off.
        output_padding: Rows and columns added at the end, for explicit padding and "VALID".

    Returns:
        (batch, out height, out width, out).

    Raises:
        InputError: if shapes do not match or nothing would be left.
    """
    _check_arrays(x, w)
    if x.shape[3] != w.shape[3]:
        raise InputError(f"x has {x.shape[3]} channels, but w is made for {w.shape[3]}")
    stride, dilation, extra = _pair(stride), _pair(dilation), _pair(output_padding)
    size, pads = _transposed_geometry(x.shape[1:3], w.shape[:2], stride, padding, dilation, extra)
    return _scatter(x, w, size, stride, pads, dilation)


def conv2d_transpose_grad(
    x: np.ndarray,
    w: np.ndarray,
    upstream: np.ndarray,
    stride: Pair = 1,
    padding: Padding = "VALID",
    dilation: Pair = 1,
    output_padding: Pair = 0,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the gradients of `sum(upstream * conv2d_transpose(x, w))` with respect to x and w.

    The first is the direct convolution of `upstream`: transposing twice changes nothing.
    """
    stride, dilation, extra = _pair(stride), _pair(dilation), _pair(output_padding)
    _, pads = _transposed_geometry(x.shape[1:3], w.shape[:2], stride, padding, dilation, extra)
    windows = _windows(np.pad(upstream, ((0, 0), *pads, (0, 0))), w.shape[:2], stride, dilation)
    # Output padding can make room for one more window, which no input pixel belongs to.
    windows = windows[:, : x.shape[1], : x.shape[2]]
    to_x = np.tensordot(windows, w, axes=([4, 5, 3], [0, 1, 2]))
    to_w = np.tensordot(windows, x, axes=([0, 1, 2], [0, 1, 2])).transpose(1, 2, 0, 3)
    return to_x, to_w


def convolution_matrix(
    w: np.ndarray,
    input_shape: tuple[int, int],
    stride: Pair = 1,
    padding: Padding = "VALID",
    dilation: Pair = 1,
):
    """Return the sparse matrix C of a convolution: `conv2d(x, w)` flattened is C @ x flattened.

    Its transpose is the transposed convolution, and also the gradient with respect to x
    (Dumoulin & Visin, chapter 4).

    Args:
        w: (kernel height, kernel width, in, out).
        input_shape: (height, width) of x.
        stride, padding, dilation: As for `conv2d`.

    Returns:
        scipy.sparse.csr_array of shape (out height · out width · out, height · width · in), rows
        and columns in the order of NHWC arrays.
    """
    from scipy import sparse

    height, width = input_shape
    inputs, outputs = w.shape[2:]
    # Convolving the numbers of the pixels, not their values, tells where each weight belongs.
    numbers = np.arange(1, height * width * inputs + 1).reshape(1, height, width, inputs)
    stride, dilation = _pair(stride), _pair(dilation)
    pads = _pads(padding, input_shape, w.shape[:2], stride, dilation)
    windows = _windows(np.pad(numbers, ((0, 0), *pads, (0, 0))), w.shape[:2], stride, dilation)
    columns = windows[0].transpose(0, 1, 3, 4, 2).reshape(-1, 1, w[..., 0].size)
    columns = np.repeat(columns, outputs, axis=1)
    rows = np.arange(columns.shape[0] * outputs).reshape(-1, outputs, 1)
    values = np.broadcast_to(w.reshape(-1, outputs).T, columns.shape)
    rows = np.broadcast_to(rows, columns.shape)
    real = columns > 0  # padding has the number 0
    shape = (columns.shape[0] * outputs, height * width * inputs)
    return sparse.csr_array((values[real], (rows[real], columns[real] - 1)), shape=shape)


def insert_zeros(x: np.ndarray, stride: Pair) -> np.ndarray:
    """Put stride - 1 zeros between neighboring pixels of NHWC images."""
    rows, columns = _pair(stride)
    batch, height, width, channels = x.shape
    spread = np.zeros(
        (batch, (height - 1) * rows + 1, (width - 1) * columns + 1, channels), x.dtype
    )
    spread[:, ::rows, ::columns] = x
    return spread


def receptive_field(stack: Sequence[tuple[int, int]] | Sequence[tuple[int, int, int]]):
    """Return how much of the input one output pixel sees, layer by layer.

    Args:
        stack: (kernel, stride) or (kernel, stride, dilation) of each layer, first layer first.
            Pooling counts like a convolution.

    Returns:
        One pair a layer: receptive field in input pixels, and jump, the distance in input pixels
        between the fields of neighboring outputs.
    """
    field, jump, pairs = 1, 1, []
    for k, s, *rest in stack:
        d = rest[0] if rest else 1
        _check(k=k, s=s, d=d)
        field += d * (k - 1) * jump
        jump *= s
        pairs.append((field, jump))
    return pairs


def parameter_count(kernel: Pair, inputs: int, outputs: int, bias: bool = True) -> int:
    """Return the number of weights of a convolution layer; the image's size does not matter."""
    height, width = _pair(kernel)
    return (height * width * inputs + bias) * outputs


def multiply_adds(kernel: Pair, inputs: int, outputs: int, output_shape: tuple[int, int]) -> int:
    """Return the number of multiplications that a convolution layer needs for one image."""
    height, width = _pair(kernel)
    return height * width * inputs * outputs * output_shape[0] * output_shape[1]


def _check(**values: int) -> None:
    names = {"i": "input size", "k": "kernel size", "s": "stride", "d": "dilation"}
    for name, value in values.items():
        if value < 1:
            raise InputError(f"{name}={value} is impossible; the {names[name]} is at least 1")


def _check_arrays(x: np.ndarray, w: np.ndarray) -> None:
    if np.ndim(x) != 4 or np.ndim(w) != 4:
        raise InputError(
            f"expected x (batch, height, width, channels) and w (height, width, in, out), "
            f"got {np.shape(x)} and {np.shape(w)}"
        )


def _pair(value: Pair) -> tuple[int, int]:
    return (value, value) if np.ndim(value) == 0 else tuple(value)


def _pads(padding: Padding, size, kernel, stride, dilation) -> list[tuple[int, int]]:
    """Turn any kind of padding into ((top, bottom), (left, right)), and check that it fits."""
    if isinstance(padding, str):
        if padding not in ("VALID", "SAME"):
            raise InputError(f"padding={padding!r} is not known; use VALID, SAME or numbers")
        pads = [
            same_padding(i, k, s, d) if padding == "SAME" else (0, 0)
            for i, k, s, d in zip(size, kernel, stride, dilation, strict=True)
        ]
    elif np.ndim(padding) == 0:
        pads = [(padding, padding)] * 2
    else:
        pads = [tuple(side) for side in padding]
    for i, k, s, d, (before, after) in zip(size, kernel, stride, dilation, pads, strict=True):
        if min(before, after) < 0:
            raise InputError(f"padding={padding!r} is impossible; zeros are 0 or more")
        output_size(i + before + after, k, s, 0, d)  # raises if the kernel does not fit
    return pads


def _windows(padded: np.ndarray, kernel, stride, dilation) -> np.ndarray:
    """Return all windows as a view (batch, rows, columns, channels, kernel h, kernel w)."""
    reach = [d * (k - 1) + 1 for k, d in zip(kernel, dilation, strict=True)]
    views = sliding_window_view(padded, reach, axis=(1, 2))
    return views[:, :: stride[0], :: stride[1], :, :: dilation[0], :: dilation[1]]


def _scatter(x, w, size, stride, pads, dilation) -> np.ndarray:
    """Add each pixel of x, times the kernel, to the place of its window; then cut the padding."""
    batch, height, width, _ = x.shape
    full = [side + sum(pad) for side, pad in zip(size, pads, strict=True)]
    result = np.zeros((batch, *full, w.shape[2]), np.result_type(x, w))
    for row in range(w.shape[0]):
        for column in range(w.shape[1]):
            top, left = row * dilation[0], column * dilation[1]
            result[
                :,
                top : top + stride[0] * height : stride[0],
                left : left + stride[1] * width : stride[1],
            ] += x @ w[row, column].T
    (top, _), (left, _) = pads
    return result[:, top : top + size[0], left : left + size[1]]


def _transposed_geometry(size, kernel, stride, padding, dilation, extra):
    """Return the output size of a transposed convolution and what it cuts off."""
    if padding == "SAME":
        output = [i * s for i, s in zip(size, stride, strict=True)]
        pads = [
            same_padding(o, k, s, d)
            for o, k, s, d in zip(output, kernel, stride, dilation, strict=True)
        ]
        return output, pads
    if isinstance(padding, str):
        # Without padding the direct convolution's kernels may leave gaps or overlap; TensorFlow
        # then makes the output at least stride × input.
        if padding != "VALID":
            raise InputError(f"padding={padding!r} is not known; use VALID, SAME or numbers")
        output = [
            max(transposed_output_size(i, k, s, 0, d, e), s * i if e == 0 else 0)
            for i, k, s, d, e in zip(size, kernel, stride, dilation, extra, strict=True)
        ]
        return output, [(0, 0), (0, 0)]
    pads = [(padding, padding)] * 2 if np.ndim(padding) == 0 else [tuple(p) for p in padding]
    output = []
    for i, k, s, d, e, (before, after) in zip(
        size, kernel, stride, dilation, extra, pads, strict=True
    ):
        full = transposed_output_size(i, k, s, 0, d, e)
        if full - before - after < 1:
            raise InputError(f"padding={padding!r} leaves nothing of the output; use less")
        output.append(full - before - after)
    return output, pads
