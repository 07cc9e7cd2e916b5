"""Checks of notebook 04, U-Net."""

from __future__ import annotations

import numpy as np

from tutorial_lib.data.images import VOID
from tutorial_lib.exercises import Wrong, array, exercise, expect, expect_close, number


@exercise("4.1")
def decode_run_lengths(function) -> str:
    # Runs that end within a column, a mask that starts with ones, one that is all background.
    cases = [([4, 3, 2, 2, 1], (3, 4)), ([0, 2, 5, 1], (4, 2)), ([15], (3, 5))]
    found = [array(function(list(counts), *shape)) for counts, shape in cases]
    height, width = cases[0][1]
    if found[0].shape == (width, height):
        raise Wrong(f"A mask of height {height} and width {width} has {height} rows; transpose.")
    if found[0].shape != (height, width):
        raise Wrong(f"The result should have the shape {(height, width)}, not {found[0].shape}.")
    masks = [
        np.repeat(np.arange(len(counts)) % 2, counts).reshape(shape[::-1]).T
        for counts, shape in cases
    ]
    by_row = [mask.T.reshape(mask.shape) for mask in masks]
    mistakes = {
        "The first count is one of zeros; if a mask starts with 1, that count is 0.": (
            [1 - mask for mask in masks]
        ),
        "You went along the rows; COCO's runs go down the columns.": by_row,
        "The first count is one of zeros, and the runs go down the columns.": (
            [1 - mask for mask in by_row]
        ),
    }
    for hint, wrong in mistakes.items():
        if all(map(np.array_equal, found, wrong)):
            raise Wrong(hint)
    for (counts, shape), mask, mine in zip(cases, masks, found, strict=True):
        if not np.array_equal(mine, mask):
            raise Wrong(
                f"For counts {counts} and the shape {shape} the first column is "
                f"{mask[:, 0].tolist()}, and so on; yours differs."
            )
    return "COCO's compressed form holds the same counts, written as characters."


@exercise("4.2")
def smallest_input(answer) -> str:
    from tutorial_lib.models import unet

    answer = number(answer)
    right = next(
        s for s in unet.valid_input_sizes(4, 500, 900) if unet.valid_output_size(s, 4) >= 500
    )
    if answer == right - 184:
        raise Wrong("That is the size of the output; the input is 184 pixels larger.")
    if answer not in unet.valid_input_sizes(4, 1, 4000):
        raise Wrong(f"{answer} does not halve evenly four times.")
    if answer < right:
        raise Wrong(f"Its output has only {unet.valid_output_size(int(answer), 4)} pixels.")
    if answer > right:
        raise Wrong("That works, but a smaller input does too.")
    return "A depth of 4 always costs 184 pixels; sizes come in steps of 16."


@exercise("4.3")
def bottleneck_field(answer) -> str:
    if isinstance(answer, tuple | list) and len(answer) == 2:
        raise Wrong("The pair is (size of the field, distance of neighbors); give the size alone.")
    hints = {
        4: "That is the distance between the fields of two neighbors, not the size of one.",
        14: "That is before the second pooling.",
        16: "That is after the second pooling; two convolutions follow.",
        24: "That is after the first of the two convolutions at the bottleneck.",
        13: "That is without the poolings; each of them doubles what later kernels span.",
        68: "That is for a depth of 3; this network pools twice.",
        140: "That is for the depth of the paper, 4; this network pools twice.",
    }
    otherwise = "Take the last field of 2 times (3, 1), (3, 1), (2, 2), then twice (3, 1)."
    expect(number(answer), 32, hints, otherwise)
    return "Half as wide as the output of 64: enough to see a cat, not the whole scene."


@exercise("4.4")
def intersection_over_union(function) -> str:
    cases = [
        ([[1, 1, 1, 0, 255, 255], [0, 0, 0, 0, 255, 0]], [[0, 1, 1, 1, 1, 0], [1, 0, 0, 1, 1, 0]]),
        ([[1, 0, 0, 1], [255, 1, 1, 1]], [[1, 1, 0, 0], [1, 1, 0, 1]]),
    ]
    cases = [(np.array(truth), np.array(predicted)) for truth, predicted in cases]
    values = [array(function(truth.copy(), predicted.copy())) for truth, predicted in cases]
    if any(value.ndim for value in values):
        raise Wrong("Return one number for the two masks, not one for each pixel.")
    right, *mistakes = zip(*(_iou_and_mistakes(*case) for case in cases), strict=True)
    hints = dict(zip(IOU_MISTAKES, mistakes, strict=True))
    otherwise = "For masks with 2 common pixels and 6 in either, void left out, the answer is 2/6."
    expect_close(values, right, hints, otherwise)
    return "The ConfusionMatrix of the library does the same for all classes at once."


DICE = "That is the Dice score, 2·intersection / (sum of areas)"
IOU_MISTAKES = [
    "Void pixels count: where the truth is 255, a prediction is neither right nor wrong.",
    "You took 255 for cat; it is void, and counts neither above nor below the line.",
    "255 is a number like any other to & and |, and to a sum; compare with 1 first.",
    "That is pixel accuracy: the background must not count.",
    "That is pixel accuracy, with the void pixels in it: leave out both.",
    "You added the two areas; the union counts their intersection once.",
    f"{DICE}.",
    f"{DICE}, with void pixels in it.",
    "You divided by the true area; the union also holds what was predicted wrongly.",
    "You divided by the area that was found; the union also holds the false negatives.",
    "You divided by the found area, void pixels included; divide by the union, void left out.",
]


def _iou_and_mistakes(truth, predicted) -> list[float]:
    """Return the IoU of class 1, and what each of `IOU_MISTAKES` makes of it."""
    cat, found, valid = truth == 1, predicted == 1, truth != VOID
    not_background = truth > 0
    common, true_area = np.sum(cat & found), np.sum(cat)
    valid_area, found_area = np.sum(found & valid), np.sum(found)
    return [
        common / np.sum((cat | found) & valid),
        common / np.sum(cat | found),
        np.sum(not_background & found) / np.sum(not_background | found),
        np.sum(truth & predicted) / np.sum(truth | predicted),
        np.mean((cat == found)[valid]),
        np.mean(truth == predicted),
        common / (true_area + valid_area),
        2 * common / (true_area + valid_area),
        2 * common / (true_area + found_area),
        common / true_area,
        common / valid_area,
        common / found_area,
    ]
