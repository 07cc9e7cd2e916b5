"""The scripts that check the checks: they change what they say they change, and count right."""

import ast
import importlib
import sys

import pytest

from tutorial_lib import CHECKOUT as ROOT

sys.path.append(str(ROOT / "benchmarks"))

import common
import mutations
import robustness

from tutorial_tools import report

SOURCE = '''\
"""A text that no reader of the chapter sees."""
SIZE: int = 3  # three


def draw(ax, *others):
    """Draw."""
    x = np.zeros(shape=(4, 5)) * 2
    ax.plot(x, color=PALETTE["muted"], lw=1.5, label=f"mean {x.mean():.2f} of grün")
    ax.set(xlabel="years", visible=True)
    return x[-1] if len(x) > 2 else None
'''


def test_every_kind_of_change_is_made_and_compiles():
    changes = list(mutations.changes(SOURCE))
    found = {(change.kind, change.after) for change in changes}
    assert {
        ("number", "SIZE: int = 4  # three"),
        ("operator", "x = np.zeros(shape=(4, 5)) + 2"),
        ("operator", "return x[-1] if len(x) < 2 else None"),
        ("truth value", 'ax.set(xlabel="years", visible=False)'),
    } <= found
    plot = [change.after for change in changes if change.before.startswith("ax.plot")]
    assert any("color=PALETTE['truth']" in line for line in plot)
    assert any("lw=1.875" in line for line in plot)
    assert any('f"mebn {x.mean():.2f} of grün"' in line for line in plot)
    for change in changes:
        assert ast.dump(ast.parse(change.source)) != ast.dump(ast.parse(SOURCE))
        assert "no reader of the chapter" in change.source and "*others" in change.source


def test_longer_draws_begin_with_shorter_ones_and_take_each_kind_in_turn():
    notebook = report.read_json(common.notebook_path("02"))
    short, long = (mutations.choose(notebook, count, 0) for count in (10, 20))
    assert short == long[:10] and len({change.kind for _, change in short[:5]}) == 5


def test_runs_are_compared_cell_by_cell():
    def executed(output):
        tags = {"a": [], "b": [], "clock": ["nbval-ignore-output"]}
        shown = {"a": 0, "b": output, "clock": output}
        return {
            "cells": [
                {"id": id, "metadata": {"tags": tags[id]}, "outputs": [shown[id]]} for id in tags
            ]
        }

    assert common.differing_cells(executed(1), executed(1)) == []
    assert common.differing_cells(executed(1), executed(2)) == ["b"]


JUNIT = """<testsuites><testsuite><testcase name="Cell 0"/><testcase name="Cell 3"><properties>
<property name="figure 0" value="0.1000"/><property name="figure 1" value="0.2500"/>
</properties><failure message="no"/></testcase></testsuite></testsuites>"""


def test_verdicts_are_read_from_what_pytest_writes(tmp_path):
    (tmp_path / "result.xml").write_text(JUNIT, encoding="utf-8")
    assert robustness.read_results(tmp_path / "result.xml") == (["Cell 3"], {"Cell 3": 0.25})
    assert robustness.read_results(tmp_path / "missing.xml") == ([], {})


@pytest.mark.parametrize(
    ("distance", "percent"), [(0, 5), (0.01, 5), (0.051, 20), (0.1, 30), (0.5, 80)]
)
def test_tolerances_leave_room(distance, percent):
    assert robustness.percent(distance) == percent


def test_only_figures_of_trained_networks_get_a_tag(tmp_path):
    def cell(id, *tags):
        return {"cell_type": "code", "id": id, "metadata": {"tags": list(tags)}, "source": []}

    notebook = {"cells": [cell("a"), cell("b", "solution", "figure-trained")]}
    figures = robustness.trained_figures(notebook, {"Cell 0": 0.1, "Cell 1": 0.1})
    assert figures == {"b": 0.1}


@pytest.mark.parametrize("path", sorted((ROOT / "benchmarks").glob("*.py")), ids=lambda p: p.stem)
def test_every_name_of_the_library_that_a_script_uses_exists(path):
    tree, things = ast.parse(path.read_text(encoding="utf-8")), {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("tutorial_"):
            module = importlib.import_module(node.module)
            for name in (alias.name for alias in node.names):
                inner = None if hasattr(module, name) else f"{node.module}.{name}"
                things[name] = importlib.import_module(inner) if inner else getattr(module, name)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") in things:
            assert hasattr(things[node.value.id], node.attr), ast.unparse(node)
