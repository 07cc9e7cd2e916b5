"""Slides of the chapters: they fit on the screen, need no network, and give nothing away."""

import sys
from pathlib import Path

import pytest

from tutorial_tools import runner
from tutorial_tools.handout import to_mathml

sys.path.append(str(Path(__file__).resolve().parents[1] / "docs"))

import build_slides


@pytest.mark.slow
@pytest.mark.parametrize("chapter", runner.find_notebooks(), ids=lambda path: path.stem)
def test_slides_of_a_chapter(browser, chapter, tmp_path):
    pytest.importorskip("sphinx_revealjs", reason="needs the site extra: sphinx-revealjs")
    path = tmp_path / "slides.html"
    path.write_text(build_slides.deck(chapter), encoding="utf-8")
    page = browser.new_page(viewport={"width": build_slides.WIDTH, "height": build_slides.HEIGHT})
    faults = []
    page.on("request", lambda r: r.url.startswith("http") and faults.append(r.url))
    page.on("console", lambda message: message.type == "error" and faults.append(message.text))
    page.on("pageerror", lambda error: faults.append(str(error)))
    page.goto(path.as_uri())
    page.evaluate("Promise.all([...document.images].map((image) => image.decode()))")
    headings = page.locator(".slides > section h2").all_text_contents()
    assert headings[0].startswith(f"{chapter.stem[:2]} · ")
    assert "Summary¶" in headings and any(each.startswith("Exercise") for each in headings)
    assert "Solution" not in page.locator(".slides").text_content()
    for slide in range(page.evaluate("Reveal.getTotalSlides()")):
        page.evaluate(f"Reveal.slide({slide}, 0, 9)")
        size = page.evaluate("(s => [s.scrollWidth, s.scrollHeight])(Reveal.getCurrentSlide())")
        if size[0] > build_slides.WIDTH or size[1] > build_slides.HEIGHT:
            faults.append((slide, size))
    page.close()
    assert not faults


def test_a_fraction_of_two_digits_keeps_its_denominator():
    assert to_mathml(r"\frac14") == to_mathml(r"\frac{1}{4}")
