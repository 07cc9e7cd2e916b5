"""Small changes of a Python source, one at a time: what `mutations.py` draws from."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass

from tutorial_lib.figures.plotting import PALETTE

SWAPPED = {ast.Add: "-", ast.Sub: "+", ast.Mult: "+", ast.Div: "*", ast.FloorDiv: "*"}
SWAPPED |= {ast.Lt: ">", ast.Gt: "<", ast.LtE: ">", ast.GtE: "<", ast.Eq: "!=", ast.NotEq: "=="}
SYMBOLS = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.FloorDiv: "//"}
SYMBOLS |= {ast.Lt: "<", ast.Gt: ">", ast.LtE: "<=", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!="}
HEX = re.compile(r"#[0-9A-Fa-f]{6}")
SHAPES = {"size", "shape", "figsize", "figure", "zeros", "ones", "reshape", "empty", "full"}
SIMPLE = (ast.Expr, ast.Assign, ast.AugAssign, ast.AnnAssign, ast.Return, ast.Assert)


@dataclass(frozen=True)
class Change:
    """One change of a source.

    Attributes:
        kind: What was changed: "number", "seed", "shape", "label", "color", "truth value",
            "operator" or "line left out".
        before, after: The changed piece.
        lines: First and last line of the statement it stands in, from 1.
        inside: Whether that statement is in a function.
        source: The whole source, changed.
    """

    kind: str
    before: str
    after: str
    lines: tuple[int, int]
    inside: bool
    source: str


def changes(source: str) -> Iterator[Change]:
    """Yield every change of a source that still compiles."""
    for change in _changes(source):
        try:
            compile(change.source, "mutant", "exec", dont_inherit=True)
        except SyntaxError:
            continue
        yield change


def _changes(source: str) -> Iterator[Change]:
    text = _Text(source)
    tree = ast.parse(source)
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    for node in ast.walk(tree):
        ancestors = list(_ancestors(node, parents))
        if _is_docstring(node, ancestors) or _in_annotation(node, ancestors):
            continue
        for kind, begin, end, after in _edits(node, ancestors, text):
            statement = next((n for n in [node, *ancestors] if isinstance(n, SIMPLE)), node)
            yield Change(
                kind,
                text.raw[begin:end].decode(),
                after,
                (statement.lineno, statement.end_lineno),
                any(isinstance(n, ast.FunctionDef | ast.Lambda) for n in ancestors),
                (text.raw[:begin] + after.encode() + text.raw[end:]).decode(),
            )


class _Text:
    """A source as bytes, for the columns of syntax trees count bytes."""

    def __init__(self, source: str):
        self.raw = source.encode()
        self.starts = [0]
        for line in source.splitlines(keepends=True):
            self.starts.append(self.starts[-1] + len(line.encode()))

    def span(self, node) -> tuple[int, int]:
        begin = self.starts[node.lineno - 1] + node.col_offset
        return begin, self.starts[node.end_lineno - 1] + node.end_col_offset


def _ancestors(node, parents) -> Iterator[ast.AST]:
    while node in parents:
        node = parents[node]
        yield node


def _is_docstring(node, ancestors) -> bool:
    """Say whether a node is a text that stands alone, or such a statement."""
    inner = node.value if isinstance(node, ast.Expr) else node
    if not (isinstance(inner, ast.Constant) and isinstance(inner.value, str)):
        return False
    return isinstance(node, ast.Expr) or (bool(ancestors) and isinstance(ancestors[0], ast.Expr))


def _in_annotation(node, ancestors) -> bool:
    chain = [node, *ancestors]
    return any(
        child in (getattr(parent, "annotation", None), getattr(parent, "returns", None))
        for child, parent in zip(chain, chain[1:], strict=False)
    )


def _edits(node, ancestors, text) -> Iterator[tuple[str, int, int, str]]:
    """Yield kind, first byte, byte after the last, and what to put there, for one node."""
    if isinstance(node, ast.Constant):
        if not any(isinstance(n, ast.JoinedStr) for n in ancestors):
            yield from _constant(node, ancestors, *text.span(node), text.raw)
    elif isinstance(node, ast.JoinedStr):
        if not any(isinstance(n, ast.JoinedStr) for n in ancestors):
            yield from _letter(*text.span(node), text.raw)
    elif isinstance(node, ast.BinOp) and type(node.op) in SWAPPED:
        yield from _operator(text.span(node.left)[1], text.span(node.right)[0], node.op, text.raw)
    elif isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPPED:
        right = text.span(node.comparators[0])[0]
        yield from _operator(text.span(node.left)[1], right, node.ops[0], text.raw)
    elif isinstance(node, ast.Expr | ast.Assign | ast.AugAssign):
        yield "line left out", *text.span(node), "pass"


def _constant(node, ancestors, begin, end, raw):
    value = node.value
    if isinstance(value, bool):
        yield "truth value", begin, end, str(not value)
    elif isinstance(value, int):
        yield _number_kind(node, ancestors), begin, end, str(value + 1)
    elif isinstance(value, float):
        yield _number_kind(node, ancestors), begin, end, repr(value * 1.25 or 0.25)
    elif isinstance(value, str) and HEX.fullmatch(value):
        turned = f"#{value[3:]}{value[1:3]}"  # green, blue, red
        if turned != value:
            yield "color", begin, end, f'"{turned}"'
    elif value in PALETTE and isinstance(ancestors[0], ast.Subscript):
        names = list(PALETTE)
        yield "color", begin, end, f'"{names[(names.index(value) + 1) % len(names)]}"'
    elif isinstance(value, str):
        yield from _letter(begin, end, raw)


def _number_kind(node, ancestors) -> str:
    """Say what a number is, by what it is given to."""
    chain = [node, *ancestors]
    for child, parent in zip(chain, chain[1:], strict=False):
        name = ""
        if isinstance(parent, ast.keyword):
            name = parent.arg or ""
        elif isinstance(parent, ast.Call) and child is not parent.func:
            name = getattr(parent.func, "attr", getattr(parent.func, "id", ""))
        elif isinstance(parent, ast.AnnAssign | ast.Assign):
            target = parent.target if isinstance(parent, ast.AnnAssign) else parent.targets[0]
            name = getattr(target, "id", "")
        if name in ("seed", "default_rng", "RandomState", "PRNGKey"):
            return "seed"
        if name in SHAPES:
            return "shape"
        if name:
            return "number"
    return "number"


def _letter(begin, end, raw):
    """Change one letter in the middle of the longest word of a text: a typing error."""
    text = raw[begin:end].decode()
    prefix = re.match(r"[A-Za-z]*", text)[0]
    plain = text
    if "f" in prefix.lower():
        # Braces hold code: blank them out, innermost first.
        while (shorter := re.sub(r"\{[^{}]*\}", lambda m: " " * len(m[0]), plain)) != plain:
            plain = shorter
    plain = re.sub(r"\\.", "  ", plain)
    plain = " " * len(prefix) + plain[len(prefix) :]
    words = list(re.finditer(r"[a-zA-Z]{2,}", plain))
    if not words:
        return
    word = max(words, key=lambda found: len(found[0]))
    place = (word.start() + word.end()) // 2
    letter = text[place]
    other = {"z": "a", "Z": "A"}.get(letter) or chr(ord(letter) + 1)
    at = begin + len(text[:place].encode())
    yield "label", at, at + 1, other


def _operator(left, right, kind, raw):
    """Exchange the one operator between two operands."""
    between = raw[left:right].decode()
    symbol = SYMBOLS[type(kind)]
    if between.count(symbol) == 1:
        begin = left + len(between[: between.index(symbol)].encode())
        yield "operator", begin, begin + len(symbol), SWAPPED[type(kind)]
