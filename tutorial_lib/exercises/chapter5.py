"""Checks of notebook 05, FCN."""

from __future__ import annotations

import numpy as np

from tutorial_lib.crf import softmax
from tutorial_lib.exercises import Wrong, answered, array, exercise, expect_close, number


@exercise("5.1")
def convolution_kernel(answer) -> str:
    height, width, channels, neurons = 2, 3, 4, 5
    matrix = np.random.default_rng(0).normal(size=(height * width * channels, neurons))
    kernel = np.asarray(answered(answer(matrix.copy(), height, width)))
    right = (height, width, channels, neurons)
    if kernel.shape != right:
        swapped = (width, height, channels, neurons)
        hint = " Rows come first." if kernel.shape == swapped else ""
        raise Wrong(f"The kernel has the shape {kernel.shape}; {right} is needed.{hint}")
    hints = {
        "Keras flattens with the channels last; you took them first.": matrix.reshape(
            channels, height, width, neurons
        ).transpose(1, 2, 0, 3),
        "Keras flattens row by row; you went column by column.": matrix.reshape(
            width, height, channels, neurons
        ).transpose(1, 0, 2, 3),
        "A framework's convolution does not flip its kernel; leave it as it is.": matrix.reshape(
            right
        )[::-1, ::-1],
    }
    otherwise = "No number changes and none moves: only the shape of the array is new."
    expect_close(kernel, matrix.reshape(right), hints, otherwise)
    return "The matrix of a fully connected layer is a kernel; only the shape of the array changes."


@exercise("5.2")
def fused_logits(answer) -> str:
    import keras

    from tutorial_lib.models import fcn

    fc7, pool4 = keras.Input((5, 5, 6)), keras.Input((10, 10, 3))
    logits = answered(answer(fc7, pool4))
    if getattr(logits, "shape", None) != (None, 160, 160, 21):
        found = getattr(logits, "shape", type(logits).__name__)
        raise Wrong(
            f"The logits have the shape {found}; (None, 160, 160, 21) is needed. The scores of fc7 "
            "are upsampled by 2 before they are added, and the sum by 16."
        )
    model = keras.Model([fc7, pool4], logits)
    scores = [layer for layer in model.layers if layer.weights]
    if len(scores) != 2:
        raise Wrong(f"Two score layers are needed, of fc7 and of pool4; found {len(scores)}.")
    generator = np.random.default_rng(0)
    for layer in scores:
        layer.set_weights([generator.normal(size=w.shape) for w in layer.get_weights()])
    maps = [generator.normal(size=(1, *x.shape[1:])).astype("float32") for x in (fc7, pool4)]
    parts = []
    for x in maps:
        layer = next(layer for layer in scores if layer.kernel.shape[2] == x.shape[-1])
        parts.append(layer(x))
    coarse = fcn.upsample(parts[0], 2)
    hints = {
        "The scores of pool4 are missing from the sum.": fcn.upsample(coarse, 16),
        "The scores of fc7 are missing from the sum.": fcn.upsample(parts[1], 16),
        "There is a ReLU on the scores; a skip connection must also be able to lower them.": (
            fcn.upsample(keras.ops.relu(coarse) + keras.ops.relu(parts[1]), 16)
        ),
        "Add the scores first, then upsample the sum once: two bilinear steps are not one.": (
            fcn.upsample(parts[0], 32) + fcn.upsample(parts[1], 16)
        ),
    }
    hints = {hint: np.asarray(value) for hint, value in hints.items()}
    right = np.asarray(fcn.upsample(coarse + parts[1], 16))
    otherwise = "Upsample the scores of fc7 by 2, add those of pool4, upsample the sum by 16."
    expect_close(model.predict_on_batch(maps), right, hints, otherwise, atol=1e-3)
    return "FCN-8s repeats the step once more, with pool3."


@exercise("5.3")
def mean_iou_of_matrix(answer) -> str:
    counts = np.array([[50, 10, 0, 0], [5, 20, 5, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    hits, rows, columns = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)
    union = rows + columns - hits
    iou = hits[union > 0] / union[union > 0]
    with np.errstate(all="ignore"):
        value = number(answered(answer(counts.copy())))
    if np.isnan(value):
        raise Wrong(
            "The result is not a number: the last class occurs nowhere, so its IoU is 0/0. Leave "
            "it out of the mean."
        )
    hints = {
        "A class that occurs neither in labels nor in predictions does not count as 0.": (
            iou.sum() / 4
        ),
        "The third class is only predicted: its IoU is 0, and it counts.": iou[:2].mean(),
        "That is pixel accuracy: the trace over the sum.": hits.sum() / counts.sum(),
        "That is mean accuracy: rows only. Add the columns.": np.mean([50 / 60, 20 / 30]),
        "The background is a class too.": iou[1:].mean(),
        "Hits are in row and column; count them once.": np.mean([50 / 115, 20 / 60, 0]),
        "Each class weighs alike, whatever its size.": hits.sum() / union.sum(),
    }
    otherwise = "IoU of a class: hits / (row + column - hits). Average those with a union above 0."
    expect_close(value, iou.mean(), hints, otherwise, atol=1e-3)
    return "A class that is predicted but never labeled enters the mean with an IoU of 0."


@exercise("5.4")
def any_size(answer) -> str:
    image = np.random.default_rng(0).random((101, 77, 3))
    shapes = []

    def model(batch):
        shapes.append(batch.shape)
        return batch

    found = np.asarray(answered(answer(model, image.copy())))
    if found.shape != image.shape:
        raise Wrong(f"The result has the shape {found.shape}; the image has {image.shape}.")
    if not shapes or any(side % 32 for side in shapes[0][1:3]):
        raise Wrong("The model must get an image whose sides are multiples of 32.")
    bottom, right = -101 % 32, -77 % 32
    padded = np.pad(image, ((bottom, 0), (right, 0), (0, 0)), mode="edge")
    hints = {
        "It is still shifted: the padding is at the top and left, and the crop keeps the top "
        "and left.": padded[:101, :77]
    }
    otherwise = "Pad on two sides, and crop those two sides away again."
    expect_close(found, image, hints, otherwise)
    return "Padding and cropping undo each other only when they work on the same sides."


@exercise("5.5")
def mean_field_iteration(answer) -> str:
    generator = np.random.default_rng(0)
    scores, kernel = generator.normal(size=(6, 3)), generator.random((6, 6))
    kernel = kernel + kernel.T
    q = softmax(scores)
    value = array(answer(scores.copy(), kernel.copy()))
    if value.shape != scores.shape:
        raise Wrong(f"Q has the shape {value.shape}; {scores.shape}, like the logits, is needed.")
    weights = kernel - np.diag(np.diag(kernel))
    one_by_one = q.copy()
    for i in range(len(q)):
        one_by_one[i] = softmax(scores[i] + weights[i] @ one_by_one)
    hints = {
        "Pixel j = i is in the sum; set the diagonal of the kernel to 0.": (
            softmax(scores + kernel @ q)
        ),
        "The sum runs over the probabilities of the other pixels, not over their logits.": (
            softmax(scores + weights @ scores)
        ),
        "The pixel's own logits are missing: add the sum to them.": softmax(weights @ q),
        "Add the sum to the logits, not to the probabilities.": softmax(q + weights @ q),
        "Agreement should make a label more probable: add the sum, do not subtract it.": (
            softmax(scores - weights @ q)
        ),
        "The Q(l) of each pixel must add up to 1: apply the softmax to the labels of a pixel.": (
            scores + weights @ q
        ),
        "You normalized over the pixels; normalize over the labels of each pixel.": (
            softmax((scores + weights @ q).T).T
        ),
        "All pixels are updated at the same time, from the probabilities before the update.": (
            one_by_one
        ),
    }
    otherwise = "Q = softmax(logits + kernel without its diagonal @ softmax(logits))."
    expect_close(value, softmax(scores + weights @ q), hints, otherwise)
    return "Every pixel moves toward the labels that similar pixels probably have."


@exercise("5.6")
def sticker_alpha(answer) -> str:
    distance = np.array([[0, 0, 3], [4.75, 5, 5.25], [5.5, 6, 20]])
    value = array(answer(distance.copy(), 6))
    if value.shape != distance.shape:
        raise Wrong(f"Alpha has the shape {value.shape}; {distance.shape} is needed.")
    hints = {
        "The edge is hard: over the last pixel alpha should fall from 1 to 0.": distance < 6,
        "Alpha must stay between 0 and 1; clip it.": 6 - distance,
        "That is reversed: the object would be transparent.": np.clip(distance - 5, 0, 1),
        "Alpha falls over the whole contour, not over its last pixel only.": (
            np.clip(1 - distance / 6, 0, 1)
        ),
        "Alpha falls outside the contour; it should be 0 at the full width.": (
            np.clip(7 - distance, 0, 1)
        ),
    }
    otherwise = "For a width of 6, alpha is 1 at a distance of 5, ½ at 5.5 and 0 at 6."
    expect_close(value, np.clip(6 - distance, 0, 1), hints, otherwise)
    otherwise = "It should work for any width; you used 6."
    expect_close(answer(distance.copy(), 4), np.clip(4 - distance, 0, 1), {}, otherwise)
    return "A soft edge of one pixel hides the staircase of the mask."
