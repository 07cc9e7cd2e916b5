"""The picture check of the notebooks: what it lets pass and what it must not."""

import subprocess
import sys

import nbformat
import numpy as np
import pytest
from PIL import Image

from tutorial_lib import checking

PICTURE = """\
from tutorial_lib import plotting

fig, ax = plotting.figure(title="A line")
ax.plot([0, 1, 2], [0, 1, {last}], linewidth=4)
plotting.show(fig, alt="{alt}")
"""
ALT = "A line that rises from left to right."


@pytest.fixture
def evidence(tmp_path):
    return lambda number: tmp_path / f"evidence-{number}.png"


def picture(value=0, shape=(48, 48)):
    return np.full((*shape, 3), value, np.uint8)


def test_equal_pictures_pass(evidence):
    pair = [(picture(), "alt")]
    assert checking.compare_pictures(pair, pair, False, evidence) == []


def test_a_changed_picture_fails_and_leaves_evidence(evidence):
    changed = picture()
    changed[10:20, 10:20] = 255
    problems = checking.compare_pictures([(picture(), "a")], [(changed, "a")], False, evidence)
    assert len(problems) == 1 and "picture 0 differs by" in problems[0]
    side_by_side = np.asarray(Image.open(evidence(0)))
    assert side_by_side.shape == (48, 144, 3)
    assert np.array_equal(side_by_side[:, 48:96], changed)


def test_alt_text_size_and_number_count_exactly(evidence):
    compare = checking.compare_pictures
    assert "alt text" in compare([(picture(), "a")], [(picture(), "b")], False, evidence)[0]
    assert "size" in compare([(picture(), "a")], [(picture(0, (48, 47)), "a")], False, evidence)[0]
    assert compare([(picture(), "a")], [], False, evidence) == ["expected 1 pictures, got 0"]


def test_trained_pictures_may_differ_in_detail_but_not_in_substance(evidence):
    rng = np.random.default_rng(0)
    scene = np.kron(rng.integers(0, 256, (6, 6, 3)), np.ones((24, 24, 1))).astype(np.uint8)
    shifted = np.roll(scene, 5, axis=1)
    empty = np.full_like(scene, 255)
    old = [(scene, "a")]
    compare = checking.compare_pictures
    assert compare(old, [(shifted, "a")], True, evidence) == []
    assert compare(old, [(shifted, "a")], False, evidence)
    assert compare(old, [(empty, "a")], True, evidence)
    assert compare(old, [(scene[::-1], "a")], True, evidence)


@pytest.mark.parametrize(
    ("new", "same"),
    [
        ("IoU 0.52 of 1,020 pictures", True),
        ("IoU 0.56 of 1,000 pictures", False),
        ("IoU 0.50 of 1,200 pictures", False),
        ("IoU -0.50 of 1,000 pictures", False),
        ("IoU 0.50 of 1,000 scenes", False),
        ("IoU 0.50 of 1,000 pictures, 7 bad", False),
        ("IoU 0.50", False),
    ],
)
def test_numbers_may_differ_by_their_tolerance_and_the_words_not_at_all(new, same):
    old = "IoU 0.50 of 1,000 pictures"
    assert (checking.adopt_numbers(new, old, tolerance=0.05) == old) is same


def test_names_are_not_numbers():
    assert checking.adopt_numbers("conv2d 1.0e-3", "conv3d 1.01e-3", 0.05) == "conv2d 1.01e-3"


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
    command = [sys.executable, "-m", "pytest", "--nbval", "-p", "tutorial_lib.checking"]
    options = ["-p", "no:cacheprovider", "--rootdir", str(folder), str(folder)]
    return subprocess.run([*command, *options], capture_output=True, text=True, cwd=folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({}, ""),
        ({"last": "0"}, "differs by"),
        ({"alt": "A line that falls, they say."}, "alt text"),
    ],
    ids=["unchanged", "picture", "alt text"],
)
def test_nbval_notices_a_changed_picture(tmp_path, change, complaint):
    path = tmp_path / "01_picture.ipynb"
    good = {"last": "2", "alt": ALT}
    notebook = executed_notebook(path, PICTURE.format(**good))
    notebook.cells[0].source = PICTURE.format(**good | change)
    nbformat.write(notebook, path)

    done = run_nbval(tmp_path)

    assert done.returncode == bool(complaint), done.stdout
    assert complaint in done.stdout
    assert (tmp_path / "build" / "figures").exists() == (complaint == "differs by")


PLAYER = """\
from tutorial_lib import animation

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
