"""The shared library of the fully convolutional network tutorials."""

from __future__ import annotations

import os
from pathlib import Path

# TensorFlow uses oneDNN's convolutions by default only on CPUs that have certain instructions. On
# others they make large networks faster, too. It reads this variable when it is imported.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")

__version__ = "0.1.0"
CHECKOUT = Path(__file__).resolve().parents[1]  # where notebooks/ and data/ are
