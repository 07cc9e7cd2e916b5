"""Settings of the site. `build_site.py` lays out the folder that Sphinx reads."""

import os
import sys
import tomllib
from pathlib import Path

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
sys.path[:0] = [str(ROOT), str(DOCS / "extensions")]

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def repository() -> str:
    """Return the address of the repository on GitHub, which the launch buttons need.

    SITE_REPOSITORY says it, or else GitHub's own machines do, or else `[project.urls]` of
    pyproject.toml under the name Repository, which this project does not state. Where nobody says
    it, there are no launch buttons but JupyterLab's.
    """
    if "SITE_REPOSITORY" in os.environ:
        return os.environ["SITE_REPOSITORY"].rstrip("/")
    if "GITHUB_REPOSITORY" in os.environ:
        return f"https://github.com/{os.environ['GITHUB_REPOSITORY']}"
    return PROJECT.get("urls", {}).get("Repository", "").rstrip("/")


project = "Fully convolutional networks, hands on"
author = "The authors of the FCN tutorials"
copyright = "2026, the authors of the FCN tutorials (MIT license)"
release = version = PROJECT["version"]

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "sphinx_design",
    "sphinx_copybutton",
    "sphinx_codeautolink",
    "chapters",
    "mathml",
]
exclude_patterns = ["_generated", "README.md"]
suppress_warnings = [
    "myst.header",  # a chapter may begin with a heading of its own level
    "mystnb.unknown_mime_type",  # a cell may record figures for programs,
    "mystnb.glue",  # and twice under one name
    "config.cache",  # the folder of doctrees is thrown away
]

# The notebooks are shown as they were executed; nothing is executed here.
nb_execution_mode = "off"
nb_mime_priority_overrides = [
    ("html", "text/html", 10),  # the player, before the film strip that stands for it in print
    ("html", "image/png", 20),
    ("html", "text/markdown", 30),
    ("html", "text/plain", 40),
]
nb_render_markdown_format = "myst"  # show_source: a fenced block, highlighted like any other
nb_merge_streams = True
myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3
myst_dmath_double_inline = True

html_theme = "sphinx_book_theme"
html_title = project
html_static_path = ["static"]
html_css_files = ["site.css"]
html_js_files = ["site.js"]
html_scaled_image_link = False  # site.js enlarges figures
html_favicon = "static/favicon.svg"
html_context = {"default_mode": "auto"}  # as the reader's system has it, light or dark
html_math_renderer = "mathml"  # no script and no font: browsers set MathML by themselves
html_domain_indices = False  # the reference lists the modules with what they are for
html_use_index = False
html_show_sourcelink = False
html_copy_source = True  # the download button hands out the notebook itself
html_last_updated_fmt = None  # the same tree gives the same pages
html_theme_options = {
    "repository_url": repository(),
    "repository_branch": "main",
    "use_repository_button": bool(repository()),
    "use_issues_button": bool(repository()),
    "use_download_button": True,
    "launch_buttons": {
        "binderhub_url": "https://mybinder.org",
        "colab_url": "https://colab.research.google.com",
        "notebook_interface": "jupyterlab",
    }
    if repository()
    else {},
    "home_page_in_toc": False,
    # Its search field would bring a second menu button, and the theme wires only the first.
    "navbar_persistent": [],
    "show_navbar_depth": 1,
    "show_toc_level": 2,
    "search_bar_text": "Search",
    "pygments_light_style": "a11y-high-contrast-light",
    "pygments_dark_style": "a11y-high-contrast-dark",
}

default_role = "py:obj"  # `name` in a docstring is a link where there is such a name
add_module_names = False
python_maximum_signature_line_length = 80
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "undoc-members": True}
autodoc_typehints_format = "short"
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False

codeautolink_concat_default = True  # the cells of a chapter are one program
# Source that a cell shows is "python" and no part of that program; the cells are "ipython3".
codeautolink_custom_blocks = {"python": lambda source: (source, "")}
codeautolink_autodoc_inject = False
copybutton_exclude = ".linenos, .gp, .go"
