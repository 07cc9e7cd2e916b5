"""What a notebook itself needs: its profile, its seed, library source, numbers for the run report.

`quick` is for a laptop: small networks, three minutes a notebook at most on two CPU cores. `full`
is for a GPU: longer training, and in notebook 04 a network of the paper's width and depth.
"""

from __future__ import annotations

import contextlib
import inspect
import math
import os
import platform
import sys
from collections.abc import Iterator, Mapping
from types import SimpleNamespace

from tutorial_lib.errors import InputError, check_choice

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


PROFILES = ("quick", "full")
# TensorFlow's log level that leaves out its C++ notes, one of which op determinism sets off in
# every training run. What goes wrong for real arrives as a Python exception all the same.
QUIET = "3"


def start(profile: str, seed: int = 0) -> None:
    """Make what follows repeatable: same seed, same machine, same bits.

    Seeds Python, NumPy and Keras, asks TensorFlow for deterministic kernels, and lets GPU
    memory grow on demand instead of being taken whole. Call it once, before anything is
    built or drawn.

    Raises:
        InputError: if the profile is unknown or the seed is not a whole number from 0 to 2³² - 1.
    """
    check_choice("profile", profile, PROFILES)
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise InputError(f"seed={seed!r} cannot be used; give a whole number from 0 to 4294967295")
    with native_notes_silenced():
        import keras
        import tensorflow as tf

        gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        try:
            tf.config.experimental.set_memory_growth(gpu, True)
        except RuntimeError:
            break  # The GPU is already in use: too late to change, and harmless.
    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(seed)


@contextlib.contextmanager
def native_notes_silenced() -> Iterator[None]:
    """Keep TensorFlow's start-up notes off the page.

    Its C++ part writes them straight to file descriptor 2 before any log level applies. Whoever
    sets TF_CPP_MIN_LOG_LEVEL wants to see them, and does.
    """
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL") not in (None, QUIET):
        yield
        return
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = QUIET
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def choose(
    profile: str, *, quick: Mapping, full: Mapping, **overrides: float | None
) -> SimpleNamespace:
    """Return the column of settings that belongs to the profile.

    Args:
        profile: "quick" or "full".
        quick, full: The two columns; both must have the same names.
        overrides: Settings that the reader turned by hand. Zero or None keeps the profile's.

    Returns:
        The settings as attributes, e.g. `settings.epochs`.

    Raises:
        InputError: if the profile is unknown, an override is negative, or the columns differ.
    """
    check_choice("profile", profile, PROFILES)
    if quick.keys() != full.keys() or not overrides.keys() <= quick.keys():
        raise InputError("quick, full and the overrides must name the same settings")
    settings = dict(quick if profile == "quick" else full)
    for name, value in overrides.items():
        if value and value < 0:
            raise InputError(f"{name}={value} cannot be used; give a positive number, or 0")
        settings[name] = value or settings[name]
    return SimpleNamespace(**settings)


def banner(profile: str) -> str:
    """Say in one line what this is and runs on: the profile, the device, the versions.

    Without a GPU the device is the processor, with its number of cores.
    """
    with native_notes_silenced():
        import keras
        import tensorflow as tf

        devices = tf.config.list_physical_devices("GPU")
    gpus = [
        tf.config.experimental.get_device_details(gpu).get("device_name", "GPU") for gpu in devices
    ]
    device = " + ".join(gpus) if gpus else f"CPU ({os.cpu_count()} cores)"
    return (
        f"{profile} profile on {device} · Python {platform.python_version()} · "
        f"TensorFlow {tf.__version__} · Keras {keras.__version__}"
    )
