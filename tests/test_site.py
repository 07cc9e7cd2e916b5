"""The site: it builds offline without a warning, and every page works in a browser."""

import ast
import functools
import http.server
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import tomllib
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlparse

import pytest
import yaml

from tutorial_tools import runner

ROOT = Path(__file__).resolve().parents[1]
CHAPTERS = [path.stem for path in runner.find_notebooks()]
REPOSITORY = "https://github.com/someone/something"
pytestmark = pytest.mark.slow  # the site is built, and looked at page by page
PHONE, LAPTOP = {"width": 390, "height": 844}, {"width": 1280, "height": 900}


sys.path.append(str(ROOT / "docs"))

import build_pdf  # noqa: E402
import build_site  # noqa: E402


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Build once, cut off from the network, with an address for the launch buttons."""
    folder = tmp_path_factory.mktemp("site") / "html"
    nowhere = dict.fromkeys(("http_proxy", "https_proxy", "HTTPS_PROXY"), "http://127.0.0.1:9")
    done = subprocess.run(
        [sys.executable, ROOT / "docs" / "build_site.py", "--output", folder],
        capture_output=True,
        text=True,
        env=os.environ | nowhere | {"SITE_REPOSITORY": REPOSITORY, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr
    assert not done.stderr
    return folder


class Page(HTMLParser):
    """What a page links to and loads, its anchors and its images."""

    def __init__(self, path: Path):
        super().__init__()
        self.anchors, self.links, self.loads, self.images = set(), [], [], []
        self.text = path.read_text(encoding="utf-8")
        self.feed(self.text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        if "id" in given:
            self.anchors.add(given["id"])
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        if tag == "img":
            self.images.append(given)
        if tag in ("img", "script", "iframe", "source", "audio", "video") and given.get("src"):
            self.loads.append(given["src"])
        if tag == "link" and given.get("rel") not in ("next", "prev", "index", "search"):
            self.loads.append(given["href"])


@pytest.fixture(scope="module")
def pages(site):
    """All pages of the site by path, without the theme's empty template."""
    found = {
        path.relative_to(site).as_posix(): Page(path)
        for path in sorted(site.rglob("*.html"))
        if not path.is_relative_to(site / "_static")
    }
    assert "index.html" in found and "search.html" in found
    return found


def is_outside(address: str) -> bool:
    return bool(urlparse(address).netloc)


def test_no_page_loads_anything_from_elsewhere(site, pages):
    outside = [(name, a) for name, page in pages.items() for a in page.loads if is_outside(a)]
    assert not outside
    for sheet in site.rglob("*.css"):
        text = sheet.read_text(encoding="utf-8")
        addresses = re.findall(r"(?:url\(|@import)\s*[\"']?([^\"')\s;]+)", text)
        assert not [a for a in addresses if is_outside(a)], sheet


def test_every_internal_link_leads_somewhere(site, pages):
    broken = []
    for name, page in pages.items():
        for link in [*page.links, *page.loads]:
            if is_outside(link) or link.startswith(("data:", "mailto:", "javascript:")):
                continue
            path, anchor = urldefrag(unquote(link))
            path = path.split("?")[0]
            target = (site / name).parent / path if path else site / name
            key = os.path.relpath(target, site).replace(os.sep, "/")
            if not target.is_file():
                broken.append((name, link))
            elif anchor and key in pages and anchor not in pages[key].anchors:
                broken.append((name, link))
    assert not broken


def test_no_page_has_a_section_twice(pages):
    for name, page in pages.items():
        titles = re.findall(r"<h2>(.+?)<a", page.text)
        assert len(titles) == len(set(titles)), name


PAGES = [
    ROOT / "README.md",
    *build_site.DOCS.glob("*.md"),
    *map(ROOT.joinpath, build_site.ALSO_PAGES),
]


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_every_link_between_pages_holds_in_the_repository_too(path):
    text = path.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)]+)\)", text):
        if not is_outside(link):
            assert (path.parent / urldefrag(link)[0]).is_file(), link


def test_links_of_the_repository_are_turned_into_those_of_the_site():
    out, within = (
        "[a](../data/README.md) [b](start.md)",
        "[a](docs/teaching.md) [b](data/README.md)",
    )
    assert build_site.at_the_top(out, from_docs=True) == "[a](data/README.md) [b](start.md)"
    assert build_site.at_the_top(within, from_docs=False) == "[a](teaching.md) [b](data/README.md)"


def test_every_image_has_alt_text(pages):
    assert any(page.images for page in pages.values())
    for name, page in pages.items():
        for image in page.images:
            if "logo" not in image["src"]:  # beside the name of the service, in a menu
                assert len(image.get("alt", "").split()) > 3, (name, image["src"][:80])


def outputs(chapter: str) -> list[dict]:
    """Return the data of all outputs of a notebook, by type."""
    notebook = json.loads((ROOT / "notebooks" / f"{chapter}.ipynb").read_text(encoding="utf-8"))
    return [o["data"] for cell in notebook["cells"] for o in cell.get("outputs", []) if "data" in o]


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_chapter_shows_what_its_notebook_holds(site, pages, chapter):
    page, data = pages[f"notebooks/{chapter}.html"], outputs(chapter)
    players = ["".join(each["text/html"]) for each in data if "text/html" in each]
    figures = sum("image/png" in each and "text/html" not in each for each in data)
    # Where a cell has both, the moving one is shown.
    assert page.text.count("<figure class=") == len(players)
    shown = [p for p in page.images if re.search(r"_images/[0-9a-f]{64}", p["src"])]
    assert len(shown) == figures
    assert "<math" in page.text or chapter[:2] not in ("01", "02")
    source = site / "_sources" / "notebooks" / f"{chapter}.ipynb"
    assert source.read_bytes() == (ROOT / "notebooks" / f"{chapter}.ipynb").read_bytes()


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_solutions_are_folded_with_their_verdicts(pages, chapter):
    text = pages[f"notebooks/{chapter}.html"].text
    notebook = json.loads((ROOT / "notebooks" / f"{chapter}.ipynb").read_text(encoding="utf-8"))
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    solutions = sum("solution" in cell["metadata"].get("tags", []) for cell in code)
    assert solutions and text.count("Show a solution") == solutions
    unfolded = re.sub(r"<details.*?</details>", "", text, flags=re.DOTALL)
    assert "✓" not in unfolded


@pytest.mark.parametrize("chapter", CHAPTERS)
def test_code_of_a_chapter_leads_to_the_reference(pages, chapter):
    text = pages[f"notebooks/{chapter}.html"].text
    assert text.count('class="sphinx-codeautolink-a" href="../api/') > 5


def test_launch_buttons(pages):
    links = pages[f"notebooks/{CHAPTERS[0]}.html"].links
    path = f"notebooks/{CHAPTERS[0]}.ipynb"
    assert f"https://colab.research.google.com/github/someone/something/blob/main/{path}" in links
    binder = "https://mybinder.org/v2/gh/someone/something/main?urlpath=lab/tree/"
    assert binder + path in links
    assert "../start.html#jupyterlab" in links


def test_reference_has_every_module(pages):
    for name in build_site.public_modules():
        assert f"module-{name}" in pages[f"api/{name}.html"].anchors


def test_troubleshooting_quotes_messages_that_exist():
    text = (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8")
    ours = text.split("## While a chapter runs")[1]
    keys = re.findall(r"^### `(.+)`$", ours, re.MULTILINE)
    keys.remove("NameError: name '…' is not defined")  # Python's own
    places = ("tutorial_lib", "tutorial_tools", "docs")
    sources = [path for place in places for path in (ROOT / place).rglob("*.py")]
    known = "\n".join(text for path in sources for text in strings(path))
    assert len(keys) > 15
    assert not [key for key in keys if key not in known]


def strings(path: Path):
    """Yield the texts in a module, with … for the values in them."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.JoinedStr | ast.Constant):
            yield build_site._template(node)


def test_status_tells_of_a_run_and_of_none(tmp_path):
    assert "No run report" in build_site.status(tmp_path / "report.json")
    report = {
        "finished": "2026-01-02T03:04:05+00:00",
        "commit": "0123456789ab",
        "machine": "Linux <x86_64>, 2 cores",
        "packages": {"keras": "3.15.1"},
        "notebooks": [
            {"name": CHAPTERS[0], "status": "passed", "seconds": 12.3, "parameters": {"seed": 3}},
            {"name": "gone", "status": "failed"},
        ],
    }
    (tmp_path / "report.json").write_text(json.dumps(report), encoding="utf-8")
    text = build_site.status(tmp_path / "report.json")
    assert f"{CHAPTERS[0]}` | passed | 12 |" in text and "| gone | failed | 0 |" in text
    assert "seed=3" in text and "3.15.1" in text and "0123456789ab |" in text
    assert "| Linux &lt;x86_64&gt;, 2 cores |" in text and "None" not in text


def test_status_knows_the_report_that_a_run_writes(tmp_path):
    from tutorial_tools.report import Report

    Report(tmp_path, [runner.Result(CHAPTERS[0], "passed", 1.0, "x.ipynb")]).write()
    text = build_site.status(tmp_path / "report.json")
    assert f"{CHAPTERS[0]}` | passed | 1 |" in text and "None" not in text
    assert "cores, " in text and "| keras | " in text


def test_notebooks_that_did_not_finish_are_refused(tmp_path):
    with pytest.raises(build_site.SiteError, match="no notebooks in"):
        build_site.choose_notebooks(tmp_path)
    source = ROOT / "notebooks" / f"{CHAPTERS[0]}.ipynb"
    shutil.copy(source, tmp_path)
    chosen = build_site.choose_notebooks(tmp_path)
    assert [path.stem for path in chosen] == CHAPTERS and chosen[0].parent == tmp_path
    notebook = json.loads(source.read_text(encoding="utf-8"))
    next(c for c in notebook["cells"] if c["cell_type"] == "code")["execution_count"] = None
    (tmp_path / source.name).write_text(json.dumps(notebook), encoding="utf-8")
    with pytest.raises(build_site.SiteError, match="not executed to its end"):
        build_site.choose_notebooks(tmp_path)


def test_citation_agrees_with_the_package():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    package = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert str(citation["version"]) == package["version"]
    assert citation["license"] == package["license"]
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    bibtex = (ROOT / "docs" / "cite.md").read_text(encoding="utf-8")
    for field in ("title", "version", "license"):
        assert f"{{{citation[field]}}}" in bibtex
    assert f"{{{citation['date-released'][:4]}}}" in bibtex


# In the browser


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


@pytest.fixture(scope="module")
def address(site):
    """Serve the site on the loopback interface."""
    handler = functools.partial(Quiet, directory=site)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


@pytest.fixture
def page(browser):
    page = browser.new_page(viewport=LAPTOP)
    yield page
    page.close()


AXE_RULES = """
    color-contrast heading-order page-has-heading-one empty-heading image-alt button-name link-name
    label html-has-lang document-title duplicate-id-aria aria-valid-attr-value list
    th-has-data-cells scrollable-region-focusable
""".split()


def violations(page, rules: list[str] = AXE_RULES, without: str = "") -> list[str]:
    """Return what axe finds wrong on an open page, `without` some elements, a CSS selector."""
    from axe_core_python.sync_playwright import Axe

    options = {"runOnly": {"type": "rule", "values": rules}, "resultTypes": ["violations"]}
    context = {"exclude": [[without]]} if without else None
    found = Axe().run(page, context=context, options=options)["violations"]
    return [f"{each['id']}: {node['html'][:200]}" for each in found for node in each["nodes"][:3]]


def needs_axe(name: str) -> bool:
    """The pages of the reference are alike, and so are the lists of source: a few stand for all."""
    examples = ("api/tutorial_lib.convolution", "api/tutorial_lib.figures.animation")
    return not name.startswith(("api/", "_modules/")) or name.startswith(examples)


@pytest.fixture(scope="module")
def visits(browser, address, pages):
    """Open every page once; note complaints, broken images, width on a phone, violations."""
    tab, complaints = browser.new_page(), []

    def note_console(message):
        if message.type in ("error", "assert"):
            complaints.append(message.text)

    def note_request(request):
        if not request.url.startswith((address, "data:", "blob:")):
            complaints.append(f"asks for {request.url[:100]}")

    tab.on("console", note_console)
    tab.on("pageerror", lambda error: complaints.append(str(error)))
    tab.on("request", note_request)

    def failed(request):
        # The browser gives up the icon of a page that is left while it loads: no fault of the page.
        if request.failure != "net::ERR_ABORTED":
            complaints.append(f"failed: {request.url[:100]}")

    tab.on("requestfailed", failed)
    notes = {}
    for name in pages:
        complaints.clear()
        tab.set_viewport_size(LAPTOP)
        tab.goto(address + name)
        tab.evaluate("Promise.all([...document.images].map((i) => i.decode().catch(() => 0)))")
        note = notes[name] = {"complaints": list(complaints), "axe": []}
        note["broken"] = tab.evaluate(
            "[...document.images].filter((i) => !i.naturalWidth).map((i) => i.src)"
        )
        tab.evaluate("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
        for theme in ("light", "dark") if needs_axe(name) else ():
            tab.evaluate(f"document.documentElement.dataset.theme = '{theme}'")
            # Colors fade in, and on their way have a contrast of their own.
            tab.evaluate("document.getAnimations().forEach((a) => { a.finish(); })")
            # Code has thousands of colored words. That of the first chapter stands for all.
            alike = ".cell_input" if any(chapter in name for chapter in CHAPTERS[1:]) else ""
            # In the dark, only colors differ.
            rules = AXE_RULES if theme == "light" else ["color-contrast"]
            note["axe"] += [(theme, violation) for violation in violations(tab, rules, alike)]
        tab.set_viewport_size(PHONE)
        note["width"] = tab.evaluate("document.documentElement.scrollWidth")
    tab.close()
    return notes


@pytest.mark.parametrize("fault", ["complaints", "broken", "axe"])
def test_every_page_loads_shows_its_images_and_is_accessible(visits, fault):
    assert sum(needs_axe(name) for name in visits) > len(CHAPTERS)
    assert not {name: note[fault] for name, note in visits.items() if note[fault]}


def test_no_page_scrolls_sideways_on_a_phone(visits):
    wide = {name: note["width"] for name, note in visits.items() if note["width"] > PHONE["width"]}
    assert not wide


def test_search_finds_padding(page, address):
    page.goto(address + "search.html?q=padding")
    page.get_by_text("Search finished").wait_for()
    links = page.eval_on_selector_all("#search-results li a", "all => all.map((a) => a.pathname)")
    assert f"/notebooks/{CHAPTERS[0]}.html" in links
    for theme in ("light", "dark"):
        page.evaluate(f"document.documentElement.dataset.theme = '{theme}'")
        page.evaluate("document.getAnimations().forEach((a) => { a.finish(); })")
        assert page.locator(".highlighted").count() and not violations(page)


def test_menu_titles_and_links_number_the_chapters(page, address):
    page.goto(address + "index.html")
    entries = page.locator(".bd-sidebar-primary a[href*='notebooks/']").all_inner_texts()
    assert [entry[:2] for entry in entries] == [chapter[:2] for chapter in CHAPTERS]
    page.goto(f"{address}notebooks/{CHAPTERS[1]}.html")
    assert page.title()[:2] == page.locator(".bd-article h1").inner_text()[:2] == "02"
    links = page.locator(".prev-next-area .prev-next-title").all_inner_texts()
    assert [link[:2] for link in links] == ["01", "03"]


def test_an_animation_plays_and_stops(page, address):
    page.goto(f"{address}notebooks/{CHAPTERS[0]}.html")
    player = page.locator(".slide-player").first
    player.scroll_into_view_if_needed()
    player.locator("canvas").wait_for()
    canvas = "document.querySelector('.slide-player canvas').toDataURL()"
    first = page.evaluate(canvas)
    page.wait_for_timeout(1500)  # two steps long
    assert page.evaluate(canvas) == first  # a reader may first be asked to predict what comes
    player.locator("[data-play]").click()
    page.wait_for_function(f"(first) => {canvas} !== first", arg=first)
    player.locator('[data-move="1"]').click()
    stopped = page.evaluate(canvas)
    page.wait_for_timeout(1500)  # two steps long
    assert page.evaluate(canvas) == stopped


def test_an_animation_fills_the_screen_and_shrinks_again(page, address):
    page.goto(f"{address}notebooks/{CHAPTERS[0]}.html")
    player = page.locator(".slide-player").first
    small = player.locator("canvas").bounding_box()["width"]
    player.get_by_role("button", name="Enlarge").click()
    page.wait_for_function("document.fullscreenElement?.className === 'slide-stage'")
    assert player.locator("canvas").bounding_box()["width"] > small
    assert not violations(page)
    player.get_by_role("button", name="Reduce").click()
    page.wait_for_function("!document.fullscreenElement")


def test_a_figure_is_enlarged_by_click_and_by_keyboard(browser, address):
    page = browser.new_page(viewport=PHONE)
    page.goto(f"{address}notebooks/{CHAPTERS[0]}.html")
    figure = page.locator(".cell_output .figure-button").first
    alt = figure.locator("img").get_attribute("alt")
    large = page.locator("dialog.enlarged").get_by_role("button", name=alt)
    for open_it, close_it in (
        (figure.click, large.click),
        (lambda: figure.press("Enter"), lambda: page.keyboard.press("Escape")),
    ):
        open_it()
        image = large.locator("img")
        assert image.bounding_box()["width"] == image.evaluate("(i) => i.naturalWidth")
        assert image.bounding_box()["width"] > PHONE["width"]
        assert not violations(page)
        close_it()
        large.wait_for(state="hidden")
    page.close()


def test_a_chapter_is_printed(browser, site, tmp_path):
    build_pdf.print_page(browser, site / "notebooks" / f"{CHAPTERS[0]}.html", tmp_path / "01.pdf")
    printed = (tmp_path / "01.pdf").read_bytes()
    assert printed.startswith(b"%PDF") and printed.count(b"/Type /Page\n") > 15


@pytest.mark.parametrize(
    ("fold", "hidden"), [("solution", "✓"), ("Show the result", "4,294,967,296 weights")]
)
def test_a_solution_and_the_answer_to_a_question_unfold(page, address, fold, hidden):
    page.goto(f"{address}notebooks/{CHAPTERS[0]}.html")
    details = page.locator("details", has_text=fold).filter(has_text=hidden).first
    assert hidden not in details.inner_text()
    details.locator("summary").click()
    assert hidden in details.inner_text()


def test_the_theme_button_makes_it_dark(page, address):
    page.goto(address + "index.html")
    for theme in ("dark", "light"):
        page.evaluate(f"document.querySelector('.theme-change-button[data-mode={theme}]').click()")
        assert page.evaluate("document.documentElement.dataset.theme") == theme


IN_VIEW = """(selector) => [...document.querySelectorAll(selector)].some((element) => {
    const box = element.getBoundingClientRect();
    return element.checkVisibility({ visibilityProperty: true })
        && box.width > 0 && box.right > 0 && box.left < innerWidth;
})"""


@pytest.mark.parametrize("width", [PHONE["width"], 800, 1000, LAPTOP["width"]])
def test_every_button_of_the_theme_works(page, address, width):
    page.set_viewport_size({"width": width, "height": 900})
    page.goto(f"{address}notebooks/{CHAPTERS[0]}.html")

    def wait_until(selector: str, seen: bool) -> None:
        page.wait_for_function(f"([one, seen]) => ({IN_VIEW})(one) === seen", arg=[selector, seen])

    # Two menus: each opens where it is closed, and closes where it is open.
    for button, menu in (
        (".primary-toggle", ".bd-sidebar-primary nav a"),
        (".secondary-toggle", ".bd-sidebar-secondary nav a"),
    ):
        seen = page.evaluate(IN_VIEW, menu)
        if page.evaluate(IN_VIEW, button):
            page.locator(f"{button}:visible").click()
            wait_until(menu, not seen)
            page.keyboard.press("Escape") if not seen else page.locator(button).first.click()
            wait_until(menu, seen)
        else:
            assert seen, f"{menu} cannot be reached"
    for button in page.locator(".article-header-buttons .dropdown-toggle:visible").all():
        entries = button.locator("xpath=following-sibling::*[contains(@class, 'dropdown-menu')]")
        button.click()
        entries.wait_for()
        assert entries.locator("a, button").count()
        button.click()
        page.mouse.move(0, 800)  # they open below the mouse, too
        entries.wait_for(state="hidden")
    page.locator(".theme-switch-button:visible").click()
    page.locator("[data-mode=dark]:visible").click()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"
    page.locator(".btn-fullscreen-button:visible").click()
    page.wait_for_function("document.fullscreenElement")
    page.evaluate("document.exitFullscreen()")
    page.wait_for_function("!document.fullscreenElement")
    page.locator(".search-button__button:visible").first.click()
    page.locator("dialog input[type=search]").fill("padding")
    page.keyboard.press("Enter")
    page.wait_for_url("**/search.html?q=padding")
