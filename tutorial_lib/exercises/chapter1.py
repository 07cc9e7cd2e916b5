"""Checks of notebook 01, convolution arithmetic."""

from __future__ import annotations

from tutorial_lib.exercises import Wrong, answered, exercise


@exercise("1.1")
def one_output_pixel(answer) -> str:
    hints = {
        7: "That window starts at x[2, 1]: rows come first.",
        11: "That window starts at x[1, 1]; one more to the right.",
        9: "There are nine ones, but each is multiplied with the pixel under it.",
    }
    if answer in hints:
        raise Wrong(hints[answer])
    if answer != 16:
        raise Wrong("Add up the nine numbers of the window x[1:4, 2:5].")
    return "Nine products, one sum. Divided by nine it would be a blur."


@exercise("1.2")
def alexnet(answer) -> str:
    if answer == 53:
        raise Wrong("You counted the steps; the starting position is one more output.")
    if isinstance(answer, float) and answer != int(answer):
        raise Wrong("A size is whole: the kernel cannot stop half way. Round down before adding 1.")
    if answer == 55:
        raise Wrong("55 is in the paper, but does not follow from 224 pixels without padding.")
    if answer != 54:
        raise Wrong("Put i=224, k=11, s=4, p=0 into ⌊(i + 2p - k) / s⌋ + 1.")
    return "The paper's maps are 55 wide: it must have padded, or used 227 pixels."


@exercise("1.3")
def same_output_size(function) -> str:
    for i, s in [(6, 2), (5, 2), (7, 3), (4, 4), (9, 1)]:
        expected, got = -(-i // s), answered(function(i, s))
        if got == i // s != expected:
            raise Wrong(f"For i={i}, s={s} you rounded down; SAME rounds up.")
        if got == i // s + 1 != expected:
            raise Wrong(f"For i={i}, s={s} there is no remainder, so nothing is to be added.")
        if got != expected:
            raise Wrong(f"For i={i}, s={s} the output has {expected} pixels, not {got}.")
    return "The size of the kernel plays no part."


@exercise("1.4")
def parameters(answer) -> str:
    hints = {
        3 * 3 * 64 * 128: "You left the biases out: one for each output channel.",
        3 * 3 * 128: "Each kernel reads all 64 input channels.",
        (3 * 3 * 64 + 64) * 128: "There is one bias for each output channel, not for each input.",
        (3 * 64 + 1) * 128: "A 3×3 kernel has nine cells, not three.",
    }
    if answer in hints:
        raise Wrong(hints[answer])
    if answer != 73856:
        raise Wrong("Each of the 128 kernels has 3·3·64 weights and one bias.")
    return "The same for a stamp and for a poster."


@exercise("1.5")
def receptive_fields(answer) -> str:
    plain, dilated = answer
    if plain == 14:
        raise Wrong("Each layer adds 2 to a field that starts at 1: 14 layers see 29 pixels.")
    if plain != 15:
        raise Wrong("A 3×3 convolution with stride 1 adds 2 pixels to the field, starting from 1.")
    if dilated != 4:
        raise Wrong("A dilation of d makes the layer add 2d: 1 + 2 + 4 + 8 + 16.")
    return "Dilations that double make the field grow exponentially with depth."
