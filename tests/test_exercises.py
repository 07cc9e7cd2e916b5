"""The exercises: the blank is open, the solution right, the usual mistakes named."""

import numpy as np
import pytest

from tutorial_lib import exercises
from tutorial_lib.errors import InputError
from tutorial_lib.models import unet

RIGHT = {
    "1.1": 16,
    "1.2": 54,
    "1.3": lambda i, s: -(-i // s),
    "1.4": 73856,
    "1.5": (15, 4),
    "2.1": [1, 3, 5, 3],
    "2.2": 1,
    "2.3": (56, 1),
    "2.4": (4096, 4),
    "3.1": 6336,
    "4.1": next(s for s in unet.valid_input_sizes(4, 500, 900) if s - 184 >= 500),
    "4.2": 128,
    "4.3": 68,
    "4.4": lambda t, p: np.sum(t & p) / np.sum(t | p),
    "5.1": (64, 0, 0),
    "5.2": (8, 13),
    "5.3": 2058,
    "5.4": np.mean([50 / 70, 20 / 35, 10 / 15]),
}
WRONG = [
    ("1.1", 7, "rows come first"),
    ("1.2", 53, "starting position"),
    ("1.2", 54.25, "Round down"),
    ("1.3", lambda i, s: i // s, "SAME rounds up"),
    ("1.3", lambda i, s: i // s + 1, "no remainder"),
    ("1.4", 73728, "biases"),
    ("1.5", (14, 4), "29 pixels"),
    ("2.1", [3, 5], "gathers"),
    ("2.2", 2, "both ends"),
    ("2.3", (57, 1), "2·27"),
    ("2.4", (1024, 4), "64 pixels wide|2·32 pixels wide"),
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
    ("5.4", 0.8, "pixel accuracy"),
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
