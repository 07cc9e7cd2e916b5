"""What a notebook needs: settings by profile, seeds, and errors that say what to do."""

import os
import subprocess
import sys

import numpy as np
import pytest
from helpers import one_line

from tutorial_lib import notebook

COLUMNS = {"quick": {"epochs": 3, "batch_size": 8}, "full": {"epochs": 90, "batch_size": 32}}


def test_each_profile_has_its_column():
    assert notebook.choose("quick", **COLUMNS).epochs == 3
    assert notebook.choose("full", **COLUMNS).batch_size == 32


def test_an_override_wins_unless_it_is_zero_or_none():
    settings = notebook.choose("quick", **COLUMNS, epochs=5, batch_size=0)
    assert (settings.epochs, settings.batch_size) == (5, 8)
    assert notebook.choose("quick", **COLUMNS, epochs=None).epochs == 3


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: notebook.choose("fast", **COLUMNS), "profile='fast' is not known"),
        (lambda: notebook.choose("quick", **COLUMNS, epochs=-1), "epochs=-1 cannot be used"),
        (lambda: notebook.choose("quick", **COLUMNS, speed=1), "must name the same settings"),
        (lambda: notebook.start("fast"), "choose one of quick, full"),
        (lambda: notebook.start("quick", seed=-1), "whole number from 0"),
        (lambda: notebook.start("quick", seed=1.5), "whole number from 0"),
        (lambda: notebook.start("quick", seed=2**32), "whole number from 0"),
    ],
)
def test_bad_choices_are_one_line_errors(call, message):
    one_line(call, message)


def test_the_same_seed_gives_the_same_numbers():
    import keras

    def draw(seed):
        notebook.start("quick", seed=seed)
        # The old global generator is what a reader's own code may use.
        return np.random.rand(3), np.asarray(keras.random.normal((3,)))  # noqa: NPY002

    first, again, other = draw(5), draw(5), draw(6)
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(np.array_equal(a, b) for a, b in zip(first, other, strict=True))


def test_the_banner_names_versions_and_device():
    banner = notebook.banner("quick")
    assert banner.startswith("quick profile on ")
    assert "TensorFlow" in banner and "Keras" in banner and "\n" not in banner


def test_starting_is_silent():
    environment = {k: v for k, v in os.environ.items() if k != "TF_CPP_MIN_LOG_LEVEL"}
    source = "from tutorial_lib import notebook; notebook.start('quick')"
    done = subprocess.run(
        [sys.executable, "-c", source], capture_output=True, text=True, env=environment
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("value", [1, 0.5, True, "text", np.float32(2), np.int64(3), np.array(1.5)])
def test_scalars_can_be_recorded(value):
    plain = notebook.plain_value("x", value)
    assert plain == value and type(plain) in (int, float, bool, str)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("x", [1, 2], "takes a number, a text or a truth value, not a list"),
        ("x", np.ones(2), "not a ndarray"),
        ("x", float("nan"), "takes a finite number, not nan"),
        (" ", 1, "record needs a name"),
        (3, 1, "record needs a name"),
    ],
)
def test_what_cannot_be_recorded_is_refused_in_one_line(name, value, message):
    one_line(lambda: notebook.record(name, value), message)
