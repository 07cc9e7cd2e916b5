"""What several test files need."""

import os
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from tutorial_lib.errors import InputError
from tutorial_tools.cli import main

REAL = Path(os.environ.get("TUTORIAL_REAL_DATA", "/nowhere")).resolve()
needs_real_data = pytest.mark.skipif(
    not REAL.is_dir(), reason="TUTORIAL_REAL_DATA names no folder of real photographs"
)
COLORS = np.random.default_rng(0).integers(0, 256, (3, 4, 3)).repeat(10, 0).repeat(10, 1)
COLORS = COLORS.astype(np.uint8)  # (30, 40, 3), flat blocks that a JPEG keeps


def one_line(call, message):
    """Check that a call raises an InputError whose message is one line."""
    with pytest.raises(InputError, match=message) as caught:
        call()
    assert "\n" not in str(caught.value)


def run(*arguments):
    """Run the command `tutorial`."""
    return CliRunner().invoke(main, [*map(str, arguments)])


def valid_input_sizes(depth, most):
    """Return all input sizes of a U-Net up to `most` that halve evenly and leave an output."""
    least = 12 * 2**depth - 7
    return [size for size in range(least, most + 1) if (size + 4) % 2**depth == 0]
