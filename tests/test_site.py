"""The site: it builds offline without a warning, and every page works in a browser."""

import ast
import base64
import functools
import http.server
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlparse
from urllib.request import urlopen

import pytest
import yaml

from tutorial_tools import runner

ROOT = Path(__file__).resolve().parents[1]
CHAPTERS = [path.stem for path in runner.find_notebooks()]
REPOSITORY = "https://github.com/someone/something"
pytestmark = pytest.mark.slow  # the site is built, and looked at page by page
PHONE, LAPTOP = (390, 844), (1280, 900)


def load_builder():
    spec = importlib.util.spec_from_file_location("build_site", ROOT / "docs" / "build_site.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules["build_site"] = module
    spec.loader.exec_module(module)
    return module


build_site = load_builder()


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
    """What a page links to and loads, its anchors and its pictures."""

    def __init__(self, path: Path):
        super().__init__()
        self.anchors, self.links, self.loads, self.pictures = set(), [], [], []
        self.text = path.read_text(encoding="utf-8")
        self.feed(self.text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        if "id" in given:
            self.anchors.add(given["id"])
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        if tag == "img":
            self.pictures.append(given)
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


def test_every_picture_has_alt_text(pages):
    assert any(page.pictures for page in pages.values())
    for name, page in pages.items():
        for picture in page.pictures:
            if "logo" not in picture["src"]:  # beside the name of the service, in a menu
                assert len(picture.get("alt", "").split()) > 3, (name, picture["src"][:80])


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
    shown = [p for p in page.pictures if re.search(r"_images/[0-9a-f]{64}", p["src"])]
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
    sources = [*(ROOT / "tutorial_lib").rglob("*.py"), *(ROOT / "docs").rglob("*.py")]
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
    import tomllib

    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    package = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert str(citation["version"]) == package["version"]
    assert citation["license"] == package["license"]
    assert {"cff-version", "message", "title", "authors"} <= set(citation)
    assert citation["title"] in build_site.citation()


# In the browser


def find_chromium() -> str | None:
    names = (os.environ.get("CHROME"), "chromium", "chromium-browser", "google-chrome")
    return next((found for name in names if name and (found := shutil.which(name))), None)


class Browser:
    """A headless Chromium, driven over its DevTools protocol."""

    FLAGS = """
        --headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run
        --disable-background-networking --disable-component-update --disable-sync
        --remote-debugging-port=0 --remote-allow-origins=* --force-color-profile=srgb
    """.split()

    def __init__(self, program: str, profile: Path):
        self.process = subprocess.Popen(
            [program, *self.FLAGS, f"--user-data-dir={profile}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.number, self.events = 0, []
        try:
            self.socket = self._connect(profile / "DevToolsActivePort")
            for domain in ("Page", "Runtime", "Log", "Network"):
                self.call(f"{domain}.enable")
        except BaseException:
            self.close()
            raise

    def _connect(self, port_file: Path):
        import websocket

        for _ in range(300):
            if port_file.is_file() and (lines := port_file.read_text().split()):
                break
            time.sleep(0.1)
        with urlopen(f"http://127.0.0.1:{lines[0]}/json") as answer:
            tab = next(tab for tab in json.load(answer) if tab["type"] == "page")
        return websocket.create_connection(tab["webSocketDebuggerUrl"], timeout=60)

    def call(self, method: str, **parameters) -> dict:
        self.number += 1
        request = {"id": self.number, "method": method, "params": parameters}
        self.socket.send(json.dumps(request))
        while True:
            message = json.loads(self.socket.recv())
            if message.get("id") == self.number:
                assert "error" not in message, message
                return message["result"]
            self.events.append(message)

    def run(self, script: str):
        """Return the value of a JavaScript expression, awaited."""
        answer = self.call(
            "Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def resize(self, width: int, height: int) -> None:
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )

    def open(self, address: str) -> None:
        """Load a page and wait until it is complete."""
        self.events.clear()
        self.call("Page.navigate", url=address)
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.events.append(json.loads(self.socket.recv()))
        self.run("Promise.all([...document.images].map((i) => i.decode().catch(() => 0)))")

    def complaints(self) -> list[str]:
        """Return what the console has to say about the page: errors and failed requests."""
        found = []
        for event in self.events:
            method, given = event["method"], event["params"]
            if method == "Runtime.exceptionThrown":
                found.append(json.dumps(given["exceptionDetails"])[:300])
            elif method == "Runtime.consoleAPICalled" and given["type"] in ("error", "assert"):
                found.append(json.dumps(given["args"])[:300])
            elif method == "Log.entryAdded" and given["entry"]["level"] == "error":
                found.append(f"{given['entry']['text']} {given['entry'].get('url', '')}")
            elif method == "Network.requestWillBeSent":
                address = given["request"]["url"]
                if not address.startswith(("http://127.0.0.1:", "data:", "blob:", "about:")):
                    found.append(f"asks for {address[:100]}")
        return found

    def screenshot(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        picture = self.call("Page.captureScreenshot")["data"]
        path.write_bytes(base64.b64decode(picture))

    def close(self) -> None:
        self.process.terminate()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


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


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    program = find_chromium()
    if program is None:
        pytest.skip("no Chromium here; install one, or name it in the environment variable CHROME")
    browser = Browser(program, tmp_path_factory.mktemp("profile"))
    yield browser
    browser.close()


AXE = """
axe.run(document, {runOnly: {type: "rule", values: [
  "color-contrast", "heading-order", "page-has-heading-one", "empty-heading", "image-alt",
  "button-name", "link-name", "label", "html-has-lang", "document-title", "duplicate-id-aria",
  "aria-valid-attr-value", "list", "th-has-data-cells", "scrollable-region-focusable"
]}, resultTypes: ["violations"]}).then((result) => result.violations.map((violation) =>
  violation.id + ": " + violation.nodes.slice(0, 3).map((node) =>
    node.html.slice(0, 200) + " " + (node.any[0] || {message: ""}).message).join(" | ")))
"""


def needs_axe(name: str) -> bool:
    """The pages of the reference are alike, and so are the lists of source: a few stand for all."""
    examples = ("api/tutorial_lib.convolution", "api/tutorial_lib.figures.animation")
    return not name.startswith(("api/", "_modules/")) or name.startswith(examples)


@pytest.fixture(scope="module")
def visits(browser, address, pages):
    """Open every page once; note complaints, broken pictures, width on a phone, violations."""
    import axe_core_python

    axe = (Path(axe_core_python.__file__).parent / "axe.min.js").read_text(encoding="utf-8")
    notes = {}
    for name in pages:
        browser.resize(*LAPTOP)
        browser.open(address + name)
        note = notes[name] = {"axe": []}
        note["broken"] = browser.run(
            "[...document.images].filter((i) => !i.naturalWidth).map((i) => i.src)"
        )
        note["complaints"] = browser.complaints()
        browser.run("document.querySelectorAll('details').forEach((d) => { d.open = true; })")
        if needs_axe(name):
            browser.run(axe + "; 0")
            for theme in ("light", "dark"):
                browser.run(f"document.documentElement.dataset.theme = '{theme}'")
                # Colors fade in, and on their way have a contrast of their own.
                browser.run("document.getAnimations().forEach((a) => { a.finish(); })")
                note["axe"] += [(theme, violation) for violation in browser.run(AXE)]
        browser.resize(*PHONE)
        note["width"] = browser.run("document.documentElement.scrollWidth")
    return notes


def test_every_page_loads_without_complaint(visits):
    assert not {name: note["complaints"] for name, note in visits.items() if note["complaints"]}


def test_no_picture_is_broken(visits):
    assert not {name: note["broken"] for name, note in visits.items() if note["broken"]}


def test_no_page_scrolls_sideways_on_a_phone(visits):
    assert not {name: note["width"] for name, note in visits.items() if note["width"] > PHONE[0]}


def test_contrast_headings_and_names_in_light_and_dark(visits):
    assert sum(needs_axe(name) for name in visits) > len(CHAPTERS)
    assert not {name: note["axe"] for name, note in visits.items() if note["axe"]}


def test_search_finds_padding(browser, address):
    browser.resize(*LAPTOP)
    browser.open(address + "search.html?q=padding")
    results = "[...document.querySelectorAll('#search-results li a')].map((a) => a.href)"
    wait_until(lambda: "Search finished" in browser.run("document.body.innerText"))
    links = [urlparse(link).path for link in browser.run(results)]
    assert f"/notebooks/{CHAPTERS[0]}.html" in links


def test_an_animation_plays_and_stops(browser, address):
    browser.resize(*LAPTOP)
    browser.open(f"{address}notebooks/{CHAPTERS[0]}.html")
    picture = "document.querySelector('.slide-player canvas').toDataURL()"
    browser.run("document.querySelector('.slide-player').scrollIntoView({block: 'center'})")
    wait_until(lambda: browser.run("!document.querySelector('.slide-stage').hidden"))
    first = browser.run(picture)
    wait_until(lambda: browser.run(picture) != first)
    browser.run("document.querySelector('.slide-player [data-move=\"1\"]').click()")
    stopped = browser.run(picture)
    time.sleep(1.5)  # two steps long
    assert browser.run(picture) == stopped


def test_a_solution_unfolds(browser, address):
    browser.resize(*LAPTOP)
    browser.open(f"{address}notebooks/{CHAPTERS[0]}.html")
    fold = "[...document.querySelectorAll('details')].find((d) => /solution/.test(d.innerText))"
    browser.run(f"{fold}.querySelector('summary').click()")
    assert "✓" in browser.run(f"{fold}.innerText")


def test_the_theme_button_makes_it_dark(browser, address):
    browser.resize(*LAPTOP)
    browser.open(address + "index.html")
    for theme in ("dark", "light"):
        browser.run(f"document.querySelector('.theme-change-button[data-mode={theme}]').click()")
        assert browser.run("document.documentElement.dataset.theme") == theme


def wait_until(true, seconds: float = 20) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.1)
