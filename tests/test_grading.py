"""A class hands in: what nbgrader and `tutorial grade` make of right, wrong and broken answers."""

import csv
import html
import io
import json
import os
import re
import socket
import subprocess
import sys

import nbformat
import pytest
from helpers import run

from tutorial_lib import CHECKOUT
from tutorial_tools import canonical, classroom, grading, handout, report, runner

NBGRADER = CHECKOUT / "build" / "nbgrader"
NAME = "01_first"
RIGHT = {
    "1.2": "kernel = np.array([[0, 1, 1], [-1, 0, 1], [-1, -1, 0]])",
    "1.3": "answer = (54, 3)",
    "1.6": "def conv1x1(x, w, b):\n    return x @ w + b",
}
BLANK = {
    "1.2": "kernel = ...",
    "1.3": "answer = ...",
    "1.6": "def conv1x1(x, w, b):\n    return ...",
}
VARIABLE = {"1.2": "kernel", "1.3": "answer", "1.6": "conv1x1"}
ENDLESS = "def conv1x1(x, w, b):\n    while True:\n        pass"
WARNING = RIGHT["1.6"].replace("return", "np.ones(1) / 0\n    return")
# For each student, what stands in the answer cells, and the points.
STUDENTS = {
    "right": (RIGHT, 3),
    "warning": (RIGHT | {"1.6": WARNING}, 3),
    "wrong": (RIGHT | {"1.2": "kernel = np.eye(3)", "1.3": "answer = (53, 3)"}, 1),
    "empty": (BLANK, 0),
    "crashing": (RIGHT | {"1.2": "1 / 0", "1.3": "answer = (54,"}, 1),
    "never-ending": (RIGHT | {"1.3": "while True:\n    print(1)", "1.6": ENDLESS}, 1),
    # Bad kernels, and the check replaced in the notebook and in the library.
    "cheating": (
        {
            "1.2": "kernel = np.eye(3)\ncheck = print",
            "1.3": "answer = (1, 1)\nimport tutorial_lib.exercises as e\ne.check = print",
            "1.6": BLANK["1.6"] + "\n\n\ne.grade = lambda *a: e.Verdict('right', '')",
        },
        0,
    ),
    "ending": (RIGHT | {"1.2": "import os\nos._exit(1)", "1.3": "exit()"}, 1),
}


def cell(kind, name, source, tags=()):
    made = {"cell_type": kind, "id": name, "metadata": {"tags": [*tags]}, "source": source}
    return made | ({"execution_count": None, "outputs": []} if kind == "code" else {})


@pytest.fixture
def chapter(tmp_path, monkeypatch):
    """A short chapter with three exercises of the real one."""
    start = "import numpy as np\nfrom tutorial_lib.exercises import check"
    cells = [cell("markdown", "a", "# First\n\n[next](02_second.ipynb)"), cell("code", "b", start)]
    for name in RIGHT:
        call = f'check("{name}", {VARIABLE[name]})'
        number = name.replace(".", "-")
        solution = f"{canonical.SOLUTION_LINE}{RIGHT[name]}\n\n\n{call}"
        cells += [
            cell("markdown", f"t{number}", f"Text.\n\n### Exercise {name}\n\nHow large is $x_1$?"),
            cell("code", f"c{number}", f"{BLANK[name]}\n\n\n{call}"),
            cell("code", f"s{number}", solution, ["solution", "hide-input"]),
        ]
    path = tmp_path / "stored" / f"{NAME}.ipynb"
    path.parent.mkdir()
    path.write_text(canonical.canonical({"cells": cells}), encoding="utf-8")
    find = runner.find_notebooks
    monkeypatch.setattr(runner, "find_notebooks", lambda names=(): find(names, path.parent))
    return path


def hand_in(notebook, answers, path):
    """Write a student's notebook: the answers by the ids of their cells."""
    for cell in notebook["cells"]:
        cell["source"] = answers.get(cell["id"], cell["source"])
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(notebook), encoding="utf-8")


def by_cell(answers):
    return {f"c{name.replace('.', '-')}": source for name, source in answers.items()}


@pytest.fixture
def course(chapter, tmp_path):
    """The course of the chapter, with what each student handed in."""
    folder = tmp_path / "course"
    list(handout.write_course(folder))
    given = folder / "source" / NAME / f"{NAME}.ipynb"
    for student, (answers, _) in STUDENTS.items():
        path = folder / "submitted" / student / NAME / given.name
        hand_in(report.read_json(given), by_cell(answers), path)
        mine = path.parent / "tutorial_lib" / "__init__.py"
        mine.parent.mkdir()
        mine.write_text("raise SystemExit('the library of the student was imported')")
    return folder


def grade(folder, timeout=10):
    """Return the rows of `tutorial grade` by student, and what it said meanwhile."""
    result = run("grade", folder, "--timeout", timeout)
    assert result.exit_code == 0, result.output
    rows = csv.DictReader(io.StringIO(result.stdout))
    return {row["student"]: row for row in rows}, result.stderr


@pytest.mark.slow
def test_tutorial_grade_gives_points_and_reasons(course):
    rows, progress = grade(course / "submitted")
    print(*(f"{r['student']}: {r['points']} of {r['of']}; {r['reasons']}" for r in rows.values()))
    assert {student: int(row["points"]) for student, row in rows.items()} == {
        student: points for student, (_, points) in STUDENTS.items()
    }
    assert {(row["chapter"], row["of"]) for row in rows.values()} == {(NAME, "3")}
    reasons = {student: row["reasons"] for student, row in rows.items()}
    assert reasons["right"] == ""
    assert "1.2: not yet. On a constant image of ones it outputs 3" in reasons["wrong"]
    assert reasons["empty"].count("not answered yet") == 3
    assert reasons["crashing"].startswith("1.2: ZeroDivisionError: division by zero | 1.3: Syntax")
    took = "it took longer than 10 s"
    assert reasons["never-ending"] == f"1.3: {took} | 1.6: {took}"
    assert reasons["ending"].count("it ended the kernel") == 2
    assert f"[1/8] cheating, {NAME} …" in progress


@pytest.mark.slow
def test_a_working_copy_is_graded_with_its_own_cells_and_without_the_solutions(chapter, tmp_path):
    mine = json.loads(classroom.working_copy(report.read_json(chapter)))
    mine["cells"].insert(2, cell("code", "mine", "def pair():\n    return 54, 3"))
    mine["cells"].append(cell("code", "late", "kernel = RIGHT\ncheck('1.2', kernel)"))
    answers = {"c1-3": "answer = pair()", "c1-6": ""}
    hand_in(mine, answers, tmp_path / "class" / "Zoë.ipynb")
    rows, _ = grade(tmp_path / "class")
    assert rows["Zoë"]["points"] == "1"
    assert rows["Zoë"]["reasons"] == (
        "1.2: NameError: name 'RIGHT' is not defined | "
        "1.6: NameError: name 'conv1x1' is not defined"
    )


@pytest.mark.slow
def test_notebooks_run_without_a_network(chapter, tmp_path):
    if not grading._can_be_cut_off():
        pytest.skip("this system does not let a program cut off its network")
    with socket.create_server(("127.0.0.1", 0)) as server:
        connect = f"import socket\nsocket.create_connection({server.getsockname()}, timeout=5)\n"
        answers = by_cell({"1.2": connect + RIGHT["1.2"], "1.3": RIGHT["1.3"]})
        path = tmp_path / "class" / "online" / "mine.ipynb"
        hand_in(report.read_json(chapter), answers, path)
        rows, _ = grade(tmp_path / "class")
    assert rows["online"]["reasons"].startswith(
        "1.2: OSError: [Errno 101] Network is unreachable |"
    )
    assert rows["online"]["points"] == "1"


def test_nobody_is_left_out(chapter, tmp_path, monkeypatch):
    folder = tmp_path / "class"
    handed_in = report.read_json(chapter)
    hand_in(handed_in, {}, folder / "ann" / "hw" / "homework.ipynb")
    hand_in(handed_in, {}, folder / "ann" / ".ipynb_checkpoints" / "homework.ipynb")
    hand_in({"cells": [], "metadata": {}, "nbformat": 4, "nbformat_minor": 5}, {},
            folder / "bob" / "other.ipynb")  # fmt: skip
    (folder / "cy").mkdir()
    (folder / "dan.pdf").write_bytes(b"%PDF")
    (folder / "eve.ipynb").write_text("no notebook", encoding="utf-8")
    (folder / "fay").mkdir()  # from Windows, where an editor marked it as UTF-8
    (folder / "fay" / "HW.IPYNB").write_text(json.dumps(handed_in), encoding="utf-8-sig")
    monkeypatch.setattr(grading, "_run", lambda steps, command: None)
    result = run("grade", folder)
    rows = [line.split(",") for line in result.stdout.splitlines()[1:]]
    missing = [NAME, "0", "3", "no notebook of this chapter"]
    assert [row[:5] for row in rows] == [
        ["ann", NAME, "3", "3", ""],
        ["bob", "", "0", "", "no cell of it belongs to an exercise"],
        ["bob", *missing],
        ["cy", *missing],
        ["dan.pdf", *missing],
        ["eve", "", "0", "", "it cannot be read as a notebook (NotJSONError)"],
        ["eve", *missing],
        ["fay", NAME, "3", "3", ""],
    ]
    (row,) = csv.DictReader(io.StringIO(run("grade", folder / "cy").stdout))
    assert (row["student"], row["reasons"]) == ("cy", "no notebook")
    one = run("grade", folder / "ann").stdout.splitlines()
    assert one[1].startswith(f"hw,{NAME},3,3,")


def test_cells_of_the_chapter_have_more_time_than_those_of_a_student(chapter):
    changed, colab = (cell("code", name, "import numpy as np") for name in ("b", "x"))
    colab["source"] = report.read_json(chapter)["cells"][1]["source"]
    cells = [changed, colab | {"source": "".join(colab["source"])}, cell("code", "y", "1 + 1")]
    steps = grading.Chapter(chapter).steps([nbformat.from_dict(c) for c in cells], 60)
    assert [step.limit for step in steps] == [runner.CELL_TIMEOUT, runner.CELL_TIMEOUT, 60]


def nbgrader(folder, *arguments):
    """Run a command of the real nbgrader in the folder of a course, and return what it logs."""
    library = os.pathsep.join([str(CHECKOUT), str(NBGRADER)])
    programs = os.pathsep.join([str(NBGRADER / "bin"), os.environ["PATH"]])
    done = subprocess.run(
        [sys.executable, "-m", "nbgrader", *arguments],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": library, "PATH": programs},
        capture_output=True,
        text=True,
    )
    return done.stderr


@pytest.mark.slow
@pytest.mark.skipif(
    not (NBGRADER / "nbgrader").is_dir(), reason="needs nbgrader, which `make test` installs"
)
def test_nbgrader_gives_the_points(course):
    made = nbgrader(course, "generate_assignment", NAME)
    given = report.read_json(course / "release" / NAME / f"{NAME}.ipynb")
    sources = ["".join(cell["source"]) for cell in given["cells"]]
    assert BLANK["1.6"] in sources and not any(right in sources for right in RIGHT.values()), made
    log = nbgrader(course, "autograde", NAME, "--Execute.timeout=10")
    log += nbgrader(course, "export")
    rows = list(csv.DictReader((course / "grades.csv").read_text().splitlines()))
    print(*(f"{row['student_id']}: {row['raw_score']} of {row['max_score']}" for row in rows))
    # When a kernel ends, nbgrader reports an error and gives no points to the whole notebook.
    assert {row["student_id"]: float(row["raw_score"]) for row in rows} == {
        student: points for student, (_, points) in STUDENTS.items()
    } | {"ending": 0}, log
    assert "student 'ending'" in log


def test_a_handout_has_blanks_and_graded_checks_but_no_solutions(tmp_path):
    result = run("handout", tmp_path, "01", "04")
    assert result.exit_code == 0, result.output
    for path in runner.find_notebooks(["01", "04"]):
        stored = report.read_json(path)
        given = report.read_json(tmp_path / "source" / path.stem / path.name)
        nbformat.validate(given)
        text = json.dumps(given, ensure_ascii=False)
        assert "../docs/" not in text and "Solution: click" not in text
        graded = [c["metadata"]["nbgrader"] for c in given["cells"] if "nbgrader" in c["metadata"]]
        checks = [entry for entry in graded if entry["grade"]]
        exercises = handout.exercises(stored)
        assert [entry["grade_id"] for entry in checks] == [
            f"exercise-{exercise.name.replace('.', '-')}" for exercise in exercises
        ]
        assert all(entry["locked"] and not entry["solution"] for entry in checks)
        assert sum(entry["solution"] for entry in graded) == len(exercises)
        for exercise in exercises:
            assert json.dumps(exercise.solution, ensure_ascii=False)[1:-1] not in text
        kept = [c["id"] for c in stored["cells"] if not canonical.is_solution(c)]
        assert [c["id"] for c in given["cells"] if not c["id"].endswith("-check")] == kept
    again = run("handout", tmp_path, "01")
    assert again.exit_code == 1 and "exists; choose another folder" in again.output


def test_the_key_has_every_task_solution_and_rubric():
    chapters = [report.read_json(path) for path in runner.find_notebooks()]
    page = handout.answer_key(chapters)
    assert "$" not in page and "<math" in page and "<script" not in page
    text = html.unescape(re.sub(r"<[^>]+>", "", page))
    for exercise in (e for chapter in chapters for e in handout.exercises(chapter)):
        assert f"Exercise {exercise.name}" in text
        assert exercise.solution in text and exercise.comment in text and exercise.comment
        assert len(exercise.task) > 80
        assert len(handout.known_mistakes(exercise.name)) >= 3
    assert handout.known_mistakes("3.2")[0] == "Give an integer, the number of components."
    assert "You flipped the kernel: that is the convolution of mathematics." in text
