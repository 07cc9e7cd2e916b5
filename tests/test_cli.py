"""The `tutorial` command."""

import json
import subprocess
import sys

from click.testing import CliRunner

from tutorial_lib import diagnosis
from tutorial_lib.cli import main


def call(*arguments):
    return CliRunner().invoke(main, arguments)


def test_help_names_every_command():
    result = call("--help")
    assert result.exit_code == 0
    for command in ("run", "list", "doctor", "data", "refresh"):
        assert command in result.output


def test_help_does_not_import_the_heavy_packages():
    heavy = {"tensorflow", "keras", "papermill", "numpy", "matplotlib"}
    source = "import sys, tutorial_lib.cli; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True)
    assert not heavy & set(done.stdout.split())


def test_list_shows_notebooks_with_their_parameters():
    result = call("list")
    assert result.exit_code == 0
    assert "01_convolution_arithmetic" in result.output and "05_fcn_voc" in result.output
    assert "profile" in result.output and "bundled" in result.output


def test_doctor_finds_this_environment_healthy():
    result = call("doctor")
    assert result.exit_code == 0, result.output
    assert "TensorFlow" in result.output


def test_doctor_reports_what_is_broken(monkeypatch):
    def device():
        raise ImportError("no tensorflow")

    monkeypatch.setattr(diagnosis, "device", device)
    result = call("doctor")
    assert result.exit_code == 1
    assert "BAD  device       ImportError: no tensorflow" in result.output


def test_errors_are_one_line_and_a_non_zero_exit(tmp_path):
    for arguments in (
        ("run", "99"),
        ("run", "-p", "profile", "fast", "--output", str(tmp_path)),
        ("run", "-p", "colour", "red", "--output", str(tmp_path)),
    ):
        result = call(*arguments)
        assert result.exit_code == 1
        assert result.output.startswith("Error: ") and result.output.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_run_by_name_writes_notebook_and_report(tmp_path):
    result = call("run", "01", "--output", str(tmp_path))
    assert result.exit_code == 0, result.output
    record = json.loads((tmp_path / "report" / "report.json").read_text(encoding="utf-8"))
    assert [entry["name"] for entry in record["notebooks"]] == ["01_convolution_arithmetic"]
    assert (tmp_path / "notebooks" / "01_convolution_arithmetic.ipynb").stat().st_size
