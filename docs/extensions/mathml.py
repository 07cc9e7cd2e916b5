"""Math as MathML, which browsers set without a script, a font or a network."""

import re

from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.util import logging

LOG = logging.getLogger(__name__)
ALIASES = {"dots": "ldots"}  # what the converter knows under another name


def convert(tex: str, as_block: bool = False) -> str:
    """Return TeX as MathML.

    Raises:
        docutils.utils.math.MathError: if the converter does not know a command.
    """
    tex = re.sub(r"\\([A-Za-z]+)", lambda m: "\\" + ALIASES.get(m[1], m[1]), tex.strip())
    return tex2mathml(tex, as_block=as_block)


def visit(translator, node, as_block: bool):
    from docutils import nodes

    try:
        markup = convert(node.astext(), as_block)
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
    return {"parallel_read_safe": True, "parallel_write_safe": True}
