"""Checks of notebook 05, FCN."""

from __future__ import annotations

import numpy as np

from tutorial_lib.exercises import Wrong, answered, exercise


@exercise("5.1")
def color_of_cat(answer) -> str:
    hints = {
        (128, 0, 0): "That is class 1: its bit 0 goes to the highest bit of red, worth 128.",
        (0, 0, 64): "Bit 3 goes to red again: the three colors take turns.",
        (8, 0, 0): "The second highest of eight bits is worth 64.",
    }
    answer = tuple(int(value) for value in answer)
    if answer in hints:
        raise Wrong(hints[answer])
    if answer != (64, 0, 0):
        raise Wrong("Only bit 3 of 8 is set; it goes to the second highest bit of red.")
    return "A dark red, as far as possible from class 9."


@exercise("5.2")
def windows(answer) -> str:
    answer = tuple(int(value) for value in answer)
    if answer == (10, 15):
        raise Wrong("320 / 32 counts cells; a window of 96 pixels must fit whole.")
    if answer == (7, 12):
        raise Wrong("You counted the steps; the starting position is one more.")
    if answer == (13, 8):
        raise Wrong("Rows come first.")
    if answer != (8, 13):
        raise Wrong("Along each axis (size - 96) / 32 + 1.")
    return "The same formula as in notebook 01, with a kernel of 96 and a stride of 32."


@exercise("5.3")
def skip_parameters(answer) -> str:
    hints = {
        (64 + 32) * 21: "You left the biases out.",
        (64 + 1) * 21: "That is the skip from pool4 alone.",
        (256 + 64 + 32 + 3) * 21: "Count only what FCN-8s adds; fc7's score layer was there.",
    }
    if answer in hints:
        raise Wrong(hints[answer])
    if answer != 2058:
        raise Wrong("A 1×1 convolution from c channels to 21 has (c + 1) · 21 parameters.")
    return "A handful, beside half a million in the body; the detail was there all along."


@exercise("5.4")
def mean_over_valid_pixels(answer) -> str:
    losses = np.array([[1.0, 2.0, 5.0], [4.0, 50.0, 60.0]])
    labels = np.array([[0, 8, 8], [0, 255, 255]], np.uint8)
    value = answered(answer(losses.copy(), labels.copy()))
    hints = {
        12 / 6: "You divided by all pixels; then a picture with more void would count for less.",
        float(losses.mean()): "That counts void pixels too: leave them out of the sum.",
        12.0: "That is the sum; divide it by the number of valid pixels.",
        float(np.mean([2.0, 5.0])): "The background is a class too; only 255 is left out.",
    }
    for wrong, hint in hints.items():
        if np.isclose(value, wrong):
            raise Wrong(hint)
    if not np.isclose(value, 3):
        raise Wrong("Pick the losses whose label is not 255, add them up, divide by their number.")
    void = np.full((2, 3), 255, np.uint8)
    with np.errstate(all="ignore"):
        empty = answer(losses, void)
    if not np.isclose(empty, 0):
        raise Wrong("A picture that is all void divides by zero; divide by at least 1.")
    return "That one division is what makes pictures of all scales count alike."


@exercise("5.5")
def mean_iou(answer) -> str:
    right = float(np.mean([50 / 70, 20 / 35, 10 / 15]))
    hints = {
        0.8: "That is pixel accuracy: the trace over the sum.",
        float(np.mean([50 / 60, 20 / 30, 1])): "That is mean accuracy: rows only. Add the columns.",
        float(np.mean([20 / 35, 10 / 15])): "The background is a class too.",
        float(
            np.mean([50 / 120, 20 / 55, 10 / 25])
        ): "Hits are in row and column; count them once.",
    }
    for wrong, hint in hints.items():
        if np.isclose(answer, wrong, atol=1e-3):
            raise Wrong(hint)
    if not np.isclose(answer, right, atol=1e-3):
        raise Wrong("IoU of a class: its hits over row + column - hits. Then the mean of three.")
    return "Note that the small class weighs as much as the background."
