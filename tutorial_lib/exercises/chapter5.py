"""Checks of notebook 05, FCN."""

from __future__ import annotations

import numpy as np

from tutorial_lib.exercises import Wrong, answered, exercise, expect, expect_close, number, pair


@exercise("5.1")
def color_of_cat(answer) -> str:
    if not isinstance(answer, tuple | list | np.ndarray) or len(answer) != 3:
        raise Wrong("Answer with three numbers: (red, green, blue).")
    hints = {
        (128, 0, 0): "That is class 1: its bit 0 goes to the highest bit of red, worth 128.",
        (0, 0, 64): "Bit 3 goes to red again: the three colors take turns.",
        (0, 64, 0): "Bit 3 goes to red again: the three colors take turns.",
        (8, 0, 0): "The color is not the number: its second highest bit is worth 64.",
        (2, 0, 0): "Count the bits of red from the top: the highest of eight is worth 128.",
        (32, 0, 0): "That is the third highest bit of red; the highest is worth 128.",
        (192, 0, 0): "That is class 9, binary 1001; in 1000 bit 0 is not set.",
    }
    otherwise = "Only bit 3 of 8 is set; it goes to the second highest bit of red."
    expect(tuple(number(answered(value)) for value in answer), (64, 0, 0), hints, otherwise)
    return "A dark red. Class 9 next to it gets (192, 0, 0): the lowest bit changes a color most."


@exercise("5.2")
def window_positions(answer) -> str:
    answer = tuple(number(value) for value in pair(answer, "rows, columns"))
    hints = {
        (10, 15): "320 / 32 counts cells; a window of 96 pixels must fit completely.",
        (7, 12): "You counted the steps; the starting position is one more.",
        (3, 5): "The windows overlap: they are 96 wide but only 32 apart.",
        (13, 8): "Rows come first.",
    }
    expect(answer, (8, 13), hints, "Along each axis (size - 96) / 32 + 1.")
    return "The same formula as in notebook 01, with a kernel of 96 and a stride of 32."


@exercise("5.3")
def skip_parameters(answer) -> str:
    hints = {
        (64 + 32) * 21: "You left the biases out.",
        (64 + 32 + 1) * 21: "Each of the two layers has biases of its own.",
        (64 + 1) * 21: "That is the skip connection from pool4 alone.",
        (32 + 1) * 21: "That is the skip connection from pool3 alone.",
        (64 + 1) * 20 + (32 + 1) * 20: "The background is a class too: 21.",
        (256 + 64 + 32 + 3) * 21: "Count only what FCN-8s adds; fc7's score layer was there.",
        (9 * 64 + 1) * 21 + (9 * 32 + 1) * 21: "The kernels of score layers are 1×1, not 3×3.",
    }
    otherwise = "A 1×1 convolution from c channels to 21 has (c + 1) · 21 parameters."
    expect(number(answer), 2058, hints, otherwise)
    return "That is little beside the 444,000 of the backbone, whose features these layers reuse."


@exercise("5.4")
def mean_over_valid_pixels(answer) -> str:
    losses = np.array([[1.0, 2.0, 5.0, 8.0], [4.0, 50.0, 60.0, 70.0]])
    labels = np.array([[0, 8, 0, 8], [8, 255, 255, 255]], np.uint8)
    value = answered(answer(losses.copy(), labels.copy()))
    if np.ndim(value) != 0:
        raise Wrong("It returns one number, not one for each pixel.")
    hints = {
        "You divided by all pixels; then a batch with much void would count less.": 20 / 8,
        "That counts void pixels too: leave them out of the sum.": losses.mean(),
        "Void pixels are still in the sum: leave them out there, too.": 200 / 5,
        "That is the sum; divide it by the number of valid pixels.": 20,
        "The background is a class too; only 255 is left out.": 14 / 3,
        "The background is a class too: it is in your sum, count it as well.": 20 / 3,
        "Void, 255, is above 0: you counted it, and the background not.": 20 / 6,
    }
    otherwise = "Pick the losses whose label is not 255, add them up, divide by their number."
    expect_close(number(value), 4, hints, otherwise)
    with np.errstate(all="ignore"):
        empty = answer(np.ones((3, 2)), np.full((3, 2), 255, np.uint8))
    otherwise = "An image that is all void divides by zero; divide by at least 1."
    expect_close(empty, 0, {}, otherwise)
    half = answer(np.full((1, 3), 2.0), np.array([[3, 255, 255]], np.uint8))
    otherwise = "One valid pixel that costs 2 has a mean of 2, whatever the size of the array."
    expect_close(half, 2, {}, otherwise)
    return "Because of this division all labeled pixels of a batch count alike, void or no void."


@exercise("5.5")
def mean_iou_by_hand(answer) -> str:
    iou = np.array([50 / 70, 20 / 35, 10 / 15])
    hints = {
        "That is pixel accuracy: the trace over the sum.": 0.8,
        "That is mean accuracy: rows only. Add the columns.": np.mean([50 / 60, 20 / 30, 1]),
        "You divided by columns only. Add the rows.": np.mean([50 / 60, 20 / 25, 10 / 15]),
        "The background is a class too.": iou[1:].mean(),
        "That is the IoU of the second class; take the mean of all three.": iou[1],
        "You weighted the classes by their size; each counts alike.": iou @ [0.6, 0.3, 0.1],
        "Right, but in percent; answer with a fraction between 0 and 1.": iou.mean() * 100,
        "Hits are in row and column; count them once.": np.mean([50 / 120, 20 / 55, 10 / 25]),
    }
    otherwise = "IoU of a class: its hits over row + column - hits. Then the mean of three."
    expect_close(number(answer), iou.mean(), hints, otherwise, atol=1e-3)
    return "Note that the small class weighs as much as the background."
