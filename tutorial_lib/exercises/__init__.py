"""Exercises that check themselves.

A notebook calls `check("1.2", answer)`. The check knows the usual mistakes and names the one
that was made. The checks of a chapter stand in the module of its number.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from tutorial_lib.errors import InputError

_CHECKS: dict[str, Callable] = {}


class Wrong(Exception):
    """Raised by a check: the message says what is wrong with the answer, and hints at why."""


class NotAnswered(Exception):
    """Raised where the blank is still in place."""


@dataclass(frozen=True)
class Verdict:
    """How an answer was judged.

    Attributes:
        state: "right", "wrong" or "open".
        message: What the reader is told.
    """

    state: str
    message: str


def exercise(name: str):
    """Register the check of exercise `name`, e.g. "1.2".

    The decorated function gets the answer, raises `Wrong` with a hint or returns a sentence
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


def grade(name: str, answer) -> Verdict:
    """Judge an answer without printing anything.

    Raises:
        InputError: if there is no exercise of that name.
    """
    chapter = name.split(".")[0]
    if name not in _CHECKS and chapter.isdigit() and 1 <= int(chapter) <= 5:
        importlib.import_module(f"{__name__}.chapter{int(chapter)}")
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


def check(name: str, answer) -> None:
    """Judge an answer and tell the reader."""
    verdict = grade(name, answer)
    mark = {"right": "✓", "wrong": "✗", "open": "○"}[verdict.state]
    print(f"{mark} Exercise {name}: {verdict.message}")
