"""Checks of notebook 04, U-Net."""

from __future__ import annotations

import numpy as np

from tutorial_lib.data.images import VOID
from tutorial_lib.exercises import Wrong, answered, exercise, number


def _array(answer, name: str = "array") -> np.ndarray:
    if answer is None:
        raise Wrong("Your function returns nothing; end it with return.")
    return np.asarray(answered(answer))


@exercise("4.1")
def run_lengths(function) -> str:
    # Runs that end within a column, a mask that starts with ones, one that is all background.
    cases = [([4, 3, 2, 2, 1], (3, 4)), ([0, 2, 5, 1], (4, 2)), ([15], (3, 5))]
    cases = [(counts, shape, _decoded(counts, *shape)) for counts, shape in cases]
    found = [_array(function(list(counts), *shape)) for counts, shape, _ in cases]
    height, width = cases[0][1]
    if found[0].shape == (width, height):
        raise Wrong(f"A mask of height {height} and width {width} has {height} rows; transpose.")
    if found[0].shape != (height, width):
        raise Wrong(f"The result should have the shape {(height, width)}, not {found[0].shape}.")

    def all_are(wrong) -> bool:
        expected = (wrong(right) for _, _, right in cases)
        return all(np.array_equal(f, e) for f, e in zip(found, expected, strict=True))

    if all_are(lambda right: 1 - right):
        raise Wrong("The first count is one of zeros; if a mask starts with 1, that count is 0.")
    if all_are(lambda right: right.T.reshape(right.shape)):
        raise Wrong("You went along the rows; COCO's runs go down the columns.")
    if all_are(lambda right: 1 - right.T.reshape(right.shape)):
        raise Wrong("The first count is one of zeros, and the runs go down the columns.")
    for (counts, shape, right), mine in zip(cases, found, strict=True):
        if not np.array_equal(mine, right):
            raise Wrong(
                f"For counts {counts} and the shape {shape} the first column is "
                f"{right[:, 0].tolist()}, and so on; yours differs."
            )
    return "COCO's compressed form holds the same counts, written as characters."


def _decoded(counts, height: int, width: int) -> np.ndarray:
    return np.repeat(np.arange(len(counts)) % 2, counts).reshape(width, height).T


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
def bottom_field(answer) -> str:
    if isinstance(answer, tuple | list) and len(answer) == 2:
        raise Wrong("The pair is (size of the field, distance of neighbors); give the size alone.")
    hints = {
        4: "That is the distance between the fields of two neighbors, not the size of one.",
        14: "That is before the second pooling.",
        16: "That is after the second pooling; two convolutions follow.",
        24: "That is after the first of the two convolutions at the bottom.",
        13: "That is without the poolings; each of them doubles what later kernels span.",
        68: "That is for a depth of 3; this net goes down twice.",
        140: "That is for the depth of the paper, 4; this net goes down twice.",
    }
    answer = number(answer)
    if answer in hints:
        raise Wrong(hints[answer])
    if answer != 32:
        raise Wrong("Take the last field of 2 times (3, 1), (3, 1), (2, 2), then twice (3, 1).")
    return "Half as wide as the output of 64: enough to see a cat, not the whole scene."


@exercise("4.4")
def intersection_over_union(function) -> str:
    cases = [
        ([[1, 1, 1, 0, 255, 255], [0, 0, 0, 0, 255, 0]], [[0, 1, 1, 1, 1, 0], [1, 0, 0, 1, 1, 0]]),
        ([[1, 0, 0, 1], [255, 1, 1, 1]], [[1, 1, 0, 0], [1, 1, 0, 1]]),
    ]
    cases = [(np.array(truth), np.array(guess)) for truth, guess in cases]
    values = [_array(function(truth.copy(), guess.copy())) for truth, guess in cases]
    if any(value.ndim for value in values):
        raise Wrong("Return one number for the two masks, not one for each pixel.")
    if np.allclose(values, [_iou(*case) for case in cases]):
        return "The ConfusionMatrix of the library does the same for all classes at once."
    for hint, mistake in MISTAKES.items():
        if np.allclose(values, [mistake(*case) for case in cases]):
            raise Wrong(hint)
    raise Wrong("For masks with 2 common pixels and 6 in either, void left out, the answer is 2/6.")


def _parts(truth, guess, seen=None):
    """Return the numbers of pixels found, missed, wrongly found, and rightly left alone."""
    seen = truth != VOID if seen is None else seen
    cat, said = truth == 1, guess == 1
    pairs = (cat & said, cat & ~said, ~cat & said, ~cat & ~said)
    return [np.sum(part & seen) for part in pairs]


def _iou(truth, guess, seen=None) -> float:
    found, missed, wrong, _ = _parts(truth, guess, seen)
    return found / (found + missed + wrong)


def _accuracy(truth, guess, seen=None) -> float:
    found, missed, wrong, left = _parts(truth, guess, seen)
    return (found + left) / (found + missed + wrong + left)


def _areas(truth, guess, seen=None) -> tuple[int, int]:
    """Return the two areas, true and found, and their intersection last."""
    found, missed, wrong, _ = _parts(truth, guess, seen)
    return found, found + missed, found + wrong


def _share(divisor, seen=None):
    def value(truth, guess):
        found, there, said = _areas(truth, guess, None if seen is None else seen(truth))
        return found / divisor(found, there, said)

    return value


def _everything(truth) -> np.ndarray:
    return np.ones(truth.shape, bool)


MISTAKES = {
    "Void pixels count: where the truth is 255, what the net says is neither right nor wrong.": (
        lambda t, g: _iou(t, g, _everything(t))
    ),
    "You took 255 for cat; it is void, and counts neither above nor below the line.": (
        lambda t, g: _iou(np.minimum(t, 1), g)
    ),
    "255 is a number like any other to & and |, and to a sum; compare with 1 first.": (
        lambda t, g: np.sum(t & g) / np.sum(t | g)
    ),
    "That is pixel accuracy: the background must not count.": _accuracy,
    "That is pixel accuracy, with the void pixels in it: leave out both.": (
        lambda t, g: np.mean(t == g)
    ),
    "You added the two areas; the union counts their intersection once.": (
        _share(lambda found, there, said: there + said)
    ),
    "That is the Dice score, 2·intersection / (sum of areas).": (
        _share(lambda found, there, said: (there + said) / 2)
    ),
    "That is the Dice score, 2·intersection / (sum of areas), with void pixels in it.": (
        _share(lambda found, there, said: (there + said) / 2, _everything)
    ),
    "You divided by the true area; the union also holds what was found wrongly.": (
        _share(lambda found, there, said: there)
    ),
    "You divided by the area that was found; the union also holds what was missed.": (
        _share(lambda found, there, said: said)
    ),
    "You divided by the found area, void pixels included; divide by the union, void left out.": (
        _share(lambda found, there, said: said, _everything)
    ),
}
