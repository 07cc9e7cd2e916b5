"""What the site makes of a notebook, without changing it.

Solutions fold away with their verdicts, images get the alt text that their outputs carry, names
of the library in the prose become links, and a button says how to open the chapter in JupyterLab.
Docstrings are shown as the plain text that they are.
"""

import base64
import functools
import hashlib
import json
import re
from pathlib import Path

from docutils import nodes
from sphinx.transforms.post_transforms import SphinxPostTransform

ANSWERS = ".exercises.chapter"  # the checks; no chapter links to its own solutions
# Emphasis; or else an underscore that ends a word, a bar, or a star.
MARKUP = re.compile(r"(\*{1,2}\w[^*]*\*{1,2})|((?<=\w)_(?!\w)|[|*])")
VERDICTS = tuple("○✓✗")


def fold_solutions(app, doctree) -> None:
    """Fold cells tagged `solution` as a whole: the verdict would give the answer away.

    Cells tagged `hide-output` follow a question, and fold their output only.
    """
    for cell in doctree.findall(nodes.container):
        if "tag_solution" in cell["classes"]:
            cell["hide_mode"] = "all"
            cell["prompt_show"], cell["prompt_hide"] = "Show a solution", "Hide the solution"
        elif "tag_hide-output" in cell["classes"]:
            cell["prompt_show"], cell["prompt_hide"] = "Show the result", "Hide the result"


def number_title(app, doctree) -> None:
    """Put the number of a chapter before its title, which menus and links repeat."""
    name = app.env.docname.rpartition("notebooks/")[2]
    if name[:2].isdigit():
        next(doctree.findall(nodes.title)).insert(0, nodes.Text(f"{name[:2]} · "))


def describe_pictures(app, doctree) -> None:
    """Give each image of an output its alt text. Sphinx finds it under the hash of its bytes."""
    path = Path(app.env.doc2path(app.env.docname))
    if path.suffix != ".ipynb":
        return
    texts = alt_texts(json.loads(path.read_text(encoding="utf-8")))
    for image in doctree.findall(nodes.image):
        image["alt"] = texts.get(Path(image["uri"]).stem) or image.get("alt", "")


def alt_texts(notebook: dict) -> dict[str, str]:
    """Return the alt texts of the images in the outputs, by the sha256 of the image."""
    texts = {}
    for cell in notebook["cells"]:
        for output in cell.get("outputs", []):
            image = output.get("data", {}).get("image/png")
            if image:
                png = base64.b64decode("".join(image))
                alt = output["metadata"].get("image/png", {}).get("alt", "")
                texts[hashlib.sha256(png).hexdigest()] = alt
    return texts


def mark_cells(app, doctree) -> None:
    """Tell the reader's own code from source that a cell shows: only the former is a program.

    Verdicts of exercises are sentences, and get a class for that.
    """
    for cell in doctree.findall(nodes.container):
        for block in cell.findall(nodes.literal_block):
            if "cell_input" in cell["classes"]:
                block["language"] = "ipython3"
            elif "cell_output" in cell["classes"] and block.astext()[:1] in VERDICTS:
                block["classes"].append("verdict")


class LinkNames(SphinxPostTransform):
    """Turn `module.name` and `name` in the prose of chapters into links to the reference."""

    default_priority = 15

    def run(self) -> None:
        if not self.env.docname.startswith("notebooks/"):
            return
        objects = self.env.domains["py"].objects
        for literal in list(self.document.findall(nodes.literal)):
            target = self._target(literal.astext().split("(")[0], objects)
            if target and not isinstance(literal.parent, nodes.reference):
                self._link(literal, target, objects[target])

    def _target(self, text: str, objects) -> str | None:
        """Return the full name, if exactly one object of the library is meant."""
        if "." not in text and "_" not in text:
            return None  # `w` and `fit` are the reader's own
        names = [name for name in objects if name.endswith(f".{text}") and ANSWERS not in name]
        return names[0] if len(names) == 1 else None

    def _link(self, literal, name: str, entry) -> None:
        from sphinx.util.nodes import make_refnode

        copy = literal.deepcopy()
        builder, here = self.app.builder, self.env.docname
        link = make_refnode(builder, here, entry.docname, entry.node_id, copy, name)
        literal.replace_self(link)


def read_as_plain_text(app, what, name, thing, options, lines) -> None:
    """Keep docstrings from being read as markup where they mean none.

    They are written for people who read the code: `val_` is the beginning of a name there, and
    no link; a lone star or bar is a star or a bar. Only what stands in backticks is left alone.
    """
    for number, line in enumerate(lines):
        parts = line.split("`")
        parts[::2] = [MARKUP.sub(lambda m: m[1] or f"\\{m[2]}", part) for part in parts[::2]]
        lines[number] = "`".join(parts)


def skip_fields(app, what, name, thing, skip, options) -> bool | None:
    """Leave fields of classes to the list in the class's docstring, where they are explained."""
    if what != "class" or callable(thing) or isinstance(thing, (classmethod, staticmethod)):
        return None
    explained = isinstance(thing, (property, functools.cached_property)) and thing.__doc__
    return None if explained else True


def forget_sources_that_are_missing(app, env) -> None:
    """Keep modules without Python source, such as builtins, off the list of sources."""
    modules = getattr(env, "_viewcode_modules", {})
    for name in [name for name, entry in modules.items() if not entry]:
        del modules[name]


def add_lab_button(app, pagename, templatename, context, doctree) -> None:
    """Offer JupyterLab beside Binder and Colab; it needs no address, only a checkout."""
    if not pagename.startswith("notebooks/"):
        return
    buttons = context["header_buttons"]
    group = next((b for b in buttons if b.get("label") == "launch-buttons"), None)
    if group is None:
        group = {
            "type": "group",
            "tooltip": "Run this chapter",
            "icon": "fas fa-rocket",
            "buttons": [],
            "label": "launch-buttons",
        }
        buttons.append(group)
    group["buttons"].append(
        {
            "type": "link",
            "text": "JupyterLab",
            "tooltip": "How to open it in JupyterLab, on your own computer",
            "icon": "fas fa-laptop",
            "url": context["pathto"]("start") + "#jupyterlab",
        }
    )


def setup(app):
    app.connect("doctree-read", fold_solutions)
    app.connect("doctree-read", number_title, priority=100)  # before Sphinx collects titles
    app.connect("doctree-read", describe_pictures)
    app.connect("doctree-read", mark_cells, priority=100)
    app.add_post_transform(LinkNames)
    app.connect("autodoc-process-docstring", read_as_plain_text, priority=100)
    app.connect("autodoc-skip-member", skip_fields)
    app.connect("env-updated", forget_sources_that_are_missing)
    app.connect("html-page-context", add_lab_button, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
