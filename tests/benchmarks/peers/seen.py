"""The work that every side does: note when it began, and nothing else. Imports nothing of any side."""

from __future__ import annotations

import os
import time
from functools import cache
from pathlib import Path
from typing import TextIO


@cache
def _log() -> TextIO:
    return (Path(os.environ["SEEN_FOLDER"]) / f"{os.getpid()}.log").open("a", buffering=1)


def began(number: int) -> None:
    """Note the job and the clock."""
    _log().write(f"{number} {time.time():.6f}\n")
