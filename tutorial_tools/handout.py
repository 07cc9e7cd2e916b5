"""Chapters for a class: without solutions, in the format of nbgrader, and with an answer key."""

from __future__ import annotations

import ast
import base64
import html
import json
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from tutorial_lib.errors import InputError, write_atomically
from tutorial_tools import canonical, classroom, report, runner

# The check is loaded anew, because a notebook may have put something else in its place.
CHECK_CELL = """\
# This cell is graded. Whatever you change in it is undone before grading.
import importlib

import tutorial_lib.exercises

importlib.reload(tutorial_lib.exercises).check("{}", {}, graded=True)"""
CONFIG = """\
c = get_config()  # noqa: F821
c.CourseDirectory.course_id = "fcn-tutorials"
# The answer cells already hold the blanks that students fill in.
c.ClearSolutions.enabled = False
# Seconds that a cell may take. The longest one of the chapters takes two minutes on two cores that
# have nothing else to do.
c.Execute.timeout = 600
# A file of a student that is called tutorial_lib must not take the place of the library.
c.Execute.extra_arguments = ["--InteractiveShellApp.ignore_cwd=True", "--log-level=ERROR"]
"""
KEY = """\
<!DOCTYPE html>
<html lang="en"><meta charset="utf-8"><title>Answer key and rubrics</title>
<style>
  body {{ font: 11pt/1.45 Georgia, serif; max-width: 44rem; margin: 2rem auto; padding: 0 1rem }}
  h2 {{ break-before: page }} h3, h4 {{ break-after: avoid; margin-bottom: 0 }}
  h3 {{ margin-top: 2rem; border-top: 1px solid #888; padding-top: .7rem }}
  pre {{ white-space: pre-wrap; background: #f3f3f3; padding: .6rem; break-inside: avoid }}
  code, pre {{ font-size: 8.5pt }} .anchor-link {{ display: none }}
</style>
{}</html>
"""
INTRODUCTION = """\
# Answer key and rubrics

Other solutions than the printed one can be right, because the check looks at results. The programs
that grade give one point or none; half a point is our suggestion for grading by hand."""
RUBRIC = """\
- *1 point:* the check passes.
- *No point:* there is no answer, the code raises an error or does not end, or the approach cannot
  work.
- *Half a point:* the approach is right, but the check names a mistake:
"""


@dataclass(frozen=True)
class Exercise:
    """An exercise as it stands in a stored chapter.

    Attributes:
        name: Such as "1.2".
        cell: The id of the cell with the blank.
        blank: The source of this cell, without the check.
        check: The source of the cell that grades the answer.
        solution: The source of the solution, without the check.
        comment: What the check adds to a right answer.
        task: The text between the heading and the blank, in Markdown.
    """

    name: str
    cell: str
    blank: str
    check: str
    solution: str
    comment: str
    task: str


def exercises(notebook: dict) -> list[Exercise]:
    """Return the exercises of a stored chapter, in which each solution follows its blank."""
    found, cells = [], notebook["cells"]
    for before, (blank, cell) in enumerate(zip(cells, cells[1:], strict=False)):
        if canonical.is_solution(cell):
            solution, call = _without_check(cell)
            name, answer = call.args[0].value, ast.unparse(call.args[1])
            printed = "".join("".join(output.get("text", "")) for output in cell["outputs"])
            found.append(
                Exercise(
                    name,
                    blank["id"],
                    _without_check(blank)[0],
                    CHECK_CELL.format(name, answer),
                    solution.removeprefix(canonical.SOLUTION_LINE),
                    printed.partition(": right. ")[2].strip(),
                    _task(cells[:before]),
                )
            )
    return found


def _without_check(cell: dict) -> tuple[str, ast.Call]:
    """Split the source of a cell into what precedes its last statement, and this call."""
    source = "".join(cell["source"])
    last = ast.parse(source).body[-1]
    return "".join(source.splitlines(keepends=True)[: last.lineno - 1]).rstrip(), last.value


def _task(cells: list[dict]) -> str:
    """Return the text after the last heading of an exercise, with the code between."""
    code = "```python\n{}\n```".format
    texts = [("".join(c["source"]), c["cell_type"] == "code") for c in cells]
    whole = "\n\n".join(code(text) if is_code else text for text, is_code in texts)
    return re.split(r"^### Exercise .*\n", whole, flags=re.M)[-1].strip()


def release(notebook: dict, folder: Path) -> dict:
    """Return the version of a chapter, stored in a folder, that students get.

    It has no outputs and no solutions. Each check is a cell of its own, which nbgrader grades and
    restores. Images are inside, and links lead from one folder of the course to the next.
    """
    made = json.loads(classroom.working_copy(notebook))
    blanks, cells = {exercise.cell: exercise for exercise in exercises(notebook)}, []
    for cell in made["cells"]:
        if canonical.is_solution(cell):
            continue
        cells.append(cell)
        if cell["cell_type"] == "markdown":
            _make_independent(cell, folder)
        elif exercise := blanks.get(cell["id"]):
            cell["source"] = exercise.blank
            check = {"id": f"{cell['id']}-check", "source": exercise.check}
            cells.append(cell | check | {"metadata": _graded(f"exercise-{exercise.name}", True)})
            cell["metadata"] |= _graded(f"answer-{exercise.name}", False)
    return made | {"cells": cells}


def _graded(name: str, check: bool) -> dict:
    """Return nbgrader's metadata for a cell with a check, or with an answer."""
    made = {"schema_version": 3, "grade_id": name.replace(".", "-"), "task": False}
    made |= {"grade": check, "locked": check, "solution": not check}
    return {"nbgrader": made | ({"points": 1} if check else {})}


def _make_independent(cell: dict, folder: Path) -> None:
    """Put the images of a text into its cell, and lead its links to the folders of the course."""
    text = "".join(cell["source"])
    for target in re.findall(r"\]\((\.\./[^)]+\.(?:png|gif))\)", text):
        path = folder / target
        content = {f"image/{path.suffix[1:]}": base64.b64encode(path.read_bytes()).decode()}
        cell.setdefault("attachments", {})[path.name] = content
        text = text.replace(f"]({target})", f"](attachment:{path.name})")
    cell["source"] = re.sub(r"\]\((\d\d_\w+)\.ipynb\)", r"](../\1/\1.ipynb)", text)


def write_course(output: Path, names: Iterable[str] = ()) -> Iterator[Path]:
    """Write a course for nbgrader and an answer key, and yield each file.

    `runner.find_notebooks` takes the names; without any, the course has all chapters. Raises
    InputError if one of the files exists, because a teacher may have changed it.
    """
    chapters = {path: report.read_json(path) for path in runner.find_notebooks(names)}
    key = answer_key(chapters.values())
    files = {output / "nbgrader_config.py": CONFIG, output / "key.html": key}
    for path, notebook in chapters.items():
        text = json.dumps(release(notebook, path.parent), indent=1, ensure_ascii=False) + "\n"
        files[output / "source" / path.stem / path.name] = text
    for path in files:
        if path.exists():
            raise InputError(f"{path} exists; choose another folder, or remove this one first")
    for path, text in files.items():
        write_atomically(path, text)
        yield path


def answer_key(chapters: Iterable[dict]) -> str:
    """Return a page to print, with the tasks, solutions and rubrics of chapters."""
    parts = [INTRODUCTION]
    for chapter in chapters:
        parts.append("#" + "".join(chapter["cells"][0]["source"]).splitlines()[0])  # its title
        for exercise in exercises(chapter):
            parts += [f"### Exercise {exercise.name}", exercise.task, "#### Solution"]
            parts += [f"```python\n{exercise.solution}\n```", exercise.comment]
            mistakes = (f"  - {html.escape(m)}\n" for m in known_mistakes(exercise.name))
            parts += ["#### Rubric", RUBRIC + "".join(mistakes)]
    return KEY.format(to_html("\n\n".join(parts)))


def to_html(markdown: str) -> str:
    """Return Markdown with formulas as HTML."""
    from nbconvert.filters import markdown2html

    # Browsers set MathML without a script and without a network.
    return re.sub(
        r"\$\$(.+?)\$\$|\$(.+?)\$",
        lambda m: to_mathml(html.unescape(m[1] or m[2]), as_block=bool(m[1])),
        markdown2html(markdown),
        flags=re.S,
    )


def to_mathml(tex: str, as_block: bool = False) -> str:
    """Return TeX as MathML; raise MathError if the converter does not know a command."""
    from docutils.utils.math.latex2mathml import tex2mathml

    # The converter does not know the commands that enlarge a bracket; MathML brackets grow anyway.
    tex = re.sub(r"\\[bB]igg?[lrm]?(?![A-Za-z])\s*", "", tex.strip())
    tex = re.sub(r"frac(\d)(\d)", r"frac{\1}{\2}", tex)  # it reads two digits as one number
    aliases = {"dots": "ldots", "texttt": "text"}  # what the converter knows under another name
    tex = re.sub(r"\\([A-Za-z]+)", lambda m: "\\" + aliases.get(m[1], m[1]), tex)
    return tex2mathml(tex, as_block=as_block)


def known_mistakes(name: str) -> list[str]:
    """Return what the check of an exercise can say about a wrong answer.

    The sentences are read from the source of the check and of the functions beside it that it
    uses. What a check fills in is shown as an ellipsis, except for the case that it tried.
    """
    module = resources.files("tutorial_lib.exercises") / f"chapter{name.split('.')[0]}.py"
    tree = ast.parse(module.read_text(encoding="utf-8"))
    functions = {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}
    (check,) = (f for f in functions.values() if f"exercise('{name}')" in ast.unparse(f))
    used = [check]
    for function in used:
        names = {node.id for node in ast.walk(function) if isinstance(node, ast.Name)}
        used += [f for f in functions.values() if f.name in names and f not in used]
    check.body.pop()  # the praise for a right answer
    texts = [text for function in used for text in _texts(function)]
    sentences = [text.strip() for text in texts if text.count(" ") > 1 and text[-1] in ".)"]
    return [text[0].upper() + text[1:] for text in dict.fromkeys(sentences)]


def _texts(node: ast.AST) -> Iterator[str]:
    """Yield the texts in a piece of code."""
    if isinstance(node, ast.JoinedStr):
        parts = [part.value if isinstance(part, ast.Constant) else "…" for part in node.values]
        tried = isinstance(first := node.values[0].value, ast.Name) and first.id == "case"
        yield "".join(parts[tried:])
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        yield node.value
    for child in () if isinstance(node, ast.JoinedStr) else ast.iter_child_nodes(node):
        yield from _texts(child)
