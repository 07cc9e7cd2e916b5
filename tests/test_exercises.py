"""The exercises: the blank is open, the solution right, the usual mistakes named."""

import numpy as np
import pytest
from scipy import signal

from tutorial_lib import exercises
from tutorial_lib.errors import InputError
from tutorial_lib.models import unet


def my_conv2d(x, w, s, p):
    return signal.correlate2d(np.pad(x, p), w, mode="valid")[::s, ::s]


def stamp2d(x, w, s, add=True):
    y = np.zeros((s * (len(x) - 1) + len(w),) * 2)
    for row, column in np.ndindex(x.shape):
        place = slice(row * s, row * s + len(w)), slice(column * s, column * s + len(w))
        y[place] = add * y[place] + x[row, column] * w
    return y


def in_place(x, w, s, p):
    y = my_conv2d(x, w, s, p)
    x[0, 0] += 1
    return y


def padded_once(x, w, s, p):
    return my_conv2d(np.pad(x, ((p, 0), (p, 0))), w, s, 0)


RIGHT = {
    "1.1": 16,
    "1.2": 54,
    "1.3": lambda i, s: -(-i // s),
    "1.4": 73856,
    "1.5": (15, 4),
    "1.6": my_conv2d,
    "2.1": [1, 3, 5, 3],
    "2.2": 1,
    "2.3": (56, 1),
    "2.4": lambda i, k, s, p, e: s * (i - 1) + k - 2 * p + e,
    "2.5": (4096, 4),
    "2.6": stamp2d,
    "3.1": 6336,
    "4.1": next(s for s in unet.valid_input_sizes(4, 500, 900) if s - 184 >= 500),
    "4.2": 128,
    "4.3": 68,
    "4.4": lambda t, p: np.sum(t & p) / np.sum(t | p),
    "5.1": (64, 0, 0),
    "5.2": (8, 13),
    "5.3": 2058,
    "5.4": lambda losses, labels: np.sum(losses[labels != 255]) / max(1, np.sum(labels != 255)),
    "5.5": np.mean([50 / 70, 20 / 35, 10 / 15]),
}
WRONG = [
    ("1.1", 7, "rows come first"),
    ("1.2", 53, "starting position"),
    ("1.2", 54.25, "Round down"),
    ("1.3", lambda i, s: i // s, "SAME rounds up"),
    ("1.3", lambda i, s: i // s + 1, "no remainder"),
    ("1.4", 73728, "biases"),
    ("1.5", (14, 4), "29 pixels"),
    ("1.6", padded_once, "counts on both sides"),
    ("1.6", lambda x, w, s, p: my_conv2d(x, w, 1, p), "skip to every s-th"),
    ("1.6", lambda x, w, s, p: my_conv2d(x, w, s, p)[1:, 1:], "starting position"),
    ("1.6", lambda x, w, s, p: my_conv2d(x, w, s, p)[0], "should have the shape (3, 3)"),
    ("1.6", lambda x, w, s, p: my_conv2d(x, w[::-1, ::-1], s, p), "flipped the kernel"),
    ("1.6", lambda x, w, s, p: my_conv2d(x, w.T, s, p), "of the kernel are exchanged"),
    ("1.6", lambda x, w, s, p: my_conv2d(x.T, w, s, p), "of the input are exchanged"),
    ("1.6", lambda x, w, s, p: my_conv2d(np.pad(x, p, "edge"), w, s, 0), "adds zeros"),
    (
        "1.6",
        lambda x, w, s, p: my_conv2d(x, w, 1, p)[tuple([slice(len(my_conv2d(x, w, s, p)))] * 2)],
        "one pixel apart",
    ),
    ("1.6", lambda x, w, s, p: 2 * my_conv2d(x, w, s, p), "Check your first output"),
    ("1.6", in_place, "changed its input"),
    ("2.1", [3, 5], "gathers"),
    ("2.1", [1, 1, 2, 2, 3, 3], "with stride 2"),
    ("2.2", 2, "both ends"),
    ("2.3", (57, 1), "2·27"),
    ("2.4", lambda i, k, s, p, e: s * i + k - 2 * p + e, "i - 1 steps"),
    ("2.4", lambda i, k, s, p, e: s * (i - 1) + k - p + e, "both sides"),
    ("2.4", lambda i, k, s, p, e: s * (i - 1) + k + 2 * p + e, "smaller"),
    ("2.4", lambda i, k, s, p, e: s * (i - 1) + k - 2 * p, "output padding"),
    ("2.4", lambda i, k, s, p, e: (i + 2 * p - k) // s + 1, "goes down"),
    ("2.4", lambda i, k, s, p, e: 0, "the size is 6, not 0"),
    ("2.5", (1024, 4), "64 pixels wide|2·32 pixels wide"),
    ("2.5", (4096, 2), "two axes"),
    ("2.6", lambda x, w, s: stamp2d(x, w, s, add=False), "overwrite"),
    ("2.6", lambda x, w, s: stamp2d(x, w[::-1, ::-1], s), "turned the kernel"),
    ("2.6", lambda x, w, s: stamp2d(np.ones_like(x), w, s), "all alike"),
    ("2.6", lambda x, w, s: stamp2d(x, w, s + 1), "rows and columns; yours"),
    ("2.6", lambda x, w, s: stamp2d(x, w, s).T, "Stamp a single input"),
    ("3.1", 6272, "biases"),
    ("3.2", (0.9, np.array([1, 1, 5, 6])), "Count each digit"),
    ("3.2", (2, np.array([1, 1, 5, 6])), "divide it by"),
    ("4.1", 516, "output|halve"),
    ("4.1", 5, "does not halve"),
    ("4.2", 127, "256"),
    ("4.3", 36, "two convolutions follow"),
    ("4.4", lambda t, p: np.mean(t == p), "pixel accuracy"),
    ("4.4", lambda t, p: 2 * np.sum(t & p) / (np.sum(t) + np.sum(p)), "Dice"),
    ("5.1", (128, 0, 0), "class 1"),
    ("5.2", (7, 12), "starting position"),
    ("5.3", 2016, "biases"),
    ("5.4", lambda losses, labels: np.sum(losses[labels != 255]) / labels.size, "all pixels"),
    ("5.4", lambda losses, labels: np.mean(losses), "void pixels too"),
    ("5.4", lambda losses, labels: np.sum(losses[labels != 255]), "the sum"),
    ("5.4", lambda losses, labels: np.mean(losses[(labels != 255) & (labels != 0)]), "a class too"),
    ("5.4", lambda losses, labels: np.sum(losses[labels != 255]) / np.sum(labels != 255), "zero"),
    ("5.5", 0.8, "pixel accuracy"),
    ("5.5", np.mean([50 / 60, 20 / 30, 1]), "mean accuracy"),
]


@pytest.mark.parametrize("name", RIGHT)
def test_right_answers(name):
    verdict = exercises.grade(name, RIGHT[name])
    assert verdict.state == "right", verdict.message


@pytest.mark.parametrize(("name", "answer", "hint"), WRONG)
def test_usual_mistakes_are_named(name, answer, hint):
    verdict = exercises.grade(name, answer)
    assert verdict.state == "wrong"
    assert any(part in verdict.message for part in hint.split("|")), verdict.message


@pytest.mark.parametrize("name", RIGHT)
def test_blanks_are_open_and_nonsense_does_not_crash(name):
    blank = (lambda *args: ...) if callable(RIGHT[name]) else ...
    assert exercises.grade(name, blank).state == "open"
    assert exercises.grade(name, "nonsense").state == "wrong"


def test_frequency_right():
    assert exercises.grade("3.2", (0.5, np.array([1, 1, 5, 6]))).state == "right"


def test_code_that_raises_is_quoted():
    verdict = exercises.grade("1.3", lambda i, s: i / 0)
    assert verdict.state == "wrong" and "ZeroDivisionError" in verdict.message


def test_unknown_exercise():
    with pytest.raises(InputError, match="there is no exercise '9.9'"):
        exercises.grade("9.9", 1)


def test_check_prints_one_line(capsys):
    exercises.check("2.2", 1)
    exercises.check("2.2", ...)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("✓ Exercise 2.2: right.")
    assert lines[1].startswith("○ Exercise 2.2: not answered yet.")
