"""The glossary: each of its links leads to the section of a chapter that introduces the term."""

import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "docs" / "glossary.md").read_text(encoding="utf-8")
LINK = r"\[(\d\d), ([^]]+)\]\(\.\./(notebooks/[^)#]+)#([^)]+)\)"
TERMS = re.findall(rf"^\*\*(.+)\.\*\* (.+) \({LINK}\)$", TEXT, re.MULTILINE)


def sections(path: Path) -> dict[str, tuple[str, str]]:
    """Return heading and text of each section of a notebook, by the anchor that the site makes."""
    slug = pytest.importorskip("myst_parser.slugs", reason="needs the site extra").github_slugify
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    text = "\n".join("".join(c["source"]) + "\n" for c in cells if c["cell_type"] == "markdown")
    parts = re.split(r"^#+ (.+)\n", text, flags=re.MULTILINE)
    headings = [re.sub(r"[`*]", "", heading) for heading in parts[1::2]]
    return {slug(h): (h, text) for h, text in zip(headings, parts[2::2], strict=True)}


def test_every_entry_has_a_definition_and_a_link_and_they_are_in_order():
    assert len(TERMS) > 80 and len(TERMS) == len(re.findall(r"^\*\*", TEXT, re.MULTILINE))
    names = [entry[0].casefold() for entry in TERMS]
    assert names == sorted(set(names))


def test_every_link_leads_to_a_section_by_its_name():
    known = {path.name: sections(path) for path in (ROOT / "notebooks").glob("*.ipynb")}
    links = re.findall(LINK, TEXT)
    assert len(links) > len(TERMS)
    for number, label, path, anchor in links:
        name = Path(path).name
        assert name.startswith(number) and name in known, path
        assert anchor in known[name], f"{name} has no section {label}"
        assert known[name][anchor][0] == label


@pytest.mark.parametrize("entry", TERMS, ids=lambda entry: entry[0])
def test_the_section_mentions_the_term(entry):
    names, *_, path, anchor = entry
    heading, text = sections(ROOT / path)[anchor]
    words = re.sub(r"[*_`]", "", f"{heading} {text}").casefold().replace("-", " ")
    # The beginning of the name is enough: fine-tuning, fine-tuned.
    assert any(name.casefold().replace("-", " ")[:8] in words for name in names.split(", "))
