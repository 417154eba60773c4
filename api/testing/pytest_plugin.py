"""The fixture `taskscheduler`, for whoever has pytest: a BlockingTestScheduler."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from taskscheduler.testing import BlockingTestScheduler


@pytest.fixture
def taskscheduler() -> Iterator[BlockingTestScheduler]:
    """A scheduler of this test alone, whose time it moves with `advance`."""
    from taskscheduler.testing import BlockingTestScheduler

    with BlockingTestScheduler() as scheduler:
        yield scheduler
