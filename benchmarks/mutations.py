"""How much slips through the check of the notebooks? Mutation testing, one change at a time.

    python benchmarks/mutations.py 01 02 --count 40
    python benchmarks/mutations.py 03 04 05 --count 12 --log build/mutations.jsonl

Each mutant is a copy of the project in which one thing is changed: a number, a seed, a shape, a
letter of a label, a color, an operator, a line left out, in a cell of the notebook or in a line of
the library that the notebook executes. The notebook is then checked as `make test` checks it. What
a mutant that passes has shown is compared with the original bit by bit: if nothing differs, the
reader sees no change and the mutant does not count. What is left has slipped through.

Heavy chapters are affordable because the check stops at the first cell that fails, and because a
training is replayed if the change cannot matter to it (see `replaying.py`). Composed scenes come
from the cache, so their composer is not mutated.

With `--log`, each verdict is appended to a file, and mutants that are in it are not tried again: an
interrupted run goes on, and `--minutes` ends one. `--summary` prints the table from the file alone.
"""

from __future__ import annotations

import argparse
import collections
import concurrent.futures
import contextlib
import hashlib
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
sys.path.insert(0, str(ROOT))

from benchmarks import forkserver, mutants, recording  # noqa: E402, the folder is not installed
from benchmarks.copies import copy_project, notebook_path, put  # noqa: E402

SHARE_IN_LIBRARY = 0.4
TIMEOUT = 3600  # seconds
VERDICTS = ("noticed", "slipped", "invisible")


@dataclass(frozen=True)
class Mutant:
    """One change of a project: in `path`, and there in cell `cell` if it is a notebook."""

    notebook: str
    path: str
    cell: str
    change: mutants.Change

    @property
    def name(self) -> str:
        place = " ".join(part for part in (self.path, self.cell) if part)
        change = self.change
        if change.kind == "line left out":
            return f"{place}: left out `{' '.join(change.before.split())[:90]}`"
        old, new = (text.split("\n") for text in (self.original(), change.source))
        number = next(n for n, pair in enumerate(zip(old, new, strict=True)) if len(set(pair)) > 1)
        before, after = old[number].strip(), new[number].strip()
        return f"{place} line {number + 1}: {change.kind}, `{before}` became `{after}`"

    def original(self) -> str:
        path = ROOT / self.path
        if not self.cell:
            return path.read_text(encoding="utf-8")
        return next(source for cell, source in cells(path) if cell == self.cell)


def cells(path: Path):
    """Yield id and source of the code cells whose outputs are compared."""
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "code":
            yield cell["id"], "".join(cell["source"])


def candidates(number: str, executed: set[tuple[str, int]]) -> tuple[list[Mutant], list[Mutant]]:
    """Return all mutants of a chapter: those in its notebook and those in the library."""
    path = notebook_path(number)
    in_notebook = [
        Mutant(path.stem, f"notebooks/{path.name}", cell, change)
        for cell, source in cells(path)
        for change in mutants.changes(source)
    ]
    in_library = [
        Mutant(path.stem, f"tutorial_lib/{name}", "", change)
        for name in sorted({name for name, _ in executed})
        for change in mutants.changes((ROOT / "tutorial_lib" / name).read_text(encoding="utf-8"))
        if change.inside and any((name, line) in executed for line in range_of(change))
    ]
    return in_notebook, in_library


def range_of(change: mutants.Change) -> range:
    return range(change.lines[0], change.lines[1] + 1)


def choose(number: str, count: int, seed: int, executed) -> list[Mutant]:
    """Draw mutants, each kind of change equally often; a longer draw begins with a shorter one."""
    rng = random.Random(f"{seed} {number}")
    streams = [shuffled(pool, rng) for pool in candidates(number, executed)]
    chosen, library = [], 0
    for position in range(count):
        from_library = library < SHARE_IN_LIBRARY * (position + 1)
        stream = streams[from_library] or streams[not from_library]
        if not stream:
            break
        library += from_library
        chosen.append(stream.popleft())
    return chosen


def shuffled(pool: list[Mutant], rng: random.Random) -> collections.deque[Mutant]:
    """Put mutants in random order, one of each kind in turn."""
    kinds = sorted({mutant.change.kind for mutant in pool})
    piles = [[m for m in pool if m.change.kind == kind] for kind in kinds]
    for pile in piles:
        rng.shuffle(pile)
    order = collections.deque()
    while any(piles):
        order.extend(pile.pop() for pile in piles if pile)
    return order


@contextlib.contextmanager
def project(notebook: str, workplace: Path, originals: dict[str, list] | None = None):
    """Copy what one notebook needs; its caches are linked, so that no mutant spoils another's.

    Given what the original shows, this is stored in the notebook, as `tutorial refresh` would.
    """
    with tempfile.TemporaryDirectory(dir=workplace) as name:
        folder = Path(name)
        copy_project(folder, [notebook])
        (workplace / "data").mkdir(exist_ok=True)
        shutil.copytree(workplace / "data", folder / "home", copy_function=os.link)
        if originals:
            edit(folder / "notebooks" / f"{notebook}.ipynb", "outputs", originals)
        yield folder


def add(source: str, target: str) -> None:
    """Copy a file, unless it is there already."""
    if not Path(target).exists():
        shutil.copy2(source, target)


def edit(path: Path, field: str, values: dict) -> None:
    """Replace one field of some cells of a notebook: id → value."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    for cell in notebook["cells"]:
        if cell["id"] in values:
            cell[field] = values[cell["id"]]
    path.write_text(json.dumps(notebook), encoding="utf-8")


def apply(mutant: Mutant, folder: Path) -> None:
    path = folder / mutant.path
    if not mutant.cell:
        path.write_text(mutant.change.source, encoding="utf-8")
        return
    edit(path, "source", {mutant.cell: mutant.change.source})


def check(notebook: str, folder: Path, workplace: Path, lines: Path | None = None):
    """Check a notebook as `make test` does.

    Returns:
        (whether it passed, what its compared cells showed, bit by bit, what pytest said).
        Whatever goes wrong, counts as not passed.
    """
    shown = folder / "shown.jsonl"
    environment = os.environ | {
        "PYTHONPATH": f"{folder}{os.pathsep}{ROOT}",
        "PYTHONDONTWRITEBYTECODE": "1",
        "IPYTHONDIR": str(workplace / "ipython"),
        "JUPYTER_PATH": str(workplace / "jupyter"),
        "TUTORIAL_DATA": str(folder / "home"),
        "MUTATIONS_TRAININGS": str(workplace / "trainings"),
        "MUTATIONS_PROJECT": str(folder),
        "MUTATIONS_LINES": str(lines or ""),
        recording.OUTPUTS: str(shown),
    }
    output = folder / "said"
    arguments = ["--nbval", "-x", "-q", "-p", "no:cacheprovider", "-p", "benchmarks.recording"]
    try:
        status = forkserver.ask(
            str(workplace / "socket"),
            TIMEOUT,
            cwd=str(folder),
            environment=environment,
            arguments=[*arguments, f"notebooks/{notebook}.ipynb"],
            output=str(output),
        )
    except TimeoutError:
        status = 1
    text = shown.read_text(encoding="utf-8").splitlines() if shown.exists() else []
    return status == 0, text, output.read_text(encoding="utf-8", errors="replace")


@contextlib.contextmanager
def forking(workplace: Path):
    """Run the fork server, and have Jupyter start its kernels there."""
    path = workplace / "socket"
    path.unlink(missing_ok=True)
    kernel = workplace / "jupyter" / "kernels" / "python3"
    kernel.mkdir(parents=True, exist_ok=True)
    program = [sys.executable, "-S", "-E", str(HERE / "forkserver.py"), str(path)]
    spec = {"argv": [*program, "{connection_file}"], "display_name": "forked", "language": "python"}
    (kernel / "kernel.json").write_text(json.dumps(spec), encoding="utf-8")
    server = subprocess.Popen([sys.executable, *program[3:]], stderr=subprocess.DEVNULL)
    try:
        while not path.exists():
            time.sleep(0.1)
            if server.poll() is not None:
                raise SystemExit("the fork server did not start")
        yield
    finally:
        server.terminate()


def prepare(number: str, workplace: Path) -> tuple[set[tuple[str, int]], list[str]]:
    """Check a chapter unchanged: which lines of the library it executes, and what it shows.

    Its trainings are kept for replay. The workplace keeps what was found, too.
    """
    kept = workplace / f"{digest(number)}.json"
    if kept.exists():
        rows, shown = json.loads(kept.read_text(encoding="utf-8"))
        return {(name, line) for name, line in rows}, shown
    startup = workplace / "ipython" / "profile_default" / "startup"
    startup.mkdir(parents=True, exist_ok=True)
    shutil.copy(HERE / "replaying.py", startup / "00-replaying.py")
    (workplace / "trainings").mkdir(exist_ok=True)
    notebook = notebook_path(number).stem
    with project(notebook, workplace) as folder:
        lines, start = folder / "lines", time.monotonic()
        passed, shown, said = check(notebook, folder, workplace, lines)
        print(f"{notebook}: unchanged, {time.monotonic() - start:.0f} s", flush=True)
        if not passed:
            raise SystemExit(f"{notebook} does not pass unchanged:\n{said[-4000:]}")
        shutil.copytree(folder / "home", workplace / "data", copy_function=add, dirs_exist_ok=True)
        text = lines.read_text(encoding="utf-8").split()
    executed = {(name, int(line)) for name, _, line in (row.rpartition(":") for row in text)}
    kept.write_text(json.dumps([sorted(executed), shown]), encoding="utf-8")
    return executed, shown


def digest(number: str) -> str:
    """Return a name for the state of a chapter and the library."""
    found = hashlib.sha256()
    for path in (notebook_path(number), *sorted((ROOT / "tutorial_lib").rglob("*.py"))):
        found.update(path.read_bytes())
    return f"{number}-{found.hexdigest()[:16]}"


def differing(first: list[str], second: list[str]) -> list[str]:
    """Return the ids of the cells that show something else."""
    old, new = ({row[0]: row[1] for row in map(json.loads, rows)} for rows in (first, second))
    return [cell for cell in old | new if old.get(cell) != new.get(cell)]


def judge(
    mutant: Mutant, originals: dict[str, list[str]], workplace: Path, end: float
) -> dict | None:
    """Try one mutant, unless it is later than `end`.

    Returns:
        Its record: verdict, ids of the cells that show something else, seconds and more.
    """
    start = time.monotonic()
    if start > end:
        return None
    stored = {cell: outputs for cell, _, outputs in map(json.loads, originals[mutant.notebook])}
    with project(mutant.notebook, workplace, stored) as folder:
        apply(mutant, folder)
        passed, shown, _ = check(mutant.notebook, folder, workplace)
    changed = differing(originals[mutant.notebook], shown) if passed else []
    verdict = ("slipped" if changed else "invisible") if passed else "noticed"
    return {
        "mutant": mutant.name,
        "notebook": mutant.notebook,
        "kind": mutant.change.kind,
        "place": "notebook" if mutant.cell else "library",
        "verdict": verdict,
        "cells": changed,
        "seconds": round(time.monotonic() - start),
    }


def table(records: list[dict]) -> str:
    """Return the score by chapter and by kind as Markdown, and what slipped through."""
    lines = []
    for title, key in (("chapter", "notebook"), ("kind of change", "kind"), ("place", "place")):
        lines += [f"| {title} | tried | visible | noticed | |", "|---|---:|---:|---:|---:|"]
        groups = sorted({record[key] for record in records})
        for group in [*groups, "all"] if key == "notebook" else groups:
            some = [r for r in records if group in ("all", r[key])]
            tally = collections.Counter(r["verdict"] for r in some)
            visible = tally["noticed"] + tally["slipped"]
            share = f"{tally['noticed'] / visible:.0%}" if visible else ""
            lines.append(f"| {group} | {len(some)} | {visible} | {tally['noticed']} | {share} |")
        lines.append("")
    slipped = [r for r in records if r["verdict"] == "slipped"]
    lines += [f"- {r['mutant']} (cells {', '.join(r['cells'])})" for r in slipped]
    return "\n".join(lines)


def read_log(path: Path | None) -> list[dict]:
    if path is None or not path.exists():
        return []
    return [json.loads(row) for row in path.read_text(encoding="utf-8").splitlines()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("chapters", nargs="*", default=["01", "02"], help="e.g. 01 02")
    parser.add_argument("--count", type=int, default=40, help="mutants a chapter")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--log", type=Path, help="file of verdicts, to go on from")
    parser.add_argument("--minutes", type=float, default=1e9, help="begin no mutant after these")
    parser.add_argument("--summary", action="store_true", help="print the table of a log")
    parser.add_argument("--write", action="store_true", help="put the table into docs/checking.md")
    parser.add_argument("--workplace", type=Path, help="folder whose data/ and trainings/ are kept")
    options, start = parser.parse_args(), time.monotonic()
    records = read_log(options.log)
    if not options.summary:
        records += try_mutants(options, start, records)
    print(table(records))
    if options.write:
        put("mutations", table(records))


def try_mutants(options, start: float, known: list[dict]) -> list[dict]:
    """Try the mutants that are not known yet; return their records."""
    records = []
    with contextlib.ExitStack() as stack:
        workplace = options.workplace or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        workplace.mkdir(parents=True, exist_ok=True)
        workplace = workplace.resolve()
        stack.enter_context(forking(workplace))
        chosen, originals = [], {}
        for number in options.chapters:
            executed, shown = prepare(number, workplace)
            originals[notebook_path(number).stem] = shown
            chosen += choose(number, options.count, options.seed, executed)
        names = {record["mutant"] for record in known}
        new = [mutant for mutant in chosen if mutant.name not in names]
        pool = stack.enter_context(concurrent.futures.ThreadPoolExecutor(options.workers))
        end = start + 60 * options.minutes
        futures = [pool.submit(judge, mutant, originals, workplace, end) for mutant in new]
        for done, future in enumerate(concurrent.futures.as_completed(futures), start=1):
            record = future.result()
            if record is None:
                continue  # no time left
            records.append(record)
            print(f"{done}/{len(new)} {record['verdict']:9} {record['mutant']}", flush=True)
            if options.log:
                with options.log.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(record, ensure_ascii=False) + "\n")
    return records


if __name__ == "__main__":
    main()
