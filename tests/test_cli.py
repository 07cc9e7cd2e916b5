"""The `tutorial` command."""

import subprocess
import sys

import pytest
from helpers import run
from PIL import Image

from tutorial_tools import doctor


def test_help_names_every_command():
    result = run("--help")
    assert result.exit_code == 0
    for command in ("run", "list", "doctor", "data", "refresh", "animate", "handout", "grade"):
        assert command in result.output


def test_help_does_not_import_the_heavy_packages():
    heavy = {"tensorflow", "keras", "papermill", "numpy", "matplotlib"}
    source = "import sys, tutorial_tools.cli; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True)
    assert not heavy & set(done.stdout.split())


def test_list_shows_notebooks_with_their_parameters():
    result = run("list")
    assert result.exit_code == 0
    assert "01_convolution_arithmetic" in result.output and "05_fcn_voc" in result.output
    assert "profile" in result.output and "bundled" in result.output


def test_doctor_finds_this_environment_healthy():
    result = run("doctor")
    assert result.exit_code == 0 and "TensorFlow" in result.output, result.output


def test_doctor_reports_what_is_broken(monkeypatch):
    def device():
        raise ImportError("no tensorflow")

    monkeypatch.setattr(doctor, "device", device)
    result = run("doctor")
    assert result.exit_code == 1
    assert "BAD  device       ImportError: no tensorflow" in result.output


def test_errors_are_one_line_and_a_non_zero_exit(tmp_path):
    for arguments in (
        ("run", "99"),
        ("run", "-p", "profile", "fast", "--output", str(tmp_path)),
        ("run", "-p", "colour", "red", "--output", str(tmp_path)),
    ):
        result = run(*arguments)
        assert result.exit_code == 1
        assert result.output.startswith("Error: ") and result.output.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("seconds", ["1.5", "nan", "0"])
def test_a_timeout_is_a_number_of_whole_seconds(seconds):
    result = run("run", "01", "--timeout", seconds)
    assert result.exit_code == 2 and "Invalid value for '--timeout'" in result.output


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (PermissionError(13, "Permission denied", "data/x"), "data/x: Permission denied"),
        (OSError("two\nlines"), "two lines"),
    ],
)
def test_a_place_that_cannot_be_used_is_one_line(monkeypatch, error, message):
    def refuse():
        raise error

    monkeypatch.setattr(doctor, "examine", refuse)
    result = run("doctor")
    assert result.exit_code == 1 and result.output == f"Error: {message}\n"


@pytest.mark.parametrize(
    ("options", "frames", "story"),
    [
        ("-i 6 -k 3 -s 2 -p 1", 9, "A kernel of 3×3 slides over an input of 6×6"),
        ("-i 2 -s 2 --transposed --output-padding 1", 36, "slides over an input of 2×2"),
        ("-i 2 -s 2 --stamping", 4, "Each pixel of an input of 2×2 in turn stamps"),
    ],
)
def test_animate_writes_a_gif_and_says_what_it_shows(tmp_path, options, frames, story):
    path = tmp_path / "slide.gif"
    result = run("animate", *options.split(), str(path))
    assert result.exit_code == 0 and story in result.output
    with Image.open(path) as gif:
        assert gif.n_frames == frames


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("-i 2 -k 5 slide.gif", "does not fit into 2 pixels"),
        ("slide.png", "slide.png should end in .gif"),
        ("--output-padding 1 slide.gif", "goes with --transposed or --stamping"),
    ],
)
def test_animate_says_in_one_line_what_is_impossible(tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    result = run("animate", *arguments.split())
    assert result.exit_code == 1 and message in result.output
    assert len(result.output.strip().splitlines()) == 1 and not list(tmp_path.iterdir())
