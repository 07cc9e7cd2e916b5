"""What only a notebook needs: library source where it is taught, numbers for the run report."""

from __future__ import annotations

import inspect
import math

from tutorial_lib.errors import InputError

# The form of the scrapbook package, which other tools read too.
RECORD_TYPE = "application/scrapbook.scrap.json+json"


def show_source(*things) -> None:
    """Display the source of functions or classes, highlighted, as it is at this moment.

    The text in the notebook is the library's own, so the two cannot drift apart: the stored
    output is compared with a fresh one whenever the notebooks are tested.
    """
    from IPython.display import Markdown, display

    source = "\n\n".join(inspect.getsource(thing).rstrip() for thing in things)
    display(Markdown(f"```python\n{source}\n```"))


def record(name: str, value: bool | int | float | str) -> None:
    """Hand a measured value to the run report; the reader of the notebook sees nothing.

    A measurement is not the same on every machine, so it is neither stored in git nor compared:
    the report of a run shows it beside that of the run before.

    Args:
        name: What was measured, e.g. "IoU of cat"; once a notebook.
        value: A number, a text or a truth value; NumPy's and Keras's scalars are turned into
            Python's own.

    Raises:
        InputError: if the name is empty, or the value is none of these or not finite.
    """
    from IPython.display import display

    if not isinstance(name, str) or not name.strip():
        raise InputError(f"record needs a name that says what was measured, not {name!r}")
    value = plain_value(name, value)
    scrap = {"name": name, "data": value, "encoder": "json", "version": 1}
    # The prefix tells the site's builder that this is nothing to show.
    origin = {"name": name, "data": True, "display": False, "mime_prefix": "application/"}
    display({RECORD_TYPE: scrap}, raw=True, metadata={"scrapbook": origin})


def plain_value(name: str, value) -> bool | int | float | str:
    """Return a recorded value as one of Python's own scalars; errors as for `record`."""
    if hasattr(value, "numpy"):
        value = value.numpy()
    if getattr(value, "shape", None) == ():
        value = value.item()
    if not isinstance(value, (bool, int, float, str)):
        raise InputError(
            f"record({name!r}, …) takes a number, a text or a truth value, "
            f"not a {type(value).__name__}"
        )
    if isinstance(value, float) and not math.isfinite(value):
        raise InputError(f"record({name!r}, …) takes a finite number, not {value}")
    return value


def is_record(output: dict) -> bool:
    """Say whether an output of a notebook is one that `record` made."""
    return RECORD_TYPE in output.get("data", {})
