"""Checks of notebook 04, U-Net."""

from __future__ import annotations

import numpy as np

from tutorial_lib.exercises import Wrong, answered, exercise


@exercise("4.1")
def smallest_input(answer) -> str:
    from tutorial_lib.models import unet

    right = next(
        s for s in unet.valid_input_sizes(4, 500, 900) if unet.valid_output_size(s, 4) >= 500
    )
    if answer == right - 184:
        raise Wrong("That is the size of the output; the input is 184 pixels larger.")
    if answer not in unet.valid_input_sizes(4, 1, 2000):
        raise Wrong(f"{answer} does not halve evenly four times.")
    if unet.valid_output_size(answer, 4) < 500:
        raise Wrong(f"Its output has only {unet.valid_output_size(answer, 4)} pixels.")
    if answer != right:
        raise Wrong("That works, but a smaller input does too.")
    return "A depth of 4 always costs 184 pixels; sizes come in steps of 16."


@exercise("4.2")
def averaged_label(answer) -> str:
    if answer == 127:
        raise Wrong("The sum is 256.")
    if answer != 128:
        raise Wrong("Average 1 and 255.")
    return "Class 128 does not exist: averaging labels invents things."


@exercise("4.3")
def bottom_field(answer) -> str:
    hints = {
        16: "That is after the second pooling; two convolutions follow.",
        24: "That is after the first of the two convolutions at the bottom.",
        14: "That is before the second pooling.",
        68: "That is for a depth of 3; ours goes down twice.",
    }
    if answer in hints:
        raise Wrong(hints[answer])
    if answer != 32:
        raise Wrong("Take the last field of 2 times (3, 1), (3, 1), (2, 2), then twice (3, 1).")
    return "Half as wide as the picture inside its frame: enough to see a cat, not the whole scene."


@exercise("4.4")
def intersection_over_union(function) -> str:
    truth = np.array([[1, 1, 1, 0], [0, 0, 0, 0]])
    guess = np.array([[0, 1, 1, 1], [1, 0, 0, 0]])
    value = float(answered(function(truth, guess)))
    hints = {
        5 / 8: "That is pixel accuracy: the background must not count.",
        2 / 7: "You added the two areas; the union counts their intersection once.",
        4 / 7: "That is the Dice score, 2·intersection / (sum of areas).",
        2 / 3: "You divided by the true area; the union also holds what was found wrongly.",
        2 / 4: "You divided by the predicted area; the union also holds what was missed.",
    }
    for wrong, hint in hints.items():
        if np.isclose(value, wrong):
            raise Wrong(hint)
    if not np.isclose(value, 2 / 5):
        raise Wrong("For masks with 2 common pixels and 5 in either the answer is 2/5.")
    return "The ConfusionMatrix of the library does the same for all classes at once."
