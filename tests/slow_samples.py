"""Samples that take their time; other processes can read them without TensorFlow."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass

import numpy as np

from tutorial_lib.data.images import Sample
from tutorial_lib.errors import InputError


@dataclass(frozen=True)
class Slow:
    """A black picture; one with a negative number is damaged."""

    number: int

    def read(self) -> Sample:
        time.sleep(0.02)
        if self.number < 0:
            raise InputError("this one is damaged")
        return Sample(f"{self.number}", np.zeros((8, 8, 3), np.uint8), np.zeros((8, 8), np.uint8))


@dataclass(frozen=True)
class Deadly:
    """Kills the process that reads it, as a system does that runs out of memory."""

    def read(self) -> Sample:
        os._exit(9)
