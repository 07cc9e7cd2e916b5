"""Build the site: `python docs/build_site.py`, or `make site`.

It needs no network, and no warning passes. What depends on the tree is written first, into a
folder of its own: the gallery from the first cells of the notebooks, one page a module for the
reference, and the status page from the last run report. The notebooks are copied as they are.
"""

from __future__ import annotations

import argparse
import ast
import html
import json
import re
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
sys.path.insert(0, str(ROOT))
STORED = ROOT / "notebooks"
REPORT = ROOT / "build" / "report" / "report.json"
# Pages of the repository that stand in the site too, under the names that others link to.
ALSO_PAGES = ("data/README.md", "CONTRIBUTING.md", "benchmarks/RESULTS.md", "deploy/README.md")
TITLES = {"benchmarks/RESULTS": "Benchmarks"}
MENU = ("start", "glossary", "teaching", "troubleshooting", "data/README", "reference", "status")
MENU += ("cite",)


@dataclass(frozen=True)
class Opening:
    """What the first cell of a notebook says about it; empty where it says nothing."""

    title: str
    promise: str
    image: str
    alt: str
    needs: str
    time: str


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--notebooks", type=Path, default=STORED, help="folder of executed ones")
    parser.add_argument("--report", type=Path, default=REPORT, help="report.json of a run")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "site")
    options = parser.parse_args(arguments)
    try:
        notebooks = choose_notebooks(options.notebooks)
    except SiteError as error:
        print(error, file=sys.stderr)
        return 1
    return build(notebooks, options.report, options.output)


class SiteError(Exception):
    """The site cannot be built from what was given; the message says what to do."""


def build(notebooks: list[Path], report: Path, output: Path) -> int:
    """Build the site into `output`, which is replaced as a whole when the new one is complete.

    Returns:
        0 if all went well, else Sphinx's exit status; an older site then stays as it was.
    """
    from sphinx.cmd.build import main as sphinx

    from tutorial_lib import notebook

    with notebook.native_notes_silenced():
        import tensorflow  # noqa: F401, the reference imports it; here its notes are kept back

    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output.parent, prefix=".site-") as folder:
        source, site = Path(folder) / "source", Path(folder) / "site"
        stage(source, notebooks, report)
        status = sphinx(
            ["-W", "--keep-going", "-q", "-c", str(DOCS), "-d", f"{folder}/doctrees"]
            + [str(source), str(site)]
        )
        if status:
            return status
        shutil.rmtree(site / ".doctrees", ignore_errors=True)
        (site / ".buildinfo").unlink(missing_ok=True)
        (site / ".nojekyll").touch()  # Pages would hide the folders that begin with _
        shutil.rmtree(output, ignore_errors=True)
        site.replace(output)
    print(f"Site: {output / 'index.html'}")
    return 0


def choose_notebooks(folder: Path) -> list[Path]:
    """Return the notebooks in order: those of a folder, the others as stored in `notebooks/`.

    Raises:
        SiteError: if the folder has none, or one of them was not executed to its end.
    """
    given = {path.name: path for path in folder.glob("[0-9]*.ipynb")}
    if not given:
        raise SiteError(f"no notebooks in {folder}; execute them with `make run`")
    paths = {path.name: path for path in STORED.glob("[0-9]*.ipynb")} | given
    for path in paths.values():
        for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
            outputs = cell.get("outputs", [])
            if cell["cell_type"] == "code" and (
                not cell["execution_count"] or any(o["output_type"] == "error" for o in outputs)
            ):
                raise SiteError(f"{path} was not executed to its end; run it again")
    return [paths[name] for name in sorted(paths)]


def stage(source: Path, notebooks: list[Path], report: Path) -> None:
    """Lay out everything that Sphinx reads.

    Folders are named as in the repository, so that links between notebooks and to images hold
    here as they do there.
    """
    pages = [*DOCS.glob("*.md"), *(ROOT / name for name in ALSO_PAGES)]
    for page in pages:
        folder = DOCS if page.parent == DOCS else ROOT
        text = at_the_top(page.read_text(encoding="utf-8"), from_docs=folder == DOCS)
        _write(source / page.relative_to(folder), text)
    shutil.copyfile(ROOT / "README.md", source / "README.md")  # other pages include parts of it
    shutil.copytree(DOCS / "images", source / "docs" / "images")
    (source / "notebooks").mkdir()
    for path in notebooks:
        shutil.copyfile(path, source / "notebooks" / path.name)
    _write(source / "_generated" / "menu.md", menu(pages, notebooks))
    _write(source / "_generated" / "gallery.md", gallery(notebooks))
    _write(source / "_generated" / "status.md", status(report))
    modules = public_modules()
    _write(source / "_generated" / "messages.md", message_list(modules))
    for name in modules:
        _write(source / "api" / f"{name}.md", module_page(name))
    _write(source / "_generated" / "modules.md", module_list(modules))


def at_the_top(text: str, *, from_docs: bool) -> str:
    """Return a page with links that hold in the site, where the pages of docs/ lie at the top.

    Args:
        text: Markdown, with links that hold in the repository.
        from_docs: Whether the page lies in docs/, and leaves it by `../`.
    """
    if from_docs:
        return text.replace("](../", "](")
    return re.sub(r"\]\(docs/(\w+\.md)", r"](\1", text)


def menu(pages: list[Path], notebooks: list[Path]) -> str:
    """Write the menu: chapters, the pages that most readers want, then all others."""
    paths = {
        page.relative_to(DOCS if page.parent == DOCS else ROOT).with_suffix("").as_posix()
        for page in pages
    }
    others = sorted(paths - set(MENU) - {"index"}, key=str.casefold)
    others = [f"{TITLES[path]} <{path}>" if path in TITLES else path for path in others]
    chapters = [f"notebooks/{path.stem}" for path in notebooks]
    lists = {"Chapters": chapters, "Around them": MENU, "For maintainers": others}
    head = "```{{toctree}}\n:hidden:\n:glob:\n:caption: {}\n\n{}\n```\n"
    return "\n".join(head.format(name, "\n".join(list_)) for name, list_ in lists.items())


def opening(path: Path) -> Opening:
    """Read title, promise, image and the bold paragraphs out of a notebook's first cell."""
    text = "".join(json.loads(path.read_text(encoding="utf-8"))["cells"][0]["source"])
    paragraphs = [part.strip() for part in text.split("\n\n")]
    title = next((p.lstrip("# ") for p in paragraphs if p.startswith("# ")), path.stem)
    promise = next((p for p in paragraphs if not re.match(r"#|!\[|\*\*\w[^*]*\.\*\*", p)), "")
    image = re.search(r"!\[([^\]]*)\]\(\.\./([^)]+)\)", text)
    alt, target = image.groups() if image else ("", "")
    bold = dict(re.findall(r"^\*\*([^*]+)\.\*\*\s*(.+)$", text, re.MULTILINE))
    needs, time = bold.get("What you need", ""), bold.get("How long it takes", "")
    return Opening(title, promise, target, alt, needs, time)


def gallery(notebooks: list[Path]) -> str:
    """Write one card a notebook, in its own words."""
    cards = []
    for path in notebooks:
        card = opening(path)
        lines = [f":::{{grid-item-card}} {path.stem[:2]} · {card.title}"]
        lines += [f":link: notebooks/{path.stem}", ":link-type: doc"]
        if card.image:
            lines += [f":img-top: {card.image}", f":img-alt: {_plain(card.alt)}"]
        lines += ["", _plain(card.promise), ""]
        for label, text in (("You need", card.needs), ("Time", card.time)):
            if text:
                lines += [f"**{label}:** {_plain(text)}", ""]
        cards.append("\n".join([*lines, ":::"]))
    return "::::{grid} 1 1 2 2\n:gutter: 3\n:class-container: gallery\n\n" + (
        "\n\n".join(cards) + "\n\n::::\n"
    )


def _plain(text: str) -> str:
    """Take links out of Markdown: a whole card is a link already."""
    return re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", text).replace("\n", " ")


def public_modules() -> dict[str, Path]:
    """Return the modules of the library by name, in alphabetical order."""
    modules = {}
    for path in sorted((ROOT / "tutorial_lib").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if parts[-1] == "__init__":
            parts = parts[:-1]
        empty = not path.read_text(encoding="utf-8").strip()
        if len(parts) > 1 and not empty and not any(part.startswith("_") for part in parts):
            modules[".".join(parts)] = path
    return dict(sorted(modules.items()))


def module_page(name: str) -> str:
    title = name.removeprefix("tutorial_lib.")
    return f"# {title}\n\n```{{eval-rst}}\n.. automodule:: {name}\n```\n"


def module_list(modules: dict[str, Path]) -> str:
    """Write a table of modules per room with the first sentence of each, and the menu's list."""
    rooms: dict[str, list[str]] = {}
    for name, path in modules.items():
        parts = path.relative_to(ROOT / "tutorial_lib").parts
        doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
        first = " ".join(doc.split("\n\n")[0].split())
        row = f"| {{doc}}`{name.removeprefix('tutorial_lib.')} </api/{name}>` | {first} |"
        rooms.setdefault(parts[0] if len(parts) > 1 else "", []).append(row)
    tables = [
        "\n".join(
            [f"## {room or 'Modules'}", "", "| module | what it is for |", "|---|---|", *rows]
        )
        for room, rows in sorted(rooms.items())
    ]
    menu = ["```{toctree}", ":hidden:", "", *(f"/api/{name}" for name in modules), "```"]
    return "\n\n".join([*tables, "\n".join(menu)]) + "\n"


def messages(path: Path) -> list[str]:
    """Return the messages of the InputErrors in a module, with dots for what they name."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "InputError":
            text = _template(node.args[0]) if node.args else ""
            if len(text.strip("…: ")) > 5:
                found.append(text)
    return found


def _template(node: ast.expr) -> str:
    """Return the text of a string in the code, with … in the place of values."""
    if isinstance(node, ast.JoinedStr):
        return "".join(_template(part) for part in node.values)
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    return "…"


def message_list(modules: dict[str, Path]) -> str:
    """List the messages of library and tools, each beside the module that raises it."""
    rows = ["| message | module |", "|---|---|"]
    tools = {f"tutorial_tools.{path.stem}": path for path in (ROOT / "tutorial_tools").glob("*.py")}
    for name, path in (modules | dict(sorted(tools.items()))).items():
        link = f"{{doc}}`{name.removeprefix('tutorial_lib.')} </api/{name}>`"
        link = link if name in modules else f"`{name}`"
        for text in sorted(set(messages(path))):
            rows.append(f"| {_escaped(text)} | {link} |")
    return "\n".join(rows) + "\n"


def _escaped(text: str) -> str:
    """Return text as Markdown that shows every character of it."""
    return re.sub(r"([\\`*_{}\[\]<>|$])", r"\\\1", text)


def status(path: Path) -> str:
    """Write what the last run report says; and that there is none, if so."""
    try:
        report = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return (
            "No run report was at hand when this site was built, so there are no times to show. "
            "`make run` writes one, and `make site` after it puts its figures here.\n"
        )
    lines = ["| notebook | result | seconds | memory, MB | ran on |", "|---|---|---:|---:|---|"]
    for entry in report.get("notebooks", []):
        name, seconds = entry.get("name", ""), entry.get("seconds") or 0
        title = f"{{doc}}`/notebooks/{name}`" if (STORED / f"{name}.ipynb").exists() else name
        memory, device = entry.get("megabytes") or "", entry.get("device", "")
        columns = [title, entry.get("status", ""), f"{seconds:.0f}", memory, html.escape(device)]
        lines.append(f"| {' | '.join(map(str, columns))} |")
    table = ["| | |", "|---|---|"]
    for name, fact in circumstances(report).items():
        table.append(f"| {name} | {html.escape(str(fact))} |")
    return "\n".join(lines) + "\n\n## The machine and the versions\n\n" + "\n".join(table) + "\n"


def circumstances(report: dict) -> dict:
    """Return what a report says of when, where and with what it was made, under readable names."""
    chosen: dict = {}
    for entry in report.get("notebooks", []):
        chosen |= entry.get("parameters") or {}
    edited = ", and changes that are not in it" if report.get("edited") else ""
    facts = {
        "Finished": report.get("finished"),
        "Commit": f"{report.get('commit')}{edited}",
        "Machine": report.get("machine"),
        "Parameters": ", ".join(f"{k}={v}" for k, v in chosen.items()) or "the notebooks' own",
        "Python": report.get("python"),
    }
    facts |= report.get("packages") or {}
    return {name: fact for name, fact in facts.items() if fact}


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
