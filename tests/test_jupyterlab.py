"""What a learner sees and does in the real JupyterLab, which `make lab` opens."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import nbformat
import pytest

from tutorial_tools import canonical, classroom, report, runner

ROOT = Path(__file__).resolve().parents[1]
TOKEN = "tests"
PATIENCE = 300  # seconds for anything; two workers on a small machine take their time
OPEN_LAB = "import sys, pathlib; from tutorial_tools import classroom; " + (
    "classroom.open_lab(sys.argv[2:], pathlib.Path(sys.argv[1]))"
)
ALT = "An empty figure of one panel & <nothing> in it"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="ends the server as POSIX systems do"),
]


def interesting(cell: dict) -> bool:
    """Return whether a code cell is a solution, or shows a player or a picker."""
    if cell["cell_type"] != "code":
        return False
    html = ["".join(o.get("data", {}).get("text/html", "")) for o in cell.get("outputs", [])]
    return canonical.is_solution(cell) or any("<figure class=" in text for text in html)


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A folder as `make lab` prepares it, with two notebooks more."""
    folder = tmp_path_factory.mktemp("lab") / "copies"
    classroom.prepare(folder)
    shutil.copytree(ROOT / "docs" / "images", folder.parent / "docs" / "images")
    chapters = [report.read_json(path) for path in runner.find_notebooks()]
    shown = [cell for chapter in chapters for cell in chapter["cells"] if interesting(cell)]
    stored = nbformat.from_dict(chapters[0] | {"cells": shown})
    nbformat.write(stored, folder / "stored.ipynb")
    code = nbformat.v4.new_code_cell
    cells = [
        nbformat.v4.new_markdown_cell("# A section"),
        code("from tutorial_lib.figures import animation, plotting, widgets"),
        code(f"plotting.show(plotting.figure(title='A figure')[0], alt={ALT!r})"),
        code('animation.play(animation.slide(i=4, k=2), title="A convolution")'),
        code("widgets.explore_convolution(i=4, k=2, s=1, p=0)"),
        nbformat.v4.new_markdown_cell("# The end"),
    ]
    mine = nbformat.v4.new_notebook(cells=cells, metadata=canonical.NOTEBOOK_METADATA)
    nbformat.write(mine, folder / "mine.ipynb")
    return folder


@pytest.fixture(scope="module")
def lab(browser, work, tmp_path_factory):
    """Start JupyterLab on the loopback interface; return its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    own = tmp_path_factory.mktemp("jupyter")
    folders = {f"JUPYTER_{name}_DIR": str(own / name) for name in ("CONFIG", "DATA", "RUNTIME")}
    options = ["--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1"]
    options += [f"--ServerApp.port={port}", f"--IdentityProvider.token={TOKEN}"]
    with (own / "log").open("w") as log:
        server = subprocess.Popen(
            [sys.executable, "-c", OPEN_LAB, str(work), *options],
            env=os.environ | folders | {"PYTHONPATH": str(ROOT)},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    address = f"http://127.0.0.1:{port}/"
    try:
        wait_for(f"{address}api/status?token={TOKEN}", server, own / "log")
        yield address
    finally:
        os.killpg(server.pid, signal.SIGTERM)  # the server ends its kernels
        try:
            server.wait(60)
        finally:
            if server.returncode is None:
                os.killpg(server.pid, signal.SIGKILL)


def wait_for(address: str, server: subprocess.Popen, log: Path) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and server.poll() is None:
        try:
            urllib.request.urlopen(address, timeout=PATIENCE).close()
            return
        except OSError:
            time.sleep(0.5)
    pytest.fail(f"JupyterLab does not start:\n{log.read_text()[-2000:]}")


def open_page(browser, address: str):
    page = browser.new_page(viewport={"width": 1280, "height": 900})
    page.set_default_timeout(PATIENCE * 1000)
    page.goto(f"{address}?token={TOKEN}")
    return page


def open_notebook(browser, lab: str, name: str):
    """Open a notebook in a workspace of its own, so that no other one is open."""
    page = open_page(browser, f"{lab}lab/workspaces/{time.time_ns()}/tree/copies/{name}")
    page.locator(".jp-Notebook .jp-Cell").first.wait_for()
    return page


def test_start_page_is_rendered_and_leads_to_the_chapters(browser, lab):
    page = open_page(browser, lab)
    start = page.locator(".jp-MarkdownViewer")
    start.get_by_role("cell", name="not started").first.wait_for()
    chapters = start.locator("td a")
    assert chapters.count() == len(runner.find_notebooks())
    chapters.first.click()
    title = page.locator(".jp-Notebook h1").first
    title.wait_for()
    assert chapters.first.inner_text() in title.inner_text()
    page.close()


def test_stored_chapters_show_no_answers_and_no_dead_players(browser, lab, work):
    page = open_notebook(browser, lab, "stored.ipynb")
    cells = report.read_json(work / "stored.ipynb")["cells"]
    folded = [cell for cell in cells if canonical.is_solution(cell)]
    moving = len(cells) - len(folded)
    assert folded and moving
    # Cells outside the window may be drawn only when they come into it.
    for number, cell in enumerate(cells):
        shown = page.locator(f".jp-Notebook .jp-Cell[data-windowed-list-index='{number}']")
        shown.evaluate("(cell) => cell.scrollIntoView()")  # waits until the cell is there
        if canonical.is_solution(cell):
            shown.locator(".jp-InputPlaceholder").wait_for()
            assert shown.inner_text().strip(" .•\n") == canonical.SOLUTION_LINE.strip()
            assert shown.locator(".jp-OutputPlaceholder").count() == bool(cell["outputs"])
        else:
            shown.locator("figure img").first.wait_for()
            assert not shown.locator(".slide-stage, .latent-stage, .explorer-stage").is_visible()
    page.close()


@pytest.fixture(scope="module")
def mine(browser, lab):
    """A notebook with a player and sliders, in which every cell has run."""
    page = open_notebook(browser, lab, "mine.ipynb")
    page.get_by_text("| Idle").wait_for()  # the kernel is ready
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    page.locator(".slide-stage").wait_for()
    page.locator(".explorer-stage").wait_for()
    yield page
    page.close()


def test_figures_have_their_alt_text(mine):
    assert mine.get_by_role("img", name=ALT, exact=True).bounding_box()["width"] > 200


def test_arrow_keys_on_a_player_move_the_player_only(mine):
    active = ".jp-Notebook .jp-Cell.jp-mod-active"
    step = mine.locator(".slide-controls input")
    step.click()
    before, at = mine.locator(active).get_attribute("data-windowed-list-index"), step.input_value()
    for key in ("ArrowLeft", "ArrowDown", "ArrowUp", "Home", "ArrowUp"):
        step.press(key)
    assert step.input_value() == "1" != at
    assert mine.locator(active).get_attribute("data-windowed-list-index") == before
    assert mine.locator(".jp-Notebook .jp-MarkdownHeadingCollapsed").count() == 0
    assert mine.get_by_role("heading", name="The end").is_visible()


def test_sliders_show_what_is_impossible_and_recover(mine):
    kernel = mine.get_by_label("kernel k")
    for size, text in (("5", "The kernel does not fit"), ("2", "+ 1 = 3")):
        kernel.fill(size)
        mine.locator(".explorer-text", has_text=text).wait_for()
        assert mine.locator(".explorer canvas").is_visible() == (size == "2")
