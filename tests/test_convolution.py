"""The NumPy reference operators against TensorFlow's, and against their own definitions."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
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
    ("numerical_no_padding_no_strides", 5, 3, 0, 3, 1, 1),
    ("numerical_padding_strides", 5, 3, 1, 3, 2, 1),
]
GUIDE_TRANSPOSED = [row for row in GUIDE[:7]]


@pytest.mark.parametrize(("name", "i", "o", "p", "k", "s", "d"), GUIDE)
def test_sizes_of_the_guide(name, i, o, p, k, s, d):
    assert conv.output_size(i, k, s, p, d) == o
    x, w = np.ones((1, i, i, 1)), np.ones((k, k, 1, 1))
    assert conv.conv2d(x, w, s, p, d).shape == (1, o, o, 1)


@pytest.mark.parametrize(("name", "i", "o", "p", "k", "s", "d"), GUIDE_TRANSPOSED)
def test_transposed_sizes_of_the_guide(name, i, o, p, k, s, d):
    extra = (i + 2 * p - k) % s
    assert conv.transposed_output_size(o, k, s, p, d, extra) == i
    x, w = np.ones((1, o, o, 1)), np.ones((k, k, 1, 1))
    assert conv.conv2d_transpose(x, w, s, p, d, extra).shape == (1, i, i, 1)


sizes = st.integers(1, 9)
small = st.integers(1, 3)
seeds = st.integers(0, 2**32 - 1)
many = settings(max_examples=150, deadline=None)


@st.composite
def cases(draw):
    """Draw (x, w, stride, padding, dilation) that fit; TensorFlow allows one of the last two."""
    rng = np.random.default_rng(draw(seeds))
    height, width, kh, kw = (
        draw(sizes),
        draw(sizes),
        draw(st.integers(1, 4)),
        draw(st.integers(1, 4)),
    )
    stride = (draw(small), draw(small))
    dilation = (draw(small), draw(small)) if stride == (1, 1) else (1, 1)
    kind = draw(st.sampled_from(["VALID", "SAME", "explicit"]))
    padding = (
        ((draw(small), draw(small)), (draw(small), draw(small))) if kind == "explicit" else kind
    )
    reach = dilation[0] * (kh - 1) + 1, dilation[1] * (kw - 1) + 1
    if padding == "VALID":
        assume(reach[0] <= height and reach[1] <= width)
    elif padding != "SAME":
        assume(reach[0] <= height + sum(padding[0]) and reach[1] <= width + sum(padding[1]))
    inputs, outputs = draw(small), draw(small)
    x = rng.normal(size=(draw(small), height, width, inputs))
    return x, rng.normal(size=(kh, kw, inputs, outputs)), stride, padding, dilation


def tensorflow_padding(padding):
    return padding if isinstance(padding, str) else [(0, 0), *padding, (0, 0)]


@many
@given(cases())
def test_convolution_and_its_gradients_equal_tensorflow(case):
    import tensorflow as tf

    x, w, stride, padding, dilation = case
    tx, tw = tf.constant(x), tf.constant(w)
    with tf.GradientTape() as tape:
        tape.watch([tx, tw])
        y = tf.nn.conv2d(tx, tw, stride, tensorflow_padding(padding), dilations=dilation)
    ours = conv.conv2d(x, w, stride, padding, dilation)
    np.testing.assert_allclose(ours, y, atol=1e-10)
    if dilation != (1, 1):
        return  # TensorFlow has no gradient of a dilated convolution on a CPU
    upstream = np.random.default_rng(0).normal(size=ours.shape)
    to_x, to_w = conv.conv2d_grad(x, w, upstream, stride, padding, dilation)
    expected = tape.gradient(y, [tx, tw], output_gradients=tf.constant(upstream))
    np.testing.assert_allclose(to_x, expected[0], atol=1e-10)
    np.testing.assert_allclose(to_w, expected[1], atol=1e-10)


@many
@given(
    seeds, sizes, sizes, st.integers(1, 4), small, small, small, st.sampled_from(["VALID", "SAME"])
)
def test_transposed_convolution_and_its_gradients_equal_keras(
    seed, height, width, k, s, inputs, outputs, padding
):
    import keras
    import tensorflow as tf

    rng = np.random.default_rng(seed)
    x, w = rng.normal(size=(1, height, width, inputs)), rng.normal(size=(k, k, outputs, inputs))
    tx, tw = tf.constant(x), tf.constant(w)
    with tf.GradientTape() as tape:
        tape.watch([tx, tw])
        y = keras.ops.conv_transpose(tx, tw, s, padding.lower())
    ours = conv.conv2d_transpose(x, w, s, padding)
    np.testing.assert_allclose(ours, y, atol=1e-10)
    upstream = rng.normal(size=ours.shape)
    to_x, to_w = conv.conv2d_transpose_grad(x, w, upstream, s, padding)
    expected = tape.gradient(y, [tx, tw], output_gradients=tf.constant(upstream))
    np.testing.assert_allclose(to_x, expected[0], atol=1e-10)
    np.testing.assert_allclose(to_w, expected[1], atol=1e-10)


@many
@given(cases())
def test_gradients_are_adjoint_to_the_convolution(case):
    # y is linear in x and in w, so <u, y> = <gradient to x, x> = <gradient to w, w>.
    x, w, stride, padding, dilation = case
    y = conv.conv2d(x, w, stride, padding, dilation)
    upstream = np.random.default_rng(1).normal(size=y.shape)
    to_x, to_w = conv.conv2d_grad(x, w, upstream, stride, padding, dilation)
    np.testing.assert_allclose(np.sum(to_x * x), np.sum(upstream * y), atol=1e-9)
    np.testing.assert_allclose(np.sum(to_w * w), np.sum(upstream * y), atol=1e-9)


@many
@given(cases())
def test_the_matrix_computes_the_convolution_and_its_transpose(case):
    x, w, stride, padding, dilation = case
    x = x[:1]
    y = conv.conv2d(x, w, stride, padding, dilation)
    matrix = conv.convolution_matrix(w, x.shape[1:3], stride, padding, dilation)
    assert matrix.shape == (y.size, x.size)
    np.testing.assert_allclose(matrix @ x.ravel(), y.ravel(), atol=1e-10)
    to_x, _ = conv.conv2d_grad(x, w, y, stride, padding, dilation)
    np.testing.assert_allclose(matrix.T @ y.ravel(), to_x.ravel(), atol=1e-10)


@many
@given(seeds, st.integers(1, 6), st.integers(1, 4), small, st.integers(0, 2), small)
def test_a_transposed_convolution_is_the_transpose(seed, i, k, s, p, d):
    rng = np.random.default_rng(seed)
    assume(s * (i - 1) + d * (k - 1) + 1 - 2 * p >= 1)
    for extra in range(s):
        x, w = rng.normal(size=(1, i, i, 1)), rng.normal(size=(k, k, 1, 1))
        up = conv.conv2d_transpose(x, w, s, p, d, extra)
        size = conv.transposed_output_size(i, k, s, p, d, extra)
        assert up.shape == (1, size, size, 1)
        if conv.output_size(size, k, s, p, d) == i:
            matrix = conv.convolution_matrix(w, (size, size), s, p, d)
            np.testing.assert_allclose(matrix.T @ x.ravel(), up.ravel(), atol=1e-10)


@many
@given(seeds, st.integers(1, 6), st.integers(1, 4), small)
def test_it_is_also_a_convolution_over_inserted_zeros(seed, i, k, s):
    rng = np.random.default_rng(seed)
    x, w = rng.normal(size=(1, i, i, 1)), rng.normal(size=(k, k, 1, 1))
    flipped = w[::-1, ::-1].transpose(0, 1, 3, 2)
    expected = conv.conv2d(conv.insert_zeros(x, s), flipped, 1, k - 1)
    np.testing.assert_allclose(conv.conv2d_transpose(x, w, s, 0), expected, atol=1e-10)


def test_gradients_of_a_strided_transpose_with_output_padding_by_finite_differences():
    rng = np.random.default_rng(0)
    x, w = rng.normal(size=(1, 3, 4, 2)), rng.normal(size=(3, 2, 3, 2))
    arguments = {"stride": (2, 3), "padding": 1, "output_padding": (1, 2)}
    upstream = rng.normal(size=conv.conv2d_transpose(x, w, **arguments).shape)
    gradients = conv.conv2d_transpose_grad(x, w, upstream, **arguments)
    for array, gradient in zip((x, w), gradients, strict=True):
        for place in [(0, 0, 0, 0), tuple(np.array(array.shape) - 1)]:
            kept, sums = array[place], []
            for step in (1e-5, -1e-5):
                array[place] = kept + step
                sums.append(np.sum(upstream * conv.conv2d_transpose(x, w, **arguments)))
            array[place] = kept
            np.testing.assert_allclose(gradient[place], (sums[0] - sums[1]) / 2e-5, rtol=1e-6)


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


def test_counts_of_the_first_layer_of_vgg16():
    assert conv.parameter_count(3, 3, 64) == 1792
    assert conv.multiply_adds(3, 3, 64, (224, 224)) == 86_704_128


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: conv.output_size(3, 5), "does not fit into 3"),
        (lambda: conv.output_size(5, 3, s=0), "s=0 is impossible; the stride is at least 1"),
        (lambda: conv.output_size(0, 1), "the input size is at least 1"),
        (lambda: conv.output_size(5, 3, p=-1), "padding is 0 or more"),
        (lambda: conv.output_size(5, 3, d=0), "the dilation is at least 1"),
        (lambda: conv.transposed_output_size(2, 3, 2, output_padding=2), "between 0 and s - 1"),
        (lambda: conv.transposed_output_size(1, 1, p=3), "nothing is left"),
        (lambda: conv.conv2d(np.ones((4, 4)), np.ones((2, 2))), "expected x"),
        (
            lambda: conv.conv2d(np.ones((1, 4, 4, 2)), np.ones((2, 2, 3, 1))),
            "x has 2 channels, but w is made for 3",
        ),
        (
            lambda: conv.conv2d(np.ones((1, 4, 4, 1)), np.ones((2, 2, 1, 1)), padding="same"),
            "use VALID, SAME or numbers",
        ),
    ],
)
def test_what_is_impossible_says_why(call, message):
    with pytest.raises(InputError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)
