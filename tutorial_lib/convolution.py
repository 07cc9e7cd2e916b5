"""Convolution arithmetic: sizes, NumPy reference operators with gradients, the matrix.

Sizes follow Dumoulin & Visin, "A guide to convolution arithmetic for deep learning", 2016
(arXiv:1603.07285). As in every deep learning library, "convolution" means cross-correlation: the
kernel is not flipped.

Images are NHWC. Kernels are laid out as in Keras: (height, width, in, out) for a convolution,
(height, width, out, in) for a transposed one, so that the very array of a convolution serves its
transpose. Every operator is one product of matrices between two moves of data: `_gather` lays the
windows out as rows (im2col), `_scatter` adds rows back to where they came from (col2im).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

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
            f"a kernel that reaches over {reach} pixels does not fit into {i + 2 * p} pixels, "
            "padding included; use a larger input, more padding or a smaller kernel"
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
    x: np.ndarray,
    w: np.ndarray,
    stride: Pair = 1,
    padding: Padding = "VALID",
    dilation: Pair = 1,
    groups: int = 1,
) -> np.ndarray:
    """Convolve images with kernels (cross-correlation, as in deep learning).

    Args:
        x: (batch, height, width, in).
        w: (kernel height, kernel width, in / groups, out).
        stride, dilation: One number, or one for each axis.
        padding: "VALID", "SAME" with TensorFlow's rule, a number of zeros for all sides, or
            ((top, bottom), (left, right)).
        groups: The channels are cut into so many parts, and each part of the output reads only
            its part of the input. With as many groups as channels: a depthwise convolution.

    Returns:
        (batch, out height, out width, out), of the inputs' type.

    Raises:
        InputError: if shapes do not match or the kernel does not fit.
    """
    _check_arrays(x, w, groups)
    axes, shape = _direct_axes(x, w, stride, padding, dilation)
    # One product of matrices: each row a window, each column a kernel.
    return _as_maps(_gather(x, axes, groups) @ _as_matrix(w, groups), shape)


def conv2d_grad(
    x: np.ndarray,
    w: np.ndarray,
    upstream: np.ndarray,
    stride: Pair = 1,
    padding: Padding = "VALID",
    dilation: Pair = 1,
    groups: int = 1,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the gradients of `sum(upstream * conv2d(x, w))` with respect to x and to w.

    The first is a transposed convolution of `upstream`; the second correlates x with it.

    Raises:
        InputError: as `conv2d`, or if `upstream` has not the shape of its result.
    """
    _check_arrays(x, w, groups)
    axes, shape = _direct_axes(x, w, stride, padding, dilation)
    _check_upstream(upstream, (*shape, w.shape[-1]))
    rows = _as_rows(upstream, groups)
    to_x = _scatter(rows @ _as_matrix(w, groups).mT, axes, x.shape)
    to_w = _gather(x, axes, groups).mT @ rows
    return to_x, _as_kernels(to_w, w.shape)


def conv2d_transpose(
    x: np.ndarray,
    w: np.ndarray,
    stride: Pair = 1,
    padding: Padding = "VALID",
    dilation: Pair = 1,
    output_padding: Pair | None = None,
    groups: int = 1,
) -> np.ndarray:
    """Apply the transpose of a convolution: each input pixel stamps a scaled kernel.

    Args:
        x: (batch, height, width, in).
        w: (kernel height, kernel width, out / groups, in).
        stride, dilation, groups: Those of the direct convolution.
        padding: As for `conv2d`, meant for the direct convolution: what it would have added is
            cut off.
        output_padding: Rows and columns added at the end, below the stride. By default as in
            Keras: "SAME" makes the output stride × input, "VALID" at least that, and numbers of
            zeros add nothing.

    Returns:
        (batch, out height, out width, out).

    Raises:
        InputError: if shapes do not match, nothing would be left, or the direct convolution
            would not map the output's size back to the input's.
    """
    _check_arrays(x, w, groups, transposed=True)
    axes, shape = _transposed_axes(x, w, stride, padding, dilation, output_padding, groups)
    return _scatter(_as_rows(x, groups) @ _as_matrix(w, groups).mT, axes, shape)


def conv2d_transpose_grad(
    x: np.ndarray,
    w: np.ndarray,
    upstream: np.ndarray,
    stride: Pair = 1,
    padding: Padding = "VALID",
    dilation: Pair = 1,
    output_padding: Pair | None = None,
    groups: int = 1,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the gradients of `sum(upstream * conv2d_transpose(x, w))` with respect to x and w.

    The first is the direct convolution of `upstream`: transposing twice changes nothing.

    Raises:
        InputError: as `conv2d_transpose`, or if `upstream` has not the shape of its result.
    """
    _check_arrays(x, w, groups, transposed=True)
    axes, shape = _transposed_axes(x, w, stride, padding, dilation, output_padding, groups)
    _check_upstream(upstream, shape)
    windows = _gather(upstream, axes, groups)
    to_x = _as_maps(windows @ _as_matrix(w, groups), x.shape[:3])
    return to_x, _as_kernels(windows.mT @ _as_rows(x, groups), w.shape)


def convolution_matrix(
    w: np.ndarray,
    input_shape: tuple[int, int],
    stride: Pair = 1,
    padding: Padding = "VALID",
    dilation: Pair = 1,
    groups: int = 1,
):
    """Return the sparse matrix C of a convolution: `conv2d(x, w)` flattened is C @ x flattened.

    Its transpose is the transposed convolution, and also the gradient with respect to x
    (Dumoulin & Visin, chapter 4).

    Args:
        w: (kernel height, kernel width, in / groups, out).
        input_shape: (height, width) of x.
        stride, padding, dilation, groups: As for `conv2d`.

    Returns:
        scipy.sparse.csr_array of shape (out height · out width · out, height · width · in), rows
        and columns in the order of NHWC arrays.

    Raises:
        InputError: as `conv2d`.
    """
    from scipy import sparse

    inputs, outputs = w.shape[2] * groups, w.shape[3]
    # Gathering the numbers of the pixels, not their values, tells where each weight belongs.
    numbers = np.arange(1, math.prod(input_shape) * inputs + 1).reshape(1, *input_shape, inputs)
    _check_arrays(numbers, w, groups)
    axes, shape = _direct_axes(numbers, w, stride, padding, dilation)
    columns = _gather(numbers, axes, groups)[..., None]  # (groups, windows, weights, 1)
    values = _as_matrix(w, groups)[:, None]  # (groups, 1, weights, outputs of the group)
    windows, channels = np.arange(math.prod(shape)), np.arange(outputs)
    rows = windows[:, None, None] * outputs + channels.reshape(groups, 1, 1, -1)
    columns, values, rows = np.broadcast_arrays(columns, values, rows)
    real = columns > 0  # padding has the number 0
    size = (len(windows) * outputs, numbers.size)
    return sparse.csr_array((values[real], (rows[real], columns[real] - 1)), shape=size)


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

    Raises:
        InputError: if a size, stride or dilation is below 1.
    """
    field, jump, pairs = 1, 1, []
    for k, s, *rest in stack:
        d = rest[0] if rest else 1
        _check(k=k, s=s, d=d)
        field += d * (k - 1) * jump
        jump *= s
        pairs.append((field, jump))
    return pairs


def parameter_count(
    kernel: Pair, inputs: int, outputs: int, bias: bool = True, groups: int = 1
) -> int:
    """Return the number of weights of a convolution layer; the image's size does not matter."""
    height, width = _pair(kernel)
    return (height * width * (inputs // groups) + bias) * outputs


def multiply_adds(
    kernel: Pair, inputs: int, outputs: int, output_shape: tuple[int, int], groups: int = 1
) -> int:
    """Return the number of multiplications that a convolution layer needs for one image.

    Args:
        kernel: Side of the kernel, or (height, width).
        inputs, outputs, groups: Channels, and the parts that they are cut into.
        output_shape: (height, width) of the layer's output.
    """
    weights = parameter_count(kernel, inputs, outputs, bias=False, groups=groups)
    return weights * math.prod(output_shape)


class _Axis(NamedTuple):
    """How windows lie along one axis of the direct convolution."""

    kernel: int
    stride: int
    dilation: int
    before: int  # zeros added at the start
    after: int
    windows: int

    def cells(self, offset: int) -> slice:
        """Return the places of kernel cell `offset` in all windows, in the padded input."""
        start = offset * self.dilation
        return slice(start, start + self.stride * (self.windows - 1) + 1, self.stride)


def _gather(x: np.ndarray, axes: Sequence[_Axis], groups: int) -> np.ndarray:
    """Copy all windows of NHWC images into rows: (groups, windows, kernel h · kernel w · in).

    This is what the literature calls im2col.
    """
    pads = [(axis.before, axis.after) for axis in axes]
    padded = np.pad(x, ((0, 0), *pads, (0, 0)))
    reach = [axis.dilation * (axis.kernel - 1) + 1 for axis in axes]
    views = sliding_window_view(padded, reach, axis=(1, 2))
    (rows, columns) = axes
    views = views[:, :: rows.stride, :: columns.stride, :, :: rows.dilation, :: columns.dilation]
    # Output padding can make room for one more window, which no input pixel belongs to.
    views = views[:, : rows.windows, : columns.windows]
    parts = views.reshape(*views.shape[:3], groups, x.shape[3] // groups, *views.shape[4:])
    parts = parts.transpose(3, 0, 1, 2, 5, 6, 4)
    return parts.reshape(groups, math.prod(parts.shape[1:4]), math.prod(parts.shape[4:]))


def _scatter(rows: np.ndarray, axes: Sequence[_Axis], shape: Sequence[int]) -> np.ndarray:
    """Add rows of windows to where `_gather` takes them from; its adjoint, known as col2im.

    Returns:
        Images of `shape`, NHWC, without the padding.
    """
    batch, height, width, channels = shape
    down, across = axes
    groups = len(rows)
    parts = rows.reshape(
        groups, batch, down.windows, across.windows, down.kernel, across.kernel, channels // groups
    )
    parts = parts.transpose(4, 5, 1, 2, 3, 0, 6)
    parts = parts.reshape(*parts.shape[:5], channels)
    padded = np.zeros(
        (batch, down.before + height + down.after, across.before + width + across.after, channels),
        rows.dtype,
    )
    for row, column in np.ndindex(down.kernel, across.kernel):
        padded[:, down.cells(row), across.cells(column)] += parts[row, column]
    return padded[:, down.before :, across.before :][:, :height, :width]


def _as_matrix(w: np.ndarray, groups: int) -> np.ndarray:
    """Return kernels as columns: (groups, kernel h · kernel w · in, out of the group)."""
    return w.reshape(-1, groups, w.shape[3] // groups).transpose(1, 0, 2)


def _as_kernels(matrix: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Undo `_as_matrix`."""
    return matrix.transpose(1, 0, 2).reshape(shape)


def _as_rows(maps: np.ndarray, groups: int) -> np.ndarray:
    """Return the pixels of NHWC maps as rows: (groups, pixels, channels of the group)."""
    return maps.reshape(-1, groups, maps.shape[3] // groups).transpose(1, 0, 2)


def _as_maps(rows: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Undo `_as_rows` for maps of `shape` (batch, height, width)."""
    return rows.transpose(1, 0, 2).reshape(*shape, -1)


def _direct_axes(x, w, stride, padding, dilation):
    """Return the two axes of a convolution, and (batch, out height, out width)."""
    axes = []
    for i, k, s, d, pad in zip(
        x.shape[1:3], w.shape[:2], _pair(stride), _pair(dilation), _sides(padding), strict=True
    ):
        before, after = _zeros(pad, i, k, s, d)
        windows = output_size(i + before + after, k, s, 0, d)  # raises if the kernel does not fit
        axes.append(_Axis(k, s, d, before, after, windows))
    return axes, (len(x), axes[0].windows, axes[1].windows)


def _transposed_axes(x, w, stride, padding, dilation, output_padding, groups):
    """Return the axes of the direct convolution, and the shape of the transposed one's output."""
    axes, sizes = [], []
    extras = (None, None) if output_padding is None else _pair(output_padding)
    for i, k, s, d, pad, extra in zip(
        x.shape[1:3],
        w.shape[:2],
        _pair(stride),
        _pair(dilation),
        _sides(padding),
        extras,
        strict=True,
    ):
        size = _transposed_size(i, k, s, d, pad, extra)
        before, after = _zeros(pad, size, k, s, d)
        axes.append(_Axis(k, s, d, before, after, i))
        sizes.append(size)
    return axes, (len(x), *sizes, w.shape[2] * groups)


def _transposed_size(i: int, k: int, s: int, d: int, pad, extra: int | None) -> int:
    """Return the output size of a transposed convolution along one axis, for any padding."""
    reach = d * (k - 1) + 1
    if pad == "SAME":
        size = i * s if extra is None else (i - 1) * s + reach % 2 + extra
        if -(-size // s) != i:
            raise InputError(
                f"a SAME convolution with stride {s} does not map {size} pixels to {i}; "
                "choose another output_padding, or none"
            )
        return size
    if pad == "VALID":
        size = transposed_output_size(i, k, s, 0, d, extra or 0)
        # Kernels smaller than the stride leave gaps; Keras keeps the one after the last kernel.
        return max(size, s * i) if extra is None else size
    size = transposed_output_size(i, k, s, 0, d, extra or 0) - sum(pad)
    if size < 1:
        raise InputError(f"padding={pad} leaves nothing of the output; use less")
    return size


def _sides(padding: Padding) -> list:
    """Return "VALID", "SAME" or (before, after) for each of the two axes."""
    if isinstance(padding, str):
        if padding.upper() not in ("VALID", "SAME"):
            raise InputError(f"padding={padding!r} is not known; use VALID, SAME or numbers")
        return [padding.upper()] * 2
    if np.ndim(padding) == 0:
        sides = [(padding, padding)] * 2
    elif np.shape(padding) == (2, 2):
        sides = [tuple(side) for side in padding]
    else:
        raise InputError(f"padding={padding!r} must be a number or ((top, bottom), (left, right))")
    if min(min(side) for side in sides) < 0:
        raise InputError(f"padding={padding!r} is impossible; zeros are 0 or more")
    return sides


def _zeros(pad, i: int, k: int, s: int, d: int) -> tuple[int, int]:
    """Return the zeros (before, after) along one axis; `pad` as `_sides` returns it."""
    if pad == "SAME":
        return same_padding(i, k, s, d)
    return (0, 0) if pad == "VALID" else pad


def _check(**values: int) -> None:
    names = {"i": "input size", "k": "kernel size", "s": "stride", "d": "dilation"}
    for name, value in values.items():
        if value != int(value) or value < 1:
            raise InputError(
                f"{name}={value} is impossible; the {names[name]} is a whole number, at least 1"
            )


def _check_arrays(x: np.ndarray, w: np.ndarray, groups: int, transposed: bool = False) -> None:
    if np.ndim(x) != 4 or np.ndim(w) != 4:
        raise InputError(
            f"expected x (batch, height, width, channels) and w (height, width, in, out), "
            f"got {np.shape(x)} and {np.shape(w)}"
        )
    if groups < 1 or w.shape[3] % groups:
        raise InputError(f"groups={groups} must divide the {w.shape[3]} channels of the last axis")
    channels = w.shape[3] if transposed else w.shape[2] * groups
    if x.shape[3] != channels:
        raise InputError(f"x has {x.shape[3]} channels, but w is made for {channels}")


def _check_upstream(upstream: np.ndarray, shape: Sequence[int]) -> None:
    if np.shape(upstream) != tuple(shape):
        raise InputError(
            f"upstream must have the shape of the result, {tuple(shape)}, not {np.shape(upstream)}"
        )


def _pair(value: Pair) -> tuple[int, int]:
    return (value, value) if np.ndim(value) == 0 else tuple(value)
