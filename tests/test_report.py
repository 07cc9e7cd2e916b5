"""The run report: what it reads from notebooks and tests, and that it is always written."""

import functools
import json
import re
import signal
import subprocess
import sys

import numpy as np
import psutil
import pytest
from click.testing import CliRunner
from PIL import Image
from test_runner import alive, wait_for, write_notebook

from tutorial_lib.errors import InputError
from tutorial_tools import canonical, report, runner
from tutorial_tools.cli import main

FIGURE = """\
from tutorial_lib.figures import plotting

fig, ax = plotting.figure(title="A line")
ax.plot([0, 1], [0, {end}])
plotting.show(fig, alt="A line that goes up.")
"""
NBVAL = [sys.executable, "-m", "pytest", "--nbval", "-p", "tutorial_tools.nbval_plugin", "-q"]


def run(folder, *names, parameters=()):
    """Run the notebooks of a folder and return the entries of the report."""
    paths = runner.find_notebooks(names, folder)
    runner.run_notebooks(paths, dict(parameters), folder / "build", 60, lambda line: None)
    return saved(folder)["notebooks"]


def saved(folder):
    return json.loads((folder / "build/report/report.json").read_text(encoding="utf-8"))


def page(folder):
    return (folder / "build/report/index.html").read_text(encoding="utf-8")


def cell(source="", *tags):
    """Return a code cell as papermill leaves it."""
    metadata = {"papermill": {"status": "completed", "duration": 1.0}, "tags": tags}
    return {"cell_type": "code", "source": source, "outputs": [], "metadata": metadata}


# Reading


def test_positions_are_those_of_the_source():
    prose = {"cell_type": "markdown", "source": "prose", "metadata": {}}
    added = cell("seed = 3", "injected-parameters")
    read = report.read_cells({"cells": [prose, cell("a"), added, cell("b")]})
    assert [(c["position"], c["first_line"]) for c in read] == [(2, "a"), (3, "b")]


@pytest.mark.parametrize("path", runner.find_notebooks(), ids=lambda path: path.stem)
def test_the_banner_of_a_notebook_names_its_device(path):
    device = report.device_of(report.read_json(path))
    assert re.fullmatch(r"CPU \(\d+ cores\)|.*GPU.*", device)


@pytest.mark.slow
def test_what_a_notebook_records_is_reported_but_neither_stored_nor_compared(tmp_path):
    source = (
        "import numpy as np\n"
        "from tutorial_lib.notebook import record\n"
        "record('mean IoU', np.float32(0.5)); record('note', 'a < b')\n"
        "print('shown')"
    )
    path = write_notebook(tmp_path, "01_a", source)
    (noted,) = run(tmp_path)
    assert report.metrics_of(noted) == {"mean IoU": 0.5, "note": "a < b"}
    assert "mean IoU" in page(tmp_path) and "a &lt; b" in page(tmp_path)
    stored = canonical.canonical(report.read_json(tmp_path / "build/notebooks/01_a.ipynb"))
    assert "shown" in stored and "scrap" not in stored
    path.write_text(stored, encoding="utf-8")
    done = subprocess.run([*NBVAL, str(path)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


# What a run writes


def test_the_memory_of_a_kernel_is_reported(tmp_path):
    grow = "import time\nheld = bytearray(300_000_000)\ntime.sleep(1)"
    write_notebook(tmp_path, "01_a", grow)
    write_notebook(tmp_path, "02_b", grow.replace("300", "1"))
    large, small = run(tmp_path)
    assert large["megabytes"] - small["megabytes"] > 250


def test_the_page_shows_first_what_broke(tmp_path):
    write_notebook(tmp_path, "01_good", "print(1)")
    write_notebook(tmp_path, "02_bad", "raise ValueError('<odd>')", "print('after')")
    run(tmp_path)
    noted, text = saved(tmp_path), page(tmp_path)

    assert noted["commit"] and set(noted["packages"]) == set(report.PACKAGES)
    assert " cores, " in noted["machine"]
    states = [[cell["status"] for cell in one["cells"]] for one in noted["notebooks"]]
    assert states == [["completed"] * 2, ["completed", "failed", "not run"]]
    first = text.index("Something broke")
    assert first < text.index("ValueError: &lt;odd&gt;") < text.index("<h2>Notebooks")
    assert "<odd>" not in text
    anchors = set(re.findall(r'href="#([^"]+)"', text))
    assert anchors and anchors <= set(re.findall(r'id="([^"]+)"', text))
    links = [link for link in re.findall(r'(?:href|src)="([^"]+)"', text) if link[0] != "#"]
    assert links and all((tmp_path / "build/report" / link).is_file() for link in links)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows ends processes without asking")
@pytest.mark.parametrize(
    ("ended_by", "code", "state", "sentence"),
    [
        (signal.SIGINT, 130, "interrupted", "02_spin was interrupted in cell 3"),
        (signal.SIGTERM, 130, "interrupted", "02_spin was interrupted in cell 3"),
        (signal.SIGKILL, -9, "running", "02_spin is running, unless the run was killed"),
    ],
    ids=["SIGINT", "SIGTERM", "SIGKILL"],
)
def test_a_run_that_is_ended_leaves_a_report_and_no_kernel(
    tmp_path, ended_by, code, state, sentence
):
    started = tmp_path / "started"
    spin = f"open({str(started)!r}, 'w').close()\nwhile True: pass"
    sources = {"01_a": "print(1)", "02_spin": spin, "03_c": "print(1)"}
    paths = [str(write_notebook(tmp_path, *source)) for source in sources.items()]
    command = [sys.executable, "-m", "tutorial_tools.cli", "run", *paths]
    process = subprocess.Popen(
        [*command, "--output", str(tmp_path / "build")],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        # A shell that runs tests in the background makes its children deaf to Ctrl-C.
        preexec_fn=functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
    )
    wait_for(started.exists)
    kernels = psutil.Process(process.pid).children(recursive=True)
    process.send_signal(ended_by)
    printed, _ = process.communicate(timeout=30)
    wait_for(lambda: not any(map(alive, kernels)))
    assert process.returncode == code and kernels
    assert "Traceback" not in printed and "03_c" not in printed
    assert [one["status"] for one in saved(tmp_path)["notebooks"]] == ["passed", state, "not run"]
    assert "Not finished" in page(tmp_path) and sentence in page(tmp_path)


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
        Image.fromarray(np.zeros((9, 9), np.uint8)).save(figures / name)
    xml = tmp_path / "build/report/tests.xml"
    command = [sys.executable, "-m", "pytest", "-q", f"--junitxml={xml}", "test_it.py"]
    subprocess.run(command, cwd=tmp_path, capture_output=True)
    return tmp_path / "build"


def test_the_results_of_pytest_are_read(tested):
    tests = report.read_tests(tested / "report")
    (failure,) = tests["failures"]
    assert (tests["tests"], tests["skipped"]) == (3, 1)
    assert failure["name"] == "test_it: test_bad"
    assert failure["message"].startswith("ValueError: see figures/")
    assert failure["evidence"] == ["an odd%20name.png"]
    assert [file["name"] for file in tests["files"]] == ["test_it"]


def test_cells_that_nbval_checked_have_the_numbers_of_the_report():
    path = runner.find_notebooks()[0]
    stored = report.read_json(path)
    for number, read in enumerate(report.read_cells(stored)):
        place = report.place_of(f"notebooks.{path.name}", f"Cell {number}")
        assert place == (f"notebooks/{path.stem}", f"cell {read['position']}")
    assert report.place_of("elsewhere.a.ipynb", "Cell 3") == ("elsewhere/a", "Cell 3")


@pytest.mark.slow
def test_what_nbval_found_is_one_line(tmp_path):
    path = write_notebook(tmp_path, "01_a", "print('IoU: True')", "x = 1", FIGURE.format(end=1))
    assert canonical.refresh(path).status == "passed"
    source = path.read_text(encoding="utf-8")
    for old, new in (("IoU: True')", "IoU:', 1 > 2)"), ("x = 1", "1 / 0"), ("[0, 1])", "[1, 0])")):
        source = source.replace(old, new)
    path.write_text(source, encoding="utf-8")
    xml = tmp_path / "report/tests.xml"
    command = [*NBVAL, f"--junitxml={xml}", f"--rootdir={tmp_path}", str(path)]
    subprocess.run(command, cwd=tmp_path, capture_output=True)
    printed, broke, drew = report.read_tests(xml.parent)["failures"]
    assert printed["message"] == "says `IoU: False`, stored is `IoU: True`"
    assert broke["message"] == "ZeroDivisionError: division by zero"
    assert "image 0: differs by" in drew["message"]
    assert "\x1b" not in printed["text"] and "x1B" not in printed["text"]


def test_the_command_shows_tests_without_a_run(tested):
    result = CliRunner().invoke(main, ["report", "--output", str(tested)])
    assert result.exit_code == 0, result.output
    assert "failed: 1 problem: 1 of 2 tests passed" in result.output
    assert re.search(r"\d s  test_it  3 tests  test_\w+, \d", result.output)
    text = (tested / "report/index.html").read_text(encoding="utf-8")
    assert 'href="#test-0"' in text and 'id="test-0"' in text and "ValueError" in text
    assert 'src="../figures/an%20odd%2520name.png"' in text


def test_damaged_results_of_pytest_are_left_out(tmp_path):
    (tmp_path / "tests.xml").write_text("<testsuites><half", encoding="utf-8")
    with pytest.raises(InputError, match="no report in .*; `tutorial run` or `make test` writes"):
        report.write_page(tmp_path)
    assert not (tmp_path / "index.html").exists()
