"""Make slides of the stored chapters: `python docs/build_slides.py FOLDER`, or `make slides`.

A section gives its heading, first paragraph, formulas and tables, an exercise and the summary give
their whole text, and each figure or animation gets a slide of its own. A key press shows the
finding below it. The speaker notes hold the full text. Each file is whole and needs no network.
"""

from __future__ import annotations

import base64
import html
import re
import sys
from importlib import resources
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tutorial_lib.errors import write_atomically
from tutorial_tools import canonical, report, runner
from tutorial_tools.handout import to_html

IMAGE = re.compile(r"!\[[^\]]*\]\([^)]*\)")
WIDTH, HEIGHT = 1280, 720  # CSS pixels, which the browser scales to the screen
PAGE = """\
<!DOCTYPE html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>{css}
  .reveal {{ font: 27px/1.4 "Liberation Sans", Arial, sans-serif; color: #22303c }}
  .reveal section:not(.stack) {{ padding: 0 40px; box-sizing: border-box }}
  .reveal :is(h1, h2, h3) {{ line-height: 1.2; margin: 0 0 0.6em }}
  .reveal :is(p, ul, ol, table) {{ text-align: left }}
  .reveal .finding {{ font-size: 20px; padding: 0 50px }} .reveal .finding p {{ margin: 0.3em 0 }}
  .reveal .long {{ font-size: 19px }} .reveal table {{ font-size: 17px }}
  .reveal table {{ border-collapse: collapse }} .reveal :is(td, th) {{ padding: 0.1em 0.7em }}
  .reveal math[display="block"] {{ font-size: 22px }}
  .reveal section > img.r-stretch {{ max-width: 100%; object-fit: contain }}
  .reveal p img {{ max-height: 360px; display: block; margin: auto }}
  .reveal .several p img {{ max-height: 180px }}
  .reveal figure {{ font-size: 16px; zoom: 1.5 }}
  .anchor-link {{ display: none }}
</style>
<div class="reveal"><div class="slides">
{slides}
</div></div>
<script>{reveal}</script><script>{notes}</script>
<script>Reveal.initialize({{ width: {width}, height: {height}, margin: 0, hash: true,
  slideNumber: true, plugins: [RevealNotes] }});</script>
</html>
"""


def deck(path: Path) -> str:
    """Return the page with the slides of a stored chapter."""
    slides: list[list[str]] = []  # of each, what it shows in HTML, and then its notes
    for cell in report.read_json(path)["cells"]:
        if cell["cell_type"] == "markdown":
            text = re.sub(
                r"<details>.*?</details>", "", "".join(cell["source"]), flags=re.S
            ).strip()
            before, *sections = re.split(r"^#+ (.*)\n", text, flags=re.M)
            finding = before.split("\n\n")[0]
            if len(slides and slides[-1]) == 1 and finding and "next cell" not in finding:
                slides[-1][0] += f'<div class="finding fragment">{to_html(finding)}</div>'
            if before:
                slides[-1].append(before)
            if not slides:
                sections[0] = f"{path.stem[:2]} · {sections[0]}"
            for heading, body in zip(sections[::2], sections[1::2], strict=True):
                if heading not in ("On your own", "Further reading"):
                    slides.append([section(heading, body, path.parent), body])
        elif not canonical.is_solution(cell):
            slides += [[picture] for output in cell["outputs"] if (picture := pictured(output))]
    files = resources.files("sphinx_revealjs") / "_static" / "revealjs"
    css, reveal, notes = (
        (files / name).read_text("utf-8")
        for name in ("dist/reveal.css", "dist/reveal.js", "plugin/notes/notes.js")
    )
    whole = "\n".join(
        f'<section>{shown}<aside class="notes">{to_html(IMAGE.sub("", "".join(texts)))}</aside>\n'
        "</section>"
        for shown, *texts in slides
    )
    whole = re.sub(r'href="(\d\d_\w+)\.ipynb', r'href="\1.html', whole)
    size = {"width": WIDTH, "height": HEIGHT}
    return PAGE.format(title=path.stem, css=css, slides=whole, reveal=reveal, notes=notes, **size)


def section(heading: str, body: str, folder: Path) -> str:
    """Return the slide of a section as HTML."""
    blocks = re.split(r"\n{2,}", body.strip())
    if not heading.startswith(("Exercise", "Summary")):
        follow = zip([":", *blocks], blocks, strict=False)
        blocks = [b for a, b in follow if b.startswith(("$$", "|", "![")) or a.endswith(":")]
    shown = to_html("\n\n".join([f"## {heading}", *blocks]))

    def embedded(match: re.Match) -> str:
        image = folder / match[1]
        content = base64.b64encode(image.read_bytes()).decode()
        return f'src="data:image/{image.suffix[1:]};base64,{content}"'

    shown = re.sub(r'src="(\.\./[^"]+)"', embedded, shown)
    names = "long " * (len(IMAGE.sub("", "".join(blocks))) > 900) + "several" * (
        shown.count("<img") > 1
    )
    return f'<div class="{names}">{shown}</div>' if names else shown


def pictured(output: dict) -> str:
    """Return a figure or an animation of a stored output as HTML; other outputs give nothing."""
    data = output.get("data", {})
    if "text/html" in data:
        return "".join(data["text/html"])
    if "image/png" not in data:
        return ""
    alt = html.escape(output["metadata"]["image/png"]["alt"])
    source = "".join(data["image/png"]).replace("\n", "")
    return f'<img class="r-stretch" alt="{alt}" src="data:image/png;base64,{source}">'


if __name__ == "__main__":
    for path in runner.find_notebooks():
        target = Path(sys.argv[1]) / f"{path.stem}.html"
        write_atomically(target, deck(path))
        print(target)
