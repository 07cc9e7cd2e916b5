"""The two profiles, and the one place where a run is made reproducible.

`quick` is for a laptop: small nets, three minutes a notebook at most on two CPU cores. `full` is
for a GPU: longer training, and in notebook 04 a net of the paper's width and depth.
"""

from __future__ import annotations

import contextlib
import os
import platform
import sys
from collections.abc import Iterator, Mapping
from types import SimpleNamespace

from tutorial_lib.errors import InputError, check_choice

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
