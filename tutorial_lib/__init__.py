"""The shared library of the fully convolutional network tutorials."""

from __future__ import annotations

from pathlib import Path

__version__ = "0.1.0"
CHECKOUT = Path(__file__).resolve().parents[1]  # where notebooks/ and data/ are
