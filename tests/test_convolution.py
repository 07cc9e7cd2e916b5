"""The NumPy reference operators against TensorFlow's, and against their own definitions."""

import numpy as np
import pytest
from helpers import one_line
from hypothesis import assume, given, reject, settings
from hypothesis import strategies as st

from tutorial_lib import convolution as conv
from tutorial_lib.errors import InputError

# Dumoulin & Visin's animations: name, i, o, p, k, s, d of the direct convolution.
GUIDE = [
    ("no_padding_no_strides", 4, 2, 0, 3, 1, 1),
    ("arbitrary_padding_no_strides", 5, 6, 2, 4, 1, 1),
    ("same_padding_no_strides", 5, 5, 1, 3, 1, 1),
    ("full_padding_no_strides", 5, 7, 2, 3, 1, 1),
    ("no_padding_strides", 5, 2, 0, 3, 2, 1),
    ("padding_strides", 5, 3, 1, 3, 2, 1),
    ("padding_strides_odd", 6, 3, 1, 3, 2, 1),
    ("dilation", 7, 3, 0, 3, 1, 2),
    ("numerical_no_padding_no_strides", 5, 3, 0, 3, 1, 1),  # and both poolings
]


@pytest.mark.parametrize(("name", "i", "o", "p", "k", "s", "d"), GUIDE)
def test_sizes_of_the_guide(name, i, o, p, k, s, d):
    assert conv.output_size(i, k, s, p, d) == o
    x, w = np.ones((1, i, i, 1)), np.ones((k, k, 1, 1))
    assert conv.conv2d(x, w, s, p, d).shape == (1, o, o, 1)


@pytest.mark.parametrize(("name", "i", "o", "p", "k", "s", "d"), GUIDE[:7])
def test_transposed_sizes_of_the_guide(name, i, o, p, k, s, d):
    extra = (i + 2 * p - k) % s
    assert conv.transposed_output_size(o, k, s, p, d, extra) == i
    x, w = np.ones((1, o, o, 1)), np.ones((k, k, 1, 1))
    assert conv.conv2d_transpose(x, w, s, p, d, extra).shape == (1, i, i, 1)


small = st.integers(1, 3)
seeds = st.integers(0, 2**32 - 1)
many = settings(max_examples=250, deadline=None)


def pairs(numbers):
    return st.tuples(numbers, numbers)


@st.composite
def geometries(draw):
    """Draw the kernel size, and the keyword arguments stride, padding and dilation."""
    zeros = st.integers(0, 3)
    padding = st.sampled_from(["VALID", "SAME"]) | zeros | pairs(pairs(zeros))
    return draw(pairs(st.integers(1, 4))), {
        "stride": draw(pairs(small)),
        "padding": draw(padding),
        "dilation": draw(pairs(small)),
    }


@st.composite
def direct_cases(draw):
    """Draw (x, w, arguments) of a convolution that is possible."""
    kernel, arguments = draw(geometries())
    size = draw(pairs(st.integers(1, 9)))
    rng = np.random.default_rng(draw(seeds))
    x = rng.normal(size=(draw(small), *size, draw(small)))
    w = rng.normal(size=(*kernel, x.shape[3], draw(small)))
    try:
        conv.conv2d(x, w, **arguments)
    except InputError:
        reject()
    return x, w, arguments


@st.composite
def transposed_cases(draw):
    """Draw (x, w, arguments) of a transposed convolution that is possible."""
    kernel, arguments = draw(geometries())
    extras = st.tuples(*(st.integers(0, stride - 1) for stride in arguments["stride"]))
    arguments["output_padding"] = draw(st.none() | extras)
    size = draw(pairs(st.integers(1, 5)))
    rng = np.random.default_rng(draw(seeds))
    x = rng.normal(size=(draw(small), *size, draw(small)))
    w = rng.normal(size=(*kernel, draw(small), x.shape[3]))
    try:
        conv.conv2d_transpose(x, w, **arguments)
    except InputError:
        reject()
    return x, w, arguments


def by_tensorflow(x, w, stride, padding, dilation):
    """Convolve with tf.nn.conv2d, whose CPU gradients do not know dilation.

    So the kernel's holes are written as zeros.
    """
    import tensorflow as tf

    for axis, d in enumerate(dilation):
        holes = tf.zeros((*w.shape[: axis + 1], d - 1, *w.shape[axis + 1 :]), w.dtype)
        spread = tf.concat([tf.expand_dims(w, axis + 1), holes], axis + 1)
        k = w.shape[axis]
        spread = tf.reshape(spread, (*w.shape[:axis], k * d, *w.shape[axis + 1 :]))
        w = tf.gather(spread, range(k * d - d + 1), axis=axis)
    if not isinstance(padding, str):
        sides = [(padding, padding)] * 2 if isinstance(padding, int) else padding
        x, padding = tf.pad(x, [(0, 0), *sides, (0, 0)]), "VALID"
    return tf.nn.conv2d(x, w, stride, padding)


@many
@given(direct_cases())
def test_convolution_and_both_gradients_equal_tensorflow(case):
    import tensorflow as tf

    x, w, arguments = case
    tx, tw = tf.constant(x), tf.constant(w)
    with tf.GradientTape() as tape:
        tape.watch([tx, tw])
        y = by_tensorflow(tx, tw, **arguments)
    ours = conv.conv2d(x, w, **arguments)
    np.testing.assert_allclose(ours, y, atol=1e-10)
    upstream = np.random.default_rng(0).normal(size=ours.shape)
    gradients = conv.conv2d_grad(x, w, upstream, **arguments)
    expected = tape.gradient(y, [tx, tw], output_gradients=tf.constant(upstream))
    for gradient, reference in zip(gradients, expected, strict=True):
        np.testing.assert_allclose(gradient, reference, atol=1e-10)


@many
@given(transposed_cases())
def test_transposed_convolution_equals_tensorflow(case):
    # The transposed convolution is the gradient of the direct one, TensorFlow's own, too.
    import tensorflow as tf

    x, w, arguments = case
    ours = conv.conv2d_transpose(x, w, **arguments)
    tx, tw = tf.constant(x), tf.constant(w)
    direct = {name: arguments[name] for name in ("stride", "padding", "dilation")}
    with tf.GradientTape() as tape:
        image = tf.zeros(ours.shape, tf.float64)
        tape.watch(image)
        down = by_tensorflow(image, tw, **direct)[:, : x.shape[1], : x.shape[2]]
    expected = tape.gradient(down, image, output_gradients=tx)
    np.testing.assert_allclose(ours, expected, atol=1e-10)


@many
@given(direct_cases())
def test_the_matrix_computes_the_convolution_and_its_gradient(case):
    x, w, arguments = case
    x = x[:1]
    y = conv.conv2d(x, w, **arguments)
    matrix = conv.convolution_matrix(w, x.shape[1:3], **arguments)
    assert matrix.shape == (y.size, x.size)
    np.testing.assert_allclose(matrix @ x.ravel(), y.ravel(), atol=1e-10)
    to_x, _ = conv.conv2d_grad(x, w, y, **arguments)
    np.testing.assert_allclose(matrix.T @ y.ravel(), to_x.ravel(), atol=1e-10)


@many
@given(st.integers(1, 12), st.integers(1, 4), small, st.integers(0, 3), small)
def test_sizes_go_down_and_up_again(i, k, s, p, d):
    assume(i + 2 * p >= d * (k - 1) + 1)
    o = conv.output_size(i, k, s, p, d)
    forgotten = (i + 2 * p - d * (k - 1) - 1) % s  # what the floor of the formula lost
    assert conv.transposed_output_size(o, k, s, p, d, forgotten) == i


@many
@given(seeds, st.integers(1, 6), st.integers(1, 4), small)
def test_it_is_also_a_convolution_over_inserted_zeros(seed, i, k, s):
    rng = np.random.default_rng(seed)
    x, w = rng.normal(size=(1, i, i, 1)), rng.normal(size=(k, k, 1, 1))
    flipped = w[::-1, ::-1].transpose(0, 1, 3, 2)
    expected = conv.conv2d(conv.insert_zeros(x, s), flipped, 1, k - 1)
    np.testing.assert_allclose(conv.conv2d_transpose(x, w, s, 0), expected, atol=1e-10)


def test_bytes_do_not_overflow():
    x, w = np.full((1, 3, 3, 1), 200, np.uint8), np.full((3, 3, 1, 1), 200, np.uint8)
    assert conv.conv2d(x, w).item() == 9 * 200 * 200
    assert conv.conv2d_transpose(x, w)[0, 2, 2, 0] == 9 * 200 * 200
    small = (np.uint8(250), np.uint8(3))
    assert conv.output_size(*small, p=np.uint8(10)) == 268


BAD = [float("nan"), 2.0, True, "2", None, -1, 10**10, 10**5000, [1], {}]
IMAGE, KERNEL = np.ones((1, 4, 4, 1)), np.ones((2, 2, 1, 1))


@pytest.mark.parametrize("bad", BAD, ids=range(len(BAD)))
@pytest.mark.parametrize(
    "call",
    [
        lambda bad: conv.output_size(bad, 3),
        lambda bad: conv.transposed_output_size(3, bad),
        lambda bad: conv.transposed_output_size(3, 3, 2, output_padding=bad),
        lambda bad: conv.same_padding(5, 3, bad),
        lambda bad: conv.conv2d(IMAGE, KERNEL, bad),
        lambda bad: conv.conv2d(IMAGE, KERNEL, padding=bad),
        lambda bad: conv.conv2d(IMAGE, KERNEL, padding=((bad, 0), (0, 0))),
        lambda bad: conv.conv2d_grad(IMAGE, KERNEL, IMAGE[:, 1:, 1:], dilation=bad),
        lambda bad: conv.conv2d_transpose(IMAGE, KERNEL, bad),
        lambda bad: conv.convolution_matrix(KERNEL, (bad, 5)),
        lambda bad: conv.convolution_matrix(KERNEL, bad),
        lambda bad: conv.convolution_matrix(bad, (5, 5)),
        lambda bad: conv.insert_zeros(IMAGE, bad),
        lambda bad: conv.insert_zeros(bad, 2),
        lambda bad: conv.receptive_field([(3, bad)]),
        lambda bad: conv.receptive_field([(3,), bad]),
        lambda bad: conv.conv2d(bad, KERNEL),
    ],
)
def test_impossible_arguments_are_one_line(call, bad):
    with pytest.raises(InputError) as caught:
        call(bad)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 200


def test_same_padding_puts_the_odd_zero_at_the_end():
    assert conv.same_padding(6, 3, 2) == (0, 1)
    assert conv.same_padding(5, 3, 2) == (1, 1)


def test_receptive_field_of_vgg16():
    block = [(3, 1), (3, 1)], [(3, 1), (3, 1), (3, 1)]
    stack = []
    for convolutions in (block[0], block[0], block[1], block[1], block[1]):
        stack += [*convolutions, (2, 2)]
    assert conv.receptive_field(stack)[-1] == (212, 32)
    assert conv.receptive_field([*stack, (7, 1)])[-1] == (404, 32)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: conv.output_size(3, 5), "does not fit into 3"),
        (lambda: conv.output_size(5, 3, s=0), "s=0 is impossible; choose a whole number from 1"),
        (lambda: conv.output_size(5, 3, p=-1), "p=-1 is impossible; choose a whole number from 0"),
        (lambda: conv.transposed_output_size(2, 3, 2, output_padding=2), "between 0 and s - 1"),
        (lambda: conv.transposed_output_size(1, 1, p=3), "nothing is left"),
        (lambda: conv.conv2d(np.ones((4, 4)), np.ones((2, 2))), "expected x"),
        (
            lambda: conv.conv2d(IMAGE, KERNEL, (1, 1, 1)),
            r"one for each of two axes, got \(1, 1, 1\)",
        ),
        (lambda: conv.conv2d_transpose([1], [1]), "w \\(height, width, out, in\\)"),
        (
            lambda: conv.conv2d(np.ones((1, 4, 4, 2)), np.ones((2, 2, 3, 1))),
            "x has 2 channels, but w is made for 3",
        ),
        (
            lambda: conv.conv2d(IMAGE, KERNEL, padding="full"),
            "use VALID, SAME or numbers",
        ),
        (
            lambda: conv.conv2d(IMAGE, np.ones((5, 5, 1, 1))),
            "a kernel of effective size 5 does not fit into 4",
        ),
        (
            lambda: conv.conv2d(IMAGE, KERNEL, padding=(1, 1)),
            r"must be a number or \(\(top, bottom\), \(left, right\)\)",
        ),
        (
            lambda: conv.conv2d_grad(IMAGE, KERNEL, np.ones(9)),
            r"upstream must have the shape of the result, \(1, 3, 3, 1\), not \(9,\)",
        ),
        (
            lambda: conv.conv2d_transpose(np.ones((1, 4, 4, 2)), np.ones((2, 2, 2, 1))),
            "x has 2 channels, but w is made for 1",
        ),
        (
            lambda: conv.conv2d_transpose(np.ones((1, 1, 1, 1)), np.ones((2, 2, 1, 1)), padding=1),
            "leaves nothing of the output",
        ),
        (
            lambda: conv.conv2d_transpose(IMAGE, KERNEL, 2, "SAME", output_padding=0),
            "a SAME convolution with stride 2 does not map 6 pixels to 4",
        ),
    ],
)
def test_what_is_impossible_says_why(call, message):
    one_line(call, message)
