"""What continuous integration and pre-commit read: well-formed, pinned, and in step with us."""

import json
import re
import shlex
import subprocess
import sys

import pytest
import yaml

from tutorial_lib import CHECKOUT as ROOT
from tutorial_tools import canonical, runner

WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")


@pytest.fixture(params=WORKFLOWS, ids=lambda path: path.stem)
def workflow(request):
    return yaml.safe_load(request.param.read_text(encoding="utf-8"))


def steps(workflow):
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def test_every_action_is_pinned_and_rights_are_stated(workflow):
    assert workflow["permissions"] in ({}, {"contents": "read"})  # a job may ask for more
    for step in steps(workflow):
        assert re.fullmatch(r"[\w-]+/[\w/-]+@[0-9a-f]{40}", step.get("uses", "a/b@" + 40 * "0"))


def test_every_script_is_well_formed(workflow):
    for step in steps(workflow):
        script = re.sub(r"\$\{\{.*?\}\}", "x", step.get("run", ""))
        done = subprocess.run(["bash", "-n"], input=script, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_targets_named_in_workflows_are_in_the_makefile(workflow):
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for step in steps(workflow):
        for target in re.findall(r"\bmake (?:--\S+ )*([a-z-]+)", step.get("run", "")):
            assert re.search(rf"^{target}:", makefile, re.M), target


# pre-commit


@pytest.fixture(scope="module")
def hooks():
    config = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    return {hook["id"]: hook for repo in config["repos"] for hook in repo["hooks"]}


def test_pre_commit_has_the_locked_version_of_ruff(hooks):
    locked = re.search(r"^ruff==[\d.]+", LOCK, re.M)[0]
    assert hooks["ruff-check"]["additional_dependencies"] == [locked]
    assert hooks["ruff-format"]["additional_dependencies"] == [locked]


@pytest.fixture
def form_hook(hooks):
    """Return a function that runs the notebook hook as pre-commit does: with bare Python."""

    def run(*paths):
        command = shlex.split(hooks["notebook-form"]["entry"])
        assert command[0] == "python"
        # -S leaves out all installed packages.
        command = [sys.executable, "-S", *command[1:], *map(str, paths)]
        return subprocess.run(command, cwd=ROOT, capture_output=True, encoding="utf-8")

    return run


def test_the_notebook_hook_passes_what_is_stored(form_hook):
    done = form_hook(*runner.find_notebooks())
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_notebook_hook_brings_notebooks_into_form(form_hook, tmp_path):
    source = runner.find_notebooks()[0].read_text(encoding="utf-8")
    edited = json.loads(source)
    edited["metadata"]["editor"] = "mine"
    edited["cells"][0]["metadata"]["collapsed"] = True
    path = tmp_path / "ein heft é.ipynb"
    path.write_text(json.dumps(edited), encoding="utf-8")

    done = form_hook(path)
    assert done.returncode == 1 and done.stdout.count("\n") == 1
    assert path.read_text(encoding="utf-8") == source
    assert form_hook(path).returncode == 0


@pytest.mark.parametrize(
    "content",
    ["not JSON", "[]", '{"cells": [{"cell_type": "code"}]}', '{"cells": 3}', None],
)
def test_the_notebook_hook_says_in_one_line_what_is_no_notebook(tmp_path, capsys, content):
    path = tmp_path / "odd.ipynb"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    assert canonical.main([str(path)]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"Error: {path}") and error.count("\n") == 1
    if content is not None:
        assert path.read_text(encoding="utf-8") == content
