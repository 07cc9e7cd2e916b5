"""Convolution arithmetic: sizes, NumPy reference operators with gradients, the convolution matrix.

Sizes follow Dumoulin & Visin, "A guide to convolution arithmetic for deep learning", 2016
(arXiv:1603.07285). As in every deep learning library, "convolution" means cross-correlation: the
kernel is not flipped.

Images are NHWC. Kernels are laid out as in Keras: (height, width, in, out) for a convolution,
(height, width, out, in) for a transposed one, so that the array of a convolution serves its
transpose too. Every operator is one matrix product between two rearrangements: `_gather` copies
the windows into rows (im2col), `_scatter` adds rows back to where they came from (col2im).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from tutorial_lib.errors import InputError, check_whole_number

if TYPE_CHECKING:
    from scipy import sparse

Padding = str | int | Sequence
Pair = int | tuple[int, int]

MOST_VALUES = 2**30  # of the matrix of windows: eight gigabytes


def output_size(i: int, k: int, s: int = 1, p: int = 0, d: int = 1) -> int:
    """Return the output size of a convolution along one axis.

    o = ⌊(i + 2p - d (k - 1) - 1) / s⌋ + 1 (Dumoulin & Visin, relationship 15).

    Args:
        i: Input size.
        k: Kernel size.
        s: Stride.
        p: Zeros added at each end.
        d: Dilation: distance between neighboring kernel elements; 1 is an ordinary kernel.

    Raises:
        InputError: if a number is not whole, a size, stride or dilation is below 1, padding is
            negative, or the kernel does not fit.
    """
    i, k, s, p, d = _whole(i=i, k=k, s=s, p=p, d=d)
    effective = d * (k - 1) + 1
    if effective > i + 2 * p:
        raise InputError(
            f"a kernel of effective size {effective} does not fit into {i + 2 * p} pixels, padding "
            "included; use a larger input, more padding or a smaller kernel"
        )
    return (i + 2 * p - effective) // s + 1


def transposed_output_size(
    i: int, k: int, s: int = 1, p: int = 0, d: int = 1, output_padding: int = 0
) -> int:
    """Return the output size of a transposed convolution along one axis.

    o = s (i - 1) + d (k - 1) + 1 - 2p + output_padding. All parameters are those of the direct
    convolution that it is the transpose of: this o is an input size that the direct convolution
    maps to i. With stride s there are s of them; `output_padding` picks one.

    Raises:
        InputError: as `output_size`, or if the output padding is not between 0 and s - 1, or
            nothing would be left.
    """
    i, k, s, p, d, extra = _whole(i=i, k=k, s=s, p=p, d=d, output_padding=output_padding)
    if extra >= s:
        raise InputError(f"output_padding={extra} must lie between 0 and s - 1 = {s - 1}")
    size = s * (i - 1) + d * (k - 1) + 1 - 2 * p + extra
    if size < 1:
        raise InputError(f"with p={p} nothing is left of the output; use less padding")
    return size


def same_padding(i: int, k: int, s: int = 1, d: int = 1) -> tuple[int, int]:
    """Return the zeros (before, after) that TensorFlow's "SAME" adds along one axis.

    They make the output ⌈i / s⌉ long. If their number is odd, the extra zero goes to the end.
    Raises InputError if a size, stride or dilation is no whole number, or below 1.
    """
    i, k, s, d = _whole(i=i, k=k, s=s, d=d)
    total = max((-(-i // s) - 1) * s + d * (k - 1) + 1 - i, 0)
    return total // 2, total - total // 2


def conv2d(
    x: np.ndarray,
    w: np.ndarray,
    stride: Pair = 1,
    padding: Padding = "VALID",
    dilation: Pair = 1,
) -> np.ndarray:
    """Convolve images with kernels (cross-correlation, as in deep learning).

    Args:
        x: (batch, height, width, in).
        w: (kernel height, kernel width, in, out).
        stride, dilation: One number, or one for each axis.
        padding: "VALID", "SAME" with TensorFlow's rule, a number of zeros for all sides, or
            ((top, bottom), (left, right)).

    Returns:
        (batch, out height, out width, out), of the inputs' type; integers become int64.

    Raises:
        InputError: if shapes do not match or the kernel does not fit.
    """
    x, w = _checked(x, w)
    axes, shape = _axes(x, w, x.shape[1:3], stride, padding, dilation)
    # One matrix product: each row is a window, each column a kernel.
    return (_gather(x, axes) @ w.reshape(-1, w.shape[3])).reshape(shape)


def conv2d_grad(
    x: np.ndarray,
    w: np.ndarray,
    upstream: np.ndarray,
    stride: Pair = 1,
    padding: Padding = "VALID",
    dilation: Pair = 1,
) -> tuple[np.ndarray, np.ndarray]:
    """Return the gradients of `sum(upstream * conv2d(x, w))` with respect to x and to w.

    The first is a transposed convolution of `upstream`; the second correlates x with it. Raises
    InputError as `conv2d` does, or if `upstream` has not the shape of its result.
    """
    x, w = _checked(x, w)
    axes, shape = _axes(x, w, x.shape[1:3], stride, padding, dilation)
    if np.shape(upstream) != shape:
        raise InputError(
            f"upstream must have the shape of the result, {shape}, not {np.shape(upstream)}"
        )
    rows = _array("upstream", upstream).reshape(-1, shape[-1])
    to_x = _scatter(rows @ w.reshape(-1, w.shape[3]).T, axes, x.shape)
    return to_x, (_gather(x, axes).T @ rows).reshape(w.shape)


def conv2d_transpose(
    x: np.ndarray,
    w: np.ndarray,
    stride: Pair = 1,
    padding: Padding = "VALID",
    dilation: Pair = 1,
    output_padding: Pair | None = None,
) -> np.ndarray:
    """Apply the transpose of a convolution: each input pixel adds a scaled kernel to the output.

    Args:
        x: (batch, height, width, in).
        w: (kernel height, kernel width, out, in).
        stride, dilation: Those of the direct convolution.
        padding: That of the direct convolution, as for `conv2d`; it is cropped.
        output_padding: Rows and columns added at the end, fewer than the stride. By default as in
            Keras: "SAME" makes the output stride × input, "VALID" at least that, and numbers of
            zeros add nothing.

    Returns:
        (batch, out height, out width, out).

    Raises:
        InputError: if shapes do not match, nothing would be left, or the direct convolution
            would not map the output's size back to the input's.
    """
    x, w = _checked(x, w, transposed=True)
    extras = (None, None) if output_padding is None else _pair(output_padding=output_padding)
    pairs = _pair(s=stride), _pair(d=dilation), _paddings(padding), extras
    geometry = zip(x.shape[1:3], w.shape[:2], *pairs, strict=True)
    size = [_transposed_size(*axis) for axis in geometry]
    axes, _ = _axes(x, w, size, stride, padding, dilation)
    rows = x.reshape(-1, x.shape[3]) @ w.reshape(-1, w.shape[3]).T
    return _scatter(rows, axes, (len(x), *size, w.shape[2]))


def convolution_matrix(
    w: np.ndarray,
    input_shape: tuple[int, int],
    stride: Pair = 1,
    padding: Padding = "VALID",
    dilation: Pair = 1,
) -> sparse.csr_array:
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

    Raises:
        InputError: as `conv2d`.
    """
    from scipy import sparse

    height, width = _pair(i=input_shape)
    if height * width > MOST_VALUES:
        raise InputError(f"input_shape={input_shape} is too large; take a smaller image")
    w = _array("w", w)
    inputs = w.shape[2] if w.ndim == 4 else 1
    # Gathering the numbers of the pixels, not their values, tells where each weight belongs.
    numbers = np.arange(1, height * width * inputs + 1).reshape(1, height, width, inputs)
    numbers, w = _checked(numbers, w)
    axes, shape = _axes(numbers, w, (height, width), stride, padding, dilation)
    size = math.prod(shape), numbers.size
    columns = _gather(numbers, axes)[..., None]  # (windows, weights, 1)
    rows = np.arange(size[0]).reshape(-1, 1, w.shape[3])  # (windows, 1, channels)
    columns, values, rows = np.broadcast_arrays(columns, w.reshape(-1, w.shape[3]), rows)
    real = columns > 0  # padding has the number 0
    return sparse.csr_array((values[real], (rows[real], columns[real] - 1)), shape=size)


def insert_zeros(x: np.ndarray, stride: Pair) -> np.ndarray:
    """Put stride - 1 zeros between neighboring pixels of NHWC images.

    Raises InputError if x is no batch of images, or a stride is no whole number, or below 1.
    """
    x, (down, across) = _array("x", x), _pair(s=stride)
    if x.ndim != 4 or not x.size:
        raise InputError(f"expected x (batch, height, width, channels), got {x.shape}")
    batch, height, width, channels = x.shape
    shape = (batch, (height - 1) * down + 1, (width - 1) * across + 1, channels)
    if math.prod(shape) > MOST_VALUES:
        raise InputError(f"the result {shape} is too large; use a smaller image or stride")
    spread = np.zeros(shape, x.dtype)
    spread[:, ::down, ::across] = x
    return spread


def receptive_field(stack: Sequence[tuple[int, ...]]) -> list[tuple[int, int]]:
    """Return the receptive field and the cumulative stride of each layer, in input pixels.

    The stack has (kernel, stride) or (kernel, stride, dilation) of each layer, first layer first;
    pooling counts like a convolution. The cumulative stride is the distance between the receptive
    fields of neighboring outputs. Raises InputError if a layer is no such tuple, or a number is no
    whole number, or below 1.
    """
    if not isinstance(stack, Sequence):
        raise InputError(f"expected the layers (kernel, stride), got {stack!r}")
    field, cumulative_stride, pairs = 1, 1, []
    for layer in stack:
        if not isinstance(layer, Sequence) or len(layer) not in (2, 3):
            raise InputError(f"expected (kernel, stride) or (kernel, stride, dilation): {layer!r}")
        k, s, d = _whole(**dict(zip("ksd", (*layer, 1), strict=False)))
        field += d * (k - 1) * cumulative_stride
        cumulative_stride *= s
        pairs.append((field, cumulative_stride))
    return pairs


class _Axis(NamedTuple):
    """How the windows lie along one axis of the direct convolution."""

    size: int  # of the input
    kernel: int
    stride: int
    dilation: int
    before: int  # zeros added at the start
    after: int
    windows: int

    @property
    def padded(self) -> int:
        return self.before + self.size + self.after

    def cells(self, offset: int) -> slice:
        """Return the places of kernel element `offset` in all windows, in the padded input."""
        start = offset * self.dilation
        return slice(start, start + self.stride * (self.windows - 1) + 1, self.stride)


def _gather(x: np.ndarray, axes: Sequence[_Axis]) -> np.ndarray:
    """Copy all windows of NHWC images into rows: (windows, kernel h · kernel w · in).

    The literature calls this im2col.
    """
    rows, columns = axes
    pads = [(axis.before, axis.after) for axis in axes]
    padded = np.pad(x, ((0, 0), *pads, (0, 0)))
    effective = [axis.dilation * (axis.kernel - 1) + 1 for axis in axes]
    views = sliding_window_view(padded, effective, axis=(1, 2))
    views = views[:, :: rows.stride, :: columns.stride, :, :: rows.dilation, :: columns.dilation]
    return views.transpose(0, 1, 2, 4, 5, 3).reshape(math.prod(views.shape[:3]), -1)


def _scatter(rows: np.ndarray, axes: Sequence[_Axis], shape: Sequence[int]) -> np.ndarray:
    """Add rows of windows to where `_gather` takes them from; its adjoint, known as col2im.

    The result are images of `shape`, NHWC, without the padding.
    """
    batch, height, width, channels = shape
    down, across = axes
    parts = rows.reshape(batch, down.windows, across.windows, down.kernel, across.kernel, channels)
    parts = parts.transpose(3, 4, 0, 1, 2, 5)
    padded = np.zeros((batch, down.padded, across.padded, channels), rows.dtype)
    for row, column in np.ndindex(down.kernel, across.kernel):
        padded[:, down.cells(row), across.cells(column)] += parts[row, column]
    return padded[:, down.before :, across.before :][:, :height, :width]


def _axes(x, w, size, stride, padding, dilation):
    """Return the axes of a convolution over images of (height, width), and its result's shape.

    Raises InputError if the windows or the padded images have too many values.
    """
    axes = []
    pairs = _pair(s=stride), _pair(d=dilation), _paddings(padding)
    for i, k, s, d, pad in zip(size, w.shape[:2], *pairs, strict=True):
        zeros = {"SAME": same_padding(i, k, s, d), "VALID": (0, 0)}
        before, after = zeros[pad] if isinstance(pad, str) else pad
        windows = output_size(i + before + after, k, s, 0, d)  # raises if the kernel does not fit
        axes.append(_Axis(i, k, s, d, before, after, windows))
    values = max(
        math.prod(axis.windows * axis.kernel for axis in axes),
        math.prod(axis.padded for axis in axes),
    )
    if len(x) * w.shape[2] * values > MOST_VALUES:
        raise InputError(f"more than {MOST_VALUES:,} values; use a smaller image or less padding")
    return axes, (len(x), axes[0].windows, axes[1].windows, w.shape[3])


def _transposed_size(i: int, k: int, s: int, d: int, pad, extra: int | None) -> int:
    """Return the output size of a transposed convolution along one axis, for any padding."""
    if pad == "SAME":
        size = i * s if extra is None else (i - 1) * s + (d * (k - 1) + 1) % 2 + extra
        if -(-size // s) != i:
            raise InputError(
                f"a SAME convolution with stride {s} does not map {size} pixels to {i}; "
                "choose another output_padding, or none"
            )
        return size
    size = transposed_output_size(i, k, s, 0, d, extra or 0)
    if pad == "VALID":
        # Kernels smaller than the stride leave gaps; Keras keeps the one after the last kernel.
        return max(size, s * i) if extra is None else size
    if size <= sum(pad):
        raise InputError(f"padding={pad} leaves nothing of the output; use less")
    return size - sum(pad)


def _paddings(padding: Padding) -> list:
    """Return "VALID", "SAME" or (before, after) for each of the two axes."""
    if isinstance(padding, str):
        if padding.upper() not in ("VALID", "SAME"):
            raise InputError(f"padding={padding!r} is not known; use VALID, SAME or numbers")
        return [padding.upper()] * 2
    if not isinstance(padding, Sequence):
        return [_pair(p=padding)] * 2
    if len(padding) != 2 or not all(isinstance(side, Sequence) for side in padding):
        raise InputError(f"padding={padding!r} must be a number or ((top, bottom), (left, right))")
    return [_pair(p=side) for side in padding]


def _whole(**values: int) -> list[int]:
    """Return sizes, strides and the like, from 1 on, and paddings, from 0 on, as ints."""
    return [
        check_whole_number(name, value, 0 if name in ("p", "output_padding") else 1)
        for name, value in values.items()
    ]


def _pair(**values: Pair) -> list[int]:
    """Return one number, or one for each of two axes, as two ints."""
    ((name, value),) = values.items()
    both = list(value) if isinstance(value, (Sequence, np.ndarray)) else [value, value]
    if len(both) != 2:
        raise InputError(f"expected one number, or one for each of two axes, got {value!r}")
    return [_whole(**{name: side})[0] for side in both]


def _array(name: str, values) -> np.ndarray:
    """Return an array of numbers."""
    try:
        array = np.asarray(values)
    except ValueError:
        array = np.asarray(None)
    if array.dtype.kind not in "iubf":
        raise InputError(f"{name} must be an array of numbers")
    return array


def _checked(x, w, transposed: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Return images and kernels as arrays that match, small integers as int64.

    Sums of products of uint8 pixels would overflow without a warning.
    """
    x, w = _array("x", x), _array("w", w)
    order = "out, in" if transposed else "in, out"
    if x.ndim != 4 or w.ndim != 4 or not x.size or not w.size:
        raise InputError(
            f"expected x (batch, height, width, channels) and w (height, width, {order}), "
            f"got {x.shape} and {w.shape}"
        )
    channels = w.shape[3] if transposed else w.shape[2]
    if x.shape[3] != channels:
        raise InputError(f"x has {x.shape[3]} channels, but w is made for {channels}")
    if np.result_type(x, w).kind in "iub":
        return x.astype(np.int64), w.astype(np.int64)
    return x, w
