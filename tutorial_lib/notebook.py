"""What only a notebook needs: the source of a library function, shown where it is taught."""

from __future__ import annotations

import inspect


def show_source(*things) -> None:
    """Display the source of functions or classes, highlighted, as it is at this moment.

    The text in the notebook is the library's own, so the two cannot drift apart: the stored
    output is compared with a fresh one whenever the notebooks are tested.
    """
    from IPython.display import Markdown, display

    source = "\n\n".join(inspect.getsource(thing).rstrip() for thing in things)
    display(Markdown(f"```python\n{source}\n```"))
