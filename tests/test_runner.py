"""The runner: order, failures, time limits, interrupts, and what it finds and stores."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import psutil
import pytest
from click.testing import CliRunner
from papermill.cli import papermill

from tutorial_lib.data import data_home
from tutorial_lib.errors import InputError
from tutorial_tools import canonical, report, runner
from tutorial_tools.cli import main

ROOT = Path(__file__).resolve().parents[1]
PARAMETERS = """\
profile: str = "quick"  # which networks
seed: int = 0  # start of the random numbers
data_dir: str = ""  # where the data is
weights: str = ""  # file of weights
retrain: bool = False  # train anew
"""


def write_notebook(folder, name, *sources, parameters=PARAMETERS):
    """Write a notebook with a parameters cell and the given code cells."""
    cells = [
        nbformat.v4.new_markdown_cell("# A title"),
        nbformat.v4.new_code_cell(parameters, metadata={"tags": ["parameters"]}),
        *map(nbformat.v4.new_code_cell, sources),
    ]
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}}
    path = folder / f"{name}.ipynb"
    nbformat.write(nbformat.v4.new_notebook(cells=cells, metadata=metadata), path)
    return path


def printed(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return "".join("".join(o.get("text", "")) for c in cells for o in c.get("outputs", []))


def run(paths, parameters, build):
    return runner.run_notebooks(paths, parameters, build, 60, lambda line: None)


def test_a_failing_notebook_stops_nothing_else_and_names_its_cell(tmp_path):
    write_notebook(tmp_path, "01_good", "print('one')")
    write_notebook(tmp_path, "02_bad", "print('before')", "1 / 0", "print('after')")
    write_notebook(tmp_path, "03_good", "print('three', seed)")
    lines = []

    paths = runner.find_notebooks(folder=tmp_path)
    results = runner.run_notebooks(paths, {"seed": "7"}, tmp_path / "build", 60, lines.append)

    assert [result.status for result in results] == ["passed", "failed", "passed"]
    assert results[1].error == "cell 4 (`1 / 0`): ZeroDivisionError: division by zero"
    assert any("cell 4" in line for line in lines)
    assert printed(tmp_path / "build/notebooks/02_bad.ipynb") == "before\n"
    assert printed(tmp_path / "build/notebooks/03_good.ipynb") == "three 7\n"


def test_notebooks_run_at_the_same_time(tmp_path):
    wait = "import pathlib, time\nwhile not pathlib.Path('sign').exists():\n    time.sleep(0.1)"
    write_notebook(tmp_path, "01_last", "print('one', seed)")
    write_notebook(tmp_path, "02_signs", "open('sign', 'w').close()")
    write_notebook(tmp_path, "03_waits", wait)
    paths, lines = runner.find_notebooks(folder=tmp_path), []
    results = runner.run_notebooks(
        paths, {"seed": "7"}, tmp_path / "build", 60, lines.append, jobs=2
    )
    assert [result.status for result in results] == ["passed"] * 3
    assert [result.name for result in results] == ["01_last", "02_signs", "03_waits"]
    assert lines[:2] == ["[3/3] 03_waits …", "[2/3] 02_signs …"]
    assert printed(tmp_path / "build/notebooks/01_last.ipynb") == "one 7\n"


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_an_interrupted_run_leaves_a_report_and_no_kernel(tmp_path, jobs):
    # The first notebook tells when it has started, and never ends.
    wait = "import os, time\nopen('started', 'w').write(str(os.getpid()))\ntime.sleep(600)"
    paths = [write_notebook(tmp_path, name, wait) for name in ("01_slow", "02_next")]
    command = [sys.executable, "-m", "tutorial_tools.cli", "run", "-j", jobs, "-o", "build"]
    process = subprocess.Popen([*command, *map(str, paths)], cwd=tmp_path)
    started = tmp_path / "started"
    while not (started.exists() and started.read_text()):
        time.sleep(0.1)
        assert process.poll() is None
    process.terminate()
    assert process.wait(30) == 130
    told = json.loads((tmp_path / "build" / "report" / "report.json").read_text())["notebooks"]
    second = "not run" if jobs == "1" else "interrupted"
    assert [entry["status"] for entry in told] == ["interrupted", second]
    assert told[0]["error"].endswith("interrupted")
    with contextlib.suppress(psutil.NoSuchProcess):
        kernel = psutil.Process(int(started.read_text()))
        assert kernel.status() == psutil.STATUS_ZOMBIE  # ended, if nobody has asked how


def test_a_cell_that_hangs_is_ended(tmp_path):
    path = write_notebook(tmp_path, "01_slow", "import time", "time.sleep(60)", "print('never')")
    result = runner.execute(path, tmp_path / "out.ipynb", {}, timeout=2)
    assert result.error == "cell 4 (`time.sleep(60)`): took longer than 2 s; see --timeout"


def test_a_kernel_that_dies_is_reported(tmp_path):
    path = write_notebook(tmp_path, "01_dead", "import os", "os._exit(1)")
    result = runner.execute(path, tmp_path / "out.ipynb", {}, timeout=60)
    assert result.status == "failed" and "the kernel died" in result.error


def test_an_input_error_shows_one_line_in_the_notebook(tmp_path):
    source = "from tutorial_lib.errors import InputError\nraise InputError('give a cat')"
    path = write_notebook(tmp_path, "01_input", source)
    result = runner.execute(path, tmp_path / "out.ipynb", {}, timeout=60)
    assert result.error.endswith("InputError: give a cat")
    cells = report.read_json(tmp_path / "out.ipynb")["cells"]
    (error,) = (output for cell in cells for output in cell.get("outputs", []))
    assert error["traceback"] == ["InputError: give a cat"]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"profile": "fast"}, "profile='fast' is not known; choose one of quick, full"),
        (
            {"sede": "1"},
            "parameter='sede' is not known; choose one of data_dir, profile, retrain, seed, "
            "weights",
        ),
        ({"seed": "one"}, "seed='one' cannot be used; give a value of type int"),
        ({"retrain": "banana"}, "retrain='banana' cannot be used; give a value of type bool"),
        (
            {"data_dir": "~nosuch/x"},
            "data_dir='~nosuch/x' cannot be used (Could not determine home directory.); "
            "choose another path",
        ),
    ],
)
def test_bad_parameters_are_refused_before_anything_runs(tmp_path, given, message):
    write_notebook(tmp_path, "01_a", "print(1)")
    with pytest.raises(InputError) as caught:
        runner.run_notebooks(runner.find_notebooks(folder=tmp_path), given, tmp_path / "build")
    assert str(caught.value) == message
    assert not (tmp_path / "build").exists()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"data_dir": "there"}, "data_dir is not used with dataset=bundled; set dataset, too"),
        ({"weights": "a.h5"}, "weights is not used with backbone=vgg; set backbone, too"),
        ({"limit": "-5"}, "limit='-5' cannot be used; give 1 or more, or 0 for all"),
    ],
)
def test_parameters_that_the_chapters_would_ignore_are_refused(tmp_path, given, message):
    with pytest.raises(InputError, match=message):
        runner.run_notebooks(runner.find_notebooks(["05"]), given, tmp_path / "build")
    assert not (tmp_path / "build").exists()
    runner.check_parameters(
        runner.find_notebooks(["05"]), given | {"dataset": "voc", "backbone": "vgg16"}
    )


def test_a_yes_or_no_is_one_of_a_few_words(tmp_path):
    path = write_notebook(tmp_path, "01_a")
    for words, value in (("true 1 Yes on", True), ("false 0 No off", False)):
        for text in words.split():
            assert runner.typed_parameters(path, {"retrain": text}) == {"retrain": value}


@pytest.mark.parametrize("build", [".", "linked"])
def test_a_run_never_overwrites_the_notebooks_it_reads(tmp_path, build):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "notebooks").symlink_to(tmp_path / "notebooks")
    path = write_notebook(tmp_path / "notebooks", "01_a", "print(1)")
    before = path.read_bytes()
    with pytest.raises(InputError, match="01_a.ipynb would overwrite itself; choose another"):
        runner.run_notebooks([path], {}, tmp_path / build)
    assert path.read_bytes() == before and not list(tmp_path.rglob("report"))


def test_notebooks_that_cannot_start_are_failed_ones_in_the_report(tmp_path):
    (tmp_path / "01_empty.ipynb").touch()
    (tmp_path / "02_list.ipynb").write_text("[]")
    strange = write_notebook(tmp_path, "03_strange", "print(1)")
    strange.write_text(strange.read_text().replace('"python3"', '"nosuch"'))
    bare = write_notebook(tmp_path, "04_bare", "print(1)")
    bare.write_text(json.dumps(json.loads(bare.read_text()) | {"metadata": {}}))
    results = run(runner.find_notebooks(folder=tmp_path), {}, tmp_path / "build")
    assert [result.status for result in results] == ["failed"] * 4
    reasons = ("does not appear to be JSON", "no attribute", "No such kernel", "No kernel name")
    for result, reason in zip(results, reasons, strict=True):
        assert result.error.startswith("before the first cell: ") and reason in result.error
    entries = report.read_json(tmp_path / "build/report/report.json")["notebooks"]
    assert [entry["status"] for entry in entries] == ["failed"] * 4


def test_what_a_cell_prints_in_pieces_is_one_text(tmp_path):
    flush = "for text in 'abc':\n    print(text, flush=True)\n    time.sleep(0.3)"
    path = write_notebook(tmp_path, "01_a", "import time", flush)
    assert runner.execute(path, tmp_path / "out.ipynb", {}, timeout=60).status == "passed"
    (output,) = report.read_json(tmp_path / "out.ipynb")["cells"][-1]["outputs"]
    assert "".join(output["text"]) == "a\nb\nc\n"


def test_papermill_shows_its_own_progress(tmp_path, capfd):
    path = write_notebook(tmp_path, "01_bar", "print(1)")
    runner.execute(path, tmp_path / "out.ipynb", {}, 60, progress=True)
    assert re.search(r"01_bar: .*/3 \[.*cell/s", capfd.readouterr().err)


@pytest.mark.parametrize("path", runner.find_notebooks(), ids=lambda path: path.stem)
def test_papermill_explains_every_parameter_as_the_notebook_does(path):
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    (declared,) = (cell for cell in cells if "parameters" in cell["metadata"].get("tags", []))
    shown = CliRunner().invoke(papermill, ["--help-notebook", str(path)])
    assert shown.exit_code == 0
    listed = shown.output.split("Parameters inferred for notebook")[1]
    for line in declared["source"]:
        name, kind, default, text = re.fullmatch(r"(\w+): (\w+) = (.*?)  # (.+)\n?", line).groups()
        assert f"{name}: {kind} (default {default}) {text}" in " ".join(listed.split())
    assert listed.count("(default ") == len(declared["source"]) >= 4
    assert re.search(r"profile: .* quick: .*; full: ", " ".join(listed.split()))


@pytest.mark.parametrize("name", ["data_dir", "weights"])
def test_a_place_is_read_from_where_the_user_stands(tmp_path, monkeypatch, name):
    path = write_notebook(tmp_path, "01_a", "print(1)")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))  # the same on Windows
    for text, place in (
        ("photos", tmp_path / "photos"),
        ("../photos", tmp_path.parent / "photos"),
        ("~/photos", tmp_path / "photos"),
        (str(tmp_path / "photos"), tmp_path / "photos"),
    ):
        given = runner.typed_parameters(path, {name: text, "other": "ignored"})
        assert given == {name: str(place)}
    for text in ("", "imagenet"):  # nothing chosen, and what is no file
        assert runner.typed_parameters(path, {name: text}) == {name: text}


def test_kernels_use_the_data_folder_of_the_command(tmp_path, monkeypatch):
    (tmp_path / "notebooks").mkdir()
    source = "from tutorial_lib.data import data_home\nprint(data_home())"
    write_notebook(tmp_path / "notebooks", "01_a", source)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TUTORIAL_DATA", "mine")
    result = CliRunner().invoke(main, ["run", "notebooks/01_a.ipynb", "--output", "build"])
    assert result.exit_code == 0, result.output
    executed = tmp_path / "build" / "notebooks" / "01_a.ipynb"
    assert printed(executed) == f"{tmp_path / 'mine'}\n"


def test_a_data_folder_is_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))  # the same on Windows
    for text in ("mine", "~/mine", f"../{tmp_path.name}/mine", str(tmp_path / "mine")):
        monkeypatch.setenv("TUTORIAL_DATA", text)
        assert data_home() == tmp_path / "mine"


def test_a_data_folder_that_means_no_path_is_one_line(tmp_path, monkeypatch):
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    for text in ("~nosuch/x", str(tmp_path / "a")):
        monkeypatch.setenv("TUTORIAL_DATA", text)
        result = CliRunner().invoke(main, ["list"])
        assert result.exit_code == 1 and result.output.startswith("Error: TUTORIAL_DATA=")
        assert len(result.output.splitlines()) == 1 and "choose another path" in result.output


@pytest.mark.skipif(not shutil.which("make"), reason="there is no make")
@pytest.mark.parametrize(
    ("text", "folder"), [("my data", ROOT / "my data"), ("/there", "/there"), ("~/d", "~/d")]
)
def test_make_hands_on_a_data_folder_that_is_not_relative(text, folder):
    command = ["make", "--dry-run", "tensorboard"]
    # What `make test` was called with is none of this make's business.
    environment = os.environ | {"TUTORIAL_DATA": text, "MAKEFLAGS": ""}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert f"--logdir {folder}/cache/tensorboard" in done.stdout


def test_notebooks_are_found_by_the_start_of_their_name(tmp_path):
    for name in ("02_b", "01_a"):
        write_notebook(tmp_path, name)
    find = runner.find_notebooks
    assert [path.stem for path in find(folder=tmp_path)] == ["01_a", "02_b"]
    assert [path.stem for path in find(["02"], tmp_path)] == ["02_b"]
    assert [path.stem for path in find(["02_b.ipynb", "01"], tmp_path)] == ["01_a", "02_b"]
    for name in ("03", "", "sub/01_a"):
        with pytest.raises(InputError, match="give a path or one of 01_a, 02_b"):
            find([name], tmp_path)


def test_a_path_means_that_file_and_no_other(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").mkdir()
    own = write_notebook(tmp_path / "mine", runner.find_notebooks(["01"])[0].stem, "print('mine')")
    result = CliRunner().invoke(main, ["run", f"mine/{own.name}", "--output", "build"])
    assert result.exit_code == 0, result.output
    assert printed(tmp_path / "build" / "notebooks" / own.name) == "mine\n"
    for arguments, message in (
        ([f"yours/{own.name}"], "no notebook is called 'yours/"),
        ([f"mine/{own.name}", "01"], "two notebooks have one name"),
    ):
        result = CliRunner().invoke(main, ["run", *arguments, "--output", "other"])
        assert result.exit_code == 1 and message in result.output
        assert not (tmp_path / "other").exists()


def test_an_output_folder_that_cannot_be_written_is_one_line(tmp_path):
    path = write_notebook(tmp_path, "01_a", "print(1)")
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match="choose another folder with --output"):
        runner.run_notebooks([path], {}, tmp_path / "file")


@pytest.mark.slow
def test_refreshing_replaces_the_image_that_opens_a_notebook(tmp_path):
    (tmp_path / "notebooks").mkdir()
    draw = (
        "from tutorial_lib.figures import plotting\n"
        "fig, ax = plotting.figure(title='A line')\n"
        "ax.plot([0, 1], [0, 1])\n"
        "plotting.show(fig, alt='A line that goes up.')"
    )
    path = write_notebook(tmp_path / "notebooks", "01_opening", draw)
    assert canonical.refresh(path).status == "passed"
    notebook = report.read_json(path)
    ((place, old),) = canonical.png_outputs(notebook).items()
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
    new = canonical.png_outputs(report.read_json(path))[place]
    assert opening.read_bytes() == new != old
    assert (opening.parent / "other.png").read_bytes() == b"drawn by hand"


def alive(process):
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def wait_for(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.05)
