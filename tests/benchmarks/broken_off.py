"""What a benchmark that is broken off needs, so that no server that it started is left running."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

_OTHERS = (signal.SIGTERM, signal.SIGHUP)


def end_in_order() -> None:
    """Let SIGTERM, and the end of the terminal, raise KeyboardInterrupt as Ctrl-C does, so that what cleans up runs.

    Called once by a program, before it starts anything.
    """
    # Who is started in the background ignores Ctrl-C, and raising it would do nothing.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in _OTHERS:
        if signal.getsignal(number) is not signal.SIG_IGN:  # as under nohup
            signal.signal(number, _as_ctrl_c)


def _as_ctrl_c(number: int, frame: FrameType | None) -> None:
    signal.raise_signal(signal.SIGINT)


@contextmanager
def undisturbed() -> Iterator[None]:
    """Servers are stopped here: a second Ctrl-C must not leave some of them. SIGKILL does."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, *_OTHERS)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
