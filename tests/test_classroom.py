"""Working copies: without outputs, never overwritten once changed, new ones on request."""

import json

import pytest

from tutorial_lib.errors import InputError
from tutorial_tools import classroom, report, runner


@pytest.fixture
def chapters(tmp_path, monkeypatch):
    """Two stored chapters with outputs, in a folder of their own."""
    folder = tmp_path / "stored"
    folder.mkdir()
    for name in ("01_first", "02_second"):
        cells = [
            cell("markdown", f"# {name}\n\n**How long it takes.** An hour."),
            cell("code", "print(1)", text="1\n"),
            cell("code", "answer = 2\ncheck(answer)", text="✓", tags=["solution"]),
        ]
        (folder / f"{name}.ipynb").write_text(json.dumps({"cells": cells}), encoding="utf-8")
    find = runner.find_notebooks
    monkeypatch.setattr(runner, "find_notebooks", lambda names=(): find(names, folder))
    return folder


def cell(kind, source, text=None, tags=()):
    made = {"cell_type": kind, "id": source[:3], "metadata": {"tags": [*tags]}, "source": source}
    if kind == "code":
        output = {"output_type": "stream", "name": "stdout", "text": text}
        made |= {"execution_count": 1, "outputs": [output]}
    return made


def edit(path, change):
    notebook = report.read_json(path)
    change(notebook["cells"][1])
    path.write_text(json.dumps(notebook), encoding="utf-8")


def test_copies_have_no_outputs_and_folded_solutions(chapters, tmp_path):
    for copy in classroom.prepare(tmp_path / "work"):
        assert copy.state == "not started" and not copy.outdated
        code = [c for c in report.read_json(copy.path)["cells"] if c["cell_type"] == "code"]
        assert all(c["outputs"] == [] and c["execution_count"] is None for c in code)
        assert code[-1]["metadata"]["jupyter"]["source_hidden"]
    page = (tmp_path / "work" / "START.md").read_text(encoding="utf-8")
    assert "[02_second](02_second.ipynb) | An hour. | not started" in page


@pytest.mark.parametrize(
    "work", [lambda c: c.update(source="print(7)"), lambda c: c.update(execution_count=1)]
)
def test_a_copy_that_was_changed_or_run_stays(chapters, tmp_path, work):
    folder = tmp_path / "work"
    first, second = classroom.prepare(folder)
    edit(first.path, work)
    mine = first.path.read_bytes()
    for path in chapters.iterdir():
        edit(path, lambda c: c.update(source="print(3)"))
    first, second = classroom.prepare(folder)
    assert first.path.read_bytes() == mine and first.outdated
    assert "tutorial lab --fresh 01" in (folder / "START.md").read_text(encoding="utf-8")
    assert "print(3)" in second.path.read_text(encoding="utf-8") and not second.outdated


def test_a_copy_that_jupyterlab_has_only_saved_follows_its_chapter(chapters, tmp_path):
    first, _ = classroom.prepare(tmp_path / "work")
    edit(first.path, lambda c: c["metadata"].update(trusted=True))
    edit(first.chapter, lambda c: c.update(source="print(3)"))
    first, _ = classroom.prepare(tmp_path / "work")
    assert "print(3)" in first.path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "content",
    ["not a notebook", "[]", '{"cells": null}', '{"cells": ["a"]}', '{"cells": [{"source": "a"}]}',
     '{"cells": [{"cell_type": "code", "source": "a", "metadata": {}}]}'],
)  # fmt: skip
def test_a_file_that_was_there_before_stays(chapters, tmp_path, content):
    mine = tmp_path / "work" / "01_first.ipynb"
    mine.parent.mkdir()
    mine.write_text(content, encoding="utf-8")
    assert classroom.prepare(mine.parent)[0].state == "cannot be read"
    assert mine.read_text(encoding="utf-8") == content


def test_state_counts_cells_and_exercises(chapters, tmp_path):
    first, _ = classroom.prepare(tmp_path / "work")
    output = {"output_type": "stream", "name": "stdout", "text": "✓ Exercise 1.1"}
    edit(first.path, lambda c: c.update(execution_count=4, outputs=[output]))
    first, _ = classroom.prepare(tmp_path / "work")
    assert first.state == "1 of 2 cells run, 1 of 1 exercises solved"


def test_fresh_copies_stand_beside_ones_own(chapters, tmp_path):
    names = [classroom.fresh_copies(["01"], tmp_path)[0].name for _ in range(2)]
    assert names == ["01_first_fresh.ipynb", "01_first_fresh2.ipynb"]
    with pytest.raises(InputError):
        classroom.fresh_copies(["09"], tmp_path)
