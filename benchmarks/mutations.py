"""Does the check of the notebooks notice a change? Mutation testing, one change at a time.

    python benchmarks/mutations.py 01 02 --count 10

Each mutant is a notebook in which one thing in one code cell is changed: a number, an operator, a
truth value, a color of the palette, or one letter of a text. It is checked as `make test` checks
the notebook. A mutant that passes is executed once more and compared with the unchanged notebook,
bit by bit: if some cell shows something else, the check has missed the change; if none does, the
change was invisible and does not count.

A mutant takes seconds in chapters 01 and 02, but minutes in the others, which train networks.
"""

from __future__ import annotations

import argparse
import collections
import io
import itertools
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from common import differing_cells, execute, link_caches, notebook_path

from tutorial_lib import CHECKOUT
from tutorial_lib.figures.plotting import PALETTE
from tutorial_tools import report

SWAPPED = {"+": "-", "-": "+", "*": "+", "/": "*", "<": ">", ">": "<", "==": "!=", "!=": "=="}
TRUTH = {"True": "False", "False": "True"}
# A word of a text: not part of an escape sequence, and not code in the braces of an f-string.
WORD = re.compile(r"(?<![\\\w])[a-zA-Z]{3,}(?![^{]*\})")
OUTSIDE = (tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT)


@dataclass(frozen=True)
class Change:
    """One change of a source: its kind, the line before and after, and the changed source."""

    kind: str
    before: str
    after: str
    source: str


def changes(source: str) -> Iterator[Change]:
    """Yield every change of a source that still compiles; comments and docstrings stay."""
    lines, previous = source.splitlines(keepends=True), None
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in (tokenize.NL, tokenize.COMMENT):
            continue
        kind, text = changed(token, previous)
        previous = token
        if text != token.string and token.start[0] == token.end[0]:
            index, line = token.start[0] - 1, token.line
            after = line[: token.start[1]] + text + line[token.end[1] :]
            mutated = "".join([*lines[:index], after, *lines[index + 1 :]])
            try:
                compile(mutated, "mutant", "exec", dont_inherit=True)
            except SyntaxError:
                continue
            yield Change(kind, line.strip(), after.strip(), mutated)


def changed(token, previous) -> tuple[str, str]:
    """Return the kind of change for a token, and what to put in its place."""
    text = token.string
    if token.type == tokenize.NUMBER and text.isdigit():
        return "number", str(int(text) + 1)
    if token.type == tokenize.NUMBER and re.fullmatch(r"[\d.]+(e-?\d+)?", text):
        return "number", repr(float(text) * 1.25 or 0.25)
    if text in TRUTH:
        return "truth value", TRUTH[text]
    if text in SWAPPED and (previous.type != tokenize.OP or previous.string in ")]}"):
        return "operator", SWAPPED[text]  # with two operands
    if token.type == tokenize.STRING and previous and previous.type not in OUTSIDE:
        names, name = list(PALETTE), text.strip("\"'")
        if name in names and previous.string == "[":
            return "color", repr(names[names.index(name) - 1])
        words = list(WORD.finditer(text))
        if words and " " in text:  # otherwise it is a name, not a text that is shown
            place = sum(max(words, key=lambda word: len(word[0])).span()) // 2
            letter = "a" if text[place] in "zZ" else chr(ord(text[place]) + 1)
            return "letter", text[:place] + letter + text[place + 1 :]
    return "", text


def choose(notebook: dict, count: int, seed: int) -> list[tuple[str, Change]]:
    """Draw changes of a notebook's cells (id, change), each kind equally often."""
    kinds = collections.defaultdict(list)
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "code" and not source.startswith("%"):
            for change in changes(source):
                kinds[change.kind].append((cell["id"], change))
    for kind in kinds:
        random.Random(f"{seed} {kind}").shuffle(kinds[kind])
    in_turn = itertools.chain(*itertools.zip_longest(*(kinds[kind] for kind in sorted(kinds))))
    return [drawn for drawn in in_turn if drawn][:count]


def judge(notebook: dict, cell_id: str, change: Change, original: dict, directory: Path) -> str:
    """Check one mutant; return "noticed", "missed" or "invisible"."""
    path = directory / "mutant.ipynb"
    cells = [c | {"source": change.source} if c["id"] == cell_id else c for c in notebook["cells"]]
    path.write_text(json.dumps(notebook | {"cells": cells}), encoding="utf-8")
    command = [sys.executable, "-m", "pytest", "-c", CHECKOUT / "pyproject.toml", "--nbval", "-x"]
    done = subprocess.run([*command, "-p", "no:cacheprovider", path], capture_output=True)
    if done.returncode:
        return "noticed"
    cells = differing_cells(original, execute(path, directory / "executed.ipynb"))
    return "missed" if cells else "invisible"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("chapters", nargs="*", default=["01", "02"])
    parser.add_argument("--count", type=int, default=10, help="mutants per chapter")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    print("| chapter | change | verdict |\n|---|---|---|")
    verdicts = collections.Counter()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        link_caches(directory / "data")
        os.environ["TUTORIAL_DATA"] = str(directory / "data")
        for number in options.chapters:
            path = notebook_path(number)
            notebook, original = report.read_json(path), execute(path, directory / "executed.ipynb")
            for cell_id, change in choose(notebook, options.count, options.seed):
                verdict = judge(notebook, cell_id, change, original, directory)
                verdicts[verdict] += 1
                text = f"{change.kind}, `{change.before}` became `{change.after}`"
                print(f"| {cell_id} | {text} | {verdict} |", flush=True)
    visible = verdicts["noticed"] + verdicts["missed"]
    print(f"\n{verdicts['noticed']} of {visible} visible changes noticed")


if __name__ == "__main__":
    main()
