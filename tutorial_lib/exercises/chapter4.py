"""Checks of notebook 04, U-Net."""

from __future__ import annotations

import numpy as np

from tutorial_lib.data.images import VOID
from tutorial_lib.exercises import Wrong, array, exercise, expect_close


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
    return "COCO also has a compressed form, which writes such counts as characters."


@exercise("4.2")
def resize_labels(function) -> str:
    image = np.random.default_rng(0).integers(0, 256, (9, 11, 3)).astype(np.uint8)
    labels = np.zeros((9, 11), np.uint8)
    labels[2:7, 3:9], labels[5:, 6:] = 1, VOID
    result = function(image, labels, (5, 6))
    if result is Ellipsis or result is None:
        array(result)  # says that nothing is there yet
    if not isinstance(result, tuple | list) or len(result) != 2:
        raise Wrong("Return a pair: the image and the labels.")
    small, found = (np.asarray(part) for part in result)
    if small.shape != (5, 6, 3) or found.shape != (5, 6):
        raise Wrong(
            "The image should have the shape (5, 6, 3) and the labels (5, 6), "
            f"not {small.shape} and {found.shape}."
        )
    if not {*np.unique(found)} <= {0, 1, VOID}:
        extra = sorted({*np.unique(found)} - {0, 1, VOID})[0]
        raise Wrong(f"There is a label {extra} that no annotation has; do not interpolate labels.")
    if VOID not in found or 1 not in found:
        raise Wrong("Cats or void pixels are lost; each label should be that of the nearest pixel.")
    if {*np.unique(small)} <= {*np.unique(image)}:
        raise Wrong("The labels are right, but the image should be interpolated.")
    return "No class lies between cat, 1, and void, 255."


@exercise("4.3")
def unpadded_output_size(function) -> str:
    cases = [(572, 4), (104, 2), (188, 3), (40, 1), (11, 0)]
    values = [array(function(*case)) for case in cases]
    if any(value.ndim for value in values):
        raise Wrong("Return one number.")
    right = [size - 12 * 2**depth + 8 for size, depth in cases]
    hints = {
        "That is what the network takes off; subtract it from the size.": [
            size - result for (size, _), result in zip(cases, right, strict=True)
        ],
        "That is right for a depth of 4 only.": [size - 184 for size, _ in cases],
        "You left out the two convolutions at the bottleneck.": [
            result + 4 * 2**depth for (_, depth), result in zip(cases, right, strict=True)
        ],
        "Every two convolutions take off 4 pixels of their own level, 4·2^level of the input.": [
            size - 4 * (2 * depth + 1) for size, depth in cases
        ],
    }
    expect_close(values, right, hints, "For a size of 188 and a depth of 3 the output has 100.")
    return "The formula is size - (12·2^depth - 8): a greater depth costs more pixels."


@exercise("4.4")
def cropped_skip(function) -> str:
    skip = np.arange(8 * 10 * 2).reshape(8, 10, 2)
    x = -np.arange(4 * 4 * 3).reshape(4, 4, 3)
    result, cropped = array(function(skip, x)), skip[2:6, 3:7]
    if result.ndim != 3 or result.shape != (4, 4, 5):
        raise Wrong(f"The result should have the shape (4, 4, 5), not {result.shape}.")
    hints = {
        "The channels of the skip come first.": np.concatenate([x, cropped], axis=-1),
        "You kept the upper left corner; crop as much on the left as on the right.": (
            np.concatenate([skip[:4, :4], x], axis=-1)
        ),
        "Height and width need a crop of their own; they may differ.": (
            np.concatenate([skip[2:6, 2:6], x], axis=-1)
        ),
    }
    otherwise = "The first two channels should be rows 2 to 5 and columns 3 to 6 of the skip."
    expect_close(result, np.concatenate([cropped, x], axis=-1), hints, otherwise)
    return "The result has the channels of both, side by side."


@exercise("4.5")
def dice_coefficient(function) -> str:
    cases = [
        (
            [[1, 1, 1, 0, 255, 255], [0, 0, 0, 0, 255, 0]],
            [[0, 1, 0.5, 0.75, 1, 0], [1, 0, 0, 0.25, 0.5, 0]],
        ),
        ([[1, 0, 0, 1], [255, 1, 1, 1]], [[1, 1, 0, 0], [0.75, 1, 0, 1]]),
    ]
    cases = [(np.array(truth), np.array(p)) for truth, p in cases]
    values = [array(function(truth.copy(), p.copy())) for truth, p in cases]
    if any(value.ndim for value in values):
        raise Wrong("Return one number for the two maps, not one per pixel.")
    right, *mistakes = zip(*(_dice_and_mistakes(*case) for case in cases), strict=True)
    hints = dict(zip(DICE_MISTAKES, mistakes, strict=True))
    otherwise = "For an overlap of 1.5 and areas of 3 and 3.5 the answer is 3/6.5."
    expect_close(values, right, hints, otherwise)
    return "With hard predictions this is the F1 score."


DICE_MISTAKES = [
    "Void pixels count: where the truth is 255, a prediction must not add to the area.",
    "You took 255 for cat; it is void, and counts nowhere.",
    "255 is a number like any other to a product or a sum; compare with 1 first.",
    "That is the IoU; Dice divides twice the overlap by the sum of both areas.",
    "The overlap counts twice.",
    "That is 1 - Dice, the loss; return the coefficient.",
    "You divided by the true area only; that is the recall.",
]


def _dice_and_mistakes(truth, p) -> list[float]:
    """Return the Dice coefficient, and what each of `DICE_MISTAKES` makes of it."""
    cat, valid, colored = truth == 1, truth != VOID, truth > 0
    overlap, area, true_area = np.sum(p * cat), np.sum(p * valid), np.sum(cat)
    return [
        2 * overlap / (area + true_area),
        2 * overlap / (np.sum(p) + true_area),
        2 * np.sum(p * colored) / (np.sum(p) + np.sum(colored)),
        2 * np.sum(p * truth) / (np.sum(p) + np.sum(truth)),
        overlap / (area + true_area - overlap),
        overlap / (area + true_area),
        1 - 2 * overlap / (area + true_area),
        overlap / true_area,
    ]


@exercise("4.6")
def pooled_iou(function) -> str:
    truth = np.array([[[1, 1, 1, 255], [0, 0, 1, 255]], [[0, 1, 0, 0], [255, 0, 0, 0]]])
    found = np.array([[[1, 1, 0, 1], [1, 0, 1, 0]], [[0, 0, 1, 0], [1, 0, 0, 0]]])
    value = array(function(truth.copy(), found.copy()))
    if value.ndim:
        raise Wrong("Return one number for all images together.")
    hints = {
        "That is the mean of the images' values; sum up all images before you divide.": 3 / 10,
        "Void pixels count: where the truth is 255, a prediction must not enter the union.": 3 / 9,
        "You took 255 for cat; it is void, and counts nowhere.": 5 / 10,
        "That is the Dice coefficient.": 6 / 10,
        "That is the pixel accuracy.": 9 / 13,
    }
    expect_close(value, 3 / 7, hints, "Here the intersection has 3 pixels and the union 7.")
    return "Void pixels are in neither the intersection nor the union."


@exercise("4.7")
def paired_bootstrap(function) -> str:
    hits = np.array([[60, 20, 90, 10, 35], [50, 2, 90, 20, 30]])
    unions = np.array([[80, 60, 100, 70, 50], [90, 60, 120, 50, 60]])
    draws = np.random.default_rng(0).integers(5, size=(200, 5))
    value = array(function(hits.copy(), unions.copy(), draws.copy()))
    if value.shape != (2,):
        raise Wrong("Return two numbers, the ends of the interval.")
    pooled = hits[:, draws].sum(axis=-1) / unions[:, draws].sum(axis=-1)
    single = (hits / unions)[:, draws].mean(axis=-1)
    low, high = np.percentile(pooled, [2.5, 97.5], axis=1)
    right = np.percentile(pooled[0] - pooled[1], [2.5, 97.5])
    hints = {
        "Subtract on each resampled set first; then take the percentiles of the differences.": (
            [low[0] - low[1], high[0] - high[1]]
        ),
        "That is the mean of the images' values; sum up the drawn images before you divide.": (
            np.percentile(single[0] - single[1], [2.5, 97.5])
        ),
        "The sign is reversed: subtract the second network from the first.": -right[::-1],
        "That interval holds 90%; leave out 2.5% on each side.": (
            np.percentile(pooled[0] - pooled[1], [5, 95])
        ),
        "Put the smaller percentile first.": right[::-1],
    }
    otherwise = "Each row of draws lists the images of one set: sum up their hits and their unions."
    expect_close(value, right, hints, otherwise)
    return "Both networks see the same images, so what makes an image hard for both cancels."
