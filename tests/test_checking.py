"""The check of the notebooks: what it lets pass and what it must not."""

import re
import subprocess
import sys

import nbformat
import pytest
from nbclient import NotebookClient

from tutorial_tools import nbval_plugin, report

FIGURE = """\
from tutorial_lib.figures import plotting

fig, ax = plotting.figure(title="{title}", size={size})
ax.plot([0, 1, 2], [0, 1, {last}], linewidth=4)
plotting.show(fig, alt="{alt}")
"""
ALT = "A line that rises from left to right."
PLAYER = """\
from tutorial_lib.figures import animation

animation.play(animation.slide({i}, 3), title="{title}")
"""


def figure(**change):
    good = {"last": "2", "alt": ALT, "title": "A line", "size": "(4, 3)"}
    return FIGURE.format(**good | change)


def player(**change):
    return PLAYER.format(**{"i": 5, "title": "A kernel"} | change)


NOISE = "import sys\nprint('text')\nprint('noise', file=sys.stderr)"
# Name of the case: tags of the cell, the source that is stored, the source now, the complaint.
CASES = {
    "same figure": ([], figure(), figure(), ""),
    "another image": ([], figure(), figure(last="0"), "image 0: differs by"),
    "figure of a network": (["figure-within-80%"], figure(), figure(last="1.9"), ""),
    "alt text": ([], figure(), figure(alt="A line that falls, they say."), "alt text was"),
    "title": ([], figure(), figure(title="A lime"), "was '"),
    "size": ([], figure(), figure(size="(3, 4)"), "size was"),
    "same animation": ([], player(), player(), ""),
    "animation of another size": ([], player(), player(i=6), "- "),
    "title of an animation": ([], player(), player(title="Another"), "Another"),
    "number": ([], "print('IoU 0.50')", "print('IoU 0.51')", "IoU 0.51"),
    "number within 5 %": (["numbers-within-5%"], "print('IoU 0.50')", "print('IoU 0.51')", ""),
    "number of another width": (
        ["numbers-within-5%"],
        "print('[0.1   2]')",
        "print('[0.101 2]')",
        "",
    ),
    "stderr": ([], "print('text')", NOISE, ""),
    "more text": ([], "print('text')", f"{NOISE}\nprint('more')", "more"),
}


@pytest.mark.parametrize(
    ("new", "same"),
    [
        ("IoU 0.52 of 1,020 images", True),
        ("IoU 0.56 of 1,000 images", False),
        ("IoU 0.50 of 1,200 images", False),
        ("IoU -0.50 of 1,000 images", False),
        ("IoU 0.50 of 1,000 scenes", False),
        ("IoU 0.50 of 1,000 images, 7 bad", False),
        ("IoU 0.50", False),
    ],
)
def test_numbers_may_differ_by_their_tolerance_and_the_words_not_at_all(new, same):
    old = "IoU 0.50 of 1,000 images"
    assert (nbval_plugin.adopt_numbers(new, old, tolerance=0.05) == old) is same


def test_names_are_not_numbers():
    assert nbval_plugin.adopt_numbers("conv2d 1.0e-3", "conv3d 1.01e-3", 0.05) == "conv2d 1.01e-3"


@pytest.mark.parametrize(
    ("tags", "share"),
    [
        ([], None),
        (["solution"], None),
        (["figure-trained"], nbval_plugin.TRAINED_TOLERANCE),
        (["figure-within-25%"], 0.25),
        (["figure-trained", "figure-within-25%"], 0.25),
    ],
)
def test_tags_state_how_much_images_may_differ(tags, share):
    assert nbval_plugin.image_tolerance(tags) == share


def check(folder, cases):
    """Execute the stored sources, put the new ones in their place, and return what nbval finds."""
    cells = [nbformat.v4.new_code_cell(old) for _, old, _, _ in cases]
    notebook = nbformat.v4.new_notebook(cells=cells)
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    NotebookClient(notebook).execute()
    for cell, (tags, _, new, _) in zip(notebook.cells, cases, strict=True):
        cell.source, cell.metadata["tags"] = new, tags
    nbformat.write(notebook, folder / "01_a.ipynb")
    command = [sys.executable, "-m", "pytest", "--nbval", "-p", "tutorial_tools.nbval_plugin"]
    options = ["-p", "no:cacheprovider", "--rootdir", str(folder), "--junitxml=tests.xml"]
    subprocess.run([*command, *options, str(folder)], capture_output=True, cwd=folder)
    return {one["name"]: one["text"] for one in report.read_tests(folder)["failures"]}


@pytest.fixture(scope="module")
def checked(tmp_path_factory):
    """Return a folder in which all cases were checked, and the complaints by name of the cell."""
    folder = tmp_path_factory.mktemp("checked")
    return folder, check(folder, list(CASES.values()))


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_nbval_notices_what_changed_and_nothing_else(checked, name):
    folder, complaints = checked
    number, complaint = list(CASES).index(name), CASES[name][-1]
    found = complaints.get(f"01_a: Cell {number}", "")
    assert bool(found) is bool(complaint) and complaint in found
    if complaint and CASES[name][1] == figure():
        evidence = f"01_a-cell-{number}-0.png"
        assert evidence in found and (folder / "build" / "figures" / evidence).is_file()


@pytest.mark.slow
def test_how_far_the_figure_of_a_network_differs_is_noted(checked):
    results = (checked[0] / "tests.xml").read_text(encoding="utf-8")
    (noted,) = re.findall('<property name="figure 0" value="(.+?)"', results)
    assert 0 < float(noted) < 0.8


@pytest.mark.slow
def test_a_kernel_that_dies_is_noticed_and_named(tmp_path):
    # Without our plugin, nbval would wait for half an hour.
    (found,) = check(tmp_path, [([], "print(1)", "import os\nos._exit(1)", "")]).values()
    assert "The kernel died" in found
