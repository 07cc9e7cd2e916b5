"""The scripts that check the checks: they change what they say they change, and count right."""

import ast
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import copies, mutants, mutations, repeatability, robustness, timings  # noqa: E402

SOURCE = '''\
"""A text that no reader of the chapter sees."""
import numpy as np

SIZE: int = 3  # three


def draw(ax, seed: int = 0):
    """Draw."""
    rng = np.random.default_rng(seed=0)
    x = np.zeros(shape=(4, 5)) * 2
    ax.plot(x, color="#3B7DD8", lw=1.5, label=f"mean {x.mean():.2f} of grün")
    ax.set(xlabel="years", visible=True, facecolor=PALETTE["ink"])
    return rng if len(x) > 2 else None
'''


def test_every_kind_of_change_is_made_and_compiles():
    changes = list(mutants.changes(SOURCE))
    pairs = {(change.kind, change.before, change.after) for change in changes}
    assert {
        ("number", "3", "4"),
        ("number", "1.5", "1.875"),
        ("seed", "0", "1"),
        ("shape", "4", "5"),
        ("color", '"#3B7DD8"', '"#7DD83B"'),
        ("color", '"ink"', '"void"'),
        ("truth value", "True", "False"),
        ("operator", ">", "<"),
        ("operator", "*", "+"),
        ("label", "a", "b"),
    } <= pairs
    for change in changes:
        assert ast.dump(ast.parse(change.source)) != ast.dump(ast.parse(SOURCE))
        assert "no reader of the chapter" in change.source and "def draw" in change.source


def test_a_label_gets_one_typing_error_outside_the_braces():
    labels = [change for change in mutants.changes(SOURCE) if change.kind == "label"]
    assert any('f"mebn {x.mean():.2f} of grün"' in change.source for change in labels)
    assert all(change.source.count("{x.mean():.2f}") == 1 for change in labels)


def test_a_change_knows_where_it_stands():
    places = {change.before: change for change in mutants.changes(SOURCE)}
    assert places["3"].lines == (4, 4) and not places["3"].inside
    assert places['"#3B7DD8"'].lines == (11, 11) and places['"#3B7DD8"'].inside


@pytest.mark.parametrize("number", ["01", "05"])
def test_longer_draws_begin_with_shorter_ones_and_take_only_what_is_executed(number):
    lines = range(1, 400)
    executed = {("convolution.py", line) for line in lines}
    short, long = (mutations.choose(number, count, 0, executed) for count in (10, 20))
    assert short == long[:10]
    assert sum(not mutant.cell for mutant in long) == 20 * mutations.SHARE_IN_LIBRARY
    for mutant in long:
        assert mutant.cell or mutant.path == "tutorial_lib/convolution.py"
        assert mutant.name.count("`") >= 2


def test_what_a_mutant_changed_is_counted_by_chapter_kind_and_place():
    def record(verdict, kind):
        return {"mutant": "m", "notebook": "01", "kind": kind, "place": "library"} | {
            "verdict": verdict,
            "cells": ["01-02"],
        }

    text = mutations.table(
        [record("noticed", "seed"), record("slipped", "label"), record("invisible", "label")]
    )
    assert "| 01 | 3 | 2 | 1 | 50% |" in text and "| label | 2 | 1 | 0 | 0% |" in text
    assert text.endswith("- m (cells 01-02)")


JUNIT = """<testsuites><testsuite><testcase name="Cell 0"/><testcase name="Cell 3"><properties>
<property name="picture 0" value="0.1000"/><property name="picture 1" value="0.2500"/>
</properties><failure message="no"/></testcase></testsuite></testsuites>"""


def test_outcomes_are_read_from_what_pytest_writes(tmp_path):
    (tmp_path / "result.xml").write_text(JUNIT, encoding="utf-8")
    assert robustness.read(tmp_path / "result.xml") == (["Cell 3"], {"Cell 3": 0.25})
    assert robustness.read(tmp_path / "missing.xml") == ([], {})


def test_the_table_of_variants_has_a_column_a_notebook():
    def record(notebook, variant, passed):
        record = {"notebook": notebook, "variant": variant, "minutes": 1.26}
        return record | {"passed": passed, "failed": [] if passed else ["Cell 3"]}

    text = robustness.table(
        [record("01_a", "x", True), record("02_b", "x", False), record("01_a", "y", True)]
    )
    assert text.splitlines()[2:] == [
        "| x | passed, 1.3 min | **failed** in Cell 3, 1.3 min |",
        "| y | passed, 1.3 min |  |",
    ]


@pytest.mark.parametrize(
    ("distance", "percent"), [(0, 5), (0.01, 5), (0.051, 20), (0.1, 30), (0.5, 80)]
)
def test_tolerances_leave_room(distance, percent):
    assert robustness.percent(distance) == percent


def test_a_section_of_a_page_is_replaced_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setattr(copies, "ROOT", tmp_path)
    page = tmp_path / "page.md"
    page.write_text("a\n<!-- begin x -->\nold\n<!-- end x -->\nb\n", encoding="utf-8")
    copies.put("x", r"new \1", page)
    copies.put("x", r"newer \1", page)
    text = page.read_text(encoding="utf-8")
    assert text == "a\n<!-- begin x -->\n\nnewer \\1\n\n<!-- end x -->\nb\n"
    with pytest.raises(SystemExit, match="no marks"):
        copies.put("y", "", page)


def test_the_page_on_checking_has_all_sections():
    text = copies.PAGE.read_text(encoding="utf-8")
    for section in ("mutations", "robustness", "timings"):
        assert text.count(f"<!-- begin {section} -->") == text.count(f"<!-- end {section} -->") == 1


def test_runs_are_compared_cell_by_cell():
    def executed(output):
        tags = {"a": [], "b": [], "clock": ["nbval-ignore-output"]}
        shown = {"a": 0, "b": output, "clock": output}
        return {
            "cells": [
                {"id": id, "metadata": {"tags": tags[id]}, "outputs": [shown[id]]} for id in tags
            ]
        }

    first, second = executed(1), executed(2)
    assert repeatability.differing_cells(first, first) == []
    assert repeatability.differing_cells(first, second) == ["b"]


def test_times_are_summed_and_short_files_share_a_row():
    def file(name, seconds):
        return {"name": name, "tests": 2, "seconds": seconds, "slowest": (seconds / 2, "test_a")}

    text = timings.table({"seconds": 9.0, "files": [file("long", 12), file("x", 2), file("y", 1)]})
    assert text.splitlines()[2:] == [
        "| long | 2 | 12 | 6, `test_a` |",
        "| 2 others | 4 | 3 | |",
        "| **all** | 6 | 15 | 9 by the clock |",
    ]


def test_a_chosen_variant_alone_is_tried(monkeypatch):
    monkeypatch.setattr(robustness, "check", lambda variant, number: (variant.name, number))
    options = SimpleNamespace(only=["AVX2", "SSE4.1"], chapters=["01"], matplotlib=None)
    known = {("AVX2", "01_convolution_arithmetic")}
    assert list(robustness.outcomes(options, known)) == [("SSE4.1", "01")]
