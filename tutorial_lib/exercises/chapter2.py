"""Checks of notebook 02, transposed convolution."""

from __future__ import annotations

from tutorial_lib.exercises import Wrong, exercise


@exercise("2.1")
def stamping(answer) -> str:
    answer = list(answer)
    if answer == [3, 5]:
        raise Wrong("That is the convolution, which gathers; stamping makes the line longer.")
    if answer == [1, 1, 2, 2, 3, 3]:
        raise Wrong("You stamped with stride 2; with stride 1 neighboring stamps overlap and add.")
    if len(answer) != 4:
        raise Wrong("The output has s (i - 1) + k = 1·2 + 2 = 4 entries.")
    if answer != [1, 3, 5, 3]:
        raise Wrong("Write the three stamps [1, 1], [2, 2], [3, 3] one place apart and add.")
    return "Ends are reached by one stamp, the middle by two."


@exercise("2.2")
def padding_for_doubling(answer) -> str:
    if answer == 2:
        raise Wrong("p is cut off at both ends: solve 2·6 + 4 - 2p = 14.")
    if answer == 0:
        raise Wrong("Without padding the output has 2·6 + 4 = 16 pixels, two too many.")
    if answer != 1:
        raise Wrong("Solve s (i - 1) + k - 2p = o for p, with i=7, k=4, s=2, o=14.")
    return "k=4, s=2, p=1 doubles any size: generators are full of it."


@exercise("2.3")
def unet_upconvolution(answer) -> str:
    size, stamps = answer
    if size == 57:
        raise Wrong("s (i - 1) + k is 2·27 + 2, not 2·28 + 1.")
    if size != 56:
        raise Wrong("The size is s (i - 1) + k with i=28, k=2, s=2.")
    if stamps != 1:
        raise Wrong("Stamps of 2×2 that stand 2 apart: do they overlap at all?")
    return "No overlap, so no checkerboard from counting, and no smoothing either."


@exercise("2.4")
def bilinear_of_32(answer) -> str:
    numbers, stamps = answer
    if numbers == 32 * 32:
        raise Wrong("The tent falls to zero at the *next* input: it is 2·32 pixels wide.")
    if numbers != 64 * 64:
        raise Wrong("The kernel is 2f × 2f with f = 32.")
    if stamps == 2:
        raise Wrong("Two along each axis; a picture has two axes.")
    if stamps != 4:
        raise Wrong("Along one axis 64 / 32 = 2 tents overlap; in a picture that is 2·2.")
    return "Four corners, weighted by nearness: bilinear interpolation."
