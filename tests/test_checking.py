"""The check of the notebooks: what it lets pass and what it must not."""

import subprocess
import sys

import nbformat
import pytest

from tutorial_tools import nbval_plugin

FIGURE = """\
from tutorial_lib.figures import plotting

fig, ax = plotting.figure(title="{title}", size={size})
ax.plot([0, 1, 2], [0, 1, {last}], linewidth=4)
plotting.show(fig, alt="{alt}")
"""
ALT = "A line that rises from left to right."


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


def test_names_are_not_numbers():
    assert nbval_plugin.adopt_numbers("conv2d 1.0e-3", "conv3d 1.01e-3", 0.05) == "conv2d 1.01e-3"


def executed_notebook(path, source):
    """Write a notebook whose stored output is that of the source."""
    from nbclient import NotebookClient

    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source)])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    NotebookClient(notebook).execute()
    nbformat.write(notebook, path)
    return notebook


@pytest.mark.slow
@pytest.mark.parametrize(
    ("tags", "passes"), [([], False), (["numbers-within-5%"], True)], ids=["untagged", "tagged"]
)
def test_nbval_tolerates_numbers_where_a_tag_says_so(tmp_path, tags, passes):
    path = tmp_path / "01_numbers.ipynb"
    notebook = executed_notebook(path, "print('IoU 0.50')")
    notebook.cells[0].source = "print('IoU 0.51')"
    notebook.cells[0].metadata["tags"] = tags
    nbformat.write(notebook, path)
    assert (run_nbval(tmp_path).returncode == 0) is passes


def run_nbval(folder):
    command = [sys.executable, "-m", "pytest", "--nbval", "-p", "tutorial_tools.nbval_plugin"]
    options = ["-p", "no:cacheprovider", "--rootdir", str(folder), str(folder)]
    return subprocess.run([*command, *options], capture_output=True, text=True, cwd=folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({}, ""),
        ({"last": "0"}, "differs by"),
        ({"alt": "A line that falls, they say."}, "alt text"),
        ({"title": "A lime"}, "was '"),
        ({"size": "(3, 4)"}, "size was"),
    ],
    ids=["unchanged", "image", "alt text", "title", "size"],
)
def test_nbval_notices_a_changed_image(tmp_path, change, complaint):
    path = tmp_path / "01_figure.ipynb"
    good = {"last": "2", "alt": ALT, "title": "A line", "size": "(4, 3)"}
    notebook = executed_notebook(path, FIGURE.format(**good))
    notebook.cells[0].source = FIGURE.format(**good | change)
    nbformat.write(notebook, path)

    done = run_nbval(tmp_path)

    assert done.returncode == bool(complaint), done.stdout
    assert complaint in done.stdout
    evidence = [path.name for path in (tmp_path / "build" / "figures").glob("*")]
    assert evidence == ["01_figure-cell-0-0.png"] * bool(complaint)
    assert all(name in done.stdout for name in evidence)


PLAYER = """\
from tutorial_lib.figures import animation

animation.play(animation.slide({i}, 3), title="{title}")
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "change", [{}, {"i": 6}, {"title": "Another"}], ids=["unchanged", "another size", "title"]
)
def test_nbval_looks_into_animations(tmp_path, change):
    path = tmp_path / "01_player.ipynb"
    good = {"i": 5, "title": "A kernel"}
    notebook = executed_notebook(path, PLAYER.format(**good))
    notebook.cells[0].source = PLAYER.format(**good | change)
    nbformat.write(notebook, path)

    done = run_nbval(tmp_path)

    assert done.returncode == bool(change), done.stdout


@pytest.mark.slow
def test_a_kernel_that_dies_is_noticed_and_named(tmp_path):
    path = tmp_path / "01_death.ipynb"
    notebook = executed_notebook(path, "print('alive')")
    notebook.cells[0].source = "import os\nos._exit(1)"
    nbformat.write(notebook, path)

    done = run_nbval(tmp_path)  # would wait for half an hour

    assert done.returncode == 1 and "The kernel died" in done.stdout


@pytest.mark.slow
def test_stderr_does_not_count_but_stdout_does(tmp_path):
    path = tmp_path / "01_text.ipynb"
    notebook = executed_notebook(path, "print('said')")
    notebook.cells[0].source += "\nimport sys\nprint('noise', file=sys.stderr)"
    nbformat.write(notebook, path)
    assert run_nbval(tmp_path).returncode == 0
    notebook.cells[0].source += "\nprint('more')"
    nbformat.write(notebook, path)
    assert run_nbval(tmp_path).returncode == 1
