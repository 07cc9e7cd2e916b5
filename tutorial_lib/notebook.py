"""What a notebook itself needs: its profile, its seed, library source, numbers for the run report.

`quick` is for a laptop: small networks, at most three minutes per notebook on two CPU cores. `full`
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
from pathlib import Path
from types import SimpleNamespace

from tutorial_lib.errors import InputError, check_choice

# The form of the scrapbook package, which other tools read too.
RECORD_TYPE = "application/scrapbook.scrap.json+json"


def show_source(*things) -> None:
    """Display the current source of functions or classes, highlighted.

    The text in the notebook cannot drift away from the library, because the stored output is
    compared with a fresh one whenever the notebooks are tested.
    """
    from IPython.display import Markdown, display

    source = "\n\n".join(inspect.getsource(thing).rstrip() for thing in things)
    display(Markdown(f"```python\n{source}\n```"))


def record(name: str, value: bool | int | float | str) -> None:
    """Send a measured value to the run report; the reader of the notebook sees nothing.

    A measurement differs between machines, so it is neither stored in git nor compared.

    Args:
        name: What was measured, e.g. "IoU of cat"; used once per notebook.
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
    # The prefix tells the site's builder not to show this.
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
    """Return whether an output of a notebook was made by `record`."""
    return RECORD_TYPE in output.get("data", {})


PROFILES = ("quick", "full")
# TensorFlow's log level without its C++ notes, one of which op determinism causes in every training
# run. Errors still arrive as Python exceptions.
QUIET = "3"


def start(profile: str, seed: int = 0) -> None:
    """Make what follows repeatable: the same seed on the same machine gives the same bits.

    Seeds Python, NumPy and Keras, makes TensorFlow use deterministic kernels, and lets it allocate
    GPU memory on demand instead of all at once. Call it once, before any model or random number.
    Raises InputError if the profile is unknown or the seed is not a whole number from 0 to 2³² - 1.
    """
    check_choice("profile", profile, PROFILES)
    if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
        raise InputError(f"seed={seed!r} cannot be used; give a whole number from 0 to 4294967295")
    with native_notes_silenced():
        import keras
        import tensorflow as tf

        # Otherwise it warns, in the middle of an output, when images of many sizes are predicted.
        tf.get_logger().setLevel("ERROR")
        gpus = tf.config.list_physical_devices("GPU")
    for gpu in gpus:
        try:
            tf.config.experimental.set_memory_growth(gpu, True)
        except RuntimeError:
            break  # The GPU is already in use, so this cannot change any more; it is harmless.
    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(seed)


@contextlib.contextmanager
def native_notes_silenced() -> Iterator[None]:
    """Suppress the notes that TensorFlow's C++ part prints when it is imported.

    It writes them straight to file descriptor 2 before any log level applies. They stay visible if
    the user has set TF_CPP_MIN_LOG_LEVEL.
    """
    if os.environ.get("TF_CPP_MIN_LOG_LEVEL") not in (None, QUIET):
        yield
        return
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = QUIET
    sys.stderr.flush()
    kept = os.dup(2)
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def choose(
    profile: str, *, quick: Mapping, full: Mapping, **overrides: float | None
) -> SimpleNamespace:
    """Return the settings of the profile.

    Args:
        quick, full: The settings of each profile; both must have the same names.
        overrides: Values that the reader has set. Zero or None keeps the profile's value.

    Returns:
        The settings as attributes, e.g. `settings.epochs`.

    Raises:
        InputError: if the profile is unknown, an override is negative, or the names differ.
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
    """Return one line with the profile, the device and the versions.

    Without a GPU, the device is the CPU with its number of cores.
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
