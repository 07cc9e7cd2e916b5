"""Exercises that check themselves.

A notebook calls `check("1.2", answer)`. The check knows common mistakes and names the one that was
made. The checks of each chapter are in the module of its number.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tutorial_lib.errors import InputError

_CHECKS: dict[str, Callable] = {}


class Wrong(Exception):
    """Raised by a check: the message says what is wrong with the answer and gives a hint."""


class NotAnswered(Exception):
    """Raised where the blank is still in place."""


class NotPassed(Exception):
    """Raised by a graded check. A notebook shows its message as one line, without a traceback."""

    def _render_traceback_(self) -> list[str]:
        return [str(self)]


@dataclass(frozen=True)
class Verdict:
    """How an answer was graded: a state, "right", "wrong" or "open", and a message."""

    state: str
    message: str


def exercise(name: str):
    """Register the check of exercise `name`, e.g. "1.2".

    The decorated function gets the answer. It raises `Wrong` with a hint, or returns a sentence
    that adds something to the right answer.
    """

    def register(function: Callable) -> Callable:
        _CHECKS[name] = function
        return function

    return register


def answered(value):
    """Return `value`, unless it is the blank `...` that the reader was to replace."""
    if value is Ellipsis:
        raise NotAnswered
    return value


def pair(answer, names: str) -> tuple:
    """Return an answer that should be a pair, e.g. of names "size, stamps"."""
    if not isinstance(answer, tuple | list) or len(answer) != 2:
        raise Wrong(f"Answer with a pair: ({names}).")
    return answered(answer[0]), answered(answer[1])


def number(answer) -> float:
    """Return an answer that should be one number."""
    if isinstance(answer, bool) or np.ndim(answer) != 0 or not np.isreal(answer):
        raise Wrong("Answer with one number.")
    return answer.item() if hasattr(answer, "item") else answer


def array(result) -> np.ndarray:
    """Return what the reader's function returned, which should be a number or an array."""
    if answered(result) is None:
        raise Wrong("Your function returns nothing; end it with return.")
    return np.asarray(result)


def expect(answer, right, hints: dict, otherwise: str) -> None:
    """Raise `Wrong` if an answer is not right, with the hint for this answer if there is one."""
    if answer in hints:
        raise Wrong(hints[answer])
    if answer != right:
        raise Wrong(otherwise)


def expect_close(value, right, hints: dict, otherwise: str, atol: float = 1e-8) -> None:
    """Do the same as `expect` for measured numbers, or arrays of them: hints are hint → value."""
    if not np.allclose(value, right, rtol=1e-5, atol=atol):
        for hint, wrong in hints.items():
            if np.allclose(value, wrong, rtol=1e-5, atol=atol):
                raise Wrong(hint)
        raise Wrong(otherwise)


def grade(name: str, answer) -> Verdict:
    """Grade an answer without printing; raise InputError if no exercise has this name."""
    chapter = name.split(".")[0]
    if name not in _CHECKS and chapter.isdigit() and 1 <= int(chapter) <= 5:
        module = f"{__name__}.chapter{int(chapter)}"
        sys.modules.pop(module, None)  # a reload of this module has forgotten its checks
        importlib.import_module(module)
    if name not in _CHECKS:
        raise InputError(f"there is no exercise {name!r}; names look like '1.2'")
    try:
        praise = _CHECKS[name](answered(answer))
    except NotAnswered:
        return Verdict("open", "not answered yet. Replace the ... above and run the cell again.")
    except Wrong as hint:
        return Verdict("wrong", f"not yet. {hint}")
    except Exception as error:  # the reader's own code may raise anything
        return Verdict("wrong", f"not yet. Your code raised {type(error).__name__}: {error}")
    return Verdict("right", f"right. {praise}")


def check(name: str, answer, graded: bool = False) -> None:
    """Grade an answer and print the verdict.

    With `graded`, an answer that is not right raises `NotPassed`, which is how a grading program
    recognizes it.
    """
    # nbgrader takes whatever a graded cell writes to stderr for an error, even a warning of NumPy.
    with contextlib.redirect_stderr(io.StringIO()) if graded else contextlib.nullcontext():
        verdict = grade(name, answer)
    mark = {"right": "✓", "wrong": "✗", "open": "○"}[verdict.state]
    line = f"{mark} Exercise {name}: {verdict.message}"
    if graded and verdict.state != "right":
        raise NotPassed(line)
    print(line)
