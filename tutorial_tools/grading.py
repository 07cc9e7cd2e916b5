"""Grading without nbgrader: `tutorial grade FOLDER…`.

A student's notebook runs in a fresh kernel, cell by cell, and goes on after an error. Its own
checks do not count: after each cell with an answer, the check of the stored chapter runs. A cell
that takes too long or ends the kernel is left out, and the others run again.
"""

from __future__ import annotations

import logging
import re
import subprocess
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tutorial_lib.errors import InputError, read_text
from tutorial_tools import canonical, handout, report, runner

FIELDS = ("student", "chapter", "points", "of", "reasons", "file")
RESTARTS = 10  # per notebook, because each costs a run of the whole notebook
CUT_OFF = ["unshare", "--net", "--map-root-user"]  # starts a program without a network
CHECK = re.compile(r"""\bcheck\(\s*["'](\d+\.\d+)["']""")
GRADE_ID = re.compile(r"(?:answer|exercise)-(\d+)-(\d+)")


@dataclass
class Step:
    """A piece of code that is run.

    Attributes:
        limit: Seconds that it may take.
        cell: The student's code cell that it is or follows, counted from 1.
        exercise: The exercise that it answers or grades, if any.
        grades: Whether it is the check of the exercise.
        error: What went wrong; empty if nothing did.
        left_out: Whether it takes too long or ends the kernel.
    """

    source: str
    limit: int
    cell: int
    exercise: str
    grades: bool = False
    error: str = ""
    left_out: bool = False


class Chapter:
    """What is needed of a stored chapter to grade it."""

    def __init__(self, path: Path):
        cells = report.read_json(path)["cells"]
        self.name = path.stem
        self.exercises = {e.name: e for e in handout.exercises({"cells": cells})}
        self.blanks = {exercise.cell: name for name, exercise in self.exercises.items()}
        self.solutions = {cell["id"] for cell in cells if canonical.is_solution(cell)}
        # A cell keeps its id in another version of the chapter, but loses it in some editors.
        self.own = {cell["id"] for cell in cells} | {"".join(cell["source"]) for cell in cells}

    def exercise_of(self, cell) -> str:
        """Return the exercise that a student's cell belongs to, or an empty string."""
        named = GRADE_ID.fullmatch(cell.metadata.get("nbgrader", {}).get("grade_id", ""))
        called = CHECK.search(cell.source)
        name = ".".join(named.groups()) if named else self.blanks.get(cell.get("id"))
        name = name or (called[1] if called else "")
        return name if name in self.exercises else ""

    def steps(self, cells: list, limit: int) -> list[Step]:
        """Return what to run of a student's code cells, with our checks in place of theirs."""
        steps = []
        for number, cell in enumerate(cells, start=1):
            if canonical.is_solution(cell) or cell.get("id") in self.solutions:
                continue
            name = self.exercise_of(cell)
            if not cell.metadata.get("nbgrader", {}).get("grade"):
                # What the chapter does itself may take long, for example a training.
                ours = not name and not self.own.isdisjoint({cell.get("id"), cell.source})
                most = max(limit, runner.CELL_TIMEOUT) if ours else limit
                steps.append(Step(cell.source, most, number, name))
            if name and not (steps and steps[-1].grades and steps[-1].exercise == name):
                steps.append(Step(self.exercises[name].check, limit, number, name, grades=True))
        return steps

    def result(self, steps: list[Step]) -> tuple[int, str]:
        """Return the points, and the reasons why the others are missing."""
        reasons = {}
        for name in self.exercises:
            mine = [step for step in steps if step.exercise == name]
            checks = [step.error for step in mine if step.grades]
            if "" not in checks:
                errors = [step.error for step in mine if step.error and not step.grades]
                reasons[name] = [*errors, *checks, "there is no cell for it"][0]
        texts = [f"{name}: {reason}" for name, reason in reasons.items()]
        others = [step for step in steps if step.error and not step.exercise]
        if texts and others:
            texts.append(f"also, in code cell {others[0].cell}: {others[0].error}")
        return len(self.exercises) - len(reasons), " | ".join(texts)


def grade_class(
    folders: Iterable[Path], limit: int, echo: Callable[[str], None]
) -> Iterator[dict[str, object]]:
    """Grade what students handed in, and yield a row for each chapter of each student.

    A chapter that one student handed in is expected from all.

    Args:
        folders: Each holds a folder or a notebook per student, or is the folder of one student.
        limit: Seconds that a cell may take, unless it is the chapter's own.
    """
    chapters = [Chapter(path) for path in runner.find_notebooks()]
    students = [found for folder in folders for found in _submissions(folder, chapters)]
    read = {path: _read(path, chapters, limit) for _, paths in students for path in paths}
    expected = dict.fromkeys(chapter for chapter, *_ in read.values() if chapter)
    if not (command := CUT_OFF if _can_be_cut_off() else []):
        echo("This system does not let us cut off the network, so the notebooks can use it.")
    for number, (student, paths) in enumerate(students, start=1):
        for path in paths:
            chapter, steps, reasons = read[path]
            row = {"student": student, "points": 0, "reasons": reasons, "file": path}
            if chapter:
                echo(f"[{number}/{len(students)}] {student}, {chapter.name} …")
                _run(steps, command)
                row["points"], row["reasons"] = chapter.result(steps)
                row |= {"chapter": chapter.name, "of": len(chapter.exercises)}
                echo(f"      {row['points']} of {row['of']}")
            yield row
        missing = expected.keys() - {read[path][0] for path in paths}
        for chapter in sorted(missing, key=lambda chapter: chapter.name):
            row = {"student": student, "chapter": chapter.name, "points": 0}
            yield row | {"of": len(chapter.exercises), "reasons": "no notebook of this chapter"}
        if not paths and not missing:
            yield {"student": student, "points": 0, "reasons": "no notebook"}


def _submissions(folder: Path, chapters: list[Chapter]) -> Iterator[tuple[str, list[Path]]]:
    """Yield each student of a folder with the student's notebooks."""
    entries = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    if not entries or {entry.stem for entry in entries} & {chapter.name for chapter in chapters}:
        entries = [folder]  # of one student
    for entry in entries:
        found = sorted(entry.rglob("*")) if entry.is_dir() else [entry]
        found = [path for path in found if path.suffix.lower() == ".ipynb"]
        name = entry.absolute().name
        name = name[: -len(".ipynb")] if name.lower().endswith(".ipynb") else name
        yield name, [path for path in found if ".ipynb_checkpoints" not in path.parts]


def _read(
    path: Path, chapters: list[Chapter], limit: int
) -> tuple[Chapter | None, list[Step], str]:
    """Return the chapter of a file and what to run, or what is wrong with the file."""
    import nbformat

    try:
        with warnings.catch_warnings(action="ignore"):
            cells = nbformat.reads(read_text(path), as_version=4).cells
        code = [cell for cell in cells if cell.cell_type == "code"]
        count = {c: sum(bool(c.exercise_of(cell)) for cell in code) for c in chapters}
        chapter = max(chapters, key=lambda c: (count[c], path.stem.startswith(c.name)))
        if not count[chapter] and not path.stem.startswith(chapter.name):
            return None, [], "no cell of it belongs to an exercise"
        return chapter, chapter.steps(code, limit), ""
    except Exception as error:  # a file that is no notebook raises errors of every kind
        reason = error if isinstance(error, InputError) else type(error).__name__
        return None, [], f"it cannot be read as a notebook ({reason})"


def _can_be_cut_off() -> bool:
    try:
        return subprocess.run([*CUT_OFF, "true"], capture_output=True).returncode == 0
    except OSError:
        return False


def _run(steps: list[Step], command: list[str]) -> None:
    """Run steps and note their errors, again in a fresh kernel without a step that ended it."""
    for _ in range(RESTARTS + 1):
        remaining = [step for step in steps if not step.left_out]
        for step in remaining:
            step.error = "it did not run, because too many other cells ended the kernel"
        if _reaches_the_end(remaining, command):
            return


def _reaches_the_end(steps: list[Step], command: list[str]) -> bool:
    """Run steps in one kernel, until one of them has to be left out; return whether none had."""
    import nbformat
    from nbclient.exceptions import CellTimeoutError, DeadKernelError

    cells = [nbformat.v4.new_code_cell(s.source, metadata={"limit": s.limit}) for s in steps]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        client = _client(nbformat.v4.new_notebook(cells=cells), Path(folder), command)
        with client.setup_kernel(stderr=subprocess.DEVNULL):  # TensorFlow is talkative
            for number, (step, cell) in enumerate(zip(steps, cells, strict=True)):
                client.reply = {}
                try:
                    client.execute_cell(cell, number)
                    step.error = _error(client.reply)
                    # After a call of exit(), the kernel ends as soon as the cell is done.
                    payload = client.reply.get("payload", [])
                    step.left_out = any(part["source"] == "ask_exit" for part in payload)
                except (CellTimeoutError, DeadKernelError) as error:
                    too_long = isinstance(error, CellTimeoutError)
                    step.error = f"it took longer than {step.limit} s" if too_long else ""
                    step.left_out = True
                if step.left_out:
                    step.error = step.error or "it ended the kernel; was there enough memory?"
                    return False
    return True


def _client(notebook, folder: Path, command: list[str]):
    """Return what runs the cells of a notebook, in a kernel that is started by a command.

    It works in a folder of its own, so that no file of a student takes the place of a module.
    """
    from jupyter_client.manager import AsyncKernelManager
    from nbclient import NotebookClient

    class Manager(AsyncKernelManager):
        def format_kernel_cmd(self, extra_arguments=None):
            return [*command, *super().format_kernel_cmd(extra_arguments)]

    class Client(NotebookClient):
        def output(self, *message):
            """Keep no output, because a cell that does not end may print without end."""

    client = Client(
        notebook,
        kernel_manager_class=Manager,
        kernel_name="python3",
        resources={"metadata": {"path": str(folder)}},
        extra_arguments=["--InteractiveShellApp.ignore_cwd=True", "--log-level=ERROR"],
        startup_timeout=180,
        shutdown_kernel="immediate",  # a busy kernel would not hear a polite request
        allow_errors=True,
        timeout_func=lambda cell: cell.metadata["limit"],
        on_cell_executed=lambda execute_reply, **_: client.reply.update(execute_reply["content"]),
        log=logging.getLogger(__name__),
    )
    client.log.setLevel(logging.CRITICAL)  # the reasons are in the table
    client.create_kernel_manager()
    if command:  # without a network there is no loopback; a kernel can be reached through files
        client.km.transport, client.km.ip = "ipc", str(folder / "kernel")
    return client


def _error(reply: dict) -> str:
    """Return what a cell's reply says about an error, in one line; empty if there was none."""
    if reply.get("status") != "error":
        return ""
    message = runner.one_line(reply["evalue"])
    if reply["ename"] == "NotPassed":
        return message.partition(": ")[2]
    return f"{reply['ename']}: {message}"
