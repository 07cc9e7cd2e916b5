"""The run report: what it reads out of notebooks, what it compares, and that it is always there."""

import base64
import io
import json
import re
import signal
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import psutil
import pytest
from click.testing import CliRunner
from PIL import Image
from test_execution import alive, wait_for, write_notebook

from tutorial_lib import notebook
from tutorial_lib.data.cache import MANIFEST, file_hash
from tutorial_lib.errors import InputError
from tutorial_tools import canonical, comparison, junit, outcomes, report, runner
from tutorial_tools.cli import main

PICTURE = """\
from tutorial_lib.figures import plotting

fig, ax = plotting.figure(title="A line")
ax.plot([0, 1], [0, {end}])
plotting.show(fig, alt="A line that goes up <quickly>.")
"""
EXERCISE = "print('{mark} Exercise 1.1: so it is.')"


def run(folder, *names, parameters=()):
    """Run the notebooks of a folder and return the report."""
    paths = runner.find_notebooks(names, folder)
    runner.run(paths, dict(parameters), folder / "build", 60, lambda line: None)
    return saved(folder)


def saved(folder):
    return json.loads((folder / "build/report/report.json").read_text(encoding="utf-8"))


def page(folder):
    return (folder / "build/report/index.html").read_text(encoding="utf-8")


def cell(source="", text="", *, prints="", record=None, png=b"", status="completed", seconds=1.0):
    """Return a code cell as papermill leaves it."""
    outputs = []
    if prints:
        outputs.append({"output_type": "stream", "name": "stdout", "text": prints})
    if text:
        outputs.append({"output_type": "execute_result", "data": {"text/plain": text}})
    if png:
        data = {"image/png": base64.b64encode(png).decode()}
        outputs.append({"output_type": "display_data", "data": data, "metadata": {}})
    if record:
        data = {notebook.RECORD_TYPE: {"name": record[0], "data": record[1]}}
        outputs.append({"output_type": "display_data", "data": data, "metadata": {}})
    times = {"start_time": "2026-01-01T10:00:00+00:00", "end_time": "2026-01-01T10:00:09+00:00"}
    return {
        "cell_type": "code",
        "source": source,
        "outputs": outputs,
        "execution_count": 1,
        "metadata": {"papermill": {"status": status, "duration": seconds, **times}},
    }


def png(gray):
    buffer = io.BytesIO()
    Image.fromarray(np.full((300, 400), gray, np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def entry(*cells, stored=(), **fields):
    """Return the record of a notebook with these executed cells."""
    stored = stored or [one | {"outputs": []} for one in cells]
    read = outcomes.read_cells({"cells": list(cells)}, {"cells": stored})
    plain = {"status": "passed", "seconds": 10.0, "megabytes": 500, "data": {}, "cells": read}
    return {"name": "01_a", "parameters": {}, "error": "", **plain, **fields}


def passed(text, stored=None):
    """Return how the checks of a cell that printed `text` came out."""
    before = cell(prints=stored)["outputs"] if stored is not None else []
    return [check["passed"] for check in outcomes.checks(cell(prints=text)["outputs"], before)]


# What a notebook says


@pytest.mark.parametrize(
    ("text", "stored", "expected"),
    [
        ("IoU at least 0.5: True", None, [True]),
        ("IoU at least 0.5: False", None, [False]),
        ("IoU at least 0.5: False", "IoU at least 0.5: True", [False]),
        ("equal: True", "equal: False", [False]),
        ("equal: False", "equal: False", [True]),
        ("12 pictures: True True", "500 pictures: True True", [True]),
        ("12 pictures: True False", "500 pictures: True True", [False]),
        ("no decision here; Falsehood, Truely", None, []),
        ("a: False\nb: True", "a: False", [False, True]),
        ("✓ Exercise 1.1: right. True.", "✓ Exercise 1.1: right.", [True]),
        ("✗ Exercise 1.1: not yet.", "✓ Exercise 1.1: right.", [False]),
        ("✗ Exercise 1.1: not yet.", "✗ Exercise 1.1: not yet.", [True]),
        ("○ Exercise 1.1: not answered yet.", "○ Exercise 1.1: not answered yet.", [None]),
    ],
)
def test_a_line_passes_if_it_decides_as_the_stored_one(text, stored, expected):
    assert passed(text, stored) == expected


def test_the_value_of_a_cell_counts_as_a_line_and_stderr_does_not():
    outputs = cell(text="(3, True)")["outputs"]
    outputs.append({"output_type": "stream", "name": "stderr", "text": "False alarm"})
    assert [check["text"] for check in outcomes.checks(outputs, [])] == ["(3, True)"]


def test_the_last_verdict_on_an_exercise_counts():
    open_one = cell(prints="○ Exercise 1.1: not answered yet.")
    solved = cell(prints="✓ Exercise 1.1: right.")
    counts = outcomes.tally(entry(open_one, solved, open_one | {"outputs": []}))
    assert counts["exercises"] == (1, 1) and counts["cells"] == (3, 3)
    assert outcomes.tally(entry(solved, open_one))["exercises"] == (0, 1)


def test_positions_are_those_of_the_source():
    added = cell()
    added["metadata"]["tags"] = ["injected-parameters"]
    prose = {"cell_type": "markdown", "source": "prose", "metadata": {}}
    stored = [prose, cell("a"), cell("b")]
    read = outcomes.read_cells({"cells": [prose, stored[1], added, stored[2]]}, {"cells": stored})
    assert [(c["position"], c["first_line"]) for c in read] == [(2, "a"), (3, "b")]


@pytest.mark.parametrize("path", runner.find_notebooks(), ids=lambda path: path.stem)
def test_the_stored_notebooks_pass_their_own_checks_and_name_their_device(path):
    stored = outcomes.load(path)
    read = outcomes.read_cells(stored, stored)
    assert not outcomes.failed_checks(read)
    exercises = outcomes.tally({"cells": read})["exercises"]
    assert exercises[0] == exercises[1] >= 4
    assert re.fullmatch(r"CPU \(\d+ cores\)|.*GPU.*", outcomes.device(stored))


# Recording


@pytest.mark.slow
def test_what_a_notebook_records_is_reported_but_neither_stored_nor_compared(tmp_path):
    source = (
        "import numpy as np\n"
        "from tutorial_lib.notebook import record\n"
        "record('mean IoU', np.float32(0.5)); record('note', 'a < b')\n"
        "print('shown')"
    )
    path = write_notebook(tmp_path, "01_a", source)
    (noted,) = run(tmp_path)["notebooks"]
    assert report.metrics_of(noted) == {"mean IoU": 0.5, "note": "a < b"}
    assert "mean IoU" in page(tmp_path) and "a &lt; b" in page(tmp_path)
    suites = ElementTree.parse(tmp_path / "build/report/notebooks.xml").getroot()
    assert suites.find(".//property[@name='mean IoU']").get("value") == "0.5"

    stored = canonical.canonical(outcomes.load(tmp_path / "build/notebooks/01_a.ipynb"))
    assert "shown" in stored and "scrap" not in stored
    path.write_text(stored, encoding="utf-8")
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "--nbval",
            "-p",
            "tutorial_tools.nbval_plugin",
            "-q",
            str(path),
        ],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("value", [1, 0.5, True, "text", np.float32(2), np.int64(3), np.array(1.5)])
def test_scalars_can_be_recorded(value):
    plain = notebook.plain_value("x", value)
    assert plain == value and type(plain) in (int, float, bool, str)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("x", [1, 2], "takes a number, a text or a truth value, not a list"),
        ("x", np.ones(2), "not a ndarray"),
        ("x", float("nan"), "takes a finite number, not nan"),
        (" ", 1, "record needs a name"),
        (3, 1, "record needs a name"),
    ],
)
def test_what_cannot_be_recorded_is_refused_in_one_line(name, value, message):
    with pytest.raises(InputError, match=message) as caught:
        notebook.record(name, value)
    assert "\n" not in str(caught.value)


# Comparing


def differences(now, before):
    return [(change["kind"], change["text"]) for change in comparison.changes(now, before)]


def test_equal_runs_differ_in_nothing():
    one = entry(cell("x = 1", prints="a: True"), cell("y", png=png(1), record=("IoU", 0.5)))
    assert differences(one, one) == []


def test_what_broke_is_told_from_what_was_broken_before():
    good = entry(cell("x", prints="a: True"))
    bad = entry(cell("x", prints="a: False"))
    failed = entry(cell("x", status="failed"), status="failed")
    assert differences(bad, good) == [("broke", "now says `a: False`")]
    assert differences(good, bad) == [("mended", "no longer says `a: False`")]
    assert differences(bad, bad) == []
    assert differences(failed, good) == [("broke", "passed last time, now failed")]
    assert differences(good, failed) == [("mended", "failed last time, now passed")]


def test_times_and_memory_are_compared_with_some_tolerance():
    before = entry(cell("x", seconds=4.0), seconds=20.0, megabytes=1000)
    same = entry(cell("x", seconds=5.5), seconds=24.0, megabytes=1100)
    slower = entry(cell("x", seconds=9.0), seconds=30.0, megabytes=1600)
    assert differences(same, before) == []
    assert differences(slower, before) == [
        ("time", "slower: 20 s, now 30 s"),
        ("memory", "more memory: 1000 MB, now 1600 MB"),
        ("time", "slower: 4.0 s, now 9.0 s"),
    ]
    assert ("time", "faster: 30 s, now 20 s") in differences(before, slower)


def test_pictures_metrics_data_and_code_are_compared():
    before = entry(cell("x", png=png(1), record=("IoU", 0.5)), data={"cache/scenes": "aa"})
    after = entry(
        cell("x + 1", png=png(2), record=("IoU", 0.625)), cell("new"), data={"cache/scenes": "bb"}
    )
    found = comparison.changes(after, before)
    assert [(change["kind"], change["text"]) for change in found] == [
        ("picture", "another picture"),
        ("metric", "IoU was 0.5, now 0.625"),
        ("code", "code cells: 1 edited, 1 new, 0 gone"),
        ("data", "cache/scenes is another"),
    ]
    hashes = [one["cells"][0]["pictures"][0]["hash"] for one in (before, after)]
    assert [found[0]["before"], found[0]["after"]] == hashes


def test_the_environment_is_compared():
    now = {"commit": "b", "machine": "m", "python": "3.12.1", "packages": {"keras": "3.13"}}
    before = now | {"commit": "a", "packages": {"keras": "3.12"}}
    assert comparison.environment_changes(now, before) == ["commit a → b", "keras 3.12 → 3.13"]


@pytest.mark.slow
def test_a_run_is_compared_with_the_last_one_of_the_same_parameters(tmp_path):
    write_notebook(tmp_path, "01_a", PICTURE.format(end=1), ids=True)
    write_notebook(tmp_path, "02_b", "print('b: True')", ids=True)
    first = run(tmp_path)
    assert [one["compared"] for one in first["notebooks"]] == ["", ""]
    assert "no earlier run" in page(tmp_path)

    write_notebook(tmp_path, "02_b", "print('b:', seed > 0)", ids=True)
    other = run(tmp_path, "02", parameters={"seed": "1"}.items())
    assert other["parameters"] == {"seed": 1} and other["notebooks"][0]["compared"] == ""
    write_notebook(tmp_path, "01_a", PICTURE.format(end=2), ids=True)
    one, two = run(tmp_path)["notebooks"]

    kinds = {change["kind"]: change for change in one["changes"]}
    assert kinds["picture"]["before"] != kinds["picture"]["after"]
    for name in ("before", "after"):
        assert (tmp_path / f"build/report/pictures/{kinds['picture'][name]}.jpg").stat().st_size
    assert {"kind": "broke", "text": "now says `b: False`", "cell": 3} in two["changes"]
    assert "<code>b: False</code>" in page(tmp_path)
    assert len(list((tmp_path / "build/report/pictures").iterdir())) == 2
    run(tmp_path)
    run(tmp_path)
    assert len(list((tmp_path / "build/report/pictures").iterdir())) == 1


@pytest.mark.parametrize("content", ["{ half", '{"01_a {}": {}}', '{"format": 0, "notebooks": 1}'])
def test_a_damaged_or_older_history_is_as_good_as_none(tmp_path, content):
    (tmp_path / "history.json").write_text(content, encoding="utf-8")
    assert report.Report(tmp_path, []).history == {}


# What a run writes


def test_memory_and_data_are_reported_where_they_are_used(tmp_path):
    data = tmp_path / "data" / "scenes"
    use = (
        "from pathlib import Path\nfrom tutorial_lib.data import cache, note_use\n"
        f"cache.cached_folder(Path({str(data)!r}), "
        "lambda folder: (folder / 'a.txt').write_text('a'))\n"
        f"note_use(Path({str(data)!r}) / 'a.txt')"
    )
    grow = "import time\nheld = bytearray(300_000_000)\ntime.sleep(0.5)"
    write_notebook(tmp_path, "01_a", use, grow, "del held", "time.sleep(0.5)")
    (noted,) = run(tmp_path)["notebooks"]
    before, during, _, after = (one["megabytes"] for one in noted["cells"][1:])
    assert during - before > 250 and during - after > 250
    assert noted["megabytes"] >= during
    # The manifest vouches for all files of its folder, so these are not listed again.
    assert noted["data"] == {"data/scenes": file_hash(data / MANIFEST)}
    assert file_hash(data / MANIFEST) in page(tmp_path)


def test_data_sets_say_that_they_are_used(tmp_path, monkeypatch):
    from tutorial_lib.data import LEDGER, coco, digits, scenes, voc

    root = scenes.coco_tree(train=2, val=1, home=tmp_path)
    kit = scenes.voc_tree(train=2, val=1, home=tmp_path)
    monkeypatch.setenv(LEDGER, str(tmp_path / "ledger"))
    coco.CocoSplit(root, "train").image_ids()
    voc.VocTree(kit).ids("val")
    digits.load()
    names = [Path(line).name for line in (tmp_path / "ledger").read_text().splitlines()]
    assert names == ["instances_train2017.json", "val.txt", "mnist_5k.csv.gz"]


def test_the_page_says_first_what_broke(tmp_path):
    write_notebook(tmp_path, "01_good", PICTURE.format(end=1), EXERCISE.format(mark="✓"))
    write_notebook(tmp_path, "02_bad", "raise ValueError('<odd>')", "print('after')")
    noted = run(tmp_path)
    text = page(tmp_path)

    assert noted["commit"] and noted["packages"]["keras"] and " cores, " in noted["machine"]
    first = text.index("Something broke")
    assert first < text.index("ValueError: &lt;odd&gt;") < text.index("<h2>Notebooks")
    assert "<odd>" not in text and "<quickly>" not in text
    anchors = set(re.findall(r'href="#([^"]+)"', text))
    assert anchors and anchors <= set(re.findall(r'id="([^"]+)"', text))
    assert all((tmp_path / "build/report" / link).is_file() for link in links(text))
    suites = ElementTree.parse(tmp_path / "build/report/notebooks.xml").getroot()
    counts = [[suite.get(n) for n in ("tests", "failures", "skipped")] for suite in suites]
    assert counts == [["3", "0", "0"], ["3", "1", "1"]]


def links(text):
    return [link for link in re.findall(r'(?:href|src)="([^"]+)"', text) if link[0] != "#"]


def test_a_dead_kernel_is_in_the_report_and_in_junit(tmp_path):
    write_notebook(tmp_path, "01_dead", "import os", "os._exit(1)")
    (noted,) = run(tmp_path)["notebooks"]
    assert noted["status"] == "failed" and "the kernel died" in page(tmp_path)
    (suite,) = ElementTree.parse(tmp_path / "build/report/notebooks.xml").getroot()
    assert int(suite.get("failures")) + int(suite.get("errors")) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="Windows ends processes without asking")
@pytest.mark.parametrize(
    ("ended_by", "state", "sentence"),
    [
        (signal.SIGTERM, "interrupted", "02_spin was interrupted in cell 3"),
        (signal.SIGKILL, "running", "02_spin is running, unless the run was killed"),
    ],
    ids=["SIGTERM", "SIGKILL"],
)
def test_a_run_that_is_ended_leaves_a_report(tmp_path, ended_by, state, sentence):
    started = tmp_path / "started"
    write_notebook(tmp_path, "01_a", "print('a: True')")
    write_notebook(tmp_path, "02_spin", f"open({str(started)!r}, 'w').close()\nwhile True: pass")
    write_notebook(tmp_path, "03_c", "print(1)")
    where = ["--folder", str(tmp_path), "--output", str(tmp_path / "build")]
    process = subprocess.Popen(
        [sys.executable, "-m", "tutorial_tools.cli", "run", *where],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    wait_for(started.exists)
    kernels = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(ended_by)
    process.wait(timeout=30)
    wait_for(lambda: not any(map(alive, kernels)))
    assert [one["status"] for one in saved(tmp_path)["notebooks"]] == ["passed", state, "not run"]
    assert "Not finished" in page(tmp_path) and sentence in page(tmp_path)
    ElementTree.parse(tmp_path / "build/report/notebooks.xml")


def test_papermill_shows_its_own_progress(tmp_path, capfd):
    path = write_notebook(tmp_path, "01_bar", "print(1)")
    runner.execute(path, tmp_path / "out.ipynb", {}, 60, progress=True)
    shown = capfd.readouterr().err
    assert re.search(r"01_bar: .*/3 \[.*cell/s", shown)


# Tests


TESTS = """\
import pytest

def test_good(): pass

def test_bad():
    raise ValueError("see figures/an odd%20name.png")

@pytest.mark.skip(reason="not now")
def test_skipped(): pass
"""


@pytest.fixture
def tested(tmp_path):
    """Return a build folder in which pytest has left its results."""
    (tmp_path / "test_it.py").write_text(TESTS, encoding="utf-8")
    figures = tmp_path / "build" / "figures"
    figures.mkdir(parents=True)
    for name in ("an odd%20name.png", "another.png"):
        Image.new("RGB", (9, 9)).save(figures / name)
    xml = tmp_path / "build/report/tests.xml"
    command = [sys.executable, "-m", "pytest", "-q", f"--junitxml={xml}", "test_it.py"]
    subprocess.run(command, cwd=tmp_path, capture_output=True)
    return tmp_path / "build"


def test_what_pytest_says_is_read(tested):
    tests = junit.read_tests(tested / "report")
    (failure,) = tests["failures"]
    assert (tests["tests"], tests["skipped"]) == (3, 1)
    assert failure["name"] == "test_it: test_bad"
    assert failure["message"].startswith("ValueError: see figures/")
    assert failure["evidence"] == ["an odd%20name.png"]
    assert [file["name"] for file in tests["files"]] == ["test_it"]


def test_cells_that_nbval_checked_have_the_numbers_of_the_report():
    path = runner.find_notebooks()[0]
    stored = outcomes.load(path)
    for number, read in enumerate(outcomes.read_cells(stored, stored)):
        place = junit.place_of(f"notebooks.{path.name}", f"Cell {number}")
        assert place == (f"notebooks/{path.stem}", f"cell {read['position']}")
    assert junit.place_of("elsewhere.a.ipynb", "Cell 3") == ("elsewhere/a", "Cell 3")


@pytest.mark.slow
def test_what_nbval_says_is_said_in_one_line(tmp_path):
    folder = tmp_path / "notebooks"
    folder.mkdir()
    path = write_notebook(folder, "01_a", "print('IoU: True')", "x = 1", PICTURE.format(end=1))
    assert canonical.refresh(path).status == "passed"
    source = path.read_text(encoding="utf-8")
    for old, new in (("IoU: True')", "IoU:', 1 > 2)"), ("x = 1", "1 / 0"), ("[0, 1])", "[1, 0])")):
        source = source.replace(old, new)
    path.write_text(source, encoding="utf-8")
    xml = tmp_path / "report/tests.xml"
    command = [sys.executable, "-m", "pytest", "--nbval", "-p", "tutorial_tools.nbval_plugin"]
    command += [f"--junitxml={xml}", f"--rootdir={tmp_path}", str(path)]
    subprocess.run(command, cwd=tmp_path, capture_output=True)
    said, broke, drew = junit.read_tests(xml.parent)["failures"]
    assert said["message"] == "says `IoU: False`, stored is `IoU: True`"
    assert broke["message"] == "ZeroDivisionError: division by zero"
    assert "picture 0 differs by" in drew["message"]
    assert "\x1b" not in said["text"] and "x1B" not in said["text"]


@pytest.mark.slow
def test_refreshing_renews_the_picture_that_opens_a_notebook(tmp_path):
    (tmp_path / "notebooks").mkdir()
    path = write_notebook(tmp_path / "notebooks", "01_a", PICTURE.format(end=1))
    assert canonical.refresh(path).status == "passed"
    notebook = outcomes.load(path)
    ((place, old),) = canonical._pictures(notebook).items()
    opening = tmp_path / "docs/images/01.png"
    opening.parent.mkdir(parents=True)
    opening.write_bytes(old)
    (opening.parent / "other.png").write_bytes(b"drawn by hand")
    words = "![one](../docs/images/01.png) ![two](../docs/images/other.png)"
    first = {"cell_type": "markdown", "id": "opening", "metadata": {}, "source": [words]}
    notebook["cells"].insert(0, first)
    source = canonical.canonical(notebook).replace("[0, 1])", "[1, 0])")
    path.write_text(source, encoding="utf-8")
    assert canonical.refresh(path).status == "passed"
    new = canonical._pictures(outcomes.load(path))[place]
    assert opening.read_bytes() == new != old
    assert (opening.parent / "other.png").read_bytes() == b"drawn by hand"


def test_the_command_lays_out_tests_without_a_run(tested):
    result = CliRunner().invoke(main, ["report", "--output", str(tested)])
    assert result.exit_code == 0, result.output
    assert "failed: 1 problem: 1 of 2 tests passed" in result.output
    assert re.search(r"\d s  test_it  3 tests  test_\w+, \d", result.output)
    text = (tested / "report/index.html").read_text(encoding="utf-8")
    assert 'href="#test-0"' in text and 'id="test-0"' in text and "ValueError" in text
    assert 'src="../figures/an%20odd%2520name.png"' in text


def test_the_command_says_in_one_line_that_there_is_nothing(tmp_path):
    result = CliRunner().invoke(main, ["report", "--output", str(tmp_path)])
    assert result.exit_code == 1 and not list(tmp_path.iterdir())
    assert result.output.startswith("Error: no report in") and result.output.count("\n") == 1


def test_damaged_results_of_pytest_are_left_out(tmp_path):
    (tmp_path / "tests.xml").write_text("<testsuites><half", encoding="utf-8")
    assert junit.read_tests(tmp_path) is None
