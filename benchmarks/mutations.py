"""How much slips through the check of the notebooks? Mutation testing, one change at a time.

    python benchmarks/mutations.py 01 02 --count 60

Each mutant is a copy of the project in which one thing is changed: a number, a word, an operator,
a constant's name, a line left out, in a cell of a notebook or in a library module that it uses.
The notebook is then checked as `make test` checks it. A mutant that the check lets pass is run
again and its outputs are compared with the original's, bit by bit: if not one of them differs, the
reader sees no change and the mutant does not count. What is left has slipped through.
"""

from __future__ import annotations

import argparse
import ast
import concurrent.futures
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COPIED = ("notebooks", "tutorial_lib", "docs", "data", "pyproject.toml")
# The library modules that a chapter teaches with; a change there changes what it shows.
MODULES = {
    "01": ("convolution", "animation", "plotting", "exercises/chapter1", "widgets"),
    "02": ("convolution", "animation", "plotting", "exercises/chapter2", "models/fcn"),
    "03": ("models/autoencoder", "plotting", "exercises/chapter3", "data/mnist"),
    "04": ("models/unet", "data/records", "data/coco", "exercises/chapter4", "training"),
    "05": ("models/fcn", "models/vgg", "metrics", "exercises/chapter5", "stickers"),
}
SHARE_IN_LIBRARY = 0.4
TIMEOUT = 1200  # seconds
SWAPPED = {ast.Add: "-", ast.Sub: "+", ast.Mult: "+", ast.Div: "*", ast.FloorDiv: "*"}
SWAPPED |= {ast.Lt: ">", ast.Gt: "<", ast.LtE: ">", ast.GtE: "<", ast.Eq: "!=", ast.NotEq: "=="}
SYMBOLS = {ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.Div: "/", ast.FloorDiv: "//"}
SYMBOLS |= {ast.Lt: "<", ast.Gt: ">", ast.LtE: "<=", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!="}


@dataclass(frozen=True)
class Mutant:
    """One change: in `path`, and there in cell `cell` if it is a notebook."""

    notebook: str
    path: str
    cell: str
    line: int
    kind: str
    before: str
    after: str
    source: str  # the whole changed source of the module or cell

    def __str__(self) -> str:
        place = f"{self.path}{' ' + self.cell if self.cell else ''} line {self.line}"
        return f"{place}: {self.kind}, {self.before!r} became {self.after!r}"


def changes(source: str):
    """Yield (kind, line, before, after, changed source) for every change of a Python source."""
    lines = source.splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line.encode()))
    raw = source.encode()

    def span(node):
        begin = starts[node.lineno - 1] + node.col_offset
        return begin, starts[node.end_lineno - 1] + node.end_col_offset

    def replaced(node, begin, end, after, kind):
        changed = (raw[:begin] + after.encode() + raw[end:]).decode()
        return kind, node.lineno, raw[begin:end].decode(), after, changed

    tree = ast.parse(source)
    docstrings = {id(node.body[0].value) for node in ast.walk(tree) if has_docstring(node)}
    for node in ast.walk(tree):
        if id(node) in docstrings:
            continue
        if isinstance(node, ast.Constant):
            begin, end = span(node)
            text = raw[begin:end].decode()
            if isinstance(node.value, bool):
                yield replaced(node, begin, end, str(not node.value), "truth value")
            elif isinstance(node.value, int | float):
                yield replaced(node, begin, end, repr(node.value + 1), "number")
            elif isinstance(node.value, str) and text[:1] in "\"'" and len(node.value) > 1:
                after = text[0] + "other " + text[1:] if text[:3] != '"""' else text
                if after != text:
                    yield replaced(node, begin, end, after, "word")
        elif isinstance(node, ast.BinOp) and type(node.op) in SWAPPED:
            yield from operator(
                node, span(node.left)[1], span(node.right)[0], node.op, raw, replaced
            )
        elif isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPPED:
            right = span(node.comparators[0])[0]
            yield from operator(node, span(node.left)[1], right, node.ops[0], raw, replaced)
        elif isinstance(node, ast.Expr | ast.Assign | ast.AugAssign):
            if isinstance(getattr(node, "value", None), ast.Constant) and isinstance(
                node, ast.Expr
            ):
                continue  # a docstring
            begin, end = span(node)
            yield replaced(node, begin, end, "pass", "line left out")


def has_docstring(node) -> bool:
    body = getattr(node, "body", None)
    return (
        isinstance(body, list)
        and bool(body)
        and isinstance(body[0], ast.Expr)
        and isinstance(body[0].value, ast.Constant)
        and isinstance(body[0].value.value, str)
    )


def operator(node, left, right, kind, raw, replaced):
    """Yield the change of one operator that stands between `left` and `right`."""
    between = raw[left:right].decode()
    symbol = SYMBOLS[type(kind)]
    if between.count(symbol) == 1:
        begin = left + len(between[: between.index(symbol)].encode())
        yield replaced(node, begin, begin + len(symbol), SWAPPED[type(kind)], "operator")


def candidates(number: str) -> tuple[list[Mutant], list[Mutant]]:
    """Return all mutants of a chapter: those in its notebook and those in the library."""
    path = next((ROOT / "notebooks").glob(f"{number}_*.ipynb"))
    in_notebook = [
        Mutant(path.stem, f"notebooks/{path.name}", cell["id"], line, kind, before, after, source)
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]
        if cell["cell_type"] == "code"
        for kind, line, before, after, source in changes("".join(cell["source"]))
    ]
    in_library = [
        Mutant(path.stem, f"tutorial_lib/{module}.py", "", line, kind, before, after, source)
        for module in MODULES[number]
        for kind, line, before, after, source in changes(
            (ROOT / "tutorial_lib" / f"{module}.py").read_text(encoding="utf-8")
        )
    ]
    return in_notebook, in_library


def choose(number: str, count: int, seed: int) -> list[Mutant]:
    """Draw mutants, each kind of change equally often."""
    rng = random.Random(f"{seed} {number}")
    chosen = []
    library = round(count * SHARE_IN_LIBRARY)
    for mutants, wanted in zip(candidates(number), (count - library, library), strict=True):
        kinds = sorted({mutant.kind for mutant in mutants})
        pools = {kind: [m for m in mutants if m.kind == kind] for kind in kinds}
        for pool in pools.values():
            rng.shuffle(pool)
        while wanted > 0 and any(pools.values()):
            for pool in pools.values():
                if pool and wanted > 0:
                    chosen.append(pool.pop())
                    wanted -= 1
    return chosen


def copy_project(folder: Path) -> None:
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            ignore = shutil.ignore_patterns("__pycache__", "cache", "mnist", "coco", "voc")
            shutil.copytree(source, folder / name, ignore=ignore)
        else:
            shutil.copy(source, folder / name)


def apply(mutant: Mutant, folder: Path) -> None:
    path = folder / mutant.path
    if not mutant.cell:
        path.write_text(mutant.source, encoding="utf-8")
        return
    notebook = json.loads(path.read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        if cell["id"] == mutant.cell:
            cell["source"] = mutant.source
    path.write_text(json.dumps(notebook), encoding="utf-8")


def environment(folder: Path) -> dict[str, str]:
    return os.environ | {
        "PYTHONPATH": str(folder),
        "TUTORIAL_DATA": os.environ.get("TUTORIAL_DATA", str(ROOT / "data")),
    }


def passes_check(notebook: str, folder: Path) -> bool:
    """Check a notebook as `make test` does; anything but a pass counts as noticed."""
    command = [sys.executable, "-m", "pytest", "--nbval", "-x", "-q", "-p", "no:cacheprovider"]
    command.append(f"notebooks/{notebook}.ipynb")
    done = run(command, folder)
    return done is not None and done.returncode == 0


def run(command: list[str], folder: Path):
    try:
        return subprocess.run(
            command, cwd=folder, env=environment(folder), capture_output=True, timeout=TIMEOUT
        )
    except subprocess.TimeoutExpired:
        return None


def outputs(notebook: str, folder: Path) -> list:
    """Execute a notebook and return what a reader sees, but for what the check leaves out."""
    result = folder / "executed.ipynb"
    path = f"notebooks/{notebook}.ipynb"
    command = [sys.executable, "-m", "papermill", "--cwd", "notebooks", path, str(result)]
    run(command, folder)
    cells = json.loads(result.read_text(encoding="utf-8"))["cells"]
    return [
        visible(cell["outputs"])
        for cell in cells
        if cell["cell_type"] == "code"
        and "nbval-ignore-output" not in cell["metadata"].get("tags", [])
    ]


def visible(outputs: list[dict]) -> tuple[str, list]:
    """Return the text that a cell printed, however it was cut into messages, and its displays."""
    printed = "".join("".join(o["text"]) for o in outputs if o.get("name") == "stdout")
    displays = [(dict(o["data"]), o.get("metadata")) for o in outputs if "data" in o]
    for data, _ in displays:
        data.pop("application/vnd.jupyter.widget-view+json", None)
    return printed, displays


def judge(mutant: Mutant, originals: dict[str, list]) -> str:
    """Return "noticed", "invisible" or "slipped"."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy_project(folder)
        apply(mutant, folder)
        if not passes_check(mutant.notebook, folder):
            return "noticed"
        return (
            "slipped"
            if outputs(mutant.notebook, folder) != originals[mutant.notebook]
            else "invisible"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("chapters", nargs="*", default=["01", "02"], help="e.g. 01 02")
    parser.add_argument("--count", type=int, default=60, help="mutants a chapter")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    mutants = [
        m for number in options.chapters for m in choose(number, options.count, options.seed)
    ]
    with tempfile.TemporaryDirectory() as name:
        copy_project(Path(name))
        originals = {n: outputs(n, Path(name)) for n in sorted({m.notebook for m in mutants})}
    tally = {"noticed": 0, "invisible": 0, "slipped": 0}
    with concurrent.futures.ThreadPoolExecutor(options.workers) as pool:
        futures = {pool.submit(judge, mutant, originals): mutant for mutant in mutants}
        for done, future in enumerate(concurrent.futures.as_completed(futures), start=1):
            verdict = future.result()
            tally[verdict] += 1
            print(f"{done}/{len(mutants)} {verdict:9} {futures[future]}", flush=True)
    counted = tally["noticed"] + tally["slipped"]
    print(f"{tally}: {tally['noticed'] / counted:.1%} of {counted} visible changes are noticed")


if __name__ == "__main__":
    main()
