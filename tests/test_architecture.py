"""How the code is laid out: what may import what, and that each public name means one thing."""

import ast
import collections
import importlib
import inspect
import pkgutil

import pytest

import tutorial_lib
import tutorial_tools
from tutorial_lib import CHECKOUT

FORBIDDEN = [
    ("tutorial_lib", "tutorial_tools"),
    ("tutorial_lib/data", "tutorial_lib.training"),
    ("tutorial_lib/models", "tutorial_lib.training"),
    ("tutorial_lib/models", "tensorflow"),
    ("tutorial_lib/figures", "tutorial_lib.training"),
]


def imported(path):
    """Return every module that a file imports, at its top or inside a function."""
    names = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: imports are absolute here"
            names += [f"{node.module}.{alias.name}" for alias in node.names]
    return names


@pytest.mark.parametrize(("directory", "module"), FORBIDDEN)
def test_imports_go_one_way(directory, module):
    paths = list((CHECKOUT / directory).rglob("*.py"))
    found = [
        f"{path.relative_to(CHECKOUT)}: {name}"
        for path in paths
        for name in imported(path)
        if f"{name}.".startswith(f"{module}.")
    ]
    assert paths and not found


def test_the_library_has_at_most_twelve_entries():
    entries = {path.name for path in (CHECKOUT / "tutorial_lib").iterdir()}
    assert len(entries - {"__init__.py", "__pycache__"}) <= 12


def test_no_two_modules_define_one_public_name():
    defined = collections.defaultdict(set)
    for package in (tutorial_lib, tutorial_tools):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            module = importlib.import_module(found.name)
            for name, thing in vars(module).items():
                public = inspect.isfunction(thing) or inspect.isclass(thing)
                # An imported or re-exported object belongs to the module that defines it.
                if public and not name.startswith("_") and thing.__module__ == module.__name__:
                    defined[name].add(module.__name__)
    assert defined
    assert not {name: modules for name, modules in defined.items() if len(modules) > 1}
