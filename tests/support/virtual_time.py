"""An event loop whose time stands still while anything runs and jumps to the next timer when nothing does.

What waits for an hour takes no time, and what happens is the same in every run. For code without threads and sockets.
"""

from __future__ import annotations

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


class Stuck(Exception):
    """Everything waits and nothing will ever happen."""


class _Selector(selectors.SelectSelector):
    """Advances the loop's time instead of waiting."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready:
            if timeout is None:
                raise Stuck
            # Rounded up, or a timer could find itself a hair before its time for ever.
            self.now += max(0.0, timeout)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """`time` is seconds since the loop was made; `millis` the same for clocks that count from `epoch`."""

    def __init__(self) -> None:
        self._virtual = _Selector()
        super().__init__(self._virtual)

    def time(self) -> float:
        return self._virtual.now

    def advance(self, seconds: float) -> None:
        """Let time pass without running anything, as when a machine sleeps."""
        self._virtual.now += seconds


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run to the end on a virtual loop."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)


def virtual(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """An async test that runs on a virtual loop."""

    @functools.wraps(test)
    def in_virtual_time(*args: P.args, **kwargs: P.kwargs) -> None:
        run(test(*args, **kwargs))

    return in_virtual_time


def clock(epoch: int = 1_767_571_200_000) -> int:
    """The virtual instant of the running loop, in milliseconds."""
    return epoch + round(asyncio.get_running_loop().time() * 1000)
