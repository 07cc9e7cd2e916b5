"""Math as MathML, which browsers set by themselves: without a script, and without a network.

What they need is a font that knows how formulas are built, and few systems have one. So the site
brings the part of STIX Two Math (SIL Open Font License) that formulas use.
"""

from importlib import resources
from pathlib import Path

from docutils.utils.math import MathError
from sphinx.util import logging

from tutorial_tools.handout import to_mathml

LOG = logging.getLogger(__name__)
FONT = "stix-two-math.woff"
# Latin, Greek, accents and punctuation, letter-like signs, arrows, operators, brackets, and the
# bold and italic alphabets that stand for variables.
RANGES = [
    (0x20, 0x7E),
    (0xA0, 0xFF),
    (0x302, 0x338),
    (0x391, 0x3F5),
    (0x2010, 0x2064),
    (0x2100, 0x22FF),
    (0x2308, 0x230B),
    (0x27E8, 0x27E9),
    (0x1D400, 0x1D537),
    (0x1D6A4, 0x1D7CB),
]


def write_font(app, exception) -> None:
    """Put the font beside the pages, without the 5,000 characters that no formula here has."""
    if exception is not None:
        return
    import ziamath
    from fontTools import subset
    from fontTools.ttLib import TTFont

    font = TTFont(resources.files(ziamath) / "fonts" / "STIXTwoMath-Regular.ttf")
    options = subset.Options(name_IDs=["*"], layout_features=["ssty", "dtls"], notdef_outline=True)
    chosen = subset.Subsetter(options)
    chosen.populate(unicodes=[code for low, high in RANGES for code in range(low, high + 1)])
    chosen.subset(font)
    font.flavor = "woff"
    font.save(Path(app.outdir) / "_static" / FONT)


def visit(translator, node, as_block: bool):
    from docutils import nodes

    try:
        markup = to_mathml(node.astext(), as_block)
    except MathError as error:
        LOG.warning("this formula cannot be shown: %s", error, location=node)
        markup = f"<code>{translator.encode(node.astext())}</code>"
    name = "div" if as_block else "span"
    # A long formula scrolls by itself, also with the keyboard.
    more = {"tabindex": "0"} if as_block else {}
    translator.body.append(translator.starttag(node, name, "", CLASS="math", **more))
    translator.body.append(f"{markup}</{name}>\n" if as_block else f"{markup}</{name}>")
    raise nodes.SkipNode


def setup(app):
    app.add_html_math_renderer(
        "mathml",
        (lambda self, node: visit(self, node, False), None),
        (lambda self, node: visit(self, node, True), None),
    )
    app.connect("build-finished", write_font)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
