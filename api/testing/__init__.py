"""A whole scheduler inside a test, whose time the test moves: no waiting, and the same in every run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taskscheduler.testing.blocking import BlockingTestScheduler
    from taskscheduler.testing.scheduler import Message, Request, TestScheduler

__all__ = ["BlockingTestScheduler", "Message", "Request", "TestScheduler"]


def __getattr__(name: str) -> Any:
    # Only when it is used: pytest imports this package wherever it is installed, to look at the fixture.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from taskscheduler.testing import blocking, scheduler

    return getattr(blocking if name == "BlockingTestScheduler" else scheduler, name)
